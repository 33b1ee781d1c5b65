// The patterns of all message types, and which of them to try: the fast path of validation. Keeps the
// latest match in its own fields, so that matching a message allocates little.

import type { MessageRegistry, MessageType } from '../protocol/message-registry.js';
import { type CompiledPattern, type CompileResult, compilePattern } from './pattern-compiler.js';

export interface PatternOptions {
  /** Whether a timestamp is neither too old nor in the future; none: the age does not matter. */
  isTimely?: ((timestamp: string) => boolean) | undefined;
}

/** A message that a pattern has matched. */
export interface PatternMatch {
  readonly type: MessageType;
  /** Offset in the text just after the message. */
  readonly end: number;
  readonly jobId: string | undefined;
  /** `activeJobs` of a heartbeat. */
  readonly activeJobs: number | undefined;
}

interface Entry {
  readonly type: MessageType;
  readonly pattern: RegExp;
  readonly jobId: number | undefined;
  readonly olderJobId: number | undefined;
  readonly activeJobs: number | undefined;
  readonly timestamp: number | undefined;
  /** Pairs of captures, of which the first must not be the greater number. */
  readonly notGreater: readonly (readonly [smaller: number, greater: number])[];
}

/** What most messages begin with; the type's name follows. */
const TYPE_PREFIX = '{"type":"';

export class PatternSet implements PatternMatch {
  /** What became of each type that could have a pattern, by its name. */
  readonly results: ReadonlyMap<string, CompileResult>;
  type: MessageType;
  end = 0;
  jobId: string | undefined;
  activeJobs: number | undefined;
  readonly #isTimely: ((timestamp: string) => boolean) | undefined;
  /** Entries by the character of the text at `#at` after the prefix, which tells the types apart best. */
  readonly #buckets: Entry[][];
  readonly #at: number;

  constructor(registry: MessageRegistry, options: PatternOptions = {}) {
    this.#isTimely = options.isTimely;
    const results = new Map<string, CompileResult>();
    const entries: Entry[] = [];
    for (const type of registry.types) {
      if (type.index === 0 || type.direction !== 'crawler') continue;
      const result = this.#compile(type);
      results.set(type.name, result);
      if ('source' in result) entries.push(entryOf(type, result));
    }
    this.results = results;
    this.type = registry.types[0] as MessageType;
    this.#at = TYPE_PREFIX.length + bestOffset(entries.map(({ type }) => type.name));
    this.#buckets = bucketsOf(entries, this.#at - TYPE_PREFIX.length);
  }

  /** Matches the message at `text[from]`; on success, this object holds the match. */
  match(text: string, from: number): boolean {
    const bucket = this.#buckets[text.charCodeAt(from + this.#at)];
    if (bucket === undefined) return false;
    for (const entry of bucket) if (this.#matchEntry(entry, text, from)) return true;
    return false;
  }

  #matchEntry(entry: Entry, text: string, from: number): boolean {
    const { pattern } = entry;
    pattern.lastIndex = from;
    const captures = pattern.exec(text);
    if (captures === null) return false;
    for (const [smaller, greater] of entry.notGreater) {
      // A capture that is not there is NaN, and no number is greater than NaN.
      if (Number(captures[smaller]) > Number(captures[greater])) return false;
    }
    if (this.#isTimely !== undefined) {
      const timestamp = capture(captures, entry.timestamp);
      if (timestamp === undefined || !this.#isTimely(timestamp)) return false;
    }
    this.type = entry.type;
    this.end = pattern.lastIndex;
    this.jobId = capture(captures, entry.jobId) ?? capture(captures, entry.olderJobId);
    this.activeJobs = entry.activeJobs === undefined ? undefined : Number(captures[entry.activeJobs]);
    return true;
  }

  #compile(type: MessageType): CompileResult {
    const needed = [
      ...(type.name === 'heartbeat' ? ['data.activeJobs'] : []),
      ...(this.#isTimely === undefined ? [] : ['timestamp']),
    ];
    const result = compilePattern(type, needed);
    if ('declined' in result) return result;
    const missing = needed.find((path) => !result.captures.has(path));
    if (missing !== undefined) return { declined: `it has no ${missing} to read` };
    if (!result.source.startsWith(String.raw`\{"type":(?:"${type.name}")`)) {
      return { declined: 'its first key is not the type' };
    }
    return result;
  }
}

function capture(captures: RegExpExecArray, number: number | undefined): string | undefined {
  return number === undefined ? undefined : captures[number];
}

function entryOf(type: MessageType, { source, captures }: CompiledPattern): Entry {
  const notGreater: [number, number][] = [];
  for (const [smaller, greater] of type.conditions?.notGreater ?? []) {
    const pair = [captures.get(smaller), captures.get(greater)] as const;
    // An operand that the pattern leaves out is not there to compare.
    if (pair[0] !== undefined && pair[1] !== undefined) notGreater.push([pair[0], pair[1]]);
  }
  return {
    type,
    pattern: new RegExp(source, 'y'),
    jobId: captures.get('jobId'),
    olderJobId: captures.get('job_id'),
    activeJobs: captures.get('data.activeJobs'),
    timestamp: captures.get('timestamp'),
    notGreater,
  };
}

/** The offset into the names at which the fewest share a character. */
function bestOffset(names: readonly string[]): number {
  let best = { offset: 0, shared: names.length };
  const shortest = Math.min(...names.map(({ length }) => length), 64);
  for (let offset = 0; offset < shortest; offset++) {
    const counts = new Map<string | undefined, number>();
    for (const name of names) counts.set(name[offset], (counts.get(name[offset]) ?? 0) + 1);
    const shared = Math.max(...counts.values());
    if (shared < best.shared) best = { offset, shared };
  }
  return best.offset;
}

function bucketsOf(entries: readonly Entry[], offset: number): Entry[][] {
  const buckets: Entry[][] = [];
  for (const entry of entries) {
    const code = entry.type.name.charCodeAt(offset);
    const bucket = buckets[code] ?? [];
    bucket.push(entry);
    buckets[code] = bucket;
  }
  return buckets;
}
