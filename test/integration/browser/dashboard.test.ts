import { once } from 'node:events';
import { createServer, get, request } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { HistoryColumns } from '#src/admin/history.js';
import { type AdminBroker, startAdminBroker, startPlainAdminBroker } from '../../support/admin.js';
import { LIGHT, shareIdle, temporaryFolder } from '../../support/broker.js';
import { browserPath, sharePage } from '../../support/browser.js';
import { FILES } from '../../support/dashboard-files.js';
import { makeDeadLetters } from '../../support/dead-letters.js';
import { changed, line, VALID } from '../../support/messages.js';

const SETTINGS = { admin: '127.0.0.1:0' } as const;
/** Room for many connections, and soon none in the outbox of a peer that does not read. */
const SHARED_SETTINGS = { ...SETTINGS, maxPendingBytes: 64 * 1024, maxConnections: 300 };

const suite =
  browserPath === undefined ? 'the dashboard in a browser: skipped, no Chromium found' : 'the dashboard';

describe.skipIf(browserPath === undefined)(suite, () => {
  const openPage = sharePage();
  const shared = shareIdle((whenOver) =>
    startAdminBroker({ ...LIGHT, ...SHARED_SETTINGS, log: join(temporaryFolder(whenOver), 'log') }, whenOver),
  );

  function withCrawlers(broker: AdminBroker) {
    const url = `http://${broker.manager.getStatus().admin}/`;
    const addCrawler = async (crawlerId: string) => {
      const crawler = await broker.connect();
      crawler.say('hello', { role: 'crawler', crawlerId });
      await crawler.next('welcome');
      return crawler;
    };
    return { ...broker, url, addCrawler };
  }

  test('shows what goes on, as it goes on, and asks nobody but the broker', async () => {
    const { url, addCrawler, connect, manager } = withCrawlers(shared());
    const { page, complaints, requested } = await openPage(url);
    await page.getByRole('status').getByText('running').waitFor();
    await page.locator('#rejections').getByText('None so far').waitFor();
    const crawler = await addCrawler('crawler-1');
    crawler.write(line(VALID.heartbeat).repeat(500));
    await crawler.settled();
    await page.locator('#rows').getByRole('cell', { name: 'crawler-1', exact: true }).waitFor();
    await page.locator('#types').getByText('heartbeat').waitFor();
    expect(await page.locator('#chart-rates canvas').count()).toBe(1);
    await expect.poll(() => page.locator('#chart-rates').getAttribute('aria-label')).toContain('received');

    const log = page.getByRole('region', { name: 'Durable log', exact: true });
    await log.getByText('No cursors').waitFor();
    const app = await connect();
    await app.subscribe({ id: 'a', cursor: '<b>reports</b>\u202e', ack: 'manual', from: 'first' });
    await log.getByRole('cell', { name: '<b>reports</b>\\u{202e}', exact: true }).waitFor();
    const { end = 0 } = manager.getMetrics().durableLog ?? {};
    expect(await log.locator('tbody td').allTextContents()).toEqual(['<b>reports</b>\\u{202e}', String(end)]);
    const figures = await log.locator('dl div').allTextContents();
    expect(figures).toEqual(
      expect.arrayContaining(['Diskworks', `Stored messages${end}`, 'Waiting for the disk0 B']),
    );
    expect(complaints).toEqual([]);
    expect(requested.every((address) => address.startsWith(url))).toBe(true);
  });

  test('works behind the path prefix of a reverse proxy', async () => {
    const { manager } = shared();
    const url = await startProxy(String(manager.getStatus().admin), '/sluice/');
    const { page, complaints, requested } = await openPage(url);
    await page.getByRole('status').getByText('running').waitFor();
    await expect.poll(() => page.locator('#chart-rates').getAttribute('aria-label')).toContain('received');
    const paths = requested.map((address) => address.replace(url, '/').replace(/\?.*/, ''));
    expect(paths.sort()).toEqual(
      [...FILES.map(([path]) => path), '/api/dead-letters', '/api/history', '/api/jobs', '/events'].sort(),
    );
    expect(complaints).toEqual([]);
  });

  test('runs no inline scripts and applies no inline styles', async () => {
    const { url } = withCrawlers(shared());
    const { page, complaints } = await openPage(url);
    await page.getByRole('status').getByText('running').waitFor();
    expect(complaints).toEqual([]);
    await page.evaluate(`(() => {
      const script = document.createElement('script');
      script.textContent = 'window.injected = true';
      document.body.append(script);
      document.querySelector('h1').setAttribute('style', 'color: rgb(1, 2, 3)');
    })()`);
    await expect.poll(() => complaints.length).toBe(2);
    expect(complaints[0]).toMatch(/inline script.*Content Security Policy/s);
    expect(complaints[1]).toMatch(/inline style.*Content Security Policy/s);
    const seen = await page.evaluate(
      "[window.injected, getComputedStyle(document.querySelector('h1')).color]",
    );
    expect(seen).toEqual([undefined, expect.not.stringContaining('rgb(1, 2, 3)')]);
  });

  test('shows where rejected messages are wrong, not their content', async () => {
    const { url, addCrawler } = withCrawlers(shared());
    const crawler = await addCrawler('<b>crawler</b>');
    crawler.say(
      'job_progress',
      { stage: 'glpat-secret', entityType: 'issue', processed: 1 },
      { jobId: 'job-1' },
    );
    await crawler.settled();
    const { page, complaints } = await openPage(url);
    const rejection = page.locator('#rejections li', { hasText: '<b>crawler</b>' });
    await rejection.getByText('SCHEMA_VIOLATION').waitFor();
    const text = (await rejection.textContent()) ?? '';
    expect(text).toContain('<b>crawler</b>, line 2');
    expect(text).toContain('job_progress – data.stage');
    expect(await page.content()).not.toContain('glpat');
    const group = page.locator('#rejection-groups tr', { hasText: 'data.stage' });
    expect((await group.locator('td').allTextContents()).slice(0, 3)).toEqual([
      'SCHEMA_VIOLATION',
      'job_progress',
      'data.stage: invalid_value',
    ]);
    expect(await group.getByRole('img').getAttribute('aria-label')).toMatch(/^\d+ in the last hour/);
    expect(await group.locator('path').getAttribute('d')).toMatch(/^M0\.5 15\.0L.*59\.5 1\.0$/);
    expect(complaints).toEqual([]);
  });

  test('sorts the connections from the keyboard', async () => {
    const { url, addCrawler } = withCrawlers(shared());
    for (const name of ['crawler-2', 'crawler-10', 'crawler-1']) await addCrawler(name);
    const { page } = await openPage(url);
    await page.locator('#rows').getByRole('cell', { name: 'crawler-10', exact: true }).waitFor();
    const names = () => page.locator('#rows td:first-child').allTextContents();
    await page.getByRole('button', { name: 'Peer' }).focus();
    await page.keyboard.press('Enter');
    await expect.poll(names).toEqual(['crawler-1', 'crawler-2', 'crawler-10']);
    expect(await page.getByRole('columnheader', { name: 'Peer' }).getAttribute('aria-sort')).toBe(
      'ascending',
    );
    await page.keyboard.press('Space');
    await expect.poll(names).toEqual(['crawler-10', 'crawler-2', 'crawler-1']);
    await page.keyboard.press('Tab');
    expect(await page.locator(':focus').textContent()).toBe('Role');
  });

  test('finds any connection, and shows all of them by pages', async () => {
    const { url, connect, addCrawler } = withCrawlers(shared());
    await addCrawler('needle');
    await Promise.all(Array.from({ length: 204 }, () => connect()));
    const { page, complaints } = await openPage(url);
    await page.getByText('200 of 205: slow consumers and the busiest').waitFor();
    const names = () => page.locator('#rows td:first-child').allTextContents();
    const search = page.getByRole('searchbox', { name: 'Search the connections' });
    await search.fill('NEEDLE');
    await expect.poll(names).toEqual(['needle']);
    await page.locator('#connections-note').getByText('1 to 1 of 1').waitFor();
    await search.fill('nobody');
    await page.getByText('No connection matches the search').waitFor();
    await search.fill('');
    await page.getByRole('button', { name: 'All connections' }).click();
    await page.getByText('1 to 100 of 205').waitFor();
    const previous = page.getByRole('button', { name: 'Previous' });
    expect(await previous.isDisabled()).toBe(true);
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByText('201 to 205 of 205').waitFor();
    expect((await names()).length).toBe(5);
    expect(await page.getByRole('button', { name: 'Next' }).isDisabled()).toBe(true);
    await previous.click();
    await page.getByText('101 to 200 of 205').waitFor();
    await page.getByRole('button', { name: 'All connections' }).click();
    await page.getByText('200 of 205: slow consumers and the busiest').waitFor();
    expect(complaints).toEqual([]);
  });

  test('shows the jobs, with their progress', async () => {
    const { url, addCrawler } = withCrawlers(shared());
    const crawler = await addCrawler('crawler-1');
    const progress = changed('job_progress', { processed: 10, total: 40 });
    for (const jobId of ['<b>job</b>', 'job-2']) crawler.write(line({ ...progress, jobId }));
    await crawler.settled();
    const { page, complaints } = await openPage(url);
    const row = page.locator('#jobs tr', { hasText: '<b>job</b>' });
    await row.getByText('10 of 40 (25 %)').waitFor();
    expect((await row.locator('td').allTextContents()).slice(0, 4)).toEqual([
      '<b>job</b>',
      'open',
      'job_progress',
      'crawler-1',
    ]);
    await page.getByRole('searchbox', { name: 'Search the jobs' }).fill('job-2');
    await row.waitFor({ state: 'detached' });
    await page.locator('#jobs').getByText('job-2').waitFor();
    expect(complaints).toEqual([]);
  });

  test('shows work groups and dead letters; with an admin token, sends one again and drops one', async () => {
    const log = join(temporaryFolder(), 'log');
    const token = 'admin-token-0123456789';
    const broker = await startPlainAdminBroker({ ...SETTINGS, log, auth: { tokens: { admin: [token] } } });
    const { page, complaints } = await openPage(withCrawlers(broker).url);
    const letters = page.getByRole('region', { name: 'Dead letters', exact: true }).first();
    await letters.getByText('None').waitFor();
    await makeDeadLetters(broker, log);
    const groups = page.getByRole('region', { name: 'Work groups', exact: true }).first();
    await groups.getByRole('cell', { name: 'workers', exact: true }).waitFor();
    expect(await groups.locator('tbody td').allTextContents()).toEqual(['workers', '1', '0', '0']);

    await page.getByRole('searchbox', { name: 'Search the dead letters' }).fill('workers');
    const row = letters.locator('tbody tr', { hasText: 'MAX_DELIVERIES' });
    await letters.getByText('1 to 1 of 1').waitFor();
    expect((await row.locator('td').allTextContents()).slice(1, 5)).toEqual([
      'MAX_DELIVERIES',
      'job_started',
      'crawler-7',
      'workers',
    ]);
    await row.click();
    const detail = page.getByRole('dialog', { name: 'Dead letter 1' });
    await detail.getByText('Shown only if the broker has the option feed').waitFor();
    await detail.getByText('sluice dead retry FOLDER 1').waitFor();
    const [again, drop] = ['Send again', 'Drop'].map((name) => detail.getByRole('button', { name }));
    await again?.click();
    await detail.getByText('an admin token is required').waitFor();
    await detail.getByLabel('Admin token').fill(token);
    await again?.click();
    await detail.getByText('Done: retry').waitFor();
    expect(await drop?.isDisabled()).toBe(true);
    await page.keyboard.press('Escape');
    await letters.getByText('None').waitFor();

    await page.getByRole('searchbox', { name: 'Search the dead letters' }).fill('');
    await letters.getByRole('cell', { name: 'SCHEMA_VIOLATION' }).click();
    const other = page.getByRole('dialog', { name: 'Dead letter 0' });
    // Only its beginning was kept.
    expect(await other.getByRole('button', { name: 'Send again' }).isDisabled()).toBe(true);
    await other.getByRole('button', { name: 'Drop' }).click();
    await other.getByText('Done: drop').waitFor();
    await page.keyboard.press('Escape');
    await letters.getByText('None').waitFor();
    expect(await page.content()).not.toContain('hunter2');
    expect(complaints.filter((text) => !text.includes('401'))).toEqual([]);
  });

  test('shows the beginning of an open dead letter once a token is entered', async () => {
    const log = join(temporaryFolder(), 'log');
    const broker = await startPlainAdminBroker({ ...SETTINGS, log, feed: true });
    await makeDeadLetters(broker, log);
    const token = 'monitor-token-0123456789';
    broker.manager.setAuth({ tokens: { monitor: [token] } });
    const { page } = await openPage(withCrawlers(broker).url);
    await page.getByRole('cell', { name: 'MAX_DELIVERIES' }).click();
    const detail = page.getByRole('dialog', { name: 'Dead letter 1' });
    await detail.getByText('Shown only if the broker has the option feed').waitFor();
    await detail.getByLabel('Admin token').fill(token);
    await detail.getByText('"type":"job_started"').waitFor();
    expect(await page.content()).not.toContain('hunter2');
  });

  test('sends a test message, once a token is entered', async () => {
    const token = 'admin-token-0123456789';
    const broker = withCrawlers(
      await startPlainAdminBroker({ ...SETTINGS, auth: { tokens: { admin: [token] } } }),
    );
    const crawler = await broker.addCrawler('crawler-1');
    const { page } = await openPage(broker.url);
    await page.getByRole('status').getByText('running').waitFor();
    const form = page.getByRole('region', { name: 'Test message', exact: true });
    expect(await form.count()).toBe(0);
    await page.getByLabel('Token for the live tail').fill(token);
    const send = form.getByRole('button', { name: 'Send' });
    await form.getByLabel('Message, in JSON').fill('{');
    await send.click();
    await form.getByText('The message must be JSON').waitFor();
    await form.getByLabel('Message, in JSON').fill(JSON.stringify(VALID.job_cancel));
    await form.getByLabel('Crawler ID').fill('nobody');
    await send.click();
    await form.getByText('no such crawler').waitFor();
    for (const crawlerId of ['crawler-1', '']) {
      await form.getByLabel('Crawler ID').fill(crawlerId);
      await send.click();
      expect(await crawler.next('job_cancel')).toMatchObject({ type: 'job_cancel' });
      await form.getByText('Sent to 1 crawler').waitFor();
    }
    await page.getByLabel('Token for the live tail').fill('');
    await form.waitFor({ state: 'hidden' });
  });

  test('goes on after an answer that is cut off, or that a proxy has given', async () => {
    const token = 'admin-token-0123456789';
    const { url, addCrawler } = withCrawlers(
      await startPlainAdminBroker({ ...SETTINGS, auth: { tokens: { admin: [token] } } }),
    );
    const crawler = await addCrawler('crawler-1');
    crawler.write(line({ ...VALID.job_progress, jobId: 'job-1' }));
    await crawler.settled();
    const { page } = await openPage(url);
    await page.getByLabel('Token for the live tail').fill(token);
    const form = page.getByRole('region', { name: 'Test message', exact: true });
    const send = form.getByRole('button', { name: 'Send' });
    await form.getByLabel('Message, in JSON').fill(JSON.stringify(VALID.job_cancel));
    await page.route('**/api/messages', (route) =>
      route.fulfill({ status: 502, contentType: 'text/html', body: '<h1>Bad Gateway</h1>' }),
    );
    await page.route(/api\/(?:connections\/|jobs)/, (route) =>
      route.fulfill({ contentType: 'application/json', body: '{"rows":' }),
    );
    onTestFinished(() => page.unrouteAll());
    await send.click();
    await form.getByText('No answer from the broker').waitFor();
    expect(await send.isEnabled()).toBe(true);
    await page.getByRole('searchbox', { name: 'Search the jobs' }).fill('job');
    await page.waitForResponse(/api\/jobs\?search=job/);
    await page.locator('#rows').getByRole('cell', { name: 'crawler-1', exact: true }).click();
    await page.getByText('No answer from the broker.').waitFor();
    await page.unrouteAll();
    const detail = page.getByRole('dialog', { name: 'crawler-1' });
    await detail.getByText('Active jobs').waitFor();
    await page.keyboard.press('Escape');
    await page.locator('#jobs').getByText('job-1').waitFor();
  });

  test('has neither without a durable log', async () => {
    const { page, requested } = await openPage(withCrawlers(await startPlainAdminBroker(SETTINGS)).url);
    await page.getByRole('status').getByText('running').waitFor();
    await page.locator('#connections-note').waitFor({ state: 'attached' });
    for (const name of ['Dead letters', 'Work groups', 'Durable log'])
      expect(await page.getByRole('region', { name, exact: true }).count()).toBe(0);
    expect(requested.filter((address) => address.includes('dead-letters?'))).toEqual([]);
  });

  test('shows messages as they come, if the feed is on and the token is right', async () => {
    const off = await openPage(withCrawlers(shared()).url);
    await off.page.getByRole('button', { name: 'Start' }).click();
    await off.page.getByText('the tail is off: set the option feed').waitFor();
    const token = 'monitor-token-0123456789';
    const { url, connect } = withCrawlers(
      await startPlainAdminBroker({ ...SETTINGS, feed: true, auth: { tokens: { monitor: [token] } } }),
    );
    const { page } = await openPage(url);
    await page.getByRole('button', { name: 'Start' }).click();
    await page.getByText('a token of the role monitor or app').waitFor();
    await page.getByLabel('Token for the live tail').fill(token);
    await page.getByLabel('Types').fill('heartbeat, job_*');
    await page.getByRole('button', { name: 'Start' }).click();
    await page.locator('#tail-note').getByText('running').waitFor();
    const crawler = await connect();
    crawler.write(line(changed('job_progress', { message: '<b>password: hunter2</b>' })));
    const entry = page.locator('#tail li', { hasText: 'job_progress' });
    await entry.getByText('<b>password: ***').waitFor();
    expect(await page.content()).not.toContain('hunter2');
    await page.getByRole('button', { name: 'Pause', exact: true }).click();
    await page.locator('#tail-note').getByText('paused').waitFor();
  });

  test('shows one connection, which can be linked, and closes it with Back or Escape', async () => {
    const { url, addCrawler } = withCrawlers(shared());
    const crawler = await addCrawler('crawler-1');
    crawler.write(line({ type: 'nonsense' }));
    await crawler.subscribe({ id: 'reports', types: ['job_*'], jobIds: ['job-1', 'job-2'] });
    const { page, complaints } = await openPage(url);
    await page.locator('#rows').getByRole('cell', { name: 'crawler-1', exact: true }).click();
    const detail = page.getByRole('dialog', { name: 'crawler-1' });
    await detail.getByRole('cell', { name: 'job-1, job-2' }).waitFor();
    await detail.locator('#detail-codes').getByText('UNKNOWN_TYPE').waitFor();
    await expect(detail.locator('dl').textContent()).resolves.toMatch(/Rolecrawler.*Rejected1/);
    await page.waitForURL(/#connection=[\w-]+$/);
    const linked = page.url();
    await page.goBack();
    await detail.waitFor({ state: 'hidden' });
    await page.goForward();
    await detail.getByText('Active jobs').waitFor();
    await page.keyboard.press('Escape');
    await detail.waitFor({ state: 'hidden' });
    // The dialog is hidden first.
    await page.waitForURL(url);
    await page.goto('about:blank');
    await page.goto(linked);
    await detail.getByRole('cell', { name: 'job-1, job-2' }).waitFor();
    await crawler.close();
    await detail.getByText('This connection is closed.').waitFor();
    expect(complaints.filter((text) => !text.includes('404'))).toEqual([]);
  });

  test('needs no scrolling sideways', async () => {
    const { url, addCrawler } = withCrawlers(shared());
    const name = 'a-crawler-with-a-long-name-'.repeat(4);
    const crawler = await addCrawler(name);
    crawler.write(line({ type: 'nonsense' }));
    await crawler.settled();
    const { page } = await openPage(url);
    await page.locator('#rows').getByRole('cell', { name, exact: true }).waitFor();
    await page.locator('#rejections').getByText(name).first().waitFor();
    for (const width of [390, 768, 1280]) {
      await page.setViewportSize({ width, height: 800 });
      await expect.poll(() => page.evaluate('innerWidth')).toBe(width);
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
    }
  });

  test('has text that can be read', async () => {
    const { url } = withCrawlers(shared());
    const { page } = await openPage(url);
    await page.getByRole('status').getByText('running').waitFor();
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      for (const selector of ['h1', 'h2', '.quiet', '.pill', 'th button', '.nothing']) {
        const colours = (await page.evaluate(COLOURS_OF(selector))) as [string, string];
        expect(contrast(...colours), `${colorScheme}, ${selector}: ${colours}`).toBeGreaterThanOrEqual(4.5);
      }
    }
  });

  test('shows each of the peers that do not keep up, when they have one name', async () => {
    const { url, connect, addCrawler } = withCrawlers(shared());
    for (let number = 1; number <= 2; number++) {
      // Only crawlers have a name of their own.
      const peer = await connect();
      peer.say('hello', { role: 'app', crawlerId: 'crawler-1' });
      await peer.subscribe({ overflow: 'drop-oldest' });
      peer.socket.pause();
    }
    const crawler = await addCrawler('crawler-2');
    crawler.write(line(VALID.heartbeat).repeat(5000));
    await crawler.settled();
    const { page } = await openPage(url);
    const bars = page.locator('#slow .bar');
    await expect.poll(() => bars.count()).toBe(2);
    // Nor do they become one with the next snapshot.
    const shown = await page.locator('#about').textContent();
    await expect.poll(() => page.locator('#about').textContent()).not.toBe(shown);
    expect(await bars.count()).toBe(2);
  });

  test('shows what is dropped, and for whom, though 250 others are busier', async () => {
    const { url, connect, addCrawler } = withCrawlers(shared());
    const stuck = await addCrawler('stuck');
    await stuck.subscribe({ overflow: 'drop-newest' });
    stuck.socket.pause();
    const { page, complaints } = await openPage(url);
    const crawlers = await Promise.all(Array.from({ length: 250 }, () => connect()));
    const send = (count: number) => {
      for (const crawler of crawlers) crawler.write(line(VALID.job_progress).repeat(count));
    };
    send(40);
    const timer = setInterval(send, 500, 1);
    onTestFinished(() => clearInterval(timer));
    const slow = page.locator('#slow');
    const entry = slow.locator('li', { hasText: /^stuck/ });
    await entry.getByText(/ dropped, .* behind$/).waitFor();
    await expect(slow.textContent()).resolves.toMatch(/^stuck[\d,.]+ k? ?dropped/);
    const row = page.locator('#rows tr', { has: page.getByRole('cell', { name: 'stuck', exact: true }) });
    await expect.poll(() => row.locator('td:nth-child(3)').textContent()).toBe('dropping');
    const dropped = async () => (await row.locator('td:nth-child(7)').textContent()) ?? '';
    await expect.poll(dropped).toMatch(/^[\d,]{5,}|\d k$/);
    expect(await page.getByRole('columnheader').allTextContents()).toContain('Dropped');
    await page.getByText('200 of 251: slow consumers and the busiest').waitFor();
    await page.getByRole('button', { name: 'Health' }).click();
    await expect.poll(() => page.locator('#rows tr:first-child td:first-child').textContent()).toBe('stuck');
    expect(complaints).toEqual([]);
  });

  test('shows what the schemas do not know, and who sends it', async () => {
    const { url, addCrawler } = withCrawlers(shared());
    const [one, two] = [await addCrawler('crawler-1'), await addCrawler('crawler-2')];
    one.write(line(changed('heartbeat', { gpuUsage: 1 })));
    await one.settled();
    const { page, complaints } = await openPage(url);
    const entry = page.locator('#drift li', { hasText: 'data.gpuUsage' });
    await entry.getByText('crawler-1, since').waitFor();
    await expect(entry.textContent()).resolves.toMatch(/unknown key.*heartbeat data\.gpuUsage$/);
    two.write(line(changed('heartbeat', { gpuUsage: 1 })));
    await entry.getByText('crawler-1, crawler-2, since').waitFor();
    expect(await entry.count()).toBe(1);
    expect(complaints).toEqual([]);
  });

  test('is updated in place: what is selected stays selected', async () => {
    const { url, addCrawler } = withCrawlers(shared());
    const crawler = await addCrawler('crawler-to-copy');
    crawler.write(line({ type: 'nonsense' }));
    await crawler.settled();
    const { page } = await openPage(url);
    await page.locator('#rows').getByRole('cell', { name: 'crawler-to-copy', exact: true }).waitFor();
    await page.locator('#rejections .code').first().waitFor();
    await page.evaluate(`(() => {
      window.kept = ['#rows tr', '#rejections li', '#codes li', '#internals div'].map((selector) =>
        document.querySelector(selector),
      );
      getSelection().selectAllChildren(document.querySelector('#rows td'));
    })()`);
    // Others come, and are busier: the order changes.
    const busy = await addCrawler('a-busier-one');
    for (let round = 0; round < 2; round++) {
      const shown = await page.locator('#about').textContent();
      busy.write(line(VALID.heartbeat).repeat(100));
      await expect.poll(() => page.locator('#about').textContent()).not.toBe(shown);
    }
    await page.locator('#rows').getByRole('cell', { name: 'a-busier-one', exact: true }).waitFor();
    expect(await page.evaluate('getSelection().toString()')).toBe('crawler-to-copy');
    expect(await page.evaluate('window.kept.every((element) => element.isConnected)')).toBe(true);
    // Without a selection, the busiest is first again.
    await page.evaluate('getSelection().removeAllRanges()');
    const timer = setInterval(() => busy.write(line(VALID.heartbeat).repeat(10)), 200);
    onTestFinished(() => clearInterval(timer));
    await expect.poll(() => page.locator('#rows td').first().textContent()).toBe('a-busier-one');
  });

  test('shows since when there is no data, and goes on with a gap when the broker is back', async () => {
    const first = withCrawlers(await startPlainAdminBroker(SETTINGS));
    const { socketPath } = first;
    const { page } = await openPage(first.url);
    await page.getByRole('status').getByText('running').waitFor();
    const crawler = await first.addCrawler('crawler-1');
    crawler.write(line(VALID.heartbeat).repeat(5000));
    await crawler.settled();
    const chart = page.locator('#chart-rates');
    await expect.poll(() => chart.getAttribute('aria-label')).toMatch(/received [1-9]/);
    await expect.poll(() => page.evaluate(GAPS)).toBe(0);
    expect(await page.locator('#stale').isVisible()).toBe(false);
    expect(await page.locator('#durable-log').isVisible()).toBe(false);
    const admin = String(first.manager.getStatus().admin);
    await first.manager.stop();
    await page.getByRole('status').getByText('no answer from the broker').waitFor();
    await page
      .getByRole('alert')
      .getByText(/No data from the broker since \d\d:\d\d:\d\d/)
      .waitFor();
    expect(await page.evaluate("getComputedStyle(document.querySelector('main')).opacity")).toBe('0.6');
    await page.evaluate(SKIP_TIME);
    await expect.poll(() => page.locator('#stale-age').textContent()).toMatch(/\([3-9] s ago\)/);
    expect(await page.title()).toBe('Sluice – no answer');

    await page.evaluate(`(() => {
      window.texts = [];
      const { fillText } = CanvasRenderingContext2D.prototype;
      CanvasRenderingContext2D.prototype.fillText = function (text, ...others) {
        window.texts.push(text);
        return fillText.call(this, text, ...others);
      };
    })()`);
    await startPlainAdminBroker({ ...SETTINGS, socketPath, admin });
    await page.getByRole('status').getByText('running').waitFor();
    expect(await page.locator('#stale').isVisible()).toBe(false);
    expect(await page.title()).toBe('Sluice');
    await expect.poll(() => page.evaluate(GAPS)).toBe(1);
    // The counters began again: that is neither a negative rate nor a peak.
    expect(await chart.getAttribute('aria-label')).toMatch(
      /: received (?:0|unknown), delivered (?:0|unknown)$/,
    );
    const texts = (await page.evaluate('window.texts')) as string[];
    expect(texts.filter((text) => text.startsWith('-'))).toEqual([]);
  });

  test('notices that the broker hangs, and that it goes on', async () => {
    const { manager } = shared();
    const broker = await startSuspendable(String(manager.getStatus().admin));
    const { page } = await openPage(broker.url);
    await page.getByRole('status').getByText('running').waitFor();
    broker.suspend();
    await page.evaluate(SKIP_TIME);
    await page.getByRole('alert').getByText('No data from the broker since').waitFor();
    broker.resume();
    await page.getByRole('status').getByText('running').waitFor();
  });

  test('begins with the history, and shows the values at the cursor', async () => {
    const { url } = withCrawlers(shared());
    const { page, complaints } = await openPage('about:blank');
    await page.route('**/api/history', (route) => route.fulfill({ json: historyOf(10) }));
    onTestFinished(() => page.unroute('**/api/history'));
    await page.goto(url);
    const chart = page.locator('#chart-rates');
    const legend = page.locator('#legend-rates');
    await page.getByRole('button', { name: '1 h' }).click();
    await chart.focus();
    // The first of 120 points of 5 s.
    await expect
      .poll(async () => {
        await page.keyboard.press('Home');
        return legend.textContent();
      })
      .toMatch(/^received1,000delivered500\d\d:\d\d:\d\d$/);
    await page.keyboard.press('ArrowRight');
    await expect.poll(() => legend.textContent()).toMatch(/^received1,001delivered500\d\d:\d\d:\d\d$/);
    expect(await chart.getAttribute('aria-label')).toMatch(
      /^Messages per second at \d\d:\d\d:\d\d: received 1,001, delivered 500$/,
    );
    // It stays there with the next snapshots.
    const shown = await page.locator('#about').textContent();
    await expect.poll(() => page.locator('#about').textContent()).not.toBe(shown);
    expect(await legend.textContent()).toContain('received1,001');
    expect(await page.locator('#legend-memory').textContent()).toMatch(/^resident100.0 MB\d\d:\d\d:\d\d$/);
    // The five minutes that it shows otherwise are the second half.
    await page.getByRole('button', { name: '5 min', exact: true }).click();
    await page.keyboard.press('Escape');
    await chart.focus();
    await page.keyboard.press('Home');
    await expect.poll(() => legend.textContent()).toMatch(/^received1,06\d/);
    await page.keyboard.press('Escape');
    await expect.poll(() => legend.textContent()).toMatch(/^received0delivered0$/);
    // Under the pointer, in all charts.
    await chart.hover({ position: { x: 200, y: 60 } });
    await expect.poll(() => legend.textContent()).toMatch(/^received1,0\d\ddelivered500\d\d:\d\d:\d\d$/);
    await expect.poll(() => page.locator('#legend-memory').textContent()).toContain('100.0 MB');
    expect(complaints).toEqual([]);
  });

  test('keeps its charts as they are while they are paused', async () => {
    const { url, addCrawler } = withCrawlers(shared());
    const { page } = await openPage(url);
    await page.getByRole('status').getByText('running').waitFor();
    const pause = page.getByRole('button', { name: 'Pause charts' });
    await pause.click();
    expect(await pause.getAttribute('aria-pressed')).toBe('true');
    const paused = await page.locator('#legend-connections').textContent();
    await addCrawler('crawler-1');
    await page.locator('#rows').getByRole('cell', { name: 'crawler-1', exact: true }).waitFor();
    expect(await page.locator('#legend-connections').textContent()).toBe(paused);
    await pause.click();
    await expect.poll(() => page.locator('#legend-connections').textContent()).toBe('open1');
  });

  test('no two time labels of a chart are the same', async () => {
    const { url } = withCrawlers(shared());
    const { page } = await openPage(url, { width: 390 });
    await page.evaluate(`(() => {
      const { clearRect, fillText } = CanvasRenderingContext2D.prototype;
      window.labels = [];
      CanvasRenderingContext2D.prototype.clearRect = function (...rest) {
        if (this.canvas.closest('#chart-rates')) window.labels.push([]);
        return clearRect.apply(this, rest);
      };
      CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
        if (this.canvas.closest('#chart-rates') && /^\\d\\d:/.test(text)) window.labels.at(-1)?.push(text);
        return fillText.call(this, text, ...rest);
      };
    })()`);
    // The first drawing may come before the first snapshot, the last one may be unfinished.
    const drawings = async () =>
      ((await page.evaluate('window.labels')) as string[][]).slice(0, -1).filter(({ length }) => length > 0);
    for (const width of [390, 1280]) {
      await page.setViewportSize({ width, height: 800 });
      const before = (await drawings()).length;
      await expect.poll(async () => (await drawings()).length).toBeGreaterThan(before + 1);
    }
    for (const labels of await drawings()) expect(new Set(labels).size, String(labels)).toBe(labels.length);
  });

  test('reconnects by itself after the broker has rejected its event stream', async () => {
    const { url } = withCrawlers(shared());
    const others = Array.from({ length: 32 }, () => get(`${url}events`));
    const leave = () => {
      for (const other of others) other.destroy();
    };
    onTestFinished(leave);
    await Promise.all(others.map((other) => once(other, 'response')));
    const { page } = await openPage(url);
    await page.getByRole('status').getByText('no answer from the broker').waitFor();
    leave();
    await page.getByRole('status').getByText('running').waitFor();
  });
});

/** What `/api/history` may return: more received messages with each point, everything else constant. */
function historyOf(minutes: number): HistoryColumns {
  const count = minutes * 12;
  const of = (value: (at: number) => number) => Array.from({ length: count }, (_, at) => value(at));
  const constant = { delivered: 500, rejected: 1, dropped: 0, p50: 1, p90: 2, p99: 3, utilization: 0.5 };
  const figures = { ...constant, connections: 3, rss: 100e6, eventLoopDelay: 1 };
  const columns = Object.entries(figures).map(([name, value]) => [name, of(() => value)] as const);
  return {
    interval: 5000,
    columns: {
      at: of((at) => Date.now() - (count - at) * 5000),
      received: of((at) => 1000 + at),
      ...Object.fromEntries(columns),
    },
  };
}

/** Puts the page's clock forward by as long as data may stay away. */
const SKIP_TIME = `(() => {
  const { now } = Date;
  Date.now = () => now() + 3000;
})()`;

/**
 * The number of gaps in the line of received messages: columns without its colour, between those that have it; -1 if there
 * is no line yet.
 */
const GAPS = `(() => {
  const canvas = document.querySelector('#chart-rates canvas');
  const { width, height } = canvas;
  const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
  const isLine = (at) => Math.abs(data[at] - 31) + Math.abs(data[at + 1] - 111) + Math.abs(data[at + 2] - 214) < 60;
  const columns = Array.from({ length: width }, (_, x) => {
    for (let y = 0; y < height; y++) if (isLine((y * width + x) * 4)) return '#';
    return ' ';
  });
  const line = columns.join('').trim();
  // A gap of at least a second.
  return line === '' ? -1 : line.split(/ {8,}/).length - 1;
})()`;

interface Suspendable {
  /** Of the dashboard. */
  readonly url: string;
  /** From here on, connections are accepted as by a process that is stopped: nothing is read or written. */
  readonly suspend: () => void;
  readonly resume: () => void;
}

/** Makes an admin server available at another port, where it can be suspended. */
async function startSuspendable(admin: string): Promise<Suspendable> {
  const [host, port] = admin.split(':');
  const sockets: Socket[] = [];
  let isSuspended = false;
  const server = createTcpServer((client) => {
    const upstream = connect(Number(port), host);
    sockets.push(client, upstream);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.on('data', (bytes) => to.write(bytes));
      from.on('error', () => {}).on('close', () => to.destroy());
      if (isSuspended) from.pause();
    }
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const set = (suspended: boolean) => {
    isSuspended = suspended;
    for (const socket of sockets) suspended ? socket.pause() : socket.resume();
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    suspend: () => set(true),
    resume: () => set(false),
  };
}

/** Starts a reverse proxy that serves an admin server below a path prefix. @returns the URL of the dashboard */
async function startProxy(admin: string, prefix: string): Promise<string> {
  const [host, port] = admin.split(':');
  const proxy = createServer(({ url = '', method, headers }, response) => {
    if (!url.startsWith(prefix)) {
      response.writeHead(404).end();
      return;
    }
    const path = url.slice(prefix.length - 1);
    const forwarded = request({ host, port, path, method, headers }, (reply) => {
      response.writeHead(reply.statusCode ?? 0, reply.headers);
      reply.pipe(response);
    });
    response.on('close', () => forwarded.destroy());
    forwarded.on('error', () => response.destroy()).end();
  });
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => {
    proxy.closeAllConnections();
    proxy.close();
  });
  return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}${prefix}`;
}

/** The colour of an element's text, and of what is behind it. */
const COLOURS_OF = (selector: string) => `(() => {
  const element = document.querySelector(${JSON.stringify(selector)});
  let behind = element;
  while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
  return [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
})()`;

/** As WCAG 2 has it, of two colours written `rgb(r, g, b)`. */
function contrast(first: string, second: string): number {
  const luminance = (colour: string) => {
    const [red = 0, green = 0, blue = 0] = (colour.match(/\d+/g) ?? []).map((part) => {
      const share = Number(part) / 255;
      return share <= 0.040_45 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [light = 0, dark = 0] = [luminance(first), luminance(second)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}
