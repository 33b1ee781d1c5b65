// What the members of a queue group receive when one of them falls behind or closes.

import { describe, expect, test } from 'vitest';
import { sharePlainBroker, type TestBroker, until } from '../support/broker.js';
import { line, VALID } from '../support/messages.js';
import type { Peer } from '../support/peer.js';

const PAD = 'x'.repeat(4000);
/** More than the kernel holds for a socket and one write of the broker together. */
const MESSAGES = 1000;
const messageOf = (index: number) => line({ ...VALID.job_started, jobId: `job-${index}`, pad: PAD });

const sharedBroker = sharePlainBroker();

/** The numbers of the messages that a peer has received, in order. */
const numbersOf = (peer: Peer): number[] =>
  peer.messages
    .filter(({ type }) => type === 'job_started')
    .map(({ jobId }) => Number(String(jobId).slice('job-'.length)));

async function member({ connect }: TestBroker, data: object = {}): Promise<Peer> {
  return (await connect()).subscribe({ group: 'g', ...data });
}

const connectionsOf = ({ manager }: TestBroker) => manager.getConnectionPool().all();
const droppedBy = ({ manager }: TestBroker) => manager.getMetrics().totals.messagesDropped;
const isBehind = ({ statistics }: { statistics: { pendingBytes: number } }) => statistics.pendingBytes > 0;

/** Publishes messages in runs of a dozen. */
async function publish({ connect }: TestBroker, from = 0, to = MESSAGES): Promise<void> {
  const crawler = await connect();
  for (let index = from; index < to; index += 12) {
    const run = Array.from({ length: Math.min(12, to - index) }, (_, offset) => messageOf(index + offset));
    crawler.write(run.join(''));
    await crawler.settled();
  }
  await crawler.close();
}

/** Waits until a peer has received all that the broker has for it. */
async function receiveAll(peer: Peer, broker: TestBroker): Promise<void> {
  await until(() => !connectionsOf(broker).some(isBehind));
  await peer.settled();
}

/** The published messages that none of the peers has received. Fails if one was received twice. */
function missing(peers: readonly Peer[], published = MESSAGES): number[] {
  const received = peers.flatMap(numbersOf);
  const unique = new Set(received);
  expect(unique.size).toBe(received.length);
  return Array.from({ length: published }, (_, index) => index).filter((index) => !unique.has(index));
}

const isAscending = (numbers: readonly number[]) =>
  numbers.every((value, index) => index === 0 || value > (numbers[index - 1] ?? 0));

describe('what is queued for a member that closes goes to another one, once and in order', () => {
  async function queueForSlow(broker: TestBroker): Promise<[slow: Peer, other: Peer]> {
    const [slow, other] = [await member(broker), await member(broker)];
    slow.socket.pause();
    await publish(broker);
    await other.settled();
    expect(connectionsOf(broker).filter(isBehind)).toHaveLength(1);
    return [slow, other];
  }

  test('when it disconnects: all but what the kernel had accepted', async () => {
    const broker = sharedBroker();
    const before = droppedBy(broker);
    const [slow, other] = await queueForSlow(broker);
    const own = numbersOf(other).length;
    await slow.close();
    await until(() => connectionsOf(broker).length === 1);
    await receiveAll(other, broker);
    const takenOver = numbersOf(other).slice(own);
    expect(takenOver.length).toBeGreaterThan(250);
    expect(isAscending(takenOver)).toBe(true);
    expect(Math.max(...missing([other]))).toBeLessThan(takenOver[0] ?? 0);
    // A message of which the kernel had accepted a part.
    expect(droppedBy(broker) - before).toBeLessThanOrEqual(1);
  });

  test('when the broker closes it: all but one message of which a part was written', async () => {
    const broker = sharedBroker();
    const before = droppedBy(broker);
    const [slow, other] = await queueForSlow(broker);
    connectionsOf(broker).find(isBehind)?.destroy();
    slow.socket.resume();
    await slow.closed;
    await receiveAll(other, broker);
    expect(missing([slow, other])).toHaveLength(droppedBy(broker) - before);
    expect(droppedBy(broker) - before).toBeLessThanOrEqual(1);
  });

  test('when it ends its side: nothing is missing', async () => {
    const broker = sharedBroker();
    const [slow, other] = await queueForSlow(broker);
    slow.socket.end();
    await until(() => connectionsOf(broker).some(({ state }) => state === 'disconnecting'));
    slow.socket.resume();
    await slow.closed;
    await receiveAll(other, broker);
    expect(missing([slow, other])).toEqual([]);
    expect(isAscending(numbersOf(slow))).toBe(true);
  });

  test('from member to member; the messages of the last one are counted', async () => {
    const broker = sharedBroker();
    const before = droppedBy(broker);
    const members = [await member(broker), await member(broker), await member(broker)];
    for (const { socket } of members) socket.pause();
    await publish(broker);
    for (let left = 2; left >= 0; left--) {
      connectionsOf(broker)[0]?.destroy();
      await until(() => connectionsOf(broker).length === left);
    }
    for (const { socket } of members) socket.resume();
    await Promise.all(members.map(({ closed }) => closed));
    expect(missing(members)).toHaveLength(droppedBy(broker) - before);
    expect(droppedBy(broker) - before).toBeGreaterThan(250);
  });
});

describe('a member that is behind', () => {
  const tight = sharePlainBroker({ maxPendingBytes: 200_000 });
  const roomy = sharePlainBroker({ maxPendingBytes: 600_000 });

  test.each(['disconnect', 'drop-oldest', 'drop-newest', 'block'] as const)(
    '%s: gets no more while another one has room, and nothing is lost',
    async (overflow) => {
      const broker = tight();
      const [slow, other] = [await member(broker, { overflow }), await member(broker, { overflow })];
      slow.socket.pause();
      await publish(broker);
      expect(connectionsOf(broker).find(isBehind)?.statistics.pendingBytes).toBeLessThanOrEqual(200_000);
      expect(droppedBy(broker)).toBe(0);
      expect(broker.manager.getMetrics().flow.pauses).toBe(0);
      slow.socket.resume();
      await receiveAll(slow, broker);
      await other.settled();
      expect(missing([slow, other])).toEqual([]);
      expect([...slow.errors, ...other.errors]).toEqual([]);
    },
  );

  test('does not stop others by what it leaves them: it may exceed maxPendingBytes', async () => {
    const broker = roomy();
    const [slow, other] = [await member(broker), await member(broker)];
    slow.socket.pause();
    await publish(broker, 0, 500);
    other.socket.pause();
    await slow.close();
    await until(() => connectionsOf(broker).length === 1);
    await publish(broker, 500, 600);
    other.socket.resume();
    await receiveAll(other, broker);
    expect(other.errors).toEqual([]);
    // Only what the kernel had accepted for the other.
    expect(Math.max(...missing([other], 600))).toBeLessThan(250);
  });

  test('is disconnected when no other has room, and leaves its messages to them', async () => {
    const broker = roomy();
    const before = droppedBy(broker);
    const [first, second] = [await member(broker), await member(broker)];
    for (const { socket } of [first, second]) socket.pause();
    // Almost all that they have room for, and then single messages: the first one too many is for one of them.
    let sent = 250;
    await publish(broker, 0, sent);
    const crawler = await broker.connect();
    while (broker.manager.getMetrics().protocol.subscriptions === 2) {
      crawler.write(messageOf(sent++));
      await crawler.settled();
    }
    await crawler.close();
    for (const { socket } of [first, second]) socket.resume();
    await Promise.race([first.closed, second.closed]);
    const other = first.socket.destroyed ? second : first;
    await receiveAll(other, broker);
    expect([...first.errors, ...second.errors]).toEqual(['SLOW_CONSUMER']);
    expect(missing([first, second], sent)).toEqual([]);
    expect(droppedBy(broker)).toBe(before);
  });
});

test('a member with another filter does not take over what it would not receive', async () => {
  const broker = sharedBroker();
  const before = droppedBy(broker);
  const slow = await member(broker, { types: ['job_started'] });
  const other = await member(broker, { types: ['heartbeat'] });
  slow.socket.pause();
  await publish(broker);
  connectionsOf(broker).find(isBehind)?.destroy();
  slow.socket.resume();
  await slow.closed;
  await receiveAll(other, broker);
  expect(other.forwarded).toEqual([]);
  expect(missing([slow])).toHaveLength(droppedBy(broker) - before);
});
