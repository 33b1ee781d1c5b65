// The validation workers: Piscina with a watchdog. A worker that spends too long on one message, at most
// `validationTimeout`, is terminated; one that exits is replaced; if none can start, the pool is recreated. Starts that
// fail are repeated with exponential back-off. Every batch gets a verdict or an error; while no worker is running,
// batches wait.

import { Piscina } from 'piscina';
import { Backoff } from '../backoff.js';
import { describeError, describeForLog, SluiceError } from '../errors.js';
import type { FrameRange } from '../memory/slab-pool.js';
import type { PatternModules } from '../pattern/pattern-set.js';
import { withTimeout } from '../timeout.js';
import { requireAddressSpace } from './address-space.js';
import {
  type BatchTask,
  batchTask,
  type ParserSettings,
  type Verdict,
  type WorkerNotice,
  type WorkerSettings,
} from './verdict.js';
import { type BatchPosition, ProcessorClock, Watchdog } from './watchdog.js';

export interface WorkerPoolOptions {
  /** Maximum number of worker threads. One starts with the pool; see {@link WorkerPool.addWorker}. */
  readonly threads: number;
  /** Batches that one worker may have at a time: with 2, it stays busy while a verdict is in transit. */
  readonly concurrentTasksPerWorker: number;
  /** ms that one message may take; 0 disables the limit. */
  readonly validationTimeout: number;
  readonly settings: ParserSettings;
  /** The patterns, compiled for these settings. If omitted, each worker compiles them. */
  readonly modules?: PatternModules | undefined;
  /** Current number of rejected messages per range whose issues are needed. Default: all. */
  readonly maxDetailedRejections?: () => number;
  /** Whether the workers run at a lower priority than other threads. Default: false. */
  readonly isBackground?: boolean;
  /** Called when a worker has started that cannot use patterns, with the reason. It works without them. */
  readonly onPatternsUnavailable?: (reason: string) => void;
  /** Called when a worker fails and when the pool cannot be created. */
  readonly onError: (error: unknown) => void;
}

/**
 * Timeouts for the start of the workers and for their termination, in ms. A start that fails takes at most both. Some
 * runtimes never report that a worker has terminated, or do not start one.
 */
const BOOT_TIMEOUT = 25_000;
const TEAR_DOWN_TIMEOUT = 5000;
/**
 * Time after the start at which the first worker loads the schemas, in ms, unless there are messages before that: loading
 * them takes longer than all else of a start.
 */
const LOAD_DELAY = 1000;
/** Delay before a pool that failed to start is recreated, and before another attempt to start a missing worker. */
const RESTART_BACKOFF = { initialDelay: 100, maxDelay: 5000 } as const;
/** Interval between checks of the workers, in ms. */
const CHECK_INTERVAL = 30;
/**
 * Time limit for one message while other messages wait behind it, in ms, plus ms per byte: ten times what a regular
 * message of 1 MB takes on the slow path, measured. A message that exceeds it is retried in the quarantine worker.
 */
const SOFT_TIMEOUT = { BASE: 120, PER_BYTE: 0.0005 } as const;
/** The largest batch number; numbering restarts after it. */
const MAX_BATCH_ID = 0x7fffffff;
/**
 * Young generation of a worker's heap, in MiB. V8's default of 48 makes the process 16 MB larger and measured no
 * faster: almost no object outlives its batch.
 */
const YOUNG_GENERATION = 8;
/** Old generation of a worker's heap, in MiB: this, or a multiple of the longest message if that is more. */
const OLD_GENERATION = 256;
const MESSAGES_IN_HEAP = 32;
const MiB = 1024 * 1024;

/** A worker failed while it had a batch. */
export class BatchFailure extends Error {
  /** Where in the batch it failed; `undefined` if it had not begun. */
  readonly batchPosition: BatchPosition | undefined;

  constructor(cause: unknown, batchPosition: BatchPosition | undefined) {
    super(describeForLog(cause), { cause });
    this.batchPosition = batchPosition;
  }
}

function noResponse(): Error {
  return new Error(`no response from the workers within ${BOOT_TIMEOUT / 1000} s`);
}

type Pool = Piscina<BatchTask, Verdict>;

export class WorkerPool {
  readonly #options: WorkerPoolOptions;
  readonly #watchdog: Watchdog;
  #piscina: Pool | undefined;
  /** Shared flag: 1 once workers must load the schemas; 0 keeps them idle. */
  readonly #loadRequested = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)).fill(1);
  #loadTimer: NodeJS.Timeout | undefined;
  #lastBatchId = 0;
  /** Extended message timeouts in ms, by batch number. */
  readonly #extendedTimeouts = new Map<number, number>();
  #targetThreads = 1;
  /** Number of tasks in the current pool. */
  #tasks = 0;
  /** Whether a worker of the current pool has responded. */
  #isReady = false;
  #waiters: (() => void)[] = [];
  readonly #restartBackoff = new Backoff(RESTART_BACKOFF);
  #restartTimer: NodeJS.Timeout | undefined;
  /** Delays between the starts of single workers, and the earliest time of the next, in ms of the monotonic clock. */
  readonly #startBackoff = new Backoff(RESTART_BACKOFF);
  #startNotBefore = 0;
  /** Workers that had started at the latest check. */
  #started = 0;
  /** Number of checks at which a worker had not started: unlike time, they do not pass while the process is stopped. */
  readonly #startChecks = new WeakMap<object, number>();
  #maxStartChecks = BOOT_TIMEOUT / CHECK_INTERVAL;
  #checkTimer: NodeJS.Timeout | undefined;
  #clock = new ProcessorClock(CHECK_INTERVAL);
  #restarts = 0;
  #closed = false;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
    this.#watchdog = new Watchdog(options.threads, options.validationTimeout);
  }

  /** Workers that are running. */
  get threads(): number {
    const workers = this.#isReady ? (this.#piscina?.threads ?? []) : [];
    return workers.length - this.#watchdog.unstarted(workers).length;
  }

  /** Number of workers that should be running. */
  get targetThreads(): number {
    return this.#targetThreads;
  }

  /** How often the whole pool was recreated since the start. */
  get restarts(): number {
    return this.#restarts;
  }

  /**
   * Waits until the first worker is ready. It loads the protocol's own schemas later, but those of a module now, since
   * they may fail to load.
   * @throws SluiceError `WORKERS_FAILED` if it fails to start or does not respond within 30 s
   */
  async start(): Promise<void> {
    const isDeferred = this.#options.settings.schemas === undefined;
    if (isDeferred) this.#loadRequested[0] = 0;
    try {
      await this.#build();
    } catch (cause) {
      await this.close();
      throw new SluiceError('WORKERS_FAILED', describeError(cause), { cause });
    }
    if (isDeferred) this.#loadTimer = setTimeout(() => this.#load(), LOAD_DELAY).unref();
    this.#watch();
  }

  /** Lets the first worker load the schemas while it is idle. */
  #load(): void {
    const piscina = this.#piscina;
    if (piscina === undefined || this.#loadRequested[0] !== 0) return;
    this.#requestLoad();
    void this.#send(piscina, batchTask([])).catch((error: unknown) => {
      if (!this.#closed) this.#options.onError(error);
    });
  }

  #requestLoad(): void {
    Atomics.store(this.#loadRequested, 0, 1);
  }

  /**
   * Starts without waiting. If the workers fail to start, reports the error and retries; batches wait until they run.
   */
  open(): void {
    this.#watch();
    void this.#tryBuild();
  }

  /**
   * Validates a batch in a worker.
   * @param messageTimeout ms that a message may take, up to `validationTimeout`. Default: a short time, since other
   *   messages wait for the worker.
   * @throws BatchFailure if the worker fails; SluiceError `NOT_RUNNING` if the pool is closed
   */
  async run(batch: readonly FrameRange[], messageTimeout?: number): Promise<Verdict> {
    const piscina = await this.#readyPool();
    this.#requestLoad();
    this.#lastBatchId = (this.#lastBatchId % MAX_BATCH_ID) + 1;
    const batchId = this.#lastBatchId;
    if (messageTimeout !== undefined) this.#extendedTimeouts.set(batchId, messageTimeout);
    try {
      return await this.#send(piscina, batchTask(batch, this.#options.maxDetailedRejections?.(), batchId));
    } catch (error) {
      throw new BatchFailure(error, this.#watchdog.locate(batchId));
    } finally {
      this.#extendedTimeouts.delete(batchId);
    }
  }

  /** Starts another worker, up to `threads`. */
  addWorker(): void {
    if (this.#targetThreads === this.#options.threads) return;
    this.#targetThreads++;
    this.#allowStart();
    this.#startMissing(performance.now());
  }

  /**
   * Starts a worker if there are fewer than there should be. Piscina starts one when it may, and all workers have as many
   * tasks as they may have: they get empty ones.
   */
  #startMissing(now: number): void {
    const piscina = this.#piscina;
    if (piscina === undefined || !this.#isReady) return;
    const { length } = piscina.threads;
    if (length === 0 || length >= this.#targetThreads || now < this.#startNotBefore) return;
    this.#startNotBefore = now + this.#startBackoff.next();
    const free = Math.max(0, length * this.#options.concurrentTasksPerWorker - this.#tasks);
    piscina.options.maxThreads = length + 1;
    for (let count = 0; count <= free; count++) void this.#send(piscina, batchTask([])).catch(() => {});
    // So that it starts no other worker for batches that wait: if this one fails, the next start has to be delayed.
    piscina.options.maxThreads = 1;
  }

  /** The next worker may start at once. */
  #allowStart(): void {
    this.#startBackoff.reset();
    this.#startNotBefore = 0;
  }

  async #send(piscina: Pool, task: BatchTask): Promise<Verdict> {
    this.#tasks++;
    try {
      return await piscina.run(task);
    } finally {
      if (piscina === this.#piscina) this.#tasks--;
    }
  }

  async #readyPool(): Promise<Pool> {
    while (!this.#isReady && !this.#closed) await new Promise<void>((resolve) => this.#waiters.push(resolve));
    if (this.#closed || this.#piscina === undefined) throw new SluiceError('NOT_RUNNING');
    return this.#piscina;
  }

  /** Terminates the workers, and waits for it for at most 5 s. The promises of pending batches are rejected. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#checkTimer);
    clearTimeout(this.#restartTimer);
    clearTimeout(this.#loadTimer);
    this.#wake();
    await this.#tearDown();
  }

  async #build(): Promise<void> {
    const { threads, concurrentTasksPerWorker, settings, modules } = this.#options;
    const { isBackground = false, onError } = this.#options;
    requireAddressSpace(threads);
    const piscina: Pool = new Piscina({
      filename: new URL('../worker/worker.js', import.meta.url).href,
      minThreads: 1,
      // Raised to start others.
      maxThreads: 1,
      idleTimeout: Infinity,
      concurrentTasksPerWorker,
      atomics: 'sync',
      recordTiming: false,
      resourceLimits: {
        maxYoungGenerationSizeMb: YOUNG_GENERATION,
        maxOldGenerationSizeMb: Math.max(
          OLD_GENERATION,
          Math.ceil((settings.maxMessageSize * MESSAGES_IN_HEAP) / MiB),
        ),
      },
      workerData: {
        ...settings,
        modules,
        watch: this.#watchdog.memory,
        isBackground,
        loadRequested: this.#loadRequested.buffer,
      } satisfies WorkerSettings,
    });
    this.#piscina = piscina;
    this.#tasks = 0;
    piscina.on('error', onError);
    piscina.on('message', ({ patternsUnavailable }: WorkerNotice) => {
      this.#options.onPatternsUnavailable?.(patternsUnavailable);
    });
    await withTimeout(piscina.run(batchTask([])), BOOT_TIMEOUT, () => {
      throw noResponse();
    });
    this.#isReady = true;
    this.#restartBackoff.reset();
    this.#allowStart();
    this.#wake();
  }

  #watch(): void {
    const { validationTimeout } = this.#options;
    const interval = Math.min(CHECK_INTERVAL, Math.max(10, validationTimeout / 5) || CHECK_INTERVAL);
    this.#clock = new ProcessorClock(interval);
    this.#maxStartChecks = BOOT_TIMEOUT / interval;
    this.#checkTimer = setInterval(() => this.#check(), interval).unref();
  }

  /**
   * Terminates hung workers, and replaces those that have exited, and a pool without workers: Piscina does not retry when
   * a worker fails to start.
   */
  #check(): void {
    const now = this.#clock.read();
    if (this.#piscina === undefined || !this.#isReady) return;
    const workers = this.#piscina.threads;
    for (const worker of this.#watchdog.findHung(workers, now, this.#timeoutFor)) {
      this.#options.onError(new SluiceError('VALIDATION_TIMEOUT'));
      void worker.terminate();
    }
    this.#checkStarting(workers);
    if (workers.length === 0) void this.#rebuild();
    else this.#startMissing(performance.now());
  }

  /** Ends the back-off when a worker has started, and terminates those that do not start in time. */
  #checkStarting(workers: Pool['threads']): void {
    const unstarted = this.#watchdog.unstarted(workers);
    const started = workers.length - unstarted.length;
    if (started > this.#started || started >= this.#targetThreads) this.#allowStart();
    this.#started = started;
    for (const worker of unstarted) {
      const checks = (this.#startChecks.get(worker) ?? 0) + 1;
      if (checks < this.#maxStartChecks) this.#startChecks.set(worker, checks);
      else {
        this.#startChecks.delete(worker);
        this.#options.onError(noResponse());
        void worker.terminate();
      }
    }
  }

  readonly #timeoutFor = (batchId: number, bytes: number): number => {
    const { validationTimeout } = this.#options;
    const softTimeout = SOFT_TIMEOUT.BASE + SOFT_TIMEOUT.PER_BYTE * bytes;
    return Math.min(validationTimeout, Math.max(softTimeout, this.#extendedTimeouts.get(batchId) ?? 0));
  };

  async #rebuild(): Promise<void> {
    this.#isReady = false;
    this.#requestLoad();
    // Batches that wait in the old pool are rejected, and their senders retry them.
    await this.#tearDown();
    if (this.#closed) return;
    this.#restarts++;
    await this.#tryBuild();
  }

  async #tryBuild(): Promise<void> {
    try {
      await this.#build();
    } catch (error) {
      await this.#tearDown();
      if (this.#closed) return;
      this.#options.onError(error);
      this.#restartTimer = setTimeout(() => void this.#rebuild(), this.#restartBackoff.next()).unref();
    }
  }

  async #tearDown(): Promise<void> {
    const piscina = this.#piscina;
    this.#piscina = undefined;
    this.#isReady = false;
    if (piscina === undefined) return;
    await withTimeout(piscina.destroy(), TEAR_DOWN_TIMEOUT, () => {
      // Workers that do not terminate must not keep the process running.
      for (const worker of piscina.threads) worker.unref();
    });
  }

  #wake(): void {
    for (const resolve of this.#waiters.splice(0)) resolve();
  }
}
