import { expect, test } from 'vitest';
import { closestName } from '#src/closest-name.js';

test.each([
  ['maxConection', 'maxConnections'],
  ['MAXCONNECTIONS', 'maxConnections'],
  ['prot', 'port'],
  ['hosts', 'host'],
  ['colour', undefined],
  ['x', undefined],
  ['', undefined],
])('the name closest to %j is %j', (name, closest) => {
  expect(closestName(name, ['host', 'port', 'maxConnections', 'maxMessageSize'])).toBe(closest);
});
