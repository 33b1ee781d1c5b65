import { describe, expect, test } from 'vitest';
import { shareBroker, startPlainBroker, until } from '../support/broker.js';
import { line, VALID } from '../support/messages.js';
import { ledgerOf, numberedBlock } from '../support/numbered.js';
import type { Peer } from '../support/peer.js';

describe('slow subscribers', () => {
  const shared = shareBroker({ maxPendingBytes: 200_000 });
  const flood = Buffer.from(line(VALID.job_progress).repeat(5000));

  async function send(peer: Peer, bytes: string | Buffer): Promise<void> {
    peer.write(bytes);
    await peer.settled();
  }

  async function floodFrom(peer: Peer, blocks: number): Promise<void> {
    for (let index = 0; index < blocks; index++) peer.write(flood);
    await peer.settled();
  }

  test('disconnect: the slow one is closed, the others lose nothing', async () => {
    const { manager, connect } = shared();
    const droppedBefore = manager.getMetrics().totals.messagesDropped;
    const slow = await (await connect()).subscribe();
    const block = await (await connect()).subscribe({ overflow: 'block' });
    slow.socket.pause();
    const publisher = await connect();
    const size = 20;
    let sent = 0;
    while (manager.getMetrics().protocol.subscriptions === 2) {
      publisher.write(numberedBlock(0, sent, sent + size));
      sent += size;
      await publisher.settled();
    }
    slow.socket.resume();
    await slow.closed;
    await block.settled();
    expect(ledgerOf(block).faults(0, sent)).toEqual([]);
    expect(slow.errors).toEqual(['SLOW_CONSUMER']);
    expect(slow.lines.at(-1)).toContain('SLOW_CONSUMER');
    // It has all up to some message, and the rest is counted: but for what came after it was given up, at most the
    // end of the last block.
    const { total } = ledgerOf(slow);
    const messagesDropped = manager.getMetrics().totals.messagesDropped - droppedBefore;
    expect(ledgerOf(slow).faults(0, total)).toEqual([]);
    expect(messagesDropped).toBeGreaterThan(0);
    expect(total + messagesDropped).toBeLessThanOrEqual(sent);
    expect(total + messagesDropped).toBeGreaterThan(sent - size);
  });

  test('disconnect: the slow one gets the reason though the broker is held up while it reads', async () => {
    const { manager, connect } = shared();
    const slow = await (await connect()).subscribe();
    slow.socket.pause();
    const publisher = await connect();
    const [connection] = manager.getConnectionPool().all();
    // Until the kernel accepts no more, and then until it is given up.
    while (connection?.outbox.pendingBytes === 0) await send(publisher, numberedBlock(0, 0, 100));
    connection?.once('state_changed', () =>
      setImmediate(() => {
        slow.socket.resume();
        // Longer than a peer may read nothing.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1200);
      }),
    );
    while (connection?.isOpen) await send(publisher, flood);
    await slow.closed;
    expect(slow.errors).toEqual(['SLOW_CONSUMER']);
  });

  test.each(['drop-oldest', 'drop-newest'] as const)(
    '%s: messages are dropped, counted and reported',
    async (overflow) => {
      const { manager, connect } = shared();
      const droppedBefore = manager.getMetrics().totals.messagesDropped;
      const slow = await (await connect()).subscribe({ overflow });
      slow.socket.pause();
      await floodFrom(await connect(), 2);
      slow.socket.resume();
      await slow.settled();
      const messagesDropped = manager.getMetrics().totals.messagesDropped - droppedBefore;
      expect(messagesDropped).toBeGreaterThan(0);
      expect(slow.forwarded.length + messagesDropped).toBe(10_000);
      expect(slow.errors).toContain('SLOW_CONSUMER');
    },
  );

  test('of a member of a group: it gets no more, and when it is closed, the others get the rest', async () => {
    const { manager, connect } = await startPlainBroker({
      maxPendingBytes: 600_000,
      stallTimeout: 200,
      healthCheckInterval: 20,
    });
    const members: Peer[] = [];
    for (let member = 0; member < 3; member++)
      members.push(await (await connect()).subscribe({ group: 'g', types: ['job_progress'] }));
    const [slow, ...others] = members as [Peer, Peer, Peer];
    slow.socket.pause();
    const publisher = await connect();
    let sent = 0;
    while (manager.getMetrics().protocol.subscriptions === 3) {
      publisher.write(numberedBlock(0, sent, sent + 2000));
      sent += 2000;
      await publisher.settled();
      await Promise.all(others.map((peer) => peer.settled()));
    }
    slow.socket.resume();
    await slow.closed;
    await until(() =>
      manager
        .getConnectionPool()
        .all()
        .every(({ statistics }) => statistics.pendingBytes === 0),
    );
    await Promise.all(others.map((peer) => peer.settled()));
    const received = members.flatMap(({ messages }) =>
      messages.filter(({ type }) => type === 'job_progress'),
    );
    const { messagesDropped } = manager.getMetrics().totals;
    expect(received.length + messagesDropped).toBe(sent);
    // At most a message of which a part was written.
    expect(messagesDropped).toBeLessThanOrEqual(1);
  });

  test('block: publishers wait, and nothing is lost', async () => {
    const { manager, connect } = shared();
    const slow = await (await connect()).subscribe({ overflow: 'block' });
    slow.socket.pause();
    const crawler = await connect();
    const flooding = floodFrom(crawler, 10);
    await until(() => manager.getMetrics().flow.isPaused);
    slow.socket.resume();
    await flooding;
    await slow.count(50_001);
    expect(slow.forwarded).toHaveLength(50_000);
    expect(manager.getMetrics().flow).toMatchObject({ isPaused: false, blockedSubscribers: 0 });
  });

  test('a block subscriber that goes away lets the publishers go on', async () => {
    const { manager, connect } = shared();
    const slow = await (await connect()).subscribe({ overflow: 'block' });
    slow.socket.pause();
    const flooding = floodFrom(await connect(), 10);
    await until(() => manager.getMetrics().flow.isPaused);
    await slow.close();
    await flooding;
    expect(manager.getMetrics().memory.heldBytes).toBe(0);
  });

  test('a subscriber that reads nothing for stallTimeout is closed', async () => {
    const { manager, connect } = await startPlainBroker({ stallTimeout: 100, healthCheckInterval: 20 });
    const slow = await (await connect()).subscribe({ overflow: 'drop-newest' });
    slow.socket.pause();
    await floodFrom(await connect(), 4);
    await until(() => manager.getConnectionPool().size === 1);
  });
});
