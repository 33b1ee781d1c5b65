// The columns of the connection list.

import type { ConnectionRow, SortColumn } from '../../admin/snapshot.js';
import { HEALTH_STATES } from '../../connection/health-monitor.js';
import { formatAge, formatBytes, formatLatency, formatShort } from '../../formats.js';
import type { Column } from './table.js';

export interface ConnectionColumn extends Column<ConnectionRow> {
  /** The column's name in `/api/connections`. */
  readonly sort: SortColumn;
}

/** The column by which the connections are sorted at first. */
export const CONNECTION_RATE = column('IN/s', 'i', 'rateIn', 6, 0, (row) => formatShort(row.rateIn), 'in');

/**
 * All except DROPPED fit in 80 characters; PEER, HEALTH, IN/s and OUT/s fit in 40. No number is wider than its column.
 */
export const CONNECTION_COLUMNS: readonly ConnectionColumn[] = [
  {
    ...column('PEER', 'n', 'crawlerId', 12, 0, (row) => row.crawlerId ?? row.name ?? row.id),
    maxWidth: 40,
    isText: true,
  },
  { ...column('ROLE', 'k', 'role', 7, 4, (row) => row.role), isText: true },
  {
    ...column('HEALTH', 's', 'health', 9, 0, (row) => row.health),
    isText: true,
    // The worst first.
    value: (row) => -HEALTH_STATES.indexOf(row.health),
  },
  CONNECTION_RATE,
  column('OUT/s', 'o', 'rateOut', 7, 0, (row) => formatShort(row.rateOut), 'out'),
  column('PENDING', 'p', 'pendingBytes', 8, 1, (row) => formatBytes(row.pendingBytes)),
  column('BEAT', 'b', 'heartbeatAge', 6, 3, (row) => formatAge(row.heartbeatAge)),
  column('LATENCY', 'l', 'latency', 8, 5, (row) => formatLatency(row.latency)),
  column('DROPPED', 'd', 'messagesDropped', 8, 6, (row) => formatShort(row.messagesDropped)),
  column('REJECTED', 'e', 'messagesRejected', 9, 2, (row) => formatShort(row.messagesRejected)),
];

function column(
  title: string,
  key: string,
  sort: SortColumn,
  width: number,
  rank: number,
  text: ConnectionColumn['text'],
  label: string = title.toLowerCase(),
): ConnectionColumn {
  return { title, key, label, sort, width, rank, text, value: (row) => row[sort] };
}

/** What a filter is compared with. */
export function connectionTexts({ id, crawlerId, name, role }: ConnectionRow): string[] {
  return [id, crawlerId ?? '', name ?? '', role];
}
