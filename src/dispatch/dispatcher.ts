// Dispatch: gathers chunks into batches and keeps the workers busy with them. While all workers are
// busy, chunks wait and the next batch grows; an idle broker sends a chunk on at once. Never copies a
// message, and never gives up a chunk without an answer: settled, or failed and counted.

import type { FrameRange } from '../memory/slab-pool.js';
import { Backlog, type BacklogOptions, type Batch } from './backlog.js';
import { Chunk, type Lane } from './lane.js';
import { Quarantine } from './quarantine.js';
import { type BatchTask, batchTask, type Verdict } from './verdict.js';
import { VerdictReader } from './verdict-reader.js';
import type { Place } from './watchdog.js';
import { BatchFailure, WorkerPool, type WorkerPoolOptions } from './worker-pool.js';

export interface DispatcherOptions
  extends BacklogOptions,
    Omit<WorkerPoolOptions, 'onError' | 'handsOver' | 'isBackground'> {
  /**
   * Connections that may wait in quarantine, default 64: each holds memory, and its first suspect a worker for as long as
   * `validationTimeout`. One more that makes a worker fail is given up at once.
   */
  maxQuarantined?: number;
  /** Checks small batches on this thread while the workers are idle; none: the workers check all. */
  inline?: InlineValidation | undefined;
  /** Called with each verdict before its chunks are settled. */
  onVerdict: (verdict: Verdict) => void;
  /** Called after the chunks of a batch are settled: the time to write what they gave. */
  onSettled: () => void;
  /** Called when a worker fails; its batch is tried again, piece by piece. */
  onWorkerError: (error: unknown) => void;
}

/** A validator that knows most messages, and knows when it does not. */
export interface InlineValidation {
  /** Bytes that it may be given at a time. */
  readonly maxBytes: number;
  readonly validator: { validateByPatterns(task: BatchTask): Verdict | undefined };
}

export interface DispatchStatistics {
  readonly batches: number;
  /** Batches that were checked on the main thread, for `inlineBytes`. */
  readonly inlineBatches: number;
  /** Small batches that a waiting worker has taken directly. */
  readonly handedOver: number;
  readonly retries: number;
  /** Chunks that no worker could validate. */
  readonly failedChunks: number;
  /** Verdicts that came before that on an earlier chunk of the same connection, and had to wait for it. */
  readonly outOfOrder: number;
  /** Bytes that wait for a free worker. */
  readonly queuedBytes: number;
  readonly batchesInFlight: number;
  /** Time that workers have had batches, summed over the workers, in ms. */
  readonly busyTime: number;
  /** Workers that have started. */
  readonly threads: number;
  /** How often all workers were started anew, because none lived. */
  readonly workerRestarts: number;
}

/** ms that a batch may take before the next ones get smaller, and below which they grow again up to a full one. */
const LONG_BATCH = 30;
const SHORT_BATCH = 10;
/** The smallest share of a full batch. */
const LEAST_SHARE = 1 / 64;
/** ms that a connection is validated in quarantine: after a worker failed at its message, and after that was given up. */
const SUSPICION = 10_000;
const CONFIRMED_SUSPICION = 60_000;
/**
 * Workers that a chunk may lose before they have begun with it. As many as a wave of messages that hang may end in a row:
 * whoever goes into quarantine for it waits there behind them.
 */
const MAX_LOST_WORKERS = 16;

/** Default of {@link DispatcherOptions.maxQuarantined}. */
const MAX_QUARANTINED = 64;

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #maxQuarantined: number;
  readonly #pool: WorkerPool;
  readonly #quarantine: Quarantine;
  /** Share of a full batch that batches have: less while they take long, since everybody waits for the worker. */
  #batchShare = 1;
  readonly #backlog: Backlog;
  #inFlight = 0;
  #busyTime = 0;
  #busySince = 0;
  #flushScheduled = false;
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
    const poolOptions: WorkerPoolOptions = { ...options, handsOver: false, onError: options.onWorkerError };
    // With `verify`, patterns are not to be trusted alone.
    this.#pool = new WorkerPool({ ...poolOptions, handsOver: options.settings.patterns === 'on' });
    this.#quarantine = new Quarantine(poolOptions, {
      onVerdict: (chunk, verdict) => this.#settle([chunk], verdict),
      onPoisonMessage: (chunk) => this.#failChunk(chunk),
      onEmpty: () => this.#resolveIdle(),
    });
  }

  get statistics(): DispatchStatistics {
    this.#setInFlight(this.#inFlight);
    return {
      batches: this.#batches,
      inlineBatches: this.#inlineBatches,
      handedOver: this.#pool.handedOver,
      retries: this.#retries,
      failedChunks: this.#failedChunks,
      outOfOrder: this.#outOfOrder,
      queuedBytes: this.#backlog.bytes,
      batchesInFlight: this.#inFlight,
      busyTime: this.#busyTime,
      threads: this.#pool.threads,
      workerRestarts: this.#pool.restarts,
    };
  }

  /**
   * Waits until the workers answer.
   * @throws SluiceError `WORKERS_FAILED` when one fails to start, or none answers within 30 s
   */
  start(): Promise<void> {
    return this.#pool.start();
  }

  /** Takes whole messages of one connection. Their verdict settles them through the lane, in order. */
  submit(lane: Lane, range: FrameRange, now: number): void {
    const size = range.end - range.start;
    lane.pendingBytes += size;
    if (lane.suspectUntil > 0 && lane.suspectUntil > performance.now()) {
      const chunk = new Chunk(lane, range, now);
      lane.push(chunk);
      this.#quarantine.add([chunk]);
      return;
    }
    this.#backlog.add(lane, range, now);
    this.#scheduleFlush();
  }

  /** Resolves when all that was submitted is settled. */
  idle(): Promise<void> {
    if (this.#isIdle()) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  /** Ends the workers. Wait for {@link idle} first: what is not settled by now is lost. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([this.#pool.close(), this.#quarantine.close()]);
  }

  /** Batches that may be in flight: while they take long, none waits behind another at one worker. */
  get #capacity(): number {
    const { threads, concurrentTasksPerWorker } = this.#options;
    if (this.#batchShare === 1 && !this.#backlog.hasSlowBatches) return threads * concurrentTasksPerWorker;
    return Math.max(1, this.#pool.threads);
  }

  #isIdle(): boolean {
    return this.#inFlight === 0 && this.#backlog.isEmpty && this.#quarantine.isEmpty;
  }

  /**
   * An idle broker sends a chunk on at once; others go after the reads of this turn of the event loop, so that
   * they share a batch.
   */
  #scheduleFlush(): void {
    if (this.#flushScheduled || this.#inFlight >= this.#capacity) return;
    if (this.#inFlight === 0) return this.#flush();
    this.#flushScheduled = true;
    setImmediate(this.#flush);
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false;
    if (this.#closed) return;
    if (this.#inFlight === 0) this.#validateInline();
    while (this.#inFlight < this.#capacity) {
      const batch = this.#backlog.take(this.#batchShare, performance.now());
      if (batch === undefined) return;
      void this.#run(batch);
    }
  };

  /** Takes the way past the workers where there is little to check: it saves two changes of thread. */
  #validateInline(): void {
    const { inline, maxBatchBytes } = this.#options;
    if (inline === undefined) return;
    const chunks = this.#backlog.takeLittle(Math.min(inline.maxBytes, maxBatchBytes));
    if (chunks === undefined) return;
    const verdict = inline.validator.validateByPatterns(batchTask(chunks));
    if (verdict === undefined) return this.#backlog.putBack(chunks, performance.now());
    this.#inlineBatches++;
    this.#settle(chunks, verdict);
    this.#resolveIdle();
  }

  async #run(batch: Batch): Promise<void> {
    const { chunks, isSlow, takenAt } = batch;
    this.#setInFlight(this.#inFlight + 1);
    this.#batches++;
    const verdict = await this.#pool.run(chunks).catch((error: unknown) => {
      this.#onFailure(chunks, error);
    });
    const answeredAt = performance.now();
    this.#backlog.done(batch, answeredAt);
    if (verdict !== undefined) this.#settle(chunks, verdict);
    // What takes long in a slow batch is a single message: smaller batches would not help.
    if (!isSlow) this.#adjustBatches(answeredAt - takenAt, performance.now() - answeredAt);
    this.#setInFlight(this.#inFlight - 1);
    this.#flush();
    this.#resolveIdle();
  }

  /**
   * @param elapsed ms that a batch took, to the worker and back
   * @param settling ms that settling it has kept the main thread
   */
  #adjustBatches(elapsed: number, settling: number): void {
    const longest = Math.max(elapsed, settling);
    if (longest > LONG_BATCH) this.#batchShare = Math.max(LEAST_SHARE, this.#batchShare / 2);
    else if (longest < SHORT_BATCH) this.#batchShare = Math.min(1, this.#batchShare * 2);
  }

  /** Two clock readings a batch: nothing beside the 40 µs that a batch costs. */
  #setInFlight(batches: number): void {
    const now = performance.now();
    this.#busyTime += Math.min(this.#inFlight, this.#options.threads) * (now - this.#busySince);
    this.#busySince = now;
    this.#inFlight = batches;
  }

  #resolveIdle(): void {
    if (this.#isIdle()) for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  #settle(chunks: Chunk[], verdict: Verdict): void {
    this.#options.onVerdict(verdict);
    const reader = new VerdictReader(verdict);
    chunks.forEach((chunk, index) => {
      chunk.verdict = reader;
      chunk.index = index;
    });
    for (const index of verdict.slowRanges) {
      const lane = chunks[index]?.lane;
      if (lane !== undefined) this.#backlog.markSlow(lane, performance.now());
    }
    for (const chunk of chunks) {
      if (!chunk.lane.isNext(chunk)) this.#outOfOrder++;
      chunk.lane.advance();
    }
    this.#options.onSettled();
  }

  /**
   * Validation is pure, so a batch may be validated again. The chunk that the worker was at goes into quarantine, and
   * all others back to the workers, before anything else.
   */
  #onFailure(chunks: Chunk[], error: unknown): void {
    if (this.#closed) return;
    this.#retries++;
    const place = error instanceof BatchFailure ? error.place : undefined;
    const suspect = place?.range === undefined ? undefined : chunks[place.range];
    // First of all: whatever the callback does, the chunks get their answer.
    if (place === undefined) this.#sendAgain(chunks);
    else if (suspect === undefined) this.#quarantine.add(chunks);
    else {
      this.#sendAgain(chunks.filter((chunk) => chunk !== suspect));
      if (!suspect.failed) this.#suspect(suspect, place);
    }
    this.#options.onWorkerError(error);
  }

  /** Puts chunks back at the head of the queue; those that have lost too many workers, into quarantine. */
  #sendAgain(chunks: readonly Chunk[]): void {
    const innocent: Chunk[] = [];
    const lost: Chunk[] = [];
    for (const chunk of chunks) {
      // One that was given up meanwhile is settled already.
      if (!chunk.failed) (chunk.lostWorkers++ < MAX_LOST_WORKERS ? innocent : lost).push(chunk);
    }
    this.#backlog.putBack(innocent, performance.now());
    this.#quarantine.add(lost);
  }

  #suspect(chunk: Chunk, place: Place): void {
    const { lane } = chunk;
    if (this.#quarantine.connections >= this.#maxQuarantined) {
      lane.isGivenUp = true;
      for (const waiting of this.#backlog.takeAllOf(lane)) waiting.failed = true;
      this.#failChunk(chunk);
    } else {
      this.#quarantine.addFailed(chunk, place);
      this.#isolate(lane, SUSPICION);
    }
  }

  /** Keeps what a connection sends away from the workers that others wait for. */
  #isolate(lane: Lane, duration: number): void {
    lane.suspectUntil = Math.max(lane.suspectUntil, performance.now() + duration);
    this.#quarantine.add(this.#backlog.takeAllOf(lane));
  }

  #failChunk(chunk: Chunk): void {
    if (!chunk.lane.isGivenUp) this.#isolate(chunk.lane, CONFIRMED_SUSPICION);
    this.#failedChunks++;
    chunk.failed = true;
    chunk.lane.advance();
    this.#options.onSettled();
  }
}
