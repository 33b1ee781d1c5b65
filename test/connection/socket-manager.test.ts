import { once } from 'node:events';
import { existsSync, lstatSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { pino } from 'pino';
import { type HealthIssue, type MessageEvent, type Rejection, SocketManager } from 'sluice';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { startBroker, temporaryFolder, until } from '../support/broker.js';
import { changed, line, VALID } from '../support/messages.js';
import { Peer } from '../support/peer.js';

const logger = pino({ level: 'silent' });

describe('life', () => {
  test('starts, tells so, and stops', async () => {
    const socketPath = join(temporaryFolder(), 'broker.sock');
    const manager = new SocketManager({ socketPath, workers: { threads: 1 } }, { logger });
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

  test('can be started again after it has stopped', async () => {
    const { manager, connect } = await startBroker();
    await manager.stop();
    await manager.start();
    const peer = await connect();
    await peer.settled();
  });

  test('cannot be started twice', async () => {
    const { manager } = await startBroker();
    await expect(manager.start()).rejects.toMatchObject({ code: 'ALREADY_RUNNING' });
  });

  test('has no figures while it does not run', () => {
    const manager = new SocketManager({}, { logger });
    expect(() => manager.getMetrics()).toThrow(expect.objectContaining({ code: 'NOT_RUNNING' }));
  });

  test('stop waits for a start that is under way', async () => {
    const socketPath = join(temporaryFolder(), 'broker.sock');
    const manager = new SocketManager({ socketPath, workers: { threads: 1 } }, { logger });
    const starting = manager.start();
    await manager.stop();
    await starting;
    expect(manager.getStatus().state).toBe('stopped');
  });

  test('a schema module that cannot be loaded fails the start', async () => {
    const manager = new SocketManager({ schemas: '/nowhere.mjs' }, { logger });
    await expect(manager.start()).rejects.toMatchObject({ code: 'SCHEMA_MODULE_INVALID' });
    expect(manager.getStatus().state).toBe('stopped');
  });

  test('listens on TCP when it has a port and no path', async () => {
    const manager = new SocketManager({ port: 0, workers: { threads: 1 } }, { logger });
    await manager.start();
    const [host = '', port] = manager.getStatus().address?.split(':') ?? [];
    const peer = await Peer.connect({ host, port: Number(port) });
    const subscriber = await (await Peer.connect({ host, port: Number(port) })).subscribe();
    peer.write(line(VALID.heartbeat));
    await subscriber.next('heartbeat');
    await manager.stop();
    await peer.closed;
  });

  test('a port in use is refused clearly', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    const manager = new SocketManager({ port, workers: { threads: 1 } }, { logger });
    await expect(manager.start()).rejects.toMatchObject({
      code: 'ADDRESS_IN_USE',
      message: expect.stringContaining(`${port}`),
    });
    other.close();
  });
});

describe('the socket file', () => {
  test('of a live broker is left alone', async () => {
    const { socketPath, connect } = await startBroker();
    const second = new SocketManager({ socketPath, workers: { threads: 1 } }, { logger });
    await expect(second.start()).rejects.toMatchObject({
      code: 'ADDRESS_IN_USE',
      message: expect.stringContaining(socketPath),
    });
    const peer = await connect();
    await peer.settled();
  });

  test('that nobody listens on is replaced', async () => {
    const socketPath = join(temporaryFolder(), 'stale.sock');
    const { spawnSync } = await import('node:child_process');
    const script = `require('net').createServer().listen(${JSON.stringify(socketPath)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    expect(lstatSync(socketPath).isSocket()).toBe(true);
    const { connect } = await startBroker({ socketPath });
    await (await connect()).settled();
  });

  test('that is another kind of file is refused', async () => {
    const socketPath = join(temporaryFolder(), 'file');
    writeFileSync(socketPath, 'precious');
    const manager = new SocketManager({ socketPath, workers: { threads: 1 } }, { logger });
    await expect(manager.start()).rejects.toMatchObject({ code: 'SOCKET_PATH_INVALID' });
  });

  test('in a folder that is not there is refused', async () => {
    const manager = new SocketManager(
      { socketPath: '/nowhere/at/all.sock', workers: { threads: 1 } },
      { logger },
    );
    await expect(manager.start()).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
  });

  test('of a successor is not removed by the one before', async () => {
    const { manager, socketPath } = await startBroker();
    const { unlinkSync } = await import('node:fs');
    unlinkSync(socketPath);
    const successor = new SocketManager({ socketPath, workers: { threads: 1 } }, { logger });
    await successor.start();
    await manager.stop();
    expect(existsSync(socketPath)).toBe(true);
    await successor.stop();
    expect(existsSync(socketPath)).toBe(false);
  });
});

describe.each(['slab', 'copy'] as const)('messages, received by %s', (receive) => {
  test('reach a subscriber byte for byte, each with one newline', async () => {
    const { connect } = await startBroker({ receive });
    const subscriber = await (await connect()).subscribe();
    const crawler = await connect();
    const odd =
      '{"extra":1.50, "type":"job_request","timestamp":"2026-01-01T00:00:00Z","data":{ }, "z":"\\u00e9é"}';
    crawler.write(`${odd}\r\n\n${odd}${odd}\n`);
    await subscriber.count(4);
    expect(subscriber.lines.slice(1)).toEqual([odd, odd, odd]);
    expect(subscriber.partial).toBe('');
  });

  test('an undelimited message is delivered at once', async () => {
    const { connect } = await startBroker({ receive });
    const subscriber = await (await connect()).subscribe();
    const crawler = await connect();
    for (const job of ['job-a', 'job-b']) {
      crawler.write(JSON.stringify({ ...VALID.job_progress, jobId: job }));
      await subscriber.next(({ jobId }) => jobId === job);
    }
  });

  test('bad ones are answered with code and line, and the next is delivered', async () => {
    const { connect } = await startBroker({ receive, maxMessageSize: 1000 });
    const subscriber = await (await connect()).subscribe();
    const crawler = await connect();
    const bad: [string | Buffer, string][] = [
      ['junk', 'INVALID_JSON'],
      [Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 'INVALID_UTF8'],
      [JSON.stringify(changed('heartbeat', { activeJobs: 'CANARY' })), 'SCHEMA_VIOLATION'],
      [JSON.stringify(changed('heartbeat', { activeJobs: -1 })), 'RULE_VIOLATION'],
      ['{"type":"CANARY"}', 'UNKNOWN_TYPE'],
      [`{"a":"${'x'.repeat(2000)}"}`, 'MESSAGE_TOO_LARGE'],
      [`{"type":"heartbeat","a":${'['.repeat(400)}${']'.repeat(400)}}`, 'MESSAGE_TOO_DEEP'],
      ['{"__proto__":{"CANARY":1}}', 'FORBIDDEN_KEY'],
    ];
    for (const [index, [message, code]] of bad.entries()) {
      crawler.write(message);
      crawler.write(`\n${line({ ...VALID.job_progress, jobId: `good-${index}` })}`);
      const error = await crawler.next(({ type, data }) => type === 'error' && data.line === index * 2 + 1);
      expect(error.data.code).toBe(code);
      await subscriber.next(({ jobId }) => jobId === `good-${index}`);
    }
    expect(crawler.errors).toEqual(bad.map(([, code]) => code));
    expect(crawler.lines.join('\n')).not.toContain('CANARY');
    expect(subscriber.forwarded).toHaveLength(bad.length);
  });

  test('of a peer that closes its side are all delivered, the last without newline too', async () => {
    const { connect } = await startBroker({ receive, framing: 'ndjson' });
    const subscriber = await (await connect()).subscribe();
    const crawler = await connect();
    crawler.socket.end(line(VALID.heartbeat).repeat(1000) + JSON.stringify(VALID.job_completed));
    await subscriber.next('job_completed');
    expect(subscriber.forwarded).toHaveLength(1001);
    await crawler.closed;
  });
});

describe('control messages', () => {
  test('hello is answered with a welcome', async () => {
    const { manager, connect } = await startBroker();
    const peer = await connect();
    peer.say('hello', {
      role: 'crawler',
      crawlerId: 'crawler-7',
      protocolVersion: '1.2.0',
      capabilities: ['x'],
    });
    const { data } = await peer.next('welcome');
    expect(data).toMatchObject({
      protocolVersion: '1.0.0',
      maxMessageSize: 1 << 20,
      heartbeatInterval: 5000,
      heartbeatTimeout: 30_000,
    });
    const connection = manager.getConnectionPool().get(String(data.connectionId));
    expect(connection?.metadata).toMatchObject({
      crawlerId: 'crawler-7',
      role: 'crawler',
      version: '1.2.0',
      capabilities: ['x'],
    });
    expect(connection?.state).toBe('authenticated');
  });

  test.each(['2.0.0', '0.9.0', 'one'])(
    'version %s is refused, and the connection closed',
    async (protocolVersion) => {
      const { connect } = await startBroker();
      const peer = await connect();
      peer.say('hello', { role: 'app', protocolVersion });
      await peer.closed;
      expect(peer.errors).toEqual(['UNSUPPORTED_VERSION']);
    },
  );

  test('ping is answered; subscribe and unsubscribe are confirmed', async () => {
    const { connect } = await startBroker();
    const peer = await connect();
    peer.write('{"type":"ping"}{"type":"subscribe","data":{"id":"x","types":["heartbeat"]}}');
    await peer.next('pong');
    await peer.next('subscribed');
    peer.write('{"type":"unsubscribe","data":{"id":"x"}}\n');
    await peer.next('unsubscribed');
    (await connect()).write(line(VALID.heartbeat));
    await peer.settled();
    expect(peer.forwarded).toEqual([]);
  });

  test('a peer that is gone before its subscribe is settled leaves no subscription', async () => {
    const { manager, connect } = await startBroker();
    const member = await (await connect()).subscribe({ group: 'g' });
    for (let round = 0; round < 30; round++) {
      const peer = await connect();
      peer.say('ping');
      peer.say('subscribe', { id: 'x', group: 'g' });
      await new Promise((resolve) => setImmediate(resolve));
      await peer.close();
    }
    await until(() => manager.getConnectionPool().size === 1);
    await member.settled();
    expect(manager.getMetrics().protocol.subscriptions).toBe(1);
    (await connect()).write(line(VALID.heartbeat).repeat(100));
    while (member.forwarded.length < 100) await member.count(member.lines.length + 1);
  });

  test('a peer that does not read the answers to its pings is not read from', async () => {
    const { manager, connect } = await startBroker();
    const peer = await connect();
    peer.socket.pause();
    const pings = Buffer.from('{"type":"ping"}\n'.repeat(100_000));
    peer.write(pings);
    await until(() => manager.getConnectionPool().all()[0]?.isPaused === true);
    const [connection] = manager.getConnectionPool().all();
    expect(connection?.statistics.pendingBytes).toBeLessThan(16e6);
    peer.socket.resume();
    await peer.count(100_000);
  });

  test('a later subscribe that says nothing of overflow leaves it as it is', async () => {
    const { manager, connect } = await startBroker();
    await (await (await connect()).subscribe({ id: 'a', overflow: 'block' })).subscribe({ id: 'b' });
    expect(manager.getConnectionPool().all()[0]?.outbox.policy).toBe('block');
  });

  test('subscriptions are limited', async () => {
    const { connect } = await startBroker({ maxSubscriptions: 2 });
    const peer = await connect();
    for (const id of ['a', 'b', 'c', 'b']) peer.say('subscribe', { id });
    await peer.settled();
    expect(peer.errors).toEqual(['RATE_LIMITED']);
  });

  test('error replies are limited, and the others counted', async () => {
    const { manager, connect } = await startBroker({ maxErrorReplies: 3 });
    const peer = await connect();
    peer.write('junk\n'.repeat(100));
    await peer.settled();
    expect(peer.errors).toHaveLength(3);
    expect(manager.getMetrics().protocol).toMatchObject({
      errorReplies: 3,
      errorsUnanswered: 97,
      refused: { INVALID_JSON: 100 },
    });
  });

  test('too long messages in a row close the connection; a good one between starts the count anew', async () => {
    const { connect } = await startBroker({ maxMessageSize: 500, maxFramingErrors: 2 });
    const long = `{"a":"${'x'.repeat(600)}"}\n`;
    const peer = await connect();
    peer.write(long + line(VALID.job_request) + long);
    await peer.settled();
    peer.write(long + long);
    await peer.closed;
    expect(peer.errors).toEqual(Array(4).fill('MESSAGE_TOO_LARGE'));
  });

  test('heartbeats that come too fast are dropped and counted, where that is asked for', async () => {
    const { manager, connect } = await startBroker({ minHeartbeatInterval: 60_000 });
    const subscriber = await (await connect()).subscribe();
    const crawler = await connect();
    crawler.write(
      line(VALID.heartbeat) +
        line(VALID.job_started) +
        line(VALID.heartbeat).repeat(2) +
        line(VALID.job_completed),
    );
    await subscriber.next('job_completed');
    expect(subscriber.forwarded.map(({ type }) => type)).toEqual([
      'heartbeat',
      'job_started',
      'job_completed',
    ]);
    expect(manager.getMetrics().protocol.heartbeatsDropped).toBe(2);
  });
});

describe('applications', () => {
  test('a message goes to the crawler it names, and the job is then that crawler’s', async () => {
    const { connect } = await startBroker();
    const [app, one, two] = [await connect(), await connect(), await connect()];
    for (const [index, crawler] of [one, two].entries()) {
      crawler.say('hello', { role: 'crawler', crawlerId: `crawler-${index + 1}` });
      await crawler.next('welcome');
    }
    app.say('hello', { role: 'app' });
    app.write(line({ ...VALID.job_assignment, to: 'crawler-2' }));
    expect(await two.next('job_assignment')).toEqual({ ...VALID.job_assignment, to: 'crawler-2' });
    app.write(line(VALID.token_refresh_response));
    await two.next('token_refresh_response');
    app.write(line({ ...VALID.shutdown, to: '*' }));
    await one.next('shutdown');
    await two.next('shutdown');
    expect(one.forwarded).toHaveLength(1);
  });

  test('an application that speaks of a job does not take it from its crawler', async () => {
    const { connect } = await startBroker();
    const [app, crawler, other] = [await connect(), await connect(), await connect()];
    crawler.write(line(VALID.job_started));
    await crawler.settled();
    await other.settled();
    app.say('hello', { role: 'app' });
    app.write(line(VALID.job_started) + line(VALID.token_refresh_response));
    await crawler.next('token_refresh_response');
    await other.settled();
    expect(other.forwarded).toEqual([]);
  });

  test('an assignment is about the job that it assigns, whatever its envelope says', async () => {
    const { connect } = await startBroker();
    const [app, crawler, other] = [await connect(), await connect(), await connect()];
    crawler.say('hello', { role: 'crawler', crawlerId: 'crawler-1' });
    await Promise.all([crawler.settled(), other.settled()]);
    app.say('hello', { role: 'app' });
    app.write(
      line({ ...VALID.job_assignment, jobId: 'another', to: 'crawler-1' }) +
        line(VALID.token_refresh_response),
    );
    await crawler.next('token_refresh_response');
    await other.settled();
    expect(other.forwarded).toEqual([]);
  });

  test('job_response goes to the crawler that asked first', async () => {
    const { connect } = await startBroker();
    const [app, one, two] = [await connect(), await connect(), await connect()];
    app.say('hello', { role: 'app' });
    await app.settled();
    two.write(line(VALID.job_request));
    await two.settled();
    one.write(line(VALID.job_request));
    await one.settled();
    app.write(line(VALID.job_response));
    await two.next('job_response');
    app.write(line(VALID.job_response));
    await one.next('job_response');
  });

  test('a message that nobody can take is answered so', async () => {
    const { manager, connect } = await startBroker();
    const app = await connect();
    app.say('hello', { role: 'app' });
    app.write(line(VALID.job_assignment));
    const { data } = await app.next('error');
    expect(data).toMatchObject({ code: 'NO_RECIPIENT', messageType: 'job_assignment' });
    expect(manager.getMetrics().protocol.undeliverable).toBe(1);
  });

  test('its tokens are not shown to subscribers', async () => {
    const { connect } = await startBroker();
    const [app, monitor, crawler] = [await connect(), await connect(), await connect()];
    await monitor.subscribe({ types: ['*', 'job_assignment'] });
    app.say('hello', { role: 'app' });
    app.write(line(VALID.job_assignment));
    await crawler.next('job_assignment');
    await monitor.settled();
    expect(monitor.forwarded).toEqual([]);
  });
});

describe('refused messages', () => {
  test('go to subscribers of rejected, and to code, with a redacted sample', async () => {
    const { manager, connect } = await startBroker();
    const rejections: Rejection[] = [];
    manager.on('rejected', (rejection) => rejections.push(rejection));
    const watcher = await (await connect()).subscribe({ types: ['rejected'] });
    const ordinary = await (await connect()).subscribe();
    const app = await connect();
    app.write(line(changed('job_assignment', { job_type: 'steal', access_token: 'CANARY' })));
    const { data } = await watcher.next('rejected');
    expect(data).toMatchObject({ code: 'SCHEMA_VIOLATION', issues: [{ path: 'data.job_type' }] });
    expect(data.sample).toContain('"access_token":"***"');
    expect(rejections).toMatchObject([{ code: 'SCHEMA_VIOLATION', messageType: 'job_assignment', line: 1 }]);
    await ordinary.settled();
    expect(ordinary.forwarded).toEqual([]);
    expect(watcher.lines.join() + app.lines.join() + rejections[0]?.sample).not.toContain('CANARY');
  });
});

describe('code in the same process', () => {
  test('gets messages, parsed when it looks, with defaults filled in', async () => {
    const { manager, connect } = await startBroker();
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
    const { manager, connect } = await startBroker();
    const events: MessageEvent[] = [];
    manager.on('message', (event) => events.push(event));
    const crawler = await connect();
    for (let round = 0; round < 50; round++) {
      crawler.write(line({ ...VALID.job_progress, jobId: `job-${round}` }).repeat(100));
      await crawler.settled();
    }
    expect(events.every(({ message }, index) => message.jobId === `job-${Math.floor(index / 100)}`)).toBe(
      true,
    );
  });

  test('that throws stops nothing, and is told', async () => {
    const { manager, connect } = await startBroker();
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

  test('that throws while a connection changes its state wedges nothing', async () => {
    const { manager, connect } = await startBroker();
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
    await until(() => errors.length === 1);
    await crawler.settled();
    const [connection] = manager.getConnectionPool().all();
    expect(connection?.lane.pendingBytes).toBe(0);
    connection?.removeAllListeners('state_changed');
  });

  test('sends through a connection: checked first', async () => {
    const { manager, connect } = await startBroker();
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

  test('a send that the peer does not take times out', async () => {
    const { manager, connect } = await startBroker({ sendTimeout: 50 });
    const crawler = await connect();
    await crawler.settled();
    crawler.socket.pause();
    const [connection] = manager.getConnectionPool().all();
    const large = `${'x'.repeat(4 << 20)}\n`;
    await expect(connection?.sendRaw(large)).rejects.toMatchObject({ code: 'SEND_TIMEOUT' });
  });

  test('broadcasts, and is told how many got it', async () => {
    const { manager, connect } = await startBroker();
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

describe('the pool', () => {
  test('finds connections by what they are', async () => {
    const { manager, connect } = await startBroker();
    const pool = manager.getConnectionPool();
    const [app, crawler] = [await connect(), await connect()];
    app.say('hello', { role: 'app' });
    crawler.say('hello', { role: 'crawler', crawlerId: 'crawler-1' });
    crawler.write(line(VALID.heartbeat));
    await Promise.all([app.settled(), crawler.settled()]);
    const [first, second] = pool.all();
    first?.tags.add('blue');
    expect(pool.filter({ role: 'app' })).toEqual([first]);
    expect(pool.filter({ crawlerId: 'crawler-1', state: 'active' })).toEqual([second]);
    expect(pool.filter({ tag: 'blue' })).toEqual([first]);
    expect(pool.filter({ where: ({ lastHeartbeatAt }) => lastHeartbeatAt !== undefined })).toEqual([second]);
    expect(pool.active()).toHaveLength(2);
    expect(pool.statistics).toMatchObject({ size: 2, peak: 2, added: 2, byRole: { app: 1, crawler: 1 } });
    expect(second?.statistics).toMatchObject({ messagesReceived: 3, messagesRefused: 0, errors: 0 });
    expect(second?.metadata.lastHeartbeat).toBeInstanceOf(Date);
  });

  test('is limited: who comes too much is told, and counted', async () => {
    const { manager, connect } = await startBroker({ maxConnections: 2 });
    const refused: unknown[] = [];
    manager.on('connection_rejected', (event) => refused.push(event));
    const inside = [await connect(), await connect()];
    for (const peer of inside) await peer.settled();
    const outside = await connect();
    await outside.closed;
    expect(outside.errors).toEqual(['MAX_CONNECTIONS']);
    expect(refused).toEqual([{ code: 'MAX_CONNECTIONS', connections: 2 }]);
    expect(manager.getConnectionPool().statistics).toMatchObject({ size: 2, refused: 1 });
    await inside[0]?.close();
    await until(() => manager.getConnectionPool().size === 1);
    await (await connect()).settled();
  });

  test('tells of connections that come and go', async () => {
    const { manager, connect } = await startBroker();
    const log: string[] = [];
    manager.on('connection_added', ({ connection }) => log.push(`added ${connection.id}`));
    manager.on('connection_removed', ({ connectionId, reason }) =>
      log.push(`removed ${connectionId} ${reason}`),
    );
    const peer = await connect();
    await peer.settled();
    const id = manager.getConnectionPool().all()[0]?.id;
    peer.socket.end();
    await peer.closed;
    await until(() => log.length === 2);
    expect(log).toEqual([`added ${id}`, `removed ${id} peer`]);
  });
});

describe('health', () => {
  test('a crawler that falls silent is closed and counted; one that pings is not', async () => {
    const { manager, connect } = await startBroker({
      heartbeatInterval: 20,
      heartbeatTimeout: 600,
      healthCheckInterval: 20,
    });
    const warnings: HealthIssue[] = [];
    manager.on('health_warning', (issue) => warnings.push(issue));
    const [silent, lively] = [await connect(), await connect()];
    for (const peer of [silent, lively]) peer.write(line(VALID.heartbeat));
    const timer = setInterval(() => lively.say('ping'), 20);
    await silent.closed;
    clearInterval(timer);
    expect(lively.socket.destroyed).toBe(false);
    expect(manager.getStatus().health.dead).toBe(1);
    expect(warnings).toContainEqual(
      expect.objectContaining({ kind: 'heartbeat_missed', severity: 'critical' }),
    );
  });

  test('a subscriber may be silent', async () => {
    const { connect } = await startBroker({
      heartbeatInterval: 10,
      heartbeatTimeout: 20,
      connectionTimeout: 50,
      healthCheckInterval: 10,
    });
    const subscriber = await (await connect()).subscribe();
    const other = await connect();
    await other.closed;
    await subscriber.settled();
  });
});

describe('slow subscribers', () => {
  const flood = Buffer.from(line(VALID.job_progress).repeat(5000));

  async function floodFrom(peer: Peer, blocks: number): Promise<void> {
    for (let index = 0; index < blocks; index++) peer.write(flood);
    await peer.settled();
  }

  test('disconnect: the slow one is closed, the others lose nothing', async () => {
    const { manager, connect } = await startBroker({ maxPendingBytes: 200_000 });
    const slow = await (await connect()).subscribe();
    const block = await (await connect()).subscribe({ overflow: 'block' });
    slow.socket.pause();
    await floodFrom(await connect(), 10);
    await block.count(50_001);
    slow.socket.resume();
    await slow.closed;
    await until(() => manager.getConnectionPool().size === 2);
    expect(slow.errors).toEqual(['SLOW_CONSUMER']);
    expect(slow.lines.at(-1)).toContain('SLOW_CONSUMER');
    // What it did not get, after it fell behind, is what was dropped and what came after it was given up.
    expect(manager.getMetrics().totals.messagesDropped).toBeGreaterThan(0);
    expect(slow.forwarded.length + manager.getMetrics().totals.messagesDropped).toBeLessThanOrEqual(50_000);
  });

  test.each(['drop-oldest', 'drop-newest'] as const)(
    '%s: messages are dropped, counted and reported',
    async (overflow) => {
      const { manager, connect } = await startBroker({ maxPendingBytes: 200_000 });
      const slow = await (await connect()).subscribe({ overflow });
      slow.socket.pause();
      await floodFrom(await connect(), 10);
      slow.socket.resume();
      await slow.settled();
      const { messagesDropped } = manager.getMetrics().totals;
      expect(messagesDropped).toBeGreaterThan(0);
      expect(slow.forwarded.length + messagesDropped).toBe(50_000);
      expect(slow.errors).toContain('SLOW_CONSUMER');
    },
  );

  test('block: publishers wait, and nothing is lost', async () => {
    const { manager, connect } = await startBroker({ maxPendingBytes: 200_000 });
    const slow = await (await connect()).subscribe({ overflow: 'block' });
    slow.socket.pause();
    const crawler = await connect();
    const flooding = floodFrom(crawler, 40);
    await until(() => manager.getMetrics().flow.isPaused);
    slow.socket.resume();
    await flooding;
    await slow.count(200_001);
    expect(slow.forwarded).toHaveLength(200_000);
    expect(manager.getMetrics().flow).toMatchObject({ isPaused: false, blockedSubscribers: 0 });
  });

  test('a block subscriber that goes away lets the publishers go on', async () => {
    const { manager, connect } = await startBroker({ maxPendingBytes: 200_000 });
    const slow = await (await connect()).subscribe({ overflow: 'block' });
    slow.socket.pause();
    const flooding = floodFrom(await connect(), 40);
    await until(() => manager.getMetrics().flow.isPaused);
    await slow.close();
    await flooding;
    expect(manager.getMetrics().memory.heldBytes).toBe(0);
  });

  test('who takes nothing for stallTimeout is closed', async () => {
    const { manager, connect } = await startBroker({ stallTimeout: 100, healthCheckInterval: 20 });
    const slow = await (await connect()).subscribe({ overflow: 'drop-newest' });
    slow.socket.pause();
    await floodFrom(await connect(), 10);
    await until(() => manager.getConnectionPool().size === 1);
  });
});

describe('stopping', () => {
  test('delivers what was received, and tells peers why', async () => {
    const { manager, connect } = await startBroker();
    const subscriber = await (await connect()).subscribe();
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat).repeat(20_000));
    await subscriber.count(2);
    await manager.stop();
    await subscriber.closed;
    expect(subscriber.errors).toEqual(['SHUTTING_DOWN']);
    expect(crawler.errors).toEqual(['SHUTTING_DOWN']);
    expect(subscriber.forwarded.length).toBeGreaterThan(0);
    expect(subscriber.partial).toBe('');
  });

  test('counts what it could not deliver in drainTimeout', async () => {
    const { manager, connect } = await startBroker({ drainTimeout: 100 });
    const stuck = await (await connect()).subscribe();
    stuck.socket.pause();
    const crawler = await connect();
    crawler.write(line(VALID.job_progress).repeat(20_000));
    await crawler.settled();
    const stopped = once(manager, 'server_stopped');
    await manager.stop();
    const [event] = (await stopped) as [{ undelivered: number }];
    expect(event.undelivered).toBeGreaterThan(0);
  });
});

test('custom schemas travel like the protocol’s own', async () => {
  const schemas = new URL('../support/custom-schemas.mjs', import.meta.url);
  const { connect } = await startBroker({ schemas });
  const subscriber = await (await connect()).subscribe({ types: ['page_*'] });
  const crawler = await connect();
  crawler.write(line({ type: 'page_fetched', url: 'https://example.com', bytes: 5 }));
  expect(await subscriber.next('page_fetched')).toMatchObject({ bytes: 5 });
  crawler.write(line({ type: 'page_fetched', url: 'https://example.com', bytes: -5 }));
  expect((await crawler.next('error')).data).toMatchObject({
    code: 'RULE_VIOLATION',
    messageType: 'page_fetched',
  });
});
