// Record: owners, ends and latest messages of jobs, by the number of jobs that the messages are about.

import type { Bench } from 'tinybench';
import type { FrameRun } from '../../src/delivery/frame-run.js';
import { NO_SEED } from '../../src/messages/job-key.js';
import { MessageRegistry } from '../../src/messages/message-registry.js';
import { JobOwners } from '../../src/routing/job-owners.js';
import { LastValues } from '../../src/routing/last-values.js';
import { RunRecorder } from '../../src/routing/run-recorder.js';
import { batchOf, runOf } from './batch.js';

const MESSAGES = 1000;
/** Different runs, so that all messages together are about more jobs than are kept. */
const RUNS = 150;
const MiB = 1024 * 1024;

export function add(bench: Bench): ReadonlyMap<string, number> {
  const messages = new Map<string, number>();
  for (const jobs of [40, 5000, RUNS * MESSAGES]) {
    const runs = Array.from({ length: RUNS }, (_, at) => runAbout(jobs, at));
    for (const [label, maxBytesPerSecond] of [
      ['owners only', undefined],
      ['with last values', Number.POSITIVE_INFINITY],
      ['with last values, beyond the limit', 0],
    ] as const) {
      const owners = new JobOwners(100_000);
      const lastValues =
        maxBytesPerSecond === undefined
          ? undefined
          : new LastValues(owners, 10_000, 16 * MiB, maxBytesPerSecond);
      const recorder = new RunRecorder(MessageRegistry.builtin(), owners, lastValues, NO_SEED);
      const sender = { connectionId: 'c-1', crawlerId: 'crawler-1' };
      const name = `${jobs} jobs, ${label}`;
      let at = 0;
      bench.add(name, () => recorder.record(runs[at++ % RUNS] as FrameRun, sender));
      messages.set(name, MESSAGES);
    }
  }
  return messages;
}

/** A run of messages of 390 bytes whose jobs are spread over all jobs. */
function runAbout(jobs: number, run: number): FrameRun {
  let text = '';
  for (let at = 0; at < MESSAGES; at++) {
    const number = (run * MESSAGES + at) * 7919;
    text += `${JSON.stringify({
      type: 'job_progress',
      timestamp: '2026-01-01T00:00:00.000Z',
      jobId: `job-${number % jobs}`,
      data: { stage: 'fetching', entityType: 'issue', processed: at, message: 'x'.repeat(240) },
    })}\n`;
  }
  return runOf(batchOf(Buffer.from(text)));
}
