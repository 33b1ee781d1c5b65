import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type ClientOptions, type ReceivedMessage, SluiceClient } from 'sluice/client';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { shareBroker, startPlainBroker, temporaryFolder, until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';
import { collectUncaught } from '../../support/uncaught.js';

async function connect(options: ClientOptions): Promise<SluiceClient> {
  const client = new SluiceClient(options);
  onTestFinished(() => void client.close(0));
  return client.connect();
}

const sharedBroker = shareBroker();

describe('SluiceClient', () => {
  test('sends hello, publishes and subscribes', async () => {
    const { socketPath } = sharedBroker();
    const app = await connect({ socketPath, hello: { role: 'app' } });
    expect(app.welcome).toMatchObject({ protocolVersion: '1.0.0' });
    const lines: string[] = [];
    app.on('line', (bytes) => lines.push(bytes.toString()));
    const subscription = await app.subscribe({ types: ['heartbeat'] }, () => {});
    const crawler = await connect({ socketPath });
    crawler.publish({ ...VALID.heartbeat });
    await until(() => lines.length === 1);
    expect(lines[0]).toBe(JSON.stringify(VALID.heartbeat));
    await subscription.unsubscribe();
    crawler.publish({ ...VALID.heartbeat });
    await crawler.flush();
    await app.subscribe({ types: ['job_failed'] });
    expect(lines).toHaveLength(1);
  });

  test('dates a message that has no timestamp, in the order of keys that the schema has', async () => {
    const { socketPath } = sharedBroker();
    const app = await connect({ socketPath, hello: { role: 'app' } });
    const subscription = await app.subscribe();
    const crawler = await connect({ socketPath });
    crawler.publish({ type: 'job_started', jobId: 'job-1', data: {} });
    const { value: event } = await subscription.next();
    expect(Object.keys(event?.message ?? {})).toEqual(['type', 'timestamp', 'jobId', 'data']);
    expect(Date.now() - Date.parse(String(event?.message.timestamp))).toBeLessThan(60_000);
  });

  test('keeps what is published before it connects', async () => {
    const { socketPath, manager } = sharedBroker();
    const types: string[] = [];
    manager.on('message', ({ type }) => types.push(type));
    const client = new SluiceClient({ socketPath });
    expect(client.state).toBe('idle');
    client.publish(VALID.heartbeat);
    await client.connect();
    expect(await client.close()).toBe(0);
    expect(types).toEqual(['heartbeat']);
  });

  describe('without a listener for rejections', () => {
    const collectWarnings = (): Error[] => {
      const warnings: Error[] = [];
      const onWarning = (warning: Error) => warnings.push(warning);
      process.on('warning', onWarning);
      onTestFinished(() => void process.off('warning', onWarning));
      return warnings;
    };

    test('counts them, and warns once, without content', async () => {
      const { socketPath } = sharedBroker();
      const client = await connect({ socketPath, hello: { role: 'crawler' } });
      const warnings = collectWarnings();
      client.publishRaw('NotForYou1\nNotForYou1\n{"type":"NotForYou1"}');
      await client.flush();
      client.publishRaw('NotForYou1');
      await client.flush();
      await new Promise((resolve) => setImmediate(resolve));
      expect(client.statistics.rejected).toBe(4);
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toMatchObject({ name: 'SluiceWarning', code: 'SLUICE_REJECTED' });
      expect(warnings[0]?.message).toMatch(/^The broker rejected messages: INVALID_JSON \(\d\)/);
      expect(JSON.stringify(warnings) + String(warnings[0])).not.toContain('NotForYou1');
    });

    test('does not count that another client has taken over its name, which `closed` reports', async () => {
      const { socketPath } = sharedBroker();
      const hello = { role: 'crawler', crawlerId: 'taken-over' } as const;
      const client = await connect({ socketPath, hello });
      const warnings = collectWarnings();
      const closed = once(client, 'closed');
      await connect({ socketPath, hello });
      expect(await closed).toMatchObject([{ code: 'REPLACED' }]);
      await new Promise((resolve) => setImmediate(resolve));
      expect(client.statistics.rejected).toBe(0);
      expect(warnings).toEqual([]);
    });

    test('does not count rejected requests, which their callers see, and with one does not warn', async () => {
      const { socketPath } = sharedBroker();
      const app = await connect({ socketPath, hello: { role: 'app' } });
      const warnings = collectWarnings();
      const types = ['x'.repeat(1000)];
      await expect(app.subscribe({ types })).rejects.toThrow();
      expect(app.statistics.rejected).toBe(0);
      app.on('rejected', () => {});
      app.publishRaw('junk');
      await app.flush();
      await new Promise((resolve) => setImmediate(resolve));
      expect(app.statistics.rejected).toBe(1);
      expect(warnings).toEqual([]);
    });
  });

  test('emits rejections, with the line among those that were published, before the flush', async () => {
    const { socketPath } = sharedBroker();
    const client = await connect({ socketPath, hello: { role: 'crawler' } });
    const rejected: unknown[] = [];
    client.on('rejected', ({ code, line }) => rejected.push([code, line]));
    client.publish(VALID.heartbeat);
    await client.flush();
    client.publishRaw(`${JSON.stringify(VALID.heartbeat)}\njunk\n{"type":"x"}`);
    await client.flush();
    client.publishRaw('junk');
    await client.flush();
    expect(rejected).toEqual([
      ['INVALID_JSON', 3],
      ['UNKNOWN_TYPE', 4],
      ['INVALID_JSON', 5],
    ]);
  });

  test('rejects what the broker rejects', async () => {
    const { socketPath } = await startPlainBroker({ maxSubscriptions: 1 });
    const client = await connect({ socketPath });
    await client.subscribe();
    await expect(client.subscribe()).rejects.toMatchObject({ code: 'RATE_LIMITED' });
    const hello = { role: 'crawler', crawlerId: '' } as const;
    await expect(new SluiceClient({ socketPath, hello }).connect()).rejects.toMatchObject({
      code: 'SCHEMA_VIOLATION',
      message: expect.stringContaining('data.crawlerId'),
    });
  });

  test('rejects when nobody listens, and can be asked again then', async () => {
    const { socketPath, manager } = await startPlainBroker();
    await manager.stop();
    const client = new SluiceClient({ socketPath });
    await expect(client.connect()).rejects.toMatchObject({
      code: 'CONNECTION_FAILED',
      message: expect.stringContaining(socketPath),
    });
    expect(client.state).toBe('idle');
    await startPlainBroker({ socketPath });
    await client.connect();
    await expect(client.connect()).rejects.toMatchObject({ code: 'ALREADY_RUNNING' });
    await client.close();
    await expect(client.connect()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' });
  });

  test('rejects when there is no room for another connection', async () => {
    const { socketPath } = await startPlainBroker({ maxConnections: 1 });
    await connect({ socketPath });
    await expect(new SluiceClient({ socketPath }).connect()).rejects.toMatchObject({
      code: 'MAX_CONNECTIONS',
    });
  });

  test('gives up what waits when it may not reconnect', async () => {
    const { manager, socketPath } = await startPlainBroker();
    const client = await connect({ socketPath, reconnect: false });
    const closed = new Promise((resolve) => client.once('closed', resolve));
    const jobs = client.requestJobs();
    const subscription = await client.subscribe();
    const next = subscription.next();
    const outcome = Promise.allSettled([jobs, next]);
    await manager.stop();
    expect(await closed).toMatchObject({ code: 'SHUTTING_DOWN' });
    expect(await outcome).toMatchObject([
      { reason: { code: 'SHUTTING_DOWN' } },
      { reason: { code: 'SHUTTING_DOWN' } },
    ]);
    expect(client.state).toBe('closed');
    expect(() => client.publish(VALID.heartbeat)).toThrow(
      expect.objectContaining({ code: 'CONNECTION_CLOSED' }),
    );
    await expect(client.publishAsync(VALID.heartbeat)).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' });
    await expect(client.requestJobs()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' });
    await expect(client.subscribe()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' });
  });

  test('closes after its messages are confirmed, and only once', async () => {
    const { manager, socketPath } = sharedBroker();
    let received = 0;
    manager.on('message', () => received++);
    const client = await connect({ socketPath });
    for (let index = 0; index < 5000; index++) client.publish(VALID.job_progress);
    const closing = client.close();
    expect(client.state).toBe('closing');
    expect(await Promise.all([closing, client.close()])).toEqual([0, 0]);
    expect(received).toBe(5000);
  });

  test('closes with everything confirmed, though a loop has left its messages', async () => {
    const { socketPath, connect: connectPlain } = sharedBroker();
    const app = await connect({ socketPath, hello: { role: 'app' } });
    const subscription = await app.subscribe({ maxQueuedBytes: 1 });
    const crawler = await connectPlain();
    crawler.write(line(VALID.heartbeat).repeat(5000));
    await until(() => subscription.queuedBytes > 0);
    app.publish({ ...VALID.shutdown, to: '*' });
    expect(await app.close()).toBe(0);
  });

  test('closes without confirmation when that does not arrive in time, and returns the number of unconfirmed publications', async () => {
    const { manager, socketPath } = await startPlainBroker();
    const client = await connect({ socketPath });
    for (const connection of manager.getConnectionPool()) connection.setPaused(2, true);
    client.publish(VALID.heartbeat);
    client.publish(VALID.heartbeat);
    expect(await client.close(20)).toBe(2);
  });

  test.each([
    ['says hello', { role: 'app' } as const],
    ['pings', undefined],
  ])('closes at once while it connects, when it %s and nobody answers', async (_, hello) => {
    const socketPath = join(temporaryFolder(), 'silent.sock');
    const peers: Socket[] = [];
    const server = createServer((socket) => peers.push(socket.resume()));
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
    onTestFinished(() => void server.close());
    const client = new SluiceClient({ socketPath, hello, requestTimeout: Number.POSITIVE_INFINITY });
    client.publish(VALID.heartbeat);
    const connecting = expect(client.connect()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' });
    await until(() => peers.length === 1);
    expect(await client.close()).toBe(1);
    await connecting;
    expect(client.state).toBe('closed');
    await until(() => peers[0]?.destroyed === true);
  });

  test('closes before the socket is connected, and nothing stays open', async () => {
    const { socketPath, manager } = sharedBroker();
    const client = new SluiceClient({ socketPath });
    const connecting = expect(client.connect()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' });
    expect(await client.close()).toBe(0);
    await connecting;
    await until(() => manager.getConnectionPool().size === 0);
  });

  test('puts lines together again, however they arrive', async () => {
    const { socketPath, manager } = sharedBroker();
    const app = await connect({ socketPath });
    const lines: string[] = [];
    app.on('line', (bytes) => lines.push(bytes.toString()));
    await app.subscribe({}, () => {});
    const [connection] = manager.getConnectionPool().all();
    const text = line({ ...VALID.discovery, note: 'é'.repeat(50) });
    for (const byte of Buffer.from(text)) await connection?.sendRaw(Buffer.of(byte));
    await until(() => lines.length === 1);
    expect(`${lines[0]}\n`).toBe(text);
  });

  test('shows a forwarded message that names its type twice', async () => {
    const { socketPath } = sharedBroker();
    const app = await connect({ socketPath });
    const events: ReceivedMessage[] = [];
    await app.subscribe({}, (event) => events.push(event));
    const odd = line(VALID.heartbeat).replace('{', '{"type":"welcome",');
    const crawler = await connect({ socketPath });
    crawler.publishRaw(odd);
    await until(() => events.length === 1);
    expect(`${events[0]?.raw}\n`).toBe(odd);
    expect(events[0]?.type).toBe('heartbeat');
  });

  test('continues when listeners throw: the others are called, messages emitted, and publications confirmed', async () => {
    const uncaught = collectUncaught();
    const { socketPath } = sharedBroker();
    const app = await connect({ socketPath, hello: { role: 'app' } });
    let received = 0;
    app.on('line', () => {
      throw new Error('of line');
    });
    await app.subscribe({}, () => {
      throw new Error('of subscribe');
    });
    await app.subscribe({}, () => received++);
    const crawler = await connect({ socketPath });
    crawler.on('rejected', () => {
      throw new Error('of rejected');
    });
    crawler.publishRaw(`${line(VALID.heartbeat).repeat(3)}junk\n`);
    await crawler.flush();
    await until(() => received === 3);
    const expected = ['of line', 'of subscribe'];
    expect(uncaught.toSorted()).toEqual([...expected, ...expected, ...expected, 'of rejected'].toSorted());
    expect(crawler.statistics.unconfirmed).toBe(0);
  });

  test.each<[object, string]>([
    [{ maxOutboxBytes: 0 }, 'maxOutboxBytes'],
    [{ pingInterval: -1 }, 'pingInterval'],
    [{ pingInterval: Number.POSITIVE_INFINITY }, 'pingInterval'],
    [{ pingTimeout: 0 }, 'pingTimeout'],
    [{ requestTimeout: -1 }, 'requestTimeout'],
    [{ requestTimeout: 2 ** 31 }, 'requestTimeout'],
    [{ reconnect: { initialDelay: Number.POSITIVE_INFINITY } }, 'initialDelay'],
    [{ reconnect: { retries: Number.NaN } }, 'retries'],
    [{ port: 65_536 }, 'port'],
    [{ port: 0 }, 'port'],
    [{ reconnect: { maxDelay: Number.NaN } }, 'maxDelay'],
    [{ heartbeat: { interval: 0, fields: () => VALID.heartbeat.data } }, 'heartbeat.interval'],
    [{ heartbeat: { fields: VALID.heartbeat.data } }, 'heartbeat.fields: must be a function'],
    [{ heartbeat: { field: () => VALID.heartbeat.data } }, 'heartbeat.field: unknown option'],
    [{ socketPth: '/tmp/x.sock' }, 'socketPth: unknown option; did you mean socketPath?'],
    [{ reconnect: { retrys: 3 } }, 'reconnect.retrys: unknown option; did you mean retries?'],
    [{ port: 1, tls: { cacert: '' } }, 'tls.cacert: unknown option'],
    [{ host: 'broker.example.org' }, 'host: needs port'],
    [{ socketPath: '/tmp/x.sock', port: 1 }, 'port: cannot be combined with socketPath'],
  ])('rejects the options %j', (options, name) => {
    expect(() => new SluiceClient(options)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION', message: expect.stringContaining(name) }),
    );
  });

  test('takes null for an option that is not set', () => {
    const options: object = { heartbeat: null, tls: null, hello: null, reconnect: null };
    expect(() => new SluiceClient(options)).not.toThrow();
  });
});

describe('a crawler', () => {
  test('gets applications’ messages as events, with defaults filled in', async () => {
    const { socketPath } = sharedBroker();
    const crawler = await connect({ socketPath, hello: { role: 'crawler', crawlerId: 'c1' } });
    const events: ReceivedMessage[] = [];
    crawler.on('message', (event) => events.push(event));
    const app = await connect({ socketPath, hello: { role: 'app' } });
    app.publish({ ...VALID.job_assignment, to: 'c1' });
    await until(() => events.length === 1);
    const [event] = events;
    expect(event?.is('job_assignment') && event.message.data.priority).toBe(1);
    expect(event?.raw.toString()).toBe(JSON.stringify({ ...VALID.job_assignment, to: 'c1' }));
  });

  test('asks for jobs, and gets the next assignment or response', async () => {
    const { socketPath } = sharedBroker();
    const app = await connect({ socketPath, hello: { role: 'app' } });
    const requests = await app.subscribe({ types: ['job_request'] });
    const crawler = await connect({ socketPath });
    const others: string[] = [];
    crawler.on('message', ({ type }) => others.push(type));
    const [first, second] = [crawler.requestJobs(), crawler.requestJobs()];
    await requests.next();
    app.publish({ ...VALID.shutdown, to: '*' });
    app.publishRaw(line(VALID.job_response));
    app.publish(VALID.job_assignment);
    expect((await first).type).toBe('job_response');
    const assignment = await second;
    expect(assignment.type === 'job_assignment' && assignment.data.job_id).toBe('job-1');
    expect(others).toEqual(['shutdown']);
  });

  test('is rejected at once when it may not request jobs', async () => {
    const auth = { tokens: { app: ['a-token-of-the-app'] } };
    const { socketPath } = await startPlainBroker({ auth });
    const app = await connect({ socketPath, hello: { role: 'app', token: 'a-token-of-the-app' } });
    const asked = app.requestJobs({ timeout: Number.POSITIVE_INFINITY });
    await expect(asked).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  });

  test('keeps a job that comes late or unasked for its next request, and no more of them than 16', async () => {
    const { socketPath } = sharedBroker();
    const app = await connect({ socketPath, hello: { role: 'app' } });
    const crawler = await connect({ socketPath, hello: { role: 'crawler', crawlerId: 'c1' } });
    await expect(crawler.requestJobs({ timeout: 5 })).rejects.toMatchObject({ code: 'REQUEST_TIMEOUT' });
    const misspelt: object = { timeOut: 5 };
    await expect(crawler.requestJobs(misspelt)).rejects.toMatchObject({ code: 'INVALID_OPTION' });
    const assignment = (number: number) => ({
      ...VALID.job_assignment,
      to: 'c1',
      data: { ...VALID.job_assignment.data, job_id: `job-${number}` },
    });
    const lines: Buffer[] = [];
    crawler.on('line', (bytes) => lines.push(bytes));
    for (let number = 1; number <= 17; number++) app.publish(assignment(number));
    await until(() => lines.length === 17);
    const ids: unknown[] = [];
    for (let number = 1; number <= 16; number++) {
      const message = await crawler.requestJobs({ timeout: 1 });
      ids.push(message.type === 'job_assignment' && message.data.job_id);
    }
    expect(ids).toEqual(Array.from({ length: 16 }, (_, index) => `job-${index + 1}`));
    await expect(crawler.requestJobs({ timeout: 5 })).rejects.toMatchObject({ code: 'REQUEST_TIMEOUT' });
    const heard: string[] = [];
    crawler.on('message', ({ type }) => heard.push(type));
    app.publish(assignment(18));
    await until(() => heard.length === 1);
    await expect(crawler.requestJobs({ timeout: 5 })).rejects.toMatchObject({ code: 'REQUEST_TIMEOUT' });
  });

  test('waits for jobs, for answers and for the end without a limit, if that is set', async () => {
    const requestTimeout = Number.POSITIVE_INFINITY;
    const { socketPath } = sharedBroker();
    const app = await connect({ socketPath, hello: { role: 'app' }, requestTimeout });
    const crawler = await connect({ socketPath });
    const requests = await app.subscribe({ types: ['job_request'] });
    const jobs = crawler.requestJobs({ timeout: Number.POSITIVE_INFINITY });
    await requests.next();
    await new Promise((resolve) => setTimeout(resolve, 10));
    app.publish(VALID.job_assignment);
    expect((await jobs).type).toBe('job_assignment');
    crawler.publishRaw(line(VALID.heartbeat).repeat(100));
    expect(await crawler.close(Number.POSITIVE_INFINITY)).toBe(0);
  });

  test.each([0, -1, Number.NaN, 2 ** 31])('does not wait for jobs for %d ms', async (timeout) => {
    const client = new SluiceClient();
    await expect(client.requestJobs({ timeout })).rejects.toMatchObject({ code: 'INVALID_OPTION' });
    if (timeout === 0) return;
    await expect(client.close(timeout)).rejects.toMatchObject({ code: 'INVALID_OPTION' });
    expect(client.state).toBe('idle');
  });

  test('leaves jobs to others once it has given up', async () => {
    const { socketPath } = sharedBroker();
    const app = await connect({ socketPath, hello: { role: 'app' } });
    const [first, second] = [await connect({ socketPath }), await connect({ socketPath })];
    const requests = await app.subscribe({ types: ['job_request'] });
    await expect(first.requestJobs({ timeout: 5 })).rejects.toMatchObject({ code: 'REQUEST_TIMEOUT' });
    // The broker counts the time from when it received the request.
    await requests.next();
    await new Promise((resolve) => setTimeout(resolve, 10));
    const jobs = second.requestJobs();
    const { value } = await requests.next();
    expect(value?.message.data).toEqual({ timeout_ms: 10_000 });
    app.publish({ ...VALID.job_assignment, to: 'any' });
    expect((await jobs).type).toBe('job_assignment');
  });

  test('that another with its crawlerId replaces is closed, and does not come back', async () => {
    const { manager, socketPath } = sharedBroker();
    const hello = { role: 'crawler', crawlerId: 'c1' } as const;
    const reconnect = { initialDelay: 1, maxDelay: 1 };
    const first = await connect({ socketPath, hello, reconnect });
    const log: string[] = [];
    first.on('rejected', ({ code }) => log.push(`rejected ${code}`));
    first.on('disconnected', ({ error }) => log.push(`disconnected ${error.code}`));
    first.on('reconnecting', () => log.push('reconnecting'));
    const jobs = first.requestJobs();
    const closed = new Promise<Error | undefined>((resolve) => first.once('closed', resolve));
    const second = await connect({ socketPath, hello, reconnect });
    expect(await closed).toMatchObject({ code: 'REPLACED' });
    await expect(jobs).rejects.toMatchObject({ code: 'REPLACED' });
    expect(log).toEqual(['rejected REPLACED', 'disconnected REPLACED']);
    expect(first.state).toBe('closed');
    await until(() => manager.getConnectionPool().size === 1);
    await second.flush();
    expect([second.state, second.statistics.connections]).toEqual(['connected', 1]);
  });

  test('waits for jobs no longer than its timeout', async () => {
    const { socketPath } = sharedBroker();
    const crawler = await connect({ socketPath });
    await expect(crawler.requestJobs({ timeout: 5 })).rejects.toMatchObject({ code: 'REQUEST_TIMEOUT' });
  });

  test('sends heartbeats by itself', async () => {
    const { socketPath, manager } = sharedBroker();
    const counts: number[] = [];
    manager.on('message', (event) => {
      if (event.is('heartbeat')) counts.push(event.message.data.activeJobs);
    });
    let activeJobs = 0;
    const fields = () => ({ activeJobs: activeJobs++, totalProcessed: 0, systemStatus: 'idle' as const });
    const crawler = await connect({ socketPath, heartbeat: { interval: 5, fields } });
    await until(() => counts.length >= 3);
    expect(counts.slice(0, 3)).toEqual([0, 1, 2]);
    await crawler.close();
    const sent = activeJobs;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(activeJobs).toBe(sent);
  });

  test('continues with heartbeats when one cannot be created, and connects anyway', async () => {
    const uncaught = collectUncaught();
    const { socketPath, manager } = sharedBroker();
    let beats = 0;
    manager.on('message', () => beats++);
    const fields = vi.fn(() => ({ activeJobs: 0, totalProcessed: 0, systemStatus: 'idle' as const }));
    fields.mockImplementationOnce(() => {
      throw new Error('of fields');
    });
    const client = new SluiceClient({ socketPath, heartbeat: { interval: 5, fields } });
    onTestFinished(() => void client.close(0));
    const connected = vi.fn();
    client.on('connected', connected);
    await client.connect();
    expect(connected).toHaveBeenCalledOnce();
    await until(() => beats >= 2);
    expect(uncaught).toEqual(['of fields']);
  });

  test('that speaks the plain protocol is served as before: no hello, no newlines, heartbeats', async () => {
    const {
      connect: connectPlain,
      manager,
      socketPath,
    } = await startPlainBroker({
      heartbeatInterval: 40,
      heartbeatTimeout: 80,
      healthCheckInterval: 20,
    });
    const app = await connect({ socketPath, hello: { role: 'app' } });
    const subscription = await app.subscribe({ meta: true });
    const plain = await connectPlain();
    let checks = 0;
    manager.on('health_summary', () => checks++);
    const timer = setInterval(() => plain.write(JSON.stringify(VALID.heartbeat)), 20);
    onTestFinished(() => clearInterval(timer));
    plain.write(JSON.stringify(VALID.job_started) + JSON.stringify(VALID.job_progress));
    const types: string[] = [];
    // Long enough for a silent crawler to be closed.
    for await (const event of subscription) {
      types.push(event.type);
      if (checks >= 10) break;
    }
    expect(types.filter((type) => type !== 'heartbeat')).toEqual(['job_started', 'job_progress']);
    app.publish(VALID.job_assignment);
    expect(await plain.next('job_assignment')).toEqual(VALID.job_assignment);
    expect(plain.errors).toEqual([]);
  });
});
