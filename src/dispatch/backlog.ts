// What waits for a worker, in two queues. A single message of a slow connection may keep a worker for long, and cannot be
// cut as a long batch can: slow connections leave a worker to all others while those have something to say, and a part of
// the time of that which they use.

import type { FrameRange } from '../memory/slab-pool.js';
import { messageEnds } from '../wire/framing.js';
import { FairQueue } from './fair-queue.js';
import type { Chunk, Lane } from './lane.js';
import { estimateMessages } from './message-count-estimate.js';
import type { ParserSettings } from './verdict.js';

export interface BacklogOptions {
  /** Worker threads. */
  readonly threads: number;
  /** Bytes after which a batch is full; one larger chunk still goes whole. */
  readonly maxBatchBytes: number;
  /** Messages after which a batch is full, roughly: each that is rejected costs far more memory than its bytes. */
  readonly maxBatchMessages: number;
  readonly settings: ParserSettings;
}

/** What is sent to a worker. */
export interface Batch {
  readonly chunks: Chunk[];
  /** Whether it is of slow connections. */
  readonly isSlow: boolean;
  /** When it was taken, in ms of the monotonic clock. */
  readonly takenAt: number;
}

/** ms that a connection counts as slow after a slow message; see {@link Verdict.slowRanges}. */
const SLOW_FOR = 5000;
/** Messages that a batch of a slow connection may have. */
const MAX_SLOW_MESSAGES = 8;
/** ms after the latest chunk of another connection during which slow ones leave a worker to the others. */
const OTHERS_ACTIVE_FOR = 1000;
/** While others wait, slow connections wait so many times as long as their latest batch took: a quarter of the time is theirs. */
const SLOW_PAUSE = 3;

export class Backlog {
  readonly #options: BacklogOptions;
  readonly #others = new FairQueue();
  readonly #slow = new FairQueue();
  /** Slow batches that workers have. */
  #slowBatches = 0;
  /** When slow connections may have a worker for which others wait, in ms of the monotonic clock. */
  #slowNotBefore = 0;
  /** When the latest chunk came of a connection that is not slow, in ms of the monotonic clock. */
  #othersActiveAt = Number.NEGATIVE_INFINITY;

  constructor(options: BacklogOptions) {
    this.#options = options;
  }

  /** Bytes of all that waits. */
  get bytes(): number {
    return this.#others.bytes + this.#slow.bytes;
  }

  get isEmpty(): boolean {
    return this.#others.isEmpty && this.#slow.isEmpty;
  }

  /** Whether workers have slow batches: others are not to wait behind those. */
  get hasSlowBatches(): boolean {
    return this.#slowBatches > 0;
  }

  /** Adds what a connection has received to its latest chunk, or as a new one. */
  add(lane: Lane, range: FrameRange, now: number): void {
    const isSlow = lane.slowUntil > now;
    if (!isSlow) this.#othersActiveAt = now;
    (isSlow ? this.#slow : this.#others).add(lane, range, now);
  }

  /** Puts chunks before all others. */
  putBack(chunks: readonly Chunk[], now: number): void {
    this.#slow.putBack(chunks.filter(({ lane }) => lane.slowUntil > now));
    this.#others.putBack(chunks.filter(({ lane }) => lane.slowUntil <= now));
  }

  /** Takes out all chunks of one connection. */
  takeAllOf(lane: Lane): Chunk[] {
    return [...this.#others.takeAllOf(lane), ...this.#slow.takeAllOf(lane)];
  }

  /** Takes out everything but what slow connections sent, if that is no more than so many bytes and not nothing. */
  takeLittle(maxBytes: number): Chunk[] | undefined {
    if (this.#others.isEmpty || this.#others.bytes > maxBytes) return undefined;
    return this.#others.takeAll();
  }

  /** A connection has sent a message that took long. */
  markSlow(lane: Lane, now: number): void {
    lane.slowUntil = now + SLOW_FOR;
  }

  /**
   * Takes out the batch whose turn it is; `undefined`: none may go now. Say when a worker has {@link done} with it.
   * @param share of a full batch, up to 1
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

  /** A worker has answered to a batch, or failed with it. */
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
    if (chunks.length !== 1 || first === undefined || messages <= maxMessages) return chunks;
    return [this.#cut(queue, first, maxMessages, messages)];
  }

  /** Cuts a chunk that has too many messages for one batch, and puts back the rest. Gives the first part. */
  #cut(queue: FairQueue, chunk: Chunk, maxMessages: number, messages: number): Chunk {
    const { lane, slab, start, end, size } = chunk;
    const { framing, delimiter } = this.#options.settings;
    const limit = Math.min(end, start + Math.ceil((size * maxMessages) / messages));
    const { bytes } = slab.arena;
    // The first message may be longer than the share: then it goes alone, and the many behind it are looked at anew.
    const cut =
      messageEnds(bytes, start, limit, framing, delimiter, maxMessages).at(-1) ??
      messageEnds(bytes, start, end, framing, delimiter, 1)[0];
    if (cut === undefined || cut >= end) return chunk;
    const [first, second] = lane.split(chunk, cut);
    queue.returnRest(second);
    return first;
  }
}
