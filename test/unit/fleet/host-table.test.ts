import { expect, test } from 'vitest';
import { HostTable } from '#src/fleet/host-table.js';

const report = (host: string) => ({ host, version: '1', uptime: 1, connections: 2, rate: 3, lag: 4 });
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));

test('lists the hosts by name, with their latest reports, and forgets them after 5 minutes', () => {
  let now = 0;
  const table = new HostTable(() => now);
  table.read(bytes(report('b')));
  table.read(bytes({ ...report('a'), lag: null }));
  now = 1000;
  table.read(bytes({ ...report('b'), rate: 9 }));
  expect(table.list()).toEqual([
    { ...report('a'), lag: null, silentFor: 1000 },
    { ...report('b'), rate: 9, silentFor: 0 },
  ]);
  now = 300_500;
  expect(table.list().map(({ host }) => host)).toEqual(['b']);
  now = 400_000;
  expect(table.list()).toEqual([]);
});

test('ignores what is no report, and more than 1,000 hosts', () => {
  const table = new HostTable(() => 0);
  for (const value of [
    null,
    1,
    [],
    {},
    { ...report('a b') },
    { ...report('a'), rate: -1 },
    { ...report('a'), lag: 'x' },
  ])
    table.read(bytes(value));
  table.read(Buffer.from('{'));
  expect(table.list()).toEqual([]);
  for (let host = 0; host < 1100; host++) table.read(bytes(report(`host-${host}`)));
  expect(table.list()).toHaveLength(1000);
});
