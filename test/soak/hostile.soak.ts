// Hostile peers of every kind at once, three of each, and what they cost the honest: how long a ping takes, and whether
// anything is lost. Nobody reads the broker's log.

import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { ask, metricValue } from '../support/admin.js';
import { temporaryFolder } from '../support/broker.js';
import { cliScript, packageRoot } from '../support/cli.js';
import { line } from '../support/messages.js';
import { numberedBlock, StreamLedger } from '../support/numbered.js';
import { Peer } from '../support/peer.js';
import { SOAK_DURATION } from './duration.js';

const CRAWLERS = 20;
/** Of all honest crawlers together. */
const MESSAGES_PER_SECOND = 20_000;
const TICK = 50;
const PING_EVERY = 20;
const TOKENS = { crawler: 'a-token-of-the-crawlers', app: 'a-token-of-applications' };
/** A third of the soak: 10 minutes of 30. */
const DURATION = SOAK_DURATION / 3;

const support = (name: string) => join(packageRoot, 'test/support', name);
const hello = (role: 'crawler' | 'app') => line({ type: 'hello', data: { role, token: TOKENS[role] } });
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function connect(socketPath: string, role: 'crawler' | 'app'): Promise<Peer> {
  const peer = await Peer.connect(socketPath);
  peer.write(hello(role));
  await peer.next('welcome');
  return peer;
}

function percentile(sorted: readonly number[], share: number): string {
  return (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(1);
}

test('hostile peers delay the honest a little, and lose them nothing', async () => {
  const folder = temporaryFolder();
  const [socketPath, adminPath, tokens] = ['b.sock', 'a.sock', 'tokens.json'].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  writeFileSync(tokens, JSON.stringify({ crawler: [TOKENS.crawler], app: [TOKENS.app] }), { mode: 0o600 });
  const addresses = ['--socket', socketPath, '--admin', adminPath];
  // A shutdown need not wait for the messages of hostile peers that hang their validator.
  const flags = [...addresses, '--auth-file', tokens, '--drain-timeout', '1000'];
  const broker = spawn(process.execPath, [
    cliScript(),
    'serve',
    ...flags,
    '--schemas',
    support('deadly-schemas.mjs'),
  ]);
  onTestFinished(() => void broker.kill('SIGKILL'));
  // From there on, nobody reads its log.
  let log = '';
  for await (const bytes of broker.stdout.iterator({ destroyOnReturn: false })) {
    log += bytes;
    if (log.includes('"listening"')) break;
  }
  const peakRss = () =>
    Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${broker.pid}/status`, 'utf8'))?.[1]) / 1024;

  const ledger = new StreamLedger();
  const checker = await (await connect(socketPath, 'app')).subscribe({
    types: ['job_progress'],
    overflow: 'block',
  });
  checker.socket.on('data', () => {
    for (const text of checker.lines.splice(0)) ledger.readLine(text);
  });
  const watcher = await (await connect(socketPath, 'app')).subscribe({ types: ['rejected'] });
  let rejections = 0;
  watcher.socket.on('data', () => {
    rejections += watcher.lines.splice(0).length;
  });
  const crawlers = await Promise.all(Array.from({ length: CRAWLERS }, () => connect(socketPath, 'crawler')));
  const pinger = await connect(socketPath, 'crawler');

  let sent = 0;
  let isSending = true;
  const send = async (): Promise<void> => {
    const startedAt = performance.now();
    while (isSending) {
      const due = Math.floor(((performance.now() - startedAt) / 1000) * (MESSAGES_PER_SECOND / CRAWLERS));
      for (const [producer, { socket }] of crawlers.entries())
        socket.write(numberedBlock(producer, sent, due));
      sent = due;
      await pause(TICK);
    }
  };
  const ping = async (duration: number): Promise<number[]> => {
    const times: number[] = [];
    for (const end = performance.now() + duration; performance.now() < end; await pause(PING_EVERY)) {
      const before = performance.now();
      pinger.write(line({ type: 'ping' }));
      await pinger.next('pong');
      times.push(performance.now() - before);
      pinger.lines.splice(0);
    }
    return times.sort((a, b) => a - b);
  };
  const report = (name: string, times: readonly number[]) =>
    console.log(
      `${name}: ${times.length} pings, p50 ${percentile(times, 0.5)}, p99 ${percentile(times, 0.99)}, p99.9 ${percentile(times, 0.999)}, max ${percentile(times, 1)} ms`,
    );

  const sending = send();
  report('alone', await ping(DURATION / 10));
  const hostile = fork(support('hostile-peers.mjs'), [
    JSON.stringify({ socketPath, crawlerToken: TOKENS.crawler, appToken: TOKENS.app }),
  ]);
  onTestFinished(() => void hostile.kill('SIGKILL'));
  report('under attack', await ping(DURATION));
  hostile.kill('SIGKILL');
  isSending = false;
  await sending;
  for (const crawler of crawlers) await crawler.settled();
  for (const producer of crawlers.keys()) {
    while (!ledger.has(producer, sent)) await pause(10);
    ledger.finish(producer, sent);
  }
  expect(ledger.faults).toEqual([]);
  expect(crawlers.flatMap(({ errors }) => errors)).toEqual([]);
  const { body } = await ask(adminPath, '/metrics');
  console.log(
    `${sent * CRAWLERS} honest messages, ${rejections} rejections told, ${metricValue(body, 'sluice_log_lines_dropped_total')} log lines dropped, peak RSS ${peakRss().toFixed(0)} MB`,
  );
  expect(rejections).toBeGreaterThan(0);
  const exited = once(broker, 'exit');
  broker.kill('SIGTERM');
  expect(await exited).toEqual([0, null]);
});
