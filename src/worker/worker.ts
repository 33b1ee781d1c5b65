// A validation worker, which Piscina runs in each of its threads. Loads the schemas once, then returns a verdict for
// each batch. Synchronous: each batch is finished before the next begins.

import './lower-priority.js';

import { createRequire } from 'node:module';
import { parentPort, threadId, workerData } from 'node:worker_threads';
import type { BatchTask, Verdict, WorkerNotice, WorkerSettings } from '../dispatch/verdict.js';
import { MessageRegistry } from '../messages/message-registry.js';
import { createProjection } from '../pattern/projection.js';
import { BatchValidator } from './batch-validator.js';
import { createParser } from './create-parser.js';
import { WatchedWorker } from './watched-worker.js';

const settings = workerData as WorkerSettings;

const registry = await MessageRegistry.load(settings.schemas);
const onUnavailable = (patternsUnavailable: string) => {
  parentPort?.postMessage({ patternsUnavailable } satisfies WorkerNotice);
};
const parser = createParser(registry, settings, onUnavailable, settings.modules);
// If a rule returns a promise, the message is rejected and the promise ignored: its rejection must not terminate the
// worker.
process.on('unhandledRejection', () => {});

const watched = new WatchedWorker(settings.watch, threadId);
const batches = new BatchValidator(parser, settings.delimiter, {
  ...settings,
  projection: createProjection(registry, settings.fields),
  onProgress: (range, start, end) => watched.reach(range, start, end),
});

/** For up to this many numbers in a verdict's frames, copying is cheaper than transferring the buffer (about 5 µs). */
const FEW_NUMBERS = 2048;

/** Loaded for the first large verdict: loading it takes a tenth of the time in which a worker starts. */
let piscina: typeof import('piscina') | undefined;

/**
 * Validates one batch. The numbers of a large verdict share one buffer, which is transferred to the main thread without
 * copying.
 */
export default function validateBatch(task: BatchTask): object {
  const verdict = watched.run<Verdict>(() => batches.validate(task), task.id);
  const { frames } = verdict;
  if (!(frames instanceof Uint32Array) || frames.length <= FEW_NUMBERS) return verdict;
  piscina ??= createRequire(import.meta.url)('piscina') as typeof import('piscina');
  return piscina.move({ [piscina.transferableSymbol]: [frames.buffer], [piscina.valueSymbol]: verdict });
}
