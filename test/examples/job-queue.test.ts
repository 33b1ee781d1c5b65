import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startBroker, temporaryFolder, until } from '../support/broker.js';
import { startExample } from '../support/example.js';
import { line, VALID } from '../support/messages.js';
import { Peer } from '../support/peer.js';

test('the job queue and the crawler: every job is done, with a new token on the way', async () => {
  const { run, socketPath } = await startExample('job-queue.mjs', '5 jobs');
  const env = { SOCKET_PATH: socketPath, PAGE_DELAY: '1' };
  const { run: crawler } = await startExample('crawler.mjs', 'connected', { args: ['c1'], env });
  await run.says('job-0005 done: {"issues":60}');
  await crawler.says('a new token');
  expect(run.stdout.match(/to c1/g)).toHaveLength(5);
  crawler.child.kill('SIGTERM');
  expect(await crawler.exited).toBe(0);
  run.child.kill('SIGTERM');
  expect(await run.exited).toBe(0);
  expect(run.stderr + crawler.stderr).toBe('');
});

test('the crawler does a job that it is given while it works on another', async () => {
  const { manager, socketPath, connect } = await startBroker();
  const done: string[] = [];
  manager.on('message', (event) => {
    if (event.is('job_completed')) done.push(event.message.jobId ?? '');
  });
  const app = await connect();
  const assign = (job_id: string) =>
    app.say('job_assignment', { ...VALID.job_assignment.data, job_id }, { to: 'c1' });
  const env = { SOCKET_PATH: socketPath, PAGE_DELAY: '1' };
  const { run } = await startExample('crawler.mjs', 'connected', { args: ['c1'], env });
  app.say('hello', { role: 'app' });
  for (const job of ['job-1', 'job-2', 'job-3']) assign(job);
  await until(() => done.length === 3);
  expect(done).toEqual(['job-1', 'job-2', 'job-3']);
  run.child.kill('SIGTERM');
  expect(await run.exited).toBe(0);
  expect(run.stderr).toBe('');
});

test('the job queue drops a job that is not valid, and gives the next to the same crawler', async () => {
  const file = join(temporaryFolder(), 'jobs.json');
  writeFileSync(file, '[{ "job_type": "crawl_moon" }, { "job_type": "crawl_group", "entity_id": "1" }]');
  const { run, socketPath } = await startExample('job-queue.mjs', '2 jobs', { args: [file] });
  const crawler = await Peer.connect(socketPath);
  crawler.write(line(VALID.job_request));
  expect((await crawler.next('job_assignment')).data).toMatchObject({ job_id: 'job-0002' });
  await run.says('job-0001 dropped: ');
  await crawler.close();
  run.child.kill('SIGTERM');
  expect(await run.exited).toBe(0);
});

test('the job queue takes jobs back that failed or whose crawler has gone, and takes discovered ones', async () => {
  const file = join(temporaryFolder(), 'jobs.json');
  writeFileSync(file, '[{ "job_type": "crawl_group", "entity_id": "1", "namespace_path": "a" }]');
  const { run, socketPath } = await startExample('job-queue.mjs', '1 jobs', { args: [file] });
  const first = await Peer.connect(socketPath);
  first.write(line(VALID.job_request));
  const assignment = await first.next('job_assignment');
  expect(assignment.data).toMatchObject({ job_id: 'job-0001', job_type: 'crawl_group', resume: false });
  await first.close();

  const second = await Peer.connect(socketPath);
  second.write(line(VALID.job_request));
  expect((await second.next('job_assignment')).data).toMatchObject({ job_id: 'job-0001', resume: true });
  const failed = { ...VALID.job_failed, jobId: 'job-0001', data: { error: 'x', isRecoverable: true } };
  second.write(line(failed) + line(VALID.job_request));
  await second.count(2);
  second.write(line(failed));
  await run.says('job-0001 given up');
  second.write(line({ ...VALID.jobs_discovered, job_id: 'job-0001' }) + line(VALID.job_request));
  const found = await second.next(({ data }) => data.job_id === 'job-0002');
  expect(found.data).toMatchObject({ job_type: 'crawl_user', namespace_path: 'a' });
  // Tokens go to crawlers, and nowhere else.
  expect(run.stdout).not.toContain(String(found.data.access_token));
  await second.close();
  run.child.kill('SIGTERM');
  expect(await run.exited).toBe(0);
});
