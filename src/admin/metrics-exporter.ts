// `/metrics`: the broker's figures in the form that Prometheus reads. They are collected from the statistics of the
// stages when somebody asks; nothing is counted twice, and no message pays for it. Counters are of the whole broker,
// so they do not go back when a connection goes.

import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { LatencyCounts } from '../connection/latency-histogram.js';
import type { ServerMetrics } from '../connection/server-metrics.js';
import { WIRE_ERRORS } from '../errors.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import type { AdminSource } from './admin-source.js';
import { isSlow } from './connection-rows.js';
import { patternsOf } from './sampler.js';

/** One value, or one for each value of the label. */
type Figure = number | Readonly<Record<string, number>>;

interface MetricEntry {
  readonly name: string;
  readonly help: string;
  /** What the keys of the figure are; none: the figure is a number. Never anything that a peer can make up. */
  readonly label?: 'type' | 'code' | 'policy' | 'kind';
  readonly figure: (metrics: ServerMetrics, registry: MessageRegistry) => Figure;
}

/** Those that have not come yet are there from the start: a rate sees the first one, too. */
const NO_REJECTIONS = Object.fromEntries(Object.keys(WIRE_ERRORS).map((code) => [code, 0]));

const COUNTERS: readonly MetricEntry[] = [
  {
    name: 'sluice_messages_received_total',
    help: 'Messages found valid, by type',
    label: 'type',
    figure: ({ protocol }, registry) => ({ ...noMessages(registry), ...protocol.accepted }),
  },
  {
    name: 'sluice_messages_rejected_total',
    help: 'Messages rejected, by error code',
    label: 'code',
    figure: ({ protocol }) => ({ ...NO_REJECTIONS, ...protocol.rejected }),
  },
  {
    name: 'sluice_messages_delivered_total',
    help: "Messages that peers have taken, the broker's own among them",
    figure: ({ totals }) => totals.messagesSent,
  },
  {
    name: 'sluice_messages_dropped_total',
    help: 'Messages not delivered, by overflow policy; closed: their peer had gone',
    label: 'policy',
    figure: ({ totals }) => totals.dropped,
  },
  {
    name: 'sluice_messages_undeliverable_total',
    help: 'Messages of applications that no crawler could take',
    figure: ({ protocol }) => protocol.undeliverable,
  },
  {
    name: 'sluice_heartbeats_dropped_total',
    help: 'Heartbeats that came faster than minHeartbeatInterval',
    figure: ({ protocol }) => protocol.heartbeatsDropped,
  },
  {
    name: 'sluice_received_bytes_total',
    help: 'Bytes of whole messages received',
    figure: ({ totals }) => totals.bytesReceived,
  },
  {
    name: 'sluice_sent_bytes_total',
    help: 'Bytes that peers have taken',
    figure: ({ totals }) => totals.bytesSent,
  },
  {
    name: 'sluice_connections_opened_total',
    help: 'Connections that were let in',
    figure: ({ connections }) => connections.added,
  },
  {
    name: 'sluice_connections_rejected_total',
    help: 'Connections that found maxConnections reached',
    figure: ({ connections }) => connections.rejected,
  },
  {
    name: 'sluice_pattern_matches_total',
    help: 'Accepted messages: hit, a pattern has matched; miss, they were parsed',
    label: 'kind',
    figure: (metrics) => {
      const { hits, misses } = patternsOf(metrics);
      return { hit: hits, miss: misses };
    },
  },
  {
    name: 'sluice_pattern_layouts_total',
    help: 'Layouts of messages that workers have learned, and dropped as unused',
    label: 'kind',
    figure: ({ protocol }) => ({ learned: protocol.layoutsLearned, dropped: protocol.layoutsDropped }),
  },
  {
    name: 'sluice_pattern_mismatches_total',
    help: "Messages on which a pattern and the slow path disagree, with patterns 'verify'",
    figure: ({ protocol }) => protocol.mismatched,
  },
  {
    name: 'sluice_batches_total',
    help: 'Batches that workers were given',
    figure: ({ dispatch }) => dispatch.batches,
  },
  {
    name: 'sluice_batch_retries_total',
    help: 'Batches that were tried again because their worker had failed',
    figure: ({ dispatch }) => dispatch.retries,
  },
  {
    name: 'sluice_worker_busy_seconds_total',
    help: 'Time that workers have had batches, summed over the workers; its rate by sluice_workers is utilisation',
    figure: ({ dispatch }) => dispatch.busyTime / 1000,
  },
  {
    name: 'sluice_worker_restarts_total',
    help: 'How often all workers were started anew',
    figure: ({ dispatch }) => dispatch.workerRestarts,
  },
  {
    name: 'sluice_reading_pauses_total',
    help: 'How often reading was stopped for backpressure: of all connections, or of one alone',
    label: 'kind',
    figure: ({ flow }) => ({ all: flow.pauses, one: flow.connectionPauses }),
  },
  {
    name: 'sluice_log_lines_dropped_total',
    help: 'Lines of the log that were dropped: nobody read it, or it could not be written',
    figure: ({ log }) => log.linesDropped,
  },
];

const GAUGES: readonly MetricEntry[] = [
  {
    name: 'sluice_workers',
    help: 'Validation workers that have started',
    figure: ({ dispatch }) => dispatch.threads,
  },
  {
    name: 'sluice_batches_in_flight',
    help: 'Batches that workers have',
    figure: ({ dispatch }) => dispatch.batchesInFlight,
  },
  {
    name: 'sluice_queued_bytes',
    help: 'Bytes that wait for a free worker',
    figure: ({ dispatch }) => dispatch.queuedBytes,
  },
  {
    name: 'sluice_held_bytes',
    help: 'Bytes of slabs that hold messages not yet delivered',
    figure: ({ memory }) => memory.heldBytes,
  },
  {
    name: 'sluice_slab_bytes',
    help: 'Bytes of shared memory taken from the system',
    figure: ({ memory }) => memory.allocatedBytes,
  },
  {
    name: 'sluice_reading_paused',
    help: '1 while nothing is read, for backpressure',
    figure: ({ flow }) => Number(flow.isPaused),
  },
  {
    name: 'sluice_subscriptions',
    help: 'Subscriptions of all connections',
    figure: ({ protocol }) => protocol.subscriptions,
  },
];

const LATENCY = [
  'sluice_validation_latency_seconds',
  "From receipt to verdict, by pieces of a connection's stream as they were read",
] as const;

export class MetricsExporter {
  readonly #registry = new Registry();
  readonly #source: AdminSource;
  /** Each brings one metric up to date. */
  readonly #updates: ((metrics: ServerMetrics, registry: MessageRegistry) => void)[] = [];

  constructor(source: AdminSource) {
    this.#source = source;
    for (const entry of COUNTERS) this.#addCounter(entry);
    for (const entry of GAUGES) this.#addGauge(entry);
    this.#addConnections();
    this.#addBuildInfo();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** All metrics, those of the process too. */
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

  #addCounter({ name, help, label, figure }: MetricEntry): void {
    const labelNames = label === undefined ? [] : [label];
    const counter = new Counter({ name, help, labelNames, registers: [this.#registry] });
    this.#updates.push((metrics, registry) => {
      counter.reset();
      for (const [labels, value] of labelled(label, figure(metrics, registry))) counter.inc(labels, value);
    });
  }

  #addGauge({ name, help, figure }: MetricEntry): void {
    const gauge = new Gauge({ name, help, registers: [this.#registry] });
    this.#updates.push((metrics, registry) => gauge.set(Number(figure(metrics, registry))));
  }

  /** One walk over the connections for the figures that need it. */
  #addConnections(): void {
    const { pool, options } = this.#source;
    const registers = [this.#registry];
    const connections = new Gauge({
      name: 'sluice_connections',
      help: 'Open connections, by role and state',
      labelNames: ['role', 'state'],
      registers,
    });
    const slow = new Gauge({ name: 'sluice_slow_consumers', help: 'Peers that do not keep up', registers });
    const pending = new Gauge({
      name: 'sluice_pending_bytes',
      help: 'Bytes that wait for all peers to read',
      registers,
    });
    this.#updates.push(() => {
      const now = performance.now();
      for (const gauge of [connections, slow, pending]) gauge.reset();
      for (const connection of pool) {
        connections.inc({ role: connection.role, state: connection.state });
        pending.inc(connection.outbox.pendingBytes);
        if (isSlow(connection, now, options.maxPendingBytes)) slow.inc();
      }
    });
  }

  #addBuildInfo(): void {
    const { version } = this.#source.status();
    new Gauge({
      name: 'sluice_build_info',
      help: 'Which Sluice, on which Node; always 1',
      labelNames: ['version', 'node'],
      registers: [this.#registry],
    }).set({ version, node: process.version }, 1);
  }
}

/** Every type that peers send. */
function noMessages(registry: MessageRegistry): Record<string, number> {
  const types = registry.types.filter(({ index, direction }) => index > 0 && direction !== 'broker');
  return Object.fromEntries(types.map(({ name }) => [name, 0]));
}

function* labelled(
  label: MetricEntry['label'],
  figure: Figure,
): Generator<[labels: Record<string, string>, value: number]> {
  if (typeof figure === 'number') yield [{}, figure];
  else for (const [key, value] of Object.entries(figure)) yield [{ [label ?? '']: key }, value];
}

/**
 * Read through private functions of Node, `process._getActiveHandles` and its neighbour, which have ended a busy
 * process with an assertion in native code. `nodejs_active_resources` counts the same by a documented function.
 */
const UNSAFE = [
  'nodejs_active_handles',
  'nodejs_active_handles_total',
  'nodejs_active_requests',
  'nodejs_active_requests_total',
];

let processRegistry: Registry | undefined;

/** prom-client's figures of the process. Made once a process, when first asked for: the observers behind it cannot be taken down again. */
function processMetrics(): Registry {
  if (processRegistry === undefined) {
    processRegistry = new Registry();
    collectDefaultMetrics({ register: processRegistry });
    for (const name of UNSAFE) processRegistry.removeSingleMetric(name);
  }
  return processRegistry;
}

/**
 * Counts of durations in ms, as a metric in seconds. prom-client's own histogram has to be told of each value as it comes;
 * this one is written from counts that the broker has anyway.
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
