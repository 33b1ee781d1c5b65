// Patterns on one message, for tests.

import type { FrameSink } from 'sluice';
import type { JobKey } from '#src/messages/job-key.js';
import { MATCH } from '#src/pattern/memory-layout.js';
import type { Matches, PatternSet } from '#src/pattern/pattern-set.js';

export interface OneMatch {
  readonly typeIndex: number;
  readonly start: number;
  readonly end: number;
  readonly job: JobKey;
}

/** The match of this number, in offsets of the bytes that were loaded. */
export function matchAt(matches: Matches, index: number): OneMatch {
  const { records, shift } = matches;
  const [start = 0, end = 0, typeIndex = 0, low = 0, high = 0] = records.subarray(index * MATCH.SIZE);
  return {
    typeIndex,
    start: start - shift,
    end: end - shift,
    job: { low, high },
  };
}

/** What a pattern takes at the beginning of a text that is read as latin1. */
export function matchFirst(patterns: PatternSet, text: string): OneMatch | undefined {
  const bytes = Buffer.from(text, 'latin1');
  if (!patterns.load(bytes, 0, bytes.length)) return undefined;
  const matches = patterns.scan(0);
  return matches.count === 0 ? undefined : matchAt(matches, 0);
}

/** An `onMatches` that sees one match at a time. */
export function eachMatch(see: (match: OneMatch) => void): NonNullable<FrameSink['onMatches']> {
  return (matches, from, to) => {
    for (let index = from; index < to; index++) see(matchAt(matches, index));
  };
}
