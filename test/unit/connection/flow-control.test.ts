import { expect, test } from 'vitest';
import { PAUSE } from '#src/connection/connection-state.js';
import { FlowControl } from '#src/connection/flow-control.js';
import { startPlainBroker, until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';
import { numberedBlock } from '../../support/numbered.js';

const MiB = 1024 * 1024;

/** A connection that records when it is paused and resumed. */
class FakeConnection {
  readonly lane = { pendingBytes: 0 };
  readonly log: string[] = [];
  lastActivityAt = 0;

  setPaused(reason: number, isPaused: boolean): void {
    this.log.push(`${isPaused ? 'pause' : 'resume'} ${reason}`);
  }
}

test('all connections are paused above the budget, until three quarters of it are held', () => {
  const connection = new FakeConnection();
  let held = 0;
  const limits = { maxBufferedBytes: 1000, maxConnectionBytes: MiB };
  const flow = new FlowControl(limits, () => held, [connection]);
  const logAt = (bytes: number): readonly string[] => {
    held = bytes;
    flow.update();
    return connection.log;
  };
  expect(logAt(1000)).toEqual([]);
  expect(logAt(1001)).toEqual([`pause ${PAUSE.SERVER}`]);
  expect(logAt(751)).toHaveLength(1);
  expect(flow.statistics).toMatchObject({ isPaused: true, pauses: 1 });
  expect(logAt(750)).toEqual([`pause ${PAUSE.SERVER}`, `resume ${PAUSE.SERVER}`]);
  expect(logAt(751)).toHaveLength(2);
  expect(flow.statistics).toMatchObject({ isPaused: false, pausedFor: 0, pauses: 1 });
});

test('a blocked subscriber pauses all connections; once it has caught up, the low watermark counts', () => {
  const connection = new FakeConnection();
  let held = 0;
  const flow = new FlowControl({ maxBufferedBytes: 1000, maxConnectionBytes: MiB }, () => held, [connection]);
  flow.setBlocked(connection, true);
  held = 751;
  flow.setBlocked(connection, false);
  expect(connection.log).toEqual([`pause ${PAUSE.SERVER}`]);
  held = 750;
  flow.update();
  expect(connection.log).toEqual([`pause ${PAUSE.SERVER}`, `resume ${PAUSE.SERVER}`]);
});

test('those that were not read for the longest time are resumed first', () => {
  const resumed: number[] = [];
  const connections = [30, 10, 20].map((time) => {
    const connection = new FakeConnection();
    connection.lastActivityAt = time;
    connection.setPaused = (_, isPaused) => void (isPaused || resumed.push(time));
    return connection;
  });
  let held = 1001;
  const flow = new FlowControl({ maxBufferedBytes: 1000, maxConnectionBytes: MiB }, () => held, connections);
  flow.update();
  held = 0;
  flow.update();
  expect(resumed).toEqual([10, 20, 30]);
});

test('a connection is paused above its own budget, until three quarters of it are pending', () => {
  const connection = new FakeConnection();
  const limits = { maxBufferedBytes: MiB, maxConnectionBytes: 1000 };
  const flow = new FlowControl(limits, () => 0, [connection]);
  const logAt = (bytes: number): readonly string[] => {
    connection.lane.pendingBytes = bytes;
    flow.updateConnection(connection);
    return connection.log;
  };
  expect(logAt(1000)).toEqual([]);
  expect(logAt(1001)).toEqual([`pause ${PAUSE.CONNECTION}`]);
  expect(logAt(751)).toHaveLength(1);
  expect(logAt(750)).toEqual([`pause ${PAUSE.CONNECTION}`, `resume ${PAUSE.CONNECTION}`]);
  expect(logAt(751)).toHaveLength(2);
  expect(flow.statistics).toMatchObject({ isPaused: false, connectionPauses: 1 });
});

test('short messages of many visitors, which one subscriber does not take, hold little and stop nobody', async () => {
  const { manager, connect } = await startPlainBroker({ maxBufferedBytes: 1.5 * MiB });
  const slow = await (await connect()).subscribe({ overflow: 'drop-oldest' });
  slow.socket.pause();
  const publisher = await connect();
  // What the kernel takes for the subscriber is full.
  publisher.write(numberedBlock(0, 0, 2000));
  await publisher.settled();
  const before = manager.getMetrics().memory.heldBytes;
  const visits = 149;
  for (let visit = 0; visit < visits; visit++) {
    const peer = await connect();
    peer.write(line(VALID.heartbeat));
    await peer.settled();
    await peer.close();
  }
  const { flow, memory } = manager.getMetrics();
  expect(flow.pauses).toBe(0);
  // Their bytes and the objects around them, but no slab.
  const held = (memory.heldBytes - before) / visits - line(VALID.heartbeat).length;
  expect(held).toBeGreaterThan(0);
  expect(held).toBeLessThan(1000);
  slow.socket.resume();
  await slow.settled();
  expect(slow.forwarded).toHaveLength(2000 + visits);
});

test('copies that wait count against the budget, and no more when they are taken', async () => {
  const { manager, connect } = await startPlainBroker({ maxBufferedBytes: MiB });
  const slow = await (await connect()).subscribe({ meta: true });
  slow.socket.pause();
  const publisher = await connect();
  const [first] = manager.getConnectionPool().all();
  const count = 80;
  let sent = 0;
  while (!manager.getMetrics().flow.isPaused) {
    // Less than what is copied into slabs.
    publisher.write(numberedBlock(0, sent, sent + count));
    sent += count;
    await until(() => manager.getMetrics().protocol.accepted.job_progress === sent);
  }
  expect(first?.statistics.pendingBytes).toBeGreaterThan(0.5 * MiB);
  expect(first?.statistics.pendingBytes).toBeLessThan(2 * MiB);
  slow.socket.resume();
  await publisher.settled();
  await slow.settled();
  expect(slow.lines.filter((text) => text.includes('"seq"'))).toHaveLength(sent);
  await until(() => manager.getMetrics().memory.heldBytes === 0);
  expect(manager.getMetrics().flow.isPaused).toBe(false);
});

test('bytes that wait for many subscribers count once, copied or not, and stop nobody', async () => {
  const { manager, connect } = await startPlainBroker({
    maxBufferedBytes: 3 * MiB,
    maxPendingBytes: MiB / 2,
  });
  const publisher = await connect();
  const slow = await Promise.all(
    Array.from({ length: 20 }, async (_, index) => {
      // Half of them get copies with something put around each message.
      const peer = await (await connect()).subscribe({ overflow: 'drop-oldest', meta: index % 2 === 0 });
      peer.socket.pause();
      return peer;
    }),
  );
  let sent = 0;
  // Until each of them has dropped some: then twenty times half a megabyte wait.
  while (
    !slow.every(
      (_, index) => (manager.getConnectionPool().all()[index + 1]?.statistics.messagesDropped ?? 0) > 0,
    )
  ) {
    publisher.write(numberedBlock(0, sent, sent + 50));
    sent += 50;
    await until(
      () =>
        manager.getMetrics().protocol.accepted.job_progress === sent || manager.getMetrics().flow.isPaused,
    );
    expect(manager.getMetrics().flow.isPaused).toBe(false);
  }
  const { flow, memory } = manager.getMetrics();
  expect(flow.pauses).toBe(0);
  expect(memory.heldBytes).toBeGreaterThan(MiB / 4);
  for (const peer of slow) peer.socket.destroy();
  await until(() => manager.getMetrics().memory.heldBytes === 0);
});
