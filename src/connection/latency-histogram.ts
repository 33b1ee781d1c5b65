// Histogram of the time that messages wait for their verdict: cheap to record, and precise enough for percentiles.

/** Cumulative counts of durations. */
export interface LatencyCounts {
  /** Upper bounds of the buckets, in ms. A last bucket has no bound. */
  readonly bounds: readonly number[];
  /** Number of durations in each bucket. */
  readonly counts: readonly number[];
  /** Sum of all durations, in ms. */
  readonly sum: number;
}

/** In ms: from the latency of an idle broker to one that indicates a problem. */
export const LATENCY_BOUNDS: readonly number[] = [
  0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000,
];

export class LatencyHistogram {
  readonly #counts = new Float64Array(LATENCY_BOUNDS.length + 1);
  #sum = 0;

  get counts(): LatencyCounts {
    return { bounds: LATENCY_BOUNDS, counts: [...this.#counts], sum: this.#sum };
  }

  /** @param duration in ms */
  observe(duration: number): void {
    let bucket = 0;
    while (bucket < LATENCY_BOUNDS.length && duration > (LATENCY_BOUNDS[bucket] ?? 0)) bucket++;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sum += duration;
  }
}

/**
 * The duration that the given share of observed durations does not exceed, in ms: interpolated linearly within its
 * bucket, and the last bound if it is beyond that. `undefined` if nothing was observed.
 * @param share from 0 to 1
 * @param before earlier counts, to evaluate only the durations observed since then
 */
export function percentile(
  share: number,
  { bounds, counts }: LatencyCounts,
  before?: LatencyCounts,
): number | undefined {
  const since = counts.map((count, bucket) => count - (before?.counts[bucket] ?? 0));
  const total = since.reduce((sum, count) => sum + count, 0);
  if (total === 0) return undefined;
  let rest = share * total;
  for (const [bucket, count] of since.entries()) {
    if (count > 0 && rest <= count) {
      const low = bounds[bucket - 1] ?? 0;
      const high = bounds[bucket] ?? low;
      return low + (high - low) * (rest / count);
    }
    rest -= count;
  }
  return bounds.at(-1);
}
