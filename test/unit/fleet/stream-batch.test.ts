import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatFleetPosition, parseFleetPosition } from '#src/fleet/fleet-position.js';
import { decodeBatch, encodeHeaders, HEADER, type StreamBatch } from '#src/fleet/stream-batch.js';
import { FLEET_POSITION_PATTERN } from '#src/messages/messages.js';

const EPOCH = '0123456789abcdef';
const senders = [
  { id: 'c-1', crawlerId: 'crawler "1"' },
  { id: 'c-2', crawlerId: undefined },
];
const body = Buffer.from('{"a":1}\n{"b":2}\n{"c":3}\n');
const batch: StreamBatch = {
  host: 'host-1',
  start: { epoch: EPOCH, offset: 7 },
  count: 3,
  runs: [
    { sender: senders[0] as (typeof senders)[number], sequence: 5, count: 2, bytes: 16 },
    { sender: senders[1] as (typeof senders)[number], sequence: 1, count: 1, bytes: 8 },
  ],
  body,
};

describe('a stream batch', () => {
  test('is what it was', () => {
    expect(decodeBatch('host-1', encodeHeaders(batch), body)).toEqual(batch);
  });

  test('without a header, with another one or with another body is none', () => {
    const headers = encodeHeaders(batch);
    for (const name of Object.values(HEADER)) {
      const { [name]: _, ...others } = headers;
      expect(decodeBatch('host-1', others, body)).toBeUndefined();
      expect(decodeBatch('host-1', { ...headers, [name]: 'x' }, body)).toBeUndefined();
    }
    expect(decodeBatch('host-1', headers, body.subarray(1))).toBeUndefined();
    for (const runs of ['0,5,3', '0,5,3,24,1', '2,5,3,24', '0,5,0,24', '0,5,2,24', '0,5,3,23'])
      expect(decodeBatch('host-1', { ...headers, [HEADER.RUNS]: runs }, body)).toBeUndefined();
    for (const list of ['', '{}', '[1]', '[["c-1"]]', `[["${'x'.repeat(257)}",null]]`])
      expect(decodeBatch('host-1', { ...headers, [HEADER.SENDERS]: list }, body)).toBeUndefined();
  });

  test('never fails to be read, whatever its headers are', () => {
    const names = fc.constantFrom(...Object.values(HEADER));
    const values = fc.oneof(fc.string(), fc.constantFrom(...Object.values(encodeHeaders(batch))));
    fc.assert(
      fc.property(fc.dictionary(names, values), (changed) => {
        decodeBatch('host-1', { ...encodeHeaders(batch), ...changed }, body);
      }),
    );
  });
});

test('a position of a fleet is what it was', () => {
  const host = fc.stringMatching(/^[\w-]{1,64}$/);
  const number = fc.nat({ max: Number.MAX_SAFE_INTEGER }).filter((value) => value < 1e15);
  const entry = fc.tuple(host, number);
  fc.assert(
    fc.property(
      number,
      number,
      fc.uniqueArray(entry, { selector: ([name]) => name }),
      (sequence, time, list) => {
        const hosts = new Map(list.map(([name, offset]) => [name, { epoch: EPOCH, offset }]));
        const text = formatFleetPosition({ sequence, time, hosts });
        expect(text).toMatch(FLEET_POSITION_PATTERN);
        expect(parseFleetPosition(text)).toEqual({ sequence, time, hosts });
      },
    ),
  );
});
