import { describe, expect, test } from 'vitest';
import { LATENCY_BOUNDS, LatencyHistogram, percentile } from '#src/connection/latency-histogram.js';

describe('LatencyHistogram', () => {
  test('counts each duration in the bucket whose bound it does not exceed', () => {
    const histogram = new LatencyHistogram();
    for (const duration of [0, 0.1, 0.11, 5000, 5001]) histogram.observe(duration);
    const { counts, sum } = histogram.counts;
    expect(counts[0]).toBe(2);
    expect(counts[1]).toBe(1);
    expect(counts.slice(-2)).toEqual([1, 1]);
    expect(counts).toHaveLength(LATENCY_BOUNDS.length + 1);
    expect(sum).toBeCloseTo(10_001.21);
  });
});

describe('percentile', () => {
  test('lies within the bucket of the duration it stands for', () => {
    const histogram = new LatencyHistogram();
    for (let index = 0; index < 99; index++) histogram.observe(0.3);
    histogram.observe(70);
    expect(percentile(0.5, histogram.counts)).toBeGreaterThan(0.2);
    expect(percentile(0.5, histogram.counts)).toBeLessThanOrEqual(0.5);
    expect(percentile(0.999, histogram.counts)).toBeGreaterThan(50);
    expect(percentile(0.999, histogram.counts)).toBeLessThanOrEqual(100);
  });

  test('covers what was observed since an earlier state, if that is given', () => {
    const histogram = new LatencyHistogram();
    histogram.observe(3000);
    const before = histogram.counts;
    histogram.observe(0.05);
    expect(percentile(0.99, histogram.counts, before)).toBeLessThanOrEqual(0.1);
  });

  test('of nothing is unknown; beyond the last bound, it is that bound', () => {
    const histogram = new LatencyHistogram();
    expect(percentile(0.5, histogram.counts)).toBeUndefined();
    histogram.observe(60_000);
    expect(percentile(0.5, histogram.counts)).toBe(5000);
  });
});
