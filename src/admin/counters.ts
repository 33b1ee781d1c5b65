// The broker's counters at one point in time, from which rates are computed.

import type { LatencyCounts } from '../connection/latency-histogram.js';
import type { ServerMetrics } from '../connection/server-metrics.js';
import type { BrokerStats } from './snapshot.js';

export interface Counters {
  /** Monotonic time in ms. */
  readonly at: number;
  readonly totals: BrokerStats['totals'];
  readonly accepted: Readonly<Record<string, number>>;
  readonly latency: LatencyCounts;
  readonly busyTime: number;
  /** Of the durable log, the time in ms. */
  readonly syncs: number;
  readonly syncTime: number;
}

/** @param at monotonic time in ms */
export function countersOf(metrics: ServerMetrics, at: number): Counters {
  const { totals, protocol, latency, dispatch, durableLog } = metrics;
  const { messagesReceived, controlReceived, bytesReceived } = totals;
  const { messagesSent, controlSent, bytesSent, messagesDropped } = totals;
  return {
    at,
    totals: {
      messagesReceived,
      controlReceived,
      bytesReceived,
      messagesSent,
      controlSent,
      bytesSent,
      messagesRejected: sumOf(protocol.rejected),
      messagesDropped,
    },
    accepted: protocol.accepted,
    latency,
    busyTime: dispatch.busyTime,
    syncs: durableLog?.syncs ?? 0,
    syncTime: durableLog?.syncTime ?? 0,
  };
}

export function sumOf(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
