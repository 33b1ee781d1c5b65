// Keeps the messages of one connection in order: chunks are settled in the order of receipt, whichever verdict is
// first.

import { Fifo } from '../fifo.js';
import type { FrameRange, Slab } from '../memory/slab-pool.js';
import type { VerdictReader } from './verdict-reader.js';

/** A range of one connection's messages that is being validated. Holds its slab until it is settled. */
export class Chunk implements FrameRange {
  readonly lane: Lane;
  readonly slab: Slab;
  readonly start: number;
  /** Time of receipt, in ms of the monotonic clock. */
  readonly receivedAt: number;
  end: number;
  /** The verdict on the chunk's batch, once available. */
  verdict: VerdictReader | undefined;
  /** The chunk's index in its batch, and so its range in the verdict. */
  index = 0;
  /** Whether no worker could validate the chunk, or its validation was abandoned. */
  failed = false;
  /** Number of workers that failed while they had the chunk but had not begun with its batch. */
  lostWorkers = 0;
  /** The first run of the verdict that is not settled yet, once settling was interrupted. */
  nextRun: number | undefined;

  constructor(lane: Lane, range: FrameRange, receivedAt: number) {
    this.lane = lane;
    this.slab = range.slab;
    this.start = range.start;
    this.end = range.end;
    this.receivedAt = receivedAt;
    this.slab.hold();
  }

  get size(): number {
    return this.end - this.start;
  }

  /** Appends a range if it directly follows in the same slab. @returns whether it did */
  extend(range: FrameRange): boolean {
    if (range.slab !== this.slab || range.start !== this.end) return false;
    this.end = range.end;
    return true;
  }
}

/**
 * Settles a chunk, or a part of it.
 * @param until when to interrupt this, in ms of the monotonic clock
 * @returns false if the chunk is not settled yet
 */
export type Settle = (chunk: Chunk, until: number) => boolean;

export class Lane {
  readonly #settle: Settle;
  readonly #onError: (error: unknown) => void;
  readonly #queue = new Fifo<Chunk | (() => void)>();
  #draining = false;
  /** Whether what can be settled waits for its turn. Only {@link advance} goes on with it. */
  #isInterrupted = false;
  /** Bytes received and not yet settled. */
  pendingBytes = 0;
  /** Until this time, the connection's messages are validated in quarantine. In ms of the monotonic clock. */
  suspectUntil = 0;
  /** Whether the connection has to be closed: it made a worker fail while the quarantine was full. */
  mustClose = false;
  /**
   * Until this time, the connection counts as slow: its messages may occupy a worker for long. In ms of the monotonic
   * clock.
   */
  slowUntil = 0;

  /**
   * @param settle called with each chunk in the order of {@link push}, once it has a verdict or has failed; again with the
   *   same one until it is settled
   * @param onError called with an error thrown by `settle` or by an action; the lane continues
   */
  constructor(settle: Settle, onError: (error: unknown) => void) {
    this.#settle = settle;
    this.#onError = onError;
  }

  push(chunk: Chunk): void {
    this.#queue.push(chunk);
  }

  /** Replaces a chunk with two: the part before `at`, and the rest. */
  split(chunk: Chunk, at: number): [Chunk, Chunk] {
    const { slab, start, end, receivedAt } = chunk;
    const first = new Chunk(this, { slab, start, end: at }, receivedAt);
    const second = new Chunk(this, { slab, start: at, end }, receivedAt);
    slab.release();
    this.#queue.replace(chunk, [first, second]);
    return [first, second];
  }

  /** Marks all chunks without a verdict as failed, so that no more time is spent on them. */
  abandon(): void {
    for (const item of this.#queue)
      if (item instanceof Chunk && item.verdict === undefined) item.failed = true;
    if (!this.#isInterrupted) this.advance();
  }

  /** Whether the chunk is the one to settle next. */
  isNext(chunk: Chunk): boolean {
    return this.#queue.peek() === chunk;
  }

  /** Runs `action` once everything received before is settled: immediately, if that is already the case. */
  after(action: () => void): void {
    this.#queue.push(action);
    if (!this.#isInterrupted) this.advance();
  }

  /** Settles no more until {@link advance} is called. */
  interrupt(): void {
    this.#isInterrupted = true;
  }

  /**
   * Settles chunks from the head of the queue up to the first without a verdict.
   * @param until when to interrupt this, in ms of the monotonic clock. Default: never
   * @returns false if it was interrupted: call it again in another turn of the event loop
   */
  advance(until = Number.POSITIVE_INFINITY): boolean {
    if (this.#draining) return true;
    this.#draining = true;
    this.#isInterrupted = false;
    let isOver = false;
    for (let item = this.#queue.peek(); item !== undefined; item = this.#queue.peek()) {
      if (item instanceof Chunk && item.verdict === undefined && !item.failed) break;
      if (isOver) {
        this.#isInterrupted = true;
        break;
      }
      this.#queue.shift();
      isOver = !this.#process(item, until) || performance.now() >= until;
    }
    this.#draining = false;
    return !this.#isInterrupted;
  }

  /** @returns whether it is done */
  #process(item: Chunk | (() => void), until: number): boolean {
    let isDone = true;
    // Updated before settling, because settling checks whether reading may resume.
    if (item instanceof Chunk) this.pendingBytes -= item.size;
    try {
      if (item instanceof Chunk) isDone = this.#settle(item, until);
      else item();
    } catch (error) {
      this.#onError(error);
    }
    if (!(item instanceof Chunk)) return true;
    if (isDone) {
      item.slab.release();
      return true;
    }
    this.pendingBytes += item.size;
    this.#queue.unshift([item]);
    return false;
  }
}
