// The broker's figures as lines of text, for `sluice top` and `sluice status`.

import type { Readiness } from '../../admin/readiness.js';
import type { BrokerStats, ConnectionList, ConnectionRow, SortColumn } from '../../admin/snapshot.js';
import { formatAge, formatBytes, formatCount, formatShort } from './terminal.js';

/** A column of the table of connections. */
export interface ViewColumn {
  readonly title: string;
  readonly sort: SortColumn;
  /** The key that sorts by it. */
  readonly key: string;
  /** What the key is called at the bottom. */
  readonly label: string;
  readonly width: number;
  readonly text: (row: ConnectionRow) => string;
}

/** Together, with the least of the first, they fit 80 characters; no figure is wider than its column. */
export const VIEW_COLUMNS: readonly ViewColumn[] = [
  // The first one takes the width that is left.
  column('PEER', 'n', 'crawlerId', 12, (row) => row.crawlerId ?? row.id),
  column('ROLE', 'r', 'role', 7, (row) => row.role),
  column('HEALTH', 's', 'health', 9, (row) => (row.isSlow ? 'slow' : row.health)),
  column('IN/s', 'i', 'rateIn', 6, (row) => formatShort(row.rateIn), 'in'),
  column('OUT/s', 'o', 'rateOut', 7, (row) => formatShort(row.rateOut), 'out'),
  column('PENDING', 'p', 'pendingBytes', 8, (row) => formatBytes(row.pendingBytes)),
  column('BEAT', 'h', 'heartbeatAge', 6, (row) =>
    row.heartbeatAge === null ? '-' : formatAge(row.heartbeatAge),
  ),
  column('LATENCY', 'l', 'latency', 8, (row) => formatMilliseconds(row.latency)),
  column('REJECTED', 'e', 'messagesRejected', 9, (row) => formatShort(row.messagesRejected)),
];
const MAX_PEER_WIDTH = 40;

function column(
  title: string,
  key: string,
  sort: SortColumn,
  width: number,
  text: ViewColumn['text'],
  label: string = title.toLowerCase(),
): ViewColumn {
  return { title, key, sort, width, text, label };
}

/** `0.23 ms`; `-` when it is not known. */
function formatMilliseconds(ms: number | null): string {
  if (ms === null) return '-';
  if (ms >= 10_000) return formatAge(ms);
  return ms < 10 ? `${ms.toFixed(2)} ms` : `${ms.toFixed(0)} ms`;
}

/** All that is to be told of a broker that has no figures yet. */
export function readinessLine({ reason }: Readiness): string {
  return row('broker', reason);
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
    row('rejected', `${formatCount(totals.messagesRejected)}${namesOf(stats.rejected)}`),
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

/**
 * The connections as a table.
 * @param sorted the column that they are sorted by, which the head marks
 * @param width characters that there is room for
 */
export function connectionLines(
  { total, rows }: ConnectionList,
  sorted: SortColumn,
  width: number,
): string[] {
  const widths = columnWidths(width);
  const line = (textOf: (column: ViewColumn) => string) =>
    VIEW_COLUMNS.map((one, index) => cell(textOf(one), widths[index] ?? 0, one.sort))
      .join(' ')
      .trimEnd();
  const head = line(({ title, sort }) => (sort === sorted ? `${title}*` : title));
  const rest = total > rows.length ? [`and ${formatCount(total - rows.length)} more`] : [];
  return [head, ...rows.map((one) => line(({ text }) => text(one))), ...rest];
}

function columnWidths(width: number): number[] {
  const [least = 0, ...others] = VIEW_COLUMNS.map((one) => one.width);
  const taken = others.reduce((sum, one) => sum + one + 1, 0);
  return [Math.min(MAX_PEER_WIDTH, Math.max(least, width - taken)), ...others];
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
