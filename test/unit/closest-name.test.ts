import { expect, test } from 'vitest';
import { closestName } from '#src/closest-name.js';

test.each([
  ['maxConection', 'maxConnections'],
  ['MAXCONNECTIONS', 'maxConnections'],
  ['prt', 'port'],
  ['prot', undefined],
  ['hosts', 'host'],
  ['colour', undefined],
  ['x', undefined],
  ['', undefined],
])('the name closest to %j is %j', (name, closest) => {
  const names = ['host', 'port', 'maxConnections', 'maxMessageSize'].map((known) => [known, known] as const);
  expect(closestName(name, new Map(names))).toBe(closest);
});
