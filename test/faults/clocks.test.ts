// Time that goes wrong: a main thread that stands still, a wall clock that jumps. No peer pays for either.

import { fork } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startPlainBroker, temporaryFolder, until } from '../support/broker.js';
import { packageRoot, sluice } from '../support/cli.js';
import { line, VALID } from '../support/messages.js';
import { Ledger, numbered } from '../support/numbered.js';
import { Peer } from '../support/peer.js';

const support = (name: string): string => join(packageRoot, 'test/support', name);

interface Report {
  readonly name?: string;
  readonly event: string;
}

describe('a main thread that stands still, longer than the timeouts', () => {
  /** Where in the turn of the event loop: between its poll and the health check, or before both. */
  test.each([
    ['in a listener', 3000],
    ['in a timer', 1800],
  ])('%s, for %i ms: nobody is closed', async (where, stallMs) => {
    const { manager, connect, socketPath } = await startPlainBroker({
      heartbeatInterval: 100,
      // The peers' process must not miss them on a busy machine.
      heartbeatTimeout: 1500,
      connectionTimeout: 2500,
      partialMessageTimeout: 1500,
      stallTimeout: 1500,
      healthCheckInterval: 50,
    });
    const removed: string[] = [];
    manager.on('connection_removed', ({ reason }) => removed.push(reason));
    const peers = fork(support('stall-peers.mjs'), [socketPath]);
    onTestFinished(() => void peers.kill());
    const reports: Report[] = [];
    peers.on('message', (report: Report) => reports.push(report));
    const reported = (event: string) => until(() => reports.some((report) => report.event === event));
    const protocol = () => manager.getMetrics().protocol;
    await until(() => (protocol().accepted.heartbeat ?? 0) > 100 && protocol().subscriptions === 1);
    peers.send('begin');
    await reported('begun');
    await until(() =>
      manager
        .getConnectionPool()
        .all()
        .some(({ partialSince }) => partialSince !== undefined),
    );

    // Much is on its way to the reader when it happens.
    const publisher = await connect();
    const stall = (): void => {
      peers.send('end');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, stallMs);
    };
    const delays: number[] = [];
    manager.on('health_summary', ({ delay }) => delays.push(delay));
    const flood = line({ ...VALID.job_progress, note: 'x'.repeat(2000) }).repeat(1000);
    if (where === 'in a listener') {
      manager.on('message', (event) => event.is('job_failed') && stall());
      publisher.write(flood + line(VALID.job_failed));
    } else {
      publisher.write(flood);
      await until(() => (protocol().accepted.job_progress ?? 0) > 250);
      setTimeout(stall, 1);
    }
    await until(() => Math.max(0, ...delays) > stallMs / 2);
    // The long message has come through, and the checks of more than a timeout have found nothing.
    await until(() => protocol().accepted.job_started === 1);
    const checks = delays.length;
    await until(() => delays.length > checks + 30);
    expect(removed).toEqual([]);
    expect(reports.filter(({ name }) => name !== undefined)).toEqual([]);
    expect(manager.getStatus().health.dead).toBe(0);
  });
});

test('a wall clock that jumps by two hours, again and again, changes nothing', async () => {
  const socketPath = join(temporaryFolder(), 'broker.sock');
  const flags = [
    '--heartbeat-interval',
    '500',
    '--heartbeat-timeout',
    '5000',
    '--health-check-interval',
    '20',
  ];
  const timeouts = ['--connection-timeout', '5000', '--stall-timeout', '5000', '--cleanup-interval', '20'];
  const broker = sluice(
    ['serve', '--socket', socketPath, '--workers', '1', '--patterns', 'off', ...flags, ...timeouts],
    {
      NODE_OPTIONS: `--import ${support('jumping-clock.mjs')}`,
    },
  );
  await broker.says('listening');
  const [subscriber, crawler] = [await Peer.connect(socketPath), await Peer.connect(socketPath)];
  await subscriber.subscribe();
  // What the broker takes for the time shows in its answers.
  let jumps = 0;
  let before = 0;
  let sent = 0;
  while (jumps < 10) {
    crawler.write(line(VALID.heartbeat) + numbered(0, sent++));
    await crawler.settled();
    const now = Date.parse(String(crawler.messages.at(-1)?.timestamp));
    if (before !== 0 && Math.abs(now - before) > 3_600_000) jumps++;
    before = now;
  }
  await subscriber.settled();
  const ledger = new Ledger();
  for (const text of subscriber.lines) ledger.readLine(text);
  expect(ledger.faults(0, sent)).toEqual([]);
  expect([...crawler.errors, ...subscriber.errors]).toEqual([]);
  expect(broker.stdout).not.toContain('dead');
  await Promise.all([subscriber.close(), crawler.close()]);
  broker.child.kill('SIGTERM');
  expect(await broker.exited).toBe(0);
});
