import { describe, expect, test } from 'vitest';
import { BESIDE_BUDGET, saturate } from '../support/saturation.js';

const BUDGET = 16 * 1024 * 1024;

describe('at full blast, over its budget', () => {
  test.each(['worker', 'subscriber'] as const)(
    'with a %s that is too slow: nothing is lost, and memory stays within the budget and 150 MB',
    async (bottleneck) => {
      const { peakRss, messages, faults } = await saturate({ budget: BUDGET, duration: 250, bottleneck });
      expect(faults).toEqual([]);
      expect(messages).toBeGreaterThan(10_000);
      expect(peakRss).toBeLessThan(BUDGET + BESIDE_BUDGET);
    },
  );
});
