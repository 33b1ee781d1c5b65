// The patterns of all message types, and which of them to try: the fast path of validation. Keeps the
// latest match in its own fields, so that matching a message allocates little. Learns the layouts that the
// slow path keeps accepting, as an inline cache learns shapes.

import type { MessageRegistry, MessageType } from '../protocol/message-registry.js';
import { type Layout, mergeLayouts } from './layout.js';
import { LayoutLearner } from './layout-learner.js';
import { type CompiledPattern, type CompileResult, compilePattern } from './pattern-compiler.js';
import { PatternShelves } from './pattern-shelves.js';

export interface PatternOptions {
  /** Whether a timestamp is neither too old nor in the future; none: the age does not matter. */
  isTimely?: ((timestamp: string) => boolean) | undefined;
  /** Layouts to learn of each message type; default 16, 0 for none. */
  maxLearnedLayouts?: number;
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

/** A pattern, ready to be tried. */
interface Entry {
  readonly type: MessageType;
  readonly pattern: RegExp;
  readonly jobId: number | undefined;
  readonly olderJobId: number | undefined;
  readonly activeJobs: number | undefined;
  readonly timestamp: number | undefined;
  /** Pairs of captures, of which the first must not be the greater number. */
  readonly notGreater: readonly (readonly [smaller: number, greater: number])[];
  /** The layout that the pattern was learned from; none: the schema's own. */
  readonly layout: Layout | undefined;
  /** When it has last matched, in matches of learned patterns. */
  lastMatch: number;
}

/** Once in so many accepted messages of a type that took the slow path, unused layouts are dropped. */
const SWEEP_INTERVAL = 4096;
export const DEFAULT_LEARNED_LAYOUTS = 16;

export class PatternSet implements PatternMatch {
  /** What became of each type that could have a pattern, by its name. */
  readonly results: ReadonlyMap<string, CompileResult>;
  type: MessageType;
  end = 0;
  jobId: string | undefined;
  activeJobs: number | undefined;
  /** Layouts learned so far, and those dropped again. */
  layoutsLearned = 0;
  layoutsDropped = 0;
  readonly #isTimely: ((timestamp: string) => boolean) | undefined;
  readonly #maxLearned: number;
  readonly #shelves: PatternShelves<Entry>;
  /** By type index: what is learned, and who learns. */
  readonly #learned: Entry[][];
  readonly #learners: LayoutLearner[];
  /** By type index: messages until the next sweep, and the value of {@link #matches} at the latest one. */
  readonly #untilSweep: number[];
  readonly #sweptAt: number[];
  #matches = 0;

  constructor(registry: MessageRegistry, options: PatternOptions = {}) {
    this.#isTimely = options.isTimely;
    this.#maxLearned = options.maxLearnedLayouts ?? DEFAULT_LEARNED_LAYOUTS;
    const results = new Map<string, CompileResult>();
    const types = registry.types.filter(({ index, direction }) => index > 0 && direction === 'crawler');
    this.#shelves = new PatternShelves(types.map(({ name }) => name));
    for (const type of types) {
      const result = this.#compile(type, undefined);
      results.set(type.name, result);
      if ('source' in result)
        this.#shelves.add(this.#entryOf(type, result, undefined), type.name, result.head);
    }
    this.results = results;
    this.type = registry.types[0] as MessageType;
    this.#learned = registry.types.map(() => []);
    this.#learners = registry.types.map((type) => new LayoutLearner(type));
    this.#untilSweep = registry.types.map(() => SWEEP_INTERVAL);
    this.#sweptAt = registry.types.map(() => 0);
  }

  /** Matches the message at `text[from]`; on success, this object holds the match. */
  match(text: string, from: number): boolean {
    const entries = this.#shelves.at(text, from);
    if (entries === undefined) return false;
    for (let index = 0; index < entries.length; index++) {
      const entry = entries[index] as Entry;
      if (!this.#matchEntry(entry, text, from)) continue;
      if (index > 0) {
        // Those that match often come first.
        entries[index] = entries[index - 1] as Entry;
        entries[index - 1] = entry;
      }
      return true;
    }
    return false;
  }

  /**
   * Takes note of a message that no pattern knew and the slow path accepted. Its layout gets a pattern when
   * it comes often.
   */
  learn(type: MessageType, message: object, bytes: Buffer, start: number, end: number): void {
    if (this.#maxLearned === 0 || type.direction !== 'crawler') return;
    this.#sweep(type);
    const text = () => bytes.toString('latin1', start, end);
    const layout = this.#learners[type.index]?.note(message, text);
    if (layout !== undefined) this.#learnLayout(type, layout, text());
  }

  #learnLayout(type: MessageType, seen: Layout, example: string): void {
    const learned = this.#learned[type.index] as Entry[];
    let layout = seen;
    let replaced: Entry | undefined;
    for (const entry of learned) {
      const merged = entry.layout && mergeLayouts(entry.layout, seen);
      if (merged === undefined) continue;
      layout = merged;
      replaced = entry;
      break;
    }
    const result = this.#compile(type, layout);
    if ('declined' in result) return;
    const entry = this.#entryOf(type, result, layout);
    // Only what takes the message that it was learned from is worth its place.
    if (!this.#matchEntry(entry, example, 0) || this.end !== example.length) return;
    if (replaced !== undefined) this.#remove(type, replaced);
    else {
      if (learned.length >= this.#maxLearned) this.#drop(type, leastRecent(learned));
      this.layoutsLearned++;
    }
    this.#learned[type.index]?.push(entry);
    this.#shelves.add(entry, type.name, result.head);
  }

  /** Drops the layouts of a type that have not matched since the last time. */
  #sweep(type: MessageType): void {
    const { index } = type;
    const left = (this.#untilSweep[index] ?? 0) - 1;
    this.#untilSweep[index] = left > 0 ? left : SWEEP_INTERVAL;
    if (left > 0) return;
    const unused = this.#learned[index]?.filter(({ lastMatch }) => lastMatch <= (this.#sweptAt[index] ?? 0));
    for (const entry of unused ?? []) this.#drop(type, entry);
    this.#sweptAt[index] = this.#matches;
  }

  #drop(type: MessageType, entry: Entry): void {
    this.#remove(type, entry);
    this.layoutsDropped++;
  }

  #remove({ index }: MessageType, entry: Entry): void {
    this.#learned[index] = (this.#learned[index] ?? []).filter((other) => other !== entry);
    this.#shelves.remove(entry);
  }

  #matchEntry(entry: Entry, text: string, from: number): boolean {
    const { pattern } = entry;
    pattern.lastIndex = from;
    const captures = pattern.exec(text);
    if (captures === null) return false;
    for (let at = 0; at < entry.notGreater.length; at++) {
      const [smaller, greater] = entry.notGreater[at] as readonly [number, number];
      if (isGreater(captures[smaller], captures[greater])) return false;
    }
    if (this.#isTimely !== undefined) {
      const timestamp = capture(captures, entry.timestamp);
      if (timestamp === undefined || !this.#isTimely(timestamp)) return false;
    }
    this.type = entry.type;
    this.end = pattern.lastIndex;
    this.jobId = capture(captures, entry.jobId) ?? capture(captures, entry.olderJobId);
    this.activeJobs = entry.activeJobs === undefined ? undefined : Number(captures[entry.activeJobs]);
    if (entry.layout !== undefined) entry.lastMatch = ++this.#matches;
    return true;
  }

  #compile(type: MessageType, layout: Layout | undefined): CompileResult {
    const needed = [
      ...(type.name === 'heartbeat' ? ['data.activeJobs'] : []),
      ...(this.#isTimely === undefined ? [] : ['timestamp']),
    ];
    const result = compilePattern(type, needed, layout);
    if ('declined' in result) return result;
    const missing = needed.find((path) => !result.captures.has(path));
    return missing === undefined ? result : { declined: `it has no ${missing} to read` };
  }

  #entryOf(type: MessageType, { source, captures }: CompiledPattern, layout: Layout | undefined): Entry {
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
      layout,
      lastMatch: 0,
    };
  }
}

function leastRecent(entries: readonly Entry[]): Entry {
  return entries.reduce((oldest, entry) => (entry.lastMatch < oldest.lastMatch ? entry : oldest));
}

function capture(captures: RegExpExecArray, number: number | undefined): string | undefined {
  return number === undefined ? undefined : captures[number];
}

/**
 * Whether both numbers are there, and the first is the greater one. Whole numbers are compared by their
 * digits, as JSON has no leading zeros: it costs a tenth of making numbers of them (60 ns a pair).
 */
function isGreater(a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  if (!isNatural(a) || !isNatural(b)) return Number(a) > Number(b);
  return a.length === b.length ? a > b : a.length > b.length;
}

function isNatural(number: string): boolean {
  return !number.includes('.') && !number.startsWith('-');
}
