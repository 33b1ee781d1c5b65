// `/metrics`: the broker's metrics in Prometheus text format. They are collected from the statistics of the stages on
// request: nothing is counted twice, and there is no cost per message. Counters cover the whole broker, so they do not
// decrease when a connection closes.

import type { Registry as MetricsRegistry } from 'prom-client';
import type { LatencyCounts } from '../connection/latency-histogram.js';
import type { ServerMetrics } from '../connection/server-metrics.js';
import { WIRE_ERRORS } from '../errors.js';
import { requireInstalled } from '../installed.js';
import type { MessageDirection, MessageRegistry } from '../messages/message-registry.js';
import type { AdminSource } from './admin-source.js';
import { patternsOf } from './sampler.js';

// Not by `import`: in some releases of Node 20, a package in a symlinked folder, as of pnpm, then has no exports.
const { Counter, collectDefaultMetrics, Gauge, Registry } =
  requireInstalled<typeof import('prom-client')>('prom-client');

/** One value, or one per value of the label. */
type MetricValue = number | Readonly<Record<string, number>>;

interface MetricEntry {
  readonly name: string;
  readonly help: string;
  /** The label that the keys of the value belong to, if it is not a number. Peers must not be able to invent keys. */
  readonly label?: 'type' | 'code' | 'policy' | 'kind';
  readonly collect: (metrics: ServerMetrics, registry: MessageRegistry) => MetricValue;
}

/** All codes are exported from the start, so that a rate includes the first rejection. */
const ZERO_REJECTIONS = Object.fromEntries(Object.keys(WIRE_ERRORS).map((code) => [code, 0]));

const COUNTERS: readonly MetricEntry[] = [
  {
    name: 'sluice_messages_received_total',
    help: 'Valid application messages, by type',
    label: 'type',
    collect: ({ protocol }, registry) => ({
      ...zeroByType(registry, ['crawler', 'app']),
      ...protocol.accepted,
    }),
  },
  {
    name: 'sluice_control_messages_received_total',
    help: 'Valid control messages: those for the broker itself, by type',
    label: 'type',
    collect: ({ protocol }, registry) => ({ ...zeroByType(registry, ['control']), ...protocol.control }),
  },
  {
    name: 'sluice_messages_rejected_total',
    help: 'Rejected messages, by error code',
    label: 'code',
    collect: ({ protocol }) => ({ ...ZERO_REJECTIONS, ...protocol.rejected }),
  },
  {
    name: 'sluice_messages_delivered_total',
    help: "Application messages delivered to peers: forwarded, or sent by code in the broker's process",
    collect: ({ totals }) => totals.messagesSent,
  },
  {
    name: 'sluice_control_messages_sent_total',
    help: "The broker's own messages to peers: answers, errors, pings",
    collect: ({ totals }) => totals.controlSent,
  },
  {
    name: 'sluice_messages_dropped_total',
    help: 'Messages not delivered, by overflow policy; closed: the peer had disconnected',
    label: 'policy',
    collect: ({ totals }) => totals.dropped,
  },
  {
    name: 'sluice_messages_undeliverable_total',
    help: 'Messages of applications that no crawler could receive',
    collect: ({ protocol }) => protocol.undeliverable,
  },
  {
    name: 'sluice_heartbeats_dropped_total',
    help: 'Heartbeats that arrived faster than minHeartbeatInterval',
    collect: ({ protocol }) => protocol.heartbeatsDropped,
  },
  {
    name: 'sluice_received_bytes_total',
    help: 'Bytes of complete messages received, including control messages',
    collect: ({ totals }) => totals.bytesReceived,
  },
  {
    name: 'sluice_sent_bytes_total',
    help: 'Bytes delivered to peers, including control messages',
    collect: ({ totals }) => totals.bytesSent,
  },
  {
    name: 'sluice_connections_opened_total',
    help: 'Accepted connections',
    collect: ({ connections }) => connections.added,
  },
  {
    name: 'sluice_connections_rejected_total',
    help: 'Connections rejected because maxConnections was reached',
    collect: ({ connections }) => connections.rejected,
  },
  {
    name: 'sluice_pattern_matches_total',
    help: 'Accepted application messages: hit, matched by a pattern; miss, parsed',
    label: 'kind',
    collect: (metrics) => {
      const { hits, misses } = patternsOf(metrics);
      return { hit: hits, miss: misses };
    },
  },
  {
    name: 'sluice_pattern_layouts_total',
    help: 'Message layouts that workers have learned, and evicted as unused',
    label: 'kind',
    collect: ({ protocol }) => ({ learned: protocol.layoutsLearned, evicted: protocol.layoutsEvicted }),
  },
  {
    name: 'sluice_pattern_mismatches_total',
    help: "Messages on which a pattern and the slow path disagree, with patterns 'verify'",
    collect: ({ protocol }) => protocol.mismatched,
  },
  {
    name: 'sluice_batches_total',
    help: 'Batches sent to workers',
    collect: ({ dispatch }) => dispatch.batches,
  },
  {
    name: 'sluice_batch_retries_total',
    help: 'Batches retried because their worker failed',
    collect: ({ dispatch }) => dispatch.retries,
  },
  {
    name: 'sluice_worker_busy_seconds_total',
    help: 'Time spent on batches, summed over all workers; its rate divided by sluice_workers is the utilization',
    collect: ({ dispatch }) => dispatch.busyTime / 1000,
  },
  {
    name: 'sluice_worker_restarts_total',
    help: 'Number of times that all workers were restarted',
    collect: ({ dispatch }) => dispatch.workerRestarts,
  },
  {
    name: 'sluice_reading_pauses_total',
    help: 'Number of times that backpressure paused reading: from all connections, or from one',
    label: 'kind',
    collect: ({ flow }) => ({ all: flow.pauses, one: flow.connectionPauses }),
  },
  {
    name: 'sluice_log_lines_dropped_total',
    help: 'Log lines dropped because the log was not read or could not be written',
    collect: ({ log }) => log.linesDropped,
  },
  {
    name: 'sluice_durable_log_messages_total',
    help: 'Messages that are on the disk, since the log was begun',
    collect: ({ durableLog }) => durableLog?.durable ?? 0,
  },
  {
    name: 'sluice_dead_letters_total',
    help: 'Messages in the dead letters since the start: failed too often in a work group, rejected, or rejected and not kept',
    label: 'kind',
    collect: ({ durableLog }) => ({ failed: 0, rejected: 0, omitted: 0, ...durableLog?.deadLetters }),
  },
  {
    name: 'sluice_durable_log_messages_passed_total',
    help: 'Messages forwarded without being stored, while the disk had failed',
    collect: ({ durableLog }) => durableLog?.messagesPassed ?? 0,
  },
  {
    name: 'sluice_durable_log_syncs_total',
    help: 'Syncs of the durable log',
    collect: ({ durableLog }) => durableLog?.syncs ?? 0,
  },
  {
    name: 'sluice_durable_log_sync_seconds_total',
    help: 'Time that the syncs took; its rate divided by that of the syncs is the time of one',
    collect: ({ durableLog }) => (durableLog?.syncTime ?? 0) / 1000,
  },
  {
    name: 'sluice_durable_log_failures_total',
    help: 'How often the disk of the durable log has failed',
    collect: ({ durableLog }) => durableLog?.failures ?? 0,
  },
  {
    name: 'sluice_fleet_messages_forwarded_total',
    help: 'Messages that the engine of the fleet has stored for this host',
    collect: ({ fleet }) => fleet?.messages ?? 0,
  },
  {
    name: 'sluice_fleet_bytes_forwarded_total',
    help: 'Bytes of these messages',
    collect: ({ fleet }) => fleet?.bytes ?? 0,
  },
  {
    name: 'sluice_fleet_batches_forwarded_total',
    help: 'Batches that these messages were stored in',
    collect: ({ fleet }) => fleet?.batches ?? 0,
  },
  {
    name: 'sluice_fleet_messages_too_long_total',
    help: 'Messages that were not forwarded, since the engine does not accept messages that long',
    collect: ({ fleet }) => fleet?.tooLong ?? 0,
  },
  {
    name: 'sluice_fleet_messages_rejected_total',
    help: 'Messages of the fleet that were rejected here',
    collect: ({ fleet }) => fleet?.rejected ?? 0,
  },
  {
    name: 'sluice_fleet_invalid_batches_total',
    help: 'Batches in the engine that are not those of a broker',
    collect: ({ fleet }) => fleet?.invalidBatches ?? 0,
  },
];

const GAUGES: readonly MetricEntry[] = [
  {
    name: 'sluice_fleet_connected',
    help: '1 while the engine of the fleet is connected; 0 also without a fleet',
    collect: ({ fleet }) => Number(fleet?.isConnected ?? false),
  },
  {
    name: 'sluice_fleet_lag_messages',
    help: 'Durable messages that are not forwarded yet, as far as it is known',
    collect: ({ fleet }) => fleet?.lag ?? 0,
  },
  {
    name: 'sluice_fleet_feeds',
    help: 'Readers of the stream of the fleet: one for all live subscriptions, and one for each other one',
    collect: ({ fleet }) => fleet?.feeds ?? 0,
  },
  {
    name: 'sluice_durable_log_available',
    help: '1 while the disk of the durable log works; 0 also without a durable log',
    collect: ({ durableLog }) => Number(durableLog?.isAvailable ?? false),
  },
  {
    name: 'sluice_durable_log_bytes',
    help: 'Bytes of the durable log on the disk',
    collect: ({ durableLog }) => durableLog?.bytes ?? 0,
  },
  {
    name: 'sluice_durable_log_waiting_bytes',
    help: 'Bytes that wait for the disk',
    collect: ({ durableLog }) => durableLog?.pendingBytes ?? 0,
  },
  {
    name: 'sluice_durable_log_stored_messages',
    help: 'Messages in the durable log',
    collect: ({ durableLog }) => (durableLog === undefined ? 0 : durableLog.durable - durableLog.first),
  },
  {
    name: 'sluice_durable_log_cursors',
    help: 'Cursors of the durable log',
    collect: ({ durableLog }) => durableLog?.cursorsTotal ?? 0,
  },
  {
    // Without a label: clients choose the names of cursors.
    name: 'sluice_durable_log_max_lag_messages',
    help: 'Largest number of messages that a cursor is behind; 0 without cursors',
    collect: ({ durableLog }) => durableLog?.cursors[0]?.behind ?? 0,
  },
  {
    name: 'sluice_work_group_messages',
    help: 'Messages of work groups that members have and have not acknowledged, or that wait to be delivered again',
    label: 'kind',
    collect: ({ protocol }) => ({
      held: sum(protocol.workGroups, ({ held }) => held),
      waiting: sum(protocol.workGroups, ({ waiting }) => waiting),
    }),
  },
  {
    name: 'sluice_work_group_members',
    help: 'Subscriptions to work groups',
    collect: ({ protocol }) => sum(protocol.workGroups, ({ members }) => members),
  },
  {
    name: 'sluice_workers',
    help: 'Validation workers that have started',
    collect: ({ dispatch }) => dispatch.threads,
  },
  {
    name: 'sluice_batches_in_flight',
    help: 'Batches being processed by workers',
    collect: ({ dispatch }) => dispatch.batchesInFlight,
  },
  {
    name: 'sluice_queued_bytes',
    help: 'Bytes waiting for a free worker',
    collect: ({ dispatch }) => dispatch.queuedBytes,
  },
  {
    name: 'sluice_held_bytes',
    help: 'Bytes held for undelivered messages',
    collect: ({ memory }) => memory.heldBytes,
  },
  {
    name: 'sluice_slab_bytes',
    help: 'Bytes of shared memory allocated',
    collect: ({ memory }) => memory.allocatedBytes,
  },
  {
    name: 'sluice_reading_paused',
    help: '1 while backpressure pauses reading',
    collect: ({ flow }) => Number(flow.isPaused),
  },
  {
    name: 'sluice_subscriptions',
    help: 'Subscriptions of all connections',
    collect: ({ protocol }) => protocol.subscriptions,
  },
];

const LATENCY = [
  'sluice_validation_latency_seconds',
  'Time from receipt to verdict, observed per chunk',
] as const;

export class MetricsExporter {
  readonly #registry = new Registry();
  readonly #source: AdminSource;
  /** Each function updates one metric. */
  readonly #updates: ((metrics: ServerMetrics, registry: MessageRegistry) => void)[] = [];

  constructor(source: AdminSource) {
    this.#source = source;
    for (const entry of COUNTERS) this.#addCounter(entry);
    for (const entry of GAUGES) this.#addGauge(entry);
    this.#addConnections();
    this.#addReachable();
    this.#addBuildInfo();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** All metrics, including those of the process. */
  async text(): Promise<string> {
    const metrics = this.#source.metrics();
    const registry = this.#source.registry();
    if (metrics !== undefined && registry !== undefined) {
      for (const update of this.#updates) update(metrics, registry);
    }
    const texts = await Promise.all([this.#registry.metrics(), processMetrics().metrics()]);
    if (metrics !== undefined) texts.push(histogramText(...LATENCY, metrics.latency));
    return texts.join('\n');
  }

  #addCounter({ name, help, label, collect }: MetricEntry): void {
    const labelNames = label === undefined ? [] : [label];
    const counter = new Counter({ name, help, labelNames, registers: [this.#registry] });
    this.#updates.push((metrics, registry) => {
      counter.reset();
      for (const [labels, value] of labelled(label, collect(metrics, registry))) counter.inc(labels, value);
    });
  }

  #addGauge({ name, help, label, collect }: MetricEntry): void {
    const labelNames = label === undefined ? [] : [label];
    const gauge = new Gauge({ name, help, labelNames, registers: [this.#registry] });
    this.#updates.push((metrics, registry) => {
      for (const [labels, value] of labelled(label, collect(metrics, registry))) gauge.set(labels, value);
    });
  }

  /** Metrics that need an iteration over all connections, in a single pass. */
  #addConnections(): void {
    const { pool } = this.#source;
    const registers = [this.#registry];
    const connections = new Gauge({
      name: 'sluice_connections',
      help: 'Open connections, by role and state',
      labelNames: ['role', 'state'],
      registers,
    });
    const slow = new Gauge({
      name: 'sluice_slow_consumers',
      help: 'Peers that do not keep up, including those for which messages are dropped',
      registers,
    });
    const dropping = new Gauge({
      name: 'sluice_dropping_consumers',
      help: 'Peers for which messages were dropped within the last minute',
      registers,
    });
    const pending = new Gauge({
      name: 'sluice_pending_bytes',
      help: 'Bytes waiting for peers to read them',
      registers,
    });
    this.#updates.push(() => {
      for (const gauge of [connections, slow, dropping, pending]) gauge.reset();
      for (const connection of pool) {
        connections.inc({ role: connection.role, state: connection.state });
        pending.inc(connection.outbox.pendingBytes);
        const { deliveryState } = connection;
        if (deliveryState !== 'current') slow.inc();
        if (deliveryState === 'dropping') dropping.inc();
      }
    });
  }

  #addReachable(): void {
    const gauge = new Gauge({
      name: 'sluice_reachable',
      help: '1 while peers can connect; 0 while the socket file is gone or another one is in its place',
      registers: [this.#registry],
    });
    this.#updates.push(() => gauge.set(Number(this.#source.status().isReachable)));
  }

  #addBuildInfo(): void {
    const { version } = this.#source.status();
    new Gauge({
      name: 'sluice_build_info',
      help: 'Versions of Sluice and Node; always 1',
      labelNames: ['version', 'node'],
      registers: [this.#registry],
    }).set({ version, node: process.version }, 1);
  }
}

/** Zero for every type of these directions. */
function zeroByType(
  registry: MessageRegistry,
  directions: readonly MessageDirection[],
): Record<string, number> {
  const types = registry.types.filter(({ index, direction }) => index > 0 && directions.includes(direction));
  return Object.fromEntries(types.map(({ name }) => [name, 0]));
}

function* labelled(
  label: MetricEntry['label'],
  collected: MetricValue,
): Generator<[labels: Record<string, string>, value: number]> {
  if (typeof collected === 'number') yield [{}, collected];
  else for (const [key, value] of Object.entries(collected)) yield [{ [label ?? '']: key }, value];
}

/**
 * Metrics that are read through private functions of Node, `process._getActiveHandles` and
 * `process._getActiveRequests`, which have crashed a busy process with an assertion in native code.
 * `nodejs_active_resources` counts the same through a documented function.
 */
const UNSAFE_METRICS = [
  'nodejs_active_handles',
  'nodejs_active_handles_total',
  'nodejs_active_requests',
  'nodejs_active_requests_total',
];

let processRegistry: MetricsRegistry | undefined;

/** prom-client's process metrics. Created once per process, on first use: their observers cannot be removed. */
function processMetrics(): MetricsRegistry {
  if (processRegistry === undefined) {
    processRegistry = new Registry();
    collectDefaultMetrics({ register: processRegistry });
    for (const name of UNSAFE_METRICS) processRegistry.removeSingleMetric(name);
  }
  return processRegistry;
}

/**
 * Formats counts of durations in ms as a histogram in seconds. prom-client's own histogram would have to observe each
 * value; this one is written from counts that the broker keeps anyway.
 */
function histogramText(name: string, help: string, { bounds, counts, sum }: LatencyCounts): string {
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

function sum<T>(items: readonly T[], countOf: (item: T) => number): number {
  return items.reduce((total, item) => total + countOf(item), 0);
}
