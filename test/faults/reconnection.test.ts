// Brokers that go away under a client: stopped, killed, replaced by one that does not want it.

import { once } from 'node:events';
import { symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type ClientOptions, SluiceClient } from 'sluice/client';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { LIGHT, shareBroker, startPlainBroker, temporaryFolder, until } from '../support/broker.js';
import { type CliRun, sluice } from '../support/cli.js';
import { VALID } from '../support/messages.js';

const QUICK = { initialDelay: 5, maxDelay: 20 };

/** For tests in which no broker goes away. */
const shared = shareBroker(LIGHT);

async function connect(options: ClientOptions): Promise<SluiceClient> {
  const client = new SluiceClient({ reconnect: QUICK, ...options });
  onTestFinished(() => void client.close(0));
  return client.connect();
}

async function serve(socketPath: string): Promise<CliRun> {
  const broker = sluice(['serve', '--socket', socketPath, '--workers', '1', '--patterns', 'off']);
  await broker.says('"msg":"listening"');
  return broker;
}

/** Resolves when all that the client has subscribed to is subscribed on its present connection. */
async function subscribed(client: SluiceClient): Promise<void> {
  if (client.state !== 'connected') await once(client, 'connected');
  const probe = await client.subscribe({ types: ['job_failed'] }, () => {});
  await probe.unsubscribe();
}

/**
 * A broker, a subscriber, and a publisher in the middle of its work. A publisher finds its broker by a link that comes
 * back when the subscriber is there again: what nobody has subscribed to goes nowhere.
 */
class RestartedBroker {
  readonly folder = temporaryFolder();
  readonly socketPath = join(this.folder, 'broker.sock');
  readonly link = join(this.folder, 'for-publishers.sock');
  /** Numbers of the messages that the subscriber got, in order: at first, and after the restart. */
  readonly before: number[] = [];
  readonly after: number[] = [];
  /** How many were confirmed when the publisher lost its connection. */
  confirmed = 0;
  publisher!: SluiceClient;

  async run(count: number, signal: NodeJS.Signals): Promise<void> {
    const broker = await serve(this.socketPath);
    symlinkSync(this.socketPath, this.link);
    const app = await connect({ socketPath: this.socketPath, hello: { role: 'app' } });
    let received = this.before;
    app.on('connected', () => {
      received = this.after;
    });
    await app.subscribe({ types: ['job_started'], overflow: 'block' }, ({ message }) =>
      received.push(Number(String(message.jobId).slice(4))),
    );
    this.publisher = await connect({ socketPath: this.link, maxOutboxBytes: 512 * 1024 });
    this.publisher.once('disconnected', () => {
      this.confirmed = this.publisher.statistics.confirmed;
    });
    const publishing = this.#publish(count);
    await until(() => this.before.length > 1000 && this.publisher.statistics.confirmed > 0);
    unlinkSync(this.link);
    broker.child.kill(signal);
    await broker.exited;
    await startPlainBroker({ socketPath: this.socketPath });
    await subscribed(app);
    symlinkSync(this.socketPath, this.link);
    await publishing;
    await this.publisher.flush();
    await subscribed(app);
  }

  async #publish(count: number): Promise<void> {
    for (let number = 0; number < count; number++) {
      await this.publisher.publishAsync({ ...VALID.job_started, jobId: `job-${number}` });
    }
  }
}

const COUNT = 9000;
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);

describe('a broker that is restarted under load', () => {
  test('with SIGTERM: nothing that was published is lost, and the order is kept', async () => {
    const broker = new RestartedBroker();
    await broker.run(COUNT, 'SIGTERM');
    const { before, after, publisher } = broker;
    // Each life of the broker delivers a piece without gaps; the pieces meet or overlap.
    expect(before).toEqual(range(0, before.length));
    expect(after).toEqual(range(after[0] ?? 0, COUNT));
    expect(after[0]).toBeLessThanOrEqual(before.length);
    expect(after[0]).toBe(broker.confirmed);
    expect(publisher.statistics).toMatchObject({ confirmed: COUNT, unconfirmed: 0, connections: 2 });
  });

  test('with SIGKILL: what was not confirmed is sent again', async () => {
    const broker = new RestartedBroker();
    await broker.run(COUNT, 'SIGKILL');
    const { after, confirmed, publisher } = broker;
    expect(after).toEqual(range(confirmed, COUNT));
    expect(confirmed).toBeGreaterThan(0);
    expect(publisher.statistics.resent).toBeGreaterThan(0);
    expect(publisher.statistics).toMatchObject({ confirmed: COUNT, unconfirmed: 0 });
  });
});

describe('SluiceClient, when its broker is restarted', () => {
  test('sends hello, subscriptions, job requests and heartbeats again, and emits it', async () => {
    const { manager, socketPath } = await startPlainBroker();
    const told: string[] = [];
    const fields = () => ({ activeJobs: 0, totalProcessed: 0, systemStatus: 'idle' as const });
    const hello = { role: 'crawler', crawlerId: 'c1' } as const;
    const crawler = await connect({ socketPath, hello, heartbeat: { interval: 5, fields } });
    crawler.on('disconnected', ({ error }) => told.push(`disconnected ${error.code}`));
    crawler.once('reconnecting', ({ attempt }) => told.push(`reconnecting ${attempt}`));
    crawler.on('connected', ({ isReconnect, welcome }) =>
      told.push(`connected ${isReconnect} ${welcome?.protocolVersion}`),
    );
    const jobs = crawler.requestJobs();
    const app = await connect({ socketPath, hello: { role: 'app' } });
    const beats = await app.subscribe({ types: ['heartbeat', 'job_request'], crawlerIds: ['c1'] });
    await beats.next();
    const lost = Promise.all([once(app, 'disconnected'), once(crawler, 'disconnected')]);
    await manager.stop();
    await lost;
    expect(crawler.state).toBe('reconnecting');
    await startPlainBroker({ socketPath });
    await subscribed(app);
    await until(() => crawler.state === 'connected');
    while (beats.queuedBytes > 0) await beats.next();
    for await (const { type } of beats) if (type === 'heartbeat') break;
    app.publishRaw(JSON.stringify(VALID.job_response));
    expect((await jobs).type).toBe('job_response');
    expect(told).toEqual(['disconnected SHUTTING_DOWN', 'reconnecting 1', 'connected true 1.0.0']);
  });

  test('subscribes when it is back, if it was asked while it was away', async () => {
    const { manager, socketPath } = await startPlainBroker();
    const app = await connect({ socketPath, hello: { role: 'app' } });
    await manager.stop();
    await until(() => app.state === 'reconnecting');
    const subscribing = app.subscribe({ types: ['heartbeat'] });
    const { connect: connectPeer } = await startPlainBroker({ socketPath });
    const subscription = await subscribing;
    (await connectPeer()).say('heartbeat', VALID.heartbeat.data);
    expect((await subscription.next()).value?.type).toBe('heartbeat');
  });

  test('retries a subscription that the next broker has no room for, and keeps the others', async () => {
    const { manager, socketPath } = await startPlainBroker();
    const app = await connect({ socketPath, hello: { role: 'app' } });
    const kept = await app.subscribe({ types: ['discovery'] });
    const retried = await app.subscribe({ types: ['heartbeat'] });
    const codes: string[] = [];
    app.on('rejected', ({ code }) => codes.push(code));
    await manager.stop();
    const next = await startPlainBroker({ socketPath, maxSubscriptions: 1 });
    await until(() => codes.includes('RATE_LIMITED'));
    const crawler = await next.connect();
    crawler.say('discovery', VALID.discovery.data);
    expect((await kept.next()).value?.type).toBe('discovery');
    await kept.unsubscribe();
    await until(() => next.manager.getMetrics().protocol.subscriptions === 1);
    crawler.say('heartbeat', VALID.heartbeat.data);
    expect((await retried.next()).value?.type).toBe('heartbeat');
  });

  test('writes no more to a broker that is shutting down, and takes what still comes', async () => {
    const { manager, socketPath } = shared();
    const app = await connect({ socketPath, hello: { role: 'app' } });
    const types: string[] = [];
    const [connection] = manager.getConnectionPool().all();
    await app.subscribe({}, ({ type }) => types.push(type));
    const rejected = once(app, 'rejected');
    await connection?.sendRaw('{"type":"error","data":{"code":"SHUTTING_DOWN","message":""}}\n');
    await rejected;
    app.publishRaw(JSON.stringify(VALID.shutdown));
    await connection?.sendRaw(`${JSON.stringify(VALID.heartbeat)}\n`);
    await until(() => types.length === 1);
    expect(app.statistics).toMatchObject({ unconfirmed: 1, connections: 1 });
    connection?.destroy();
    await app.flush();
    expect(app.statistics).toMatchObject({ unconfirmed: 0, connections: 2, resent: 0 });
  });

  test('closes while disconnected: within its timeout, and returns the number of unconfirmed publications', async () => {
    const { manager, socketPath } = await startPlainBroker();
    const client = await connect({ socketPath });
    await manager.stop();
    await until(() => client.state === 'reconnecting');
    client.publish(VALID.heartbeat);
    expect(await client.close(10)).toBe(1);
    expect(client.state).toBe('closed');
  });

  test('rejects more than the outbox holds while it is away, and sends the rest when it is back', async () => {
    const { manager, socketPath } = await startPlainBroker();
    const client = await connect({ socketPath, maxOutboxBytes: 10_000 });
    await manager.stop();
    let taken = 0;
    let mayGoOn = true;
    const publish = () => {
      for (;;) {
        mayGoOn = client.publish(VALID.heartbeat);
        taken++;
      }
    };
    expect(publish).toThrow(expect.objectContaining({ code: 'OUTBOX_FULL' }));
    expect(mayGoOn).toBe(false);
    expect(client.statistics.outboxBytes).toBeLessThanOrEqual(10_000);
    await expect(client.publishAsync(VALID.heartbeat)).rejects.toMatchObject({ code: 'OUTBOX_FULL' });
    const drained = Promise.all([once(client, 'drain'), client.drained()]);
    const next = await startPlainBroker({ socketPath });
    let received = 0;
    next.manager.on('message', () => received++);
    await drained;
    await client.flush();
    expect(received).toBe(taken);
    expect(client.publish(VALID.heartbeat)).toBe(true);
  });
});

describe('SluiceClient, when the broker does not want it', () => {
  const auth = { tokens: { app: ['a-token-of-the-app'], crawler: ['a-token-of-crawlers'] } };
  const strict = shareBroker({ ...LIGHT, auth });

  test.each([
    ['UNAUTHORIZED', { role: 'app', token: 'another-long-token' }],
    ['UNAUTHORIZED', undefined],
    ['UNSUPPORTED_VERSION', { role: 'app', token: 'a-token-of-the-app', protocolVersion: '9.0.0' }],
  ] as const)('rejects with %s, and does not try again', async (code, hello) => {
    const { socketPath } = strict();
    const client = new SluiceClient({ socketPath, hello, reconnect: QUICK });
    const attempts = vi.fn();
    client.on('reconnecting', attempts);
    await expect(client.connect()).rejects.toMatchObject({ code });
    expect(client.state).toBe('idle');
    expect(attempts).not.toHaveBeenCalled();
  });

  test('gives up when a restarted broker rejects its token, for everyone who waits', async () => {
    const { manager, socketPath } = await startPlainBroker();
    const client = await connect({ socketPath, hello: { role: 'app' } });
    const attempts = vi.fn();
    client.on('reconnecting', attempts);
    const closed = once(client, 'closed');
    const waiting = Promise.allSettled([client.requestJobs(), (await client.subscribe()).next()]);
    await manager.stop();
    client.publishRaw(JSON.stringify(VALID.shutdown));
    const flushed = client.flush();
    const outcome = expect(flushed).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    await startPlainBroker({ socketPath, auth });
    expect((await closed)[0]).toMatchObject({ code: 'UNAUTHORIZED' });
    await outcome;
    expect(await waiting).toMatchObject([
      { reason: { code: 'UNAUTHORIZED' } },
      { reason: { code: 'UNAUTHORIZED' } },
    ]);
    const made = attempts.mock.calls.length;
    await new Promise((resolve) => setTimeout(resolve, QUICK.maxDelay * 3));
    expect(attempts).toHaveBeenCalledTimes(made);
  });

  test('gives up when a new auth setting requires a hello', async () => {
    const { manager, socketPath } = await startPlainBroker();
    const client = await connect({ socketPath });
    const closed = once(client, 'closed');
    manager.setAuth(auth);
    expect((await closed)[0]).toMatchObject({ code: 'UNAUTHORIZED' });
    expect(client.statistics).toMatchObject({ unconfirmed: 0, connections: 1 });
  });

  test('receives an error for a message that its role may not send, and stays connected', async () => {
    const { socketPath } = strict();
    const client = await connect({ socketPath, hello: { role: 'app', token: 'a-token-of-the-app' } });
    const rejected = once(client, 'rejected');
    client.publish(VALID.heartbeat);
    expect((await rejected)[0]).toMatchObject({ code: 'UNAUTHORIZED' });
    await client.flush();
    expect(client.state).toBe('connected');
  });

  test('comes back when the connection is lost right after a message of it was rejected', async () => {
    const { manager, socketPath } = strict();
    const client = await connect({ socketPath, hello: { role: 'app', token: 'a-token-of-the-app' } });
    client.requestJobs().catch(() => {});
    await once(client, 'rejected');
    const [connection] = manager.getConnectionPool().all();
    const [lost, back] = [once(client, 'disconnected'), once(client, 'connected')];
    connection?.destroy();
    expect((await lost)[0]).toMatchObject({ error: { code: 'CONNECTION_CLOSED' } });
    await back;
  });

  test.each([
    ['a message has come since', `${JSON.stringify(VALID.heartbeat)}\n`],
    ['the broker has answered since', ''],
  ])('does not take an old notice for the reason of a loss: %s', async (_, next) => {
    const { manager, socketPath } = shared();
    const client = await connect({ socketPath, hello: { role: 'app' } });
    const pings = () => manager.getMetrics().protocol.control.ping ?? 0;
    const pingsBefore = pings();
    const lines: string[] = [];
    client.on('line', (line) => lines.push(line.toString()));
    const [connection] = manager.getConnectionPool().all();
    // A broker that has dropped messages says so, and goes on.
    const notice = '{"type":"error","data":{"code":"SLOW_CONSUMER","message":""}}';
    await connection?.sendRaw(`${notice}\n${next}`);
    if (next !== '') await until(() => lines.length === 1);
    else await until(() => pings() === pingsBefore + 1);
    const lost = once(client, 'disconnected');
    connection?.destroy();
    expect((await lost)[0]).toMatchObject({ error: { code: 'CONNECTION_CLOSED' } });
  });
});

describe('the attempts to reconnect', () => {
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  test('come ever later, and end when there were enough', async () => {
    const { manager, socketPath } = await startPlainBroker();
    const reconnect = { initialDelay: 1000, maxDelay: 3000, retries: 3 };
    vi.spyOn(Math, 'random').mockReturnValue(1);
    const client = await connect({ socketPath, reconnect });
    const delays: number[] = [];
    let attempted = once(client, 'reconnecting');
    client.on('reconnecting', ({ delay }) => delays.push(delay));
    const closed = once(client, 'closed');
    // What the sockets do is not a timer's business.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    for (const connection of manager.getConnectionPool()) connection.destroy();
    await manager.stop();
    await attempted;
    for (const delay of [1000, 2000]) {
      attempted = once(client, 'reconnecting');
      vi.advanceTimersByTime(delay - 1);
      expect(delays.at(-1)).toBe(delay);
      vi.advanceTimersByTime(1);
      await attempted;
    }
    vi.advanceTimersByTime(3000);
    expect((await closed)[0]).toMatchObject({ code: 'CONNECTION_FAILED' });
    expect(delays).toEqual([1000, 2000, 3000]);
  });
});
