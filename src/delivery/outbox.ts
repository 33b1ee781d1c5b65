// Deliver: the queue of bytes for one peer. Writes what has gathered with one system call, holds each
// slab until its bytes are written, and applies the overflow policy when the peer falls behind.
// Never makes one peer wait for another.

import type { Writable } from 'node:stream';
import { SluiceError } from '../errors.js';
import { Fifo } from '../fifo.js';
import type { Slab } from '../memory/slab-pool.js';
import type { OverflowPolicy } from '../messages/messages.js';
import { withTimeout } from '../timeout.js';
import { Watermark } from '../watermark.js';

/** How many outboxes hold the same copied bytes: they count once. */
interface SharedCopy {
  readonly bytes: Buffer;
  holders: number;
}

/** Bytes for a peer: a slice of a slab, or a buffer of its own. The same piece may go to many peers. */
export interface Piece {
  readonly bytes: Buffer;
  /** The slab that `bytes` lies in; none when the bytes were copied. */
  readonly slab: Slab | undefined;
  /** How many messages the bytes are. */
  readonly messages: number;
  /** Kept by the outboxes: the bytes, where they wait without a slab. */
  copy?: SharedCopy;
}

/** Bytes of pieces without a slab that wait for their peers, in all outboxes that share this: no slab counts them. */
export interface CopiedBytes {
  waiting: number;
}

export interface OutboxEvents {
  /** `disconnect` policy: the peer is too slow; this many messages were not queued. */
  onSlow(messages: number): void;
  /** A `drop-…` policy has dropped messages. */
  onDropped(messages: number): void;
  /** `block` policy: the peer fell behind (true), or has caught up (false). */
  onBlocked(isBlocked: boolean): void;
  /** The backlog of control replies crossed its high (true) or low (false) watermark. */
  onUnread(isUnread: boolean): void;
  /** Bytes and messages that the socket has taken. */
  onWritten(bytes: number, messages: number): void;
}

interface Entry {
  readonly bytes: Buffer;
  readonly slab: Slab | undefined;
  readonly messages: number;
  /** The copy that `bytes` are, where others may wait for the same. */
  readonly copy: SharedCopy | undefined;
  /** Only forwarded messages may be dropped; the broker's own words may not. */
  readonly droppable: boolean;
  readonly done: ((error?: Error) => void) | undefined;
}

/** Bytes of the broker's own words that may wait for a peer before nothing more is read from it. */
const MAX_UNREAD = 256 * 1024;
/** The low watermarks of a peer's backlog and of the broker's own words in it, as a share of the high ones. */
const LOW_SHARE = 0.5;
/** One write takes at most this many bytes, so that a slow peer's queue stays ours to drop from. */
const WRITE_BYTES = 512 * 1024;
/** And at most this many pieces: Linux takes 1,024 in one writev. */
const WRITE_PIECES = 512;
/**
 * A slice below this many bytes is copied when it has to wait behind a write: for as long as that takes, it would hold its
 * whole slab, and a few hundred such slices all that the broker may hold for everybody.
 */
const SMALL_SLICE = 2048;

export class Outbox {
  readonly #socket: Writable;
  readonly #events: OutboxEvents;
  readonly #maxPendingBytes: number;
  readonly #copied: CopiedBytes;
  #policy: OverflowPolicy = 'disconnect';
  readonly #queue = new Fifo<Entry>();
  #writing: Entry[] = [];
  #pendingBytes = 0;
  #ownBytes = 0;
  /** Of the pending bytes, under the `block` policy. */
  readonly #blocked: Watermark;
  /** Of the broker's own words. */
  readonly #unread = new Watermark(MAX_UNREAD, LOW_SHARE);
  #closed = false;
  #writingSince = 0;
  #drainWaiters: (() => void)[] = [];

  /**
   * @param maxPendingBytes how far the peer may fall behind before its policy applies
   * @param copied raised and lowered by what waits here; default: nobody counts it
   */
  constructor(
    socket: Writable,
    maxPendingBytes: number,
    events: OutboxEvents,
    copied: CopiedBytes = { waiting: 0 },
  ) {
    this.#copied = copied;
    this.#socket = socket;
    this.#maxPendingBytes = maxPendingBytes;
    this.#blocked = new Watermark(maxPendingBytes, LOW_SHARE);
    this.#events = events;
  }

  /** Bytes that wait for the peer. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  get policy(): OverflowPolicy {
    return this.#policy;
  }

  set policy(policy: OverflowPolicy) {
    this.#policy = policy;
    this.#updateMarks();
  }

  /** For how many ms the socket has not finished the present write; 0 when it writes nothing. */
  stalledFor(now: number): number {
    return this.#writing.length === 0 ? 0 : now - this.#writingSince;
  }

  /** Takes so many ms off the time that the present write has been going on. */
  shiftDeadlines(delay: number, now: number): void {
    this.#writingSince = Math.min(now, this.#writingSince + delay);
  }

  /** Queues forwarded messages. They go out with the next {@link flush}. */
  deliver(piece: Piece): void {
    if (this.#closed) return;
    if (!this.#fits(piece) && !this.#makeRoom(piece)) return;
    const { bytes, slab, messages } = piece;
    const isCopied = slab === undefined || (this.#writing.length > 0 && bytes.length < SMALL_SLICE);
    if (isCopied) {
      piece.copy ??= { bytes: slab === undefined ? bytes : Buffer.from(bytes), holders: 0 };
      const { copy } = piece;
      this.#push({ bytes: copy.bytes, slab: undefined, messages, copy, droppable: true, done: undefined });
    } else {
      slab.hold();
      this.#push({ bytes, slab, messages, copy: undefined, droppable: true, done: undefined });
    }
  }

  /** Queues a message of the broker's own. `done` is called once: when written, or with why not. */
  send(bytes: Buffer, done?: (error?: Error) => void): void {
    if (this.#closed) {
      done?.(new SluiceError('CONNECTION_CLOSED'));
      return;
    }
    this.#push({ bytes, slab: undefined, messages: 1, copy: undefined, droppable: false, done });
  }

  /**
   * Queues a message of this process's own. Resolves when it is written. What is not within so many ms is reported
   * as failed, but stays queued.
   */
  sendWithin(timeout: number, bytes: Buffer): Promise<void> {
    const written = new Promise<void>((resolve, reject) => {
      this.send(bytes, (error) => (error ? reject(error) : resolve()));
    });
    return withTimeout(written, timeout, () => {
      throw new SluiceError('SEND_TIMEOUT');
    });
  }

  /** Hands what is queued to the socket, if the socket has finished the write before. */
  flush(now: number): void {
    if (this.#writing.length > 0 || this.#queue.length === 0 || this.#closed) return;
    this.#writing = this.#takeGroup();
    this.#writingSince = now;
    const last = this.#writing.length - 1;
    if (last > 0) this.#socket.cork();
    this.#writing.forEach((entry, index) => {
      if (index < last) this.#socket.write(entry.bytes);
      else this.#socket.write(entry.bytes, this.#onWritten);
    });
    if (last > 0) this.#socket.uncork();
  }

  /** Resolves when nothing waits any more, or the outbox is closed. */
  drained(): Promise<void> {
    if (this.#pendingBytes === 0 || this.#closed) return Promise.resolve();
    return new Promise((resolve) => this.#drainWaiters.push(resolve));
  }

  /**
   * Forgets what the socket was not given yet, and lets go of its slabs.
   * @returns how many forwarded messages that were
   */
  discard(): number {
    const queued = [...this.#queue];
    this.#queue.clear();
    const lost = this.#forget(queued);
    this.#updateMarks();
    return lost;
  }

  /**
   * The socket is closed: forgets all that waits.
   * @returns how many forwarded messages were not delivered
   */
  close(): number {
    if (this.#closed) return 0;
    this.#closed = true;
    const lost = this.#forget(this.#writing) + this.discard();
    this.#writing = [];
    this.#resolveWaiters();
    return lost;
  }

  #takeGroup(): Entry[] {
    const group: Entry[] = [];
    let bytes = 0;
    for (let entry = this.#queue.peek(); entry !== undefined; entry = this.#queue.peek()) {
      bytes += entry.bytes.length;
      if (group.length === WRITE_PIECES || (group.length > 0 && bytes > WRITE_BYTES)) break;
      group.push(entry);
      this.#queue.shift();
    }
    return group;
  }

  #push(entry: Entry): void {
    this.#queue.push(entry);
    this.#pendingBytes += entry.bytes.length;
    if (entry.slab === undefined && (entry.copy === undefined || entry.copy.holders++ === 0)) {
      this.#copied.waiting += entry.bytes.length;
    }
    if (!entry.droppable) this.#ownBytes += entry.bytes.length;
    this.#updateMarks();
  }

  readonly #onWritten = (error?: Error | null): void => {
    // Node calls a write done, without an error, when the socket is destroyed before the kernel has taken it.
    if (error || this.#closed || this.#socket.destroyed) return;
    let bytes = 0;
    let messages = 0;
    for (const entry of this.#writing) {
      bytes += entry.bytes.length;
      messages += entry.messages;
      this.#settle(entry);
    }
    this.#writing = [];
    this.#events.onWritten(bytes, messages);
    this.#updateMarks();
    if (this.#pendingBytes === 0) this.#resolveWaiters();
    else this.flush(performance.now());
  };

  /** The peer is too far behind for this piece: applies the policy. True when the piece may be queued. */
  #makeRoom(piece: Piece): boolean {
    switch (this.#policy) {
      case 'block':
        return true;
      case 'disconnect':
        this.#events.onSlow(piece.messages);
        return false;
      case 'drop-newest':
        this.#events.onDropped(piece.messages);
        return false;
      case 'drop-oldest':
        return this.#dropOldest(piece);
    }
  }

  /** Drops from the head of the queue. What is in the socket already, and the broker's own words, stay. */
  #dropOldest(piece: Piece): boolean {
    const kept: Entry[] = [];
    let dropped = 0;
    while (!this.#fits(piece)) {
      const entry = this.#queue.shift();
      if (entry === undefined) break;
      if (!entry.droppable) kept.push(entry);
      else {
        dropped += entry.messages;
        this.#settle(entry);
      }
    }
    this.#queue.unshift(...kept);
    const fits = this.#fits(piece);
    this.#events.onDropped(fits ? dropped : dropped + piece.messages);
    return fits;
  }

  /** One piece may be larger than the limit: a peer with nothing pending is not behind. */
  #fits(piece: Piece): boolean {
    return this.#pendingBytes === 0 || this.#pendingBytes + piece.bytes.length <= this.#maxPendingBytes;
  }

  #updateMarks(): void {
    const blockingBytes = this.#policy === 'block' ? this.#pendingBytes : 0;
    if (this.#blocked.update(blockingBytes)) this.#events.onBlocked(this.#blocked.isHigh);
    if (this.#unread.update(this.#ownBytes)) this.#events.onUnread(this.#unread.isHigh);
  }

  /** An entry has left: written, dropped or given up. */
  #settle(entry: Entry, error?: Error): void {
    this.#pendingBytes -= entry.bytes.length;
    if (entry.slab === undefined && (entry.copy === undefined || --entry.copy.holders === 0)) {
      this.#copied.waiting -= entry.bytes.length;
    }
    if (!entry.droppable) this.#ownBytes -= entry.bytes.length;
    entry.slab?.release();
    entry.done?.(error);
  }

  #forget(entries: readonly Entry[]): number {
    let lost = 0;
    for (const entry of entries) {
      this.#settle(entry, new SluiceError('CONNECTION_CLOSED'));
      if (entry.droppable) lost += entry.messages;
    }
    return lost;
  }

  #resolveWaiters(): void {
    for (const resolve of this.#drainWaiters.splice(0)) resolve();
  }
}
