import { expect, test } from 'vitest';
import type { ConnectionRow } from '#src/admin/snapshot.js';
import { CONNECTION_COLUMNS } from '#src/cli/top/connection-table.js';
import { columnsThatFit, sortBy, tableLines } from '#src/cli/top/table.js';
import { connectionRow } from '../../../support/connection-row.js';

function byTitle(title: string) {
  const column = CONNECTION_COLUMNS.find((one) => one.title === title);
  if (column === undefined) throw new Error(`no column ${title}`);
  return column;
}

function linesOf(rows: readonly ConnectionRow[], sorted: string, width: number): string[] {
  return tableLines(CONNECTION_COLUMNS, rows, byTitle(sorted), width);
}

test('names of peers have no effect on a terminal', () => {
  const row = connectionRow({ crawlerId: 'a\u001b[2J\u009b2J\u202e\u200b' });
  expect(linesOf([row], 'IN/s', 120)[1]).toMatch(/^a\?\[2J\?2J\?\? +crawler /);
});

test('no figure is cut, in 80 columns', () => {
  const row = connectionRow({
    id: 'c-1',
    health: 'unhealthy',
    rateIn: 1_234_567,
    rateOut: 999_999,
    pendingBytes: 999_960,
    heartbeatAge: 35_000_000,
    latency: 9999,
    messagesRejected: 123_456_789,
  });
  expect(linesOf([row], 'REJECTED', 80)).toEqual([
    'PEER         ROLE    HEALTH      IN/s   OUT/s  PENDING   BEAT  LATENCY REJECTED*',
    'c-1          crawler unhealthy 1.23 M  1.00 M   1.0 MB    9 h   10.0 s     123 M',
  ]);
});

test('where there is room, the dropped messages are shown', () => {
  const figures = { rateOut: 5, pendingBytes: 1e6, messagesDropped: 25_000 };
  const row = connectionRow({ id: 'c-1', role: 'app', health: 'dropping', ...figures });
  expect(linesOf([row], 'DROPPED', 89)).toEqual([
    'PEER         ROLE    HEALTH      IN/s   OUT/s  PENDING   BEAT  LATENCY DROPPED*  REJECTED',
    'c-1          app     dropping       0       5   1.0 MB      –     0 ms   25.0 k         0',
  ]);
});

test('in 40 columns, the most important ones remain', () => {
  expect(linesOf([connectionRow({ crawlerId: 'crawler-1' })], 'IN/s', 40)).toEqual([
    'PEER            HEALTH     IN/s*   OUT/s',
    'crawler-1       healthy        0       0',
  ]);
  expect(columnsThatFit(CONNECTION_COLUMNS, 10).map(({ title }) => title)).toEqual([
    'PEER',
    'HEALTH',
    'IN/s',
    'OUT/s',
  ]);
});

test('rows have an order that can be reversed; unknown values are last in both', () => {
  const rows = [300, null, 100, 200].map((heartbeatAge) => connectionRow({ heartbeatAge }));
  const agesOf = (isReversed: boolean) =>
    sortBy(rows, byTitle('BEAT'), isReversed).map(({ heartbeatAge }) => heartbeatAge);
  expect(agesOf(false)).toEqual([300, 200, 100, null]);
  expect(agesOf(true)).toEqual([100, 200, 300, null]);
});

test('the worst health comes first', () => {
  const rows = (['healthy', 'slow', 'unhealthy', 'unknown'] as const).map((health) =>
    connectionRow({ health }),
  );
  const sorted = sortBy(rows, byTitle('HEALTH'), false).map(({ health }) => health);
  expect(sorted).toEqual(['unhealthy', 'slow', 'unknown', 'healthy']);
});
