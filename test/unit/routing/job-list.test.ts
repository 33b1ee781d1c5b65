import { expect, test, vi } from 'vitest';
import { NO_SEED } from '#src/messages/job-key.js';
import { MessageRegistry } from '#src/messages/message-registry.js';
import { JobLister } from '#src/routing/job-list.js';
import { JobOwners } from '#src/routing/job-owners.js';
import { LastValues } from '#src/routing/last-values.js';
import { RunRecorder } from '#src/routing/run-recorder.js';
import { line, VALID } from '../../support/messages.js';
import { runOf } from '../../support/runs.js';

test('parses each message once, and only some in one turn', async () => {
  const registry = MessageRegistry.builtin();
  const owners = new JobOwners(100);
  const values = new LastValues(owners, 100, 1024 * 1024);
  const recorder = new RunRecorder(registry, owners, values, NO_SEED);
  const filler = ' '.repeat(20_000);
  for (let job = 0; job < 10; job++) {
    const message = line({ ...VALID.job_progress, jobId: `job-${job}` }).replace(
      '"jobId"',
      `${filler}"job_id"`,
    );
    recorder.record(runOf(message), { connectionId: 'c-1', crawlerId: undefined });
  }
  const parses = vi.spyOn(JSON, 'parse');
  const listed = new JobLister(registry, owners, values, NO_SEED).list({ search: '', offset: 0, limit: 100 });
  const atOnce = parses.mock.calls.length;
  const { rows } = await listed;
  const all = parses.mock.calls.length;
  parses.mockRestore();
  expect(rows.map(({ jobId }) => jobId)).toEqual(Array.from({ length: 10 }, (_, job) => `job-${9 - job}`));
  expect([atOnce, all]).toEqual([3, 10]);
});
