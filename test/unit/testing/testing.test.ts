import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { MessageRegistry } from 'sluice';
import { SluiceClient } from 'sluice/client';
import {
  expectRejected,
  type ScriptedCrawler,
  type ScriptedMessage,
  scriptedCrawler,
  startTestBroker,
  type TestBroker,
  validMessage,
  waitForMessage,
} from 'sluice/testing';
import { describe, expect, onTestFinished, test } from 'vitest';
import { FIXTURES, type FixtureType } from '#src/testing/fixtures.js';
import { temporaryFolder } from '../../support/broker.js';
import { packageRoot } from '../../support/cli.js';
import { collectUncaught } from '../../support/uncaught.js';

async function startBroker(options: Parameters<typeof startTestBroker>[0] = {}) {
  const broker = await startTestBroker(options);
  onTestFinished(() => broker.close());
  return broker;
}

describe('a test broker', () => {
  test('is there for a block of code, and leaves nothing behind', async () => {
    let folder = '';
    {
      await using broker = await startTestBroker();
      folder = dirname(broker.socketPath);
      expect(existsSync(broker.socketPath)).toBe(true);
      expect(broker.manager.isHealthy()).toBe(true);
    }
    expect(existsSync(folder)).toBe(false);
  });

  test('starts no worker, unless it is told to', async () => {
    const [plain, real] = [await startBroker(), await startBroker({ workerThreads: true })];
    for (const broker of [plain, real]) {
      const crawler = await scriptedCrawler(broker);
      await crawler.send(validMessage('heartbeat'));
      await expect(crawler.send({ type: 'heartbeat' })).rejects.toMatchObject({ code: 'SCHEMA_VIOLATION' });
      await crawler.close();
    }
    expect(plain.manager.options.patterns).toBe('off');
    expect(real.manager.options.patterns).toBe('on');
  });

  test('cannot start with wrong options, and then leaves nothing behind', async () => {
    await expect(startTestBroker({ maxConnections: -1 })).rejects.toMatchObject({ code: 'INVALID_OPTION' });
    await expect(startTestBroker({ schemas: './none.mjs' })).rejects.toMatchObject({
      code: 'SCHEMA_MODULE_INVALID',
    });
  });
});

describe('a scripted crawler', () => {
  test.each<[string, (crawler: ScriptedCrawler, broker: TestBroker) => Promise<unknown>]>([
    ['it was closed', (crawler) => crawler.close()],
    ['the broker was closed', (_, broker) => broker.close()],
    ['another one has its ID', (_, broker) => scriptedCrawler(broker)],
  ])('sends no answer after %s', async (_, end) => {
    const broker = await startBroker();
    const uncaught = collectUncaught();
    let answer: (message: ScriptedMessage) => void = () => {};
    const crawler = await scriptedCrawler(broker, {
      answers: { job_assignment: () => new Promise((resolve) => (answer = resolve)) },
    });
    const asked = waitForMessage(crawler, 'job_assignment');
    await broker.manager.getConnectionPool().broadcast(validMessage('job_assignment'));
    await asked;
    const closed = once(crawler.client, 'closed');
    await end(crawler, broker);
    await closed;
    answer(validMessage('heartbeat'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(uncaught).toEqual([]);
  });
});

describe('a scripted crawler that sends', () => {
  const invalid = () => validMessage('job_progress', { data: { processed: 'many' } });

  test('learns of every rejection, also of those that the broker does not answer', async () => {
    const broker = await startBroker({ maxErrorReplies: 1 });
    const crawler = await scriptedCrawler(broker);
    await expect(crawler.send(invalid())).rejects.toMatchObject({ code: 'SCHEMA_VIOLATION' });
    await expect(crawler.send(invalid())).rejects.toMatchObject({
      code: 'INVALID_MESSAGE',
      message: expect.stringContaining('maxErrorReplies'),
    });
    await crawler.send(validMessage('heartbeat'));
  });

  test('takes no rejection of what else it sends at the same time for its own', async () => {
    const broker = await startBroker();
    const crawler = await scriptedCrawler(broker, { answers: { job_cancel: invalid } });
    await broker.manager.getConnectionPool().broadcastToCrawlers(validMessage('job_cancel'));
    await waitForMessage(crawler, 'job_cancel');
    const sent = [
      crawler.send(validMessage('heartbeat')),
      crawler.send(invalid()),
      crawler.sendRaw('not JSON'),
      crawler.send(validMessage('heartbeat')),
    ];
    const outcomes = await Promise.allSettled(sent);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
    expect(outcomes[1]).toMatchObject({ reason: { code: 'SCHEMA_VIOLATION' } });
  });

  test('sends everything before it disconnects, also what was not awaited', async () => {
    const broker = await startBroker();
    const crawler = await scriptedCrawler(broker);
    void crawler.send(validMessage('heartbeat'));
    void crawler.sendRaw(JSON.stringify(validMessage('job_started')));
    await crawler.close();
    await waitForMessage(broker, 'heartbeat');
    await waitForMessage(broker, 'job_started');
  });

  test('reports a rejection that nobody awaits', async () => {
    const broker = await startBroker();
    const crawler = await scriptedCrawler(broker);
    const uncaught = collectUncaught();
    void crawler.send(invalid());
    await crawler.close();
    await new Promise((resolve) => setImmediate(resolve));
    expect(uncaught).toEqual([expect.stringContaining('processed')]);
  });
});

test('misspelt options of crawlers and of waiting are rejected', async () => {
  const broker = await startBroker();
  const misspelt: Record<string, object> = {
    crawler: { crawlerID: 'c-1' },
    wait: { timeOut: 1 },
    expected: { pth: '' },
  };
  const { crawler = {}, wait = {}, expected = {} } = misspelt;
  await expect(scriptedCrawler(broker, crawler)).rejects.toThrow('did you mean crawlerId?');
  await expect(waitForMessage(broker, 'heartbeat', wait)).rejects.toThrow('did you mean timeout?');
  await expect(expectRejected(broker, {}, wait)).rejects.toThrow('did you mean timeout?');
  await expect(expectRejected(broker, expected)).rejects.toThrow('did you mean path?');
});

describe('waitForMessage', () => {
  test('returns messages that came before and after, each once, by type or by content', async () => {
    const broker = await startBroker();
    const crawler = await scriptedCrawler(broker, { crawlerId: 'c-1' });
    const progress = (processed: number) => validMessage('job_progress', { data: { processed } });
    await crawler.send(progress(1), progress(2), validMessage('heartbeat'));
    const second = await waitForMessage(
      broker,
      ({ data }) => (data as { processed?: number }).processed === 2,
    );
    expect(second.type).toBe('job_progress');
    const first = await waitForMessage(broker, 'job_progress');
    expect(first.data.processed).toBe(1);
    const third = waitForMessage(broker, 'job_progress');
    await crawler.send(progress(3));
    expect((await third).data.processed).toBe(3);
  });

  test('a function that throws fails its own call, and takes no message', async () => {
    const broker = await startBroker();
    const crawler = await scriptedCrawler(broker);
    const isFirst = ({ data }: { readonly [key: string]: unknown }) =>
      (data as { entities: unknown[] }).entities.length === 1;
    const failing = waitForMessage(broker, isFirst);
    const waiting = waitForMessage(broker, 'heartbeat', { timeout: Number.POSITIVE_INFINITY });
    await Promise.all([
      expect(failing).rejects.toThrow(TypeError),
      crawler.send(validMessage('heartbeat'), validMessage('heartbeat')),
    ]);
    await waiting;
    await expect(waitForMessage(broker, isFirst)).rejects.toThrow(TypeError);
    await waitForMessage(broker, 'heartbeat');
  });

  test('says what came instead, without content', async () => {
    const broker = await startBroker();
    const crawler = await scriptedCrawler(broker);
    await crawler.send(validMessage('heartbeat'), validMessage('heartbeat'), validMessage('job_started'));
    await expect(waitForMessage(broker, 'job_failed', { timeout: 10 })).rejects.toMatchObject({
      code: 'REQUEST_TIMEOUT',
      message:
        'The request timed out: no message of type job_failed within 10 ms; received: 2 × heartbeat, 1 × job_started',
    });
    await expect(waitForMessage(crawler, () => true, { timeout: 10 })).rejects.toThrow('received: nothing');
    await crawler.sendRaw(JSON.stringify(validMessage('job_failed', { jobId: 'j' })));
    await expectRejected(crawler, { messageType: 'job_failed' });
    await expect(waitForMessage(broker, 'job_failed', { timeout: 10 })).rejects.toThrow(
      /1 × job_started; rejected: 1 × .*RULE_VIOLATION/,
    );
  });
});

describe('a scripted crawler', () => {
  test('answers what an application sends', async () => {
    const broker = await startBroker();
    const crawler = await scriptedCrawler(broker, {
      crawlerId: 'c-1',
      answers: {
        job_assignment: async () => [validMessage('job_started'), validMessage('job_completed')],
        job_cancel: () => undefined,
      },
    });
    await crawler.send(validMessage('job_request'));
    const application = new SluiceClient({ socketPath: broker.socketPath, hello: { role: 'app' } });
    onTestFinished(() => void application.close());
    await application.connect();
    application.publish(validMessage('job_assignment'));
    application.publish(validMessage('job_cancel'));
    expect((await waitForMessage(crawler, 'job_assignment')).data.job_id).toBe('job-1');
    await waitForMessage(broker, 'job_completed');
    await waitForMessage(crawler, 'job_cancel');
  });

  test('needs the token of the broker', async () => {
    const broker = await startBroker({ auth: { tokens: { crawler: ['the-token-of-crawlers'] } } });
    await expect(scriptedCrawler(broker)).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    const crawler = await scriptedCrawler(broker, { token: 'the-token-of-crawlers' });
    await crawler.send(validMessage('heartbeat'));
  });
});

describe('expectRejected', () => {
  test('returns what is wrong with a message, at the broker and at the crawler', async () => {
    const broker = await startBroker();
    const crawler = await scriptedCrawler(broker);
    await crawler.sendRaw('not JSON\n');
    await crawler.sendRaw(JSON.stringify(validMessage('job_progress', { data: { processed: 'many' } })));
    const expected = { messageType: 'job_progress', path: 'data.processed' };
    for (const source of [broker, crawler]) {
      const rejection = await expectRejected(source, expected);
      expect(rejection).toMatchObject({ code: 'SCHEMA_VIOLATION', issues: [{ path: 'data.processed' }] });
      expect(await expectRejected(source)).toMatchObject({ code: 'INVALID_JSON', issues: [] });
    }
    await expect(expectRejected(broker, { code: 'INVALID_UTF8' }, { timeout: 10 })).rejects.toThrow(
      'no rejection code INVALID_UTF8 within 10 ms; received: nothing',
    );
  });
});

test('there is a valid message of every type that crawlers and applications send', async () => {
  const broker = await startBroker();
  const types = MessageRegistry.builtin().types.filter(({ direction }) => /crawler|app/.test(direction));
  expect(Object.keys(FIXTURES).sort()).toEqual(types.map(({ name }) => name).sort());
  const crawler = await scriptedCrawler(broker);
  await crawler.sendRaw(
    types.map(({ name }) => JSON.stringify(validMessage(name as FixtureType))).join('\n'),
  );
  expect(broker.manager.getMetrics().protocol.rejected).toEqual({});
});

test('works with the test runner of Node', async () => {
  const folder = temporaryFolder();
  const file = join(folder, 'crawler.test.mjs');
  const url = JSON.stringify(new URL(`file://${packageRoot}/dist/src/testing/index.js`));
  writeFileSync(
    file,
    `import { test } from 'node:test';
import { scriptedCrawler, startTestBroker, validMessage, waitForMessage } from ${url};

test('a crawler', async () => {
  const broker = await startTestBroker();
  const crawler = await scriptedCrawler(broker);
  await crawler.send(validMessage('heartbeat'));
  await waitForMessage(broker, 'heartbeat');
  await crawler.close();
  await broker.close();
});
`,
  );
  const { stdout } = await promisify(execFile)(process.execPath, ['--test', file]);
  expect(stdout).toMatch(/pass 1/);
});
