// The patterns of all message types: the fast path of validation. Compiles a pattern from each schema, and learns
// further layouts that the slow path keeps accepting, as an inline cache learns object shapes.

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
  /** Default: `auto`. */
  framing?: Framing;
  /** The byte that ends a message. Default: 10, `\n`. */
  delimiter?: number;
  /** Maximum message size in bytes. Default: 1 MiB. */
  maxMessageSize?: number;
  /** Whether a timestamp is neither too old nor in the future. If omitted, the age of messages is not checked. */
  isTimely?: ((timestamp: string) => boolean) | undefined;
  /** Maximum number of learned layouts per message type. Default: 16. 0 disables learning. */
  maxLearnedLayouts?: number;
  /** Seed of the job keys. Default: {@link NO_SEED}. */
  jobSeed?: JobSeed;
  /** Initial value of the scan counter, for tests. Default: 0. */
  firstScan?: number;
}

/** Consecutive valid messages that patterns have matched. Valid until the next scan. */
export interface Matches {
  readonly count: number;
  /** One {@link MATCH} record per message, with addresses. */
  readonly records: Uint32Array;
  /** Subtract this from an address to get an offset in the loaded bytes. */
  readonly shift: number;
  /** Offset after the last message and its delimiter. */
  readonly end: number;
  /** Number of delimiters up to `end`. */
  readonly lines: number;
  /** Whether the scan stopped only because the table of matches was full, so that the next message may match too. */
  readonly isInterrupted: boolean;
  /** Returns and clears `activeJobs` of the latest heartbeat among them; {@link NO_HEARTBEAT} if there was none. */
  takeActiveJobs(): number;
}

/** A learned layout and its pattern. */
interface Learned {
  readonly layout: Layout;
  readonly pattern: Pattern;
}

/** Unused layouts of a type are removed after every this many slow-path messages of the type. */
const SWEEP_INTERVAL = 4096;
const DEFAULT_LEARNED_LAYOUTS = 16;
/** Path of the number that a crawler reports as its load. */
const ACTIVE_JOBS = 'data.activeJobs';
const NEWLINE = 0x0a;
const NO_MATCHES = new Uint32Array(0);

export class PatternSet implements Matches {
  /** Compile results by type name, for the types that can have patterns. */
  readonly results: ReadonlyMap<string, CompileResult>;
  /** Counters of layouts that were learned, and of those that were removed again. */
  layoutsLearned = 0;
  layoutsDropped = 0;
  records: Uint32Array = NO_MATCHES;
  count = 0;
  end = 0;
  readonly #runtime: PatternRuntime | undefined;
  readonly #isTimely: boolean;
  readonly #maxLearned: number;
  /** Learned layouts and learners, by type index. */
  readonly #learned: Learned[][];
  readonly #learners: LayoutLearner[];
  readonly #budget = new CompileBudget();
  /** Messages until the next sweep, by type index. */
  readonly #untilSweep: number[];

  constructor(registry: MessageRegistry, options: PatternOptions = {}) {
    const { framing = 'auto', delimiter = NEWLINE, maxMessageSize = 1024 * 1024, isTimely } = options;
    this.#isTimely = isTimely !== undefined;
    this.#maxLearned = options.maxLearnedLayouts ?? DEFAULT_LEARNED_LAYOUTS;
    const types = registry.types.filter(({ index, direction }) => index > 0 && direction === 'crawler');
    const names = types.map(({ name }) => name);
    // One more, for a new pattern that is being tried.
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

  /** Loads a copy of `bytes[from, to)` for scanning. @returns false if it is not valid UTF-8, which patterns require */
  load(bytes: Buffer, from: number, to: number): boolean {
    if (!isUtf8(bytes.subarray(from, to))) return false;
    this.#runtime?.load(bytes, from, to);
    return true;
  }

  /**
   * Matches one message after another until no pattern matches. This object then holds the matches.
   * @param from offset in the loaded bytes
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
   * Observes a message that no pattern matched and the slow path accepted. A frequent layout gets a pattern.
   */
  learn(type: MessageType, message: object, bytes: Buffer, start: number, end: number): void {
    if (this.#runtime === undefined || this.#maxLearned === 0 || type.direction !== 'crawler') return;
    this.#sweep(type, this.#runtime);
    this.#budget.recordMessage();
    // A new pattern must match its example, which has to fit into the example buffer.
    if (end - start > MAX_EXAMPLE) return;
    const learner = this.#learners[type.index];
    const textEnd = Math.min(end, start + SPACING_SAMPLE);
    const proposal = learner?.observe(message, () => bytes.toString('latin1', start, textEnd));
    if (proposal === undefined) return;
    learner?.recordOutcome(this.#learnLayout(type, proposal, bytes.subarray(start, end), this.#runtime));
  }

  /** Compiles and adds a pattern for a layout. @returns false if there is none that matches the example */
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
    // A pattern that does not match the message it was learned from is useless.
    if (!runtime.matchesExactly(pattern, example)) {
      runtime.remove(pattern);
      return false;
    }
    if (replaced !== undefined) this.#remove(type, replaced, runtime);
    else {
      if (learned.length >= this.#maxLearned) this.#evict(type, this.#leastRecent(learned, runtime), runtime);
      this.layoutsLearned++;
    }
    this.#learned[type.index]?.push({ layout, pattern });
    return true;
  }

  /** Removes the layouts of a type that have not matched since the last sweep. */
  #sweep(type: MessageType, runtime: PatternRuntime): void {
    const { index } = type;
    const left = (this.#untilSweep[index] ?? 0) - 1;
    this.#untilSweep[index] = left > 0 ? left : SWEEP_INTERVAL;
    if (left > 0) return;
    for (const known of this.#learned[index] ?? []) {
      if (runtime.lastMatch(known.pattern) === 0) this.#evict(type, known, runtime);
      else runtime.resetLastMatch(known.pattern);
    }
  }

  #evict(type: MessageType, known: Learned, runtime: PatternRuntime): void {
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
    const required = [...(isHeartbeat(type) ? [ACTIVE_JOBS] : []), ...(this.#isTimely ? [TIMESTAMP] : [])];
    const result = compilePattern(type, required, layout);
    if ('declined' in result) return result;
    const missing = required.find((path) => !result.captures.has(path));
    return missing === undefined ? result : { declined: `its pattern cannot read ${missing}` };
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
const NO_RUNTIME: CompileResult = { declined: 'this machine does not support WebAssembly with SIMD' };

/** Returns `undefined` without WebAssembly, or on a processor without 128-bit SIMD instructions. */
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
