// Too many connections, and too many one after the other.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startBroker, temporaryFolder, until } from '../support/broker.js';
import { BrokerProcess } from '../support/broker-process.js';
import { sluiceWithFiles } from '../support/cli.js';
import { line, VALID } from '../support/messages.js';
import { Peer } from '../support/peer.js';

const MiB = 1024 * 1024;
/** A hundred bytes for each of 10,000 connections. */
const HEAP_MARGIN = 1 * MiB;
/** Less than a kilobyte for each, the noise of the allocators included. */
const RSS_MARGIN = 8 * MiB;

const openFiles = (pid: number | 'self' = 'self'): number => readdirSync(`/proc/${pid}/fd`).length;

describe('connections', () => {
  test('beyond the limit are rejected, told why, and counted: exactly those', async () => {
    const { manager, socketPath } = await startBroker({ maxConnections: 50 });
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

  test('that come and go leave nothing behind', async () => {
    const { manager, socketPath } = await startBroker();
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
    await churn(10);
    const [filesBefore, bytesBefore] = [openFiles(), manager.getMetrics().memory.allocatedBytes];
    await churn(40);
    expect(openFiles()).toBeLessThanOrEqual(filesBefore + 2);
    expect(manager.getMetrics().memory.allocatedBytes).toBeLessThanOrEqual(bytesBefore * 2);
    expect(manager.getMetrics().protocol.subscriptions).toBe(0);
  });
});

test('10,000 connects and disconnects leave no descriptor open, and no memory behind', async () => {
  const broker = await BrokerProcess.start();
  const { socketPath } = broker;
  const first = await Peer.connect(socketPath);
  await first.settled();
  /** Peers that say something, subscribe, break off, or say nothing; and leave in one of two ways. */
  const visit = async (index: number): Promise<void> => {
    const peer = await Peer.connect(socketPath);
    if (index % 4 === 1) await peer.subscribe({ jobIds: [`job-${index}`] });
    if (index % 4 === 2) peer.write(line(VALID.heartbeat).slice(0, 50));
    if (index % 4 === 3) {
      peer.write(line({ ...VALID.job_started, jobId: `job-${index}` }));
      await peer.settled();
    }
    if (index % 8 < 4) peer.socket.destroy();
    else peer.socket.end();
    await peer.closed;
  };
  const churn = async (count: number): Promise<void> => {
    for (let at = 0; at < count; at += 50)
      await Promise.all(Array.from({ length: 50 }, (_, index) => visit(at + index)));
  };
  const settle = async (files: number): Promise<{ rss: number; heap: number }> => {
    await until(() => broker.openFiles <= files);
    // Some of it is let go a turn later than the rest.
    for (let round = 0; round < 4; round++) await broker.collect();
    return { heap: await broker.collect(), rss: broker.rss };
  };
  const files = broker.openFiles;
  // What a broker that has seen much traffic needs is no growth.
  await churn(10_000);
  const before = await settle(files);
  await churn(10_000);
  const after = await settle(files);
  expect(broker.openFiles).toBe(files);
  expect(after.heap - before.heap).toBeLessThan(HEAP_MARGIN);
  expect(after.rss - before.rss).toBeLessThan(RSS_MARGIN);
  await first.settled();
  await first.close();
  expect(await broker.stop()).toBe(0);
});

test('a broker out of file descriptors serves again when some are free', async () => {
  const socketPath = join(temporaryFolder(), 'broker.sock');
  const broker = sluiceWithFiles(256, ['serve', '--socket', socketPath, '--workers', '1']);
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
