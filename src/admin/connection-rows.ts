// One connection as a row: identity, health and traffic.

import type { ResolvedOptions } from '../config/config.js';
import { type HealthIssue, statusOf } from '../connection/health-monitor.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import type { ConnectionRow, SortColumn } from './snapshot.js';

/** Counters from which the rates of a connection are computed. */
export interface Traffic {
  readonly received: number;
  readonly sent: number;
}

interface RowContext {
  /** Monotonic time in ms. */
  readonly now: number;
  /** ms since `previous`. */
  readonly interval: number;
  readonly previous: Traffic | undefined;
  readonly issues: readonly HealthIssue[];
  readonly options: ResolvedOptions;
}

/** A peer is slow if a write to it has been pending for longer than this, in ms, */
const SLOW_WRITE = 1000;
/** or if it is behind by more than this share of `maxPendingBytes`. */
const SLOW_SHARE = 0.5;

export function trafficOf({ statistics }: SocketConnection): Traffic {
  return { received: statistics.messagesReceived, sent: statistics.messagesSent };
}

export function isSlow({ outbox }: SocketConnection, now: number, maxPendingBytes: number): boolean {
  return outbox.stalledFor(now) > SLOW_WRITE || outbox.pendingBytes > maxPendingBytes * SLOW_SHARE;
}

export function rowOf(connection: SocketConnection, context: RowContext): ConnectionRow {
  const { now, interval, previous, issues, options } = context;
  const { statistics, lastHeartbeatAt } = connection;
  const rate = (count: number, previousCount: number | undefined) =>
    previousCount === undefined ? 0 : ((count - previousCount) / interval) * 1000;
  return {
    id: connection.id,
    role: connection.role,
    crawlerId: connection.crawlerId ?? null,
    state: connection.state,
    health: statusOf(connection, issues),
    uptime: statistics.uptime,
    idleFor: Math.max(0, now - connection.lastActivityAt),
    heartbeatAge: lastHeartbeatAt === undefined ? null : Math.max(0, now - lastHeartbeatAt),
    rateIn: rate(statistics.messagesReceived, previous?.received),
    rateOut: rate(statistics.messagesSent, previous?.sent),
    messagesReceived: statistics.messagesReceived,
    messagesRejected: statistics.messagesRejected,
    messagesSent: statistics.messagesSent,
    messagesDropped: statistics.messagesDropped,
    bytesReceived: statistics.bytesReceived,
    bytesSent: statistics.bytesSent,
    pendingBytes: statistics.pendingBytes,
    latency: connection.latency,
    activeJobs: connection.workload,
    overflow: connection.outbox.policy,
    isSlow: isSlow(connection, now, options.maxPendingBytes),
    isPaused: connection.isPaused,
    lastError: statistics.lastError?.code ?? null,
  };
}

const COLUMNS: Readonly<Record<SortColumn, true>> = {
  id: true,
  role: true,
  crawlerId: true,
  state: true,
  health: true,
  uptime: true,
  idleFor: true,
  heartbeatAge: true,
  rateIn: true,
  rateOut: true,
  messagesReceived: true,
  messagesRejected: true,
  messagesSent: true,
  messagesDropped: true,
  bytesReceived: true,
  bytesSent: true,
  pendingBytes: true,
  latency: true,
  activeJobs: true,
  overflow: true,
  isSlow: true,
  isPaused: true,
  lastError: true,
};

export function isSortColumn(name: string): name is SortColumn {
  return Object.hasOwn(COLUMNS, name);
}

/** Returns the rows sorted: numbers descending, text ascending, unknown values last. */
export function sortRows(rows: readonly ConnectionRow[], column: SortColumn): ConnectionRow[] {
  return [...rows].sort((a, b) => compare(a[column], b[column]) || compare(a.id, b.id));
}

type Cell = ConnectionRow[SortColumn];

function compare(a: Cell, b: Cell): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  return typeof a === 'string' ? a.localeCompare(String(b)) : Number(b) - Number(a);
}
