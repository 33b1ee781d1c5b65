// The validation workers: Piscina, watched. A worker that spends longer than `validationTimeout` on one batch
// is ended; one that ends is replaced; where none can start, the pool is built anew, ever more slowly. Every
// batch gets an answer, a verdict or an error, but while no worker lives it waits.

import { Piscina } from 'piscina';
import { Backoff } from '../backoff.js';
import { describeError, SluiceError } from '../errors.js';
import type { FrameRange } from '../memory/slab-pool.js';
import { withTimeout } from '../timeout.js';
import { fitsHandoff, Handoff } from './handoff.js';
import {
  type BatchTask,
  batchTask,
  type HandoffTask,
  type ParserSettings,
  type Verdict,
  type WorkerSettings,
} from './verdict.js';
import { VerdictReader } from './verdict-reader.js';
import { type Place, ProcessorClock, Watchdog } from './watchdog.js';

export interface WorkerPoolOptions {
  /** Worker threads. */
  readonly threads: number;
  /** Batches that one worker may have at a time: 2 keep it busy while an answer travels. */
  readonly concurrentTasksPerWorker: number;
  /** ms that one message may take; 0: no limit. */
  readonly validationTimeout: number;
  readonly settings: ParserSettings;
  /** How many rejected messages of each range are to come with their issues now; default: all. */
  readonly maxDetailedRejections?: () => number;
  /** Whether a worker may wait for small batches and take them directly: see handoff.ts. */
  readonly handsOver: boolean;
  /** Whether the workers leave the processor to other threads, where they want it; default: no. */
  readonly isBackground?: boolean;
  /** Called when a worker fails, and when the pool cannot be built. */
  readonly onError: (error: unknown) => void;
}

/** Timeout for the start of the workers, in ms. */
const BOOT_TIMEOUT = 30_000;
/** Delay before a pool that failed to start is recreated. */
const RESTART_BACKOFF = { initialDelay: 100, maxDelay: 5000 } as const;
/** Interval between checks of the workers, in ms. */
const CHECK_INTERVAL = 30;
/**
 * Time limit for one message while other messages wait behind it, in ms, plus ms per byte: ten times what a regular message
 * of 1 MB takes on the slow path, measured. A message that exceeds it is retried in the quarantine worker.
 */
const SOFT_TIMEOUT = { BASE: 120, PER_BYTE: 0.0005 } as const;
/** The largest batch number; numbering restarts after it. */
const MAX_TASK = 0x7fffffff;
/**
 * Young generation of a worker's heap, in MiB. V8's default of 48 makes the process 16 MB larger and measured no faster:
 * almost no object outlives its batch.
 */
const YOUNG_GENERATION = 8;
/** Old generation of a worker's heap, in MiB: this, or a multiple of the longest message if that is more. */
const OLD_GENERATION = 256;
const MESSAGES_IN_HEAP = 32;
const MiB = 1024 * 1024;

/**
 * Small batches in a row, alone, of messages that patterns know, after which a worker waits for the next ones: to send
 * it there costs as much as a batch.
 */
const FIT_IN_A_ROW = 16;
/** Batches in a row that it declines before it is sent back. */
const DECLINED_IN_A_ROW = 4;

/** A worker has failed with a batch. */
export class BatchFailure extends Error {
  /** Where it was in the batch; `undefined`: it had not begun. */
  readonly place: Place | undefined;

  constructor(cause: unknown, place: Place | undefined) {
    super(describeError(cause), { cause });
    this.place = place;
  }
}

type Pool = Piscina<BatchTask | HandoffTask, Verdict>;

export class WorkerPool {
  readonly #options: WorkerPoolOptions;
  readonly #watchdog: Watchdog;
  #piscina: Pool | undefined;
  /** Where a worker waits for small batches, if one does. */
  #handoff: Handoff | undefined;
  #handedOver = 0;
  #declinedInARow = 0;
  /** Batches that were posted and are not answered. */
  #posted = 0;
  #lastTask = 0;
  /** By its number, how long a batch may take for a message, in ms, where that is longer than usual. */
  readonly #patience = new Map<number, number>();
  #fitInARow = 0;
  /** Set once the present pool has answered. */
  #isReady = false;
  #waiters: (() => void)[] = [];
  readonly #restartBackoff = new Backoff(RESTART_BACKOFF);
  #restartTimer: NodeJS.Timeout | undefined;
  #checkTimer: NodeJS.Timeout | undefined;
  #clock = new ProcessorClock(CHECK_INTERVAL);
  #restarts = 0;
  #closed = false;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
    this.#watchdog = new Watchdog(options.threads, options.validationTimeout);
  }

  /** Workers that have started. */
  get threads(): number {
    return this.#isReady ? this.#watchdog.countStarted(this.#piscina?.threads ?? []) : 0;
  }

  /** How often the whole pool was built anew, since the start. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Batches that a worker has taken directly. */
  get handedOver(): number {
    return this.#handedOver;
  }

  /**
   * Waits until the workers answer.
   * @throws SluiceError `WORKERS_FAILED` when one fails to start, or none answers within 30 s
   */
  async start(): Promise<void> {
    try {
      await this.#build();
    } catch (cause) {
      await this.close();
      throw new SluiceError('WORKERS_FAILED', describeError(cause), { cause });
    }
    this.#watch();
  }

  /** Starts without waiting. Workers that cannot start are reported, and tried again; batches wait for them. */
  open(): void {
    this.#watch();
    void this.#tryBuild();
  }

  /**
   * Has a worker validate a batch.
   * @param patience ms that a message may take, up to `validationTimeout`; default: little, others wait for the worker
   * @throws BatchFailure when the worker fails; `NOT_RUNNING` when the pool is closed
   */
  async run(batch: readonly FrameRange[], patience?: number): Promise<Verdict> {
    return (await this.#handOver(batch)) ?? this.#post(await this.#readyPool(), batch, patience);
  }

  async #readyPool(): Promise<Pool> {
    while (!this.#isReady && !this.#closed) await new Promise<void>((resolve) => this.#waiters.push(resolve));
    if (this.#closed || this.#piscina === undefined) throw new SluiceError('NOT_RUNNING');
    return this.#piscina;
  }

  /** Hands a batch to the worker that waits for it, if one does; `undefined`: it has to be posted. */
  async #handOver(batch: readonly FrameRange[]): Promise<Verdict | undefined> {
    const handoff = this.#handoff;
    if (handoff?.takes(batch) !== true) return undefined;
    const verdict = await handoff.run(batch).catch((error: unknown) => {
      throw new BatchFailure(error, undefined);
    });
    if (verdict !== undefined) this.#handedOver++;
    this.#declinedInARow = verdict === undefined ? this.#declinedInARow + 1 : 0;
    if (this.#declinedInARow >= DECLINED_IN_A_ROW) handoff.leave();
    return verdict;
  }

  async #post(piscina: Pool, batch: readonly FrameRange[], patience: number | undefined): Promise<Verdict> {
    const { threads, maxDetailedRejections } = this.#options;
    // Or Piscina might give it to the worker that waits: only one that has nothing at all comes before that.
    if (this.#posted > 0 || threads === 1) this.#handoff?.leave();
    this.#posted++;
    this.#lastTask = (this.#lastTask % MAX_TASK) + 1;
    const task = this.#lastTask;
    if (patience !== undefined) this.#patience.set(task, patience);
    try {
      const verdict = await piscina.run(batchTask(batch, maxDetailedRejections?.(), task));
      const isKnown = verdict.matched === new VerdictReader(verdict).messages;
      this.#fitInARow = isKnown && this.#posted === 1 && fitsHandoff(batch) ? this.#fitInARow + 1 : 0;
      if (this.#fitInARow >= FIT_IN_A_ROW && this.#options.handsOver) this.#openHandoff(piscina);
      return verdict;
    } catch (error) {
      throw new BatchFailure(error, this.#watchdog.locate(task));
    } finally {
      this.#patience.delete(task);
      this.#posted--;
    }
  }

  /** Has a worker wait for small batches. */
  #openHandoff(piscina: Pool): void {
    if (this.#handoff !== undefined) return;
    const handoff = new Handoff();
    this.#handoff = handoff;
    this.#fitInARow = 0;
    this.#declinedInARow = 0;
    const onGone = (): void => {
      this.#handoff = undefined;
      handoff.close();
    };
    piscina.run({ handoff: handoff.memory }).then(onGone, onGone);
  }

  /** Ends the workers. What is not answered by now is rejected. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#checkTimer);
    clearTimeout(this.#restartTimer);
    this.#wake();
    await this.#tearDown();
  }

  async #build(): Promise<void> {
    const { threads, concurrentTasksPerWorker, settings, isBackground = false, onError } = this.#options;
    const piscina: Pool = new Piscina({
      filename: new URL('../worker/worker.js', import.meta.url).href,
      minThreads: threads,
      maxThreads: threads,
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
        watch: this.#watchdog.memory,
        isBackground,
      } satisfies WorkerSettings,
    });
    this.#piscina = piscina;
    piscina.on('error', onError);
    const probes = Array.from({ length: threads }, () => piscina.run(batchTask([])));
    await withTimeout(Promise.all(probes), BOOT_TIMEOUT, () => {
      throw new Error('no answer in time');
    });
    this.#isReady = true;
    this.#restartBackoff.reset();
    this.#wake();
  }

  #watch(): void {
    const { validationTimeout } = this.#options;
    const interval = Math.min(CHECK_INTERVAL, Math.max(10, validationTimeout / 5) || CHECK_INTERVAL);
    this.#clock = new ProcessorClock(interval);
    this.#checkTimer = setInterval(() => this.#check(), interval).unref();
  }

  /** Ends what hangs, and replaces a pool in which no worker lives: Piscina gives up when one fails to start. */
  #check(): void {
    const now = this.#clock.read();
    if (this.#piscina === undefined || !this.#isReady) return;
    const workers = this.#piscina.threads;
    for (const worker of this.#watchdog.findHung(workers, now, this.#timeoutFor)) {
      this.#options.onError(new SluiceError('VALIDATION_TIMEOUT'));
      void worker.terminate();
    }
    if (workers.length === 0) void this.#rebuild();
  }

  readonly #timeoutFor = (task: number, bytes: number): number => {
    const { validationTimeout } = this.#options;
    const little = SOFT_TIMEOUT.BASE + SOFT_TIMEOUT.PER_BYTE * bytes;
    return Math.min(validationTimeout, Math.max(little, this.#patience.get(task) ?? 0));
  };

  async #rebuild(): Promise<void> {
    this.#isReady = false;
    // What waits in the dead pool is rejected, and tried again by whoever sent it.
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
    await piscina?.destroy();
  }

  #wake(): void {
    for (const resolve of this.#waiters.splice(0)) resolve();
  }
}
