import { expect, test } from 'vitest';
import type { BrokerStats, ConnectionRow } from '#src/admin/snapshot.js';
import { connectionLines, durableLogText } from '#src/cli/common/admin-view.js';
import { isMeasurable } from '#src/cli/common/terminal.js';
import { formatBytes, formatShort } from '#src/formats.js';

test.each([
  [0, '0'],
  [9999.4, '9,999'],
  [9999.6, '10.0 k'],
  [12_345, '12.3 k'],
  [999_499, '999 k'],
  [999_500, '1.00 M'],
  [1_234_567, '1.23 M'],
  [1e15, '1.00 P'],
])('%d is %s for short', (value, text) => {
  expect(formatShort(value)).toBe(text);
});

test('sizes never take more than 8 characters', () => {
  for (const bytes of [999, 1000, 999_949, 999_951, 1e6, 999_999_999]) {
    expect(formatBytes(bytes).length).toBeLessThanOrEqual(8);
  }
});

test('names of peers have no effect on a terminal', () => {
  const row = { id: 'c-1', crawlerId: 'a\u001b[2J\u009b2J\u202e\u200b', role: 'crawler', health: 'healthy' };
  const figures = {
    rateIn: 1,
    rateOut: 1,
    pendingBytes: 1,
    heartbeatAge: null,
    latency: 1,
    messagesRejected: 1,
    messagesDropped: 1,
  };
  const list = { total: 1, rows: [{ ...row, ...figures } as unknown as ConnectionRow] };
  const [, shown] = connectionLines(list, 'rateIn', 120);
  expect(shown).toMatch(/^a\?\[2J\?2J\?\? +crawler /);
});

test('no figure is cut, in 80 columns', () => {
  const figures = {
    rateIn: 1_234_567,
    rateOut: 999_999,
    pendingBytes: 999_960,
    heartbeatAge: 35_000_000,
    latency: 9999,
    messagesRejected: 123_456_789,
  };
  const row = { id: 'c-1', crawlerId: null, role: 'crawler', health: 'unhealthy', isSlow: false, ...figures };
  const lines = connectionLines(
    { total: 3, rows: [row as unknown as ConnectionRow] },
    'messagesRejected',
    80,
  );
  expect(lines).toEqual([
    'PEER         ROLE    HEALTH      IN/s   OUT/s  PENDING   BEAT  LATENCY REJECTED*',
    'c-1          crawler unhealthy 1.23 M  1.00 M   1.0 MB    9 h   10.0 s     123 M',
    'and 2 more',
  ]);
});

test('a rate needs messages, or fewer and some time', () => {
  expect([isMeasurable(1, 0.00002), isMeasurable(1, 60), isMeasurable(999, 0.9)]).toEqual([
    false,
    false,
    false,
  ]);
  expect([isMeasurable(1000, 0.001), isMeasurable(100, 1)]).toEqual([true, true]);
});

test('where there is room, the dropped messages are shown', () => {
  const row = { id: 'c-1', crawlerId: null, role: 'app', health: 'dropping', messagesDropped: 25_000 };
  const others = {
    rateIn: 0,
    rateOut: 5,
    pendingBytes: 1e6,
    heartbeatAge: null,
    latency: 0,
    messagesRejected: 0,
  };
  const list = { total: 1, rows: [{ ...row, ...others } as unknown as ConnectionRow] };
  expect(connectionLines(list, 'messagesDropped', 89)).toEqual([
    'PEER         ROLE    HEALTH      IN/s   OUT/s  PENDING   BEAT  LATENCY DROPPED*  REJECTED',
    'c-1          app     dropping       0       5   1.0 MB      –     0 ms   25.0 k         0',
  ]);
});

test('the durable log is described in one line of 80 characters', () => {
  const log: NonNullable<BrokerStats['durableLog']> = {
    messages: 1_234_567,
    bytes: 1.2e9,
    pendingBytes: 3.4e6,
    isAvailable: true,
    syncTime: null,
    syncs: 1,
    failures: 0,
    messagesPassed: 0,
    cursorsTotal: 2,
    cursors: [
      { name: 'a', behind: 12 },
      { name: 'b', behind: 0 },
    ],
  };
  const stored = '1,234,567 messages, 1.2 GB';
  expect(durableLogText(log)).toBe(`${stored}, disk works; 2 cursors, furthest 12 behind`);
  expect(durableLogText({ ...log, cursorsTotal: 1, cursors: [{ name: 'b', behind: 0 }] })).toBe(
    `${stored}, disk works; 1 cursor, 0 behind`,
  );
  expect(durableLogText({ ...log, isAvailable: false, cursorsTotal: 0, cursors: [] })).toBe(
    `${stored}, disk does not work, 3.4 MB waiting; no cursors`,
  );
});
