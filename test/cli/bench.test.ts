import { describe, expect, test } from 'vitest';
import { startBroker, until } from '../support/broker.js';
import { childrenOf, sluice } from '../support/cli.js';
import { line, VALID } from '../support/messages.js';

const APP_TOKEN = 'a-token-of-an-application';
const CRAWLER_TOKEN = 'a-token-of-a-crawler';

describe('sluice bench', () => {
  test('measures publishers and subscribers, and loses nothing', async () => {
    const { socketPath, manager } = await startBroker();
    const run = sluice(['bench', '--socket', socketPath, '--pub', '3', '--sub', '2', '--msgs', '20001']);
    expect(await run.exited).toBe(0);
    expect(run.stdout).toMatch(/^20,001 messages of \d+ B, 3 → 2\n\n/);
    expect(run.stdout).toMatch(/^ {2}published +[\d,]+ messages\/s, [\d.]+ [kMG]B\/s$/m);
    expect(run.stdout).toMatch(/^ {2}each +min [\d,]+, avg [\d,]+, max [\d,]+ messages\/s$/m);
    expect(run.stdout).toMatch(/^ {2}delivered +[\d,]+ messages\/s/m);
    expect(run.stdout).toMatch(/^ {2}latency +p50 [\d.]+ [µm]s, p99 [\d.]+ [µm]s, p99\.9 [\d.]+ [µm]s/m);
    expect(run.stderr).toBe('');
    const { accepted } = manager.getMetrics().protocol;
    const control = ['subscribe', 'ping', 'hello'].reduce((sum, type) => sum + (accepted[type] ?? 0), 0);
    const all = Object.values(accepted).reduce((sum, count) => sum + count, 0);
    expect(all - control).toBe(20_001);
  });

  test('--json, --size and no subscribers', async () => {
    const { socketPath } = await startBroker();
    const run = sluice([
      'bench',
      '--socket',
      socketPath,
      '--sub',
      '0',
      '--msgs',
      '5000',
      '--size',
      '2000',
      '--json',
    ]);
    expect(await run.exited).toBe(0);
    const result = JSON.parse(run.stdout);
    expect(result).toMatchObject({ messages: 5000, published: { messagesPerSecond: expect.any(Number) } });
    expect(result.bytes / 5000).toBeGreaterThan(1900);
    expect(result.delivered).toBeUndefined();
  });

  test('--latency times every message', async () => {
    const { socketPath } = await startBroker();
    const run = sluice(['bench', '--socket', socketPath, '--latency', '500', '--msgs', '500', '--json']);
    expect(await run.exited).toBe(0);
    const { latency, published } = JSON.parse(run.stdout);
    expect(latency.samples).toBe(500);
    expect(latency.p50).toBeGreaterThan(0);
    expect(latency.p50).toBeLessThanOrEqual(latency.p99);
    expect(published.messagesPerSecond).toBeLessThan(600);
  });

  test('counts its own messages only, whatever other crawlers send', async () => {
    const { socketPath, connect } = await startBroker();
    const other = await connect();
    const timer = setInterval(() => other.write(line(VALID.heartbeat).repeat(20)), 2);
    const run = sluice(['bench', '--socket', socketPath, '--latency', '500', '--msgs', '500', '--json']);
    const code = await run.exited;
    clearInterval(timer);
    expect(code).toBe(0);
    expect(JSON.parse(run.stdout).latency.samples).toBe(500);
  });

  test('sends messages of now, for a broker that refuses old ones', async () => {
    const { socketPath } = await startBroker({ maxMessageAge: 60_000 });
    expect(await sluice(['bench', '--socket', socketPath, '--msgs', '5000']).exited).toBe(0);
  });

  test('goes in with the tokens of both roles', async () => {
    const { socketPath } = await startBroker({
      auth: { tokens: { crawler: [CRAWLER_TOKEN], app: [APP_TOKEN] } },
    });
    const args = ['bench', '--socket', socketPath, '--role', 'app', '--msgs', '100'];
    const tokens = { SLUICE_TOKEN: APP_TOKEN, SLUICE_CRAWLER_TOKEN: CRAWLER_TOKEN };
    expect(await sluice(args, tokens).exited).toBe(0);
    const wrong = sluice(args, { ...tokens, SLUICE_TOKEN: CRAWLER_TOKEN });
    expect(await wrong.exited).toBe(1);
    expect(wrong.stderr).toContain('UNAUTHORIZED');
  });

  test('puts no token where other users can read it', async () => {
    const { socketPath, manager } = await startBroker({
      auth: { tokens: { crawler: [CRAWLER_TOKEN], app: [APP_TOKEN] } },
    });
    const run = sluice(
      ['bench', '--socket', socketPath, '--role', 'app', '--latency', '100', '--msgs', '100000'],
      { SLUICE_TOKEN: APP_TOKEN, SLUICE_CRAWLER_TOKEN: CRAWLER_TOKEN },
    );
    await until(() => manager.getConnectionPool().size === 2);
    const children = childrenOf(run.child.pid ?? 0);
    expect(children.length).toBe(2);
    for (const { commandLine } of children) {
      expect(commandLine).toContain('bench-peers.js');
      expect(commandLine).not.toContain('a-token');
    }
  });

  test('says so when the broker refuses the messages, or goes away', async () => {
    const { socketPath } = await startBroker({ maxMessagesPerSecond: 1 });
    const refused = sluice(['bench', '--socket', socketPath, '--msgs', '1000']);
    expect(await refused.exited).toBe(1);
    expect(refused.stderr).toContain('RATE_LIMITED');
    const { socketPath: other, manager } = await startBroker();
    const left = sluice(['bench', '--socket', other, '--latency', '100', '--msgs', '100000']);
    while (manager.getConnectionPool().size < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    await manager.stop();
    expect(await left.exited).toBe(1);
    expect(left.stderr).toMatch(/CONNECTION_CLOSED|SHUTTING_DOWN/);
  });

  test.each([
    [['--socket', '/nowhere.sock'], 69, '/nowhere.sock'],
    [['--size', '20'], 78, '--size: must be at least'],
    [['--size', '2000', '--mix'], 64, 'cannot be used with'],
    [['--latency', '10', '--size', '2000'], 64, 'cannot be used with'],
    [['--pub', '0'], 64, 'Expected an integer, 1 or more.'],
  ])('%j exits %i', async (args, code, text) => {
    const run = sluice(['bench', ...args]);
    expect(await run.exited).toBe(code);
    expect(run.stderr).toContain(text);
    expect(run.stdout).toBe('');
  });
});
