import { statSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import {
  type ConnectionEvent,
  ConnectionState,
  createSocketServer,
  type DropInSettings,
  getDefaultSocketServer,
  type MessageHandler,
  MessageRouter,
  type PoolEvent,
  type SocketConnection,
  SocketServer,
  type SocketServerConfig,
  type WebAppMessage,
} from 'sluice/drop-in';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { LIGHT, temporaryFolder, until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';
import { Peer } from '../../support/peer.js';
import { share } from '../../support/share.js';

const shutdown: WebAppMessage = {
  type: 'shutdown',
  timestamp: '2026-01-01T00:00:00Z',
  data: { graceful: true, timeout_seconds: 30 },
};
const CONNECTION_EVENTS = [
  'connected',
  'authenticated',
  'message',
  'heartbeat',
  'idle',
  'error',
  'disconnecting',
  'disconnected',
] as const satisfies readonly ConnectionEvent['type'][];
const POOL_EVENTS = [
  'connection_added',
  'connection_removed',
  'pool_capacity_reached',
] as const satisfies readonly PoolEvent['type'][];

interface Started {
  server: SocketServer;
  socketPath: string;
  lines: Record<string, unknown>[];
}

async function start(
  config: Partial<SocketServerConfig>,
  whenOver: (cleanUp: () => Promise<void> | void) => void,
  settings: DropInSettings = {},
): Promise<Started> {
  const socketPath = join(temporaryFolder(whenOver), 'server.sock');
  const lines: Record<string, unknown>[] = [];
  const stream = new Writable({
    write(text, _encoding, done) {
      lines.push(JSON.parse(String(text)));
      done();
    },
  });
  const server = new SocketServer({ ...LIGHT, socketPath, ...config }, { logger: pino(stream), ...settings });
  await server.start();
  whenOver(() => server.stop());
  return { server, socketPath, lines };
}

async function connectTo({ socketPath }: Started): Promise<Peer> {
  const peer = await Peer.connect(socketPath);
  onTestFinished(() => peer.close());
  return peer;
}

describe('a running server', () => {
  const shared = share((whenOver) => start({ maxConnections: 3, jobTimeout: 1 }, whenOver));

  /** The shared server, without connections. */
  async function empty(): Promise<Started> {
    const started = shared();
    await until(() => started.server.getStatus().connections === 0);
    return started;
  }

  /** Connects a crawler that has sent a heartbeat. */
  async function connectActive(crawlerId?: string): Promise<{ peer: Peer; connection: SocketConnection }> {
    const { server } = shared();
    const pool = server.connectionPool;
    const known = new Set(pool.connections.keys());
    const peer = await connectTo(shared());
    if (crawlerId !== undefined) peer.say('hello', { role: 'crawler', crawlerId });
    peer.write(line(VALID.heartbeat));
    await peer.settled();
    const connection = pool.getAllConnections().find(({ id }) => !known.has(id));
    if (connection === undefined) throw new Error('not in the pool');
    return { peer, connection };
  }

  test('has the status of the replaced server, and rejects a second start', async () => {
    const { server, socketPath, lines } = await empty();
    await expect(server.start()).rejects.toMatchObject({ code: 'ALREADY_RUNNING' });
    expect(server.getStatus()).toMatchObject({
      isRunning: true,
      connections: 0,
      activeConnections: 0,
      uptime: expect.any(Number),
      config: { socketPath, maxConnections: 3, heartbeatInterval: 30_000, jobTimeout: 1 },
    });
    expect(server.getConnectionStats()).toEqual({ total: 0, active: 0, idle: 0, error: 0 });
    expect(server.getAggregateProgress()).toBeNull();
    expect(lines.filter(({ msg }) => msg === 'options without effect: jobTimeout')).toHaveLength(1);
    expect(statSync(socketPath).mode & 0o777).toBe(0o777 & ~process.umask());
  });

  test('a connection has the metadata, statistics and states of the replaced one', async () => {
    const { server } = await empty();
    const { peer, connection } = await connectActive();
    const { metadata, stats } = connection;
    expect(metadata).toEqual({
      id: connection.id,
      connectedAt: expect.any(Date),
      lastActivity: expect.any(Date),
      lastHeartbeat: expect.any(Date),
      state: 'active',
      tags: {},
    });
    expect(metadata.lastHeartbeat.getTime()).toBeGreaterThanOrEqual(metadata.connectedAt.getTime());
    expect(JSON.parse(JSON.stringify(metadata))).toMatchObject({ id: connection.id, state: 'active' });
    expect(stats).toMatchObject({ messagesReceived: 1, messagesSent: 0, errors: 0, reconnects: 0 });
    expect(stats).not.toHaveProperty('lastError');
    await until(() => connection.stats.avgResponseTime > 0);
    expect(connection.socket.remoteAddress).toBeUndefined();
    expect([connection.isConnected(), connection.isActive(), connection.getState()]).toEqual([
      true,
      true,
      ConnectionState.ACTIVE,
    ]);

    connection.setState(ConnectionState.IDLE);
    expect(connection.isActive()).toBe(false);
    expect(server.getConnectionStats()).toEqual({ total: 1, active: 0, idle: 1, error: 0 });
    peer.write('{"type":"heartbeat"}');
    await peer.next('error');
    expect(connection.stats.lastError).toMatchObject({
      type: 'SCHEMA_VIOLATION',
      timestamp: expect.any(Date),
    });
    // @ts-expect-error: not a state
    expect(() => connection.setState('asleep')).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));

    await Promise.all([connection.connect(), connection.reconnect(), connection.sendHeartbeat()]);
    connection.startHeartbeat();
    connection.stopHeartbeat();
    await connection.disconnect('test');
    expect([connection.isConnected(), connection.getState()]).toEqual([false, 'disconnected']);
  });

  test('a connection keeps what an application assigns to its metadata', async () => {
    await empty();
    const { peer, connection } = await connectActive();
    const { server } = shared();
    connection.metadata.crawlerId = 'assigned';
    connection.metadata.tags = { region: 'eu' };
    connection.metadata.lastHeartbeat = new Date(0);
    expect(connection.metadata).toMatchObject({ crawlerId: 'assigned', tags: { region: 'eu' } });
    expect(connection.metadata.lastHeartbeat.getTime()).toBeGreaterThan(0);
    await server.sendToCrawler('assigned', shutdown);
    expect(await peer.next('shutdown')).toEqual(shutdown);
    peer.say('hello', { role: 'crawler', crawlerId: 'own', protocolVersion: '1.0.0', capabilities: ['x'] });
    await peer.next('welcome');
    expect(connection.metadata).toMatchObject({ crawlerId: 'own', version: '1.0.0', capabilities: ['x'] });
  });

  test('connections and the pool emit the events of the replaced ones', async () => {
    const { server } = await empty();
    const events: ConnectionEvent[] = [];
    const poolEvents: PoolEvent[] = [];
    const pool = server.connectionPool;
    onTestFinished(() => void pool.removeAllListeners());
    for (const type of POOL_EVENTS) pool.on(type, (event: PoolEvent) => void poolEvents.push(event));
    pool.on('connection_added', ({ connection }) => {
      for (const type of CONNECTION_EVENTS) {
        connection.on(type, (event: ConnectionEvent) => void events.push(event));
      }
    });
    const { peer, connection } = await connectActive('c1');
    connection.setState('idle');
    const sent = vi.fn();
    connection.on('stats_updated', sent);
    await connection.send(shutdown);
    expect(sent).toHaveBeenCalledWith({ type: 'stats_updated', connection, stats: expect.any(Object) });
    await connection.disconnect('enough');
    await peer.closed;
    expect(events).toEqual([
      { type: 'connected', connection },
      { type: 'authenticated', connection, crawlerId: 'c1' },
      { type: 'message', connection, message: VALID.heartbeat },
      { type: 'heartbeat', connection, timestamp: expect.any(Date) },
      { type: 'idle', connection, idleTime: expect.any(Number) },
      { type: 'disconnecting', connection, reason: 'enough' },
      { type: 'disconnected', connection, reason: 'enough' },
    ]);

    poolEvents.length = 0;
    const peers = [await connectActive(), await connectActive(), await connectActive()];
    const over = await connectTo(shared());
    await over.closed;
    expect(poolEvents.map(({ type }) => type)).toEqual([
      ...peers.map(() => 'connection_added'),
      'pool_capacity_reached',
    ]);
    expect(poolEvents.at(-1)).toEqual({ type: 'pool_capacity_reached', maxConnections: 3 });
    const gone = peers[0]?.connection.id ?? '';
    pool.removeConnection(gone);
    await until(() => poolEvents.length === 5);
    expect(poolEvents.at(-1)).toMatchObject({ type: 'connection_removed', connectionId: gone });
    expect(pool.getConnection(gone)).toBeUndefined();
    await pool.cleanup();
    await pool.closeAll('over');
    expect([pool.getConnectionCount(), pool.connections.size]).toEqual([0, 0]);
  });

  test('a connection that is reset has failed, whether or not there is a listener', async () => {
    await empty();
    const errors: Error[] = [];
    for (const listens of [false, true]) {
      const { peer, connection } = await connectActive();
      if (listens) connection.on('error', ({ error }) => void errors.push(error));
      // Closing a socket with unread data resets it.
      peer.socket.pause();
      await connection.send(shutdown);
      await peer.close();
      await until(() => connection.getState() === 'error' || connection.getState() === 'disconnected');
    }
    expect(errors.map(({ message }) => message)).toEqual(['ECONNRESET']);
  });

  test('a listener that throws stops nothing', async () => {
    const { server, lines } = await empty();
    onTestFinished(() => void server.connectionPool.removeAllListeners());
    server.connectionPool.on('connection_added', ({ connection }) => {
      connection.on('message', () => {
        throw new RangeError('CANARY');
      });
    });
    const { peer, connection } = await connectActive();
    await until(() => lines.some(({ msg }) => msg === 'a listener of an event failed'));
    expect(JSON.stringify(lines)).not.toContain('CANARY');
    await peer.settled();
    expect(connection.stats.messagesReceived).toBe(1);
  });

  test('sends to crawlers and broadcasts, to active connections only', async () => {
    const { server, lines } = await empty();
    const { peer: first } = await connectActive('c1');
    const { peer: second, connection } = await connectActive();
    const silent = await connectTo(shared());
    const pool = server.connectionPool;
    await until(() => pool.getConnectionCount() === 3);
    expect([pool.getActiveConnectionCount(), pool.getActiveConnections().length]).toEqual([2, 2]);

    await server.sendToCrawler('c1', shutdown);
    await server.sendToCrawler(connection.id, shutdown);
    await server.broadcast(shutdown);
    await pool.broadcast(shutdown);
    await pool.broadcastToActive(shutdown);
    await pool.broadcastToCrawlers(['c1', 'unknown'], shutdown);
    for (const id of ['unknown', pool.getAllConnections().at(-1)?.id ?? '']) {
      await expect(server.sendToCrawler(id, shutdown)).rejects.toMatchObject({ code: 'NO_RECIPIENT' });
    }
    await Promise.all([first.settled(), second.settled(), silent.settled()]);
    expect([first, second, silent].map(({ forwarded }) => forwarded.length)).toEqual([5, 4, 0]);
    // @ts-expect-error: it lacks its data
    const invalid: WebAppMessage = { type: 'job_response', timestamp: 'CANARY' };
    for (const sent of [server.sendToCrawler('c1', invalid), server.broadcast(invalid)]) {
      await expect(sent).rejects.toMatchObject({ code: 'INVALID_MESSAGE' });
    }
    connection.setState('idle');
    await pool.broadcastToCrawlers([connection.id], shutdown);
    expect(lines.at(-1)).toMatchObject({ msg: 'no active connection to broadcast to', type: 'shutdown' });

    await connection.sendRaw(line(VALID.shutdown));
    await second.settled();
    expect(second.forwarded).toHaveLength(5);
  });

  test('sends to the latest connection of a crawler that has not closed its side', async () => {
    const { server } = await empty();
    let finish = () => {};
    const handled = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const handler: MessageHandler = {
      canHandle: () => true,
      getPriority: () => 1,
      handle: async (_, connection) => {
        connection.metadata.crawlerId = 'c1';
        await handled;
        return { success: true };
      },
    };
    server.router.registerHandler('heartbeat', handler);
    onTestFinished(() => {
      finish();
      server.router.unregisterHandler('heartbeat', handler);
    });
    const [first, second] = [(await connectActive()).peer, (await connectActive()).peer];
    await server.sendToCrawler('c1', shutdown);
    await second.next('shutdown');
    const { peer: third } = await connectActive();
    third.socket.end();
    await until(() => server.connectionPool.getActiveConnectionCount() === 2);
    await server.sendToCrawler('c1', shutdown);
    await server.connectionPool.broadcastToCrawlers(['c1'], shutdown);
    await Promise.all([first.settled(), second.settled()]);
    finish();
    await third.closed;
    expect([first, second, third].map(({ forwarded }) => forwarded.length)).toEqual([0, 3, 0]);
  });

  test('sends no broadcast to peers that are no crawlers, and handles none of their messages', async () => {
    const { server } = await empty();
    const process = vi.spyOn(server.router, 'processMessage');
    onTestFinished(() => process.mockRestore());
    const { peer: crawler } = await connectActive('c1');
    const app = await connectTo(shared());
    app.say('hello', { role: 'app' });
    app.write(line({ ...VALID.job_assignment, to: 'c1' }));
    await crawler.next('job_assignment');
    await server.broadcast(shutdown);
    await Promise.all([app.settled(), crawler.next('shutdown')]);
    expect(app.forwarded).toEqual([]);
    expect(process.mock.calls.map(([{ type }]) => type)).toEqual(['heartbeat']);
  });

  test('handles the messages of a relay', async () => {
    const { server } = await empty();
    const process = vi.spyOn(server.router, 'processMessage');
    onTestFinished(() => process.mockRestore());
    const relay = await connectTo(shared());
    relay.say('hello', { role: 'relay' });
    relay.write(line(VALID.job_started));
    await until(() => process.mock.calls.length > 0);
    expect(process.mock.calls.map(([{ type }]) => type)).toEqual(['job_started']);
  });

  test('a pool has the statistics of the replaced one', async () => {
    const { server } = await empty();
    const before = server.connectionPool.getPoolStats();
    const { peer } = await connectActive();
    await until(
      () => server.connectionPool.getPoolStats().totalMessagesHandled > before.totalMessagesHandled,
    );
    const stats = server.connectionPool.getPoolStats();
    expect(stats).toMatchObject({
      totalConnections: 1,
      activeConnections: 1,
      idleConnections: 0,
      errorConnections: 0,
      totalMessagesHandled: before.totalMessagesHandled + 1,
      peakConnections: expect.any(Number),
      lastActivity: expect.any(Date),
    });
    expect(stats.averageConnectionTime).toBeGreaterThan(0);
    expect(stats.totalBytesTransferred).toBeGreaterThan(before.totalBytesTransferred);
    const updates: PoolEvent[] = [];
    onTestFinished(() => void server.connectionPool.removeAllListeners());
    server.connectionPool.on('pool_stats_updated', (event) => updates.push(event));
    await peer.close();
    await until(() => updates.length > 0);
    // The bytes of closed connections still count.
    const { totalBytesTransferred } = server.connectionPool.getPoolStats();
    expect(totalBytesTransferred).toBeGreaterThanOrEqual(stats.totalBytesTransferred);
  });
});

test('a server takes a router, rejects sending while stopped, and can be started again', async () => {
  const router = new MessageRouter();
  const socketPath = join(temporaryFolder(), 'server.sock');
  const settings = { router, logger: pino({ level: 'silent' }) };
  const server = new SocketServer({ ...LIGHT, socketPath }, settings);
  expect(server.router).toBe(router);
  const isStopped = async () => {
    for (const sent of [server.sendToCrawler('c1', shutdown), server.broadcast(shutdown)]) {
      await expect(sent).rejects.toMatchObject({ code: 'NOT_RUNNING' });
    }
    expect(server.getStatus()).toMatchObject({ isRunning: false, uptime: 0, connections: 0 });
  };
  await isStopped();
  await server.stop();
  for (let run = 1; run <= 2; run++) {
    await server.start();
    const peer = await Peer.connect(socketPath);
    await peer.settled();
    expect(server.getStatus()).toMatchObject({ isRunning: true, connections: 1 });
    await server.stop();
    await peer.closed;
    await isStopped();
  }
});

test('a handler for a type of which there are no messages is logged once', async () => {
  const router = new MessageRouter();
  const handler: MessageHandler = {
    canHandle: () => true,
    handle: async () => ({ success: true, data: {} }),
    getPriority: () => 0,
  };
  router.registerHandler('hartbeat', handler);
  const { server, lines } = await start({}, onTestFinished, { router });
  for (const type of ['heartbeat', 'hartbeat', 'job_reqest']) server.router.registerHandler(type, handler);
  const warned = lines.filter(({ msg }) => /^a handler is registered for a type/.test(String(msg)));
  expect(warned.map(({ type }) => type)).toEqual(['hartbeat', 'job_reqest']);
});

test('with validation: report, handlers get no messages that break their schema, and made-up types are not logged', async () => {
  const started = await start({ validation: 'report' }, onTestFinished);
  const { server, lines } = started;
  const handled: string[] = [];
  for (const wanted of ['heartbeat', 'made-up-and-wanted'])
    server.router.registerHandler(wanted, {
      canHandle: () => true,
      handle: async ({ type }) => ({ success: true, data: handled.push(type) }),
      getPriority: () => 0,
    });
  const peer = await connectTo(started);
  peer.write(`{"type":"CANARY"}\n{"type":"CANARY-2"}\n{"type":"heartbeat"}\n{"type":"made-up-and-wanted"}\n`);
  await peer.settled();
  await until(() => handled.includes('made-up-and-wanted'));
  expect(handled).toEqual(['made-up-and-wanted']);
  expect(JSON.stringify(lines)).not.toContain('CANARY');
});

test('the default server is started once, at SOCKET_PATH, and again after a failed start', async () => {
  const environment = { SOCKET_LOG_LEVEL: 'silent', SOCKET_PATTERNS: 'off', SOCKET_WORKERS_THREADS: '1' };
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
  vi.stubEnv('SOCKET_PATH', join(temporaryFolder(), 'missing', 'api.sock'));
  onTestFinished(() => void vi.unstubAllEnvs());
  const failed = [getDefaultSocketServer(), getDefaultSocketServer()];
  expect(failed[0]).toBe(failed[1]);
  await expect(failed[0]).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
  const socketPath = join(temporaryFolder(), 'api.sock');
  vi.stubEnv('SOCKET_PATH', socketPath);
  const [server, same] = await Promise.all([getDefaultSocketServer(), getDefaultSocketServer()]);
  onTestFinished(() => server.stop());
  expect(same).toBe(server);
  expect(server.getStatus()).toMatchObject({ isRunning: true, config: { socketPath, maxConnections: 10 } });
  await server.stop();
  expect(await getDefaultSocketServer()).toBe(server);
});

test('createSocketServer makes servers of their own', () => {
  const [one, other] = [createSocketServer(), createSocketServer({ maxConnections: 2 })];
  expect(one.router).not.toBe(other.router);
  expect([one, other].map((server) => server.getStatus().config.maxConnections)).toEqual([10, 2]);
});
