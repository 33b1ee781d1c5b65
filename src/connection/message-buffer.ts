// Receiving and framing: the stage between one socket and the dispatcher. Provides slab memory for the socket to read
// into, and emits ranges of whole messages. Copies only the partial message at the end of a slab, and never holds more
// of a message than maxMessageSize.
//
//        start         boundary       end            limit
//   ──────┬───────────────┬────────────┬───────────────┐
//    sent │ whole messages│ partial    │ next read     │   slab
//   ──────┴───────────────┴────────────┴───────────────┘

import { copyBytes } from '../memory/copy-bytes.js';
import { type FrameRange, MIN_SLAB_SIZE, type Slab, type SlabPool } from '../memory/slab-pool.js';
import { FrameBoundary, type Framing, MARK_SIZE, messageStart, SIZE_SLACK } from '../wire/framing.js';

export interface MessageBufferOptions {
  framing: Framing;
  /** Longest message, in bytes without its delimiter. */
  maxMessageSize: number;
  /** The byte that ends a message. */
  delimiter: number;
}

/** Receives the output of a MessageBuffer. */
export interface FrameReceiver {
  /** One or more whole messages. The slab is not held: a receiver that keeps the range must hold it. */
  onFrames(range: FrameRange): void;
  /** The size of the partial message has changed. @param bytes of it received so far; 0 once it is complete */
  onPartial?(bytes: number): void;
  /** A message has exceeded maxMessageSize; its bytes are skipped up to its end. */
  onOversize(): void;
  /** The end of the oversize message was reached. */
  onSkipped?(): void;
}

export interface MessageBufferStatistics {
  /** Bytes received. */
  readonly bytes: number;
  /** Bytes of partial messages copied to another slab. */
  readonly copiedBytes: number;
  /** Messages that exceeded maxMessageSize. */
  readonly oversize: number;
  /** Bytes of oversize messages that were skipped. */
  readonly skippedBytes: number;
  /** Bytes of the partial message. */
  readonly pendingBytes: number;
  /** Size of the current slab, in bytes. */
  readonly capacity: number;
  /** Share of the current slab that is filled, 0 to 1. */
  readonly usage: number;
}

/** A read below this many bytes is not worth a system call: the buffer moves on to the next slab. */
const MIN_READ_SIZE = 512;
/** A slab takes about this many reads, so that little is copied at its end: at most 2 % of the bytes. */
const READS_PER_SLAB = 8;
/** The longest time for which scanning is deferred if no more bytes arrive, in ms. */
const DEFERRED_SCAN_DELAY = 5;
/** Growth factor between successive slabs of a message that is too long for pooled slabs. */
const LONG_GROWTH = 4;

export class MessageBuffer {
  readonly #pool: SlabPool;
  readonly #receiver: FrameReceiver;
  readonly #boundary: FrameBoundary;
  readonly #maxPartial: number;
  #slab: Slab;
  #start: number;
  #end: number;
  #largestRead = 0;
  #skipping = false;
  #closed = false;
  #discarding = false;
  #deferredTimer: NodeJS.Timeout | undefined;
  #bytes = 0;
  #copiedBytes = 0;
  #oversize = 0;
  #skippedBytes = 0;
  #reportedPartial = 0;

  constructor(pool: SlabPool, options: MessageBufferOptions, receiver: FrameReceiver) {
    this.#pool = pool;
    this.#receiver = receiver;
    this.#boundary = new FrameBoundary(options.framing, options.delimiter);
    this.#maxPartial = options.maxMessageSize + SIZE_SLACK;
    this.#slab = pool.acquire(MIN_SLAB_SIZE);
    this.#start = this.#slab.base;
    this.#end = this.#slab.base;
  }

  get statistics(): MessageBufferStatistics {
    return {
      bytes: this.#bytes,
      copiedBytes: this.#copiedBytes,
      oversize: this.#oversize,
      skippedBytes: this.#skippedBytes,
      pendingBytes: this.#end - this.#start,
      capacity: this.#slab.size,
      usage: (this.#end - this.#slab.base) / this.#slab.size,
    };
  }

  /** Whether a message was received in part. */
  get hasPartial(): boolean {
    return this.#skipping || this.#end > this.#start;
  }

  /** The buffer for the next read: at least one byte long. */
  writable(): Buffer {
    return this.#slab.arena.bytes.subarray(this.#end, this.#slab.limit);
  }

  /** Records that `length` bytes were read into {@link writable}, and emits the messages that are now complete. */
  commit(length: number): void {
    if (this.#discarding) return;
    const from = this.#end;
    this.#end += length;
    this.#bytes += length;
    this.#largestRead = Math.max(this.#largestRead, length);
    const next = this.#skipping ? this.#skip(from) : from;
    if (!this.#skipping) this.#frame(next);
    if (this.#closed) return;
    this.#reportPartial(this.#end - this.#start);
    this.#makeRoom(from + length === this.#slab.limit);
  }

  /** Copies bytes into the slab: for sources that cannot read into it directly. */
  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length && !this.#closed; ) {
      const target = this.writable();
      const length = Math.min(target.length, bytes.length - at);
      copyBytes(bytes, at, at + length, target, 0);
      this.commit(length);
      at += length;
    }
  }

  /** The stream has ended: the remaining bytes are the last message. */
  end(): void {
    if (!this.#skipping) this.#handOn(this.#end);
    this.close();
  }

  /** Discards the partial message, and everything that is read from now on: that is not counted. */
  discard(): void {
    this.scanDeferred();
    this.#discarding = true;
    this.#skipping = false;
    this.#start = this.#end;
    this.#reportPartial(0);
  }

  /** Releases the slab. Messages that were already emitted remain valid. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#deferredTimer);
    this.#reportPartial(0);
    this.#slab.close();
  }

  #reportPartial(bytes: number): void {
    if (bytes === this.#reportedPartial) return;
    this.#reportedPartial = bytes;
    this.#receiver.onPartial?.(bytes);
  }

  #frame(from: number): void {
    const boundary = this.#boundary.last(this.#slab.arena.bytes, from, this.#end);
    if (boundary !== -1) this.#handOn(boundary);
    this.#dropBlanks(from);
    if (this.#end - this.#start > this.#maxPartial) this.scanDeferred();
    if (this.#boundary.hasDeferred)
      this.#deferredTimer =
        this.#deferredTimer?.refresh() ?? setTimeout(this.scanDeferred, DEFERRED_SCAN_DELAY);
    if (this.#end - this.#start > this.#maxPartial) {
      this.#skipping = true;
      this.#oversize++;
      this.#skippedBytes += this.#end - this.#start;
      this.#start = this.#end;
      this.#receiver.onOversize();
    }
  }

  /**
   * Scans the deferred bytes now: a message may have ended there, followed by the beginning of the next one. Call it when
   * nothing more will be read.
   */
  readonly scanDeferred = (): void => {
    if (this.#closed) return;
    clearTimeout(this.#deferredTimer);
    this.#deferredTimer = undefined;
    const boundary = this.#boundary.scanDeferred(this.#slab.arena.bytes, this.#end);
    if (boundary === -1) return;
    this.#handOn(boundary);
    this.#reportPartial(this.#end - this.#start);
  };

  /** Discards what may stand between messages, so that it does not count as a partial message. */
  #dropBlanks(from: number): void {
    // Earlier bytes were not blank, unless they are the beginning of a byte order mark.
    if (
      from - this.#start >= MARK_SIZE ||
      messageStart(this.#slab.arena.bytes, this.#start, this.#end) < this.#end
    )
      return;
    this.#start = this.#end;
    this.#boundary.reset();
  }

  #handOn(boundary: number): void {
    const start = this.#start;
    this.#start = boundary;
    if (start === boundary) return;
    this.#reportPartial(0);
    this.#receiver.onFrames({ slab: this.#slab, start, end: boundary });
  }

  /** Skips bytes up to the end of an oversize message. @returns the offset at which framing continues */
  #skip(from: number): number {
    const end = this.#boundary.first(this.#slab.arena.bytes, from, this.#end);
    const next = end === -1 ? this.#end : end;
    this.#skippedBytes += next - from;
    this.#skipping = end === -1;
    this.#start = next;
    if (!this.#skipping) this.#receiver.onSkipped?.();
    return next;
  }

  /** Makes room for the next read: rewinds the slab if it is unused, or moves on to another one. */
  #makeRoom(filled: boolean): void {
    const wanted = filled ? this.#pool.grow(this.#slab.size) : this.#largestRead * READS_PER_SLAB;
    const isUnused = this.#end === this.#start && !this.#slab.isHeld;
    if (isUnused && !filled && this.#pool.sizeFor(wanted) >= this.#slab.size) {
      this.#start = this.#slab.base;
      this.#end = this.#slab.base;
      this.#largestRead = 0;
    } else if (isUnused || this.#slab.limit - this.#end < MIN_READ_SIZE) {
      this.#moveTo(wanted);
    }
  }

  /**
   * Sizes the next slab at 2 × the partial message. Above the largest pooled size: maxMessageSize / 4^n, so that the
   * slabs that a growing message leaves behind total at most a third of the last one.
   */
  #roomFor(partial: number): number {
    let room = this.#maxPartial + MIN_READ_SIZE;
    if (partial * 2 <= this.#pool.largest) return Math.min(partial * 2, room);
    while (room / LONG_GROWTH >= partial * 2) room = Math.ceil(room / LONG_GROWTH);
    return room;
  }

  /** Moves on to a slab sized by the connection's reads, with room for the partial message to grow. */
  #moveTo(wanted: number): void {
    const partial = this.#end - this.#start;
    const old = this.#slab;
    const slab = this.#pool.acquire(Math.max(this.#pool.sizeFor(wanted), this.#roomFor(partial)));
    copyBytes(old.arena.bytes, this.#start, this.#end, slab.arena.bytes, slab.base);
    this.#copiedBytes += partial;
    this.#pool.copiedBytes += partial;
    this.#slab = slab;
    this.#start = slab.base;
    this.#end = slab.base + partial;
    this.#largestRead = 0;
    old.close();
  }
}
