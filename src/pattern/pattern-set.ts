// The patterns of all message types: the fast path of validation. Compiles a pattern from each schema, and learns
// further layouts that the slow path keeps accepting, as an inline cache learns object shapes.

import { type Buffer, isUtf8 } from 'node:buffer';
import { type JobSeed, NO_SEED } from '../messages/job-key.js';
import type { MessageRegistry, MessageType } from '../messages/message-registry.js';
import type { Framing } from '../wire/framing.js';
import { CompileBudget } from './compile-budget.js';
import { type Layout, mergeLayouts, SPACING_SAMPLE } from './layout.js';
import { LayoutLearner, type Proposal } from './layout-learner.js';
import type { Matches } from './matches.js';
import { MAX_EXAMPLE } from './memory-layout.js';
import { generatePattern } from './pattern-module.js';
import { compileScanLoop, type OnCheck, type Pattern, PatternRuntime } from './pattern-runtime.js';
import type { Projection } from './projection.js';
import { type CompiledPattern, type CompileResult, compilePattern, TIMESTAMP } from './schema-to-ir.js';
import { ValueChecks } from './value-checks.js';
import type { VerdictTables } from './verdict-tables.js';
import type { ModuleWriter } from './wasm/module-writer.js';

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
  /** The fields whose text patterns capture. Default: none. */
  projection?: Projection | undefined;
  /**
   * The result of {@link compilePatterns} for the same registry and options, possibly in another thread. Default:
   * compiled anew.
   */
  modules?: PatternModules | undefined;
  /** Called if patterns cannot be used here, with the reason. */
  onUnavailable?: ((reason: string) => void) | undefined;
}

/**
 * The compiled patterns of a registry. They can be sent to other threads. Modules have the type `object`, since the
 * compilers of users may not know the namespace `WebAssembly`.
 */
export interface PatternModules {
  readonly scanLoop: object;
  /** By type name, for the types that can have patterns. */
  readonly results: ReadonlyMap<string, PatternResult>;
}

/** The pattern of a message type, or why it has none. */
export type PatternResult =
  | {
      readonly module: object;
      /** The text that all messages begin with, up to the first value. */
      readonly head: string;
      /** Parts of the schema that the pattern does not match, with the reason. */
      readonly omitted: readonly string[];
      /** Parts of the schema that check each value themselves, with the reason. */
      readonly checked: readonly string[];
    }
  | { readonly declined: string };

/** What the patterns need of a registry. */
export type TypeTable = Pick<MessageRegistry, 'types'>;

/** A learned layout and its pattern. */
interface Learned {
  readonly layout: Layout;
  readonly pattern: Pattern;
}

/** Unused layouts of a type are evicted after every this many slow-path messages of the type. */
const SWEEP_INTERVAL = 4096;
const DEFAULT_LEARNED_LAYOUTS = 16;
/** Path of the number that a crawler reports as its load. */
const ACTIVE_JOBS = 'data.activeJobs';
const NEWLINE = 0x0a;

export class PatternSet {
  /** The compiled patterns by type name, for the types that can have patterns. */
  readonly results: ReadonlyMap<string, PatternResult>;
  /** Counters of layouts that were learned, and of those that were evicted. */
  layoutsLearned = 0;
  layoutsEvicted = 0;
  readonly #runtime: PatternRuntime;
  readonly #checksAge: boolean;
  readonly #maxLearned: number;
  readonly #projection: Projection | undefined;
  /** Learned layouts and learners, by type index. */
  readonly #learned: Learned[][];
  readonly #learners: LayoutLearner[];
  readonly #budget = new CompileBudget();
  /** Messages until the next sweep, by type index. */
  readonly #untilSweep: number[];

  /**
   * Creates the patterns of a registry's types.
   * @returns `undefined` without WebAssembly, on a processor without 128-bit SIMD instructions, or if the address space
   *   is too small: then all messages take the slow path
   */
  static create(registry: TypeTable, options: PatternOptions = {}): PatternSet | undefined {
    const modules = options.modules ?? compilePatterns(registry, options);
    const created =
      typeof modules === 'string'
        ? modules
        : unlessUnavailable(() => new PatternSet(registry, modules, options));
    if (typeof created !== 'string') return created;
    options.onUnavailable?.(created);
    return undefined;
  }

  /** @throws RangeError if the address space is too small */
  private constructor(registry: TypeTable, compiled: PatternModules, options: PatternOptions) {
    const { isTimely, firstScan, maxLearnedLayouts = DEFAULT_LEARNED_LAYOUTS, projection } = options;
    this.#projection = projection;
    const { scanLoop, results } = compiled;
    this.results = results;
    const checks = new ValueChecks(registry.types);
    const accepts: ValueChecks['accepts'] = (...value) => checks.accepts(...value);
    this.#runtime = new PatternRuntime({
      scanLoop,
      ...sizeOf(registry, options),
      isTimely,
      accepts,
      firstScan,
    });
    this.#checksAge = isTimely !== undefined;
    this.#maxLearned = maxLearnedLayouts;
    for (const type of registry.types) {
      const result = results.get(type.name);
      if (result !== undefined && 'module' in result) this.#runtime.add(result.module, type, result.head);
    }
    this.#learned = registry.types.map(() => []);
    this.#learners = registry.types.map((type) => new LayoutLearner(type, this.#budget));
    this.#untilSweep = registry.types.map(() => SWEEP_INTERVAL);
  }

  /** Loads a copy of `bytes[from, to)` for scanning. @returns false if it is not valid UTF-8, which patterns require */
  load(bytes: Buffer, from: number, to: number): boolean {
    if (!isUtf8(bytes.subarray(from, to))) return false;
    this.#runtime.load(bytes, from, to);
    return true;
  }

  /**
   * Matches one message after another until no pattern matches.
   * @param from offset in the loaded bytes
   * @param onCheck called before the schema checks values of a message, which may take long or never end. If omitted, no
   *   message with such values matches.
   */
  scan(from: number, onCheck?: OnCheck): Matches {
    return this.#runtime.scan(from, onCheck);
  }

  /**
   * Observes a message that no pattern matched and the slow path accepted. A frequent layout gets a pattern.
   */
  learn(type: MessageType, message: object, bytes: Buffer, start: number, end: number): void {
    if (this.#maxLearned === 0 || !canHavePattern(type)) return;
    this.#sweep(type);
    this.#budget.recordMessage();
    // A new pattern must match its example, which has to fit into the example buffer.
    if (end - start > MAX_EXAMPLE) return;
    const learner = this.#learners[type.index];
    const textEnd = Math.min(end, start + SPACING_SAMPLE);
    const proposal = learner?.observe(message, () => bytes.toString('latin1', start, textEnd));
    if (proposal === undefined) return;
    learner?.recordOutcome(this.#learnLayout(type, proposal, bytes.subarray(start, end)));
  }

  /** Number of scans so far. */
  get scans(): number {
    return this.#runtime.scans;
  }

  /** The tables of a verdict. Scans write to them. */
  get tables(): VerdictTables {
    return this.#runtime.tables;
  }

  /**
   * The keys that schemas do not name in learned layouts whose patterns have matched after a scan.
   * @param scan number of that scan
   */
  *extraKeysSince(
    scan: number,
  ): Generator<{ readonly typeIndex: number; readonly paths: ReadonlySet<string> }> {
    const lastMatch = this.#runtime.lastMatches();
    for (const [typeIndex, learned] of this.#learned.entries()) {
      for (const { layout, pattern } of learned) {
        if (layout.extra.size > 0 && lastMatch(pattern) > scan) yield { typeIndex, paths: layout.extra };
      }
    }
  }

  /** Compiles and adds a pattern for a layout. @returns false if there is none that matches the example */
  #learnLayout(type: MessageType, { layout: seen, isAlone }: Proposal, example: Buffer): boolean {
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
    const result = compileModule(type, this.#checksAge, spansOf(this.#projection, type), layout);
    const pattern = 'module' in result ? this.#runtime.add(result.module, type, result.head) : undefined;
    if (pattern === undefined) return false;
    // A pattern that does not match the message it was learned from is useless.
    if (!this.#runtime.matchesExactly(pattern, example)) {
      this.#runtime.remove(pattern);
      return false;
    }
    if (replaced !== undefined) this.#remove(type, replaced);
    else {
      if (learned.length >= this.#maxLearned) this.#evict(type, this.#leastRecent(learned));
      this.layoutsLearned++;
    }
    this.#learned[type.index]?.push({ layout, pattern });
    return true;
  }

  /** Evicts the layouts of a type that have not matched since the last sweep. */
  #sweep(type: MessageType): void {
    const { index } = type;
    const left = (this.#untilSweep[index] ?? 0) - 1;
    this.#untilSweep[index] = left > 0 ? left : SWEEP_INTERVAL;
    if (left > 0) return;
    const lastMatch = this.#runtime.lastMatches();
    for (const known of this.#learned[index] ?? []) {
      if (lastMatch(known.pattern) === 0) this.#evict(type, known);
      else this.#runtime.resetLastMatch(known.pattern);
    }
  }

  #evict(type: MessageType, known: Learned): void {
    this.#remove(type, known);
    this.layoutsEvicted++;
  }

  #remove({ index }: MessageType, known: Learned): void {
    this.#learned[index] = (this.#learned[index] ?? []).filter((other) => other !== known);
    this.#runtime.remove(known.pattern);
  }

  #leastRecent(learned: readonly Learned[]): Learned {
    const lastMatch = this.#runtime.lastMatches();
    return learned.reduce((oldest, known) =>
      lastMatch(known.pattern) < lastMatch(oldest.pattern) ? known : oldest,
    );
  }
}

const TOO_LARGE = { declined: 'its pattern would be too large' };
const UNSUPPORTED = 'this machine does not support WebAssembly with SIMD';
const NO_MEMORY = 'there is not enough address space for the memory of WebAssembly (ulimit -v)';

/**
 * The compiled patterns by type name, for the types that can have patterns.
 * @param patterns the patterns of this registry; `undefined` if they cannot be used here
 * @param reason why they cannot be used
 */
export function compileResults(
  registry: MessageRegistry,
  patterns: PatternSet | undefined,
  reason = UNSUPPORTED,
): ReadonlyMap<string, PatternResult> {
  if (patterns !== undefined) return patterns.results;
  return new Map(registry.types.filter(canHavePattern).map(({ name }) => [name, { declined: reason }]));
}

/**
 * Compiles the patterns of a registry's types.
 * @returns the reason if patterns cannot be used here
 */
export function compilePatterns(registry: TypeTable, options: PatternOptions = {}): PatternModules | string {
  const { framing = 'auto', delimiter = NEWLINE, maxMessageSize = 1024 * 1024, jobSeed = NO_SEED } = options;
  const settings = { framing, delimiter, maxMessageSize, jobSeed, ...sizeOf(registry, options) };
  return unlessUnavailable(() => ({
    scanLoop: compileScanLoop(settings),
    results: new Map(
      registry.types
        .filter(canHavePattern)
        .map((type) => [
          type.name,
          compileModule(type, options.isTimely !== undefined, spansOf(options.projection, type)),
        ]),
    ),
  }));
}

/** The keys that lead to each member of a type whose text is captured. */
function spansOf(projection: Projection | undefined, { index }: MessageType): Spans {
  return projection?.types[index]?.spans ?? [];
}

type Spans = readonly (readonly string[])[];

/** Which types may have patterns, how many patterns there may be at a time, and how many spans a match has. */
function sizeOf(
  registry: TypeTable,
  { maxLearnedLayouts = DEFAULT_LEARNED_LAYOUTS, projection }: PatternOptions,
): { types: TypeTable['types']; names: string[]; maxPatterns: number; maxSpans: number } {
  const { types } = registry;
  const names = types.filter(canHavePattern).map(({ name }) => name);
  // One more, for a new pattern that is being tried.
  const maxPatterns = names.length * (1 + maxLearnedLayouts) + 1;
  return { types, names, maxPatterns, maxSpans: projection?.maxSpans ?? 0 };
}

function compileModule(type: MessageType, checksAge: boolean, spans: Spans, layout?: Layout): PatternResult {
  const result = compileType(type, checksAge, layout, spans);
  if ('declined' in result) return result;
  try {
    const { head, omitted, checked } = result;
    const module = new WebAssembly.Module(moduleOf(type, result, spans.length).bytes());
    return { module, head, omitted, checked };
  } catch (error) {
    if (error instanceof WebAssembly.CompileError || error instanceof RangeError) return TOO_LARGE;
    throw error;
  }
}

/** @returns the reason if patterns cannot be used here */
function unlessUnavailable<T>(create: () => T): T | string {
  try {
    return create();
  } catch (error) {
    if (typeof WebAssembly === 'undefined' || error instanceof WebAssembly.CompileError) return UNSUPPORTED;
    // For a small memory, too, V8 reserves 10 GiB of addresses.
    if (error instanceof RangeError) return NO_MEMORY;
    throw error;
  }
}

/** Whether crawlers send messages of this type. The broker parses all other messages anyway. */
export function canHavePattern({ index, direction }: MessageType): boolean {
  return index > 0 && direction === 'crawler';
}

/**
 * Compiles the pattern of a message type, with all values that the broker needs of its messages.
 * @param checksAge whether the pattern checks the age of the timestamp
 * @param layout default: as `JSON.stringify` writes the messages, in the schema's order
 * @param spans the keys that lead to each member whose text is captured. Default: none.
 */
export function compileType(
  type: MessageType,
  checksAge: boolean,
  layout?: Layout,
  spans: Spans = [],
): CompileResult {
  const required = [...(type.traits.reportsWorkload ? [ACTIVE_JOBS] : []), ...(checksAge ? [TIMESTAMP] : [])];
  const result = compilePattern(type, required, layout, spans);
  if ('declined' in result) return result;
  const missing = required.find((path) => !result.captures.has(path));
  return missing === undefined ? result : { declined: `its pattern cannot read ${missing}` };
}

/** Generates the WebAssembly module of a type's pattern. @param spans number of spans. Default: 0. */
export function moduleOf(type: MessageType, { node, spacing }: CompiledPattern, spans = 0): ModuleWriter {
  return generatePattern({
    name: type.name,
    node,
    spacing,
    withinTotal: type.declarativeRules?.withinTotal ?? [],
    activeJobs: type.traits.reportsWorkload ? ACTIVE_JOBS : undefined,
    spans,
  });
}
