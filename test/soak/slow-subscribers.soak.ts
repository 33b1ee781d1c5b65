// Subscribers that stop reading, or read one byte a second: how fast the others get what they get.

import { describe, expect, test } from 'vitest';
import { Field } from '../support/slow-subscribers.js';

const EACH = 50_000;
/** Pairs of rounds at most: as many as it takes to see past the noise of a busy machine. */
const MAX_PAIRS = 40;
const MIN_PAIRS = 3;
const LEAST_SHARE = 0.95;

/** The mean of the fastest third: noise only ever takes time, and a single best may be luck. */
function typical(times: readonly number[]): number {
  const fastest = times.toSorted((a, b) => a - b).slice(0, Math.ceil(times.length / 3));
  return fastest.reduce((sum, time) => sum + time, 0) / fastest.length;
}

describe('beside slow subscribers, the others lose nothing and keep their rate', () => {
  test.each(['disconnect', 'drop-oldest', 'drop-newest'] as const)('%s', async (overflow) => {
    const field = await Field.start(EACH);
    const faults: string[] = [...(await field.round()).faults];
    const alone: number[] = [];
    const beside: number[] = [];
    let share = 0;
    for (let pair = 0; pair < MAX_PAIRS; pair++) {
      const without = await field.round();
      const withThem = await field.roundBesideSlow(overflow);
      alone.push(without.elapsed);
      beside.push(withThem.elapsed);
      share = typical(alone) / typical(beside);
      faults.push(...without.faults, ...withThem.faults);
      if (pair + 1 >= MIN_PAIRS && share >= LEAST_SHARE) break;
    }
    field.close();
    console.log(`${overflow}: ${alone.length} pairs of rounds, ${share.toFixed(3)} of the rate`);
    expect(faults).toEqual([]);
    expect(share).toBeGreaterThanOrEqual(LEAST_SHARE);
  });
});
