// Patterns on one message, for tests.

import type { FrameSink } from 'sluice';
import type { JobKey } from '#src/messages/job-key.js';
import type { Matches } from '#src/pattern/matches.js';
import { type PatternOptions, PatternSet, type TypeTable } from '#src/pattern/pattern-set.js';

export interface OneMatch {
  readonly typeIndex: number;
  readonly start: number;
  readonly end: number;
  readonly job: JobKey;
}

/** The patterns of a registry. @throws on a machine that does not support them */
export function createPatterns(registry: TypeTable, options: PatternOptions = {}): PatternSet {
  const patterns = PatternSet.create(registry, options);
  if (patterns === undefined) throw new Error('this machine does not support WebAssembly with SIMD');
  return patterns;
}

/**
 * The registry's types, of which only these can have patterns: to compile those of all types takes longer than most tests
 * run.
 */
export function onlyTypes({ types }: TypeTable, names: readonly string[]): TypeTable {
  // In place of the others, the first type, which has no pattern: types are found by their index.
  return { types: types.map((type) => (names.includes(type.name) ? type : (types[0] ?? type))) };
}

/** The match with this index, in offsets of the loaded bytes. */
export function matchAt(matches: Matches, index: number): OneMatch {
  return {
    typeIndex: matches.typeIndex(index),
    start: matches.start(index),
    end: matches.end(index),
    job: { low: matches.jobLow(index), high: matches.jobHigh(index) },
  };
}

/**
 * The part at the beginning of a text that a pattern matches. The text is encoded as latin1.
 * @param onCheck default: the schema may check values
 */
export function matchFirst(
  patterns: PatternSet,
  text: string,
  onCheck: Parameters<PatternSet['scan']>[1] | null = () => {},
): OneMatch | undefined {
  const bytes = Buffer.from(text, 'latin1');
  if (!patterns.load(bytes, 0, bytes.length)) return undefined;
  const matches = patterns.scan(0, onCheck ?? undefined);
  return matches.count === 0 ? undefined : matchAt(matches, 0);
}

/** An `onMatches` callback that calls back for each match. */
export function eachMatch(see: (match: OneMatch) => void): NonNullable<FrameSink['onMatches']> {
  return (matches) => {
    for (let index = 0; index < matches.count; index++) see(matchAt(matches, index));
  };
}
