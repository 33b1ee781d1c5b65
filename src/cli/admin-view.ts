// The broker's figures as lines of text, for `sluice top` and `sluice status`.

import type { BrokerStats, ConnectionList, ConnectionRow, SortColumn } from '../admin/snapshot.js';
import { formatBytes, formatCount } from './terminal.js';

/** A column of the table of connections. */
export interface ViewColumn {
  readonly title: string;
  readonly sort: SortColumn;
  /** The key that sorts by it. */
  readonly key: string;
  readonly width: number;
  readonly text: (row: ConnectionRow) => string;
}

export const VIEW_COLUMNS: readonly ViewColumn[] = [
  { title: 'PEER', key: 'n', sort: 'crawlerId', width: 20, text: (row) => row.crawlerId ?? row.id },
  { title: 'ROLE', key: 'r', sort: 'role', width: 8, text: (row) => row.role },
  { title: 'HEALTH', key: 's', sort: 'health', width: 9, text: (row) => (row.isSlow ? 'slow' : row.health) },
  { title: 'IN/s', key: 'i', sort: 'rateIn', width: 9, text: (row) => formatCount(row.rateIn) },
  { title: 'OUT/s', key: 'o', sort: 'rateOut', width: 10, text: (row) => formatCount(row.rateOut) },
  {
    title: 'PENDING',
    key: 'p',
    sort: 'pendingBytes',
    width: 9,
    text: (row) => formatBytes(row.pendingBytes),
  },
  {
    title: 'HEARTBEAT',
    key: 'h',
    sort: 'heartbeatAge',
    width: 10,
    text: (row) => (row.heartbeatAge === null ? '-' : `${(row.heartbeatAge / 1000).toFixed(0)} s`),
  },
  { title: 'LATENCY', key: 'l', sort: 'latency', width: 8, text: (row) => formatMilliseconds(row.latency) },
  {
    title: 'REFUSED',
    key: 'e',
    sort: 'messagesRefused',
    width: 8,
    text: (row) => formatCount(row.messagesRefused),
  },
];

/** `0.23 ms`; `-` when it is not known. */
export function formatMilliseconds(ms: number | null): string {
  if (ms === null) return '-';
  return ms < 10 ? `${ms.toFixed(2)} ms` : `${ms.toFixed(0)} ms`;
}

/** The broker in a few lines. */
export function summaryLines(stats: BrokerStats): string[] {
  const { rates, totals, connections, workers, latency, flow, memory, readiness } = stats;
  const roles = Object.entries(connections.byRole).map(([role, count]) => `${count} ${role}`);
  return [
    row('broker', `${readiness.reason}, ${stats.version}, ${stats.address ?? ''}`),
    row('up', `${(stats.uptime / 1000).toFixed(0)} s`),
    row('in', `${formatCount(rates.messagesReceived)} messages/s, ${formatBytes(rates.bytesReceived)}/s`),
    row('out', `${formatCount(rates.messagesSent)} messages/s, ${formatBytes(rates.bytesSent)}/s`),
    row('refused', `${formatCount(totals.messagesRefused)}${namesOf(stats.refused)}`),
    row('dropped', formatCount(totals.messagesDropped)),
    row('latency', `p50 ${formatMilliseconds(latency.p50)}, p99 ${formatMilliseconds(latency.p99)}`),
    row('workers', `${workers.threads}, ${Math.round(workers.utilization * 100)} % busy`),
    row('peers', [formatCount(connections.open), ...roles, `${connections.slow} slow`].join(', ')),
    row(
      'memory',
      `${formatBytes(memory.rss)}, ${formatBytes(memory.heldBytes)} not delivered yet${flow.isPaused ? ', reading paused' : ''}`,
    ),
  ];
}

/** The connections as a table. @param sorted the column that they are sorted by, which the head marks */
export function connectionLines({ total, rows }: ConnectionList, sorted: SortColumn): string[] {
  const head = VIEW_COLUMNS.map(({ title, sort, width }) =>
    cell(sort === sorted ? `${title}*` : title, width, sort),
  );
  const body = rows.map((one) => VIEW_COLUMNS.map(({ sort, width, text }) => cell(text(one), width, sort)));
  const rest = total > rows.length ? [`and ${formatCount(total - rows.length)} more`] : [];
  return [...[head, ...body].map((cells) => cells.join(' ').trimEnd()), ...rest];
}

const TEXT_COLUMNS: ReadonlySet<SortColumn> = new Set(['crawlerId', 'role', 'health']);

/** A peer may call itself anything: what would move the cursor is not shown. */
function cell(text: string, width: number, column: SortColumn): string {
  const shown = text.replace(/\p{Cc}/gu, '?').slice(0, width);
  return TEXT_COLUMNS.has(column) ? shown.padEnd(width) : shown.padStart(width);
}

function namesOf(counts: Readonly<Record<string, number>>): string {
  const names = Object.entries(counts).map(([name, count]) => `${name} ${formatCount(count)}`);
  return names.length === 0 ? '' : ` (${names.join(', ')})`;
}

function row(name: string, value: string): string {
  return `${name.padEnd(10)}${value}`;
}
