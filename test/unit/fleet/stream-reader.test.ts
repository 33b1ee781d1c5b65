import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import type { FleetEngine } from '#src/fleet/engine.js';
import { type FleetPosition, formatFleetPosition, parseFleetPosition } from '#src/fleet/fleet-position.js';
import type { StreamReaderValidator } from '#src/fleet/fleet-validation.js';
import type { StreamBatch } from '#src/fleet/stream-batch.js';
import { type FleetGap, StreamReader } from '#src/fleet/stream-reader.js';

const EPOCH = '0123456789abcdef';
const NEW_EPOCH = 'fedcba9876543210';
/** Hosts that a reader remembers. */
const REMEMBERED = 500;

interface Stored {
  readonly host: string;
  readonly offset: number;
  readonly epoch?: string;
}

/** Reads batches of one message each, and returns what was delivered, as host and offset, and the gaps. */
async function read(stream: readonly Stored[], start: FleetPosition | 'first') {
  const delivered: string[] = [];
  const gaps: FleetGap[] = [];
  let resolve = (): void => {};
  const reached = new Promise<void>((done) => {
    resolve = done;
  });
  const engine = {
    whenConnected: async () => {},
    bounds: async () => ({ first: 1, last: stream.length }),
    batchAt: async () => ({ time: 1 }),
    async *read({ sequence: first }: { sequence: number }, signal: AbortSignal) {
      for (const [index, { host, offset, epoch = EPOCH }] of stream.entries()) {
        const batch = { host, start: { epoch, offset }, count: 1 } as StreamBatch;
        if (index + 1 >= first) yield { sequence: index + 1, time: 1, batch };
      }
      resolve();
      if (!signal.aborted) await once(signal, 'abort');
    },
  };
  const reader = new StreamReader({
    engine: engine as unknown as FleetEngine,
    validator: {
      validate: async ({ host, start: { offset } }: StreamBatch) => void delivered.push(`${host} ${offset}`),
    } as unknown as StreamReaderValidator,
    start,
    onError: expect.unreachable,
    onInvalidBatch: () => {},
  });
  reader.targets.add({ deliver: () => {}, onGap: (gap) => gaps.push(gap), afterBatch: () => undefined });
  onTestFinished(() => reader.stop());
  await reached;
  return { delivered, gaps, position: reader.position as FleetPosition };
}

const hosts = (count: number, prefix = 'host'): Stored[] =>
  Array.from({ length: count }, (_, index) => ({ host: `${prefix}-${index}`, offset: 0 }));

test('messages of new hosts are delivered however many there were before', async () => {
  const { delivered, position } = await read(hosts(REMEMBERED + 100), 'first');
  expect(delivered).toHaveLength(REMEMBERED + 100);
  expect([...position.hosts.keys()]).toEqual(
    hosts(REMEMBERED + 100)
      .slice(100)
      .map(({ host }) => host),
  );
});

test('the hosts with the latest batches are remembered, and their gaps reported, also after a restart', async () => {
  const first = hosts(REMEMBERED);
  const stream = [...first, { host: 'host-0', offset: 1 }];
  const { position } = await read(stream, 'first');
  const restored = parseFleetPosition(formatFleetPosition(position));
  const later = [
    ...stream,
    { host: 'new', offset: 0 },
    { host: 'host-0', offset: 5 },
    { host: 'host-1', offset: 5 },
  ];
  const { delivered, gaps } = await read(later, restored);
  expect(delivered).toEqual(['new 0', 'host-0 5', 'host-1 5']);
  expect(gaps.map(({ host, from, to }) => [host, from.offset, to.offset])).toEqual([['host-0', 2, 5]]);
});

test('when the stream is read again, both logs of a host that was not known are delivered', async () => {
  const stream = [
    { host: 'known', offset: 0 },
    { host: 'new', offset: 0 },
    { host: 'new', offset: 0, epoch: NEW_EPOCH },
  ];
  const known = new Map([['known', { epoch: EPOCH, offset: 1 }]]);
  const { delivered, gaps } = await read(stream, { sequence: 9, time: 1, hosts: known });
  expect(delivered).toEqual(['new 0', 'new 0']);
  expect(gaps.map(({ host, reason }) => [host, reason])).toEqual([['new', 'epoch']]);
});
