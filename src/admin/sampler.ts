// Converts the broker's counters into rates: keeps the previous sample of the totals and of each connection. Samples
// are taken on request and shared by all clients, so ten of them cost no more than one.

import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { HealthIssue } from '../connection/health-monitor.js';
import { percentile } from '../connection/latency-histogram.js';
import type { ServerMetrics } from '../connection/server-metrics.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import type { WorkGroupStatistics } from '../protocol/work-group.js';
import type { AdminSource } from './admin-source.js';
import { rowOf, type Traffic, trafficOf } from './connection-rows.js';
import { type Counters, countersOf, sumOf } from './counters.js';
import { readinessOf } from './readiness.js';
import type { BrokerStats, ConnectionRow } from './snapshot.js';

/** Requests within this time, in ms, get the same sample. */
const MIN_INTERVAL = 400;
/** Maximum age of the previous sample for computing rates, in ms: monitors ask once per minute, or more often. */
const MAX_INTERVAL = 90_000;
/** Maximum age of the event-loop delay that counts as the current one, in ms. */
const MAX_DELAY_AGE = 10_000;
/** Sampling interval of the event-loop delay, in ms. */
const DELAY_RESOLUTION = 20;
/** Maximum number of work groups that are listed. */
const MAX_WORK_GROUPS = 100;

/** The state of the broker at one point in time. */
export interface Sample {
  readonly stats: BrokerStats;
  readonly rows: readonly ConnectionRow[];
}

export class Sampler {
  readonly #source: AdminSource;
  readonly #eventLoopDelay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION });
  /** Stops measuring the event loop after a while without requests. */
  readonly #idleTimer = setTimeout(() => this.#eventLoopDelay.disable(), MAX_INTERVAL).unref();
  #traffic = new WeakMap<SocketConnection, Traffic>();
  #previous: Counters | undefined;
  #latest: { readonly at: number; readonly sample: Sample } | undefined;

  constructor(source: AdminSource) {
    this.#source = source;
  }

  /** Stops measuring. */
  stop(): void {
    clearTimeout(this.#idleTimer);
    this.#eventLoopDelay.disable();
  }

  /** Delay of the event loop in the latest sample, in ms; `undefined` unless there is a recent one. */
  get eventLoopDelay(): number | undefined {
    if (this.#latest === undefined || performance.now() - this.#latest.at > MAX_DELAY_AGE) return undefined;
    return this.#latest.sample.stats.eventLoopDelay;
  }

  /** The current state, at most {@link MIN_INTERVAL} old; `undefined` until the broker's stages exist. */
  sample(): Sample | undefined {
    const now = performance.now();
    if (this.#latest !== undefined && now - this.#latest.at < MIN_INTERVAL) return this.#latest.sample;
    const metrics = this.#source.metrics();
    if (metrics === undefined) return undefined;
    this.#eventLoopDelay.enable();
    this.#idleTimer.refresh();
    const counters = countersOf(metrics, now);
    const isRecent = this.#previous !== undefined && now - this.#previous.at < MAX_INTERVAL;
    const previous = isRecent ? this.#previous : undefined;
    const rows = this.#rows(now, previous === undefined ? 0 : now - previous.at);
    const sample = { rows, stats: this.#stats(metrics, counters, previous, rows) };
    this.#previous = counters;
    this.#latest = { at: now, sample };
    this.#eventLoopDelay.reset();
    return sample;
  }

  /** A connection as in the current sample; without rates if it is newer than that. */
  row(connection: SocketConnection): ConnectionRow {
    const issues = this.#source
      .status()
      .health.issues.filter(({ connectionId }) => connectionId === connection.id);
    return (
      this.sample()?.rows.find(({ id }) => id === connection.id) ??
      rowOf(connection, { now: performance.now(), interval: 0, previous: undefined, issues })
    );
  }

  /** @param interval ms since the previous sample; 0: there is no recent one */
  #rows(now: number, interval: number): ConnectionRow[] {
    const { pool } = this.#source;
    const issues = new Map<string, HealthIssue[]>();
    for (const issue of this.#source.status().health.issues) {
      issues.set(issue.connectionId, [...(issues.get(issue.connectionId) ?? []), issue]);
    }
    const traffic = new WeakMap<SocketConnection, Traffic>();
    const rows: ConnectionRow[] = [];
    for (const connection of pool) {
      const counted = trafficOf(connection);
      const previous = interval === 0 ? undefined : this.#traffic.get(connection);
      traffic.set(connection, counted);
      rows.push(rowOf(connection, { now, interval, previous, issues: issues.get(connection.id) ?? [] }));
    }
    this.#traffic = traffic;
    return rows;
  }

  #stats(
    metrics: ServerMetrics,
    counters: Counters,
    previous: Counters | undefined,
    rows: readonly ConnectionRow[],
  ): BrokerStats {
    const { connections, dispatch, flow, protocol } = metrics;
    const status = this.#source.status();
    const interval = previous === undefined ? 0 : counters.at - previous.at;
    const { threads } = dispatch;
    const latencyAt = (share: number) => percentile(share, counters.latency, previous?.latency) ?? null;
    const memory = process.memoryUsage();
    return {
      at: Date.now(),
      version: status.version,
      state: status.state,
      readiness: readinessOf(this.#source),
      address: status.address ?? null,
      uptime: status.uptime,
      health: status.health.status,
      rates: ratesOf(metrics, counters, previous),
      interval,
      totals: counters.totals,
      accepted: counters.accepted,
      control: protocol.control,
      rejected: protocol.rejected,
      dropped: metrics.totals.dropped,
      latency: { p50: latencyAt(0.5), p90: latencyAt(0.9), p99: latencyAt(0.99) },
      connections: {
        open: connections.size,
        capacity: connections.capacity,
        byRole: connections.byRole,
        byState: connections.byState,
        rejected: connections.rejected,
        slow: rows.filter(({ isSlow }) => isSlow).length,
        dropping: rows.filter(({ isDropping }) => isDropping).length,
        pendingBytes: rows.reduce((sum, { pendingBytes }) => sum + pendingBytes, 0),
      },
      workers: {
        threads,
        utilization:
          interval === 0 || threads === 0
            ? 0
            : Math.min(1, (counters.busyTime - (previous?.busyTime ?? 0)) / interval / threads),
        batchesInFlight: dispatch.batchesInFlight,
        queuedBytes: dispatch.queuedBytes,
        restarts: dispatch.workerRestarts,
      },
      patterns: patternsOf(metrics),
      flow,
      durableLog: durableLogOf(metrics, previous),
      fleet: metrics.fleet,
      memory: { heldBytes: metrics.memory.heldBytes, rss: memory.rss, heapUsed: memory.heapUsed },
      // In nanoseconds; NaN before the first measurement.
      eventLoopDelay: Math.max(0, (this.#eventLoopDelay.percentile(99) || 0) / 1e6 - DELAY_RESOLUTION),
    };
  }
}

/** Rates since the previous sample; without one, the rates that the broker itself measured last. */
function ratesOf(
  { rates }: ServerMetrics,
  now: Counters,
  previous: Counters | undefined,
): BrokerStats['rates'] {
  if (previous === undefined) return { ...rates, messagesRejected: 0, messagesDropped: 0, byType: {} };
  const seconds = (now.at - previous.at) / 1000;
  const rate = (field: keyof BrokerStats['totals']) => (now.totals[field] - previous.totals[field]) / seconds;
  return {
    messagesReceived: rate('messagesReceived'),
    controlReceived: rate('controlReceived'),
    bytesReceived: rate('bytesReceived'),
    messagesSent: rate('messagesSent'),
    controlSent: rate('controlSent'),
    bytesSent: rate('bytesSent'),
    messagesRejected: rate('messagesRejected'),
    messagesDropped: rate('messagesDropped'),
    byType: Object.fromEntries(
      Object.entries(now.accepted).map(([type, count]) => [
        type,
        (count - (Object.hasOwn(previous.accepted, type) ? (previous.accepted[type] ?? 0) : 0)) / seconds,
      ]),
    ),
  };
}

/** @param previous the counters that the average time of a sync is measured from */
function durableLogOf(
  { durableLog, protocol: { workGroups } }: ServerMetrics,
  previous: Counters | undefined,
): BrokerStats['durableLog'] {
  if (durableLog === undefined) return undefined;
  const { first, durable, bytes, pendingBytes, isAvailable, syncs, syncTime } = durableLog;
  const { failures, messagesPassed, cursorsTotal, cursors, deadLetters } = durableLog;
  const latest = previous === undefined ? 0 : syncs - previous.syncs;
  return {
    messages: durable - first,
    bytes,
    pendingBytes,
    isAvailable,
    syncTime: latest === 0 ? null : (syncTime - (previous?.syncTime ?? 0)) / latest,
    syncs,
    failures,
    messagesPassed,
    cursorsTotal,
    cursors,
    workGroupsTotal: workGroups.length,
    workGroups: [...workGroups].sort((a, b) => openOf(b) - openOf(a)).slice(0, MAX_WORK_GROUPS),
    deadLetters,
  };
}

/** Messages that a group has begun with, and that are not done. */
function openOf({ held, waiting }: WorkGroupStatistics): number {
  return held + waiting;
}

/** Pattern statistics: hits and misses among the accepted application messages. */
export function patternsOf({ protocol }: ServerMetrics): BrokerStats['patterns'] {
  const { matched, layoutsLearned, layoutsEvicted } = protocol;
  return {
    hits: matched,
    misses: sumOf(protocol.accepted) - matched,
    learned: layoutsLearned,
    evicted: layoutsEvicted,
  };
}
