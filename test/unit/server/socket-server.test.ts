import { join } from 'node:path';
import { MessageRouter, type OutgoingMessage, SocketManager, SocketServer } from 'sluice';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { LIGHT, temporaryFolder, until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';
import { shareServer, startServer } from '../../support/server.js';

describe('SocketServer', () => {
  const shared = shareServer();

  test('starts, returns its status, stops', async () => {
    const { server, connect } = await startServer();
    const crawler = await connect('c1');
    crawler.write(line(VALID.heartbeat));
    await crawler.settled();
    expect(server.getStatus()).toMatchObject({
      state: 'running',
      connections: 1,
      handlers: { byType: { heartbeat: { received: 1, handled: 1 } }, queued: 0, errors: 0 },
    });
    expect(server.getConnectionStats()).toMatchObject({
      pool: { size: 1, byRole: { crawler: 1 } },
      connections: [
        { crawlerId: 'c1', state: 'active', statistics: { messagesReceived: 1, controlReceived: 2 } },
      ],
    });
    await server.stop();
    expect(server.getStatus()).toMatchObject({ state: 'stopped', connections: 0 });
    await server.stop();
  });

  test('sends to a crawler, by its id or that of its latest connection', async () => {
    const { server, connect } = shared();
    const [first, second, other, plain] = [
      await connect('c1'),
      await connect('c1'),
      await connect('c2'),
      await connect(),
    ];
    const result = await server.sendToCrawler('c1', { ...VALID.job_assignment });
    expect(result).toEqual({ delivered: 1, failed: [] });
    expect(await second.next('job_assignment')).toEqual(VALID.job_assignment);
    await first.closed;
    expect(first.errors).toEqual(['REPLACED']);
    expect(first.forwarded).toEqual([]);
    await plain.settled();
    const unnamed = server.getConnectionStats().connections.find(({ crawlerId }) => crawlerId === undefined);
    await server.sendToCrawler(unnamed?.id ?? '', { ...VALID.shutdown });
    expect(await plain.next('shutdown')).toEqual(VALID.shutdown);
    await other.settled();
    expect(other.forwarded).toEqual([]);
  });

  test('rejects what is sent before it runs, and afterwards', async () => {
    const server = new SocketServer(
      { socketPath: join(temporaryFolder(), 's.sock'), logLevel: 'silent', ...LIGHT },
      { validatesLocally: true },
    );
    const rejects = async () => {
      for (const sent of [
        server.sendToCrawler('c1', { ...VALID.shutdown }),
        server.broadcast({ ...VALID.shutdown }),
      ]) {
        await expect(sent).rejects.toMatchObject({ code: 'NOT_RUNNING' });
      }
    };
    await rejects();
    await server.start();
    expect(await server.broadcast({ ...VALID.shutdown })).toMatchObject({ delivered: 0 });
    await server.stop();
    await rejects();
  });

  test('rejects settings that do not exist', () => {
    const settings: object = { maxConcurent: 1 };
    expect(() => new SocketServer({}, settings)).toThrow(
      'maxConcurent: unknown option; did you mean maxConcurrent?',
    );
    const dependencies: object = { validateLocally: true };
    expect(() => new SocketManager({}, dependencies)).toThrow('did you mean validatesLocally?');
    expect(() => new MessageRouter(settings)).toThrow('did you mean maxConcurrent?');
    const mounted: object = { prefx: '/sluice' };
    expect(() => new SocketManager().dashboardHandler(mounted)).toThrow('did you mean prefix?');
  });

  test('rejects what no crawler can get, and what is not valid, without repeating it', async () => {
    const { server, connect } = shared();
    const send = server.sendToCrawler('c1', { ...VALID.job_assignment });
    await expect(send).rejects.toMatchObject({ code: 'NO_RECIPIENT' });
    await connect('c1');
    const message: OutgoingMessage = { type: 'job_assignment', timestamp: 'CANARY', data: {} };
    const invalid = server.sendToCrawler('c1', message);
    await expect(invalid).rejects.toMatchObject({
      code: 'INVALID_MESSAGE',
      message: expect.not.stringContaining('CANARY'),
    });
  });

  test('reports why a crawler has not accepted a message, which may arrive later', async () => {
    const { server, connect } = await startServer({}, { sendTimeout: 20, maxPendingBytes: '64k' });
    const crawler = await connect('c1');
    crawler.socket.pause();
    const { data } = VALID.job_assignment;
    let sent = 0;
    const send = () => {
      const own = { job_id: `job ${++sent}`, access_token: 'x'.repeat(100_000) };
      return server.sendToCrawler('c1', { ...VALID.job_assignment, data: { ...data, ...own } });
    };
    const codes: string[] = [];
    while (codes.length < 2) await send().catch(({ code }) => codes.push(code));
    expect(codes).toEqual(['SEND_TIMEOUT', 'SLOW_CONSUMER']);
    crawler.socket.resume();
    await crawler.next((message) => message.data.job_id === `job ${sent - 1}`);
  });

  test('sends nothing to a crawler that has closed its side, however the connections are selected', async () => {
    const { server, connect } = await startServer();
    let finish = () => {};
    const handled = new Promise<void>((resolve) => {
      finish = resolve;
    });
    onTestFinished(() => finish());
    server.router.registerHandler('job_request', () => handled);
    const [ended, current] = [await connect(), await connect()];
    ended.socket.end(line(VALID.job_request));
    current.write(line(VALID.heartbeat));
    await current.settled();
    const pool = server.manager.getConnectionPool();
    await until(() => pool.crawlers().length === 1);
    const shutdown = { ...VALID.shutdown };
    for (const result of [
      await pool.broadcast(shutdown),
      await pool.broadcastToActive(shutdown),
      await pool.sendTo({ role: 'crawler' }, shutdown),
    ])
      expect(result).toEqual({ delivered: 1, failed: [] });
    finish();
    await ended.closed;
    expect(ended.forwarded).toEqual([]);
  });

  test('rejects to broadcast what is not valid, though no crawler is there', async () => {
    const { server } = shared();
    const invalid = server.broadcast({ type: 'no_such_type' });
    await expect(invalid).rejects.toMatchObject({ code: 'INVALID_MESSAGE' });
    expect(await server.broadcast({ ...VALID.shutdown })).toEqual({ delivered: 0, failed: [] });
  });

  test('answers a crawler that has closed its side, when its handlers take their time', async () => {
    const { server, connect } = shared();
    server.router.registerHandler('job_request', async (_, { reply }) => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await reply({ ...VALID.shutdown });
    });
    const crawler = await connect();
    crawler.socket.end(line(VALID.job_request).repeat(2));
    await crawler.closed;
    expect(crawler.forwarded).toEqual([VALID.shutdown, VALID.shutdown]);
  });

  test('waits for the handlers of a crawler that has closed its side no longer than drainTimeout', async () => {
    const { server, connect } = await startServer({}, { drainTimeout: 20 });
    server.router.registerHandler('job_request', () => new Promise(() => {}));
    const crawler = await connect();
    crawler.socket.end(line(VALID.job_request));
    await crawler.closed;
    expect(server.router.statistics.running).toBe(1);
  });

  test('broadcasts to crawlers only', async () => {
    const { server, connect } = shared();
    const [crawler, app] = [await connect('c1'), await connect()];
    await app.subscribe();
    expect(await server.broadcast({ ...VALID.shutdown })).toEqual({ delivered: 1, failed: [] });
    await crawler.next('shutdown');
    await app.settled();
    expect(app.forwarded).toEqual([]);
  });

  test('stops when the handlers are through with what was sent', async () => {
    const { server, connect } = await startServer();
    let handled = 0;
    server.router.registerHandler('heartbeat', async () => {
      await new Promise((resolve) => setImmediate(resolve));
      handled++;
    });
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat).repeat(200));
    await crawler.settled();
    await server.stop();
    expect(handled).toBe(200);
  });

  test('stops within drainTimeout, whatever a handler does', async () => {
    const { server, connect } = await startServer({}, { drainTimeout: 20 });
    server.router.registerHandler('heartbeat', () => new Promise(() => {}));
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat));
    await crawler.settled();
    await server.stop();
    expect(server.router.statistics.running).toBe(1);
  });
});

describe('the default handlers', () => {
  const shared = shareServer();

  test('keep a crawler connected that another of its connections has replaced', async () => {
    const { server, connect } = shared();
    const known = server.fleet.crawlers.length;
    const old = await connect('k1');
    old.write(line(VALID.heartbeat));
    await old.settled();
    const removed = new Promise((resolve) => server.manager.once('connection_removed', resolve));
    const current = await connect('k1');
    await removed;
    const [connection] = server.getConnectionStats().connections;
    expect(server.fleet.crawlers.slice(known)).toMatchObject([
      { id: 'k1', isConnected: true, connectionId: connection?.id },
    ]);
    const gone = new Promise((resolve) => server.manager.once('connection_removed', resolve));
    await current.close();
    await gone;
    expect(server.fleet.crawlers.slice(known)).toMatchObject([{ id: 'k1', isConnected: false }]);
  });

  test('are emitted for each message of a crawler, with what is known of it', async () => {
    const { server, connect } = shared();
    const told: string[] = [];
    server.on('crawler_heartbeat', ({ crawler }) =>
      told.push(`${crawler.id} ${crawler.heartbeat?.systemStatus}`),
    );
    server.on('job_requested', ({ crawler }) => told.push(`${crawler.id} wants jobs`));
    server.on('job_started', ({ job }) => told.push(`${job.id} ${job.status}`));
    server.on('job_progress', ({ job }) => told.push(`${job.id} ${job.progress?.processed}`));
    server.on('job_completed', ({ job }) => told.push(`${job.id} ${job.completed?.success}`));
    server.on('job_failed', ({ job }) => told.push(`${job.id} ${job.failed?.error}`));
    server.on('entities_discovered', ({ message }) => told.push(`${message.data.entities.length} entities`));
    server.on('jobs_discovered', ({ jobId, message }) =>
      told.push(`${jobId} found priority ${message.data.discovered_jobs[0]?.priority}`),
    );
    server.on('token_refresh_requested', ({ jobId }) => told.push(`${jobId} token`));
    const crawler = await connect('c1');
    const {
      shutdown: _,
      job_assignment: __,
      job_response: ___,
      token_refresh_response: ____,
      job_cancel: _____,
      job_pause: ______,
      job_resume: _______,
      ...own
    } = VALID;
    crawler.write(Object.values(own).map(line).join(''));
    await crawler.settled();
    expect(told).toEqual([
      'c1 crawling',
      'c1 wants jobs',
      'job-1 started',
      'job-1 5',
      'job-1 true',
      'job-1 no',
      '1 entities',
      'job-1 found priority 1',
      'job-1 token',
    ]);
    expect(server.fleet.getJob('job-1')).toMatchObject({ status: 'failed', crawler: 'c1' });
    expect(server.router.statistics).toMatchObject({ errors: 0, unhandled: 0 });
  });

  test('have the state up to date before an application’s handlers', async () => {
    const { server, connect } = shared();
    const seen: unknown[] = [];
    server.router.registerHandler('job_progress', {
      priority: 100,
      handle: ({ message }) => seen.push(server.fleet.getJob(message.jobId ?? '')?.progress?.processed),
    });
    const crawler = await connect();
    crawler.write(line(VALID.job_progress));
    await crawler.settled();
    expect(seen).toEqual([5]);
  });

  test('know which crawlers are connected, also when one reconnects before its old connection closes', async () => {
    const { server, connect } = shared();
    const isConnected = () => server.fleet.getCrawler('c1')?.isConnected;
    const first = await connect('c1');
    first.write(line(VALID.heartbeat));
    await first.settled();
    const second = await connect('c1');
    second.write(line(VALID.job_request));
    await second.settled();
    await first.close();
    await until(() => server.getStatus().connections === 1);
    expect(isConnected()).toBe(true);
    await second.close();
    await until(() => server.getStatus().connections === 0);
    expect(isConnected()).toBe(false);
    expect(server.fleet.getCrawler('c1')?.heartbeat).toEqual(VALID.heartbeat.data);
  });

  test('are not set back by what an older connection sent, when that is handled late', async () => {
    const { server, connect } = shared();
    let open: () => void = () => {};
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    server.router.registerHandler('job_progress', () => opened);
    const beat = (activeJobs: number) =>
      line({ ...VALID.heartbeat, data: { ...VALID.heartbeat.data, activeJobs } });
    const jobId = 'late';
    const progress = line({ ...VALID.job_progress, jobId });
    const told: unknown[] = [];
    server.on('job_progress', ({ job }) => told.push(job.status));
    server.on('crawler_heartbeat', ({ crawler }) => told.push(crawler.heartbeat?.activeJobs));
    const old = await connect('late');
    old.write(progress + progress + beat(1));
    await old.settled();
    await old.close();
    const current = await connect('late');
    current.write(line({ ...VALID.job_completed, jobId }) + beat(9));
    await current.settled();
    open();
    await server.router.idle();
    expect(told).toEqual(['running', 9, 'completed', 9]);
    expect(server.fleet.getJob(jobId)).toMatchObject({ status: 'completed' });
    const { id } = server.manager.getConnectionPool().getCrawler('late') ?? {};
    expect(server.fleet.getCrawler('late')).toMatchObject({ isConnected: true, connectionId: id });
  });

  test('list a crawler as connected that has reconnected before its older messages are handled', async () => {
    const { server, connect } = await startServer({ maxConcurrent: 1 });
    let open: () => void = () => {};
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    server.router.registerHandler('discovery', () => opened);
    const busy = await connect('busy');
    busy.write(line(VALID.discovery));
    await busy.settled();
    const old = await connect('c1');
    old.write(line(VALID.heartbeat));
    await old.settled();
    const current = await connect('c1');
    open();
    await server.router.idle();
    const { id } = server.manager.getConnectionPool().getCrawler('c1') ?? {};
    expect(server.fleet.getCrawler('c1')).toMatchObject({ isConnected: true, connectionId: id });
    await current.close();
    await until(() => server.getStatus().connections === 1);
    expect(server.fleet.getCrawler('c1')).toMatchObject({ isConnected: false, connectionId: id });
  });

  test('are not set back by what is read late from an older connection', async () => {
    const { server, connect } = await startServer({ maxQueuedBytes: 1000 }, { maxConnectionBytes: 1024 });
    let open: () => void = () => {};
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    server.router.registerHandler('discovery', () => opened);
    const handled = vi.fn();
    server.on('job_progress', handled);
    const old = await connect('c1');
    const [connection] = server.manager.getConnectionPool().all();
    old.write(line(VALID.discovery).repeat(500) + line(VALID.job_progress));
    await until(() => connection?.isPaused === true && old.socket.writableLength === 0);
    await old.close();
    // The write fails: only then, the connection is not replaced, but read to its end.
    await until(() => {
      server.broadcast(VALID.shutdown).catch(() => {});
      return connection?.isOpen === false;
    });
    const current = await connect('c1');
    current.write(line(VALID.job_completed));
    await current.settled();
    expect(handled).not.toHaveBeenCalled();
    open();
    await until(() => handled.mock.calls.length > 0);
    expect(server.fleet.getJob('job-1')).toMatchObject({ status: 'completed' });
  });

  test('know a crawler that sends its hello later as one, and that it has disconnected', async () => {
    const { server, connect } = shared();
    const known = server.fleet.crawlers.length;
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat));
    await crawler.settled();
    const hello = (crawlerId: string) => crawler.say('hello', { role: 'crawler', crawlerId });
    hello('h1');
    crawler.write(line(VALID.job_request));
    await crawler.settled();
    expect(server.fleet.crawlers.slice(known)).toMatchObject([
      { id: 'h1', isConnected: true, heartbeat: VALID.heartbeat.data },
    ]);
    hello('h2');
    await crawler.settled();
    await crawler.close();
    await until(() => server.getStatus().connections === 0);
    expect(server.fleet.crawlers.slice(known)).toMatchObject([{ id: 'h1', isConnected: false }]);
  });

  test('do not count its disconnection as activity of a crawler', async () => {
    const { server, connect } = await startServer({ maxCrawlers: 2 });
    const beat = async (id: string) => {
      const crawler = await connect(id);
      crawler.write(line(VALID.heartbeat));
      await crawler.settled();
      return crawler;
    };
    const [first] = [await beat('c1'), await beat('c2')];
    await first.close();
    await until(() => server.getStatus().connections === 1);
    expect(server.fleet.crawlers.map(({ id }) => id)).toEqual(['c1', 'c2']);
    await beat('c3');
    expect(server.fleet.crawlers.map(({ id }) => id)).toEqual(['c2', 'c3']);
  });

  test('forget what was not heard of for the longest time, and start a job afresh', async () => {
    const { server, connect } = await startServer({ maxJobs: 2, maxCrawlers: 1 });
    const [one, two] = [await connect('c1'), await connect('c2')];
    const progress = (jobId: string) => line({ ...VALID.job_progress, jobId });
    one.write(progress('job-1') + progress('job-2') + progress('job-1') + progress('job-3'));
    await one.settled();
    expect(server.fleet.jobs.map(({ id }) => id)).toEqual(['job-1', 'job-3']);
    two.write(line(VALID.job_started));
    await two.settled();
    expect(server.fleet.crawlers.map(({ id }) => id)).toEqual(['c2']);
    expect(server.fleet.getJob('job-1')).toMatchObject({
      status: 'started',
      progress: undefined,
      crawler: 'c2',
    });
  });

  test('ignore messages that are not valid, with validation: report', async () => {
    const { server, connect } = await startServer({}, { validation: 'report' });
    const emitted = vi.fn();
    for (const event of ['crawler_heartbeat', 'job_progress', 'handler_error'] as const)
      server.on(event, emitted);
    const handled: boolean[] = [];
    server.router.registerHandler('*', ({ isValid }) => handled.push(isValid));
    const crawler = await connect('c1');
    const { timestamp } = VALID.heartbeat;
    crawler.write(line({ type: 'heartbeat', timestamp }));
    for (const jobId of [{ a: 1 }, 5, null, '']) {
      crawler.write(line({ ...VALID.job_progress, jobId }));
      crawler.write(line({ type: 'job_progress', timestamp, jobId: 'job-1', data: null }));
    }
    await crawler.settled();
    expect(handled).toEqual(new Array(9).fill(false));
    expect(emitted).not.toHaveBeenCalled();
    expect([...server.fleet.jobs, ...server.fleet.crawlers]).toEqual([]);
  });

  test('can be left out', async () => {
    const { server, connect } = await startServer({ defaultHandlers: false });
    const crawler = await connect();
    crawler.write(line(VALID.job_progress));
    await crawler.settled();
    expect(server.fleet.jobs).toEqual([]);
    expect(server.router.statistics.unhandled).toBe(1);
  });
});

test('bad options are rejected at once', () => {
  const rejection = expect.objectContaining({ code: 'INVALID_OPTION' });
  expect(() => new SocketServer({ backlog: 0 })).toThrow(rejection);
  expect(() => new SocketServer({}, { maxJobs: Number.NaN })).toThrow(rejection);
  expect(() => new SocketServer({}, { maxCrawlers: -1 })).toThrow(rejection);
});
