import { once } from 'node:events';
import { existsSync, mkdirSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type HealthIssue, type SluiceError, SocketManager } from 'sluice';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { AdminHandler } from '#src/admin/admin-handler.js';
import { AdminServer, MAX_CONNECTIONS, REQUEST_LIMITS } from '#src/admin/admin-server.js';
import type { BrokerStats, ConnectionList, Snapshot } from '#src/admin/snapshot.js';
import { Listeners } from '#src/connection/listeners.js';
import {
  adminSourceOf,
  ask,
  metricValue,
  shareAdminBroker,
  sharePlainAdminBroker,
  startAdminBroker,
  startPlainAdminBroker,
  startSlowBroker,
} from '../../support/admin.js';
import { LIGHT, temporaryFolder, until } from '../../support/broker.js';
import { shareSluice } from '../../support/cli.js';
import { line, VALID } from '../../support/messages.js';

const shared = shareAdminBroker();
const runShared = shareSluice();

describe('the admin server', () => {
  const sharedTcp = sharePlainAdminBroker({ admin: '127.0.0.1:0' });

  test('is not there unless it is asked for', async () => {
    const manager = new SocketManager({ socketPath: join(temporaryFolder(), 'broker.sock') });
    expect(manager.options.admin).toBeUndefined();
    expect(manager.getStatus().admin).toBeUndefined();
  });

  test('on a Unix socket, is for its owner only, leaves no file behind, and can be started again', async () => {
    const { adminPath, manager, get } = await startPlainAdminBroker();
    expect(statSync(adminPath).mode & 0o777).toBe(0o600);
    expect(manager.getStatus().admin).toBe(adminPath);
    await manager.stop();
    expect(statSync(adminPath, { throwIfNoEntry: false })).toBeUndefined();
    await expect(get('/healthz')).rejects.toMatchObject({ code: 'ENOENT' });
    await manager.start();
    expect((await get('/readyz')).status).toBe(200);
  });

  test('whose socket file cannot be removed stops anyway, reports that, and can be started again', async () => {
    const folder = join(temporaryFolder(), 'admin');
    mkdirSync(folder);
    const { adminPath, manager } = await startPlainAdminBroker({ admin: join(folder, 'admin.sock') });
    const errors: unknown[] = [];
    manager.on('server_error', ({ error }) => errors.push(error));
    const peer = connect(adminPath)
      .on('error', () => {})
      .resume();
    await once(peer, 'connect');
    const closed = once(peer, 'close');
    // Also for root, the system cannot look for the file then.
    renameSync(folder, `${folder}.moved`);
    writeFileSync(folder, '');
    await manager.stop();
    await closed;
    expect(errors).toEqual([expect.objectContaining({ code: 'ENOTDIR' })]);
    expect(manager.getStatus()).toMatchObject({ state: 'stopped', admin: undefined });
    unlinkSync(folder);
    mkdirSync(folder);
    await manager.start();
    expect(manager.getStatus()).toMatchObject({ state: 'running', admin: adminPath });
  });

  test('on TCP, reports its port, and answers only to names of this machine', async () => {
    const { manager } = sharedTcp();
    const address = String(manager.getStatus().admin);
    expect(address).toMatch(/^127\.0\.0\.1:[1-9]\d*$/);
    expect((await fetch(`http://${address}/healthz`)).status).toBe(200);
    for (const path of ['/', '/dashboard/page.js', '/api/stats']) {
      const status = await new Promise((resolve) => {
        const port = address.split(':')[1];
        request({ port, path, headers: { host: 'evil.example' } }, (reply) =>
          resolve(reply.resume().statusCode),
        ).end();
      });
      expect(status).toBe(403);
    }
  });

  test('on TCP, answers health checks of any HTTP version, with any Host of this machine or none', async () => {
    const { manager } = sharedTcp();
    const port = Number(String(manager.getStatus().admin).split(':')[1]);
    const statusOf = async (version: string, host?: string) => {
      const header = host === undefined ? '' : `Host: ${host}\r\n`;
      const socket = connect(port, '127.0.0.1');
      socket.write(`GET /healthz HTTP/${version}\r\n${header}Connection: close\r\n\r\n`);
      let text = '';
      for await (const part of socket.setEncoding('utf8')) text += part;
      return Number(text.split(' ')[1]);
    };
    const local = ['localhost', 'LOCALHOST', 'localhost.', '127.0.0.1', '[::1]', '[::ffff:127.0.0.1]'];
    for (const host of [undefined, '', ...local, ...local.map((name) => `${name}:${port}`)]) {
      expect([host, await statusOf('1.0', host), await statusOf('1.1', host)]).toEqual([host, 200, 200]);
    }
    const foreign = [
      'evil.example',
      `evil.example:${port}`,
      'localhost.evil.example',
      '127.0.0.1.evil',
      '[::2]',
    ];
    for (const host of foreign) {
      expect([host, await statusOf('1.0', host), await statusOf('1.1', host)]).toEqual([host, 403, 403]);
    }
  });

  test('with as many streams as there may be, still answers', async () => {
    const { manager } = await startPlainAdminBroker({ feed: true, admin: '127.0.0.1:0' });
    const [host = '', port] = (manager.getStatus().admin ?? '').split(':');
    const open = async (path: string): Promise<number | undefined> => {
      const sent = request({ host, port, path, agent: false }).end();
      onTestFinished(() => void sent.destroy());
      const [{ statusCode }] = await once(sent, 'response');
      return statusCode;
    };
    const paths = [
      ['/api/stream', 100],
      ['/events', 32],
      ['/api/tail', 10],
    ] as const;
    for (const [path, count] of paths) for (let at = 0; at < count; at++) expect(await open(path)).toBe(200);
    expect(await open('/healthz')).toBe(200);
    expect(await open('/api/stream')).toBe(503);
  });

  test('a route that fails has an answer of its own, and the error is reported', async () => {
    const { manager } = shared();
    const failure = new Error('broken');
    let isBroken = false;
    const broken = () => {
      throw failure;
    };
    const source = adminSourceOf(manager, {
      status: () => (isBroken ? broken() : manager.getStatus()),
      metrics: broken,
      registry: broken,
      drift: broken,
    });
    const adminPath = join(temporaryFolder(), 'admin.sock');
    const errors: unknown[] = [];
    const onError = (error: unknown) => errors.push(error);
    const events = { onError, onRestored: () => {}, onDropped: () => {} };
    const server = new AdminServer(
      new AdminHandler(source, events.onError),
      manager.options,
      adminPath,
      events,
    );
    await server.start();
    onTestFinished(() => server.stop());
    isBroken = true;
    const texts = new Set<string>();
    const paths = [
      '/metrics',
      '/healthz',
      '/readyz',
      '/api/stats',
      '/api/connections',
      '/api/schemas',
      '/asyncapi.json',
    ];
    for (const path of paths) {
      const { status, body } = await ask(adminPath, path);
      expect([path, status]).toEqual([path, 500]);
      expect(body).not.toContain('broken');
      texts.add(JSON.parse(body).error);
    }
    expect(texts.size).toBe(paths.length);
    expect(errors).toEqual(paths.map(() => failure));
  });

  test('makes its socket file again', async () => {
    const { manager, adminPath, get } = await startPlainAdminBroker({ healthCheckInterval: 20 });
    const lost = once(manager, 'server_error');
    unlinkSync(adminPath);
    const [{ error }] = await lost;
    expect(error).toMatchObject({ code: 'SOCKET_FILE_LOST', message: expect.stringContaining(adminPath) });
    await until(() => existsSync(adminPath));
    expect(statSync(adminPath).mode & 0o777).toBe(0o600);
    expect((await get('/readyz')).status).toBe(200);
  });

  test('rejects an address that another server has', async () => {
    const { manager } = sharedTcp();
    const { admin } = manager.getStatus();
    const second = new SocketManager({ socketPath: join(temporaryFolder(), 'b.sock'), admin });
    await expect(second.start()).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' });
    expect(second.getStatus().state).toBe('stopped');
  });

  test('reports why it cannot listen', async () => {
    // An address of none of this machine's interfaces: RFC 5737.
    const admin = { admin: '192.0.2.1:9464', adminAllowRemote: true };
    const manager = new SocketManager({ socketPath: join(temporaryFolder(), 'b.sock'), ...admin });
    await expect(manager.start()).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringMatching(/admin: listen EADDRNOTAVAIL.* 192\.0\.2\.1:9464$/),
    });
  });

  describe('with clients that do not behave', () => {
    const limits = { requestTimeout: 200, readTimeout: 250, connectionsCheckingInterval: 20 };

    /** A server at a Unix socket, and the requests that it received. */
    async function serve(serverLimits = limits) {
      const { manager } = shared();
      // The whole list is longer than what the kernel takes.
      const drift = (count?: number) => (count === undefined ? ['x'.repeat(4 * 1024 * 1024)] : []) as never;
      const source = adminSourceOf(manager, { drift });
      const adminPath = join(temporaryFolder(), 'admin.sock');
      const events = { onError: () => {}, onRestored: () => {}, onDropped: vi.fn() };
      const handler = new AdminHandler(source, events.onError);
      const answer = vi.spyOn(handler, 'answer');
      const server = new AdminServer(handler, manager.options, adminPath, events, serverLimits);
      await server.start();
      onTestFinished(() => server.stop());
      return { adminPath, answer, onDropped: events.onDropped };
    }

    test('closes connections beyond its limit, and reports it', async () => {
      const { adminPath, onDropped } = await serve(REQUEST_LIMITS);
      const sockets: Socket[] = [];
      onTestFinished(() => {
        for (const socket of sockets) socket.destroy();
      });
      for (let count = 0; count < MAX_CONNECTIONS + 2; count++) {
        const socket = connect(adminPath)
          .on('error', () => {})
          .resume();
        sockets.push(socket);
        await once(socket, 'connect');
      }
      await until(() => sockets.slice(-2).every(({ closed }) => closed));
      expect(onDropped).toHaveBeenCalled();
    });

    test('gives up on a request that does not come to its end', async () => {
      const { adminPath } = await serve();
      const socket = connect(adminPath);
      socket.write('GET /healthz HTTP/1.1\r\nHost: ');
      await once(socket.resume(), 'close');
      // Unless told otherwise it waits for 10 s; Node's own limit is five minutes.
      expect(REQUEST_LIMITS.requestTimeout).toBe(10_000);
    });

    test('closes connections whose replies are not read, and no others', async () => {
      const { adminPath, answer } = await serve();
      const idle = connect(adminPath);
      idle.write('GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n');
      await once(idle, 'data');
      const stalled = connect(adminPath).pause();
      stalled.write('GET /api/drift HTTP/1.1\r\nHost: localhost\r\n\r\n');
      onTestFinished(() => {
        for (const socket of [idle, stalled]) socket.destroy();
      });
      await until(() => answer.mock.calls.length === 2);
      const [events, reply] = answer.mock.calls.map(([{ socket }]) => socket);
      if (reply?.destroyed === false) await once(reply, 'close');
      expect(events?.destroyed).toBe(false);
      expect(REQUEST_LIMITS.readTimeout).toBe(30_000);
    });

    test('answers a request that is sent while the end of the previous reply is being written', async () => {
      const { adminPath } = await serve(REQUEST_LIMITS);
      const socket = connect(adminPath);
      const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
      socket.write(request('/api/drift'));
      await once(socket, 'readable');
      socket.write(request('/healthz'));
      let text = '';
      for await (const part of socket.setEncoding('latin1') as AsyncIterable<string>) {
        text += part;
        if (text.lastIndexOf('HTTP/1.1') > 0) break;
      }
      expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200']);
    });

    test('closes a connection with a request before the reply to the one before', async () => {
      const { adminPath } = await serve();
      const socket = connect(adminPath);
      const request = 'GET /api/drift HTTP/1.1\r\nHost: localhost\r\n\r\n';
      socket.write(request);
      let replies = 0;
      let left = 0;
      for await (const part of socket as AsyncIterable<Buffer>) {
        const [, length] = /content-length: (\d+)\r\n/i.exec(part.toString('latin1', 0, 4096)) ?? [];
        if (length !== undefined) left = Number(length) + part.indexOf('\r\n\r\n') + 4;
        left -= part.length;
        // One after another, any number are answered.
        if (left === 0 && ++replies < 4) socket.write(replies < 3 ? request : request.repeat(2));
      }
      expect([replies, left]).toEqual([3, 0]);
    });
  });

  test('answers what is not there with 404, and what would change something with 405', async () => {
    const { adminPath, get } = shared();
    for (const path of ['/nothing', '/__proto__', '/api', '//', '/..%2f']) {
      expect((await get(path)).status).toBe(404);
    }
    const posted = await ask(adminPath, '/api/stats', { method: 'POST' });
    expect(posted.status).toBe(405);
    expect(posted.headers.allow).toBe('GET, HEAD');
    const head = await ask(adminPath, '/healthz', { method: 'HEAD' });
    expect([head.status, head.body]).toEqual([200, '']);
    // A stream of events has no end: asked for its head only, it ends at once.
    expect((await ask(adminPath, '/events', { method: 'HEAD' })).status).toBe(200);
  });

  test('lets nothing be framed, cached or read by other sites', async () => {
    const { get } = shared();
    for (const path of ['/', '/api/stats', '/metrics', '/nothing']) {
      const { headers } = await get(path);
      expect(headers).toMatchObject({
        // A browser may keep the page, but must ask whether it is still the latest.
        'cache-control': path === '/' ? 'no-cache' : 'no-store',
        'x-content-type-options': 'nosniff',
        'cross-origin-resource-policy': 'same-origin',
      });
      expect(headers['content-security-policy']).toContain("frame-ancestors 'none'");
      expect(headers['access-control-allow-origin']).toBeUndefined();
    }
  });
});

describe('/readyz', () => {
  test('returns 503 while the broker starts, and 200 when it listens', async () => {
    const { adminPath, open } = await startSlowBroker();
    const starting = await ask(adminPath, '/readyz');
    expect(starting.status).toBe(503);
    expect(JSON.parse(starting.body)).toEqual({ ready: false, reason: 'starting' });
    for (const path of ['/api/stats', '/api/schemas', '/asyncapi.json']) {
      expect((await ask(adminPath, path)).status).toBe(503);
    }
    expect((await ask(adminPath, '/healthz')).status).toBe(200);
    expect((await ask(adminPath, '/metrics')).status).toBe(200);
    await open();
    expect((await ask(adminPath, '/readyz')).status).toBe(200);
  });

  test('before it listens, there are no figures either', async () => {
    const adminPath = join(temporaryFolder(), 'admin.sock');
    const socketPath = join(temporaryFolder(), 'b.sock');
    const manager = new SocketManager({
      ...LIGHT,
      socketPath,
      admin: adminPath,
      logLevel: 'silent',
    });
    onTestFinished(() => manager.stop());
    const { open } = Listeners.prototype;
    let status: number | undefined;
    // All is there but the sockets for peers.
    const listen = vi.spyOn(Listeners.prototype, 'open').mockImplementation(async function (this: Listeners) {
      status = (await ask(adminPath, '/api/stats')).status;
      await open.call(this);
    });
    onTestFinished(() => listen.mockRestore());
    await manager.start();
    expect(status).toBe(503);
    expect((await ask(adminPath, '/api/stats')).status).toBe(200);
  });

  test('returns 503 while the broker drains', async () => {
    const { manager, connect, get } = await startPlainAdminBroker({ drainTimeout: 60_000 });
    const app = await (await connect()).subscribe();
    app.socket.pause();
    const crawler = await connect();
    crawler.write(line(VALID.job_progress).repeat(3000));
    await crawler.settled();
    const stopping = once(manager, 'server_stopping');
    const stopped = manager.stop();
    await stopping;
    expect(JSON.parse((await get('/readyz')).body)).toEqual({ ready: false, reason: 'draining' });
    app.socket.destroy();
    await stopped;
  });

  test('returns 503 while the broker accepts no more connections', async () => {
    const { connect, get } = await startPlainAdminBroker({ maxConnections: 1 });
    const peer = await connect();
    await peer.settled();
    const { status, body } = await get('/readyz');
    expect([status, JSON.parse(body).reason]).toEqual([503, 'saturated: maxConnections is reached']);
  });

  test('returns 503 when reading has been paused for long', async () => {
    const { connect, get } = await startPlainAdminBroker({ maxPendingBytes: 1024 });
    const app = await (await connect()).subscribe({ overflow: 'block' });
    app.socket.pause();
    const crawler = await connect();
    crawler.write(line(VALID.job_progress).repeat(10_000));
    const reason = async () => JSON.parse((await get('/readyz')).body).reason as string;
    await expect.poll(reason).toBe('saturated: reading is paused');
    app.socket.resume();
    await expect.poll(reason).toBe('running');
  });
});

describe('/readyz and the socket file', () => {
  test('says 503 when the file is gone; it is made again, and connections stay', async () => {
    const { manager, socketPath, connect, get } = await startPlainAdminBroker({ healthCheckInterval: 500 });
    const early = await connect();
    await early.settled();
    const lost = once(manager, 'server_error');
    unlinkSync(socketPath);
    expect(manager.getStatus().isReachable).toBe(false);
    expect((await lost)[0].error).toMatchObject({ code: 'SOCKET_FILE_LOST' });
    await until(() => manager.getStatus().isReachable);
    expect((await get('/readyz')).status).toBe(200);
    await (await connect()).settled();
    await early.settled();
  });

  test('says 503 as long as another live server has the path', async () => {
    const { manager, socketPath, connect, get } = await startPlainAdminBroker({ healthCheckInterval: 20 });
    const early = await connect();
    await early.settled();
    expect(metricValue((await get('/metrics')).body, 'sluice_reachable')).toBe(1);
    const codes: unknown[] = [];
    manager.on('server_error', ({ error }) => codes.push((error as SluiceError).code));
    const other = createServer().listen(`${socketPath}.other`);
    onTestFinished(() => void other.close());
    await once(other, 'listening');
    renameSync(`${socketPath}.other`, socketPath);
    const { ino } = statSync(socketPath);
    await until(() => codes.length === 2);
    expect(codes).toEqual(['SOCKET_FILE_LOST', 'ADDRESS_IN_USE']);
    const { status, body } = await get('/readyz');
    expect([status, JSON.parse(body).reason]).toEqual([
      503,
      'unreachable: the socket file was removed or replaced',
    ]);
    expect(metricValue((await get('/metrics')).body, 'sluice_reachable')).toBe(0);
    await early.settled();
    await manager.stop();
    expect(statSync(socketPath).ino).toBe(ino);
  });
});

describe('/api', () => {
  test('lists the connections, sorted, and as many as are asked for', async () => {
    const { connect, read, get } = shared();
    for (const name of ['crawler-b', 'crawler-a']) {
      const crawler = await connect();
      crawler.say('hello', { role: 'crawler', crawlerId: name });
      crawler.write(line(VALID.heartbeat));
      await crawler.settled();
    }
    const application = await connect();
    application.say('hello', { role: 'app', name: 'web application' });
    await application.subscribe();
    // Requests that follow another one closely get the same sample.
    const list = await vi.waitUntil(
      async () => {
        const sorted = await read<ConnectionList>('/api/connections?sort=crawlerId');
        return sorted.total === 3 && sorted;
      },
      { timeout: 60_000 },
    );
    expect(list.rows.map(({ name }) => name)).toEqual([null, null, 'web application']);
    expect(list.rows.map(({ crawlerId }) => crawlerId)).toEqual(['crawler-a', 'crawler-b', null]);
    expect(list.rows[0]).toMatchObject({
      role: 'crawler',
      state: 'active',
      health: 'healthy',
      messagesReceived: 1,
      controlReceived: 2,
      isSlow: false,
      heartbeatAge: expect.any(Number),
    });
    expect(list.rows[2]).toMatchObject({ role: 'app', heartbeatAge: null, overflow: 'disconnect' });
    const one = await read<ConnectionList>('/api/connections?limit=1');
    expect([one.total, one.rows.length]).toEqual([3, 1]);
    for (const query of ['limit=0', 'limit=many', 'sort=nothing', 'sort=__proto__']) {
      expect((await get(`/api/connections?${query}`)).status).toBe(400);
    }
  });

  test('a peer for which messages are dropped is not healthy, even among many that are busier', async () => {
    const { connect, read, get, manager, adminPath } = await startPlainAdminBroker({
      maxPendingBytes: 64 * 1024,
      maxConnections: 300,
      healthCheckInterval: 50,
    });
    const stuck = await connect();
    await stuck.subscribe({ overflow: 'drop-oldest' });
    stuck.socket.pause();
    const warnings: HealthIssue[] = [];
    manager.on('health_warning', (issue) => warnings.push(issue));
    const crawlers = await Promise.all(Array.from({ length: 220 }, () => connect()));
    for (const crawler of crawlers) crawler.write(line(VALID.job_progress).repeat(60));
    await Promise.all(crawlers.map((crawler) => crawler.settled()));
    // On a busy machine, a crawler's latency may be reported before.
    const isExpected = ({ kind, severity }: HealthIssue) =>
      severity === 'warning' && (kind === 'messages_dropped' || kind === 'slow_consumer');
    await until(() => warnings.some(isExpected));
    const { rows } = await read<ConnectionList>('/api/connections?sort=health&limit=1');
    expect(rows).toMatchObject([
      {
        role: 'app',
        health: 'dropping',
        isSlow: true,
        isDropping: true,
        messagesDropped: expect.any(Number),
      },
    ]);
    expect(rows[0]?.messagesDropped).toBeGreaterThan(10_000);
    const stats = await read<BrokerStats>('/api/stats');
    expect(stats.connections).toMatchObject({ open: 221, slow: 1, dropping: 1 });
    await expect
      .poll(() => manager.getStatus().health)
      .toMatchObject({
        status: 'degraded',
        connections: { dropping: 1 },
      });
    const { body } = await get('/metrics');
    expect(metricValue(body, 'sluice_slow_consumers')).toBe(1);
    expect(metricValue(body, 'sluice_dropping_consumers')).toBe(1);
    const snapshot = await firstSnapshot(adminPath);
    expect(snapshot.connections.total).toBe(221);
    expect(snapshot.connections.rows.length).toBe(200);
    expect(snapshot.connections.rows.filter(({ isDropping }) => isDropping).length).toBe(1);
    const status = await runShared(['status', '--admin', adminPath]);
    expect(status.stdout).toContain('1 slow, 1 of them dropping messages');
    const top = await runShared(['top', '--admin', adminPath]);
    expect(top.stdout).toMatch(/^PEER .* DROPPED +REJECTED$/m);
    stuck.socket.destroy();
  });

  test('sums up the broker', async () => {
    const { connect, read } = await startAdminBroker();
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat).repeat(10) + line({ type: 'heartbeat' }));
    await crawler.settled();
    const stats = await read<BrokerStats>('/api/stats');
    expect(stats).toMatchObject({
      state: 'running',
      readiness: { ready: true },
      accepted: { heartbeat: 10 },
      control: { ping: 1 },
      totals: { messagesReceived: 11, controlReceived: 1, messagesSent: 0, controlSent: 2 },
      rejected: { SCHEMA_VIOLATION: 1 },
      connections: { open: 1, slow: 0, byRole: { crawler: 1 } },
      workers: { threads: 1 },
    });
    expect(stats.latency.p50).toBeGreaterThan(0);
    expect(stats.accepted).not.toHaveProperty('ping');
    expect(stats).not.toHaveProperty('durableLog');
    expect(stats.patterns).toMatchObject({ hits: 10, misses: 0 });
  });
});

describe('/events', () => {
  test('sends a snapshot at once, with what was rejected but not its contents', async () => {
    const { connect, adminPath } = await startPlainAdminBroker();
    const crawler = await connect();
    crawler.say('hello', { role: 'crawler', crawlerId: 'crawler-1' });
    crawler.say(
      'job_progress',
      { stage: 'secret stage 42', entityType: 'issue', processed: 1 },
      { jobId: 'job-1' },
    );
    await crawler.settled();
    const snapshot = await firstSnapshot(adminPath);
    expect(JSON.stringify(snapshot)).not.toContain('secret stage');
    expect(snapshot.rejections.groups).toMatchObject([{ path: 'data.stage', total: 1 }]);
    expect(snapshot.rejections.latest).toMatchObject([
      {
        crawlerId: 'crawler-1',
        code: 'SCHEMA_VIOLATION',
        messageType: 'job_progress',
        issues: [{ path: 'data.stage' }],
      },
    ]);
    expect(snapshot.connections.total).toBe(1);
  });
});

/** The first event of `/events`. */
async function firstSnapshot(socketPath: string): Promise<Snapshot> {
  const [reply] = await once(request({ socketPath, path: '/events' }).end(), 'response');
  expect(reply.headers['content-type']).toBe('text/event-stream');
  let text = '';
  for await (const part of reply.setEncoding('utf8')) {
    text += part;
    if (/^data: .*\n\n/m.test(text)) break;
  }
  return JSON.parse(/^data: (.*)$/m.exec(text)?.[1] ?? '') as Snapshot;
}
