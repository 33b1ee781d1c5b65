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

export class Lane {
  readonly #settle: (chunk: Chunk) => void;
  readonly #onError: (error: unknown) => void;
  readonly #queue = new Fifo<Chunk | (() => void)>();
  #draining = false;
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
   * @param settle called with each chunk in the order of {@link push}, once it has a verdict or has failed
   * @param onError called with an error thrown by `settle` or by an action; the lane continues
   */
  constructor(settle: (chunk: Chunk) => void, onError: (error: unknown) => void) {
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
    this.advance();
  }

  /** Whether the chunk is the one to settle next. */
  isNext(chunk: Chunk): boolean {
    return this.#queue.peek() === chunk;
  }

  /** Runs `action` once everything received before is settled: immediately, if that is already the case. */
  after(action: () => void): void {
    this.#queue.push(action);
    this.advance();
  }

  /** Settles chunks from the head of the queue up to the first without a verdict. */
  advance(): void {
    if (this.#draining) return;
    this.#draining = true;
    for (let item = this.#queue.peek(); item !== undefined; item = this.#queue.peek()) {
      if (item instanceof Chunk && item.verdict === undefined && !item.failed) break;
      this.#queue.shift();
      // Updated before settling, because settling checks whether reading may resume.
      if (item instanceof Chunk) this.pendingBytes -= item.size;
      try {
        if (item instanceof Chunk) this.#settle(item);
        else item();
      } catch (error) {
        this.#onError(error);
      }
      if (item instanceof Chunk) item.slab.release();
    }
    this.#draining = false;
  }
}
