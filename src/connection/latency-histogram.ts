// How long messages wait for their verdict, as counts by duration: cheap to record, and enough for percentiles.

/** Counts of durations. Only ever grows. */
export interface LatencyCounts {
  /** Upper bounds of the buckets, in ms; one more bucket has no bound. */
  readonly bounds: readonly number[];
  /** How many durations fell into each bucket. */
  readonly counts: readonly number[];
  /** Sum of all durations, in ms. */
  readonly sum: number;
}

/** In ms: from what an idle broker takes up to where a crawler should be worried. */
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
 * The duration that this share of the observed ones does not exceed, in ms: taken evenly within its bucket, and the last
 * bound for those beyond it. `undefined` when none were observed.
 * @param share of 0 to 1
 * @param before counts of an earlier moment, to look at those since then only
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
