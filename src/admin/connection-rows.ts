// One connection as a row: identity, health and traffic.

import { HEALTH_STATES, type HealthIssue, statusOf } from '../connection/health-monitor.js';
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
}

export function trafficOf({ statistics }: SocketConnection): Traffic {
  return { received: statistics.messagesReceived, sent: statistics.messagesSent };
}

export function rowOf(connection: SocketConnection, context: RowContext): ConnectionRow {
  const { now, interval, previous, issues } = context;
  const { statistics, lastHeartbeatAt, deliveryState } = connection;
  const rate = (count: number, previousCount: number | undefined) =>
    previousCount === undefined ? 0 : ((count - previousCount) / interval) * 1000;
  return {
    id: connection.id,
    role: connection.role,
    crawlerId: connection.crawlerId ?? null,
    name: connection.name ?? null,
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
    controlReceived: statistics.controlReceived,
    controlSent: statistics.controlSent,
    messagesDropped: statistics.messagesDropped,
    bytesReceived: statistics.bytesReceived,
    bytesSent: statistics.bytesSent,
    pendingBytes: statistics.pendingBytes,
    latency: connection.latency,
    activeJobs: connection.workload,
    overflow: connection.outbox.policy,
    isSlow: deliveryState !== 'current',
    isDropping: deliveryState === 'dropping',
    isPaused: connection.isPaused,
    lastError: statistics.lastError?.code ?? null,
  };
}

const COLUMNS: Readonly<Record<SortColumn, true>> = {
  id: true,
  role: true,
  crawlerId: true,
  name: true,
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
  controlReceived: true,
  controlSent: true,
  messagesDropped: true,
  bytesReceived: true,
  bytesSent: true,
  pendingBytes: true,
  latency: true,
  activeJobs: true,
  overflow: true,
  isSlow: true,
  isDropping: true,
  isPaused: true,
  lastError: true,
};

export function isSortColumn(name: string): name is SortColumn {
  return Object.hasOwn(COLUMNS, name);
}

/** Returns the rows sorted: the worst health first, numbers descending, text ascending, unknown values last. */
export function sortRows(rows: readonly ConnectionRow[], column: SortColumn): ConnectionRow[] {
  const compareRows =
    column === 'health'
      ? (a: ConnectionRow, b: ConnectionRow) =>
          HEALTH_STATES.indexOf(a.health) - HEALTH_STATES.indexOf(b.health)
      : (a: ConnectionRow, b: ConnectionRow) => compareCells(a[column], b[column]);
  return [...rows].sort((a, b) => compareRows(a, b) || compareCells(a.id, b.id));
}

/**
 * Selects the rows to look at: the peers that do not keep up, then the busiest in both directions.
 * @param limit maximum number of rows
 */
export function notableRows(rows: readonly ConnectionRow[], limit: number): ConnectionRow[] {
  if (rows.length <= limit) return [...rows];
  const severity = (row: ConnectionRow) => Number(row.isDropping) + Number(row.isSlow);
  const traffic = ({ rateIn, rateOut }: ConnectionRow) => rateIn + rateOut;
  return [...rows].sort((a, b) => severity(b) - severity(a) || traffic(b) - traffic(a)).slice(0, limit);
}

export type Cell = ConnectionRow[SortColumn];

/** Numbers descending, text ascending, unknown values last. */
export function compareCells(a: Cell, b: Cell): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  return typeof a === 'string' ? a.localeCompare(String(b)) : Number(b) - Number(a);
}
