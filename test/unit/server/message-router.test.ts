import { pino } from 'pino';
import { type MessageEvent, MessageRouter, type OutgoingMessage } from 'sluice';
import type { MessageMap } from 'sluice/messages';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';
import { shareServer, startServer } from '../../support/server.js';

const started = (jobId: string) => line({ ...VALID.job_started, jobId });
const bare = { defaultHandlers: false };

describe('MessageRouter', () => {
  const shared = shareServer(bare);

  test('calls the handlers of a type, and those of all types', async () => {
    const { server, connect } = shared();
    const called: string[] = [];
    server.router.registerHandler('heartbeat', ({ message }) =>
      called.push(`beat ${message.data.activeJobs}`),
    );
    server.router.registerHandler('*', ({ type }) => called.push(`any ${type}`));
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat) + line(VALID.job_request));
    await crawler.settled();
    expect(called).toEqual(['beat 1', 'any heartbeat', 'any job_request']);
  });

  test('by priority, those that can handle it, until one of them stops it', async () => {
    const { server, connect } = shared();
    const called: string[] = [];
    const note = (name: string) => () => void called.push(name);
    server.router
      .registerHandler('job_started', { priority: -1, handle: note('last') })
      .registerHandler('job_started', note('first of equals'))
      .registerHandler('job_started', note('second of equals'))
      .registerHandler('job_started', { priority: 5, canHandle: () => false, handle: note('never') })
      .registerHandler('job_started', {
        priority: 10,
        canHandle: ({ message }) => message.jobId === 'job-2',
        handle: (_, context) => {
          called.push('alone');
          context.stop();
        },
      });
    const crawler = await connect();
    crawler.write(started('job-1') + started('job-2'));
    await crawler.settled();
    expect(called).toEqual(['first of equals', 'second of equals', 'last', 'alone']);
  });

  test('counts types that peers make up together, with validation: report', async () => {
    const { server, connect } = await startServer(bare, { validation: 'report' });
    const called: string[] = [];
    server.router.registerHandler('wanted', ({ type }) => void called.push(type));
    server.router.registerHandler('*', ({ type }) => void called.push(`any ${type}`));
    const crawler = await connect();
    const made = Array.from({ length: 100 }, (_, index) => `{"type":"made-${index}"}\n`);
    crawler.write(`{"type":"wanted"}\n{"type":"*"}\n${line(VALID.heartbeat)}${made.join('')}`);
    await crawler.settled();
    expect(called.slice(0, 4)).toEqual(['wanted', 'any wanted', 'any *', 'any heartbeat']);
    const { byType } = server.router.statistics;
    const counts = Object.entries(byType).map(([type, { received, handled }]) => [type, received, handled]);
    expect(counts).toEqual([
      ['wanted', 1, 1],
      ['*', 101, 101],
      ['heartbeat', 1, 1],
    ]);
  });

  test('takes handlers back, functions and objects', async () => {
    const { server, connect } = shared();
    const { unhandled } = server.router.statistics;
    const called: string[] = [];
    const handler = () => called.push('function');
    const object = { handle: () => called.push('object') };
    const { router } = server;
    router.registerHandler('heartbeat', handler).registerHandler('heartbeat', object);
    expect(router.unregisterHandler('heartbeat', handler)).toBe(true);
    expect(router.unregisterHandler('heartbeat', handler)).toBe(false);
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat));
    await crawler.settled();
    expect(called).toEqual(['object']);
    expect(router.unregisterHandler('heartbeat', object)).toBe(true);
    crawler.write(line(VALID.heartbeat));
    await crawler.settled();
    expect(called).toEqual(['object']);
    expect(router.statistics.unhandled).toBe(unhandled + 1);
  });

  test('handles the messages of a connection in order, one at a time, and connections side by side', async () => {
    const { server, connect } = shared();
    const log: string[] = [];
    const ends: (() => void)[] = [];
    server.router.registerHandler('job_started', async ({ message }) => {
      log.push(`${message.jobId} begins`);
      await new Promise<void>((resolve) => ends.push(resolve));
      log.push(`${message.jobId} ends`);
    });
    const [one, two] = [await connect(), await connect()];
    one.write(started('1-a') + started('1-b'));
    await one.settled();
    two.write(started('2-a'));
    await two.settled();
    expect(log).toEqual(['1-a begins', '2-a begins']);
    expect(server.router.statistics).toMatchObject({ running: 2, queued: 1 });
    for (let done = 0; done < 3; done++) {
      await until(() => ends.length > 0);
      ends.shift()?.();
    }
    await server.router.idle();
    expect(log.filter((text) => text.startsWith('1'))).toEqual([
      '1-a begins',
      '1-a ends',
      '1-b begins',
      '1-b ends',
    ]);
  });

  test('reads no more from a connection whose handlers fall behind, and loses nothing', async () => {
    const { server, connect } = await startServer(
      { ...bare, maxQueuedBytes: 20_000 },
      { maxConnectionBytes: 128 * 1024 },
    );
    let open: () => void = () => {};
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    const jobs: unknown[] = [];
    server.router.registerHandler('job_started', async ({ message }) => {
      await opened;
      jobs.push(message.jobId);
    });
    const [fast, other] = [await connect(), await connect()];
    const [connection] = server.manager.getConnectionPool().all();
    const count = 8000;
    fast.write(Array.from({ length: count }, (_, index) => started(`job-${index}`)).join(''));
    await until(() => connection?.isPaused === true && connection.lane.pendingBytes === 0);
    expect(server.router.statistics.queued).toBeLessThan(count / 2);
    // The others are not held up.
    await other.settled();
    open();
    await fast.settled();
    await server.router.idle();
    expect(jobs).toEqual(Array.from({ length: count }, (_, index) => `job-${index}`));
    expect(connection?.isPaused).toBe(false);
  });

  const large = { ...VALID.job_failed.data, context: { text: 'x'.repeat(50_000) } };
  test.each([
    ['white space between messages', ' '.repeat(50_000)],
    ['messages between them without a handler', `\n${line({ ...VALID.job_failed, data: large })}`],
  ])('counts %s as queued, since they are kept, too', async (_, between) => {
    const { server, connect } = await startServer(
      { ...bare, maxQueuedBytes: 100_000 },
      { maxConnectionBytes: 128 * 1024 },
    );
    let open: () => void = () => {};
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    server.router.registerHandler('heartbeat', () => opened);
    const crawler = await connect();
    const [connection] = server.manager.getConnectionPool().all();
    const beat = JSON.stringify(VALID.heartbeat);
    const sent = `${beat}${between}${beat} `.repeat(100);
    crawler.write(sent);
    const isAllRead = () => connection?.statistics.bytesReceived === sent.length;
    await until(() => isAllRead() || (connection?.isPaused === true && connection.lane.pendingBytes === 0));
    expect(connection?.statistics.bytesReceived).toBeLessThan(sent.length / 2);
    open();
    await until(isAllRead);
  });

  test('catches, counts and emits errors of handlers; later handlers and messages are not affected', async () => {
    const { server, connect } = await startServer(bare);
    const failures: string[] = [];
    server.on('handler_error', ({ error, phase, event }) =>
      failures.push(`${phase} ${event?.type}: ${(error as Error).message}`),
    );
    const called: string[] = [];
    server.router
      .registerHandler('heartbeat', () => {
        throw new Error('thrown');
      })
      .registerHandler('heartbeat', async () => {
        throw new Error('rejected');
      })
      .registerHandler('heartbeat', {
        canHandle: () => {
          throw new Error('cannot say');
        },
        handle: () => {},
      })
      .registerHandler('heartbeat', () => called.push('heartbeat'))
      .registerHandler('job_request', () => called.push('job_request'));
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat) + line(VALID.job_request));
    await crawler.settled();
    await server.router.idle();
    expect(failures).toEqual([
      'handle heartbeat: thrown',
      'handle heartbeat: rejected',
      'canHandle heartbeat: cannot say',
    ]);
    expect(called).toEqual(['heartbeat', 'job_request']);
    expect(server.router.statistics).toMatchObject({
      errors: 3,
      byType: {
        heartbeat: { received: 1, handled: 0, failed: 1, skipped: 0 },
        job_request: { received: 1, handled: 1, failed: 0, skipped: 0 },
      },
    });
  });

  test('logs errors of handlers that nobody listens for, and of listeners, without content', async () => {
    const lines: Record<string, unknown>[] = [];
    const logger = pino({ base: null, timestamp: false }, { write: (text) => lines.push(JSON.parse(text)) });
    const { server, connect } = await startServer({ ...bare, logger });
    server.router.registerHandler('heartbeat', () => {
      throw new TypeError('CANARY');
    });
    const linesOf = (what: string) => lines.filter(({ msg }) => msg === `a ${what} failed`);
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat).repeat(3));
    await crawler.settled();
    const error = expect.stringMatching(/^TypeError at /);
    const handler = 'message handler or middleware';
    expect(linesOf(handler)[0]).toMatchObject({
      level: 50,
      type: 'heartbeat',
      phase: 'handle',
      count: 1,
      error,
    });
    server.on('handler_error', () => {});
    server.router.on('handler_error', () => {
      throw new RangeError('CANARY');
    });
    crawler.write(line(VALID.heartbeat));
    await crawler.settled();
    await server.stop();
    expect(linesOf('listener of handler_error')).toMatchObject([
      { level: 50, count: 1, error: expect.stringMatching(/^RangeError at /) },
    ]);
    expect(linesOf(handler).reduce((sum, { count }) => sum + Number(count), 0)).toBe(3);
    expect(JSON.stringify(lines)).not.toContain('CANARY');
  });

  test('survives a listener of handler_error that throws', async () => {
    const { server, connect } = shared();
    const { errors } = server.router.statistics;
    server.on('handler_error', () => {
      throw new Error('again');
    });
    server.router.registerHandler('heartbeat', () => {
      throw new Error('once');
    });
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat));
    await crawler.settled();
    expect(server.router.statistics.errors).toBe(errors + 2);
  });

  test('lets a handler reply to the sender', async () => {
    const { server, connect } = shared();
    const { errors } = server.router.statistics;
    server.router.registerHandler('job_request', (_, { reply }) =>
      reply(VALID.job_response as OutgoingMessage),
    );
    server.router.registerHandler('token_refresh_request', async (_, context) => {
      await context.reply({ type: 'token_refresh_response', data: {} } as OutgoingMessage);
    });
    const [asking, other] = [await connect(), await connect()];
    asking.write(line(VALID.job_request));
    expect(await asking.next('job_response')).toEqual(VALID.job_response);
    asking.write(line(VALID.token_refresh_request));
    await asking.settled();
    await server.router.idle();
    expect(server.router.statistics).toMatchObject({ errors: errors + 1 });
    await other.settled();
    expect(other.forwarded).toEqual([]);
  });

  test('rejects bounds that bound nothing', () => {
    expect(() => new MessageRouter({ maxConcurrent: 0 })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    );
  });
});

describe('middleware', () => {
  test('runs around handlers, the first one outermost, and may keep a message from them', async () => {
    const { server, connect } = await startServer(bare);
    const log: string[] = [];
    server.use({
      beforeProcess: ({ type }) => void log.push(`1 before ${type}`),
      afterProcess: (_, { status, duration }) => log.push(`1 after ${status} ${duration >= 0}`),
    });
    server.use({
      beforeProcess: async ({ type }) => {
        log.push('2 before');
        return type !== 'job_request';
      },
      afterProcess: (_, { status }) => log.push(`2 after ${status}`),
    });
    server.router.registerHandler('*', ({ type }) => log.push(`handler ${type}`));
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat) + line(VALID.job_request));
    await crawler.settled();
    await server.router.idle();
    expect(log).toEqual([
      '1 before heartbeat',
      '2 before',
      'handler heartbeat',
      '2 after handled',
      '1 after handled true',
      '1 before job_request',
      '2 before',
      '2 after skipped',
      '1 after skipped true',
    ]);
    expect(server.router.statistics.byType.job_request).toMatchObject({ skipped: 1, handled: 0 });
  });

  test('that fails before the handlers keeps the message from them; after them it is only counted', async () => {
    const { server, connect } = await startServer(bare);
    const called: string[] = [];
    server.use({
      beforeProcess: ({ type }) => {
        if (type === 'job_request') throw new Error('guard');
      },
      afterProcess: () => {
        throw new Error('after');
      },
    });
    server.router.registerHandler('*', ({ type }) => called.push(type));
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat) + line(VALID.job_request));
    await crawler.settled();
    expect(called).toEqual(['heartbeat']);
    expect(server.router.statistics).toMatchObject({
      errors: 3,
      byType: { heartbeat: { handled: 1, failed: 0 }, job_request: { handled: 0, failed: 1 } },
    });
  });

  test('without a beforeSend leaves an answer in its place: written before the handler goes on', async () => {
    const { server, connect } = await startServer(bare);
    server.use({ afterSend: () => {} });
    server.router.registerHandler('job_request', ({ connection }, { reply }) => {
      void reply({ ...VALID.shutdown });
      void connection.sendRaw('{"type":"second"}\n');
    });
    const crawler = await connect();
    crawler.write(line(VALID.job_request));
    await crawler.count(2);
    expect(crawler.messages.map(({ type }) => type)).toEqual(['shutdown', 'second']);
  });

  test('changes, rejects and follows what is sent', async () => {
    const { server, connect } = await startServer(bare);
    const log: string[] = [];
    server.use({
      beforeSend: (message, { kind }) => {
        log.push(`before ${message.type} ${kind}`);
        if (message.type === 'shutdown') throw new Error('not today');
        return { ...message, marked: true };
      },
      afterSend: (message, { kind }, error) => {
        log.push(`after ${(message as { marked?: boolean }).marked} ${kind} ${(error as Error)?.message}`);
        if (kind === 'broadcast') throw new Error('after');
      },
    });
    server.router.registerHandler('job_request', (_, context) =>
      context.reply(VALID.job_response as OutgoingMessage),
    );
    const crawler = await connect('c1');
    await server.sendToCrawler('c1', { ...VALID.job_assignment });
    expect(await crawler.next('job_assignment')).toMatchObject({ marked: true });
    crawler.write(line(VALID.job_request));
    expect(await crawler.next('job_response')).toMatchObject({ marked: true });
    await expect(server.broadcast({ ...VALID.shutdown })).rejects.toThrow('not today');
    expect(log).toEqual([
      'before job_assignment crawler',
      'after true crawler undefined',
      'before job_response connection',
      'after true connection undefined',
      'before shutdown broadcast',
      'after undefined broadcast not today',
    ]);
    expect(server.router.statistics.errors).toBe(1);
  });
});

test('handlers know the message of their type', () => {
  const router = new MessageRouter();
  router.registerHandler('job_failed', ({ message }) => {
    expectTypeOf(message.data.errorType).toEqualTypeOf<string | undefined>();
    expectTypeOf(message).toExtend<MessageMap['job_failed']>();
    return message.data.errorType;
  });
  router.registerHandler('job_progress', {
    priority: 1,
    canHandle: ({ message }) => message.data.processed > 0,
    handle: async ({ message }, { reply }) => {
      expectTypeOf(message.data.stage).toEqualTypeOf<'discovering' | 'fetching' | 'completed' | 'failed'>();
      expectTypeOf(reply({ type: 'page_wanted', url: message.type })).resolves.toBeVoid();
    },
  });
  router.registerHandler('page_fetched', (event) => expectTypeOf(event).toEqualTypeOf<MessageEvent>());
  router.registerHandler('*', (event) => expectTypeOf(event.message.type).toEqualTypeOf<string>());
});
