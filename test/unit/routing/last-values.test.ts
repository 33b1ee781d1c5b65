import { expect, test } from 'vitest';
import type { FrameRun } from '#src/delivery/frame-run.js';
import { jobKey, NO_SEED } from '#src/messages/job-key.js';
import { MessageRegistry } from '#src/messages/message-registry.js';
import { Filter } from '#src/routing/filter.js';
import { type CrawlerIdentity, JobOwners } from '#src/routing/job-owners.js';
import { LastValues } from '#src/routing/last-values.js';
import { RunRecorder } from '#src/routing/run-recorder.js';
import { runOf } from '../../support/runs.js';

const NEWLINE = 10;
const registry = MessageRegistry.builtin();
const everything = new Filter(registry, { id: 'x', types: ['*'] }, NO_SEED);
const withMeta = new Filter(registry, { id: 'x', types: ['*'], meta: true }, NO_SEED);

/** Messages of these jobs that were received at a time in ms. */
function runOfJobs(jobIds: readonly string[], receivedAt: number): FrameRun {
  const line = (jobId: string) =>
    JSON.stringify({
      type: 'job_progress',
      timestamp: '2026-01-01T00:00:00Z',
      jobId,
      data: { stage: 'fetching', entityType: 'issue', processed: receivedAt },
    });
  return runOf(jobIds.map((jobId) => `${line(jobId)}\n`).join(''), { receivedAt });
}

const jobsIn = (values: LastValues): string[] =>
  values
    .select(everything, NEWLINE)
    .copy()
    .flatMap(({ bytes }) => bytes.toString().trim().split('\n'))
    .map((line) => `${JSON.parse(line).jobId} ${JSON.parse(line).data.processed}`);

const CRAWLER: CrawlerIdentity = { connectionId: 'c-1', crawlerId: undefined };

/** @param sender owner of all jobs, if any */
function createValues(limits: [number, number, number?], sender: CrawlerIdentity | undefined = CRAWLER) {
  const owners = new JobOwners(100);
  const values = new LastValues(owners, ...limits);
  const recorder = new RunRecorder(registry, owners, values, NO_SEED);
  const record = (jobIds: readonly string[], receivedAt: number) =>
    recorder.record(runOfJobs(jobIds, receivedAt), sender);
  return { owners, values, recorder, record };
}

test.each([
  ['with owners', CRAWLER],
  ['without owners', undefined],
])(
  'beyond the bytes per second, messages are not kept, nor are older ones of their jobs (%s)',
  (_, sender) => {
    const { values, record } = createValues([10, 10_000, 1000], sender);
    record(['job-1', 'job-2'], 5000);
    expect(jobsIn(values)).toEqual(['job-1 5000', 'job-2 5000']);
    record(['job-2', 'job-3'], 5999);
    expect(jobsIn(values)).toEqual(['job-1 5000']);
    record(['job-3'], 6000);
    expect(jobsIn(values)).toEqual(['job-1 5000', 'job-3 6000']);
  },
);

test('beyond the bytes per second, a message of a job without owner is not the latest one after that of its crawler', () => {
  const { values, record, recorder } = createValues([10, 10_000, 1000]);
  recorder.record(runOfJobs(['job-1', 'job-2'], 5000), undefined);
  record(['job-3', 'job-4'], 5100);
  record(['job-1'], 5200);
  expect(jobsIn(values)).toEqual(['job-2 5000']);
  recorder.record(runOfJobs(['job-1'], 6000), undefined);
  record(['job-2'], 6100);
  expect(jobsIn(values)).toEqual(['job-1 6000', 'job-2 6100']);
  expect(values.hasOwnerless).toBe(true);
  record(['job-1'], 7000);
  expect(values.hasOwnerless).toBe(false);
});

test('a message of a job that is forgotten among many, and assigned again, is not the latest one', () => {
  const { owners, values, record } = createValues([10, 10_000]);
  record(['job-1', 'job-2'], 5000);
  const { low, high } = jobKey('job-1', NO_SEED);
  for (let number = 0; number < 200; number++) owners.set(number, 1, CRAWLER);
  owners.set(low | 0, high | 0, CRAWLER);
  expect(jobsIn(values)).toEqual([]);
});

test('the memory of all messages stays within the limit, and long messages leave none behind', () => {
  const { values, record } = createValues([1000, 4096]);
  for (let round = 0; round < 300; round++) {
    const long = `job-${round % 7}-${'x'.repeat((round * 37) % 900)}`;
    record([long, `job-${round}`], round * 1000);
    expect(values.bytes).toBeLessThanOrEqual(4096);
  }
  expect(values.size).toBeGreaterThan(1);
});

test('of a part of a run, only its own messages count', () => {
  const { owners, values, recorder } = createValues([10, 10_000]);
  const run = runOfJobs(['job-1', 'job-2', 'job-1', 'job-3', 'job-2'], 0);
  recorder.record(run.part(0, 3), CRAWLER);
  const sequences = () =>
    Object.fromEntries(
      values
        .select(withMeta, NEWLINE)
        .copy()
        .flatMap(({ bytes }) => bytes.toString().trim().split('\n'))
        .map((line) => [JSON.parse(line).message.jobId, JSON.parse(line).seq]),
    );
  expect(sequences()).toEqual({ 'job-1': 3, 'job-2': 2 });
  expect(owners.size).toBe(2);
  recorder.record(run.part(3, 5), CRAWLER);
  expect(sequences()).toEqual({ 'job-1': 3, 'job-3': 4, 'job-2': 5 });
});

test('the size of the messages is known before they are copied', () => {
  const { values, record } = createValues([10, 10_000]);
  record(['job-1', 'job-2', 'job-3'], 0);
  for (const filter of [everything, withMeta]) {
    const selected = values.select(filter, NEWLINE, 'host-1', 200);
    const parts = selected.copy();
    expect(parts.length).toBeGreaterThan(1);
    expect(selected.bytes).toBe(parts.reduce((sum, { bytes }) => sum + bytes.length, 0));
  }
});

test('a run of one job is copied once', () => {
  const { values, record } = createValues([10, 10_000, 600]);
  const jobIds = Array.from({ length: 100 }, () => 'job-1');
  record(jobIds, 0);
  expect(jobsIn(values)).toEqual(['job-1 0']);
});
