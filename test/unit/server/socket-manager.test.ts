import { once } from 'node:events';
import { existsSync, lstatSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { pino } from 'pino';
import { type MessageEvent, type ServerEvents, SocketManager } from 'sluice';
import { describe, expect, expectTypeOf, test } from 'vitest';
import {
  LIGHT,
  shareBroker,
  sharePlainBroker,
  startBroker,
  startPlainBroker,
  temporaryFolder,
  until,
} from '../../support/broker.js';
import { changed, line, VALID } from '../../support/messages.js';
import { Peer } from '../../support/peer.js';

const logger = pino({ level: 'silent' });

/** Listens to an event, and throws. Gives what `server_error` tells. */
function throwingListener(manager: SocketManager, name: keyof ServerEvents): unknown[] {
  const errors: unknown[] = [];
  manager.on(name, () => {
    throw new Error('mine');
  });
  manager.on('server_error', ({ error }) => errors.push(error));
  return errors;
}

describe('life', () => {
  test('starts, emits events, and stops', async () => {
    const socketPath = join(temporaryFolder(), 'broker.sock');
    const manager = new SocketManager({ socketPath, ...LIGHT }, { logger });
    const log: string[] = [];
    for (const name of ['server_started', 'server_listening', 'server_stopping', 'server_stopped'] as const) {
      manager.on(name, () => log.push(name));
    }
    expect(manager.getStatus()).toMatchObject({ state: 'stopped', address: undefined });
    expect(manager.isHealthy()).toBe(false);
    await manager.start();
    expect(manager.getStatus()).toMatchObject({ state: 'running', address: socketPath, connections: 0 });
    expect(manager.isHealthy()).toBe(true);
    expect(lstatSync(socketPath).mode & 0o777).toBe(0o600);
    await manager.stop('test');
    await manager.stop();
    expect(log).toEqual(['server_listening', 'server_started', 'server_stopping', 'server_stopped']);
    expect(existsSync(socketPath)).toBe(false);
    expect(manager.isHealthy()).toBe(false);
  });

  const running = shareBroker(LIGHT);

  test('can be started again after it has stopped', async () => {
    const { manager, connect } = running();
    await manager.stop();
    await manager.start();
    const peer = await connect();
    await peer.settled();
  });

  test('cannot be started twice', async () => {
    const { manager } = running();
    await expect(manager.start()).rejects.toMatchObject({ code: 'ALREADY_RUNNING' });
  });

  test('has no metrics while it is stopped', () => {
    const manager = new SocketManager({}, { logger });
    expect(() => manager.getMetrics()).toThrow(expect.objectContaining({ code: 'NOT_RUNNING' }));
  });

  test('stop waits for a start that is under way', async () => {
    const socketPath = join(temporaryFolder(), 'broker.sock');
    const manager = new SocketManager({ socketPath, ...LIGHT }, { logger });
    const starting = manager.start();
    await manager.stop();
    await starting;
    expect(manager.getStatus().state).toBe('stopped');
  });

  test('a start that has failed does not reach into the next one', async () => {
    const socketPath = join(temporaryFolder(), 'broker.sock');
    writeFileSync(socketPath, 'no socket');
    const manager = new SocketManager({ socketPath, ...LIGHT }, { logger });
    const failing = expect(manager.start()).rejects.toMatchObject({ code: 'SOCKET_PATH_INVALID' });
    await manager.stop();
    rmSync(socketPath);
    await manager.start();
    await failing;
    expect(manager.isHealthy()).toBe(true);
    const peer = await Peer.connect(socketPath);
    await peer.settled();
    await manager.stop();
    await peer.closed;
  });

  test('a schema module that cannot be loaded fails the start', async () => {
    const manager = new SocketManager({ schemas: '/nowhere.mjs' }, { logger });
    await expect(manager.start()).rejects.toMatchObject({ code: 'SCHEMA_MODULE_INVALID' });
    expect(manager.getStatus().state).toBe('stopped');
  });

  test('listens on TCP when it has a port and no path', async () => {
    const manager = new SocketManager({ port: 0, ...LIGHT }, { logger, validatesLocally: true });
    await manager.start();
    const [host = '', port] = manager.getStatus().address?.split(':') ?? [];
    const peer = await Peer.connect({ host, port: Number(port) });
    const subscriber = await (await Peer.connect({ host, port: Number(port) })).subscribe();
    peer.write(line(VALID.heartbeat));
    await subscriber.next('heartbeat');
    await manager.stop();
    await peer.closed;
  });

  test('a port in use is rejected clearly', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    const manager = new SocketManager({ port, ...LIGHT }, { logger });
    await expect(manager.start()).rejects.toMatchObject({
      code: 'ADDRESS_IN_USE',
      message: expect.stringContaining(`${port}`),
    });
    other.close();
  });
});

describe('code in the same process', () => {
  const shared = sharePlainBroker();

  test('gets messages, parsed when it looks, with defaults filled in', async () => {
    const { manager, connect } = shared();
    const events: MessageEvent[] = [];
    manager.on('message', (event) => events.push(event));
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat) + JSON.stringify(VALID.job_assignment) + line(VALID.jobs_discovered));
    await crawler.settled();
    expect(events.map(({ type, sequence }) => `${sequence} ${type}`)).toEqual([
      '1 heartbeat',
      '2 job_assignment',
      '3 jobs_discovered',
    ]);
    expect(events[0]?.raw.toString()).toBe(JSON.stringify(VALID.heartbeat));
    expect(events[0]?.message).toEqual(VALID.heartbeat);
    expect(events[1]?.message).toMatchObject({ data: { priority: 1, resume: false } });
    const [event] = events;
    if (event?.is('heartbeat')) expectTypeOf(event.message.data.activeJobs).toEqualTypeOf<number>();
    expect(event?.is('heartbeat')).toBe(true);
    expect(event?.is('shutdown')).toBe(false);
  });

  test('keeps what it was given, whatever comes after', async () => {
    const { manager, connect } = shared();
    const events: MessageEvent[] = [];
    manager.on('message', (event) => events.push(event));
    const crawler = await connect();
    for (let round = 0; round < 20; round++) {
      crawler.write(line({ ...VALID.job_progress, jobId: `job-${round}` }).repeat(100));
      await crawler.settled();
    }
    expect(events.every(({ message }, index) => message.jobId === `job-${Math.floor(index / 100)}`)).toBe(
      true,
    );
  });

  test('that throws stops nothing, and is reported', async () => {
    const { manager, connect } = shared();
    const errors: unknown[] = [];
    manager.on('message', () => {
      throw new Error('mine');
    });
    manager.on('server_error', ({ error }) => errors.push(error));
    const subscriber = await (await connect()).subscribe();
    (await connect()).write(line(VALID.heartbeat).repeat(3));
    await subscriber.count(4);
    await until(() => errors.length === 3);
    expect(errors[0]).toMatchObject({ message: 'mine' });
  });

  test('that throws while a connection changes its state wedges nothing, and its messages are delivered', async () => {
    const { manager, connect } = shared();
    const subscriber = await (await connect()).subscribe();
    const errors: unknown[] = [];
    manager.on('server_error', ({ error }) => {
      errors.push(error);
      throw new Error('and again');
    });
    manager.on('connection_added', ({ connection }) => {
      connection.on('state_changed', () => {
        throw new Error('mine');
      });
    });
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat));
    await subscriber.next('heartbeat');
    await crawler.settled();
    expect(errors).toEqual([expect.objectContaining({ message: 'mine' })]);
    const [, connection] = manager.getConnectionPool().all();
    expect(connection?.lane.pendingBytes).toBe(0);
  });

  test('that throws when a worker fails loses nothing, and the message that it died of is answered', async () => {
    const schemas = new URL('../../support/deadly-schemas.mjs', import.meta.url);
    const { manager, connect } = await startBroker({ ...LIGHT, schemas });
    const errors = throwingListener(manager, 'pool_error');
    const subscriber = await (await connect()).subscribe();
    const crawler = await connect();
    crawler.write(line({ type: 'deadly' }) + line(VALID.heartbeat));
    await subscriber.next('heartbeat');
    await crawler.settled();
    expect(crawler.errors).toEqual(['VALIDATION_FAILED']);
    expect(errors.length).toBeGreaterThan(0);
  });

  test('that throws when a connection comes or goes changes nothing for it', async () => {
    const { manager, connect } = shared();
    const comings = throwingListener(manager, 'connection_added');
    const goings = throwingListener(manager, 'connection_removed');
    const peer = await connect();
    await peer.settled();
    const [connection] = manager.getConnectionPool().all();
    const closed = new Promise((resolve) => connection?.on('closed', resolve));
    await peer.close();
    expect(await closed).toMatchObject({ reason: 'peer' });
    expect(manager.getConnectionPool().size).toBe(0);
    expect([comings, goings].map(({ length }) => length)).toEqual([2, 2]);
  });

  test('that throws at the start or the end does not keep the broker from either', async () => {
    const { manager } = await startPlainBroker();
    await manager.stop();
    const errors = throwingListener(manager, 'server_listening');
    for (const name of ['server_started', 'server_stopping', 'server_stopped'] as const) {
      throwingListener(manager, name);
    }
    await manager.start();
    await manager.stop();
    expect(manager.getStatus().state).toBe('stopped');
    // Each listener that is told sees all four.
    expect(errors).toHaveLength(4);
  });

  test('sends through a connection: checked first', async () => {
    const { manager, connect } = shared();
    const crawler = await connect();
    await crawler.settled();
    const [connection] = manager.getConnectionPool().all();
    await connection?.send({ ...VALID.job_assignment });
    expect(await crawler.next('job_assignment')).toEqual(VALID.job_assignment);
    const bad = changed('job_assignment', { access_token: 'CANARY' });
    await expect(connection?.send(bad as never)).rejects.toMatchObject({
      code: 'INVALID_MESSAGE',
      message: expect.not.stringContaining('CANARY'),
    });
    await connection?.disconnect();
    await expect(connection?.send({ ...VALID.shutdown })).rejects.toMatchObject({
      code: 'CONNECTION_CLOSED',
    });
  });

  test('a send that the peer does not take times out, and may still arrive', async () => {
    const { manager, connect } = await startPlainBroker({ sendTimeout: 50 });
    const crawler = await connect();
    await crawler.settled();
    crawler.socket.pause();
    const [connection] = manager.getConnectionPool().all();
    const large = `${'x'.repeat(4 << 20)}\n`;
    await expect(connection?.sendRaw(large)).rejects.toMatchObject({ code: 'SEND_TIMEOUT' });
    crawler.socket.resume();
    await crawler.count(2);
  });

  test('may close a connection as often as it likes: each call resolves when it is closed', async () => {
    const { manager, connect } = shared();
    const peer = await connect();
    await peer.settled();
    const [connection] = manager.getConnectionPool().all();
    const calls = Array.from({ length: 50 }, () => connection?.disconnect());
    expect(connection?.listenerCount('closed')).toBe(0);
    await Promise.all(calls);
    expect(connection?.state).toBe('disconnected');
    await connection?.disconnect();
    await peer.closed;
  });

  test('broadcasts, and returns the number of recipients', async () => {
    const { manager, connect } = shared();
    const pool = manager.getConnectionPool();
    const [app, one, two] = [await connect(), await connect(), await connect()];
    app.say('hello', { role: 'app' });
    one.write(line(VALID.heartbeat));
    await Promise.all([app.settled(), one.settled(), two.settled()]);
    expect(await pool.broadcast({ ...VALID.shutdown })).toEqual({ delivered: 3, failed: [] });
    expect(await pool.broadcastToCrawlers({ ...VALID.shutdown })).toEqual({ delivered: 2, failed: [] });
    expect((await pool.broadcastToActive({ ...VALID.shutdown })).delivered).toBe(3);
    await expect(pool.broadcast({ type: 'nonsense' })).rejects.toMatchObject({ code: 'INVALID_MESSAGE' });
    await app.settled();
    expect(app.forwarded).toHaveLength(2);
  });
});

describe('stopping', () => {
  test('delivers what was received, and notifies peers of the reason', async () => {
    const { manager, connect } = await startPlainBroker();
    const subscriber = await (await connect()).subscribe();
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat).repeat(10_000));
    await subscriber.count(2);
    await manager.stop();
    await subscriber.closed;
    expect(subscriber.errors).toEqual(['SHUTTING_DOWN']);
    expect(crawler.errors).toEqual(['SHUTTING_DOWN']);
    expect(subscriber.forwarded.length).toBeGreaterThan(0);
    expect(subscriber.partial).toBe('');
  });

  test('counts what it could not deliver in drainTimeout', async () => {
    const { manager, connect } = await startPlainBroker({ drainTimeout: 100 });
    const stuck = await (await connect()).subscribe();
    stuck.socket.pause();
    const crawler = await connect();
    crawler.write(line(VALID.job_progress).repeat(8000));
    await crawler.settled();
    const stopped = once(manager, 'server_stopped');
    await manager.stop();
    const [event] = (await stopped) as [{ undelivered: number }];
    expect(event.undelivered).toBeGreaterThan(0);
  });
});
