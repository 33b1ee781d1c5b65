// Too many connections, and too many one after the other.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startPlainBroker, temporaryFolder, until } from '../support/broker.js';
import { expectNoTraceOf } from '../support/churn.js';
import { sluiceWithFiles } from '../support/cli.js';
import { line, VALID } from '../support/messages.js';
import { Peer } from '../support/peer.js';

/** Connections after which a broker needs no more memory than before. */
const WARM_UP = 3000;

const openFiles = (pid: number | 'self' = 'self'): number => readdirSync(`/proc/${pid}/fd`).length;

describe('connections', () => {
  test('beyond the limit are rejected with the reason, and counted: exactly those', async () => {
    const { manager, socketPath } = await startPlainBroker({ maxConnections: 50 });
    let count = 0;
    manager.on('connection_rejected', () => count++);
    const peers: Peer[] = [];
    for (let index = 0; index < 150; index++) peers.push(await Peer.connect(socketPath));
    await until(() => count === 100);
    const rejected = peers.slice(50);
    await Promise.all(rejected.map(({ closed }) => closed));
    expect(rejected.map(({ errors }) => errors)).toEqual(rejected.map(() => ['MAX_CONNECTIONS']));
    expect(manager.getConnectionPool().size).toBe(50);
    expect(manager.getConnectionPool().statistics.rejected).toBe(100);
    // There is room again when one has gone.
    await peers[0]?.close();
    await until(() => manager.getConnectionPool().size === 49);
    const late = await Peer.connect(socketPath);
    await late.settled();
    await Promise.all([...peers, late].map((peer) => peer.close()));
  });

  test('of peers that have gone while nothing is read make room for others', async () => {
    const { manager, connect } = await startPlainBroker({ maxConnections: 5, maxPendingBytes: '256k' });
    const slow = await (await connect()).subscribe({ overflow: 'block' });
    slow.socket.pause();
    const crawler = await connect();
    while (!manager.getMetrics().flow.isPaused) {
      crawler.write(line({ ...VALID.heartbeat, note: 'x'.repeat(20_000) }));
      await until(() => !crawler.socket.writableNeedDrain || manager.getMetrics().flow.isPaused);
    }
    for (let visit = 0; visit < 10; visit++) await (await connect()).close();
    const late = await connect();
    expect(manager.getConnectionPool().size).toBe(5);
    slow.socket.resume();
    await Promise.all([slow, crawler, late].map((peer) => peer.settled()));
    await until(() => manager.getConnectionPool().size === 3);
  });

  test('that are being closed while nothing is read get what is queued, and make no room before that', async () => {
    const { manager, connect } = await startPlainBroker({ maxConnections: 3, maxPendingBytes: '1M' });
    const slow = await (await connect()).subscribe({ overflow: 'block', types: ['heartbeat'] });
    const closing = await (await connect()).subscribe({ types: ['job_progress'] });
    for (const { socket } of [slow, closing]) socket.pause();
    const crawler = await connect();
    crawler.write(line({ ...VALID.job_progress, note: 'x'.repeat(600_000) }));
    await crawler.settled();
    while (!manager.getMetrics().flow.isPaused) {
      crawler.write(line({ ...VALID.heartbeat, note: 'x'.repeat(20_000) }));
      await until(() => !crawler.socket.writableNeedDrain || manager.getMetrics().flow.isPaused);
    }
    void manager.getConnectionPool().all()[1]?.disconnect();
    const late = await connect();
    await late.closed;
    expect(late.errors).toEqual(['MAX_CONNECTIONS']);
    closing.socket.resume();
    await closing.next('job_progress');
    slow.socket.resume();
    await slow.settled();
  });

  test('that come and go leave nothing behind', async () => {
    const { manager, socketPath } = await startPlainBroker();
    let accepted = 0;
    const churn = async (rounds: number): Promise<void> => {
      for (let round = 0; round < rounds; round++) {
        const peers = await Promise.all(Array.from({ length: 20 }, () => Peer.connect(socketPath)));
        for (const peer of peers) peer.write(line(VALID.heartbeat));
        await Promise.all(peers.map((peer, index) => (index % 2 ? peer.close() : peer.socket.destroy())));
        // The kernel lets few wait to be accepted.
        accepted += peers.length;
        await until(() => manager.getConnectionPool().statistics.added >= accepted);
      }
      await until(() => manager.getConnectionPool().size === 0);
      await until(() => manager.getMetrics().memory.heldBytes === 0);
    };
    await churn(5);
    const [filesBefore, bytesBefore] = [openFiles(), manager.getMetrics().memory.allocatedBytes];
    await churn(20);
    expect(openFiles()).toBeLessThanOrEqual(filesBefore + 2);
    expect(manager.getMetrics().memory.allocatedBytes).toBeLessThanOrEqual(bytesBefore * 2);
    expect(manager.getMetrics().protocol.subscriptions).toBe(0);
  });
});

test('1000 connects and disconnects leave no descriptor open, and no memory behind', async () => {
  await expectNoTraceOf(1000, WARM_UP);
});

test('a broker out of file descriptors serves again when some are free', async () => {
  const socketPath = join(temporaryFolder(), 'broker.sock');
  const broker = sluiceWithFiles(256, [
    'serve',
    '--socket',
    socketPath,
    '--workers',
    '1',
    '--patterns',
    'off',
  ]);
  await broker.says('listening');
  const first = await Peer.connect(socketPath);
  await first.settled();
  const peers: Peer[] = [];
  for (let index = 0; index < 320; index++) {
    const peer = await Peer.connect(socketPath).catch(() => undefined);
    if (peer !== undefined) peers.push(peer);
  }
  await until(() => openFiles(broker.child.pid) >= 250);
  // Those that are in are served meanwhile.
  await first.settled();
  await Promise.all(peers.map((peer) => peer.socket.destroy()));
  await until(() => openFiles(broker.child.pid) < 200);
  const late = await Peer.connect(socketPath);
  await late.settled();
  expect(broker.child.exitCode).toBeNull();
  await Promise.all([first.close(), late.close()]);
});
