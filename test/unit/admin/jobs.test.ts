import { MessageRegistry } from 'sluice';
import { describe, expect, test } from 'vitest';
import type { Jobs } from '#src/admin/snapshot.js';
import type { JobList } from '#src/routing/job-list.js';
import {
  adminSourceOf,
  ask,
  serveAdmin,
  sharePlainAdminBroker,
  startPlainAdminBroker,
} from '../../support/admin.js';
import { until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';

const shared = sharePlainAdminBroker();

async function withJobs() {
  const broker = shared();
  const peer = await broker.connect();
  peer.say('hello', { role: 'crawler', crawlerId: 'Crawler-1' });
  await peer.next('welcome');
  const progress = (jobId: string, data: object) =>
    peer.write(line({ ...VALID.job_progress, jobId, data: { ...VALID.job_progress.data, ...data } }));
  progress('job-1', { processed: 10, total: 40 });
  progress('Job-2', { processed: 7, total: undefined });
  progress('job-1', { processed: 20, total: 40 });
  peer.write(line({ ...VALID.job_completed, jobId: '=job-3' }) + line(VALID.heartbeat));
  await peer.settled();
  const idsAt = async (query: string) => {
    const { rows } = await broker.read<Jobs>(`/api/jobs?${query}`);
    return rows.map(({ jobId }) => jobId);
  };
  return { ...broker, peer, idsAt };
}

describe('/api/jobs', () => {
  test('has the state, the owner and the progress of each job, the latest first', async () => {
    const { read } = await withJobs();
    expect(await read<Jobs>('/api/jobs')).toEqual({
      isKept: true,
      total: 3,
      isComplete: true,
      rows: [
        job({ jobId: '=job-3', state: 'ended', type: 'job_completed' }),
        job({ jobId: 'job-1', processed: 20, total: 40 }),
        job({ jobId: 'Job-2', processed: 7 }),
      ],
    });
  });

  test('finds jobs by a part of their ID or owner, by pages', async () => {
    const { idsAt, read } = await withJobs();
    expect(await idsAt('search=JOB-2')).toEqual(['Job-2']);
    expect((await idsAt('search=crawler-1')).length).toBe(3);
    expect(await idsAt('search=nothing')).toEqual([]);
    expect(await idsAt('offset=1&limit=1')).toEqual(['job-1']);
    expect(await read<Jobs>('/api/jobs?search=job-&offset=2')).toMatchObject({
      total: 3,
      rows: [{ jobId: 'Job-2' }],
    });
  });

  test('is a file in CSV, too', async () => {
    const { get } = await withJobs();
    const { headers, body } = await get('/api/jobs?format=csv&limit=2');
    expect(headers['content-disposition']).toBe('attachment; filename="jobs.csv"');
    const [head, ...rows] = body.split('\r\n');
    expect(head).toBe('jobId,state,type,owner,processed,total,age');
    expect(rows[0]).toMatch(/^'=job-3,ended,job_completed,Crawler-1,,,[\d.]+$/);
    expect(rows[1]).toMatch(/^job-1,open,job_progress,Crawler-1,20,40,[\d.]+$/);
  });

  test('two requests at once are answered, a third one is rejected', async () => {
    const registry = MessageRegistry.builtin();
    const waiting: (() => void)[] = [];
    const jobs = () =>
      new Promise<JobList>((resolve) => {
        waiting.push(() => resolve({ total: 0, isComplete: true, rows: [] }));
      });
    const source = adminSourceOf(shared().manager, { registry: () => registry, jobs });
    const socketPath = await serveAdmin(source);
    const first = [ask(socketPath, '/api/jobs'), ask(socketPath, '/api/jobs')];
    await until(() => waiting.length === 2);
    expect((await ask(socketPath, '/api/jobs')).status).toBe(503);
    for (const answer of waiting) answer();
    expect((await Promise.all(first)).map(({ status }) => status)).toEqual([200, 200]);
  });

  test('says that it knows none if the latest messages are not kept', async () => {
    const { connect, read } = await startPlainAdminBroker({ maxLastValues: 0 });
    const peer = await connect();
    peer.write(line(VALID.job_progress));
    await peer.settled();
    expect(await read<Jobs>('/api/jobs')).toEqual({ isKept: false, total: 0, isComplete: true, rows: [] });
  });
});

function job(fields: object) {
  const none = { processed: null, total: null, state: 'open', type: 'job_progress', owner: 'Crawler-1' };
  return { ...none, age: expect.any(Number), ...fields };
}
