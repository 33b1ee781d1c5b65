// A histogram in the form that Prometheus reads. prom-client's own has to be told of each value as it comes; this one
// is written from counts that the broker has anyway.

import type { LatencyCounts } from '../connection/latency-histogram.js';

/** Counts of durations in ms, as a metric in seconds. */
export function histogramText(name: string, help: string, { bounds, counts, sum }: LatencyCounts): string {
  let total = 0;
  const buckets = counts.map((count, bucket) => {
    total += count;
    const bound = bounds[bucket];
    return `${name}_bucket{le="${bound === undefined ? '+Inf' : bound / 1000}"} ${total}`;
  });
  return [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} histogram`,
    ...buckets,
    `${name}_sum ${sum / 1000}`,
    `${name}_count ${total}`,
    '',
  ].join('\n');
}
