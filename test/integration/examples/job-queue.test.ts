import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startPlainBroker, temporaryFolder, until } from '../../support/broker.js';
import { packageRoot } from '../../support/cli.js';
import { startExample } from '../../support/example.js';
import { line, VALID } from '../../support/messages.js';
import { type Line, Peer } from '../../support/peer.js';

test('the job queue and the crawler: every job is done, with a new token on the way', async () => {
  const { run, socketPath } = await startExample('job-queue.mjs', '5 jobs');
  const env = { SOCKET_PATH: socketPath, PAGE_DELAY: '1' };
  const { run: crawler } = await startExample('crawler.mjs', 'connected', { args: ['c1'], env });
  await run.says('job-0005 done: {"issues":60}');
  await crawler.says('a new token');
  expect(run.stdout).toContain('job-0001, job-0002, job-0003, job-0004, job-0005 to c1');
  crawler.child.kill('SIGTERM');
  expect(await crawler.exited).toBe(0);
  run.child.kill('SIGTERM');
  expect(await run.exited).toBe(0);
  expect(run.stderr + crawler.stderr).toBe('');
});

test('the crawler does a job that it is given while it works on another', async () => {
  const { manager, socketPath, connect } = await startPlainBroker();
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

test('the job queue drops jobs that are not valid, answers with up to five, and says when a new token expires', async () => {
  const file = join(temporaryFolder(), 'jobs.json');
  const valid = ['project', 'group', 'user', 'issue', 'merge_request', 'commit'].map((entityType) => ({
    entityType,
    entityId: '1',
  }));
  writeFileSync(
    file,
    JSON.stringify([{ entityType: 'moon', entityId: '1' }, { entityType: 'group' }, ...valid]),
  );
  const { run, socketPath } = await startExample('job-queue.mjs', '6 jobs', { args: [file] });
  await run.says('job-0001 dropped: ');
  await run.says('job-0002 dropped: ');
  const crawler = await Peer.connect(socketPath);
  crawler.write(line(VALID.job_request));
  expect(jobsOf(await crawler.next('job_response')).map(({ entityType }) => entityType)).toEqual(
    valid.slice(0, 5).map(({ entityType }) => entityType),
  );
  crawler.write(line(VALID.job_request));
  await crawler.count(2);
  expect(jobsOf(crawler.messages[1]).map(({ id }) => id)).toEqual(['job-0008']);
  crawler.write(JSON.stringify(VALID.token_refresh_request));
  const { data } = await crawler.next('token_refresh_response');
  expect(data).toMatchObject({ accessToken: expect.any(String), refreshSuccessful: true });
  expect(Date.parse(String(data.expiresAt))).toBeGreaterThan(Date.now() + 3_000_000);
  await crawler.close();
  run.child.kill('SIGTERM');
  expect(await run.exited).toBe(0);
});

test('the job queue requeues jobs that failed or whose crawler has disconnected, and adds discovered ones', async () => {
  const file = join(temporaryFolder(), 'jobs.json');
  writeFileSync(file, '[{ "entityType": "group", "entityId": "1" }]');
  const env = { RETRY_DELAY: '1' };
  const { run, socketPath } = await startExample('job-queue.mjs', '1 jobs', { args: [file], env });
  const first = await Peer.connect(socketPath);
  first.write(line(VALID.job_request));
  const [job] = jobsOf(await first.next('job_response'));
  expect(job).toMatchObject({ id: 'job-0001', entityType: 'group', entityId: '1' });
  expect(job).not.toHaveProperty('resumeState');
  await first.close();

  const second = await Peer.connect(socketPath);
  second.write(line(VALID.job_request));
  expect(jobsOf(await second.next('job_response'))).toMatchObject([{ id: 'job-0001' }]);
  const resumeState = { currentPage: 7 };
  const data = { error: 'x', isRecoverable: true, resumeState };
  const failed = { ...VALID.job_failed, jobId: 'job-0001', data };
  second.write(line(failed) + line(VALID.job_request));
  await second.count(2);
  expect(jobsOf(second.messages[1])).toMatchObject([{ id: 'job-0001', resumeState }]);
  second.write(line(failed));
  await run.says('job-0001 given up');
  second.write(line({ ...VALID.jobs_discovered, job_id: 'job-0001' }) + line(VALID.job_request));
  await second.count(3);
  const [found] = jobsOf(second.messages[2]);
  expect(found).toMatchObject({ id: 'job-0001-user-1', entityType: 'user', entityId: '1' });
  // Tokens go to crawlers, and nowhere else.
  expect(run.stdout).not.toContain(String(found?.accessToken));
  await second.close();
  run.child.kill('SIGTERM');
  expect(await run.exited).toBe(0);
});

test('the job queue cancels jobs in progress', async () => {
  const { run, socketPath } = await startExample('job-queue.mjs', '5 jobs');
  const env = { SOCKET_PATH: socketPath, PAGE_DELAY: '100' };
  const { run: crawler } = await startExample('crawler.mjs', 'connected', { args: ['c1'], env });
  await run.says('to c1');
  run.child.kill('SIGUSR1');
  await crawler.says('job-0001 cancelled');
  await run.says('job-0005 cancelled');
  for (const { child } of [crawler, run]) child.kill('SIGTERM');
  expect(await run.exited).toBe(0);
  expect(run.stdout).not.toContain('done');
});

test('the job queue loses and repeats no job, whoever is killed', async () => {
  const folder = temporaryFolder();
  const [file, socketPath] = [join(folder, 'jobs.json'), join(folder, 's')];
  const count = 24;
  const jobs = Array.from({ length: count }, (_, index) => ({
    entityType: 'issue',
    entityId: String(index),
  }));
  writeFileSync(file, JSON.stringify(jobs));
  const env = {
    SOCKET_PATH: socketPath,
    DATA_FOLDER: join(folder, 'data'),
    LEASE: '300',
    RETRY_DELAY: '1',
    MAX_TRIES: '1000',
    PAGE_DELAY: '10',
  };
  const startQueue = async () => (await startExample('job-queue.mjs', 'jobs, ', { args: [file], env })).run;
  const startCrawler = async (name: string) =>
    (await startExample('crawler.mjs', 'connected', { args: [name], env })).run;
  let queue = await startQueue();
  const crawlers = [await startCrawler('c1'), await startCrawler('c2')];
  let output = '';
  const doneIn = (text: string) => [...text.matchAll(/^(job-\d+) done/gm)].map(([, id]) => id);
  for (const victim of ['c1', 'queue', 'c2']) {
    const before = doneIn(queue.stdout).length;
    // In the middle of the work, if there is any left.
    await until(
      () => doneIn(output + queue.stdout).length === count || doneIn(queue.stdout).length > before + 1,
    );
    if (victim === 'queue') {
      queue.child.kill('SIGKILL');
      await queue.exited;
      output += queue.stdout;
      queue = await startQueue();
    } else {
      const at = victim === 'c1' ? 0 : 1;
      crawlers[at]?.child.kill('SIGKILL');
      await crawlers[at]?.exited;
      // A crawler that never comes back, or one that begins anew under the same name.
      crawlers[at] = await startCrawler(victim === 'c2' ? 'c3' : victim);
    }
  }
  const { openStore } = (await import(join(packageRoot, 'examples/job-store.mjs'))) as {
    openStore(path: string): Promise<{ count(state: string): number }>;
  };
  const stored = async (state: string) => (await openStore(join(env.DATA_FOLDER, 'jobs'))).count(state);
  while ((await stored('done')) < count) await new Promise((resolve) => setTimeout(resolve, 20));
  for (const run of [...crawlers, queue]) {
    run.child.kill('SIGTERM');
    expect(await run.exited).toBe(0);
  }
  expect(await stored('done')).toBe(count);
  const done = doneIn(output + queue.stdout);
  expect(new Set(done).size).toBe(done.length);
});

/** The jobs of a `job_response`. */
function jobsOf(message: Line | undefined): Record<string, unknown>[] {
  expect(message?.type).toBe('job_response');
  return message?.data.jobs as Record<string, unknown>[];
}
