// A histogram whose counts are kept elsewhere: prom-client's own wants to be told of each value as it comes.

import { Histogram, type Registry } from 'prom-client';
import type { LatencyCounts } from '../connection/latency-histogram.js';

export interface CollectedHistogramOptions {
  readonly name: string;
  readonly help: string;
  readonly registers: Registry[];
  /** Gives the counts of the moment; `undefined` while there are none. */
  readonly collect: () => LatencyCounts | undefined;
}

/** Counts of durations in ms, exported in seconds. */
export class CollectedHistogram extends Histogram {
  readonly #options: CollectedHistogramOptions;

  constructor(options: CollectedHistogramOptions) {
    const { name, help, registers } = options;
    super({ name, help, registers });
    this.#options = options;
  }

  override async get() {
    const { name, help, collect } = this.#options;
    const values = valuesOf(name, collect());
    return { ...(await super.get()), name, help, values };
  }

  /** What the registry calls for its text, in place of `get`. */
  getForPromString() {
    return this.get();
  }
}

function valuesOf(name: string, latency: LatencyCounts | undefined) {
  if (latency === undefined) return [];
  const { bounds, counts, sum } = latency;
  let total = 0;
  const buckets = counts.map((count, bucket) => {
    total += count;
    const bound = bounds[bucket];
    return {
      labels: { le: bound === undefined ? '+Inf' : bound / 1000 },
      value: total,
      metricName: `${name}_bucket`,
    };
  });
  return [
    ...buckets,
    { labels: {}, value: sum / 1000, metricName: `${name}_sum` },
    { labels: {}, value: total, metricName: `${name}_count` },
  ];
}
