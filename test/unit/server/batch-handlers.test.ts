import {
  type BatchHandler,
  type HandlerFailure,
  type MessageEvent,
  type ProcessOutcome,
  SocketServer,
} from 'sluice';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { line, VALID } from '../../support/messages.js';
import { shareServer, startServer } from '../../support/server.js';

const bare = { defaultHandlers: false };
const started = (jobId: string) => line({ ...VALID.job_started, jobId });
const numbered = (count: number, prefix = 'job') =>
  Array.from({ length: count }, (_, index) => `${prefix}-${index}`);
const idsOf = (events: readonly MessageEvent[]) => events.map((event) => event.get('jobId'));

/** A handler that records its batches, and finishes none before the test opens the gate. */
class Batches {
  readonly seen: unknown[][] = [];
  open: () => void = () => {};
  readonly #gate = new Promise<void>((resolve) => {
    this.open = resolve;
  });
  readonly handler = {
    fields: ['jobId'],
    handleBatch: (events: readonly MessageEvent[]) => {
      this.seen.push(idsOf(events));
      return this.#gate;
    },
  };
}

describe('handleBatch', () => {
  const shared = shareServer(bare);

  test('gets all messages in order, at most 1,000 at a time, and one batch of a connection after the other', async () => {
    const { server, connect } = await startServer(bare);
    const batches = new Batches();
    server.router.registerHandler('job_started', batches.handler);
    const [one, two] = [await connect(), await connect()];
    const ids = numbered(2500);
    one.write(ids.map(started).join(''));
    await one.settled();
    expect(batches.seen).toHaveLength(1);
    two.write(started('other'));
    await two.settled();
    expect(batches.seen.at(-1)).toEqual(['other']);
    batches.open();
    await server.router.idle();
    const ofOne = () => batches.seen.filter(([first]) => first !== 'other');
    expect(ofOne().flat()).toEqual(ids);
    expect(Math.max(...batches.seen.map(({ length }) => length))).toBe(1000);
    expect(server.router.statistics).toMatchObject({
      byType: { job_started: { received: 2501, handled: 2501 } },
      queued: 0,
      running: 0,
    });
  });

  test('counts messages, not batches, that are queued and running', async () => {
    const { server, connect } = shared();
    const batches = new Batches();
    const running: number[] = [];
    server.router.registerHandler('job_started', {
      handleBatch: async (events) => {
        await batches.handler.handleBatch(events);
        running.push(server.router.statistics.running);
      },
    });
    const crawler = await connect();
    crawler.write(started('job-first'));
    await crawler.settled();
    crawler.write(numbered(5).map(started).join(''));
    await crawler.settled();
    expect(server.router.statistics).toMatchObject({ running: 1, queued: 5 });
    batches.open();
    await server.router.idle();
    expect(running).toEqual([1, 5]);
  });

  test('gets no messages of other types in between, and keeps their order', async () => {
    const { server, connect } = shared();
    const log: string[] = [];
    server.router
      .registerHandler('job_started', { handleBatch: (events) => log.push(`started ${events.length}`) })
      .registerHandler('heartbeat', ({ type }) => log.push(type))
      .registerHandler('job_failed', { handleBatch: (events) => log.push(`failed ${events.length}`) });
    const crawler = await connect();
    const failed = line(VALID.job_failed);
    crawler.write(
      started('job-1') + started('job-2') + line(VALID.heartbeat) + started('job-3') + failed + failed,
    );
    await crawler.settled();
    await server.router.idle();
    expect(log).toEqual(['started 2', 'heartbeat', 'started 1', 'failed 2']);
  });

  test('of * gets several types together, except those with handlers of their own', async () => {
    const { server, connect } = await startServer(bare);
    const batches: string[] = [];
    server.router.registerHandler('*', {
      handleBatch: (events) => batches.push(events.map(({ type }) => type).join()),
    });
    server.router.registerHandler('job_failed', () => {});
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat) + started('job-1') + line(VALID.job_failed) + line(VALID.heartbeat));
    await crawler.settled();
    await server.router.idle();
    expect(batches).toEqual(['heartbeat,job_started', 'job_failed', 'heartbeat']);
    expect(server.router.statistics.byType).toMatchObject({
      heartbeat: { handled: 2 },
      job_started: { handled: 1 },
    });
  });

  test('that fails is one error for all of its messages, and the next ones are handled', async () => {
    const { server, connect } = await startServer(bare);
    const failures: HandlerFailure[] = [];
    const others: unknown[] = [];
    server.router.on('handler_error', (failure) => failures.push(failure));
    server.router.registerHandler('job_started', {
      priority: 1,
      handleBatch: async (events) => {
        await Promise.resolve();
        if (events.length > 1) throw new Error('mine');
      },
    });
    server.router.registerHandler('job_started', (event) => others.push(event.get('jobId')));
    const crawler = await connect();
    crawler.write(started('job-1') + started('job-2'));
    await crawler.settled();
    crawler.write(started('job-3'));
    await crawler.settled();
    await server.router.idle();
    expect(failures).toMatchObject([{ phase: 'handleBatch', event: undefined, error: { message: 'mine' } }]);
    expect(idsOf(failures[0]?.events ?? [])).toEqual(['job-1', 'job-2']);
    expect(others).toEqual(['job-1', 'job-2', 'job-3']);
    expect(server.router.statistics).toMatchObject({
      byType: { job_started: { received: 3, handled: 1, failed: 2 } },
      errors: 1,
    });
  });

  test('has middleware around each message, and gets only those that it lets pass and that it can handle', async () => {
    const { server, connect } = await startServer(bare);
    const log: string[] = [];
    server.use({
      beforeProcess: async (event) => {
        await Promise.resolve();
        log.push(`before ${event.get('jobId')}`);
        if (event.get('jobId') === 'job-2') throw new Error('no');
        return event.get('jobId') !== 'job-1';
      },
      afterProcess: (event: MessageEvent, { status }: ProcessOutcome) =>
        log.push(`after ${event.get('jobId')} ${status}`),
    });
    const phases: string[] = [];
    server.router.on('handler_error', ({ phase }) => phases.push(phase));
    server.router.registerHandler('job_started', {
      canHandle: (event) => {
        if (event.get('jobId') === 'job-4') throw new Error('no');
        return event.get('jobId') !== 'job-3';
      },
      handleBatch: (events) => log.push(`batch ${idsOf(events).join()}`),
    });
    const crawler = await connect();
    crawler.write(numbered(6).map(started).join(''));
    await crawler.settled();
    await server.router.idle();
    expect(log).toEqual([
      ...numbered(6).map((id) => `before ${id}`),
      'batch job-0,job-5',
      'after job-0 handled',
      'after job-1 skipped',
      'after job-2 failed',
      'after job-3 handled',
      'after job-4 failed',
      'after job-5 handled',
    ]);
    expect(phases).toEqual(['beforeProcess', 'canHandle']);
    expect(server.router.statistics.byType.job_started).toMatchObject({ handled: 3, skipped: 1, failed: 2 });
  });

  test('can reply to the sender, and stop the other handlers', async () => {
    const { server, connect } = shared();
    const later: unknown[] = [];
    server.router.registerHandler('token_refresh_request', {
      priority: 1,
      handleBatch: async (events, { reply, stop, connection }) => {
        expect(events.every((event) => event.connection === connection)).toBe(true);
        stop();
        for (const _ of events) await reply({ ...VALID.token_refresh_response });
      },
    });
    server.router.registerHandler('token_refresh_request', { handleBatch: (events) => later.push(events) });
    const crawler = await connect();
    crawler.write(line(VALID.token_refresh_request).repeat(2));
    await crawler.count(2);
    await server.router.idle();
    expect(later).toEqual([]);
  });

  test('runs after handlers of single messages with a higher priority, such as the default handlers', async () => {
    const { server, connect } = await startServer();
    const jobs: unknown[] = [];
    server.router.registerHandler('job_started', {
      handleBatch: (events) =>
        jobs.push(events.map((event) => server.fleet.getJob(String(event.get('jobId')))?.status)),
    });
    const crawler = await connect();
    crawler.write(started('job-1') + started('job-2'));
    await crawler.settled();
    await server.router.idle();
    expect(jobs.flat()).toEqual(['started', 'started']);
  });

  test('is waited for when the server stops, within drainTimeout', async () => {
    const { server, connect } = await startServer(bare);
    const log: string[] = [];
    server.router.registerHandler('job_started', {
      handleBatch: async (events) => {
        await new Promise((resolve) => setImmediate(resolve));
        log.push(`${events.length}`);
      },
    });
    const crawler = await connect();
    crawler.write(numbered(10).map(started).join(''));
    await crawler.settled();
    await server.stop();
    expect(log.reduce((sum, count) => sum + Number(count), 0)).toBe(10);
  });
});

test('a handler has exactly one of handle and handleBatch', () => {
  const { router } = new SocketServer({ logLevel: 'silent' });
  const handler: BatchHandler<'heartbeat'> = {
    handleBatch(events) {
      for (const { message } of events) expectTypeOf(message.data.activeJobs).toEqualTypeOf<number>();
    },
  };
  router.registerHandler('heartbeat', handler);
  // @ts-expect-error: both
  expect(() => router.registerHandler('heartbeat', { ...handler, handle: () => {} })).toThrow('handleBatch');
  // @ts-expect-error: neither
  expect(() => router.registerHandler('heartbeat', {})).toThrow(
    expect.objectContaining({ code: 'INVALID_OPTION' }),
  );
});
