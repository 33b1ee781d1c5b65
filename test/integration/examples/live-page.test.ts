import { describe, expect, test } from 'vitest';
import { until } from '../../support/broker.js';
import { browserPath, sharePage } from '../../support/browser.js';
import { startExample } from '../../support/example.js';
import { hello } from '../../support/fleet.js';
import { line, VALID } from '../../support/messages.js';
import { Peer } from '../../support/peer.js';

const note = browserPath === undefined ? ' (skipped: this machine has no chromium)' : '';

describe.skipIf(browserPath === undefined)(`the live page${note}`, () => {
  const openPage = sharePage();

  test('shows the latest message of each job, at most four times a second, also after a reconnect', async () => {
    const { run, socketPath } = await startExample('live-page/server.mjs', 'page: ', { env: { PORT: '0' } });
    const url = /page: (\S+)/.exec(run.stdout)?.[1] ?? '';
    // A path that is no URL must not end it.
    expect((await fetch(`${url}//`)).status).toBe(400);
    const crawler = await Peer.connect(socketPath);
    const progress = (jobId: string, processed: number) => {
      const data = { ...VALID.job_progress.data, processed, total: undefined };
      return line({ ...VALID.job_progress, jobId, data });
    };
    crawler.write(hello('crawler-<1>') + progress('job-before', 1));
    await crawler.settled();
    const { page, complaints } = await openPage(url);
    const text = () => page.locator('tbody').innerText();
    await expect.poll(text).toContain('job-before');
    // How often the cell with the number changes.
    await page.evaluate(`{
      globalThis.changes = 0;
      const observer = new MutationObserver((records) => { globalThis.changes += records.length; });
      observer.observe(document.querySelector('tbody').rows[0].cells[2], { childList: true });
    }`);
    const startedAt = performance.now();
    for (let processed = 2; processed <= 4000; processed++) {
      crawler.write(progress('job-before', processed));
      if (processed % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    }
    crawler.write(line({ ...VALID.job_completed, jobId: 'job-other' }));
    await expect.poll(text).toMatch(/job-before\s+running\s+4000\s+crawler-<1>/);
    await expect.poll(text).toMatch(/job-other\s+completed/);
    const seconds = (performance.now() - startedAt) / 1000;
    const changes = Number(await page.evaluate('globalThis.changes'));
    expect(changes).toBeGreaterThan(0);
    expect(changes).toBeLessThanOrEqual(4 * seconds + 2);
    expect(await page.locator('#state').innerText()).toBe('open');
    expect(complaints).toEqual([]);
    run.child.kill('SIGTERM');
    expect(await run.exited).toBe(0);
    await until(() => crawler.socket.destroyed);
    await expect.poll(() => page.locator('#state').innerText()).toBe('waiting');
  });
});
