// A validation worker: what Piscina runs in each of its threads. Loads the schemas once, then answers
// each batch with a verdict. Synchronous throughout: one batch is done before the next begins.

import './lower-priority.js';

import { threadId, workerData } from 'node:worker_threads';
import { move, transferableSymbol, valueSymbol } from 'piscina';
import type { BatchTask, HandoffTask, Verdict, WorkerSettings } from '../dispatch/verdict.js';
import { MessageRegistry } from '../messages/message-registry.js';
import { BatchValidator } from './batch-validator.js';
import { createParser } from './create-parser.js';
import { serveHandoff } from './handoff-server.js';
import { WatchedWorker } from './watched-worker.js';

const settings = workerData as WorkerSettings;

const registry = await MessageRegistry.load(settings.schemas);
const parser = createParser(registry, settings);
// A rule that returns a promise has its message rejected. What becomes of the promise is nobody's business any more: it
// must not end the worker.
process.on('unhandledRejection', () => {});

const watched = new WatchedWorker(settings.watch, threadId);
const batches = new BatchValidator(parser, settings.delimiter, (range, start, end) =>
  watched.reach(range, start, end),
);

/** Numbers of a verdict's frames up to which copying takes less than handing memory over (about 5 µs). */
const FEW_NUMBERS = 2048;

/**
 * Validates one batch, or small ones from shared memory until it is sent away. The numbers of a large verdict, which share
 * one buffer, move to the main thread without being copied.
 */
export default function validateBatch(task: BatchTask | HandoffTask): object | undefined {
  if ('handoff' in task) {
    serveHandoff(task.handoff, (batch) => watched.run(() => batches.validateByPatterns(batch)));
    return undefined;
  }
  const verdict = watched.run<Verdict>(() => batches.validate(task), task.id);
  const { frames } = verdict;
  if (!(frames instanceof Uint32Array) || frames.length <= FEW_NUMBERS) return verdict;
  return move({ [transferableSymbol]: [frames.buffer], [valueSymbol]: verdict });
}
