import { expect, test } from 'vitest';
import type { BrokerStats } from '#src/admin/snapshot.js';
import { durableLogText, workGroupsText } from '#src/cli/common/admin-view.js';
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

test('a rate needs messages, or fewer and some time', () => {
  expect([isMeasurable(1, 0.00002), isMeasurable(1, 60), isMeasurable(999, 0.9)]).toEqual([
    false,
    false,
    false,
  ]);
  expect([isMeasurable(1000, 0.001), isMeasurable(100, 1)]).toEqual([true, true]);
});

const LOG: NonNullable<BrokerStats['durableLog']> = {
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
  workGroupsTotal: 0,
  workGroups: [],
  deadLetters: { failed: 0, rejected: 0, omitted: 3 },
};

test('the durable log is described in one line of 80 characters, with the cursor that is furthest behind', () => {
  const log = LOG;
  const stored = '1,234,567 messages, 1.2 GB';
  expect(durableLogText(log)).toBe(`${stored}, disk works; 2 cursors, furthest 12 behind: a`);
  expect(durableLogText({ ...log, cursorsTotal: 1, cursors: [{ name: 'b', behind: 0 }] })).toBe(
    `${stored}, disk works; 1 cursor, 0 behind: b`,
  );
  expect(durableLogText({ ...log, isAvailable: false, cursorsTotal: 0, cursors: [] })).toBe(
    `${stored}, disk does not work, 3.4 MB waiting; no cursors`,
  );
});

test('work groups and dead letters are described in one line, if there are any', () => {
  expect(workGroupsText(LOG)).toBeUndefined();
  const group = { name: 'workers', members: 1, held: 12, waiting: 4 };
  expect(workGroupsText({ ...LOG, workGroupsTotal: 1, workGroups: [group] })).toBe(
    '1 group, 1 member, 12 held, 4 waiting; no dead letters',
  );
  expect(
    workGroupsText({
      ...LOG,
      workGroupsTotal: 1200,
      workGroups: [group],
      deadLetters: { failed: 1200, rejected: 34, omitted: 0 },
    }),
  ).toBe('1,200 groups, busiest 12 held, 4 waiting; dead letters since the start: 1,200 failed, 34 rejected');
  expect(workGroupsText({ ...LOG, deadLetters: { failed: 0, rejected: 1, omitted: 0 } })).toBe(
    'no groups; dead letters since the start: 0 failed, 1 rejected',
  );
});
