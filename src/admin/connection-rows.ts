// One connection as a row: identity, health and traffic.

import { HEALTH_STATES, type HealthIssue, statusOf } from '../connection/health-monitor.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import { type ListQuery, matchesSearch } from './list-query.js';
import type { ConnectionList, ConnectionRow, SortColumn } from './snapshot.js';

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

export const SORT_COLUMNS: readonly SortColumn[] = Object.keys(COLUMNS).filter(isSortColumn);

/** Default: text from A, health from the worst, numbers from the largest. */
export const ORDERS = ['asc', 'desc'] as const;
export type Order = (typeof ORDERS)[number];

/** Returns the rows sorted, unknown values last. `asc` is from the worst health. */
export function sortRows(rows: readonly ConnectionRow[], column: SortColumn, order?: Order): ConnectionRow[] {
  const cellOf = (row: ConnectionRow) =>
    column === 'health' ? HEALTH_STATES.indexOf(row.health) : row[column];
  return [...rows].sort((a, b) => {
    const [first, second] = [cellOf(a), cellOf(b)];
    if (first === null || second === null)
      return Number(first === null) - Number(second === null) || compare(a.id, b.id);
    const usual = typeof first === 'string' || column === 'health' ? 'asc' : 'desc';
    const direction = (order ?? usual) === 'asc' ? 1 : -1;
    return compare(first, second) * direction || compare(a.id, b.id);
  });
}

/** The connections whose names contain the text that is searched, sorted, and of these the wanted part. */
export function listRows(
  rows: readonly ConnectionRow[],
  column: SortColumn,
  order: Order | undefined,
  { search, offset, limit }: ListQuery,
): ConnectionList {
  const found = rows.filter(({ id, crawlerId, name, role }) =>
    matchesSearch(search, [id, crawlerId, name, role]),
  );
  return { total: found.length, rows: sortRows(found, column, order).slice(offset, offset + limit) };
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

function compare(a: string | number | boolean, b: string | number | boolean): number {
  return typeof a === 'string' ? a.localeCompare(String(b)) : Number(a) - Number(b);
}
