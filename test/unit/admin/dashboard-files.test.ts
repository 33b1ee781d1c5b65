import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { type AdminReply, ask, sharePlainAdminBroker } from '../../support/admin.js';
import { FILES } from '../../support/dashboard-files.js';

describe('the files of the dashboard', () => {
  const shared = sharePlainAdminBroker();

  test('the page loads only files of the dashboard, and runs only their scripts', async () => {
    const { get } = shared();
    const { body, headers } = await get('/');
    const policy = String(headers['content-security-policy']);
    const [, script = ''] = /<script type="module" src="([^"]+)"><\/script>/.exec(body) ?? [];
    const [, style = ''] = /<link rel="stylesheet" href="([^"]+page\.css)" \/>/.exec(body) ?? [];
    for (const path of [script, style]) {
      const file = await get(`/${path}`);
      expect(file.body.length).toBeGreaterThan(1000);
      expect(file.headers.etag).toBe(`"${createHash('sha256').update(file.body).digest('base64url')}"`);
    }
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self'; style-src 'self'; connect-src 'self'");
    expect(policy).not.toContain('unsafe');
    expect(policy).not.toContain('sha256');
    expect(body).not.toMatch(/<(?:script|link|img)[^>]+(?:src|href)="(?!data:,"|dashboard\/[\w.-]+")/);
    // What the policy would block: inline scripts, styles and event handlers.
    expect(body).not.toMatch(/<script(?![^>]* src=)|<style|\s(?:style|on\w+)=/);
  });

  test('the page and its scripts refer to each file, and to no others', async () => {
    const { get } = shared();
    const found = new Set(['/']);
    for (const path of found) {
      const { status, body } = await get(path);
      expect(status, path).toBe(200);
      const reference =
        path === '/'
          ? /<(?:script|link)[^>]+"(dashboard\/[^"]+)"/g
          : /^} from '(.+)';|^import .* from '(.+)';/gm;
      for (const [, first, second] of body.matchAll(reference)) {
        found.add(new URL(first ?? second ?? '', `http://admin${path}`).pathname);
      }
    }
    expect([...found].sort()).toEqual(FILES.map(([path]) => path).sort());
    const folder = new URL(import.meta.resolve('#src/admin/dashboard/page.js'));
    for (const name of readdirSync(new URL('.', folder))) {
      expect([...found]).toContain(name === 'page.html' ? '/' : `/dashboard/${name}`);
    }
  });

  test.each(FILES)('%s is served as %s', async (path, type) => {
    const { adminPath, get } = shared();
    const { status, headers, body } = await get(path);
    expect(status).toBe(200);
    expect(body).not.toBe('');
    expect(headers).toMatchObject({
      'content-type': `${type}; charset=utf-8`,
      'content-length': String(Buffer.byteLength(body)),
      'content-security-policy':
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'same-origin',
      'cache-control': 'no-cache',
      etag: expect.stringMatching(/^"[\w-]{43}"$/),
    });
    const head = await ask(adminPath, path, { method: 'HEAD' });
    // Without those that depend on the time, or on how many requests the HTTP connection has had.
    const lasting = ({ date, connection, 'keep-alive': _, ...others }: AdminReply['headers']) => others;
    expect([head.status, head.body]).toEqual([200, '']);
    expect(lasting(head.headers)).toEqual(lasting(headers));
    const posted = await ask(adminPath, path, { method: 'POST' });
    expect([posted.status, posted.headers.allow]).toEqual([405, 'GET, HEAD']);
  });

  async function expectNotSent(
    path: string,
    first: AdminReply,
    known: string,
    method = 'GET',
  ): Promise<void> {
    const { adminPath } = shared();
    const reply = await ask(adminPath, path, { method, headers: { 'if-none-match': known } });
    expect([reply.status, reply.body], known).toEqual([304, '']);
    for (const name of ['etag', 'cache-control', 'content-security-policy', 'x-content-type-options'])
      expect(reply.headers[name]).toBe(first.headers[name]);
  }

  async function expectSent(path: string, first: AdminReply, known: string): Promise<void> {
    const reply = await ask(shared().adminPath, path, { headers: { 'if-none-match': known } });
    expect([reply.status, reply.body === first.body], known).toEqual([200, true]);
  }

  test.each(FILES)('%s is not sent again to a client that has it', async (path) => {
    const first = await shared().get(path);
    await expectNotSent(path, first, String(first.headers.etag));
    await expectSent(path, first, '"other"');
  });

  test.each(['/', '/dashboard/page.js'])('%s is compared with all forms of an ETag', async (path) => {
    const first = await shared().get(path);
    const etag = String(first.headers.etag);
    for (const known of [etag, `W/${etag}`, `"other", ${etag}`, '*'])
      for (const method of ['GET', 'HEAD']) await expectNotSent(path, first, known, method);
    for (const known of ['"other"', etag.slice(1, -1), `${etag}x`, '']) await expectSent(path, first, known);
  });

  test('replies that change are sent in full, whatever the client has', async () => {
    const { adminPath } = shared();
    for (const path of ['/api/stats', '/metrics', '/healthz']) {
      const { status, headers } = await ask(adminPath, path, { headers: { 'if-none-match': '*' } });
      expect([status, headers.etag]).toEqual([200, undefined]);
    }
  });

  test.each([
    '/package.json',
    '/page.js',
    '/page.html',
    '/dashboard',
    '/dashboard/',
    '/dashboard/page.html',
    '/dashboard/page.js/',
    '/dashboard/Page.js',
    '/dashboard/page',
    '/dashboard/page.js%00',
    '/dashboard/page.js%00.css',
    '/dashboard/%00',
    '/dashboard/../../package.json',
    '/dashboard/../dashboard-files.js',
    '/dashboard/..%2f..%2fpackage.json',
    '/dashboard/..%5c..%5cpackage.json',
    '/dashboard/%2e%2e/%2e%2e/package.json',
    '/dashboard/%2e%2e%2f%2e%2e%2fpackage.json',
    '/dashboard/%252e%252e%252fpackage.json',
    '/dashboard/..;/package.json',
    '/dashboard/....//package.json',
    '/dashboard/%2fetc%2fpasswd',
    '/dashboard//etc/passwd',
    '/dashboard/%70age.js',
    '/dashboard/__proto__',
    '/dashboard/constructor',
    '/dashboard/uPlot.cjs.js',
  ])('%s is not found', async (path) => {
    expect((await shared().get(path)).status).toBe(404);
  });
});
