// Subscribers that stop reading, or read one byte a second: how fast the others get what they get.

import { describe, expect, test } from 'vitest';
import { share } from '../support/share.js';
import { Field } from '../support/slow-subscribers.js';

/** Messages of each producer in a round. With fewer, what a slow subscriber costs once would count. */
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
  const shared = share(async (whenOver) => {
    const started = await Field.start(EACH, whenOver);
    whenOver(() => started.close());
    return started;
  });

  test.each(['disconnect', 'drop-oldest', 'drop-newest'] as const)('%s', async (overflow) => {
    const field = shared();
    const faults: string[] = [...(await field.round()).faults];
    const alone: number[] = [];
    const beside: number[] = [];
    let rate = 0;
    for (let pair = 0; pair < MAX_PAIRS; pair++) {
      const without = await field.round();
      const withThem = await field.roundBesideSlow(overflow);
      alone.push(without.elapsed);
      beside.push(withThem.elapsed);
      rate = typical(alone) / typical(beside);
      faults.push(...without.faults, ...withThem.faults);
      if (pair + 1 >= MIN_PAIRS && rate >= LEAST_SHARE) break;
    }
    console.log(`${overflow}: ${alone.length} pairs of rounds, ${rate.toFixed(3)} of the rate`);
    expect(faults).toEqual([]);
    expect(rate).toBeGreaterThanOrEqual(LEAST_SHARE);
  });
});
