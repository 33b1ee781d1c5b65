// A worker that has started before there is anything to validate.

import { Piscina } from 'piscina';
import { expect, onTestFinished, test } from 'vitest';
import type { BatchTask, Verdict, WorkerSettings } from '#src/dispatch/verdict.js';
import { VerdictReader } from '#src/dispatch/verdict-reader.js';
import { Watchdog } from '#src/dispatch/watchdog.js';
import { line, VALID } from '../../support/messages.js';
import { WORKER_SETTINGS } from '../../support/worker-settings.js';

const EMPTY: BatchTask = { id: 0, arenas: [], ranges: [], maxDetailedRejections: 0 };
const HEARTBEAT = line(VALID.heartbeat);

/** A worker that loads nothing until `loadRequested` is set to 1. */
function startWorker(settings: Partial<WorkerSettings> = {}) {
  const loadRequested = new Int32Array(new SharedArrayBuffer(4));
  const workerData: WorkerSettings = {
    ...WORKER_SETTINGS,
    modules: undefined,
    watch: new Watchdog(1, 0).memory,
    isBackground: false,
    loadRequested: loadRequested.buffer,
    ...settings,
  };
  const worker = new Piscina<BatchTask, Verdict>({
    filename: new URL('../../../dist/src/worker/worker.js', import.meta.url).href,
    maxThreads: 1,
    concurrentTasksPerWorker: 2,
    workerData,
  });
  onTestFinished(() => worker.destroy());
  return { worker, loadRequested };
}

/** A batch with this number of heartbeats. */
function batchOf(heartbeats: number): BatchTask {
  const arena = new SharedArrayBuffer(heartbeats * HEARTBEAT.length);
  Buffer.from(arena).fill(HEARTBEAT);
  return { ...EMPTY, arenas: [arena], ranges: [0, 0, arena.byteLength] };
}

test('validates nothing until it is needed; then loads the schemas, and validates all that waits in order', async () => {
  const { worker, loadRequested } = startWorker();
  expect(await worker.run(EMPTY)).toEqual({});
  expect(await worker.run(EMPTY)).toEqual({});
  loadRequested[0] = 1;
  const settled: number[] = [];
  await Promise.all(
    [1, 2, 3].map(async (heartbeats) => {
      settled.push(new VerdictReader(await worker.run(batchOf(heartbeats))).messages);
    }),
  );
  expect(settled).toEqual([1, 2, 3]);
});

test('terminates with the error if it cannot load the schemas then', async () => {
  const { worker, loadRequested } = startWorker({ schemas: 'file:///nowhere.mjs' });
  // The worker that replaces it fails, too, with no batch that could be rejected.
  worker.on('error', () => {});
  await worker.run(EMPTY);
  const [thread] = worker.threads;
  loadRequested[0] = 1;
  await expect(worker.run(batchOf(1))).rejects.toMatchObject({ code: 'SCHEMA_MODULE_INVALID' });
  expect(worker.threads).not.toContain(thread);
});
