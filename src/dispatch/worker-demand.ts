// Decides when another worker starts: when messages wait for the workers, and not for this thread. A worker costs memory,
// and the time to compile everything once more.

import { availableParallelism } from 'node:os';

/** How long messages must wait for workers before another one starts, in ms. */
const DEMAND_DELAY = 100;
/** The share of another worker's core that this thread may use: that worker gains at least the rest. */
const SHARED_CORE = 0.5;
/** Bun and Deno do not measure the utilization of the event loop: there, this thread counts as idle. */
const IS_MEASURED = typeof performance.eventLoopUtilization === 'function';

export interface WorkerDemandOptions {
  /** Number of cores. Default: those that this process may use. */
  readonly cores?: number;
  /** Number of workers that may have batches. */
  readonly workers: () => number;
  /** Since when the oldest batch has occupied a worker, in ms of the monotonic clock; `undefined` if there is none. */
  readonly oldestSince: () => number | undefined;
  /**
   * Called when messages have waited for 100 ms without a break, if a core is left for another worker or the oldest batch
   * has occupied a worker for as long.
   */
  readonly onDemand: () => void;
}

export class WorkerDemand {
  readonly #options: WorkerDemandOptions;
  readonly #cores: number;
  /** Since when messages wait although all workers have batches, in ms of the monotonic clock; `undefined` if none wait. */
  #since: number | undefined;
  /** The utilization of the event loop until the latest check; `undefined` if it is not measured. */
  #utilization: ReturnType<typeof performance.eventLoopUtilization> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: WorkerDemandOptions) {
    this.#options = options;
    this.#cores = options.cores ?? availableParallelism();
  }

  /** Messages wait, and all workers have batches. */
  wait(): void {
    this.#since ??= performance.now();
    if (this.#timer !== undefined) return;
    if (IS_MEASURED) this.#utilization = performance.eventLoopUtilization();
    // After the event loop has read verdicts: it may have been blocked, while the workers were waiting.
    this.#timer = setTimeout(() => setImmediate(this.#check), DEMAND_DELAY).unref();
  }

  /** No messages wait. */
  endWait(): void {
    this.#since = undefined;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.endWait();
  }

  readonly #check = (): void => {
    this.#timer = undefined;
    if (this.#since === undefined) return;
    const before = performance.now() - DEMAND_DELAY;
    const isBusy = this.#since <= before && this.#hasCore();
    const isHeldUp = (this.#options.oldestSince() ?? Number.POSITIVE_INFINITY) <= before;
    if (!isBusy && !isHeldUp) return this.wait();
    this.endWait();
    this.#options.onDemand();
  };

  /** Whether another worker would have a core. Where this thread needs it, that is what the messages wait for. */
  #hasCore(): boolean {
    const before = this.#utilization;
    const utilization = before === undefined ? 0 : performance.eventLoopUtilization(before).utilization;
    return this.#options.workers() + 1 + utilization <= this.#cores + SHARED_CORE;
  }
}
