// Turns the broker's counters into rates: keeps the sample before, of the totals and of each connection, and only
// while somebody asks. All who ask share the samples, so ten of them cost no more than one.

import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { HealthIssue } from '../connection/health-monitor.js';
import { type LatencyCounts, percentile } from '../connection/latency-histogram.js';
import type { ServerMetrics } from '../connection/server-metrics.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import type { AdminSource } from './admin-source.js';
import { rowOf, type Traffic, trafficOf } from './connection-rows.js';
import { readinessOf } from './readiness.js';
import type { BrokerStats, ConnectionRow } from './snapshot.js';

/** Two who ask within this time get the same sample, in ms. */
const LEAST_INTERVAL = 400;
/** A sample that is older, in ms, says nothing about now: the next one has to be waited for. */
const MOST_INTERVAL = 10_000;
/** How often the event loop is looked at, in ms. */
const DELAY_RESOLUTION = 20;

interface Counters {
  readonly at: number;
  readonly totals: BrokerStats['totals'];
  readonly accepted: Readonly<Record<string, number>>;
  readonly latency: LatencyCounts;
  readonly busyTime: number;
}

/** The state of the broker at one moment. */
export interface Sample {
  readonly stats: BrokerStats;
  readonly rows: readonly ConnectionRow[];
}

export class Sampler {
  readonly #source: AdminSource;
  readonly #delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION });
  /** Ends the look at the event loop, when nobody has asked for a while. */
  readonly #rest = setTimeout(() => this.#delay.disable(), MOST_INTERVAL).unref();
  #traffic = new WeakMap<SocketConnection, Traffic>();
  #before: Counters | undefined;
  #latest: { readonly at: number; readonly sample: Sample } | undefined;

  constructor(source: AdminSource) {
    this.#source = source;
  }

  /** Looks at nothing any more. */
  stop(): void {
    clearTimeout(this.#rest);
    this.#delay.disable();
  }

  /** The state now, or as of a moment ago; `undefined` until the broker's stages are there. */
  sample(): Sample | undefined {
    const now = performance.now();
    if (this.#latest !== undefined && now - this.#latest.at < LEAST_INTERVAL) return this.#latest.sample;
    const metrics = this.#source.metrics();
    if (metrics === undefined) return undefined;
    this.#delay.enable();
    this.#rest.refresh();
    const counters = countersOf(metrics, now);
    const isRecent = this.#before !== undefined && now - this.#before.at < MOST_INTERVAL;
    const before = isRecent ? this.#before : undefined;
    const rows = this.#rows(now, before === undefined ? 0 : now - before.at);
    const sample = { rows, stats: this.#stats(metrics, counters, before, rows) };
    this.#before = counters;
    this.#latest = { at: now, sample };
    this.#delay.reset();
    return sample;
  }

  /** @param interval ms since the sample before; 0: there is none that counts */
  #rows(now: number, interval: number): ConnectionRow[] {
    const { pool, options } = this.#source;
    const issues = new Map<string, HealthIssue[]>();
    for (const issue of this.#source.status().health.issues) {
      issues.set(issue.connectionId, [...(issues.get(issue.connectionId) ?? []), issue]);
    }
    const traffic = new WeakMap<SocketConnection, Traffic>();
    const rows: ConnectionRow[] = [];
    for (const connection of pool) {
      const counted = trafficOf(connection);
      const before = interval === 0 ? undefined : this.#traffic.get(connection);
      traffic.set(connection, counted);
      rows.push(
        rowOf(connection, { now, interval, before, issues: issues.get(connection.id) ?? [], options }),
      );
    }
    this.#traffic = traffic;
    return rows;
  }

  #stats(
    metrics: ServerMetrics,
    counters: Counters,
    before: Counters | undefined,
    rows: readonly ConnectionRow[],
  ): BrokerStats {
    const { connections, dispatch, flow, protocol } = metrics;
    const status = this.#source.status();
    const interval = before === undefined ? 0 : counters.at - before.at;
    const { threads } = dispatch;
    const of = (share: number) => percentile(share, counters.latency, before?.latency) ?? null;
    const memory = process.memoryUsage();
    return {
      at: Date.now(),
      version: status.version,
      state: status.state,
      readiness: readinessOf(this.#source),
      address: status.address ?? null,
      uptime: status.uptime,
      health: status.health.status,
      rates: ratesOf(metrics, counters, before),
      interval,
      totals: counters.totals,
      accepted: counters.accepted,
      rejected: protocol.rejected,
      dropped: metrics.totals.dropped,
      latency: { p50: of(0.5), p90: of(0.9), p99: of(0.99) },
      connections: {
        open: connections.size,
        capacity: connections.capacity,
        byRole: connections.byRole,
        byState: connections.byState,
        rejected: connections.rejected,
        slow: rows.filter(({ isSlow }) => isSlow).length,
        pendingBytes: rows.reduce((sum, { pendingBytes }) => sum + pendingBytes, 0),
      },
      workers: {
        threads,
        utilization:
          interval === 0 || threads === 0
            ? 0
            : Math.min(1, (counters.busyTime - (before?.busyTime ?? 0)) / interval / threads),
        batchesInFlight: dispatch.batchesInFlight,
        queuedBytes: dispatch.queuedBytes,
        restarts: dispatch.workerRestarts,
      },
      patterns: patternsOf(metrics),
      flow,
      memory: { heldBytes: metrics.memory.heldBytes, rss: memory.rss, heapUsed: memory.heapUsed },
      // Nanoseconds; not a number when nothing was noted yet.
      eventLoopDelay: Math.max(0, (this.#delay.percentile(99) || 0) / 1e6 - DELAY_RESOLUTION),
    };
  }
}

function countersOf({ totals, protocol, latency, dispatch }: ServerMetrics, at: number): Counters {
  const { messagesReceived, bytesReceived, messagesSent, bytesSent, messagesDropped } = totals;
  return {
    at,
    totals: {
      messagesReceived,
      bytesReceived,
      messagesSent,
      bytesSent,
      messagesRejected: sumOf(protocol.rejected),
      messagesDropped,
    },
    accepted: protocol.accepted,
    latency,
    busyTime: dispatch.busyTime,
  };
}

/** Since the sample before; without one, what the broker itself has measured last. */
function ratesOf(
  { rates }: ServerMetrics,
  now: Counters,
  before: Counters | undefined,
): BrokerStats['rates'] {
  if (before === undefined) return { ...rates, messagesRejected: 0, messagesDropped: 0, byType: {} };
  const seconds = (now.at - before.at) / 1000;
  const rate = (field: keyof BrokerStats['totals']) => (now.totals[field] - before.totals[field]) / seconds;
  return {
    messagesReceived: rate('messagesReceived'),
    bytesReceived: rate('bytesReceived'),
    messagesSent: rate('messagesSent'),
    bytesSent: rate('bytesSent'),
    messagesRejected: rate('messagesRejected'),
    messagesDropped: rate('messagesDropped'),
    byType: Object.fromEntries(
      Object.entries(now.accepted).map(([type, count]) => [
        type,
        (count - (Object.hasOwn(before.accepted, type) ? (before.accepted[type] ?? 0) : 0)) / seconds,
      ]),
    ),
  };
}

/** How well the patterns do: hits of all messages that were accepted. */
export function patternsOf({ protocol }: ServerMetrics): BrokerStats['patterns'] {
  const { matched, layoutsLearned, layoutsDropped } = protocol;
  return {
    hits: matched,
    misses: sumOf(protocol.accepted) - matched,
    learned: layoutsLearned,
    dropped: layoutsDropped,
  };
}

function sumOf(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
