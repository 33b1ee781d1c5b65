// Validates batches on this thread, for brokers that have to start at once and get few messages, as in tests.

import { setImmediate as nextTurn } from 'node:timers/promises';
import { SluiceError } from '../errors.js';
import type { FrameRange } from '../memory/slab-pool.js';
import { type BatchTask, batchTask, type Verdict } from './verdict.js';
import type { WorkerPool } from './worker-pool.js';

/** What validates batches: workers, or this thread. */
export type ValidationPool = Pick<
  WorkerPool,
  'threads' | 'targetThreads' | 'restarts' | 'start' | 'open' | 'run' | 'addWorker' | 'close'
>;

export class LocalPool implements ValidationPool {
  readonly threads = 1;
  readonly targetThreads = 1;
  readonly restarts = 0;
  readonly #validator: { validate(task: BatchTask): Verdict };
  readonly #maxDetailedRejections: (() => number) | undefined;
  #closed = false;

  /** @param maxDetailedRejections see `WorkerPoolOptions.maxDetailedRejections` */
  constructor(
    validator: { validate(task: BatchTask): Verdict },
    maxDetailedRejections: (() => number) | undefined,
  ) {
    this.#validator = validator;
    this.#maxDetailedRejections = maxDetailedRejections;
  }

  async start(): Promise<void> {}

  open(): void {}

  addWorker(): void {}

  /** @throws SluiceError `NOT_RUNNING` if it is closed */
  async run(batch: readonly FrameRange[]): Promise<Verdict> {
    // After this turn of the event loop, as with a worker.
    await nextTurn();
    if (this.#closed) throw new SluiceError('NOT_RUNNING');
    // The validator uses its memory again.
    return structuredClone(this.#validator.validate(batchTask(batch, this.#maxDetailedRejections?.())));
  }

  async close(): Promise<void> {
    this.#closed = true;
  }
}
