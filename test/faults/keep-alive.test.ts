// Brokers that are connected and do not answer.

import { once } from 'node:events';
import { type ClientOptions, SluiceClient } from 'sluice/client';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { KeepAlive } from '#src/client/keep-alive.js';
import { PAUSE } from '#src/connection/connection-state.js';
import { LIGHT, shareBroker, startPlainBroker, until } from '../support/broker.js';
import { shareBrokerProcess } from '../support/broker-process.js';
import { line, VALID } from '../support/messages.js';
import { Peer } from '../support/peer.js';
import { answerAsBroker, ScriptedBroker } from '../support/scripted-broker.js';

const IMPATIENT = { pingInterval: 50, pingTimeout: 50, reconnect: { initialDelay: 5, maxDelay: 20 } };
/** Times in which a broker answers though it has to share its processor. */
const PATIENT = { pingInterval: 200, pingTimeout: 800 };

async function connect(options: ClientOptions): Promise<SluiceClient> {
  const client = new SluiceClient({ ...IMPATIENT, ...options });
  onTestFinished(() => void client.close(0));
  return client.connect();
}

/** Resolves when a patient client has lost its connection to a silent broker. */
async function silence(): Promise<void> {
  const broker = await ScriptedBroker.start();
  broker.answer = (message) => (message.type === 'hello' ? answerAsBroker(message) : undefined);
  const client = await connect({ ...PATIENT, socketPath: broker.socketPath, hello: { role: 'app' } });
  await once(client, 'disconnected');
}

/** Keeps the event loop from turning. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

describe('KeepAlive', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate'] });
    return () => void vi.useRealTimers();
  });

  function keepAlive(pingInterval = 1000, pingTimeout = 500) {
    const events: string[] = [];
    const record = (name: string) => () => void events.push(name);
    const alive = new KeepAlive({ pingInterval, pingTimeout }, record('ping'), record('silent'));
    alive.start();
    return { alive, events };
  }

  test('pings after the interval, and reports silence after the timeout, once', () => {
    const { events } = keepAlive();
    vi.advanceTimersByTime(999);
    expect(events).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(events).toEqual(['ping']);
    vi.advanceTimersByTime(499);
    expect(events).toEqual(['ping']);
    vi.advanceTimersByTime(2);
    expect(events).toEqual(['ping', 'silent']);
    vi.advanceTimersByTime(10_000);
    expect(events).toEqual(['ping', 'silent']);
  });

  test('does not ping while anything is received', () => {
    const { alive, events } = keepAlive();
    for (let round = 0; round < 10; round++) {
      vi.advanceTimersByTime(900);
      alive.onReceived();
    }
    expect(events).toEqual([]);
    vi.advanceTimersByTime(1200);
    expect(events).toEqual(['ping']);
  });

  test('begins again when anything is received after a ping, though it is read at the last moment', () => {
    const { alive, events } = keepAlive();
    vi.advanceTimersByTime(1000);
    // Read in the same turn of the event loop in which the time ends.
    setTimeout(() => setImmediate(() => alive.onReceived()), 499);
    vi.advanceTimersByTime(1000);
    expect(events).toEqual(['ping']);
    vi.advanceTimersByTime(1000);
    expect(events).toEqual(['ping', 'ping']);
  });

  test('does nothing when it is off or stopped, and counts from the beginning when it is started again', () => {
    const off = keepAlive(0);
    const { alive, events } = keepAlive();
    vi.advanceTimersByTime(1400);
    alive.stop();
    // A read that was under way.
    alive.onReceived();
    vi.advanceTimersByTime(10_000);
    expect(events).toEqual(['ping']);
    alive.start();
    vi.advanceTimersByTime(999);
    expect(events).toEqual(['ping']);
    expect(off.events).toEqual([]);
    alive.stop();
    expect(vi.getTimerCount()).toBe(0);
  });
});

test('KeepAlive gives the broker some turns of the event loop, however long each of them takes', async () => {
  const events: string[] = [];
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const alive = new KeepAlive(
    { pingInterval: 5, pingTimeout: 5 },
    () => events.push('ping'),
    () => events.push('silent'),
  );
  onTestFinished(() => alive.stop());
  alive.start();
  while (events.length === 0) await turn();
  for (let turns = 0; turns < 4; turns++) {
    block(20);
    await turn();
  }
  expect(events).toEqual(['ping']);
  while (events.length === 1) await turn();
  expect(events).toEqual(['ping', 'silent']);
});

describe('SluiceClient', () => {
  const brokerProcess = shareBrokerProcess(['--patterns', 'off']);
  const shared = shareBroker(LIGHT);

  test('notices that its broker does not answer any more, and goes on with the next connection', async () => {
    const broker = await ScriptedBroker.start();
    const client = await connect({ socketPath: broker.socketPath, hello: { role: 'crawler' } });
    const events: string[] = [];
    client.on('disconnected', ({ error }) => events.push(error.code));
    client.on('reconnecting', () => events.push('reconnecting'));
    broker.answer = (message, connection) =>
      connection === broker.connections[0] ? undefined : answerAsBroker(message);
    client.publish({ ...VALID.heartbeat });
    const lost = once(client, 'disconnected');
    const [subscription] = await Promise.all([client.subscribe(), client.flush()]);
    expect(events.slice(0, 2)).toEqual(['CONNECTION_CLOSED', 'reconnecting']);
    expect((await lost)[0].error.message).toContain('50 ms');
    expect(subscription.isEnded).toBe(false);
    expect(client.statistics).toMatchObject({ unconfirmed: 0, resent: 1 });
  });

  test('delivers all that it has published, when its broker stands still for a while', async () => {
    const broker = brokerProcess();
    const { socketPath } = broker;
    const watcher = await (await Peer.connect(socketPath)).subscribe({ types: ['job_started'] });
    onTestFinished(() => void watcher.close());
    const client = await connect({ socketPath, requestTimeout: 1000 });
    const jobIds = Array.from({ length: 500 }, (_, number) => `job-${number}`);
    const events: string[] = [];
    for (const event of ['disconnected', 'reconnecting'] as const) client.on(event, () => events.push(event));
    const lost = once(client, 'reconnecting');
    process.kill(broker.pid, 'SIGSTOP');
    for (const jobId of jobIds) client.publish({ ...VALID.job_started, jobId });
    const settled = Promise.all([client.flush(), client.drained()]);
    await lost;
    expect(events).toEqual(['disconnected', 'reconnecting']);
    process.kill(broker.pid, 'SIGCONT');
    await settled;
    // They may come twice. What the broker has confirmed is on its way.
    await until(() => watcher.lines.at(-1)?.includes('"job-499"') === true);
    const received = new Set(watcher.forwarded.map(({ jobId }) => jobId));
    expect([...received]).toEqual(jobIds);
  });

  test('stays when its own event loop has stood still for longer than both times', async () => {
    const { socketPath } = brokerProcess();
    // So long that a busy broker answers in what is left of it.
    const pingTimeout = 2000;
    const client = await connect({ socketPath, hello: { role: 'app' }, pingTimeout });
    const lost = vi.fn();
    client.on('disconnected', lost);
    // Each is longer than the interval of pings; the last ones, than the time in which they must be answered.
    const tooLong = pingTimeout + 100;
    for (const time of [60, 60, 60, 60, 60, tooLong, tooLong]) {
      block(time);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await client.subscribe();
    expect(lost).not.toHaveBeenCalled();
  });

  test('stays while a loop of its own is behind and nothing is read', async () => {
    const { socketPath, connect: connectPeer } = shared();
    const app = await connect({ ...PATIENT, socketPath, hello: { role: 'app' } });
    const count = 5000;
    const slow = await app.subscribe({ overflow: 'block', maxQueuedBytes: 1000 });
    (await connectPeer()).write(line(VALID.heartbeat).repeat(count));
    await until(() => slow.queuedBytes > 0);
    await silence();
    expect(app.state).toBe('connected');
    expect(app.statistics.connections).toBe(1);
    let received = 0;
    for await (const _ of slow) if (++received === count) break;
  });

  test('keeps its pings apart from those that ask for confirmation, and from the count of lines', async () => {
    const { socketPath, manager } = shared();
    const client = await connect({ socketPath, pingInterval: 5, pingTimeout: 10_000 });
    const pings = () => manager.getMetrics().protocol.control.ping ?? 0;
    const rejected: unknown[] = [];
    client.on('rejected', (error) => rejected.push(error.line));
    for (let number = 1; number <= 5; number++) {
      const before = pings();
      await until(() => pings() > before + 2);
      client.publishRaw('junk');
      await client.flush();
      expect(client.statistics.confirmed).toBe(number);
    }
    expect(rejected).toEqual([1, 2, 3, 4, 5]);
  });

  test('does not wait for answers of a broker that is shutting down', async () => {
    const broker = await ScriptedBroker.start();
    const client = await connect({ ...PATIENT, socketPath: broker.socketPath, hello: { role: 'app' } });
    broker.answer = () => undefined;
    const rejected = once(client, 'rejected');
    broker.connections[0]?.write('{"type":"error","data":{"code":"SHUTTING_DOWN","message":""}}\n');
    await rejected;
    await silence();
    expect(client.state).toBe('connected');
  });

  test('stays when its broker does not read, because others hold it up', async () => {
    const { socketPath, manager } = await startPlainBroker({ healthCheckInterval: 10 });
    const app = await connect({ ...PATIENT, socketPath, hello: { role: 'app' } });
    await app.subscribe({ types: ['heartbeat'] });
    const crawler = await connect({ ...PATIENT, socketPath });
    for (const connection of manager.getConnectionPool()) connection.setPaused(PAUSE.SERVER, true);
    await silence();
    for (const connection of manager.getConnectionPool()) connection.setPaused(PAUSE.SERVER, false);
    expect([app.state, crawler.state]).toEqual(['connected', 'connected']);
    expect([app.statistics.connections, crawler.statistics.connections]).toEqual([1, 1]);
  });
});
