// Peers that leave without a word: in the middle of what is written to them, or with something unread.

import { spawn, spawnSync } from 'node:child_process';
import { connect } from 'node:net';
import type { SocketConnection } from 'sluice';
import { describe, expect, onTestFinished, test } from 'vitest';
import { PAUSE } from '#src/connection/connection-state.js';
import { startPlainBroker, type TestBroker, until } from '../support/broker.js';
import { Ledger, ledgerOf, numbered, numberedBlock } from '../support/numbered.js';
import { Peer } from '../support/peer.js';

/** Sends bytes, and leaves as soon as the kernel has them, with whatever answers there are unread. */
function sendAndLeave(peer: Peer, bytes: string): Promise<void> {
  peer.socket.pause();
  peer.socket.write(bytes, () => peer.socket.destroy());
  return peer.closed;
}

/** Node cannot shut down the reading side of a socket alone. Sends what it gets on standard input. */
const DEAF_PUBLISHER = `
  use IO::Socket::UNIX;
  my $socket = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die;
  $socket->shutdown(0);
  while (sysread(STDIN, my $bytes, 65536)) { syswrite($socket, $bytes) }
`;
const hasPerl = spawnSync('perl', ['-MIO::Socket::UNIX', '-e', '1']).status === 0;

/** Gives the connection that is removed next, and why. */
function nextRemoved({ manager }: TestBroker): Promise<{ connection: SocketConnection; reason: string }> {
  return new Promise((resolve) => manager.once('connection_removed', resolve));
}

async function startOnTcp() {
  const { manager } = await startPlainBroker({ port: 0, socketPath: undefined });
  const port = Number(manager.getStatus().address?.split(':').at(-1));
  const connectPeer = async (): Promise<Peer> => {
    const peer = await Peer.connect({ host: '127.0.0.1', port });
    onTestFinished(() => peer.close());
    return peer;
  };
  return { manager, connectPeer, port };
}

describe.each(['slab', 'copy'] as const)('receive: %s', (receive) => {
  test('a publisher that leaves with a reply due: all it has sent is delivered, though the broker is behind', async () => {
    const broker = await startPlainBroker({ receive, maxConnectionBytes: 1024 });
    const subscriber = await (await broker.connect()).subscribe();
    const publisher = await broker.connect();
    const removed = nextRemoved(broker);
    await sendAndLeave(publisher, `not json\n${numberedBlock(0, 0, 400)}`);
    const { connection, reason } = await removed;
    expect(['EPIPE', 'ECONNRESET']).toContain(reason);
    expect(connection.statistics.errors).toBeGreaterThan(1);
    await subscriber.settled();
    expect(ledgerOf(subscriber).faults(0, 400)).toEqual([]);
    expect(broker.manager.getMetrics().memory.heldBytes).toBe(0);
  });

  test('a subscriber that is reset in the middle of a write: the others lose nothing, and what it did not get is counted', async () => {
    const broker = await startPlainBroker({ receive });
    const rest = [await broker.connect(), await broker.connect()];
    for (const subscriber of rest) await subscriber.subscribe({ overflow: 'block' });
    const leaver = await (await broker.connect()).subscribe();
    const publisher = await broker.connect();
    const removed = nextRemoved(broker);
    leaver.socket.pause();
    publisher.write(numberedBlock(0, 0, 8000));
    const [, , left] = broker.manager.getConnectionPool().all();
    await until(() => (left?.statistics.pendingBytes ?? 0) > 800_000);
    await leaver.close();
    publisher.write(numberedBlock(0, 8000, 16_000));
    await publisher.settled();
    const { connection } = await removed;
    await Promise.all(rest.map((subscriber) => subscriber.count(16_001)));
    for (const subscriber of rest) expect(ledgerOf(subscriber).faults(0, 16_000)).toEqual([]);
    expect(connection).toBe(left);
    expect(['EPIPE', 'ECONNRESET']).toContain(connection.statistics.lastError?.code);
    expect(connection.statistics.messagesDropped).toBeGreaterThan(0);
    expect(broker.manager.getMetrics().totals.messagesDropped).toBe(connection.statistics.messagesDropped);
    await until(() => broker.manager.getMetrics().memory.heldBytes === 0);
  });
});

test('a publisher whose connection breaks: its last message arrives, though the next one had begun', async () => {
  const { connect, manager } = await startPlainBroker();
  const subscriber = await (await connect()).subscribe();
  const publisher = await connect();
  await publisher.settled();
  const [, connection] = manager.getConnectionPool().all();
  const bytes = `${numbered(0, 0).trimEnd()} {"type":"x","pad":"${'x'.repeat(5000)}`;
  const before = connection?.statistics.bytesReceived ?? 0;
  publisher.write(bytes);
  // At once, before the broker looks for the end of the message.
  while (connection?.statistics.bytesReceived !== before + bytes.length) await new Promise(setImmediate);
  connection.socket.destroy(Object.assign(new Error('reset'), { code: 'ECONNRESET' }));
  await until(() => manager.getConnectionPool().size === 1);
  await subscriber.settled();
  expect(ledgerOf(subscriber).faults(0, 1)).toEqual([]);
});

test('a publisher that has left is read to its end, though the broker was held up for longer than sendTimeout', async () => {
  const sendTimeout = 100;
  const { connect, manager } = await startPlainBroker({ sendTimeout });
  const subscriber = await (await connect()).subscribe();
  const publisher = await connect();
  await publisher.settled();
  const [, connection] = manager.getConnectionPool().all();
  connection?.setPaused(PAUSE.SERVER, true);
  connection?.setPaused(PAUSE.ADMIN, true);
  await sendAndLeave(publisher, numberedBlock(0, 0, 400));
  connection?.reply(Buffer.from('{}\n'));
  connection?.flush();
  await until(() => connection?.state === 'disconnecting');
  connection?.setPaused(PAUSE.SERVER, false);
  // Nobody would resume it.
  expect(connection?.isPaused).toBe(false);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2 * sendTimeout);
  await until(() => manager.getConnectionPool().size === 1);
  await subscriber.settled();
  expect(ledgerOf(subscriber).faults(0, 400)).toEqual([]);
});

test('a TCP peer that sends until its connection is closed gets all that was written to it', async () => {
  const { manager, connectPeer } = await startOnTcp();
  const subscriber = await (await connectPeer()).subscribe();
  const publisher = await connectPeer();
  subscriber.socket.pause();
  // More than the kernel of the peer takes, but not more than that of the broker.
  publisher.write(numberedBlock(0, 0, 4000));
  await publisher.settled();
  const [connection] = manager.getConnectionPool().all();
  await until(() => connection?.outbox.pendingBytes === 0);
  connection?.setPaused(PAUSE.SERVER, true);
  await new Promise<void>((resolve) => subscriber.socket.write('{"type":"ping"}\n', () => resolve()));
  const closed = connection?.disconnect();
  // For longer than the broker waits for the peer's end.
  const holdUp = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1200);
  await new Promise<void>((resolve) => connection?.socket.once('finish', () => resolve(void holdUp())));
  connection?.setPaused(PAUSE.SERVER, true);
  subscriber.socket.resume();
  await subscriber.closed;
  expect(ledgerOf(subscriber).faults(0, 4000)).toEqual([]);
  await closed;
});

test('a TCP peer that does not close its side is closed sooner if the broker stops', async () => {
  const [one, other] = [await startOnTcp(), await startOnTcp()];
  for (const { port } of [one, other]) {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }).resume();
    socket.on('error', () => {});
    onTestFinished(() => void socket.destroy());
  }
  const pools = [one, other].map(({ manager }) => manager.getConnectionPool());
  await until(() => pools.every(({ size }) => size === 1));
  const disconnected = pools[0]
    ?.all()[0]
    ?.disconnect()
    .then(() => 'disconnected');
  // Time that this one is ahead.
  await new Promise((resolve) => setTimeout(resolve, 300));
  const stopped = other.manager.stop().then(() => 'stopped');
  expect(await Promise.race([disconnected, stopped])).toBe('stopped');
  await disconnected;
});

test('many that are reset at once, publishers and subscribers, leave nothing behind', async () => {
  const { manager, connect } = await startPlainBroker({ maxPendingBytes: 100_000 });
  const subscriber = await (await connect()).subscribe({ overflow: 'block' });
  const ledger = new Ledger();
  const leavers = await Promise.all(Array.from({ length: 40 }, () => connect()));
  await Promise.all(leavers.filter((_, index) => index % 2 === 0).map((peer) => peer.subscribe()));
  await Promise.all(
    leavers.map((peer, index) => sendAndLeave(peer, `{}\n${numberedBlock(index, 0, 100)}nothing\n`)),
  );
  await until(() => manager.getConnectionPool().size === 1);
  await subscriber.settled();
  for (const text of subscriber.lines) ledger.readLine(text);
  // All of it was in the kernel before they left.
  expect(leavers.flatMap((_, index) => ledger.faults(index, 100))).toEqual([]);
  expect(manager.getMetrics().protocol).toMatchObject({ subscriptions: 1, rejected: { INVALID_JSON: 40 } });
  expect(manager.getMetrics().memory.heldBytes).toBe(0);
  expect(manager.getMetrics().flow).toMatchObject({ isPaused: false, blockedSubscribers: 0 });
});

test('a hello counts although its sender has disconnected', async () => {
  const token = 'token-of-16-characters';
  const { connect } = await startPlainBroker({ auth: { tokens: { crawler: [token], app: [token] } } });
  const subscriber = await connect();
  subscriber.say('hello', { role: 'app', token });
  await subscriber.subscribe({ meta: true });
  const crawler = await connect();
  const hello = { type: 'hello', data: { role: 'crawler', crawlerId: 'brief', token } };
  await sendAndLeave(crawler, `${JSON.stringify(hello)}\n${numberedBlock(0, 0, 1)}`);
  expect(await subscriber.next((message) => 'seq' in message)).toMatchObject({ crawlerId: 'brief' });
});

test.skipIf(!hasPerl)(
  'a peer that only stops reading may go on sending; once it is silent, it is closed',
  async () => {
    const broker = await startPlainBroker({ sendTimeout: 1000 });
    const subscriber = await (await broker.connect()).subscribe();
    const removed = nextRemoved(broker);
    const publisher = spawn('perl', ['-e', DEAF_PUBLISHER, broker.socketPath]);
    onTestFinished(() => void publisher.kill());
    publisher.stdin.write('bad\n');
    await until(() => broker.manager.getConnectionPool().all()[1]?.state === 'disconnecting');
    publisher.stdin.write(numberedBlock(0, 0, 3));
    await subscriber.count(4);
    expect((await removed).reason).toBe('EPIPE');
  },
);

test.skipIf(!hasPerl)(
  'one that only stops reading is closed too when it fell silent while nobody was read',
  async () => {
    const sendTimeout = 100;
    const { manager, connect, socketPath } = await startPlainBroker({
      sendTimeout,
      maxPendingBytes: 100_000,
    });
    const pool = manager.getConnectionPool();
    const blocker = await (await connect()).subscribe({ overflow: 'block', types: ['job_progress'] });
    blocker.socket.pause();
    const publisher = await connect();
    await publisher.settled();
    const deaf = spawn('perl', ['-e', DEAF_PUBLISHER, socketPath]);
    onTestFinished(() => void deaf.kill());
    await until(() => pool.size === 3);
    publisher.write(numberedBlock(0, 0, 5000));
    await until(() => manager.getMetrics().flow.isPaused);
    const connection = pool.all()[2];
    // The broker's own word, which the peer does not take.
    connection?.reply(Buffer.from('{}\n'));
    connection?.flush();
    await until(() => connection?.state === 'disconnecting');
    // Its time runs out more than once meanwhile.
    await new Promise((resolve) => setTimeout(resolve, 3 * sendTimeout));
    expect(pool.size).toBe(3);
    blocker.socket.resume();
    await until(() => pool.size === 2);
    await publisher.settled();
  },
);

test('a peer that ends its side gets all its answers, and only then the end', async () => {
  const { connect } = await startPlainBroker({ maxConnectionBytes: 1024, maxErrorReplies: 1000 });
  const subscriber = await (await connect()).subscribe();
  const publisher = await connect();
  const block = numberedBlock(0, 0, 2000);
  publisher.socket.end(`${block}${'bad\n'.repeat(20)}{"type":"ping"}`);
  await publisher.closed;
  expect(publisher.errors).toHaveLength(20);
  expect(publisher.lines.at(-1)).toContain('"pong"');
  await subscriber.settled();
  expect(ledgerOf(subscriber).faults(0, 2000)).toEqual([]);
});
