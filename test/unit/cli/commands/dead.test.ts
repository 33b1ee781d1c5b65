import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startPlainBroker, temporaryFolder, until } from '../../../support/broker.js';
import { shareSluice, sluice } from '../../../support/cli.js';
import { FAILED, makeDeadLetters } from '../../../support/dead-letters.js';
import { line } from '../../../support/messages.js';
import { answerAsBroker, ScriptedBroker } from '../../../support/scripted-broker.js';

const run = shareSluice();

/** A broker with two dead letters: a rejected message, and one that a group could not handle. */
async function start(rejectedBytes: 'sample' | 'full' = 'sample') {
  const log = join(temporaryFolder(), 'log');
  const broker = await startPlainBroker({ log, rejectedBytes });
  await makeDeadLetters(broker, log);
  expect(broker.manager.getMetrics().durableLog?.deadLetters).toEqual({ failed: 1, rejected: 1, omitted: 0 });
  return { ...broker, log };
}

/** A broker with dead letters that it rejects again. */
async function startWithRejected(count: number, maxErrorReplies?: number) {
  const log = join(temporaryFolder(), 'log');
  const broker = await startPlainBroker({ log, rejectedBytes: 'full', maxErrorReplies });
  const crawler = await broker.connect();
  crawler.write(line({ type: 'nonsense' }).repeat(count));
  await expect.poll(() => listedIn(log)).toHaveLength(count);
  return { ...broker, log };
}

/** The IDs of those that are listed. */
async function listedIn(log: string): Promise<number[]> {
  const { stdout } = await run(['dead', 'ls', log, '--json']);
  return stdout.match(/^.+$/gm)?.map((text) => JSON.parse(text).id) ?? [];
}

describe('sluice dead', () => {
  test('lists them, shows one, and drops one, while the broker is running', async () => {
    const { log } = await start();
    const { code, stdout } = await run(['dead', 'ls', log]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^id {2}stored/);
    expect(stdout).toMatch(/^0 {3}\S+Z {2}SCHEMA_VIOLATION {2}heartbeat {4}crawler-7 {2}- {8}\d+ B$/m);
    expect(stdout).toMatch(/^1 {3}\S+Z {2}MAX_DELIVERIES {4}job_started {2}crawler-7 {2}workers {2}\d+ B$/m);
    expect(stdout).not.toContain('hunter2');

    const shown = await run(['dead', 'show', log, '1']);
    expect(shown.stdout).toContain(`content: ${FAILED.trim()}\n`);
    expect(shown.stdout).toContain('  group: workers\n');
    const rejected = await run(['dead', 'show', log, '0', '--json']);
    expect(JSON.parse(rejected.stdout)).toMatchObject({
      id: 0,
      reason: 'SCHEMA_VIOLATION',
      issues: expect.any(Array),
    });
    expect(rejected.stdout).not.toContain('hunter2');

    expect(await run(['dead', 'drop', log, '0'])).toMatchObject({ code: 0, stdout: 'dropped 1 message\n' });
    const left = await run(['dead', 'ls', log, '--json']);
    expect(
      left.stdout
        .trim()
        .split('\n')
        .map((text) => JSON.parse(text).id),
    ).toEqual([1]);
    expect(await run(['dead', 'ls', log, '--group', 'others'])).toMatchObject({ stdout: 'none\n' });
  });

  test('JSON has no character that a terminal would act upon, and the same values', async () => {
    const log = join(temporaryFolder(), 'log');
    const { manager, connect } = await startPlainBroker({ log, rejectedBytes: 'full' });
    const crawler = await connect();
    const crawlerId = 'crawler\u009b\u202e';
    crawler.say('hello', { role: 'crawler', crawlerId });
    const message = line({ type: 'heartbeat', data: crawlerId });
    crawler.write(message);
    await crawler.settled();
    await manager.stop();
    for (const [args, expected] of [
      [['ls'], { crawlerId }],
      [['show', '--all'], { crawlerId, content: message.trim() }],
    ] as const) {
      const { stdout } = await run(['dead', ...args, log, '--json']);
      expect(stdout).toMatch(/^[\u0020-\u007e]*\n$/);
      expect(JSON.parse(stdout)).toMatchObject(expected);
    }
  });

  test('sends one again; what the broker rejects stays', async () => {
    const broker = await start('full');
    const { log, socketPath } = broker;
    const app = await broker.connect();
    await app.subscribe({ id: '1', types: ['job_started', 'presence'], crawlerIds: ['crawler-7'] });
    const { code, stdout, stderr } = await run(['dead', 'retry', log, '--all', '--socket', socketPath]);
    expect(stdout).toBe('sent 1 message\n');
    expect(stderr).toMatch(/^sluice dead: 0: the broker has rejected it: SCHEMA_VIOLATION/);
    expect(code).toBe(1);
    expect(`${JSON.stringify(await app.next('job_started'))}\n`).toBe(FAILED);
    // The command does not count as a crawler, which would leave the job behind.
    await until(() => broker.manager.getMetrics().connections.byRole.relay === undefined);
    await app.settled();
    expect(app.messages.filter(({ type }) => type === 'presence')).toEqual([]);
    // Then all dead letters are on the disk.
    await broker.manager.stop();
    const left = (await run(['dead', 'ls', log, '--json'])).stdout.trim().split('\n');
    // The second one is the rejected message, which was rejected again.
    expect(left.map((text) => JSON.parse(text).id)).toEqual([0, 2]);
  });

  test.each([10, 0])('with maxErrorReplies %i, what is rejected without a reply stays', async (replies) => {
    const { log, socketPath, manager } = await startWithRejected(30, replies);
    const { code, stdout, stderr } = await run(['dead', 'retry', log, '--all', '--socket', socketPath]);
    expect([code, stdout]).toEqual([1, 'sent 0 messages\n']);
    expect(stderr.match(/^sluice dead: \d+: .*rejected/gm)).toHaveLength(30);
    await manager.stop();
    expect(await listedIn(log)).toEqual(Array.from({ length: 60 }, (_, id) => id));
  });

  test('what was sent before a signal is not sent again', async () => {
    const { log, manager } = await startWithRejected(5);
    await manager.stop();
    const broker = await ScriptedBroker.start();
    const pings = () => broker.received.filter(({ type }) => type === 'ping').length;
    broker.answer = (message) =>
      message.type === 'ping' && pings() > 3 ? undefined : answerAsBroker(message);
    const retrying = sluice(['dead', 'retry', log, '--all', '--socket', broker.socketPath]);
    await until(() => pings() === 4);
    retrying.child.kill('SIGINT');
    expect(await retrying.exited).toBe(1);
    expect(retrying.stdout).toBe('sent 3 messages\n');
    expect(retrying.stderr).toBe('sluice dead: 3: it was not confirmed\nsluice dead: stopped by SIGINT\n');
    expect(await listedIn(log)).toEqual([3, 4]);
  });

  test('two signals while it connects end it; what was sent before is not sent again', async () => {
    const log = join(temporaryFolder(), 'log');
    const { manager, connect } = await startPlainBroker({ log, rejectedBytes: 'full' });
    for (const crawlerId of [undefined, 'crawler-7']) {
      const crawler = await connect();
      crawler.say('hello', { role: 'crawler', crawlerId });
      crawler.write(line({ type: 'nonsense' }));
      await crawler.settled();
    }
    await manager.stop();
    const broker = await ScriptedBroker.start();
    const hellos = () => broker.received.filter(({ type }) => type === 'hello').length;
    broker.answer = (message) =>
      message.type === 'hello' && hellos() > 1 ? undefined : answerAsBroker(message);
    const retrying = sluice(['dead', 'retry', log, '--all', '--socket', broker.socketPath]);
    await until(() => hellos() === 2);
    retrying.child.kill('SIGINT');
    retrying.child.kill('SIGTERM');
    expect(await retrying.exited).toBe(1);
    expect(retrying.stdout).toBe('sent 1 message\n');
    expect(retrying.stderr).toMatch(
      /^sluice dead: 1: it was not confirmed\nsluice dead: stopped by SIG(INT|TERM)\n$/,
    );
    expect(await listedIn(log)).toEqual([1]);
  });

  test('only the beginning of a rejected message is kept, which cannot be sent again', async () => {
    const { log, socketPath } = await start();
    const { code, stderr } = await run(['dead', 'retry', log, '0', '--socket', socketPath]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^sluice dead: 0: only its beginning was kept/);
  });

  test.each([
    [['show'], 64, 'needs either IDs'],
    [['drop', '1', '--all'], 64, 'needs either IDs'],
    [['drop', 'x'], 64, 'an ID is a number'],
    [['ls', '1'], 64, 'ls: takes no IDs'],
    [['ls', '--all'], 64, '--all: has no effect with ls'],
    [['drop', '--all', '--json'], 64, '--json: has no effect with drop'],
    [['show', '1', '--tls-ca', 'x'], 64, '--tls-ca: has no effect with show'],
    [['ls'], 78, 'LOG_UNUSABLE'],
  ] as const)('%s: says what is wrong', async ([action, ...rest], exitCode, text) => {
    const { code, stderr } = await run(['dead', action, join(temporaryFolder(), 'none'), ...rest]);
    expect(stderr).toContain(text);
    expect(code).toBe(exitCode);
  });

  test('an ID that does not exist is an error', async () => {
    const { log } = await start();
    expect(await run(['dead', 'show', log, '99'])).toMatchObject({
      code: 1,
      stderr: 'sluice dead: there is no dead letter 99\n',
    });
  });
});
