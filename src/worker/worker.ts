// A validation worker, which Piscina runs in each of its threads. Returns a verdict for each batch. Loads the schemas once,
// when they are needed; from then on it is synchronous: each batch is finished before the next begins.

import './lower-priority.js';

import { createRequire } from 'node:module';
import { parentPort, threadId, workerData } from 'node:worker_threads';
import type { BatchTask, Verdict, WorkerNotice, WorkerSettings } from '../dispatch/verdict.js';
import type { BatchValidator } from './batch-validator.js';
import { WatchedWorker } from './watched-worker.js';

const settings = workerData as WorkerSettings;
const loadRequested = new Int32Array(settings.loadRequested);

let batches = isLoadRequested() ? await load() : undefined;
let loading: Promise<BatchValidator> | undefined;
// If a rule returns a promise, the message is rejected and the promise ignored: its rejection must not terminate the
// worker.
process.on('unhandledRejection', () => {});

const watched = new WatchedWorker(settings.watch, threadId);

/** For up to this many numbers in a verdict's frames, copying is cheaper than transferring the buffer (about 5 µs). */
const FEW_NUMBERS = 2048;

/** Loaded for the first large verdict: loading it takes a tenth of the time in which a worker starts. */
let piscina: typeof import('piscina') | undefined;

/** Validates one batch. Batches that arrive while this worker loads what it needs wait for that, in order. */
export default function validateBatch(task: BatchTask): object | Promise<object> {
  if (batches !== undefined) return validate(batches, task);
  // The pool only waits for this worker to start.
  if (!isLoadRequested()) return {};
  loading ??= load().catch(terminate);
  return loading.then((loaded) => {
    batches = loaded;
    return validate(loaded, task);
  });
}

/**
 * The numbers of a large verdict share one buffer, which is transferred to the main thread without copying.
 */
function validate(validator: BatchValidator, task: BatchTask): object {
  const verdict = watched.run<Verdict>(() => validator.validate(task), task.id);
  const { frames } = verdict;
  if (!(frames instanceof Uint32Array) || frames.length <= FEW_NUMBERS) return verdict;
  piscina ??= createRequire(import.meta.url)('piscina') as typeof import('piscina');
  return piscina.move({ [piscina.transferableSymbol]: [frames.buffer], [piscina.valueSymbol]: verdict });
}

function isLoadRequested(): boolean {
  return Atomics.load(loadRequested, 0) !== 0;
}

async function load(): Promise<BatchValidator> {
  const { createBatchValidator } = await import('./create-batch-validator.js');
  return createBatchValidator(
    settings,
    (patternsUnavailable) => parentPort?.postMessage({ patternsUnavailable } satisfies WorkerNotice),
    (range, start, end) => watched.reach(range, start, end),
  );
}

/** Ends this worker with an error, so that the pool replaces it. */
function terminate(error: unknown): Promise<never> {
  queueMicrotask(() => {
    throw error;
  });
  return new Promise(() => {});
}
