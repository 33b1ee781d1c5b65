import { once } from 'node:events';
import { type ReceivedMessage, SluiceClient } from 'sluice/client';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { ReceivedMessage as Message } from '#src/client/received-message.js';
import { Subscription } from '#src/client/subscription.js';
import { PAUSE } from '#src/connection/connection-state.js';
import { shareBroker, until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';
import { answerAsBroker, ScriptedBroker } from '../../support/scripted-broker.js';

async function connectApp(socketPath: string): Promise<SluiceClient> {
  const client = new SluiceClient({ socketPath, hello: { role: 'app' } });
  onTestFinished(() => void client.close(0));
  return client.connect();
}

const jobOf = ({ message }: ReceivedMessage) => message.jobId;
const started = (jobId: string) => line({ ...VALID.job_started, jobId });

const sharedBroker = shareBroker();

describe('Subscription', () => {
  test('is a loop over messages, in order; leaving it unsubscribes', async () => {
    const { socketPath, connect, manager } = sharedBroker();
    const app = await connectApp(socketPath);
    const subscription = await app.subscribe({ types: ['job_*'] });
    const crawler = await connect();
    crawler.write(started('job-1') + line(VALID.heartbeat) + started('job-2') + started('job-3'));
    const jobs: unknown[] = [];
    for await (const event of subscription) {
      expect(event.raw.toString()).toBe(JSON.stringify({ ...VALID.job_started, jobId: jobOf(event) }));
      jobs.push(jobOf(event));
      if (jobs.length === 2) break;
    }
    expect(jobs).toEqual(['job-1', 'job-2']);
    expect(manager.getMetrics().protocol.subscriptions).toBe(0);
    expect(await subscription.next()).toEqual({ done: true, value: undefined });
  });

  test('a slow loop stops reading: the broker sees a slow subscriber, and nothing is lost', async () => {
    const { socketPath, connect, manager } = sharedBroker();
    const app = await connectApp(socketPath);
    const subscription = await app.subscribe({ overflow: 'block', maxQueuedBytes: 10_000 });
    const crawler = await connect();
    const count = 20_000;
    crawler.write(line(VALID.heartbeat).repeat(count));
    await crawler.settled();
    const [connection] = manager.getConnectionPool().filter({ role: 'app' });
    expect(connection?.statistics.pendingBytes).toBeGreaterThan(1_000_000);
    // One read of the socket may come on top.
    expect(subscription.queuedBytes).toBeGreaterThanOrEqual(10_000);
    expect(subscription.queuedBytes).toBeLessThan(10_000 + 128 * 1024);
    let received = 0;
    for await (const _ of subscription) {
      if (++received === count) break;
    }
    expect(connection?.statistics.messagesDropped).toBe(0);
  });

  test('is full above its limit, until half of it is queued', async () => {
    const full: boolean[] = [];
    const owner = {
      onFull: (_: Subscription, isFull: boolean) => full.push(isFull),
      unsubscribe: async () => {},
      acknowledge: () => true,
      giveBack: () => {},
    };
    const subscription = new Subscription('s1', { maxQueuedBytes: 100 }, owner);
    for (const size of [1, 48, 1, 50]) subscription.push(new Message(Buffer.alloc(size)));
    expect(full).toEqual([]);
    subscription.push(new Message(Buffer.alloc(1)));
    expect(full).toEqual([true]);
    for (const queued of [100, 52, 51]) {
      await subscription.next();
      expect([subscription.queuedBytes, full.length]).toEqual([queued, 1]);
    }
    subscription.push(new Message(Buffer.alloc(0)));
    await subscription.next();
    expect([subscription.queuedBytes, full]).toEqual([1, [true, false]]);
    for (const size of [40, 59]) subscription.push(new Message(Buffer.alloc(size)));
    expect(full).toHaveLength(2);
  });

  test('a slow loop holds up no answers: others subscribe and end, and the loop itself may flush', async () => {
    const { socketPath, connect } = sharedBroker();
    const app = await connectApp(socketPath);
    const other = await app.subscribe({ types: ['job_failed'] });
    const slow = await app.subscribe({ types: ['heartbeat'], maxQueuedBytes: 1 });
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat).repeat(2000));
    await until(() => slow.queuedBytes > 0);
    await (await app.subscribe({ types: ['discovery'] })).unsubscribe();
    await other.return();
    let received = 0;
    for await (const _ of slow) {
      app.publish({ ...VALID.shutdown, to: '*' });
      if (received++ % 500 === 0) await app.flush();
      if (received === 2000) break;
    }
    expect(app.statistics.confirmed).toBeGreaterThanOrEqual(1500);
  });

  test('keeps no more of a read than the messages that wait', async () => {
    const { socketPath, connect } = sharedBroker();
    const app = await connectApp(socketPath);
    let beats = 0;
    await app.subscribe({ types: ['heartbeat'] }, () => beats++);
    const rare = await app.subscribe({ types: ['job_started'], meta: true });
    const crawler = await connect();
    crawler.write((line(VALID.heartbeat).repeat(500) + started('job-1')).repeat(10));
    crawler.write(line(VALID.heartbeat));
    await until(() => beats === 5001);
    for (let taken = 0; taken < 10; taken++) {
      const { value: event } = await rare.next();
      expect(event?.raw.buffer.byteLength).toBeLessThanOrEqual(16 * 1024);
      expect(`${event?.raw}\n`).toBe(started('job-1'));
    }
  });

  test('a slow loop stops reading again when the answer has come', async () => {
    const { socketPath, connect, manager } = sharedBroker();
    const app = await connectApp(socketPath);
    const slow = await app.subscribe({ types: ['heartbeat'], overflow: 'block', maxQueuedBytes: 1 });
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat).repeat(10_000));
    await until(() => slow.queuedBytes > 0);
    await app.subscribe({ types: ['discovery'] });
    const [connection] = manager.getConnectionPool().filter({ role: 'app' });
    crawler.write(line(VALID.heartbeat).repeat(10_000));
    await crawler.settled();
    expect(connection?.statistics.pendingBytes).toBeGreaterThan(1_000_000);
  });

  test('notices that the broker has ended although nothing is read', async () => {
    const { socketPath, connect, manager } = sharedBroker();
    const app = new SluiceClient({ socketPath, hello: { role: 'app' }, reconnect: false });
    await app.connect();
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    onTestFinished(() => void vi.useRealTimers());
    const slow = await app.subscribe({ types: ['heartbeat'], maxQueuedBytes: 1 });
    const closed = once(app, 'closed');
    (await connect()).write(line(VALID.heartbeat).repeat(10));
    await until(() => slow.queuedBytes > 0);
    const [connection] = manager.getConnectionPool().filter({ role: 'app' });
    connection?.destroy();
    await until(() => manager.getConnectionPool().size === 1);
    vi.advanceTimersByTime(5000);
    expect((await closed)[0]).toMatchObject({ code: 'CONNECTION_CLOSED' });
  });

  test('several of one client get each message that they want, once', async () => {
    const { socketPath, connect } = sharedBroker();
    const app = await connectApp(socketPath);
    const got: string[] = [];
    const note = (name: string) => (event: ReceivedMessage) => got.push(`${name} ${event.type}`);
    await app.subscribe({}, note('all'));
    await app.subscribe({ types: ['job_*'] }, note('jobs'));
    await app.subscribe({ types: ['job_started'], jobIds: ['job-2'] }, note('job-2'));
    await app.subscribe({ crawlerIds: ['c2'] }, note('c2'));
    await app.subscribe({ types: ['rejected'] }, note('rejected'));
    const crawler = await connect();
    crawler.say('hello', { role: 'crawler', crawlerId: 'c1' });
    crawler.write(`${line(VALID.heartbeat)}${started('job-1')}${started('job-2')}junk\n`);
    await until(() => got.length === 7);
    expect(got.sort()).toEqual([
      'all heartbeat',
      'all job_started',
      'all job_started',
      'job-2 job_started',
      'jobs job_started',
      'jobs job_started',
      'rejected rejected',
    ]);
  });

  test('has the sender of a message when it filters by crawler, and is not deceived by a message with the same keys', async () => {
    const { socketPath, connect } = sharedBroker();
    const app = await connectApp(socketPath);
    const others: ReceivedMessage[] = [];
    const subscription = await app.subscribe({ crawlerIds: ['zoë'] });
    await app.subscribe({}, (event) => others.push(event));
    const [zoe, liar] = [await connect(), await connect()];
    zoe.say('hello', { role: 'crawler', crawlerId: 'zoë' });
    liar.say('hello', { role: 'crawler', crawlerId: 'liar' });
    const lie = `{"from":"x","crawlerId":"zoë","seq":1,"message":{},${JSON.stringify(VALID.heartbeat).slice(1)}`;
    liar.write(`${lie}\n`);
    await until(() => others.length === 1);
    expect(others[0]).toMatchObject({ type: 'heartbeat', from: undefined, crawlerId: undefined });
    expect(others[0]?.raw.toString()).toBe(lie);
    zoe.write(line(VALID.discovery));
    const { value: event } = await subscription.next();
    expect(event).toMatchObject({
      type: 'discovery',
      crawlerId: 'zoë',
      sequence: 2,
      message: VALID.discovery,
    });
    expect(event?.raw.toString()).toBe(JSON.stringify(VALID.discovery));
  });

  test('does not get what was sent for another one that has just ended', async () => {
    const { socketPath, connect, manager } = sharedBroker();
    const app = await connectApp(socketPath);
    const got: string[] = [];
    await app.subscribe({ types: ['job_failed'] }, ({ type }) => got.push(type));
    const ended = await app.subscribe({ types: ['heartbeat'] });
    const [connection] = manager.getConnectionPool().all();
    const unsubscribing = ended.unsubscribe();
    // The broker sends these before it reads that nobody wants them.
    await connection?.sendRaw(line(VALID.heartbeat).repeat(3));
    await unsubscribing;
    (await connect()).write(line(VALID.job_failed));
    await until(() => got.includes('job_failed'));
    expect(got).toEqual(['job_failed']);
  });

  test('that is not confirmed in time is taken back, and nothing of it reaches another one', async () => {
    const { socketPath, manager } = sharedBroker();
    const app = new SluiceClient({ socketPath, hello: { role: 'app' }, requestTimeout: 200 });
    onTestFinished(() => void app.close(0));
    await app.connect();
    const got: string[] = [];
    await app.subscribe({ types: ['job_failed'] }, ({ type }) => got.push(type));
    const [connection] = manager.getConnectionPool().all();
    connection?.setPaused(PAUSE.SERVER, true);
    await expect(app.subscribe({ types: ['heartbeat'] })).rejects.toMatchObject({ code: 'REQUEST_TIMEOUT' });
    await connection?.sendRaw(line(VALID.heartbeat));
    connection?.setPaused(PAUSE.SERVER, false);
    await app.subscribe({ types: ['rejected'] });
    expect(got).toEqual([]);
    expect(manager.getMetrics().protocol.subscriptions).toBe(2);
  });

  test('a misspelt field is an error, and does not subscribe to everything', async () => {
    const { socketPath } = sharedBroker();
    const app = await connectApp(socketPath);
    const filter: object = { type: ['job_failed'] };
    await expect(app.subscribe(filter)).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining('type: unknown option; did you mean types?'),
    });
  });

  test('a group needs a client of its own', async () => {
    const { socketPath } = sharedBroker();
    const app = await connectApp(socketPath);
    await app.subscribe({ group: 'g' });
    await expect(app.subscribe()).rejects.toMatchObject({ code: 'INVALID_OPTION' });
    await expect(app.subscribe({ maxQueuedBytes: 0 })).rejects.toMatchObject({ code: 'INVALID_OPTION' });
  });

  test('ends when the client is closed, after what has come', async () => {
    const { socketPath, connect } = sharedBroker();
    const app = await connectApp(socketPath);
    const subscription = await app.subscribe();
    const crawler = await connect();
    crawler.write(started('job-1'));
    await until(() => subscription.queuedBytes > 0);
    await app.close();
    const jobs: unknown[] = [];
    for await (const event of subscription) jobs.push(jobOf(event));
    expect(jobs).toEqual(['job-1']);
    await expect(app.subscribe()).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' });
  });
});

describe('a subscription that the broker rejects after a reconnect', () => {
  const rejection = (code: string) =>
    JSON.stringify({ type: 'error', data: { code, message: '', messageType: 'subscribe' } });

  /** Subscribes to a broker that loses its connection, and then answers `subscribe` like this, in turn. */
  async function resubscribe(answers: readonly (string | undefined)[], listener?: () => void) {
    const broker = await ScriptedBroker.start();
    const left = ['confirm', ...answers];
    broker.answer = (message) => {
      const confirmation = answerAsBroker(message);
      if (message.type !== 'subscribe') return confirmation;
      if (left.length === 0) return `${confirmation}\n${line(VALID.heartbeat).trim()}`;
      const answer = left.shift();
      return answer === 'confirm' ? confirmation : answer;
    };
    const client = new SluiceClient({
      socketPath: broker.socketPath,
      hello: { role: 'app' },
      requestTimeout: 1000,
      reconnect: { initialDelay: 1, maxDelay: 5 },
    });
    onTestFinished(() => void client.close(0));
    await client.connect();
    const subscription = await client.subscribe({ last: true }, listener);
    broker.connections[0]?.destroy();
    return { broker, client, subscription };
  }

  const collectWarnings = () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on('warning', onWarning);
    onTestFinished(() => void process.off('warning', onWarning));
    return warnings;
  };

  test('for now: is requested again on the same connection', async () => {
    const warnings = collectWarnings();
    let received = 0;
    const { broker } = await resubscribe([rejection('RATE_LIMITED'), rejection('RATE_LIMITED')], () => {
      received++;
    });
    await until(() => received > 0);
    expect(broker.connections).toHaveLength(2);
    expect(broker.received.filter(({ type }) => type === 'subscribe')).toHaveLength(4);
    expect(warnings).toMatchObject([{ code: 'SLUICE_SUBSCRIPTION_REJECTED' }]);
  });

  test('or does not answer: is requested again on another connection', async () => {
    const warnings = collectWarnings();
    let received = 0;
    const { broker, client } = await resubscribe([undefined], () => received++);
    const lost: string[] = [];
    client.on('disconnected', ({ error }) => lost.push(error.code));
    await until(() => received > 0);
    expect(lost).toEqual(['CONNECTION_CLOSED', 'REQUEST_TIMEOUT']);
    expect(broker.received.filter(({ type }) => type === 'subscribe')).toHaveLength(3);
    expect(warnings).toEqual([]);
  });

  test('or does not answer because it is shutting down: the connection stays', async () => {
    const goodbye = JSON.stringify({ type: 'error', data: { code: 'SHUTTING_DOWN', message: '' } });
    const { broker, client } = await resubscribe([goodbye, undefined], () => {});
    await once(client, 'rejected');
    // The other request has timed out before.
    await expect(client.subscribe()).rejects.toMatchObject({ code: 'REQUEST_TIMEOUT' });
    expect(broker.connections).toHaveLength(2);
    expect(client.state).toBe('connected');
  });

  test('is not requested again once it is ended', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0);
    onTestFinished(() => void vi.restoreAllMocks());
    const { broker, client, subscription } = await resubscribe([rejection('RATE_LIMITED')], () => {});
    await once(client, 'rejected');
    await subscription.unsubscribe();
    await client.subscribe({ types: ['heartbeat'] });
    // Later than it would be.
    await new Promise((resolve) => setTimeout(resolve, 20));
    const requested = broker.received.filter(({ type }) => type === 'subscribe').map(({ data }) => data.id);
    expect(requested).toEqual(['s1', 's1', 's2']);
  });

  test('for good: a listener is reported, and a loop throws', async () => {
    const warnings = collectWarnings();
    const { subscription } = await resubscribe([rejection('RULE_VIOLATION')], () => {});
    await until(() => warnings.length > 0);
    expect(subscription.isEnded).toBe(true);
    expect(warnings).toMatchObject([{ name: 'SluiceWarning', code: 'SLUICE_SUBSCRIPTION_REJECTED' }]);
    const loop = await resubscribe([rejection('RULE_VIOLATION')]);
    await expect(loop.subscription.next()).rejects.toMatchObject({ code: 'RULE_VIOLATION' });
    const heard = await resubscribe([rejection('RULE_VIOLATION')], () => {});
    const [error] = await once(heard.client, 'rejected');
    expect(error).toMatchObject({ code: 'RULE_VIOLATION', messageType: 'subscribe' });
    await new Promise((resolve) => setImmediate(resolve));
    expect(warnings).toHaveLength(1);
  });
});
