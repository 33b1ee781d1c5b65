// Chunks that wait for a worker, in two queues. A single message of a slow connection may occupy a worker for long, and
// unlike a long batch it cannot be split. So while other connections are active, slow connections leave one worker to
// them, and use the other workers only for a share of the time.

import type { FrameRange } from '../memory/slab-pool.js';
import { messageEnds } from '../wire/framing.js';
import { FairQueue } from './fair-queue.js';
import type { Chunk, Lane } from './lane.js';
import { estimateMessages } from './message-count-estimate.js';
import type { ParserSettings } from './verdict.js';

export interface BacklogOptions {
  /** Worker threads. */
  readonly threads: number;
  /** Bytes after which a batch is full. A single larger chunk is split only if the batch is to be smaller than that. */
  readonly maxBatchBytes: number;
  /** Approximate limit on the messages of a batch: each rejected message costs far more memory than its bytes. */
  readonly maxBatchMessages: number;
  readonly settings: ParserSettings;
}

/** Chunks that are sent to a worker together. */
export interface Batch {
  readonly chunks: Chunk[];
  /** Whether its chunks are from slow connections. */
  readonly isSlow: boolean;
  /** Time at which it was taken from the backlog, in ms of the monotonic clock. */
  readonly takenAt: number;
}

/** How long a connection counts as slow after a slow message, in ms; see {@link Verdict.slowRanges}. */
const SLOW_FOR = 5000;
/** Bytes in which the end of the first message is searched one by one: 1 to 2 ms. */
const MAX_SEARCH = 2 * 1024 * 1024;
/** Limit on the messages in a batch of slow connections. */
const MAX_SLOW_MESSAGES = 8;
/**
 * Slow connections leave a worker to the others until this long after the latest chunk of another connection, in ms.
 */
const OTHERS_ACTIVE_FOR = 1000;
/**
 * While others wait, slow connections pause for 3 times the duration of their latest batch, and so get 1/4 of the time.
 */
const SLOW_PAUSE = 3;

export class Backlog {
  readonly #options: BacklogOptions;
  readonly #others = new FairQueue();
  readonly #slow = new FairQueue();
  /** Slow batches in flight. */
  #slowBatches = 0;
  /** Earliest time of the next slow batch while others wait, in ms of the monotonic clock. */
  #slowNotBefore = 0;
  /** Time of the latest chunk of a connection that is not slow, in ms of the monotonic clock. */
  #othersActiveAt = Number.NEGATIVE_INFINITY;

  constructor(options: BacklogOptions) {
    this.#options = options;
  }

  /** Bytes of all waiting chunks. */
  get bytes(): number {
    return this.#others.bytes + this.#slow.bytes;
  }

  get isEmpty(): boolean {
    return this.#others.isEmpty && this.#slow.isEmpty;
  }

  /** Whether slow batches are in flight: other batches must not wait behind them. */
  get hasSlowBatches(): boolean {
    return this.#slowBatches > 0;
  }

  /** Adds received messages to the connection's latest chunk, or as a new chunk. */
  add(lane: Lane, range: FrameRange, now: number): void {
    const isSlow = lane.slowUntil > now;
    if (!isSlow) this.#othersActiveAt = now;
    (isSlow ? this.#slow : this.#others).add(lane, range, now);
  }

  /** Puts chunks back at the head of their queue. */
  putBack(chunks: readonly Chunk[], now: number): void {
    this.#slow.putBack(chunks.filter(({ lane }) => lane.slowUntil > now));
    this.#others.putBack(chunks.filter(({ lane }) => lane.slowUntil <= now));
  }

  /** Removes and returns all chunks of one connection. */
  takeAllOf(lane: Lane): Chunk[] {
    return [...this.#others.takeAllOf(lane), ...this.#slow.takeAllOf(lane)];
  }

  /**
   * Removes and returns all chunks of connections that are not slow, if there are any and at most `maxBytes` in total.
   */
  takeSmall(maxBytes: number): Chunk[] | undefined {
    if (this.#others.isEmpty || this.#others.bytes > maxBytes) return undefined;
    return this.#others.takeAll();
  }

  /** Marks a connection as slow for a while. */
  markSlow(lane: Lane, now: number): void {
    lane.slowUntil = now + SLOW_FOR;
  }

  /**
   * Removes and returns the next batch; `undefined` if none may be sent now. Call {@link done} when a worker has
   * finished it.
   * @param share size as a share of a full batch, up to 1
   */
  take(share: number, now: number): Batch | undefined {
    const isSlow = this.#isSlowTurn(now);
    if (!isSlow && this.#others.isEmpty) return undefined;
    const { maxBatchBytes, maxBatchMessages } = this.#options;
    const maxMessages = Math.ceil(maxBatchMessages * share);
    const chunks = isSlow
      ? this.#takeChunks(this.#slow, maxBatchBytes * share, Math.min(maxMessages, MAX_SLOW_MESSAGES))
      : this.#takeChunks(this.#others, maxBatchBytes * share, maxMessages);
    if (isSlow) this.#slowBatches++;
    return { chunks, isSlow, takenAt: now };
  }

  /** Must be called when a batch has its verdict or has failed. */
  done({ isSlow, takenAt }: Batch, now: number): void {
    if (!isSlow) return;
    this.#slowBatches--;
    this.#slowNotBefore = now + SLOW_PAUSE * (now - takenAt);
  }

  #isSlowTurn(now: number): boolean {
    if (this.#slow.isEmpty) return false;
    const doOthersWait = !this.#others.isEmpty;
    const areOthersActive = doOthersWait || now - this.#othersActiveAt <= OTHERS_ACTIVE_FOR;
    if (areOthersActive && this.#slowBatches >= Math.max(1, this.#options.threads - 1)) return false;
    return !doOthersWait || now >= this.#slowNotBefore;
  }

  #takeChunks(queue: FairQueue, maxBytes: number, maxMessages: number): Chunk[] {
    const { delimiter } = this.#options.settings;
    const chunks: Chunk[] = [];
    let bytes = 0;
    let messages = 0;
    for (let chunk = queue.peek(); chunk !== undefined; chunk = queue.peek()) {
      const { size, slab, start, end } = chunk;
      const more = estimateMessages(slab.arena.bytes, start, end, delimiter);
      if (chunks.length > 0 && (bytes + size > maxBytes || messages + more > maxMessages)) break;
      queue.take();
      chunks.push(chunk);
      bytes += size;
      messages += more;
    }
    const [first] = chunks;
    if (chunks.length !== 1 || first === undefined) return chunks;
    // Smaller batches are due to batches that took long: then there may be far more messages than estimated.
    const isTooLong = bytes > maxBytes && maxBytes < this.#options.maxBatchBytes;
    if (messages <= maxMessages && !isTooLong) return chunks;
    return [this.#cut(queue, first, isTooLong ? maxBytes : bytes, maxMessages, messages)];
  }

  /** Splits a chunk that is too much for one batch. Returns the first part and puts back the rest. */
  #cut(queue: FairQueue, chunk: Chunk, maxBytes: number, maxMessages: number, messages: number): Chunk {
    const { lane, slab, start, end, size } = chunk;
    const { framing, delimiter } = this.#options.settings;
    const limit = Math.min(end, start + Math.ceil(Math.min(maxBytes, (size * maxMessages) / messages)));
    const { bytes } = slab.arena;
    const searchEnd = Math.min(end, start + MAX_SEARCH);
    // If the first message alone exceeds the limit, it goes alone, and the rest is estimated again. If its end is far, it
    // takes everything up to the next delimiter along, where a message always ends.
    const cut =
      messageEnds(bytes, start, limit, framing, delimiter, maxMessages).at(-1) ??
      messageEnds(bytes, start, searchEnd, framing, delimiter, 1)[0] ??
      messageEnds(bytes, searchEnd, end, 'ndjson', delimiter, 1)[0];
    if (cut === undefined || cut >= end) return chunk;
    const [first, second] = lane.split(chunk, cut);
    queue.returnRest(second);
    return first;
  }
}
