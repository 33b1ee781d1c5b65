// The end of a broker, as an operator brings it about: signals to a process under load.

import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startPlainBroker, temporaryFolder, until } from '../support/broker.js';
import { BrokerProcess } from '../support/broker-process.js';
import { sluice } from '../support/cli.js';
import { Flood } from '../support/flood.js';
import { line, VALID } from '../support/messages.js';
import { type Ledger, ledgerOf, numbered, numberedBlock } from '../support/numbered.js';
import { Peer } from '../support/peer.js';

/** How messages are validated plays no part. Without patterns, a broker starts sooner. */
const PLAIN = ['--patterns', 'off'];

describe('SIGTERM under full load', () => {
  test('stops accepting, notifies every peer, delivers all accepted messages, and exits 0', async () => {
    const broker = await BrokerProcess.start(PLAIN);
    const subscribers = [await Peer.connect(broker.socketPath), await Peer.connect(broker.socketPath)];
    for (const subscriber of subscribers) await subscriber.subscribe({ overflow: 'block' });
    const floods = [0, 1, 2].map(
      async (producer) => new Flood(await Peer.connect(broker.socketPath), producer),
    );
    const publishers = (await Promise.all(floods)).map(({ peer }) => peer);
    await subscribers[0]?.count(500);
    broker.run.child.kill('SIGTERM');
    await broker.run.says('"stopping"');
    await until(() => !existsSync(broker.socketPath));
    await expect(Peer.connect(broker.socketPath)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await broker.run.exited).toBe(0);

    const peers = [...subscribers, ...publishers];
    await Promise.all(peers.map(({ closed }) => closed));
    expect(peers.map(({ errors }) => errors)).toEqual(peers.map(() => ['SHUTTING_DOWN']));
    const [first, second] = subscribers.map(ledgerOf) as [Ledger, Ledger];
    for (const producer of [0, 1, 2]) {
      // What was accepted is all up to some message: none between is missing, and both subscribers have it.
      expect(first.faults(producer, first.of(producer).length)).toEqual([]);
      expect(second.of(producer)).toEqual(first.of(producer));
      expect(first.of(producer).length).toBeGreaterThan(0);
    }
    expect(broker.log.at(-1)).toMatchObject({ msg: 'stopped', undelivered: 0, unsettledBytes: 0 });
    expect(readdirSync(dirname(broker.socketPath))).toEqual([]);
  });

  test('with a subscriber that takes nothing: the others get all, and what that one did not get is counted', async () => {
    const { manager, connect } = await startPlainBroker({ drainTimeout: 300 });
    const stuck = await (await connect()).subscribe();
    stuck.socket.pause();
    const reader = await (await connect()).subscribe();
    const publisher = await connect();
    publisher.write(numberedBlock(0, 0, 6000));
    await publisher.settled();
    const accepted = manager.getMetrics().protocol.accepted.job_progress ?? 0;
    const [taken] = manager.getConnectionPool().all();
    const stopped = new Promise<{ undelivered: number }>((resolve) =>
      manager.once('server_stopped', resolve),
    );
    await manager.stop();
    const { undelivered } = await stopped;
    await reader.closed;
    expect(accepted).toBe(6000);
    expect(ledgerOf(reader).faults(0, 6000)).toEqual([]);
    // Of what the stuck one was sent, the two answers to itself are no forwarded messages.
    expect(undelivered).toBe(taken?.statistics.messagesDropped);
    expect(undelivered).toBeGreaterThan(0);
    stuck.socket.resume();
    await stuck.closed;
    // Nothing is uncounted; counted twice may be what the kernel had taken of the last write, of 512 KiB at most.
    const { total } = ledgerOf(stuck);
    expect(ledgerOf(stuck).faults(0, total)).toEqual([]);
    expect(total + undelivered).toBeGreaterThanOrEqual(6000);
    expect(total + undelivered).toBeLessThan(6000 + (512 * 1024) / numbered(0, 0).length);
  });

  test('a second one leaves at once, with 1', async () => {
    const broker = await BrokerProcess.start([...PLAIN, '--drain-timeout', '60000']);
    const stuck = await (await Peer.connect(broker.socketPath)).subscribe({ overflow: 'block' });
    stuck.socket.pause();
    const publisher = await Peer.connect(broker.socketPath);
    // Much more than the kernel takes: what the broker still has of it keeps it from its end.
    publisher.write(line({ ...VALID.job_progress, note: 'x'.repeat(100_000) }).repeat(20));
    await publisher.settled();
    broker.run.child.kill('SIGTERM');
    await broker.run.says('"stopping"');
    broker.run.child.kill('SIGTERM');
    expect(await broker.run.exited).toBe(1);
    await Promise.all([stuck.close(), publisher.close()]);
    expect(existsSync(broker.socketPath)).toBe(false);
  });
});

test('SIGTERM at any moment of the start ends it cleanly, and leaves nothing behind', async () => {
  const folder = temporaryFolder();
  const endings = new Set<number | string | null>();
  // As far as a moment at which the program is seen to handle the signal.
  for (let delay = 0; delay < 500 || !endings.has(0); delay = delay * 2 || 200) {
    const run = sluice(['serve', '--socket', join(folder, 'broker.sock'), '--workers', '1', ...PLAIN]);
    // The moment is meant to differ from run to run, whatever has been reached by then.
    await new Promise((resolve) => setTimeout(resolve, delay));
    run.child.kill('SIGTERM');
    const ending = await run.exited;
    endings.add(ending);
    // Before the program has begun, the signal itself ends it.
    expect([0, 'SIGTERM']).toContain(ending);
    expect(run.stderr).toBe('');
    expect(readdirSync(folder)).toEqual([]);
  }
});

test('SIGKILL under load, and a new broker at the same path serves', async () => {
  const first = await BrokerProcess.start(PLAIN);
  const flood = new Flood(await Peer.connect(first.socketPath), 0);
  const subscriber = await (await Peer.connect(first.socketPath)).subscribe();
  await subscriber.count(200);
  first.run.child.kill('SIGKILL');
  expect(await first.run.exited).toBe('SIGKILL');
  await Promise.all([flood.peer.closed, subscriber.closed]);
  expect(existsSync(first.socketPath)).toBe(true);
  const second = await BrokerProcess.start(PLAIN, first.socketPath);
  const peer = await Peer.connect(second.socketPath);
  await peer.settled();
  await peer.close();
  expect(await second.stop()).toBe(0);
});
