// Groups chunks into batches and keeps the workers busy with them. While all workers are busy, chunks wait and the next
// batch grows; an idle broker dispatches a chunk immediately. Never copies a message, and never loses a chunk: each is
// either settled, or failed and counted. Nothing may be submitted before it is started.

import { SluiceError } from '../errors.js';
import { importInstalled } from '../installed.js';
import type { FrameRange } from '../memory/slab-pool.js';
import { Backlog, type BacklogOptions, type Batch } from './backlog.js';
import type { Chunk, Lane } from './lane.js';
import { LocalPool, type ValidationPool } from './local-pool.js';
import { positionOf, Quarantine } from './quarantine.js';
import { type BatchTask, batchTask, type Verdict } from './verdict.js';
import { VerdictReader } from './verdict-reader.js';
import type { BatchPosition } from './watchdog.js';
import { WorkerDemand } from './worker-demand.js';
import type { WorkerPool, WorkerPoolOptions } from './worker-pool.js';

export interface DispatcherOptions
  extends BacklogOptions,
    Omit<WorkerPoolOptions, 'onError' | 'isBackground'> {
  /**
   * Limit on connections in quarantine, since each holds memory, and its first suspect may occupy the worker for all of
   * `validationTimeout`. Above the limit, a chunk that makes a worker fail is failed immediately. Default: 64.
   */
  maxQuarantined?: number;
  /**
   * Called when the workers have started. Returns what validates small batches on this thread while the workers are
   * idle; `undefined` if the workers validate everything. Default: the workers validate everything.
   */
  createInline?: () => InlineValidation | undefined;
  /**
   * Creates what validates all batches on this thread, which begins at once but holds up the event loop. Default: workers
   * validate them.
   */
  createLocal?: (() => { validate(task: BatchTask): Verdict }) | undefined;
  /** Called with each verdict before its chunks are settled. */
  onVerdict: (verdict: Verdict) => void;
  /** Called after the chunks of a batch are settled, to write the resulting output. @param bytes of the batch */
  onSettled: (bytes: number) => void;
  /** Called when a worker fails. Its batch is retried, divided into smaller parts. */
  onWorkerError: (error: unknown) => void;
}

/** A validator that handles most messages and recognizes those that it cannot handle. */
export interface InlineValidation {
  /** Limit on the bytes of a batch. */
  readonly maxBytes: number;
  readonly validator: { validateByPatterns(task: BatchTask): Verdict | undefined };
}

export interface DispatchStatistics {
  readonly batches: number;
  /** Batches validated on the main thread (see the option `inlineBytes`). */
  readonly inlineBatches: number;
  readonly retries: number;
  /** Chunks that no worker could validate. */
  readonly failedChunks: number;
  /** Verdicts that had to wait for the verdict on an earlier chunk of the same connection. */
  readonly outOfOrder: number;
  /** Bytes that wait for a free worker. */
  readonly queuedBytes: number;
  readonly batchesInFlight: number;
  /** Total time that workers have spent on batches, summed over the workers, in ms. */
  readonly busyTime: number;
  /** Workers that are running. */
  readonly threads: number;
  /** How often all workers were restarted because none was running. */
  readonly workerRestarts: number;
}

/** Above the first duration, the next batches get smaller; below the second, they grow again up to full size. In ms. */
const LONG_BATCH = 30;
const SHORT_BATCH = 10;
/**
 * How long a batch, or what is left of others, is settled in one turn of the event loop before it reads from and writes to
 * all connections, and how much of that one lane may take before others, in ms. A message takes microseconds if it is
 * forwarded, and up to a millisecond if it is a control message.
 */
const MAX_SETTLING = 30;
const MAX_LANE_SETTLING = 5;
/** Number of lanes with messages that are left to settle above which no more are validated: verdicts take memory. */
const MAX_UNSETTLED = 128;
/** The smallest batch, as a share of a full one. */
const MIN_SHARE = 1 / 64;
/**
 * How long a connection is validated in quarantine, in ms: after a worker failed at one of its messages, and after that
 * message was confirmed to be a poison message.
 */
const SUSPECT_DURATION = 10_000;
const CONFIRMED_DURATION = 60_000;
/**
 * How many workers may fail before they have begun with a chunk until it goes into quarantine. As many as a wave of
 * hanging messages may terminate in a row: a chunk that went into quarantine sooner would wait there behind those
 * messages.
 */
const MAX_LOST_WORKERS = 16;

/**
 * While a batch is being validated, fewer pending bytes than COALESCE_BYTES wait for its verdict, but at most
 * MAX_COALESCE_DELAY ms. A batch costs about as much as validating 100 KiB.
 */
const COALESCE_BYTES = 128 * 1024;
const MAX_COALESCE_DELAY = 2;

/** Limit on the number of batches that the workers get before the next attempt to validate one on the main thread. */
const MAX_SKIPPED = 64;

/** Default of {@link DispatcherOptions.maxQuarantined}. */
const MAX_QUARANTINED = 64;

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #maxQuarantined: number;
  /** The class of the pools, loaded by {@link start}. */
  #poolClass: typeof WorkerPool | undefined;
  /** Created by {@link start}. */
  #pool: ValidationPool | undefined;
  #inline: InlineValidation | undefined;
  /** Batches that go to the workers in any case, now and after the next batch that inline validation cannot handle. */
  #toSkip = 0;
  #nextToSkip = 0;
  readonly #quarantine: Quarantine;
  readonly #demand = new WorkerDemand({
    workers: () => this.#workers,
    oldestSince: () => {
      const [oldest] = this.#running;
      return oldest?.takenAt;
    },
    onDemand: () => {
      this.#pool?.addWorker();
      this.#flush();
    },
  });
  #coalesceTimer: NodeJS.Timeout | undefined;
  /** The batches in flight, the oldest first. */
  readonly #running = new Set<Batch>();
  /**
   * Batch size as a share of a full batch: reduced while batches take long, since other connections wait for the
   * worker.
   */
  #batchShare = 1;
  readonly #backlog: Backlog;
  #busyTime = 0;
  #flushScheduled = false;
  /** While settling a batch took long in this turn of the event loop: resolves in the next one. */
  #nextTurn: Promise<void> | undefined;
  /** Lanes with chunks that have a verdict and are settled in the next turns, as that takes long. */
  readonly #unsettled = new Set<Lane>();
  #settlesRest = false;
  #closed = false;
  #batches = 0;
  #inlineBatches = 0;
  #retries = 0;
  #failedChunks = 0;
  #outOfOrder = 0;
  #idleWaiters: (() => void)[] = [];

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#maxQuarantined = options.maxQuarantined ?? MAX_QUARANTINED;
    this.#backlog = new Backlog(options);
    this.#quarantine = new Quarantine(options, {
      createPool: (overrides) => this.#createPool(overrides),
      onVerdict: (chunk, verdict) => this.#settle([chunk], verdict),
      onPoisonMessage: (chunk) => this.#failChunk(chunk),
      onAbandoned: (chunk) => this.#failChunk(chunk),
      onIdle: () => this.#resolveIdle(),
    });
  }

  get statistics(): DispatchStatistics {
    return {
      batches: this.#batches,
      inlineBatches: this.#inlineBatches,
      retries: this.#retries,
      failedChunks: this.#failedChunks,
      outOfOrder: this.#outOfOrder,
      queuedBytes: this.#backlog.bytes,
      batchesInFlight: this.#running.size,
      busyTime: this.#busyTime,
      threads: this.#pool?.threads ?? 0,
      workerRestarts: this.#pool?.restarts ?? 0,
    };
  }

  /**
   * Waits until the first worker is ready.
   * @throws SluiceError `WORKERS_FAILED` if it fails to start or does not respond within 30 s; `NOT_INSTALLED` if this
   *   code is bundled and the workers cannot be found
   */
  async start(): Promise<void> {
    const { createLocal, createInline } = this.#options;
    if (createLocal === undefined) {
      const { WorkerPool } =
        await importInstalled<typeof import('./worker-pool.js')>('dispatch/worker-pool.js');
      this.#poolClass = WorkerPool;
    }
    this.#pool = this.#createPool();
    await this.#pool.start();
    if (createLocal === undefined) this.#inline = createInline?.();
  }

  #createPool(overrides: Partial<WorkerPoolOptions> = {}): ValidationPool {
    const { createLocal, maxDetailedRejections } = this.#options;
    if (createLocal !== undefined) return new LocalPool(createLocal(), maxDetailedRejections);
    if (this.#poolClass === undefined || this.#closed) throw new SluiceError('NOT_RUNNING');
    return new this.#poolClass({ ...this.#options, onError: this.#options.onWorkerError, ...overrides });
  }

  /** Queues whole messages of one connection. They are settled through the lane, in order, once they have a verdict. */
  submit(lane: Lane, range: FrameRange, now: number): void {
    const size = range.end - range.start;
    lane.pendingBytes += size;
    if (lane.suspectUntil > 0 && lane.suspectUntil > performance.now())
      return this.#quarantine.submit(lane, range, now);
    this.#backlog.add(lane, range, now);
    this.#scheduleFlush();
  }

  /** Resolves when everything submitted is settled. */
  idle(): Promise<void> {
    if (this.#isIdle()) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  /**
   * Resolves when everything submitted is settled. Does not wait for messages that are delayed because their connection
   * has sent poison messages: they are failed.
   */
  drain(): Promise<void> {
    this.#quarantine.drain();
    return this.idle();
  }

  /** Terminates the workers, and waits for it for at most 5 s. Wait for {@link idle} first: unsettled messages are lost. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#unsettled.clear();
    this.#demand.close();
    clearTimeout(this.#coalesceTimer);
    await Promise.all([this.#pool?.close(), this.#quarantine.close()]);
  }

  /** Number of workers that may have batches. */
  get #workers(): number {
    return this.#pool?.targetThreads ?? 1;
  }

  /** Limit on batches in flight. While batches take long, it is one per worker, so that none waits behind another. */
  get #capacity(): number {
    const { concurrentTasksPerWorker } = this.#options;
    if (this.#batchShare === 1 && !this.#backlog.hasSlowBatches)
      return this.#workers * concurrentTasksPerWorker;
    return Math.max(1, this.#pool?.threads ?? 0);
  }

  #isIdle(): boolean {
    const isSettled = this.#running.size === 0 && this.#unsettled.size === 0;
    return isSettled && this.#backlog.isEmpty && this.#quarantine.isEmpty;
  }

  /**
   * If no batch is in flight, dispatches a chunk immediately; otherwise after the reads of this turn of the event loop,
   * so that their chunks share a batch.
   */
  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    if (this.#running.size >= this.#capacity) return this.#recordWait();
    if (this.#running.size === 0) return this.#flush();
    this.#flushScheduled = true;
    setImmediate(this.#flush);
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false;
    const pool = this.#pool;
    if (this.#closed || pool === undefined || this.#unsettled.size >= MAX_UNSETTLED) return;
    if (this.#running.size === 0) this.#validateInline();
    while (this.#running.size < this.#capacity && !this.#isCoalescing()) {
      const batch = this.#backlog.take(this.#batchShare, performance.now());
      if (batch === undefined) break;
      void this.#run(pool, batch);
    }
    if (this.#backlog.isEmpty) this.#demand.endWait();
    else if (this.#running.size >= this.#capacity) this.#recordWait();
  };

  /** Whether few bytes wait for a batch that will soon be done, to share the next one with what comes until then. */
  #isCoalescing(): boolean {
    const { bytes, isEmpty } = this.#backlog;
    if (isEmpty || bytes >= Math.min(COALESCE_BYTES, this.#options.maxBatchBytes * this.#batchShare))
      return false;
    const since = performance.now() - MAX_COALESCE_DELAY;
    for (const { isSlow, takenAt } of this.#running) {
      if (isSlow || takenAt <= since) continue;
      this.#coalesceTimer ??= setTimeout(() => {
        this.#coalesceTimer = undefined;
        this.#flush();
      }, MAX_COALESCE_DELAY).unref();
      return true;
    }
    return false;
  }

  /** Called while messages wait and all workers have batches. */
  #recordWait(): void {
    if (this.#workers < this.#options.threads && !this.#closed) this.#demand.wait();
  }

  /**
   * Validates a small amount of data on the main thread, which saves two thread switches. After messages that match no
   * pattern, since others like them usually follow, ever more batches are left to the workers.
   */
  #validateInline(): void {
    const inline = this.#inline;
    if (inline === undefined || this.#backlog.isEmpty) return;
    if (this.#toSkip > 0) {
      this.#toSkip--;
      return;
    }
    const chunks = this.#backlog.takeSmall(Math.min(inline.maxBytes, this.#options.maxBatchBytes));
    if (chunks === undefined) return;
    const verdict = inline.validator.validateByPatterns(batchTask(chunks));
    if (verdict === undefined) {
      this.#toSkip = this.#nextToSkip;
      this.#nextToSkip = Math.min(MAX_SKIPPED, 2 * this.#nextToSkip + 1);
      return this.#backlog.putBack(chunks, performance.now());
    }
    this.#nextToSkip = 0;
    this.#inlineBatches++;
    this.#settle(chunks, verdict);
    this.#resolveIdle();
  }

  async #run(pool: ValidationPool, batch: Batch): Promise<void> {
    const { chunks, isSlow, takenAt } = batch;
    this.#batches++;
    this.#running.add(batch);
    const verdict = await pool.run(chunks).catch((error: unknown) => {
      this.#onFailure(chunks, error);
    });
    const answeredAt = performance.now();
    this.#backlog.done(batch, answeredAt);
    // Other batches that were validated meanwhile. Between them, the event loop reads from and writes to all connections.
    while (this.#nextTurn !== undefined) await this.#nextTurn;
    const settlingAt = performance.now();
    // How long the verdict waited to be read does not count: that is other work of this thread, whatever the batch.
    const { duration } = verdict ?? { duration: answeredAt - takenAt };
    this.#busyTime += duration;
    if (verdict !== undefined) this.#settle(chunks, verdict);
    const settling = performance.now() - settlingAt;
    if (settling > LONG_BATCH) this.#endTurn();
    // A slow batch takes long because of a single message: smaller batches would not help.
    if (!isSlow) this.#adjustBatches(duration, settling);
    this.#running.delete(batch);
    this.#flush();
    this.#resolveIdle();
  }

  #endTurn(): void {
    this.#nextTurn = new Promise((resolve) => {
      setImmediate(() => {
        this.#nextTurn = undefined;
        resolve();
      });
    });
  }

  /**
   * @param validating ms for which a batch occupied a worker
   * @param settling ms for which settling it occupied the main thread
   */
  #adjustBatches(validating: number, settling: number): void {
    const longest = Math.max(validating, settling);
    if (longest > LONG_BATCH) this.#batchShare = Math.max(MIN_SHARE, this.#batchShare / 2);
    else if (longest < SHORT_BATCH) this.#batchShare = Math.min(1, this.#batchShare * 2);
  }

  #resolveIdle(): void {
    if (this.#isIdle()) for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  #settle(chunks: Chunk[], verdict: Verdict): void {
    this.#options.onVerdict(verdict);
    const reader = new VerdictReader(verdict);
    let bytes = 0;
    chunks.forEach((chunk, index) => {
      chunk.verdict = reader;
      chunk.index = index;
      bytes += chunk.end - chunk.start;
    });
    for (const index of verdict.slowRanges) {
      const lane = chunks[index]?.lane;
      if (lane !== undefined) this.#backlog.markSlow(lane, performance.now());
    }
    const until = performance.now() + MAX_SETTLING;
    for (const chunk of chunks) {
      const { lane } = chunk;
      if (!lane.isNext(chunk) && !this.#unsettled.has(lane)) this.#outOfOrder++;
      this.#advance(lane, until);
    }
    this.#settleRestSoon();
    this.#options.onSettled(bytes);
  }

  /** Settles chunks of a lane: until a time, in this turn of the event loop; what is left, in the next ones. */
  #advance(lane: Lane, until: number): void {
    const now = performance.now();
    let isSettled = false;
    if (now < until) isSettled = lane.advance(Math.min(until, now + MAX_LANE_SETTLING));
    else lane.interrupt();
    // If anything is left, it comes after all others.
    this.#unsettled.delete(lane);
    if (!isSettled) this.#unsettled.add(lane);
  }

  #settleRestSoon(): void {
    if (this.#unsettled.size === 0 || this.#settlesRest) return;
    this.#settlesRest = true;
    setImmediate(() => {
      this.#settlesRest = false;
      if (this.#closed) return;
      const until = performance.now() + MAX_SETTLING;
      for (const lane of this.#unsettled) {
        if (performance.now() >= until) break;
        this.#advance(lane, until);
      }
      this.#settleRestSoon();
      this.#options.onSettled(0);
      this.#flush();
      this.#resolveIdle();
    });
  }

  /**
   * Validation is pure, so a batch may be retried. The chunk that the worker was processing goes into quarantine, and
   * all others go back to the head of the queue.
   */
  #onFailure(chunks: Chunk[], error: unknown): void {
    if (this.#closed) return;
    this.#retries++;
    const position = positionOf(error);
    const suspect = position?.range === undefined ? undefined : chunks[position.range];
    // Before the callback: even if it throws, the chunks get a verdict.
    if (position === undefined) this.#requeue(chunks);
    else if (suspect === undefined) this.#quarantine.add(chunks);
    else {
      this.#requeue(chunks.filter((chunk) => chunk !== suspect));
      if (!suspect.failed) this.#suspect(suspect, position);
    }
    this.#options.onWorkerError(error);
  }

  /** Puts chunks back at the head of the queue, or into quarantine if too many workers failed while they had them. */
  #requeue(chunks: readonly Chunk[]): void {
    const retried: Chunk[] = [];
    const quarantined: Chunk[] = [];
    for (const chunk of chunks) {
      // A chunk that has failed in the meantime is already settled.
      if (!chunk.failed) (chunk.lostWorkers++ < MAX_LOST_WORKERS ? retried : quarantined).push(chunk);
    }
    this.#backlog.putBack(retried, performance.now());
    this.#quarantine.add(quarantined);
  }

  #suspect(chunk: Chunk, position: BatchPosition): void {
    const { lane } = chunk;
    if (this.#quarantine.connections >= this.#maxQuarantined) {
      lane.mustClose = true;
      for (const waiting of this.#backlog.takeAllOf(lane)) waiting.failed = true;
      this.#failChunk(chunk);
    } else {
      this.#quarantine.addFailed(chunk, position);
      this.#isolate(lane, SUSPECT_DURATION);
    }
  }

  /** Validates the messages of a connection in quarantine for a while. @param duration in ms */
  #isolate(lane: Lane, duration: number): void {
    lane.suspectUntil = Math.max(lane.suspectUntil, performance.now() + duration);
    this.#quarantine.add(this.#backlog.takeAllOf(lane));
  }

  #failChunk(chunk: Chunk): void {
    if (!chunk.lane.mustClose) this.#isolate(chunk.lane, CONFIRMED_DURATION);
    this.#failedChunks++;
    chunk.failed = true;
    this.#advance(chunk.lane, performance.now() + MAX_SETTLING);
    this.#settleRestSoon();
    this.#options.onSettled(chunk.end - chunk.start);
  }
}
