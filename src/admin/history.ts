// The latest hour of the broker in figures of the whole: one point every 5 s, while the admin server runs. A point costs
// 0.13 ms of processor time with 1,000 connections: no row of a connection is read for it.

import { percentile } from '../connection/latency-histogram.js';
import type { AdminSource } from './admin-source.js';
import { type Counters, countersOf } from './counters.js';

/** ms between two points. */
const INTERVAL = 5000;
/** An hour. */
const CAPACITY = 720;
const MINUTE = 60_000;
/** Range of `minutes`. */
export const MAX_MINUTES = (CAPACITY * INTERVAL) / MINUTE;
/** The columns besides the time, in the order in which {@link History.record} writes them. */
const COLUMNS = [
  'received',
  'delivered',
  'rejected',
  'dropped',
  'p50',
  'p90',
  'p99',
  'utilization',
  'connections',
  'rss',
  'eventLoopDelay',
] as const;
/** Values are rounded to this part of 1: a rate to a thousandth of a message per second, a latency to a microsecond. */
const PRECISION = 1000;

/** The response of `/api/history`: a value per point and column, the oldest first; null where nothing was measured. */
export interface HistoryColumns {
  /** ms between two points. */
  readonly interval: number;
  /** `at`, in ms since 1970, and the figures by name. */
  readonly columns: Readonly<Record<string, readonly (number | null)[]>>;
}

export class History {
  readonly #source: AdminSource;
  readonly #eventLoopDelay: () => number | undefined;
  readonly #now: () => number;
  /** In ms since 1970, ascending. */
  readonly #times = new Float64Array(CAPACITY);
  /** NaN where nothing was measured. */
  readonly #values = COLUMNS.map(() => new Float64Array(CAPACITY));
  #size = 0;
  /** Index of the next point. */
  #next = 0;
  #previous: Counters | undefined;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param eventLoopDelay in ms; `undefined` while it is not measured
   * @param now monotonic clock in ms. Default: `performance.now`.
   */
  constructor(
    source: AdminSource,
    eventLoopDelay: () => number | undefined,
    now: () => number = () => performance.now(),
  ) {
    this.#source = source;
    this.#eventLoopDelay = eventLoopDelay;
    this.#now = now;
  }

  start(): void {
    this.#timer ??= setInterval(() => this.record(), INTERVAL).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Adds a point, unless the broker is starting or this is the first time: rates need earlier totals. */
  record(): void {
    const metrics = this.#source.metrics();
    if (metrics === undefined) return;
    const counters = countersOf(metrics, this.#now());
    const previous = this.#previous;
    this.#previous = counters;
    if (previous === undefined) return;
    const interval = counters.at - previous.at;
    const { totals } = counters;
    const rate = (field: keyof Counters['totals']) =>
      ((totals[field] - previous.totals[field]) / interval) * 1000;
    const latency = (share: number) => percentile(share, counters.latency, previous.latency);
    const { threads } = metrics.dispatch;
    const busy = (counters.busyTime - previous.busyTime) / interval / threads;
    this.#add([
      rate('messagesReceived'),
      rate('messagesSent'),
      rate('messagesRejected'),
      rate('messagesDropped'),
      latency(0.5),
      latency(0.9),
      latency(0.99),
      threads === 0 ? 0 : Math.min(1, busy),
      metrics.connections.size,
      process.memoryUsage.rss(),
      this.#eventLoopDelay(),
    ]);
  }

  /** @param minutes the time that it covers, up to now */
  latest(minutes: number): HistoryColumns {
    const count = Math.min(this.#size, Math.round((minutes * MINUTE) / INTERVAL));
    const indexes = Array.from({ length: count }, (_, at) => (this.#next - count + at + CAPACITY) % CAPACITY);
    const read = (values: Float64Array | undefined) => indexes.map((index) => rounded(values?.[index]));
    const columns = COLUMNS.map((name, at) => [name, read(this.#values[at])] as const);
    return { interval: INTERVAL, columns: Object.fromEntries([['at', read(this.#times)], ...columns]) };
  }

  #add(values: readonly (number | undefined)[]): void {
    const now = Date.now();
    // The clock was set back.
    if (this.#size > 0 && now <= (this.#times[(this.#next + CAPACITY - 1) % CAPACITY] ?? 0)) this.#size = 0;
    this.#times[this.#next] = now;
    for (const [column, value] of values.entries()) {
      const stored = this.#values[column];
      if (stored !== undefined) stored[this.#next] = value ?? Number.NaN;
    }
    this.#next = (this.#next + 1) % CAPACITY;
    this.#size = Math.min(CAPACITY, this.#size + 1);
  }
}

function rounded(value: number | undefined): number | null {
  return value === undefined || Number.isNaN(value) ? null : Math.round(value * PRECISION) / PRECISION;
}
