import { expect, test } from 'vitest';
import { LineNumberMap } from '#src/client/line-number-map.js';

test('numbers published lines without the client’s own between them', () => {
  const ledger = new LineNumberMap(0);
  expect(ledger.addOwn()).toBe(1);
  ledger.addPublished(2);
  expect(ledger.addOwn()).toBe(4);
  ledger.addPublished(1);
  expect([1, 2, 3, 4, 5].map((line) => ledger.publishedLine(line))).toEqual([undefined, 1, 2, undefined, 3]);
});

test('goes on from what was published on connections before', () => {
  const ledger = new LineNumberMap(10);
  ledger.addOwn();
  ledger.addPublished(1);
  expect(ledger.publishedLine(2)).toBe(11);
});

test('remembers lines of the client’s own that follow each other as one', () => {
  const ledger = new LineNumberMap(0);
  for (let beat = 0; beat < 1000; beat++) ledger.addOwn();
  ledger.addPublished(1);
  expect(ledger.runs).toBe(1);
  ledger.settle(500);
  expect([1000, 1001].map((line) => ledger.publishedLine(line))).toEqual([undefined, 1]);
  ledger.settle(1001);
  expect(ledger.runs).toBe(0);
});

test('stays right when what is settled is forgotten', () => {
  const ledger = new LineNumberMap(0);
  ledger.addOwn();
  ledger.addPublished(1);
  const ping = ledger.addOwn();
  ledger.addPublished(1);
  ledger.addOwn();
  ledger.settle(ping);
  expect([4, 5, 6].map((line) => ledger.publishedLine(line))).toEqual([2, undefined, 3]);
});
