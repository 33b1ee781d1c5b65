import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { get } from 'node:http';
import type { SluiceOptions } from 'sluice';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type AdminBroker, shareAdminBroker, startAdminBroker } from '../../support/admin.js';
import { LIGHT } from '../../support/broker.js';
import { browserPath, shareBrowser } from '../../support/browser.js';
import { line, VALID } from '../../support/messages.js';

test('the dashboard is one document that may load nothing else, and run nothing but its own script', async () => {
  const { get } = await startAdminBroker(LIGHT);
  const { body, headers } = await get('/');
  const policy = String(headers['content-security-policy']);
  const [, script = ''] = /<script>([\s\S]*)<\/script>/.exec(body) ?? [];
  const [, style = ''] = /<style>([\s\S]*)<\/style>/.exec(body) ?? [];
  for (const text of [script, style]) {
    expect(text.length).toBeGreaterThan(1000);
    expect(policy).toContain(`'sha256-${createHash('sha256').update(text).digest('base64')}'`);
  }
  expect(policy).toContain("default-src 'none'");
  expect(policy).not.toContain('unsafe');
  expect(body).not.toMatch(/<(?:script|link|img)[^>]+(?:src|href)="(?!data:,")/);
});

const SETTINGS = { ...LIGHT, admin: '127.0.0.1:0' } as const;

const suite =
  browserPath === undefined ? 'the dashboard in a browser: skipped, no Chromium found' : 'the dashboard';

describe.skipIf(browserPath === undefined)(suite, () => {
  const openPage = shareBrowser();
  const shared = shareAdminBroker(SETTINGS);

  const start = async (options: SluiceOptions = {}) =>
    withCrawlers(await startAdminBroker({ ...SETTINGS, ...options }));

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
    const { url, addCrawler } = await start();
    const { page, complaints, requested } = await openPage(url);
    await page.getByRole('status').getByText('running').waitFor();
    await page.getByText('None so far').waitFor();
    const crawler = await addCrawler('crawler-1');
    crawler.write(line(VALID.heartbeat).repeat(500));
    await crawler.settled();
    await page.getByRole('cell', { name: 'crawler-1', exact: true }).waitFor();
    await page.locator('#types').getByText('heartbeat').waitFor();
    expect(await page.locator('#chart-rates canvas').count()).toBe(1);
    await expect.poll(() => page.locator('#chart-rates').getAttribute('aria-label')).toContain('received');
    expect(complaints).toEqual([]);
    expect(requested.every((address) => address.startsWith(url))).toBe(true);
  });

  test('tells of rejected messages where they are wrong, not what they say', async () => {
    const { url, addCrawler } = await start();
    const crawler = await addCrawler('<b>crawler</b>');
    crawler.say(
      'job_progress',
      { stage: 'glpat-secret', entityType: 'issue', processed: 1 },
      { jobId: 'job-1' },
    );
    await crawler.settled();
    const { page, complaints } = await openPage(url);
    const rejection = page.locator('#rejections li').first();
    await rejection.getByText('SCHEMA_VIOLATION').waitFor();
    const text = (await rejection.textContent()) ?? '';
    expect(text).toContain('<b>crawler</b>, line 2');
    expect(text).toContain('job_progress – data.stage');
    expect(await page.content()).not.toContain('glpat');
    expect(complaints).toEqual([]);
  });

  test('sorts the connections from the keyboard', async () => {
    const { url, addCrawler } = withCrawlers(shared());
    for (const name of ['crawler-2', 'crawler-10', 'crawler-1']) await addCrawler(name);
    const { page } = await openPage(url);
    await page.getByRole('cell', { name: 'crawler-10', exact: true }).waitFor();
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

  test.each([390, 768, 1280])('needs no scrolling sideways at %i px', async (width) => {
    const { url, addCrawler } = withCrawlers(shared());
    const name = `${'a-crawler-with-a-long-name-'.repeat(4)}${width}`;
    const crawler = await addCrawler(name);
    crawler.write(line({ type: 'nonsense' }));
    await crawler.settled();
    const { page } = await openPage(url, { viewport: { width, height: 800 } });
    await page.getByRole('cell', { name, exact: true }).waitFor();
    await page.locator('#rejections').getByText(name).first().waitFor();
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
  });

  test.each(['light', 'dark'] as const)('has text that can be read, %s', async (colorScheme) => {
    const { url } = withCrawlers(shared());
    const { page } = await openPage(url, { colorScheme });
    await page.getByRole('status').getByText('running').waitFor();
    for (const selector of ['h1', 'h2', '.quiet', '.pill', 'th button', '.nothing']) {
      const colours = (await page.evaluate(COLOURS_OF(selector))) as [string, string];
      expect(contrast(...colours), `${selector}: ${colours}`).toBeGreaterThanOrEqual(4.5);
    }
  });

  test('shows each of the peers that do not keep up, when they have one name', async () => {
    const { url, addCrawler } = await start({ maxPendingBytes: 1024 * 1024 });
    for (let number = 1; number <= 2; number++) {
      const peer = await addCrawler('crawler-1');
      await peer.subscribe({ overflow: 'drop-oldest' });
      peer.socket.pause();
    }
    const crawler = await addCrawler('crawler-2');
    crawler.write(line(VALID.heartbeat).repeat(20_000));
    await crawler.settled();
    const { page } = await openPage(url);
    const bars = page.locator('#slow .bar');
    await expect.poll(() => bars.count()).toBe(2);
    // Nor do they become one with the next snapshot.
    const shown = await page.locator('#about').textContent();
    await expect.poll(() => page.locator('#about').textContent()).not.toBe(shown);
    expect(await bars.count()).toBe(2);
  });

  test('comes back by itself after the broker has rejected to tell it more', async () => {
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

  test('says so when the broker has gone', async () => {
    const { url, manager } = await start();
    const { page } = await openPage(url);
    await page.getByRole('status').getByText('running').waitFor();
    await manager.stop();
    await page.getByRole('status').getByText('no answer from the broker').waitFor();
  });
});

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
