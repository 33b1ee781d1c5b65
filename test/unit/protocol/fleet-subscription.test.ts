import { once } from 'node:events';
import { MessageRegistry } from 'sluice';
import { expect, onTestFinished, test } from 'vitest';
import type { Piece } from '#src/delivery/outbox.js';
import type { FleetEngine } from '#src/fleet/engine.js';
import type { StreamReaderValidator } from '#src/fleet/fleet-validation.js';
import type { StreamBatch } from '#src/fleet/stream-batch.js';
import { StreamReader } from '#src/fleet/stream-reader.js';
import { NO_SEED } from '#src/messages/job-key.js';
import { FleetSubscription } from '#src/protocol/fleet-subscription.js';
import type { Peer } from '#src/protocol/peer.js';
import { Filter } from '#src/routing/filter.js';
import { until } from '../../support/broker.js';

const MiB = 1024 * 1024;

/** A reader of batches that make a subscriber fall behind, after two of them; and how many of them it has delivered. */
function readerTo(isPaced: boolean) {
  let delivered = 0;
  let caughtUp: (() => void) | undefined;
  const outbox = {
    policy: 'block',
    get pendingBytes() {
      return delivered * MiB;
    },
    whenBelow: () =>
      new Promise<void>((resolve) => {
        caughtUp = resolve;
      }),
    reply: () => {},
  };
  const connection = { outbox, isOpen: true, flush: () => {}, hasRoom: () => delivered < 2 };
  const filter = new Filter(MessageRegistry.builtin(), { id: 's', types: ['*'] }, NO_SEED);
  const subscription = new FleetSubscription(connection as unknown as Peer, filter, {
    id: 's',
    delimiter: 10,
    isPaced,
    holding: new Set(),
    onWritten: () => {},
    onStopped: () => reader.targets.delete(subscription),
  });
  const engine = {
    whenConnected: async () => {},
    bounds: async () => ({ first: 1, last: 0 }),
    async *read(_: unknown, signal: AbortSignal) {
      for (let sequence = 1; sequence <= 4 && !signal.aborted; sequence++) {
        const batch = { host: 'other', start: { epoch: '0', offset: sequence }, count: 1 };
        yield { sequence, time: 1, batch: batch as StreamBatch };
      }
      if (!signal.aborted) await once(signal, 'abort');
    },
  };
  const reader: StreamReader = new StreamReader({
    engine: engine as unknown as FleetEngine,
    validator: { validate: async () => void delivered++ } as unknown as StreamReaderValidator,
    start: 'new',
    onError: expect.unreachable,
    onInvalidBatch: () => expect.unreachable(),
  });
  reader.targets.add(subscription);
  onTestFinished(() => {
    subscription.stop();
    return reader.stop();
  });
  return {
    subscription,
    delivered: () => delivered,
    isWaiting: () => caughtUp !== undefined,
    catchUp: () => caughtUp?.(),
  };
}

/** A subscription that has not started, and what it sends. */
function subscriptionTo(maxPendingBytes: number, holding: Set<unknown>) {
  const lines: string[] = [];
  const connection = {
    isOpen: true,
    outbox: { maxPendingBytes },
    flush: () => {},
    reply: (line: Buffer) => lines.push(`requested ${line}`),
    deliver: ({ bytes }: Piece) => lines.push(String(bytes)),
  };
  const filter = new Filter(MessageRegistry.builtin(), { id: 's', types: ['presence'] }, NO_SEED);
  const options = { id: 's', delimiter: 10, isPaced: false, onWritten: () => {}, onStopped: () => {} };
  const subscription = new FleetSubscription(connection as unknown as Peer, filter, { ...options, holding });
  const deliver = (text: string) => subscription.deliverPresence(Buffer.from(text), undefined);
  let isFull = false;
  void subscription.whenFull.then(() => {
    isFull = true;
  });
  return { subscription, lines, deliver, isFull: () => isFull };
}

test('what arrives before a subscription starts follows in order, as part of its beginning', () => {
  const { subscription, lines, deliver } = subscriptionTo(MiB, new Set());
  deliver('x');
  deliver('y');
  expect(lines).toEqual([]);
  subscription.start();
  deliver('z');
  expect(lines).toEqual(['requested x', 'requested y', 'z']);
});

test.each([
  ['16 MiB', 1024 * MiB, 1, 16 * MiB],
  ['a quarter of maxPendingBytes', MiB, 1, MiB / 4],
  ['its share of 64 MiB', 1024 * MiB, 64, MiB],
])('no more than %s is held before a subscription starts', async (_, maxPendingBytes, count, limit) => {
  const holding = new Set();
  for (let other = 1; other < count; other++) subscriptionTo(maxPendingBytes, holding);
  // These no longer hold anything.
  subscriptionTo(maxPendingBytes, holding).subscription.start();
  subscriptionTo(maxPendingBytes, holding).subscription.stop();
  const { subscription, deliver, isFull } = subscriptionTo(maxPendingBytes, holding);
  deliver('x'.repeat(limit));
  await Promise.resolve();
  expect(isFull()).toBe(false);
  deliver('y');
  await subscription.whenFull;
});

test.each([
  ['live, with block', false, 2],
  ['waited for', true, 1],
])('a subscriber that is %s gets no more while it is behind', async (_, isPaced, expected) => {
  const { delivered, isWaiting, catchUp } = readerTo(isPaced);
  await until(() => isWaiting() || delivered() === 4);
  expect(delivered()).toBe(expected);
  catchUp();
  await until(() => delivered() === expected + 1);
});

test('nothing waits for a subscription that has ended', async () => {
  const { subscription, delivered, isWaiting } = readerTo(false);
  await until(isWaiting);
  subscription.stop();
  await until(() => delivered() === 4);
});
