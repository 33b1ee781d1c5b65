import { describe, expect, test } from 'vitest';
import { memoryOf } from '#src/server/memory-size.js';
import { line, VALID } from '../../support/messages.js';
import { startServer } from '../../support/server.js';

describe('what is known of the jobs', () => {
  test('takes bounded memory, however large the messages are', async () => {
    const maxFleetBytes = 4 * 1024 * 1024;
    const { server, connect } = await startServer({ maxFleetBytes });
    const crawler = await connect('c1');
    const failed = (job: number, context: object) => {
      const data = { ...VALID.job_failed.data, context };
      return line({ ...VALID.job_failed, jobId: `job-${job}`, data });
    };
    // 300 KB each, and 8 MB as objects.
    const objects = new Array(100_000).fill({});
    for (let job = 0; job < 5; job++) crawler.write(failed(job, { objects }));
    await crawler.settled();
    expect(server.fleet.jobs.map(({ id }) => id)).toEqual(['job-4']);
    for (let job = 0; job < 200; job++) crawler.write(failed(job, { text: 'x'.repeat(20_000) }));
    await crawler.settled();
    const kept = server.fleet.jobs.map(({ id }) => id);
    expect(kept.at(-1)).toBe('job-199');
    expect(kept.length).toBeGreaterThan(90);
    expect(kept.length).toBeLessThan(105);
  });

  test('counts what each kind of message reports of a job once', async () => {
    const { server, connect } = await startServer({ maxFleetBytes: 60_000 });
    const crawler = await connect('c1');
    const context = { text: 'x'.repeat(10_000) };
    const failed = (jobId: string) =>
      line({ ...VALID.job_failed, jobId, data: { ...VALID.job_failed.data, context } });
    crawler.write(line(VALID.job_started) + failed('job-1').repeat(20) + failed('job-2'));
    await crawler.settled();
    expect(server.fleet.jobs.map(({ id }) => id)).toEqual(['job-1', 'job-2']);
    // It starts afresh: nothing of before is kept, nor counted.
    crawler.write(line(VALID.job_started) + failed('job-3'));
    await crawler.settled();
    expect(server.fleet.jobs.map(({ id }) => id)).toEqual(['job-2', 'job-1', 'job-3']);
  });
});

test('the memory of a value is estimated from its parts, to any depth', () => {
  expect(memoryOf('x'.repeat(1000))).toBeGreaterThanOrEqual(1000);
  expect(memoryOf(new Array(1000).fill({}))).toBeGreaterThan(50_000);
  let deep: object = {};
  for (let depth = 0; depth < 100_000; depth++) deep = { deep };
  expect(memoryOf(deep)).toBeGreaterThan(5_000_000);
});
