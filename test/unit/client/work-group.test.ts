// A client in a work group: what it acknowledges, and what it gives back.

import { join } from 'node:path';
import { type ReceivedMessage, SluiceClient, type SubscriptionFilter } from 'sluice/client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Unacknowledged } from '#src/client/unacknowledged.js';
import { startPlainBroker, type TestBroker, temporaryFolder, until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';
import { numberedBlock } from '../../support/numbered.js';
import { ScriptedBroker } from '../../support/scripted-broker.js';
import { collectUncaught } from '../../support/uncaught.js';

const GROUP: SubscriptionFilter = { group: 'workers', ack: 'manual', from: 'first', types: ['job_progress'] };
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);
const numberOf = ({ message }: ReceivedMessage) => (message.data as { processed: number }).processed;

async function connectApp({ socketPath }: Pick<TestBroker, 'socketPath'>): Promise<SluiceClient> {
  const client = new SluiceClient({
    socketPath,
    hello: { role: 'app' },
    reconnect: { initialDelay: 5, maxDelay: 20 },
  });
  onTestFinished(() => void client.close(0));
  return client.connect();
}

async function start(count: number, log = join(temporaryFolder(), 'log')): Promise<TestBroker> {
  const broker = await startPlainBroker({ log });
  const crawler = await broker.connect();
  crawler.write(numberedBlock(0, 0, count));
  await crawler.settled();
  return broker;
}

/** The position of the group, in messages. */
const settledIn = ({ manager }: TestBroker) => {
  const { end = 0, cursors = [] } = manager.getMetrics().durableLog ?? {};
  return end - (cursors.find(({ name }) => name === 'workers')?.behind ?? Number.NaN);
};

describe('unacknowledged messages', () => {
  test('are done up to the first one that is not, in the order in which they came', () => {
    const messages = new Unacknowledged();
    const take = (...done: readonly number[]) => {
      for (const offset of done) messages.settle(offset);
      return messages.take();
    };
    for (const offset of [5, 6, 7, 2]) messages.add(offset, 0);
    expect(take(6)).toEqual({ position: undefined, done: [[6, 7]] });
    // Not 7: the broker knows a position by a message that it still counts as the client's.
    expect(take(5)).toEqual({ position: 6, done: [] });
    expect(take(2)).toEqual({ position: undefined, done: [[2, 3]] });
    messages.giveBack(7);
    expect(take()).toEqual({ position: undefined, done: [] });
    messages.add(9, 0);
    messages.add(9, 0);
    messages.settleAll();
    expect(take()).toEqual({ position: 10, done: [] });
    expect(take(9)).toEqual({ position: undefined, done: [] });
  });

  test('ranges of those that are done contain no others, and none of another delivery', () => {
    const messages = new Unacknowledged();
    for (const offset of [0, 2, 4, 5, 6]) messages.add(offset, 0);
    messages.endDelivery();
    for (const offset of [8, 9, 10]) messages.add(offset, 1);
    messages.giveBack(5);
    messages.take();
    for (const offset of [2, 4, 6, 8, 10]) messages.settle(offset);
    const done = [
      [2, 5],
      [6, 7],
      [8, 9],
      [10, 11],
    ];
    expect(messages.take()).toEqual({ position: undefined, done });
    expect(messages.skipped()).toEqual([0, 9]);
    expect(messages.skipped(0)).toEqual([0]);
    messages.settle(0);
    expect(messages.take()).toEqual({ position: 1, done: [] });
  });
});

describe('a work group', () => {
  test('messages may be done in any order; those of a client that closes go to another one', async () => {
    const broker = await start(20);
    const [first, second] = [await connectApp(broker), await connectApp(broker)];
    const subscription = await first.subscribe(GROUP);
    const events: ReceivedMessage[] = [];
    for await (const event of subscription) if (events.push(event) === 20) break;
    // Leaving the loop has unsubscribed.
    expect(events.map(numberOf)).toEqual(range(0, 20));
    const again = await first.subscribe(GROUP);
    const received: ReceivedMessage[] = [];
    for (let index = 0; index < 20; index++) {
      const { value } = await again.next();
      if (value !== undefined) received.push(value);
    }
    for (const index of [3, 1, 0, 2, 7]) {
      const event = received[index];
      if (event !== undefined) again.ack(event);
    }
    await until(() => settledIn(broker) === 4);
    const others: number[] = [];
    const rest = await second.subscribe(GROUP, (event) => {
      others.push(numberOf(event));
      rest.ack(event);
    });
    await first.close();
    await until(() => settledIn(broker) === 20);
    expect(others).toEqual([...range(4, 7), ...range(8, 20)]);
  });

  test('what is done before `flush` is sent before its ping', async () => {
    const broker = await ScriptedBroker.start();
    const client = await connectApp(broker);
    const subscription = await client.subscribe(GROUP);
    const message = JSON.stringify(VALID.job_progress);
    broker.connections[0]?.write(`{"from":"c1","crawlerId":null,"seq":1,"offset":7,"message":${message}}\n`);
    const { value } = await subscription.next();
    client.publish(VALID.job_cancel);
    if (value !== undefined) subscription.ack(value);
    await client.flush();
    expect(broker.received.slice(-3).map(({ type }) => type)).toEqual(['job_cancel', 'ack', 'ping']);
  });

  test('is left before the same client subscribes again, in one turn', async () => {
    const broker = await ScriptedBroker.start();
    const client = await connectApp(broker);
    const work = await client.subscribe(GROUP);
    const left = work.unsubscribe();
    const again = await client.subscribe(GROUP);
    await left;
    const requests = broker.received.map(({ type, data }) => `${type} ${data.id}`);
    expect(requests.slice(-2)).toEqual([`unsubscribe ${work.id}`, `subscribe ${again.id}`]);
  });

  test('nothing of it reaches a subscription that its listener replaces it with', async () => {
    const broker = await ScriptedBroker.start();
    const client = await connectApp(broker);
    const received: unknown[] = [];
    const work = await client.subscribe({ ...GROUP, ack: 'auto' }, () => {
      void work.unsubscribe();
      void client.subscribe({ types: ['heartbeat'] }, ({ type }) => received.push(type));
    });
    broker.connections[0]?.write(line(VALID.job_progress).repeat(3));
    await until(() => broker.received.filter(({ type }) => type === 'subscribe').length === 2);
    broker.connections[0]?.write(line(VALID.heartbeat));
    await until(() => received.includes('heartbeat'));
    expect(received).toEqual(['heartbeat']);
  });

  test('what is done after a message that takes long is done for the broker, too', async () => {
    const broker = await start(4);
    const client = await connectApp(broker);
    const events: ReceivedMessage[] = [];
    const subscription = await client.subscribe(GROUP, (event) => events.push(event));
    await until(() => events.length === 4);
    for (const event of events.slice(1)) subscription.ack(event);
    const held = () => broker.manager.getMetrics().protocol.workGroups[0]?.held;
    await until(() => held() === 1);
    if (events[0] !== undefined) subscription.ack(events[0]);
    await until(() => held() === 0);
    expect(settledIn(broker)).toBe(4);
  });

  test('messages of several deliveries, the latest one done first', async () => {
    const broker = await start(1);
    const client = await connectApp(broker);
    const events: ReceivedMessage[] = [];
    const subscription = await client.subscribe(GROUP, (event) => events.push(event));
    const crawler = await broker.connect();
    for (let count = 1; count < 4; count++) {
      await until(() => events.length === count);
      crawler.write(numberedBlock(0, count, count + 1));
    }
    await until(() => events.length === 4);
    for (let left = 3; left >= 0; left--) {
      subscription.ack(events[left] as ReceivedMessage);
      await until(() => broker.manager.getMetrics().protocol.workGroups[0]?.held === left);
    }
    expect(settledIn(broker)).toBe(4);
  });

  test('a message that has failed is redelivered, also with `meta`', async () => {
    const uncaught = collectUncaught();
    const broker = await start(2);
    const client = await connectApp(broker);
    const numbers: number[] = [];
    await client.subscribe({ ...GROUP, ack: 'auto', meta: true }, (event) => {
      if (numbers.push(numberOf(event)) === 1) throw new Error('no');
    });
    await until(() => settledIn(broker) === 2);
    expect(numbers).toEqual([0, 1, 0]);
    expect(uncaught).toHaveLength(1);
  });

  test('a message that was forgotten is redelivered, and holds up no other', async () => {
    const broker = await start(4);
    const client = await connectApp(broker);
    const numbers: number[] = [];
    const subscription = await client.subscribe({ ...GROUP, ackWait: 100 }, (event) => {
      if (numbers.push(numberOf(event)) !== 2) subscription.ack(event);
    });
    await until(() => settledIn(broker) === 4);
    expect(numbers.slice(0, 4)).toEqual([0, 1, 2, 3]);
    // More than once if it was on its way when it was given back.
    expect(numbers.slice(4)).toContain(1);
    expect(new Set(numbers.slice(4))).toEqual(new Set([1]));
  });

  test('all that were handed out can be acknowledged together, and none that is queued', async () => {
    const broker = await start(10);
    const client = await connectApp(broker);
    const subscription = await client.subscribe(GROUP);
    for (let index = 0; index < 3; index++) await subscription.next();
    await until(() => subscription.queuedBytes > 0);
    subscription.ack();
    await until(() => settledIn(broker) > 0);
    expect(settledIn(broker)).toBe(3);
  });

  test('acknowledges by itself what the loop is done with, or the listener has returned from', async () => {
    const broker = await start(10);
    const client = await connectApp(broker);
    const subscription = await client.subscribe({ ...GROUP, ack: 'auto' });
    for (let index = 0; index < 4; index++) await subscription.next();
    await until(() => settledIn(broker) === 3);
    await client.close();
    const other = await connectApp(broker);
    const numbers: number[] = [];
    await other.subscribe({ ...GROUP, ack: 'auto' }, (event) => void numbers.push(numberOf(event)));
    await until(() => settledIn(broker) === 10);
    expect(numbers).toEqual(range(3, 10));
  });

  test('gives a message back whose listener throws', async () => {
    const broker = await start(3);
    const client = await connectApp(broker);
    const uncaught = collectUncaught();
    const numbers: number[] = [];
    const filter: SubscriptionFilter = { ...GROUP, ack: 'auto', maxDeliveries: 1 };
    await client.subscribe(filter, (event) => {
      if (numbers.push(numberOf(event)) === 2) throw new Error('thrown');
    });
    // It has failed once: a dead letter.
    await until(() => settledIn(broker) === 3);
    expect(numbers).toEqual([0, 1, 2]);
    expect(uncaught).toEqual(['thrown']);
    expect(broker.manager.getMetrics().durableLog?.deadLetters.failed).toBe(1);
  });

  test('a client that closes while it handles a message has not failed', async () => {
    const broker = await start(1);
    const [first, second] = [await connectApp(broker), await connectApp(broker)];
    const filter: SubscriptionFilter = { ...GROUP, maxDeliveries: 1, maxUnacked: 1 };
    const work = await first.subscribe(filter);
    await work.next();
    await first.close();
    const numbers: number[] = [];
    await second.subscribe(filter, (event) => numbers.push(numberOf(event)));
    const failed = () => broker.manager.getMetrics().durableLog?.deadLetters.failed ?? 0;
    await until(() => numbers.length + failed() > 0);
    expect([numbers, failed()]).toEqual([[0], 0]);
  });

  test('a client that closes gets nothing more, and what it is late with is no error', async () => {
    const broker = await start(3);
    const client = await connectApp(broker);
    const rejected: unknown[] = [];
    client.on('rejected', (error) => rejected.push(error));
    const work = await client.subscribe(GROUP);
    const { value } = await work.next();
    await until(() => work.queuedBytes > 0);
    const closing = client.close();
    // It would be confirmed before the connection is closed.
    await Promise.resolve();
    await Promise.resolve();
    if (value !== undefined) work.ack(value);
    expect(await work.next()).toEqual({ done: true, value: undefined });
    await closing;
    expect([rejected, settledIn(broker)]).toEqual([[], 0]);
  });

  test.each(['close', 'unsubscribe'] as const)(
    'what a listener has handled is acknowledged although it calls %s',
    async (action) => {
      const broker = await start(3);
      const client = await connectApp(broker);
      const subscription = await client.subscribe({ ...GROUP, ack: 'auto' }, (event) => {
        if (numberOf(event) < 2) return;
        if (action === 'close') void client.close();
        else void subscription.unsubscribe();
      });
      await until(() => broker.manager.getMetrics().protocol.workGroups[0]?.members === 0);
      expect(settledIn(broker)).toBe(3);
    },
  );

  test('a message that is given back is redelivered; after too many failures, it is not', async () => {
    const broker = await start(6);
    const client = await connectApp(broker);
    const subscription = await client.subscribe({ ...GROUP, maxDeliveries: 3 });
    const numbers: number[] = [];
    const work = (async () => {
      for await (const event of subscription) {
        numbers.push(numberOf(event));
        if (numberOf(event) === 2) subscription.nack(event, { delay: 10 });
        else subscription.ack(event);
      }
    })();
    await until(() => settledIn(broker) === 6);
    await client.close();
    await work;
    expect(numbers).toEqual([0, 1, 2, 3, 4, 5, 2, 2]);
  });

  test('a message can be given back after any time of up to a day, and after no other', async () => {
    const broker = await start(3);
    const client = await connectApp(broker);
    const subscription = await client.subscribe(GROUP);
    const numbers: number[] = [];
    for await (const event of subscription) {
      numbers.push(numberOf(event));
      if (numbers.length === 4) break;
      for (const delay of [-1, 86_400_001, Number.NaN, Number.POSITIVE_INFINITY])
        expect(() => subscription.nack(event, { delay })).toThrow('delay must be 0 to 86400000');
      if (numbers.length === 2) subscription.nack(event, { delay: 5.5 });
      else subscription.ack(event);
    }
    expect(numbers).toEqual([0, 1, 2, 1]);
  });

  test('a message of a subscription that has ended cannot be given back, and harms no other subscription', async () => {
    const broker = await start(1);
    const client = await connectApp(broker);
    const ended = await client.subscribe(GROUP);
    const { value: event } = await ended.next();
    await ended.unsubscribe();
    let disconnections = 0;
    client.on('disconnected', () => disconnections++);
    const subscription = await client.subscribe(GROUP, (again) => subscription.ack(again));
    if (event !== undefined) ended.nack(event);
    await until(() => settledIn(broker) === 1);
    expect(disconnections).toBe(0);
  });

  test('no message is lost if the client gives back more than it may send', async () => {
    const log = join(temporaryFolder(), 'log');
    await (await start(100, log)).manager.stop();
    const broker = await startPlainBroker({ log, maxMessagesPerSecond: 20 });
    const client = await connectApp(broker);
    client.on('rejected', () => {});
    const handled = new Set<number>();
    const failed = new Set<number>();
    const subscription = await client.subscribe(GROUP, (event) => {
      const number = numberOf(event);
      if (number >= 60 || failed.has(number)) {
        handled.add(number);
        subscription.ack(event);
        return;
      }
      failed.add(number);
      subscription.nack(event, { delay: 0 });
    });
    await until(() => handled.size === 100);
  });

  test('goes on after a lost connection, also with what was acknowledged but never confirmed', async () => {
    const broker = await start(10);
    const client = await connectApp(broker);
    const subscription = await client.subscribe(GROUP);
    const numbers: number[] = [];
    void (async () => {
      for await (const event of subscription) {
        numbers.push(numberOf(event));
        if (numbers.length === 5)
          for (const connection of broker.manager.getConnectionPool()) void connection.disconnect('TEST');
        else subscription.ack(event);
      }
    })();
    await until(() => settledIn(broker) === 10);
    expect([...new Set(numbers)].sort((a, b) => a - b)).toEqual(range(0, 10));
  });

  test('a message that takes long stays with its client as long as that shows that it is working', async () => {
    const broker = await start(1);
    const [first, second] = [await connectApp(broker), await connectApp(broker)];
    const subscription = await first.subscribe({ ...GROUP, ackWait: 300 });
    const { value } = await subscription.next();
    const others: ReceivedMessage[] = [];
    await second.subscribe(GROUP, (event) => void others.push(event));
    for (let times = 0; times < 20; times++) {
      subscription.working();
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    expect(others).toEqual([]);
    if (value !== undefined) subscription.ack(value);
    await until(() => settledIn(broker) === 1);
  });

  test('says what cannot be combined', async () => {
    const client = await connectApp(await start(0));
    const wrong: SubscriptionFilter[] = [
      { ...GROUP, cursor: 'x' },
      { ...GROUP, last: true },
      { ...GROUP, scope: 'fleet' },
      { group: 'workers', from: 'first' },
      { group: 'workers', maxUnacked: 5 },
      { ack: 'manual' },
    ];
    for (const filter of wrong)
      await expect(client.subscribe(filter)).rejects.toMatchObject({ code: 'INVALID_OPTION' });
    const subscription = await client.subscribe({ types: ['heartbeat'] });
    expect(() => subscription.ack()).toThrow('ack');
    expect(() => subscription.nack({} as ReceivedMessage)).toThrow('nack');
  });
});
