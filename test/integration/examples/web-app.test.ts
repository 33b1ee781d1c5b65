import { expect, test } from 'vitest';
import { startExample } from '../../support/example.js';
import { line, VALID } from '../../support/messages.js';
import { Peer } from '../../support/peer.js';

test('the web app shows what crawlers do, and gives them jobs', async () => {
  const { run, socketPath } = await startExample('web-app.mjs', 'crawlers: ', { env: { PORT: '0' } });
  const base = /web: (\S+)/.exec(run.stdout)?.[1] ?? '';
  const get = async (path: string) => {
    const response = await fetch(base + path);
    return { status: response.status, body: (await response.json()) as unknown };
  };
  const post = async (path: string, body: string) => {
    const response = await fetch(base + path, { method: 'POST', body });
    return { status: response.status, body: (await response.json()) as unknown };
  };
  const crawler = await Peer.connect(socketPath);
  crawler.say('hello', { role: 'crawler', crawlerId: 'crawler-1' });
  crawler.write(line(VALID.heartbeat) + line(VALID.job_progress));
  await crawler.settled();

  expect(await get('/crawlers')).toMatchObject({
    status: 200,
    body: [{ id: 'crawler-1', isConnected: true, heartbeat: { activeJobs: 1 } }],
  });
  expect(await get('/jobs/job-1')).toMatchObject({ body: { status: 'running', progress: { processed: 5 } } });
  expect(await get('/jobs')).toMatchObject({ body: [{ id: 'job-1', crawler: 'crawler-1' }] });
  expect(await get('/jobs/job-9')).toMatchObject({ status: 404 });
  expect(await get('/nowhere')).toMatchObject({ status: 404 });
  expect(await get('//')).toMatchObject({ status: 400 });
  expect(await get('/connections')).toMatchObject({ body: [{ role: 'crawler', state: 'active' }] });
  expect(await get('/status')).toMatchObject({ body: { state: 'running', connections: 1 } });

  const job = JSON.stringify(VALID.job_assignment.data);
  expect(await post('/crawlers/crawler-1/jobs', job)).toEqual({ status: 202, body: { assigned: 'job-1' } });
  expect(await crawler.next('job_assignment')).toMatchObject({ data: VALID.job_assignment.data });
  expect(await post('/crawlers/crawler-9/jobs', job)).toMatchObject({ status: 404 });
  expect(await post('/crawlers/crawler-1/jobs', '{}')).toMatchObject({
    status: 400,
    body: { error: 'INVALID_MESSAGE' },
  });
  expect(await post('/crawlers/crawler-1/jobs', 'junk')).toMatchObject({ status: 400 });
  expect(await get('/crawlers/%ff')).toMatchObject({ status: 404 });

  crawler.write(line(VALID.job_failed));
  await run.says('job job-1 failed: no type');
  run.child.kill('SIGTERM');
  expect(await run.exited).toBe(0);
  expect(run.stderr).toBe('');
  await crawler.close();
});
