import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SocketManager } from 'sluice';
import { describe, expect, onTestFinished, test } from 'vitest';
import { sharePlainBroker, startPlainBroker, until } from '../../../support/broker.js';
import { childrenOf, shareSluice, sluice } from '../../../support/cli.js';
import { line, VALID } from '../../../support/messages.js';

const APP_TOKEN = 'a-token-of-an-application';
const CRAWLER_TOKEN = 'a-token-of-a-crawler';

const runShared = shareSluice();
const bench = (...args: readonly string[]) => runShared(['bench', ...args]);
const benchWith = (env: NodeJS.ProcessEnv, ...args: readonly string[]) => runShared(['bench', ...args], env);

/** The application messages that a broker has accepted. */
function acceptedBy(manager: SocketManager): number {
  const { accepted } = manager.getMetrics().protocol;
  return Object.values(accepted).reduce((total, count) => total + count, 0);
}

describe('sluice bench', () => {
  // Old messages are rejected there: those of a bench are of now.
  const sharedBroker = sharePlainBroker({ maxMessageAge: 60_000 });

  test('measures publishers and subscribers, and loses nothing', async () => {
    const { socketPath, manager } = sharedBroker();
    const before = acceptedBy(manager);
    const run = await bench('--socket', socketPath, '--pub', '3', '--sub', '2', '--msgs', '2001');
    expect(run.code).toBe(0);
    expect(run.stdout).toMatch(/^2,001 messages of \d+ B, 3 → 2\n\n/);
    expect(run.stdout).toMatch(/^ {2}published +[\d,]+ messages\/s, [\d.]+ [kMG]B\/s$/m);
    expect(run.stdout).toMatch(/^ {2}each +min [\d,]+, avg [\d,]+, max [\d,]+ messages\/s$/m);
    expect(run.stdout).toMatch(/^ {2}delivered +[\d,]+ messages\/s/m);
    expect(run.stdout).toMatch(/^ {2}latency +p50 [\d.]+ [µm]s, p99 [\d.]+ [µm]s, p99\.9 [\d.]+ [µm]s/m);
    expect(run.stderr).toBe('');
    expect(acceptedBy(manager) - before).toBe(2001);
  });

  test('--json, --size and no subscribers', async () => {
    const { socketPath } = sharedBroker();
    const run = await bench(
      '--socket',
      socketPath,
      '--sub',
      '0',
      '--msgs',
      '1000',
      '--size',
      '2000',
      '--json',
    );
    expect(run.code).toBe(0);
    const result = JSON.parse(run.stdout);
    expect(result).toMatchObject({ messages: 1000, published: { messagesPerSecond: expect.any(Number) } });
    expect(result.bytes / 1000).toBeGreaterThan(1900);
    expect(result.delivered).toBeUndefined();
  });

  test('--latency times every message, and none of other crawlers', async () => {
    const { socketPath, connect } = sharedBroker();
    const other = await connect();
    const heartbeat = line({ ...VALID.heartbeat, timestamp: new Date().toISOString() });
    const timer = setInterval(() => other.write(heartbeat.repeat(20)), 5);
    const run = await bench('--socket', socketPath, '--latency', '500', '--msgs', '200', '--json').finally(
      () => clearInterval(timer),
    );
    expect(run.code).toBe(0);
    const { latency, published } = JSON.parse(run.stdout);
    expect(latency.samples).toBe(200);
    expect(latency.p50).toBeGreaterThan(0);
    expect(latency.p50).toBeLessThanOrEqual(latency.p99);
    expect(published.messagesPerSecond).toBeLessThan(600);
    other.write(line({ type: 'ping' }));
    await other.next('pong');
    expect(other.errors).toEqual([]);
  });

  test('--confirm times the confirmation of each message', async () => {
    const { socketPath } = sharedBroker();
    const run = await bench('--socket', socketPath, '--confirm', '--msgs', '50');
    expect(run.code).toBe(0);
    expect(run.stdout).toMatch(/^50 messages of /);
    expect(run.stdout).not.toContain('delivered');
    expect(run.stdout).toMatch(/^ {2}confirmation +p50 [\d.]*[1-9][\d.]* .*\(50 samples\)$/m);
    expect((await bench('--socket', socketPath, '--confirm', '--sub', '2')).code).toBe(64);
  });

  test('--replay reads all messages from the durable log once they are stored', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sluice-bench-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const { socketPath, manager } = await startPlainBroker({ log: join(folder, 'log') });
    const args = ['--socket', socketPath, '--replay', '--pub', '2', '--sub', '2', '--msgs', '3001'];
    const run = await bench(...args);
    expect(run.code).toBe(0);
    expect(run.stdout).toMatch(/^3,001 messages of \d+ B, 2 → 2\n\n/);
    expect(run.stdout).toMatch(/^ {2}replayed +[\d,]+ messages\/s/m);
    expect(run.stdout).not.toContain('latency');
    // Only what it has published itself is read.
    const { messages, bytes } = JSON.parse((await bench(...args, '--json')).stdout);
    expect(messages).toBe(3001);
    expect(manager.getMetrics().totals.bytesSent).toBeGreaterThan(2 * 2 * bytes);
    expect(manager.getMetrics().totals.bytesSent).toBeLessThan(2.1 * 2 * bytes);
    expect((await bench(...args, '--confirm')).code).toBe(64);
  });

  test('--replay fails if there is no log, or it has no room for the messages', async () => {
    const { socketPath } = sharedBroker();
    const without = await bench('--socket', socketPath, '--replay');
    expect(without.code).toBe(1);
    expect(without.stderr).toContain('the broker has no durable log');
    const folder = await mkdtemp(join(tmpdir(), 'sluice-bench-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const small = await startPlainBroker({ log: join(folder, 'log'), logMaxBytes: 4 * 1024 * 1024 });
    const overrun = await bench('--socket', small.socketPath, '--replay', '--msgs', '20000');
    expect(overrun.code).toBe(1);
    expect(overrun.stderr).toContain('the log has no room for that many messages');
  });

  test('goes in with the tokens of both roles, and puts them where no other user can read them', async () => {
    const { socketPath, manager } = await startPlainBroker({
      auth: { tokens: { crawler: [CRAWLER_TOKEN], app: [APP_TOKEN] } },
    });
    const args = ['--socket', socketPath, '--role', 'app', '--msgs', '100'];
    const tokens = { SLUICE_TOKEN: APP_TOKEN, SLUICE_CRAWLER_TOKEN: CRAWLER_TOKEN };
    const run = sluice(['bench', ...args], tokens);
    const commandLines: string[] = [];
    manager.on('connection_added', () => {
      // Both processes of peers are there, and wait for this broker.
      if (manager.getConnectionPool().size < 2 || commandLines.length > 0) return;
      commandLines.push(...childrenOf(run.pid).map(({ commandLine }) => commandLine));
    });
    expect(await run.exited).toBe(0);
    expect(commandLines.length).toBe(2);
    for (const commandLine of commandLines) {
      expect(commandLine).toContain('bench-peers.js');
      expect(commandLine).not.toContain('a-token');
    }
    const wrong = await benchWith({ ...tokens, SLUICE_TOKEN: CRAWLER_TOKEN }, ...args);
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain('UNAUTHORIZED');
  });

  test('fails when the broker rejects the messages, or ends', async () => {
    const { socketPath } = await startPlainBroker({ maxMessagesPerSecond: 1 });
    const rejected = await bench('--socket', socketPath, '--msgs', '1000');
    expect(rejected.code).toBe(1);
    expect(rejected.stderr).toContain('RATE_LIMITED');
    const { socketPath: other, manager } = await startPlainBroker();
    const running = bench('--socket', other, '--latency', '100', '--msgs', '100000');
    await until(() => manager.getConnectionPool().size === 2);
    await manager.stop();
    const left = await running;
    expect(left.code).toBe(1);
    expect(left.stderr).toMatch(/CONNECTION_CLOSED|SHUTTING_DOWN/);
  });

  test.each([
    [['--socket', '/nowhere.sock'], 69, '/nowhere.sock'],
    [['--size', '20'], 64, '--size: must be at least'],
    [['--size', '2000', '--mix'], 64, 'cannot be used with'],
    [['--latency', '10', '--size', '2000'], 64, 'cannot be used with'],
    [['--replay', '--sub', '0'], 64, '--replay: needs a subscriber'],
    [['--pub', '0'], 64, 'Expected an integer, 1 or more.'],
  ])('%j exits %i', async (args, code, text) => {
    const run = await bench(...args);
    expect(run.code).toBe(code);
    expect(run.stderr).toContain(text);
    expect(run.stdout).toBe('');
  });
});
