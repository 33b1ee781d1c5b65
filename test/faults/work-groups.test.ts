// Work groups: each message of the durable log goes to one member, until one has acknowledged it.

import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { SluiceOptions } from 'sluice';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { deadLetterDisk, readDeadLetters, type StoredDeadLetter } from '#src/log/dead-letters.js';
import { MessageLog } from '#src/log/message-log.js';
import { startPlainBroker, type TestBroker, temporaryFolder, until } from '../support/broker.js';
import { FaultyDisk } from '../support/faulty-disk.js';
import { line, VALID } from '../support/messages.js';
import type { Line, Peer } from '../support/peer.js';

const GROUP = {
  id: '1',
  group: 'workers',
  ack: 'manual',
  from: 'first',
  types: ['job_progress'],
  meta: true,
};

async function start(options: SluiceOptions = {}) {
  const folder = options.log ?? join(temporaryFolder(), 'log');
  return { folder, ...(await startPlainBroker({ log: folder, ...options })) };
}

const numbered = (processed: number) =>
  line({ ...VALID.job_progress, data: { ...VALID.job_progress.data, processed, total: undefined } });

/** Stores messages with these numbers. */
async function store(broker: TestBroker, from: number, to: number): Promise<void> {
  const crawler = await broker.connect();
  for (let number = from; number < to; number++) crawler.write(numbered(number));
  await crawler.settled();
  crawler.socket.destroy();
}

async function joinGroup(broker: TestBroker, options: object = {}): Promise<Peer> {
  const member = await broker.connect();
  member.say('subscribe', { ...GROUP, ...options });
  await member.next('subscribed');
  return member;
}

const numberOf = ({ message }: Line) => (message as { data?: { processed: number } })?.data?.processed;
const numbersOf = (member: Peer) => member.messages.map(numberOf).filter((number) => number !== undefined);
const deliveries = (member: Peer, number: number) =>
  numbersOf(member).filter((other) => other === number).length;
const epochOf = (member: Peer) =>
  String(member.messages.find(({ type }) => type === 'subscribed')?.data.position).split(':')[0];
const positionOf = (member: Peer, offset: number) => `${epochOf(member)}:${offset}`;
const acknowledge = (member: Peer, offset: number) =>
  member.say('ack', { id: '1', position: positionOf(member, offset) });
const giveBack = (member: Peer, offset: number, more: object = {}) =>
  member.say('nack', { id: '1', position: positionOf(member, offset), ...more });
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);

async function deadLettersIn(folder: string): Promise<StoredDeadLetter[]> {
  const letters: StoredDeadLetter[] = [];
  for await (const letter of readDeadLetters(deadLetterDisk(folder))) letters.push(letter);
  return letters;
}

describe('a work group', () => {
  test('shares messages among its members, each to one, and no member gets more than it may have', async () => {
    const broker = await start();
    await store(broker, 0, 100);
    const members = [
      await joinGroup(broker, { maxUnacked: 10 }),
      await joinGroup(broker, { maxUnacked: 10 }),
    ];
    await until(() => members.every((member) => numbersOf(member).length >= 8));
    const all = () => members.flatMap(numbersOf).sort((a, b) => a - b);
    expect(all().length).toBeLessThanOrEqual(20);
    for (const [index, member] of members.entries()) {
      await until(() => {
        const last = Math.max(...numbersOf(member));
        acknowledge(member, last + 1);
        return index === 0 || all().length === 100;
      });
    }
    await until(() => {
      for (const member of members) acknowledge(member, 100);
      return all().length === 100;
    });
    expect(all()).toEqual(range(0, 100));
  });

  test('begins at a time in any spelling of a timestamp', async () => {
    const broker = await start();
    await store(broker, 0, 5);
    const member = await joinGroup(broker, { from: { time: '2000-01-01T00:00:60,5+01' } });
    await until(() => numbersOf(member).length === 5);
  });

  test('gives a member that acknowledges none of them as many messages as it may have', async () => {
    const broker = await start();
    const member = await joinGroup(broker, { maxUnacked: 199 });
    const crawler = await broker.connect();
    for (let number = 0; number < 200; number++) {
      crawler.write(numbered(number));
      // Some become durable while the log is read for the group.
      crawler.say('ping');
      await pause(number % 7);
    }
    await until(() => numbersOf(member).length === 199);
    await member.settled();
    expect(numbersOf(member)).toHaveLength(199);
    acknowledge(member, 199);
    await until(() => numbersOf(member).length === 200);
    acknowledge(member, 200);
    await member.settled();
    expect(broker.manager.getMetrics().protocol.workGroups).toMatchObject([{ held: 0 }]);
  });

  test('gives what a closed member had to the others, at once, and remembers what was acknowledged', async () => {
    const broker = await start();
    await store(broker, 0, 20);
    const first = await joinGroup(broker);
    await until(() => numbersOf(first).length === 20);
    acknowledge(first, 5);
    await first.settled();
    const second = await joinGroup(broker);
    first.socket.destroy();
    await until(() => numbersOf(second).length === 15);
    expect(numbersOf(second)).toEqual(range(5, 20));
    acknowledge(second, 20);
    await second.settled();
    second.socket.destroy();
    await until(() => broker.manager.getConnectionPool().size === 0);
    await broker.manager.stop();
    // Another process.
    const again = await start({ log: broker.folder });
    await store(again, 20, 22);
    const third = await joinGroup(again);
    await until(() => numbersOf(third).length === 2);
    expect(numbersOf(third)).toEqual([20, 21]);
  });

  test('remembers what its last member acknowledged when it left', async () => {
    const broker = await start();
    await store(broker, 0, 20);
    const member = await joinGroup(broker);
    await until(() => numbersOf(member).length === 20);
    const acknowledgement = line({ type: 'ack', data: { id: '1', position: positionOf(member, 15) } });
    member.write(acknowledgement + line({ type: 'unsubscribe', data: { id: '1' } }));
    await member.next('unsubscribed');
    expect(broker.manager.getMetrics().durableLog?.cursors).toEqual([{ name: 'workers', behind: 5 }]);
  });

  test('a member without progress loses its messages, and gets more when it acknowledges', async () => {
    const broker = await start();
    await store(broker, 0, 10);
    const slow = await joinGroup(broker, { ackWait: 200 });
    await until(() => numbersOf(slow).length === 10);
    const other = await joinGroup(broker);
    await until(() => numbersOf(other).length === 10);
    await store(broker, 10, 20);
    // The slow one has shown no sign of life.
    acknowledge(other, 10);
    await until(() => numbersOf(other).length === 20);
    expect(numbersOf(slow)).toHaveLength(10);
    acknowledge(slow, 10);
    await slow.settled();
    await other.settled();
    acknowledge(other, 20);
    await store(broker, 20, 30);
    other.socket.destroy();
    await until(() => numbersOf(slow).length >= 20);
  });

  test('repeating an acknowledgement shows that a member is still working', async () => {
    const broker = await start();
    await store(broker, 0, 1);
    const busy = await joinGroup(broker, { ackWait: 300 });
    const idle = await joinGroup(broker);
    await until(() => numbersOf(busy).length + numbersOf(idle).length === 1);
    const [worker, other] = numbersOf(busy).length === 1 ? [busy, idle] : [idle, busy];
    for (let times = 0; times < 20; times++) {
      acknowledge(worker, 0);
      await worker.settled();
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    expect(numbersOf(other)).toEqual([]);
  });

  test.each([
    ['its delay', 'SCHEMA_VIOLATION', () => ({ delay: 0.5 })],
    ['its end', 'RULE_VIOLATION', (member: Peer) => ({ to: positionOf(member, 1) })],
    ['its id', 'RULE_VIOLATION', () => ({ id: 'unknown' })],
  ])(
    'a member whose nack is rejected for %s is closed, and what it acknowledges after it is not done',
    async (_, code, wrong) => {
      const broker = await start();
      await store(broker, 0, 3);
      const member = await joinGroup(broker);
      await until(() => numbersOf(member).length === 3);
      giveBack(member, 1, wrong(member));
      acknowledge(member, 3);
      await member.closed;
      expect(member.errors[0]).toBe(code);
      const other = await joinGroup(broker);
      await until(() => numbersOf(other).length === 3);
    },
  );

  test('a message that is given back is redelivered, after its delay, and the others are not held up', async () => {
    const broker = await start();
    await store(broker, 0, 5);
    const member = await joinGroup(broker);
    await until(() => numbersOf(member).length === 5);
    giveBack(member, 2, { delay: 50 });
    acknowledge(member, 5);
    await until(() => deliveries(member, 2) === 2);
    expect(numbersOf(member)).toEqual([0, 1, 2, 3, 4, 2]);
    acknowledge(member, 3);
    await store(broker, 5, 7);
    await until(() => numbersOf(member).length === 8);
  });

  test('messages of a record that are given back one by one are read once', async () => {
    const readers = vi.spyOn(MessageLog.prototype, 'reader');
    onTestFinished(() => readers.mockRestore());
    const broker = await start();
    const crawler = await broker.connect();
    const count = 50;
    crawler.write(range(0, count).map(numbered).join(''));
    await crawler.settled();
    const member = await joinGroup(broker);
    await until(() => numbersOf(member).length === count);
    for (const offset of range(0, count)) giveBack(member, offset, { delay: 0 });
    readers.mockClear();
    let handled = 0;
    await until(() => {
      for (; handled < numbersOf(member).length - count; handled++) acknowledge(member, handled + 1);
      return handled === count;
    });
    expect(numbersOf(member)).toEqual([...range(0, count), ...range(0, count)]);
    expect(readers.mock.calls.length).toBeLessThan(count / 2);
  });

  test.each([
    ['closes without reading', (member: Peer) => member.socket.destroy()],
    ['is closed since it does not read', () => {}],
  ])('a message ends in the dead letters if every member that gets it %s', async (_, end) => {
    const broker = await start({ stallTimeout: 200, healthCheckInterval: 50 });
    const crawler = await broker.connect();
    // Longer than what the kernel accepts for a peer that does not read.
    const { data } = VALID.job_progress;
    crawler.write(line({ ...VALID.job_progress, data: { ...data, message: 'x'.repeat(400_000) } }));
    await crawler.settled();
    const { manager } = broker;
    const failed = () => manager.getMetrics().durableLog?.deadLetters.failed;
    for (let members = 0; members < 2; members++) {
      expect(failed()).toBe(0);
      const member = await joinGroup(broker, { maxDeliveries: 2 });
      member.socket.pause();
      await until(() => manager.getMetrics().protocol.workGroups[0]?.held === 1);
      end(member);
      await until(() => manager.getConnectionPool().size === 1);
    }
    await joinGroup(broker);
    await until(() => failed() === 1);
  });

  test('a member that does not read holds up no message that another one has given back', async () => {
    const broker = await start();
    const slow = await joinGroup(broker);
    await slow.subscribe({ types: ['heartbeat'], overflow: 'drop-oldest' });
    slow.socket.pause();
    const crawler = await broker.connect();
    const heartbeat = {
      ...VALID.heartbeat,
      data: { ...VALID.heartbeat.data, memoryUsage: 'x'.repeat(100_000) },
    };
    for (let count = 0; count < 20; count++) crawler.write(line(heartbeat));
    await crawler.settled();
    const member = await joinGroup(broker);
    crawler.write(numbered(0));
    await until(() => deliveries(member, 0) === 1);
    const offset = Number(member.messages.find((message) => numberOf(message) === 0)?.offset);
    giveBack(member, offset, { delay: 0 });
    await until(() => deliveries(member, 0) === 2);
  });

  test('a message that closes whoever gets it ends in the dead letters, and all others are handled', async () => {
    const broker = await start();
    await store(broker, 0, 300);
    const handled = new Set<number>();
    const poison = 137;
    let isDone = false;
    const work = async (): Promise<void> => {
      while (!isDone) {
        const member = await joinGroup(broker, { maxDeliveries: 2, maxUnacked: 200 });
        let seen = 0;
        await until(() => {
          for (; seen < member.lines.length; seen++) {
            const message = member.messages[seen];
            const number = message && numberOf(message);
            if (number === undefined) continue;
            if (number === poison) {
              member.socket.destroy();
              return true;
            }
            handled.add(number);
            acknowledge(member, number + 1);
          }
          return isDone;
        });
        member.socket.destroy();
      }
    };
    const workers = [work(), work()];
    await until(() => handled.size === 299);
    let letters: StoredDeadLetter[] = [];
    for (; letters.length === 0; letters = await deadLettersIn(broker.folder))
      await new Promise((resolve) => setTimeout(resolve, 50));
    isDone = true;
    await Promise.all(workers);
    expect(letters).toHaveLength(1);
    expect(letters[0]).toMatchObject({
      reason: 'MAX_DELIVERIES',
      group: 'workers',
      messageType: 'job_progress',
    });
    const content = Buffer.from(letters[0]?.content ?? '', 'base64').toString();
    expect(`${content}\n`).toBe(numbered(poison));
  });

  test('a message that the dead letters cannot take yet holds up no other one, and is kept until they can', async () => {
    const disk = FaultyDisk.install((folder) => folder.endsWith('dead-letters'));
    const broker = await start();
    await store(broker, 0, 1);
    const member = await joinGroup(broker, { maxDeliveries: 1 });
    await until(() => numbersOf(member).length === 1);
    disk.fail('ENOSPC');
    giveBack(member, 0);
    await store(broker, 1, 2);
    await until(() => numbersOf(member).length === 2);
    expect(numbersOf(member)).toEqual([0, 1]);
    acknowledge(member, 2);
    await member.settled();
    const cursors = () => broker.manager.getMetrics().durableLog?.cursors;
    expect(cursors()).toEqual([{ name: 'workers', behind: 2 }]);
    disk.work();
    await until(() => cursors()?.[0]?.behind === 0);
    expect(await deadLettersIn(broker.folder)).toMatchObject([{ reason: 'MAX_DELIVERIES' }]);
  });

  test('says that messages are missing: the log was deleted, or they were removed', async () => {
    const broker = await start({ logSegmentBytes: 65_536, logMaxBytes: 1024 * 1024 });
    await store(broker, 0, 10);
    const first = await joinGroup(broker);
    await until(() => numbersOf(first).length === 10);
    acknowledge(first, 5);
    await first.settled();
    first.socket.destroy();
    await broker.manager.stop();
    for (const name of readdirSync(broker.folder))
      if (name.endsWith('.seg')) rmSync(join(broker.folder, name));
    const again = await start({ log: broker.folder, logSegmentBytes: 65_536, logMaxBytes: 1024 * 1024 });
    await store(again, 10, 12);
    const second = await joinGroup(again, { maxUnacked: 1 });
    expect(await second.next('gap')).toMatchObject({ data: { id: '1', reason: 'epoch' } });
    await until(() => numbersOf(second).length === 1);
    expect(numbersOf(second)).toEqual([10]);
    // What it has is still there, and removed from the log before it is given back.
    await store(again, 12, 12_000);
    giveBack(second, 0, { delay: 0 });
    await until(() => second.messages.some(({ type, data }) => type === 'gap' && data.reason === 'removed'));
  });

  test('says what is wrong with a subscription or an acknowledgement', async () => {
    const broker = await start();
    await store(broker, 0, 1);
    const member = await joinGroup(broker);
    const other = await broker.connect();
    other.say('subscribe', { id: 'cursor', cursor: 'used', types: ['heartbeat'] });
    await other.next('subscribed');
    for (const data of [
      { ...GROUP, types: ['heartbeat'] },
      { ...GROUP, cursor: 'x' },
      { ...GROUP, last: true },
      { ...GROUP, ack: 'auto' },
      { ...GROUP, ack: undefined },
      { ...GROUP, group: 'used' },
      { ...GROUP, group: '$own' },
      { id: '2', cursor: 'workers' },
    ]) {
      other.lines.length = 0;
      other.say('subscribe', data);
      expect(await other.next('error')).toMatchObject({ data: { code: 'RULE_VIOLATION' } });
    }
    for (const [type, data] of [
      ['ack', { id: 'cursor', position: positionOf(member, 0) }],
      ['nack', { id: 'cursor', position: positionOf(member, 0) }],
    ] as const) {
      other.lines.length = 0;
      other.say(type, data);
      expect(await other.next('error')).toMatchObject({ data: { code: 'RULE_VIOLATION' } });
    }
    await other.closed;
    member.lines.length = 0;
    member.say('ack', { id: '1', position: 'ffffffffffffffff:1' });
    expect(await member.next('error')).toMatchObject({ data: { code: 'RULE_VIOLATION' } });
    const plain = await startPlainBroker();
    const peer = await plain.connect();
    peer.say('subscribe', GROUP);
    expect(await peer.next('error')).toMatchObject({ data: { issues: [{ code: 'no_log' }] } });
  });
});

describe('the dead letters', () => {
  test.each(['sample', 'full'] as const)('keep rejected messages: %s', async (rejectedBytes) => {
    const broker = await start({ rejectedBytes });
    const crawler = await broker.connect();
    const text = '{"type":"heartbeat","data":{"access_token":"glpat-abcdefgh12345678"}}';
    crawler.write(`${text}\n`);
    await crawler.next('error');
    await broker.manager.stop();
    const letters = await deadLettersIn(broker.folder);
    expect(letters).toMatchObject([{ reason: 'SCHEMA_VIOLATION', messageType: 'heartbeat' }]);
    expect(letters[0]?.sample).not.toContain('glpat-abc');
    const content = letters[0]?.content;
    expect(content && Buffer.from(content, 'base64').toString()).toBe(
      rejectedBytes === 'full' ? text : undefined,
    );
  });

  test('count the rejected messages that they do not keep', async () => {
    const broker = await start();
    const crawler = await broker.connect();
    crawler.write('{"type":"heartbeat","data":{}}\n'.repeat(300));
    await crawler.settled();
    const { rejected = 0, omitted = 0 } = broker.manager.getMetrics().durableLog?.deadLetters ?? {};
    expect(rejected).toBeGreaterThanOrEqual(100);
    expect(rejected + omitted).toBe(300);
  });
});
