// The order of one connection: what it sent is settled from the head, whatever worker answers first.

import type { FrameRange, Slab } from '../memory/slab-pool.js';
import type { VerdictReader } from './verdict-reader.js';

/** A range of one connection's messages on its way through a worker. Holds its slab until it is settled. */
export class Chunk implements FrameRange {
  readonly lane: Lane;
  readonly slab: Slab;
  readonly start: number;
  /** When the chunk was received, in ms of the monotonic clock. */
  readonly receivedAt: number;
  end: number;
  /** The verdict on the batch that the chunk was part of, once it is there. */
  verdict: VerdictReader | undefined;
  /** The chunk's place in its batch: its range in the verdict. */
  index = 0;
  /** Set when no worker could validate the chunk, or none is to. */
  failed = false;
  /** Workers that have ended while they had the chunk, and had not begun with its batch. */
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

  /** Takes in the range that follows in the same slab, if this one does. */
  extend(range: FrameRange): boolean {
    if (range.slab !== this.slab || range.start !== this.end) return false;
    this.end = range.end;
    return true;
  }
}

export class Lane {
  readonly #settle: (chunk: Chunk) => void;
  readonly #onError: (error: unknown) => void;
  #queue: (Chunk | (() => void))[] = [];
  #draining = false;
  /** Bytes received and not yet settled. */
  pendingBytes = 0;
  /** Until when what the connection sends is validated in quarantine, in ms of the monotonic clock. */
  suspectUntil = 0;
  /** Set when it has made a worker fail while too many others had: it is to be closed. */
  isGivenUp = false;
  /** Until when it counts as slow: its messages may keep a worker for long. In ms of the monotonic clock. */
  slowUntil = 0;

  /**
   * @param settle called with each chunk in the order of {@link push}, once it has a verdict or has failed
   * @param onError called with what `settle` or an action throws; the lane goes on
   */
  constructor(settle: (chunk: Chunk) => void, onError: (error: unknown) => void) {
    this.#settle = settle;
    this.#onError = onError;
  }

  push(chunk: Chunk): void {
    this.#queue.push(chunk);
  }

  /** Puts two chunks in the place of one: what lies before `at`, and the rest. */
  split(chunk: Chunk, at: number): [Chunk, Chunk] {
    const { slab, start, end, receivedAt } = chunk;
    const first = new Chunk(this, { slab, start, end: at }, receivedAt);
    const second = new Chunk(this, { slab, start: at, end }, receivedAt);
    slab.release();
    this.#queue.splice(this.#queue.indexOf(chunk), 1, first, second);
    return [first, second];
  }

  /** Gives up all chunks that have no verdict yet: nobody is to spend time on them. */
  abandon(): void {
    for (const item of this.#queue)
      if (item instanceof Chunk && item.verdict === undefined) item.failed = true;
    this.advance();
  }

  /** Whether the chunk is the one to settle next. */
  isNext(chunk: Chunk): boolean {
    return this.#queue[0] === chunk;
  }

  /** Runs `action` when all that was received before it is settled: at once, if that is so now. */
  after(action: () => void): void {
    this.#queue.push(action);
    this.advance();
  }

  /** Settles from the head as far as answers are there. */
  advance(): void {
    if (this.#draining) return;
    this.#draining = true;
    let done = 0;
    for (const item of this.#queue) {
      if (item instanceof Chunk && item.verdict === undefined && !item.failed) break;
      // Before it is settled: then it is looked at whether reading may go on.
      if (item instanceof Chunk) this.pendingBytes -= item.size;
      try {
        if (item instanceof Chunk) this.#settle(item);
        else item();
      } catch (error) {
        this.#onError(error);
      }
      if (item instanceof Chunk) item.slab.release();
      done++;
    }
    if (done > 0) this.#queue = this.#queue.slice(done);
    this.#draining = false;
  }
}
