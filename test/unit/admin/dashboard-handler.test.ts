import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { type DashboardHandler, type SluiceError, SocketManager, SocketServer } from 'sluice';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { BrokerStats } from '#src/admin/snapshot.js';
import { LIGHT, shareIdle, startPlainBroker, temporaryFolder, until } from '../../support/broker.js';
import { browserPath, sharePage } from '../../support/browser.js';
import { line } from '../../support/messages.js';

const shared = shareIdle(async (whenOver) => {
  const broker = await startPlainBroker({ feed: true }, whenOver);
  // Loaded while the broker runs, as the application does it.
  return { ...broker, handler: broker.manager.dashboardHandler({ prefix: '/sluice' }) };
});

/** Serves a handler by plain `node:http`. @returns the URL of the server, without a slash at its end */
async function serve(handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(handler);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Sends requests for paths below `/sluice` on one connection, without waiting for the responses. */
function send(url: string, ...paths: string[]): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.write(paths.map((path) => `GET /sluice${path} HTTP/1.1\r\nHost: app.example\r\n\r\n`).join(''));
  return socket;
}

/** Removes the path that a handler is mounted at, as `app.use` of Express does. */
function mounted(path: string, handler: DashboardHandler) {
  return (request: IncomingMessage & { originalUrl?: string }, response: ServerResponse) => {
    const { url = '' } = request;
    request.originalUrl = url;
    const rest = url.slice(path.length);
    request.url = rest.startsWith('/') ? rest : `/${rest}`;
    const next = (error?: unknown) => response.writeHead(error === undefined ? 418 : 500).end('next');
    handler(request, response, next);
  };
}

describe('the handler of the dashboard', () => {
  test('serves every path below a prefix, under any name of the host', async () => {
    const { handler } = shared();
    const url = await serve(handler);
    for (const path of ['/', '/dashboard/page.js', '/metrics', '/readyz', '/api/stats', '/api/history']) {
      const { status } = await fetch(`${url}/sluice${path}`, { headers: { host: 'app.example' } });
      expect([path, status]).toEqual([path, 200]);
    }
    const { version } = (await (await fetch(`${url}/sluice/api/stats`)).json()) as BrokerStats;
    expect(version).toMatch(/^\d/);
    for (const path of ['/', '/sluice/nothing', '/sluices/', '/api/stats', '/slui']) {
      const reply = await fetch(`${url}${path}`);
      expect([path, reply.status, await reply.json()]).toEqual([path, 404, { error: 'not found' }]);
    }
    const posted = await fetch(`${url}/sluice/api/stats`, { method: 'POST' });
    expect([posted.status, posted.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
  });

  test.each([
    ['with the prefix', (handler: DashboardHandler) => handler, '/sluice'],
    ['stripped of it', (handler: DashboardHandler) => mounted('/admin/sluice', handler), '/admin/sluice'],
  ])('redirects the path without a slash at its end, %s', async (_, wrap, path) => {
    const { manager, handler } = shared();
    const url = await serve(wrap(path === '/sluice' ? handler : manager.dashboardHandler()));
    for (const query of ['', '?a=b/']) {
      const reply = await fetch(`${url}${path}${query}`, { redirect: 'manual' });
      expect([reply.status, reply.headers.get('location')]).toEqual([302, `./sluice/${query}`]);
      expect(await (await fetch(`${url}${path}${query}`)).text()).toContain('<title>Sluice</title>');
    }
    const direct = await fetch(`${url}${path}/?a=b`, { redirect: 'manual' });
    expect([direct.status, direct.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
  });

  test('leaves other paths to the application', async () => {
    const { manager } = shared();
    const url = await serve(mounted('/sluice', manager.dashboardHandler()));
    const reply = await fetch(`${url}/sluice/nothing`);
    expect([reply.status, await reply.text()]).toEqual([418, 'next']);
    expect(reply.headers.get('content-security-policy')).toBeNull();
  });

  test('counts what is rejected, without an admin server', async () => {
    const { connect, handler } = shared();
    const peer = await connect();
    peer.write(line({ type: 'nonsense' }));
    await peer.settled();
    const url = await serve(handler);
    const { groups } = (await (await fetch(`${url}/sluice/api/rejections`)).json()) as { groups: unknown[] };
    expect(groups).toMatchObject([{ code: 'UNKNOWN_TYPE', total: 1 }]);
  });

  test('may be made before the start, and is there as long as the broker runs', async () => {
    const server = new SocketServer(
      { ...LIGHT, socketPath: `${temporaryFolder()}/broker.sock`, logLevel: 'silent' },
      { validatesLocally: true },
    );
    const url = await serve(server.dashboardHandler());
    const stopped = await fetch(`${url}/readyz`);
    expect([stopped.status, await stopped.json()]).toEqual([503, { error: 'the broker is not running' }]);
    await server.start();
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    const events = await fetch(`${url}/events`);
    const reader = events.body?.getReader();
    await reader?.read();
    await server.stop();
    while (!(await reader?.read())?.done);
    expect((await fetch(`${url}/readyz`)).status).toBe(503);
  });

  test.each([
    ['/events', 32],
    ['/api/tail', 10],
    ['/api/stream', 100],
  ])(
    'opens no stream at %s for clients that left while the application checked them',
    async (path, limit) => {
      const { handler } = shared();
      const waiting: (readonly [IncomingMessage, ServerResponse])[] = [];
      const url = await serve((...call) => void waiting.push(call));
      const clients = Array.from({ length: limit }, () => send(url, path));
      await until(() => waiting.length === limit);
      for (const client of clients) client.destroy();
      await until(() => waiting.every(([{ socket }]) => socket.destroyed));
      for (const [request, response] of waiting) handler(request, response);
      const reply = await fetch(`${await serve(handler)}/sluice${path}`);
      expect(reply.status).toBe(200);
      await reply.body?.cancel();
    },
  );

  test('opens no stream behind another response of its connection', async () => {
    const { handler } = shared();
    let requests = 0;
    let connection: Socket | undefined;
    const url = await serve((request, response) => {
      handler(request, response);
      requests++;
      connection = request.socket;
    });
    const client = send(url, '/events', ...Array(10).fill('/api/tail'));
    await until(() => requests === 11);
    client.destroy();
    await until(() => connection?.destroyed === true);
    const reply = await fetch(`${url}/sluice/api/tail`);
    expect(reply.status).toBe(200);
    await reply.body?.cancel();
    const first = send(url, '/readyz', '/api/tail').setEncoding('utf8');
    let text = '';
    for await (const part of first) {
      text += part;
      if (text.includes('pipelined')) break;
    }
    expect(text.match(/^HTTP\S+ \d+/gm)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 400']);
  });

  test.each(['sluice', '/a b', '//evil.example', 'https://evil.example'])(
    'rejects %s as a prefix',
    (prefix) => {
      const manager = new SocketManager();
      let thrown: unknown;
      try {
        manager.dashboardHandler({ prefix });
      } catch (error) {
        thrown = error;
      }
      expect((thrown as SluiceError).code).toBe('INVALID_OPTION');
    },
  );
});

const suite = browserPath === undefined ? 'in a browser: skipped, no Chromium found' : 'in a browser';

describe.skipIf(browserPath === undefined)(suite, () => {
  const openPage = sharePage();

  test('the dashboard works below a path of the application', async () => {
    const { manager } = shared();
    const url = await serve(mounted('/admin/sluice', manager.dashboardHandler()));
    const { page, complaints, requested } = await openPage(`${url}/admin/sluice`);
    await page.getByRole('status').getByText('running').waitFor();
    expect(page.url()).toBe(`${url}/admin/sluice/`);
    expect(requested.every((address) => address.startsWith(`${url}/admin/sluice`))).toBe(true);
    expect(complaints).toEqual([]);
  });

  test('a hidden dashboard keeps no stream open, and is up to date soon after it is visible again', async () => {
    const { handler } = shared();
    let streams = 0;
    let polls = 0;
    const url = await serve((request, response) => {
      if (/^\/sluice\/(?:events|api\/tail)/.test(request.url ?? '')) {
        streams++;
        response.on('close', () => streams--);
      }
      if (request.url?.startsWith('/sluice/api/connections/')) polls++;
      handler(request, response);
    });
    const { page } = await openPage(`${url}/sluice/`);
    const about = page.locator('#about');
    const setHidden = (isHidden: boolean) =>
      page.evaluate(`
        Object.defineProperty(document, 'hidden', { configurable: true, value: ${isHidden} });
        document.dispatchEvent(new Event('visibilitychange'));
      `);
    await page.getByRole('status').getByText('running').waitFor();
    expect(streams).toBe(1);
    await page.getByRole('button', { name: 'Start' }).click();
    await page.locator('#tail-note').getByText('running').waitFor();
    expect(streams).toBe(2);
    await page.evaluate("location.hash = '#connection=nobody'");
    await page.getByText('This connection is closed.').waitFor();
    await setHidden(true);
    await until(() => streams === 0);
    let polled: number;
    // A poll may still be on its way.
    do {
      polled = polls;
      await page.evaluate('new Promise((resolve) => setTimeout(resolve, 200))');
    } while (polls > polled);
    // Its clock goes on, and is checked once per second.
    await page.evaluate('{ const { now } = Date; Date.now = () => now() + 60_000; }');
    const shown = await about.textContent();
    await page.evaluate('new Promise((resolve) => setTimeout(resolve, 1500))');
    expect(await page.title()).toBe('Sluice');
    expect(polls).toBe(polled);
    await setHidden(false);
    await until(() => streams === 2 && polls > polled);
    await expect.poll(() => about.textContent()).not.toBe(shown);
    expect(await page.locator('#stale').isVisible()).toBe(false);
  });
});
