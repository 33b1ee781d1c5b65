// Server metrics: totals of every stage, and rates over the latest interval.

import type { DispatchStatistics } from '../dispatch/dispatcher.js';
import type { FleetStatistics } from '../fleet/fleet.js';
import type { LogStatistics } from '../log/message-log.js';
import type { ProtocolStatistics } from '../protocol/protocol-statistics.js';
import type { PoolStatistics } from './connection-pool.js';
import type { PipelineTotals } from './connection-state.js';
import type { FlowStatistics } from './flow-control.js';
import type { LatencyCounts } from './latency-histogram.js';
import type { Pipeline } from './pipeline.js';

/** Per second, over the latest `metricsInterval`. */
export interface Rates {
  /** Application messages, and rejected ones. */
  readonly messagesReceived: number;
  /** Control messages: those for the broker itself, such as `hello` and `ping`. */
  readonly controlReceived: number;
  /** Of all messages. */
  readonly bytesReceived: number;
  /** Application messages. */
  readonly messagesSent: number;
  /** The broker's own messages: answers, errors, pings. */
  readonly controlSent: number;
  /** Of all messages. */
  readonly bytesSent: number;
}

export interface ServerMetrics {
  readonly connections: PoolStatistics;
  readonly protocol: ProtocolStatistics;
  readonly dispatch: DispatchStatistics;
  readonly flow: FlowStatistics;
  readonly totals: Readonly<PipelineTotals> & {
    /** Application messages, and rejected ones. */
    readonly messagesReceived: number;
    /** Control messages: those for the broker itself. */
    readonly controlReceived: number;
  };
  readonly memory: {
    /** Memory of messages not yet delivered, in bytes: slabs, copies that wait for their peer, and the queues of peers. */
    readonly heldBytes: number;
    /** Bytes of incomplete messages. */
    readonly partialBytes: number;
    /** Connections whose reading is paused until another connection's long message is complete. */
    readonly waitingForPartials: number;
    /** Memory used by the ids in subscriptions, in bytes. */
    readonly subscriptionBytes: number;
    /** Shared memory allocated from the system, in bytes. */
    readonly allocatedBytes: number;
    /** Bytes of partial messages copied from one slab to the next. */
    readonly copiedBytes: number;
  };
  /** The durable log, if there is one. */
  readonly durableLog: LogStatistics | undefined;
  /** What joins the broker to other hosts, if it is part of a fleet. */
  readonly fleet: FleetStatistics | undefined;
  /** Time from receipt to verdict, measured per chunk. */
  readonly latency: LatencyCounts;
  readonly rates: Rates;
  readonly log: {
    /** Lines dropped because the log was not read or could not be written. */
    readonly linesDropped: number;
  };
}

const NO_RATES: Rates = {
  messagesReceived: 0,
  controlReceived: 0,
  bytesReceived: 0,
  messagesSent: 0,
  controlSent: 0,
  bytesSent: 0,
};

/** @internal */
export function collectMetrics(
  pipeline: Pipeline,
  connections: PoolStatistics,
  rates: Rates,
  log: ServerMetrics['log'],
): ServerMetrics {
  const protocol = pipeline.protocol.statistics;
  const { slabs, copies } = pipeline;
  return {
    connections,
    protocol,
    dispatch: pipeline.dispatcher.statistics,
    flow: pipeline.flow.statistics,
    totals: {
      ...pipeline.totals,
      dropped: { ...pipeline.totals.dropped },
      messagesReceived: protocol.received,
      controlReceived: Object.values(protocol.control).reduce((sum, count) => sum + count, 0),
    },
    memory: {
      heldBytes: pipeline.heldBytes,
      partialBytes: pipeline.partials.statistics.bytes,
      waitingForPartials: pipeline.partials.statistics.waiting,
      subscriptionBytes: pipeline.subscriptions.bytes,
      allocatedBytes: slabs.allocatedBytes + copies.slabs.allocatedBytes,
      copiedBytes: slabs.copiedBytes,
    },
    durableLog: pipeline.log?.statistics,
    fleet: pipeline.fleet?.statistics,
    latency: pipeline.latency.counts,
    rates,
    log,
  };
}

/** Computes rates from monotonically increasing totals. */
export class RateMeter {
  #totals = NO_RATES;
  #measuredAt: number;
  #rates = NO_RATES;

  /** @param now monotonic time in ms */
  constructor(now: number) {
    this.#measuredAt = now;
  }

  get rates(): Rates {
    return this.#rates;
  }

  /** Updates the rates from the current totals. */
  measure(totals: Rates, now: number): void {
    const seconds = (now - this.#measuredAt) / 1000;
    if (seconds <= 0) return;
    const rate = (field: keyof Rates) => (totals[field] - this.#totals[field]) / seconds;
    this.#rates = {
      messagesReceived: rate('messagesReceived'),
      controlReceived: rate('controlReceived'),
      bytesReceived: rate('bytesReceived'),
      messagesSent: rate('messagesSent'),
      controlSent: rate('controlSent'),
      bytesSent: rate('bytesSent'),
    };
    this.#totals = totals;
    this.#measuredAt = now;
  }
}
