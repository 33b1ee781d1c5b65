// What the admin server tells of the broker, as JSON: the one shape that the page, `sluice top` and `/api` share.
// Counts, sizes and names only. Times are in ms, sizes in bytes, rates by the second.

import type { Rates } from '../connection/server-metrics.js';
import type { Readiness } from './readiness.js';
import type { RejectionRecord } from './rejection-log.js';

/** The answer of `/api/stats`. */
export interface BrokerStats {
  /** ms since 1970. */
  readonly at: number;
  readonly version: string;
  readonly state: string;
  readonly readiness: Readiness;
  readonly address: string | null;
  readonly uptime: number;
  readonly health: string;
  /** Over `interval`. */
  readonly rates: Rates & {
    readonly messagesRejected: number;
    readonly messagesDropped: number;
    /** Accepted messages, by type. */
    readonly byType: Readonly<Record<string, number>>;
  };
  /** What the rates are about: the time since the sample before. */
  readonly interval: number;
  readonly totals: Rates & { readonly messagesRejected: number; readonly messagesDropped: number };
  /** Accepted messages, by type. */
  readonly accepted: Readonly<Record<string, number>>;
  /** Rejected messages, by code. */
  readonly rejected: Readonly<Record<string, number>>;
  /** Dropped messages, by overflow policy; `closed`: their peer had gone. */
  readonly dropped: Readonly<Record<string, number>>;
  /** From receipt to verdict, over `interval`; null when nothing came. */
  readonly latency: { readonly p50: number | null; readonly p90: number | null; readonly p99: number | null };
  readonly connections: {
    readonly open: number;
    readonly capacity: number;
    readonly byRole: Readonly<Record<string, number>>;
    readonly byState: Readonly<Record<string, number>>;
    readonly rejected: number;
    readonly slow: number;
    /** Bytes that wait for all peers. */
    readonly pendingBytes: number;
  };
  readonly workers: {
    readonly threads: number;
    /** Share of their time in which they had batches, over `interval`. */
    readonly utilization: number;
    readonly batchesInFlight: number;
    readonly queuedBytes: number;
    readonly restarts: number;
  };
  readonly patterns: {
    /** Accepted messages that a pattern has matched, and those that were parsed. */
    readonly hits: number;
    readonly misses: number;
    readonly learned: number;
    readonly dropped: number;
  };
  readonly flow: {
    readonly isPaused: boolean;
    readonly pausedFor: number;
    readonly pauses: number;
    readonly blockedSubscribers: number;
  };
  readonly memory: {
    /** Bytes of messages that are not delivered yet. */
    readonly heldBytes: number;
    readonly rss: number;
    readonly heapUsed: number;
  };
  /** How late timers fire: what the main thread's work adds to everything. 99th percentile over `interval`. */
  readonly eventLoopDelay: number;
}

/** One connection, as `/api/connections` lists it. */
export interface ConnectionRow {
  readonly id: string;
  readonly role: string;
  /** What the peer calls itself. */
  readonly crawlerId: string | null;
  readonly state: string;
  readonly health: string;
  readonly uptime: number;
  /** Since the last byte. */
  readonly idleFor: number;
  /** Since the last heartbeat; null when it has sent none. */
  readonly heartbeatAge: number | null;
  readonly rateIn: number;
  readonly rateOut: number;
  readonly messagesReceived: number;
  readonly messagesRejected: number;
  readonly messagesSent: number;
  readonly messagesDropped: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly pendingBytes: number;
  /** From receipt to verdict of its latest messages. */
  readonly latency: number;
  /** Jobs the crawler works on. */
  readonly activeJobs: number;
  readonly overflow: string;
  /** Whether it does not keep up with what it is sent. */
  readonly isSlow: boolean;
  readonly isPaused: boolean;
  readonly lastError: string | null;
}

/** The columns that connections can be sorted by. */
export type SortColumn = keyof ConnectionRow;

/** The answer of `/api/connections`, and of `/events` together with the rest. */
export interface ConnectionList {
  /** How many there are; `rows` may hold fewer. */
  readonly total: number;
  readonly rows: readonly ConnectionRow[];
}

/** One event of `/events`. */
export interface Snapshot {
  readonly stats: BrokerStats;
  readonly connections: ConnectionList;
  readonly rejections: readonly RejectionRecord[];
}
