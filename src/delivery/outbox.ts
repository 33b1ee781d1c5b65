// Deliver: the queue of bytes for one peer. Writes what has gathered with one system call, holds each
// slab until its bytes are written, and applies the overflow policy when the peer falls behind.
// Never makes one peer wait for another.

import type { Writable } from 'node:stream';
import type { Slab } from '../connection/slab-pool.js';
import { SluiceError } from '../errors.js';
import type { OverflowPolicy } from '../protocol/messages.js';

/** Bytes for a peer: a slice of a slab, or a buffer of its own. */
export interface Piece {
  readonly bytes: Buffer;
  /** The slab that `bytes` lies in; none when the bytes were copied. */
  readonly slab: Slab | undefined;
  /** How many messages the bytes are. */
  readonly messages: number;
}

export interface OutboxEvents {
  /** `disconnect` policy: the peer is too far behind. */
  onSlow(): void;
  /** A `drop-…` policy has dropped messages. */
  onDropped(messages: number): void;
  /** `block` policy: the peer fell behind (true), or has caught up (false). */
  onBlocked(isBlocked: boolean): void;
  /** Bytes and messages that the socket has taken. */
  onWritten(bytes: number, messages: number): void;
}

interface Entry extends Piece {
  /** Only forwarded messages may be dropped; the broker's own words may not. */
  readonly droppable: boolean;
  readonly done: ((error?: Error) => void) | undefined;
}

/** One write takes at most this many bytes, so that a slow peer's queue stays ours to drop from. */
const WRITE_BYTES = 512 * 1024;
/** And at most this many pieces: Linux takes 1,024 in one writev. */
const WRITE_PIECES = 512;

export class Outbox {
  readonly #socket: Writable;
  readonly #events: OutboxEvents;
  readonly #maxPendingBytes: number;
  #policy: OverflowPolicy = 'disconnect';
  #queue: Entry[] = [];
  #writing: Entry[] = [];
  #pendingBytes = 0;
  #blocked = false;
  #closed = false;
  #writingSince = 0;
  #drainWaiters: (() => void)[] = [];

  /** @param maxPendingBytes how far the peer may fall behind before its policy applies */
  constructor(socket: Writable, maxPendingBytes: number, events: OutboxEvents) {
    this.#socket = socket;
    this.#maxPendingBytes = maxPendingBytes;
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
    this.#updateBlocked();
  }

  /** For how many ms the socket has not finished the present write; 0 when it writes nothing. */
  stalledFor(now: number): number {
    return this.#writing.length === 0 ? 0 : now - this.#writingSince;
  }

  /** Queues forwarded messages. They go out with the next {@link flush}. */
  deliver(piece: Piece): void {
    if (this.#closed) return;
    const { length } = piece.bytes;
    if (this.#pendingBytes + length > this.#maxPendingBytes && !this.#makeRoom(piece)) return;
    piece.slab?.hold();
    this.#queue.push({ ...piece, droppable: true, done: undefined });
    this.#pendingBytes += length;
    this.#updateBlocked();
  }

  /** Queues a message of the broker's own. `done` is called once: when written, or with why not. */
  send(bytes: Buffer, done?: (error?: Error) => void): void {
    if (this.#closed) {
      done?.(new SluiceError('CONNECTION_CLOSED'));
      return;
    }
    this.#queue.push({ bytes, slab: undefined, messages: 1, droppable: false, done });
    this.#pendingBytes += bytes.length;
  }

  /** Hands what is queued to the socket, if the socket has finished the write before. */
  flush(now: number): void {
    if (this.#writing.length > 0 || this.#queue.length === 0 || this.#closed) return;
    this.#writing = this.#takeGroup();
    this.#writingSince = now;
    const last = this.#writing.length - 1;
    this.#socket.cork();
    this.#writing.forEach((entry, index) => {
      if (index < last) this.#socket.write(entry.bytes);
      else this.#socket.write(entry.bytes, this.#onWritten);
    });
    this.#socket.uncork();
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
    const lost = this.#forget(this.#queue);
    this.#queue = [];
    this.#updateBlocked();
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
    let bytes = 0;
    let count = 0;
    for (const entry of this.#queue) {
      if (count > 0 && (bytes + entry.bytes.length > WRITE_BYTES || count === WRITE_PIECES)) break;
      bytes += entry.bytes.length;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  readonly #onWritten = (error?: Error | null): void => {
    if (error || this.#closed) return;
    let bytes = 0;
    let messages = 0;
    for (const entry of this.#writing) {
      bytes += entry.bytes.length;
      messages += entry.messages;
      entry.slab?.release();
      entry.done?.();
    }
    this.#writing = [];
    this.#pendingBytes -= bytes;
    this.#events.onWritten(bytes, messages);
    this.#updateBlocked();
    if (this.#pendingBytes === 0) this.#resolveWaiters();
    else this.flush(performance.now());
  };

  /** The peer is too far behind for this piece: applies the policy. True when the piece may be queued. */
  #makeRoom(piece: Piece): boolean {
    switch (this.#policy) {
      case 'block':
        return true;
      case 'disconnect':
        this.#events.onSlow();
        return false;
      case 'drop-newest':
        this.#events.onDropped(piece.messages);
        return false;
      case 'drop-oldest':
        return this.#dropOldest(piece);
    }
  }

  #dropOldest(piece: Piece): boolean {
    let dropped = 0;
    const kept: Entry[] = [];
    for (const entry of this.#queue) {
      const isOver = this.#pendingBytes + piece.bytes.length > this.#maxPendingBytes;
      if (!isOver || !entry.droppable) kept.push(entry);
      else {
        this.#pendingBytes -= entry.bytes.length;
        dropped += entry.messages;
        entry.slab?.release();
      }
    }
    this.#queue = kept;
    // What is left is in the kernel's hands: then the newest is the oldest that can be dropped.
    const fits = this.#pendingBytes + piece.bytes.length <= this.#maxPendingBytes;
    this.#events.onDropped(fits ? dropped : dropped + piece.messages);
    return fits;
  }

  /** High mark: maxPendingBytes. Low mark: half of it. */
  #updateBlocked(): void {
    const mark = this.#blocked ? this.#maxPendingBytes / 2 : this.#maxPendingBytes;
    const isBlocked = this.#policy === 'block' && this.#pendingBytes > mark;
    if (isBlocked === this.#blocked) return;
    this.#blocked = isBlocked;
    this.#events.onBlocked(isBlocked);
  }

  #forget(entries: readonly Entry[]): number {
    let lost = 0;
    for (const entry of entries) {
      this.#pendingBytes -= entry.bytes.length;
      entry.slab?.release();
      entry.done?.(new SluiceError('CONNECTION_CLOSED'));
      if (entry.droppable) lost += entry.messages;
    }
    return lost;
  }

  #resolveWaiters(): void {
    for (const resolve of this.#drainWaiters.splice(0)) resolve();
  }
}
