import { expect, test } from 'vitest';
import { BESIDE_BUDGET, saturate } from '../support/saturation.js';
import { SOAK_DURATION } from './duration.js';

const BUDGET = 64 * 1024 * 1024;
const MINUTE = 60_000;

test.each(['worker', 'subscriber'] as const)(
  'a minute at full blast with a %s that is too slow: nothing is lost, memory stays within the budget and 150 MB',
  async (bottleneck) => {
    const duration = Math.min(MINUTE, SOAK_DURATION / 4);
    const { peakRss, messages, faults } = await saturate({ budget: BUDGET, duration, bottleneck });
    console.log(`${bottleneck}: ${messages} messages, peak RSS ${Math.round(peakRss / 1e6)} MB`);
    expect(faults).toEqual([]);
    expect(peakRss).toBeLessThan(BUDGET + BESIDE_BUDGET);
  },
);
