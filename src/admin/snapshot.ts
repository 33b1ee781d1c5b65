// The admin server's JSON, shared by the dashboard, `sluice top` and `/api`. Counts, sizes and names only. Times are in
// ms, sizes in bytes, rates per second.

import type { HealthStatus } from '../connection/health-monitor.js';
import type { Rates } from '../connection/server-metrics.js';
import type { FleetStatistics } from '../fleet/fleet.js';
import type { DeadLetter, DeadLetterStatistics } from '../log/dead-letters.js';
import type { DriftEntry } from '../protocol/drift-report.js';
import type { WorkGroupStatistics } from '../protocol/work-group.js';
import type { JobList } from '../routing/job-list.js';
import type { SubscriptionDescription } from '../routing/subscriptions.js';
import type { Readiness } from './readiness.js';
import type { RejectionGroup } from './rejection-groups.js';
import type { RejectionRecord } from './rejection-log.js';

/** The response of `/api/stats`. */
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
    /** Accepted application messages, by type. */
    readonly byType: Readonly<Record<string, number>>;
  };
  /** Time since the previous sample. */
  readonly interval: number;
  readonly totals: Rates & { readonly messagesRejected: number; readonly messagesDropped: number };
  /** Accepted application messages, by type. */
  readonly accepted: Readonly<Record<string, number>>;
  /** Accepted control messages (those for the broker itself, such as `hello` and `ping`), by type. */
  readonly control: Readonly<Record<string, number>>;
  /** Rejected messages, by code. */
  readonly rejected: Readonly<Record<string, number>>;
  /** Dropped messages, by overflow policy; `closed`: the peer had disconnected. */
  readonly dropped: Readonly<Record<string, number>>;
  /** Time from receipt to verdict, over `interval`; null if nothing was received. */
  readonly latency: { readonly p50: number | null; readonly p90: number | null; readonly p99: number | null };
  readonly connections: {
    readonly open: number;
    readonly capacity: number;
    readonly byRole: Readonly<Record<string, number>>;
    readonly byState: Readonly<Record<string, number>>;
    readonly rejected: number;
    /** Peers that do not keep up with the messages sent to them, including those in `dropping`. */
    readonly slow: number;
    /** Peers for which messages were dropped within the last minute. */
    readonly dropping: number;
    /** Bytes waiting to be sent, of all peers. */
    readonly pendingBytes: number;
  };
  readonly workers: {
    readonly threads: number;
    /** Fraction of the workers' time spent on batches, over `interval`. */
    readonly utilization: number;
    readonly batchesInFlight: number;
    readonly queuedBytes: number;
    readonly restarts: number;
  };
  readonly patterns: {
    /** Accepted application messages that matched a pattern (hits) or were parsed (misses). */
    readonly hits: number;
    readonly misses: number;
    readonly learned: number;
    readonly evicted: number;
  };
  readonly flow: {
    readonly isPaused: boolean;
    readonly pausedFor: number;
    readonly pauses: number;
    readonly blockedSubscribers: number;
  };
  /** The durable log; absent without one. */
  readonly durableLog:
    | {
        /** Number of messages that can be read. */
        readonly messages: number;
        /** Bytes on the disk. */
        readonly bytes: number;
        /** Bytes that wait for the disk. */
        readonly pendingBytes: number;
        /** Whether the disk works. */
        readonly isAvailable: boolean;
        /** Average time of a sync, over `interval`; null if there was none. */
        readonly syncTime: number | null;
        readonly syncs: number;
        /** How often the disk has failed. */
        readonly failures: number;
        /** Messages that were forwarded without being stored, while the disk had failed. */
        readonly messagesPassed: number;
        readonly cursorsTotal: number;
        /** At most 100: those that are furthest behind, the furthest first. `behind` is a number of messages. */
        readonly cursors: readonly { readonly name: string; readonly behind: number }[];
        readonly workGroupsTotal: number;
        /** At most 100: those with the most messages that are not done, the most first. */
        readonly workGroups: readonly WorkGroupStatistics[];
        /** Messages that were kept as dead letters since the start. */
        readonly deadLetters: DeadLetterStatistics;
      }
    | undefined;
  /** What joins the broker to other hosts; absent unless it is part of a fleet. */
  readonly fleet: FleetStatistics | undefined;
  readonly memory: {
    /** Bytes of undelivered messages. */
    readonly heldBytes: number;
    readonly rss: number;
    readonly heapUsed: number;
  };
  /** How late timers fire, because the main thread is busy. 99th percentile over `interval`. */
  readonly eventLoopDelay: number;
}

/** One connection, as `/api/connections` lists it. */
export interface ConnectionRow {
  readonly id: string;
  readonly role: string;
  /** The peer's own name, from `hello`. */
  readonly crawlerId: string | null;
  /** Name of the program, from its `hello`. */
  readonly name: string | null;
  readonly state: string;
  readonly health: HealthStatus;
  readonly uptime: number;
  /** Time since the last received byte. */
  readonly idleFor: number;
  /** Time since the last heartbeat; null if it has sent none. */
  readonly heartbeatAge: number | null;
  /** Application messages, as are all counts that are not called `control`. */
  readonly rateIn: number;
  readonly rateOut: number;
  readonly messagesReceived: number;
  readonly messagesRejected: number;
  readonly messagesSent: number;
  readonly controlReceived: number;
  readonly controlSent: number;
  readonly messagesDropped: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly pendingBytes: number;
  /** Time from receipt to verdict of its latest messages. */
  readonly latency: number;
  /** Number of jobs that the crawler works on. */
  readonly activeJobs: number;
  readonly overflow: string;
  /** Whether it does not keep up with the messages sent to it. */
  readonly isSlow: boolean;
  /** Whether messages for it were dropped within the last minute. It is then slow as well. */
  readonly isDropping: boolean;
  readonly isPaused: boolean;
  readonly lastError: string | null;
}

/** One connection, as `/api/connections/ID` returns it. */
export interface ConnectionDetail extends ConnectionRow {
  /** Rejected messages, by code. */
  readonly rejected: Readonly<Record<string, number>>;
  /** At most 100. */
  readonly subscriptions: readonly SubscriptionDescription[];
  readonly subscriptionsTotal: number;
}

/** The response of `/api/jobs`. */
export interface Jobs extends JobList {
  /** Whether the broker keeps the latest messages of jobs: without them, it knows none. */
  readonly isKept: boolean;
}

/** One dead letter, as `/api/dead-letters` lists it. */
export interface DeadLetterRow
  extends Pick<DeadLetter, 'at' | 'reason' | 'connectionId' | 'bytes' | 'sample'> {
  readonly id: number;
  readonly messageType: string | null;
  readonly crawlerId: string | null;
  readonly group: string | null;
  readonly position: string | null;
  /** Whether the whole message is kept. */
  readonly isWhole: boolean;
  readonly issues: NonNullable<DeadLetter['issues']>;
}

/** The response of `/api/dead-letters`. */
export interface DeadLetterList {
  /** Number of dead letters that match. */
  readonly total: number;
  /** The newest first. */
  readonly rows: readonly DeadLetterRow[];
}

/** The response of `/api/rejections`. */
export interface Rejections {
  readonly groups: readonly RejectionGroup[];
  /** The latest 50, the newest first. */
  readonly latest: readonly RejectionRecord[];
}

/** The columns that connections can be sorted by. */
export type SortColumn = keyof ConnectionRow;

/** The response of `/api/connections`, and a part of each `/events` event. */
export interface ConnectionList {
  /** Number of connections, or of those that match the search; `rows` may contain fewer. */
  readonly total: number;
  readonly rows: readonly ConnectionRow[];
}

/** One event of `/events`. */
export interface Snapshot {
  readonly stats: BrokerStats;
  readonly connections: ConnectionList;
  readonly rejections: Rejections;
  /** Differences between messages and schemas: the latest. */
  readonly drift: readonly DriftEntry[];
}
