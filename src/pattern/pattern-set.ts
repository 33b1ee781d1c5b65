// The patterns of all message types: the fast path of validation. Compiles those of the schemas, and learns the
// layouts that the slow path keeps accepting, as an inline cache learns shapes.

import { type Buffer, isUtf8 } from 'node:buffer';
import { type JobSeed, NO_SEED } from '../messages/job-key.js';
import type { MessageRegistry, MessageType } from '../messages/message-registry.js';
import type { Framing } from '../wire/framing.js';
import { CompileBudget } from './compile-budget.js';
import { type Layout, mergeLayouts, SPACING_SAMPLE } from './layout.js';
import { LayoutLearner, type Proposal } from './layout-learner.js';
import { MATCH, MAX_EXAMPLE, NO_HEARTBEAT } from './memory-layout.js';
import { generatePattern } from './pattern-module.js';
import { type Pattern, PatternRuntime } from './pattern-runtime.js';
import { type CompiledPattern, type CompileResult, compilePattern, TIMESTAMP } from './schema-to-ir.js';

export interface PatternOptions {
  /** Default `auto`. */
  framing?: Framing;
  /** The byte that ends a message; default 10, `\n`. */
  delimiter?: number;
  /** Longest message, in bytes; default 1 MiB. */
  maxMessageSize?: number;
  /** Whether a timestamp is neither too old nor in the future; none: the age does not matter. */
  isTimely?: ((timestamp: string) => boolean) | undefined;
  /** Layouts to learn of each message type; default 16, 0 for none. */
  maxLearnedLayouts?: number;
  /** Of the job ids' keys; default {@link NO_SEED}. */
  jobSeed?: JobSeed;
  /** Where scans are counted from, for tests; default 0. */
  firstScan?: number;
}

/** Valid messages that patterns have matched, one after another: good until the next scan. */
export interface Matches {
  readonly count: number;
  /** {@link MATCH} numbers a message. Less `shift`, its addresses are offsets in the bytes that were loaded. */
  readonly records: Uint32Array;
  readonly shift: number;
  /** Offset of what comes behind the last one and its delimiter. */
  readonly end: number;
  /** Delimiters up to there. */
  readonly lines: number;
  /** Whether the next message may be matched too: the scan has only run out of room. */
  readonly isInterrupted: boolean;
  /** `activeJobs` of the latest heartbeat among them; {@link NO_HEARTBEAT} when there is none, or at the second call. */
  takeActiveJobs(): number;
}

/** A layout that was learned, and its pattern. */
interface Learned {
  readonly layout: Layout;
  readonly pattern: Pattern;
}

/** Once in so many accepted messages of a type that took the slow path, unused layouts are dropped. */
const SWEEP_INTERVAL = 4096;
const DEFAULT_LEARNED_LAYOUTS = 16;
/** Path of the number that says how busy a crawler is. */
const ACTIVE_JOBS = 'data.activeJobs';
const NEWLINE = 0x0a;
const NO_MATCHES = new Uint32Array(0);

export class PatternSet implements Matches {
  /** What became of each type that could have a pattern, by its name. */
  readonly results: ReadonlyMap<string, CompileResult>;
  /** Layouts learned so far, and those dropped again. */
  layoutsLearned = 0;
  layoutsDropped = 0;
  records: Uint32Array = NO_MATCHES;
  count = 0;
  end = 0;
  readonly #runtime: PatternRuntime | undefined;
  readonly #isTimely: boolean;
  readonly #maxLearned: number;
  /** By type index: what is learned, and who learns. */
  readonly #learned: Learned[][];
  readonly #learners: LayoutLearner[];
  readonly #budget = new CompileBudget();
  /** By type index: messages until the next sweep. */
  readonly #untilSweep: number[];

  constructor(registry: MessageRegistry, options: PatternOptions = {}) {
    const { framing = 'auto', delimiter = NEWLINE, maxMessageSize = 1024 * 1024, isTimely } = options;
    this.#isTimely = isTimely !== undefined;
    this.#maxLearned = options.maxLearnedLayouts ?? DEFAULT_LEARNED_LAYOUTS;
    const types = registry.types.filter(({ index, direction }) => index > 0 && direction === 'crawler');
    const names = types.map(({ name }) => name);
    // One more while a new pattern is tried.
    const maxPatterns = types.length * (1 + this.#maxLearned) + 1;
    const runtime = startRuntime({
      ...{ framing, delimiter, maxMessageSize, isTimely, names, maxPatterns },
      jobSeed: options.jobSeed ?? NO_SEED,
      firstScan: options.firstScan,
    });
    this.#runtime = runtime;
    const results = new Map<string, CompileResult>();
    for (const type of types) {
      const result = runtime === undefined ? NO_RUNTIME : this.#compile(type, undefined);
      const isTooLarge = runtime !== undefined && 'node' in result && !this.#add(type, result, runtime);
      results.set(type.name, isTooLarge ? TOO_LARGE : result);
    }
    this.results = results;
    this.#learned = registry.types.map(() => []);
    this.#learners = registry.types.map((type) => new LayoutLearner(type, this.#budget));
    this.#untilSweep = registry.types.map(() => SWEEP_INTERVAL);
  }

  get shift(): number {
    return this.#runtime?.shift ?? 0;
  }

  get lines(): number {
    return this.#runtime?.lines ?? 0;
  }

  get isInterrupted(): boolean {
    return this.#runtime?.isInterrupted ?? false;
  }

  takeActiveJobs(): number {
    return this.#runtime?.takeActiveJobs() ?? NO_HEARTBEAT;
  }

  /** Takes a copy of `bytes[from, to)`, to be scanned. False when it is not UTF-8: then no pattern may look at it. */
  load(bytes: Buffer, from: number, to: number): boolean {
    if (!isUtf8(bytes.subarray(from, to))) return false;
    this.#runtime?.load(bytes, from, to);
    return true;
  }

  /**
   * Matches one message after another, as far as patterns know them; this object then holds the matches.
   * @param from an offset in the bytes that were loaded
   */
  scan(from: number): Matches {
    if (this.#runtime === undefined) {
      this.end = from;
      return this;
    }
    this.end = this.#runtime.scan(from);
    this.records = this.#runtime.matches;
    this.count = this.records.length / MATCH.SIZE;
    return this;
  }

  /**
   * Observes a message that no pattern knew and the slow path accepted. Its layout gets a pattern when it comes often.
   */
  learn(type: MessageType, message: object, bytes: Buffer, start: number, end: number): void {
    if (this.#runtime === undefined || this.#maxLearned === 0 || type.direction !== 'crawler') return;
    this.#sweep(type, this.#runtime);
    this.#budget.recordMessage();
    // A pattern that cannot take its example is not kept.
    if (end - start > MAX_EXAMPLE) return;
    const learner = this.#learners[type.index];
    const textEnd = Math.min(end, start + SPACING_SAMPLE);
    const proposal = learner?.observe(message, () => bytes.toString('latin1', start, textEnd));
    if (proposal === undefined) return;
    learner?.settle(this.#learnLayout(type, proposal, bytes.subarray(start, end), this.#runtime));
  }

  /** False when no pattern of the layout takes the example. */
  #learnLayout(
    type: MessageType,
    { layout: seen, isAlone }: Proposal,
    example: Buffer,
    runtime: PatternRuntime,
  ): boolean {
    const learned = this.#learned[type.index] as Learned[];
    let layout = seen;
    let replaced: Learned | undefined;
    for (const known of isAlone ? [] : learned) {
      const merged = mergeLayouts(known.layout, seen);
      if (merged === undefined) continue;
      layout = merged;
      replaced = known;
      break;
    }
    const result = this.#compile(type, layout);
    if ('declined' in result) return false;
    const pattern = this.#add(type, result, runtime);
    if (pattern === undefined) return false;
    // Only what takes the message that it was learned from is worth its place.
    if (!runtime.takes(pattern, example)) {
      runtime.remove(pattern);
      return false;
    }
    if (replaced !== undefined) this.#remove(type, replaced, runtime);
    else {
      if (learned.length >= this.#maxLearned) this.#drop(type, this.#leastRecent(learned, runtime), runtime);
      this.layoutsLearned++;
    }
    this.#learned[type.index]?.push({ layout, pattern });
    return true;
  }

  /** Drops the layouts of a type that have not matched since the last time. */
  #sweep(type: MessageType, runtime: PatternRuntime): void {
    const { index } = type;
    const left = (this.#untilSweep[index] ?? 0) - 1;
    this.#untilSweep[index] = left > 0 ? left : SWEEP_INTERVAL;
    if (left > 0) return;
    for (const known of this.#learned[index] ?? []) {
      if (runtime.lastMatch(known.pattern) === 0) this.#drop(type, known, runtime);
      else runtime.forgetMatch(known.pattern);
    }
  }

  #drop(type: MessageType, known: Learned, runtime: PatternRuntime): void {
    this.#remove(type, known, runtime);
    this.layoutsDropped++;
  }

  #remove({ index }: MessageType, known: Learned, runtime: PatternRuntime): void {
    this.#learned[index] = (this.#learned[index] ?? []).filter((other) => other !== known);
    runtime.remove(known.pattern);
  }

  #leastRecent(learned: readonly Learned[], runtime: PatternRuntime): Learned {
    const lastMatch = ({ pattern }: Learned) => runtime.lastMatch(pattern);
    return learned.reduce((oldest, known) => (lastMatch(known) < lastMatch(oldest) ? known : oldest));
  }

  #compile(type: MessageType, layout: Layout | undefined): CompileResult {
    const needed = [...(isHeartbeat(type) ? [ACTIVE_JOBS] : []), ...(this.#isTimely ? [TIMESTAMP] : [])];
    const result = compilePattern(type, needed, layout);
    if ('declined' in result) return result;
    const missing = needed.find((path) => !result.captures.has(path));
    return missing === undefined ? result : { declined: `it has no ${missing} to read` };
  }

  #add(
    type: MessageType,
    { node, spacing, head }: CompiledPattern,
    runtime: PatternRuntime,
  ): Pattern | undefined {
    const code = generatePattern({
      node,
      spacing,
      lessOrEqual: type.conditions?.lessOrEqual ?? [],
      activeJobs: isHeartbeat(type) ? ACTIVE_JOBS : undefined,
    });
    return runtime.add(code, type, head);
  }
}

const TOO_LARGE: CompileResult = { declined: 'its pattern would be too large' };
const NO_RUNTIME: CompileResult = { declined: 'this computer cannot run compiled patterns' };

/** Without WebAssembly, or on a processor without its 128-bit instructions, there are no patterns. */
function startRuntime(options: ConstructorParameters<typeof PatternRuntime>[0]): PatternRuntime | undefined {
  try {
    return new PatternRuntime(options);
  } catch (error) {
    if (typeof WebAssembly === 'undefined' || error instanceof WebAssembly.CompileError) return undefined;
    throw error;
  }
}

function isHeartbeat({ name }: MessageType): boolean {
  return name === 'heartbeat';
}
