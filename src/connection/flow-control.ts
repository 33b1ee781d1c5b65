// Backpressure: when to stop reading, and when to go on. The kernel's socket buffers do the rest: they
// fill, and the crawler waits. High mark: the budget. Low mark: three quarters of it.

import { Watermark } from '../watermark.js';
import { PAUSE } from './connection-state.js';

export interface FlowLimits {
  /** Bytes received and not yet delivered, of all connections. */
  readonly maxBufferedBytes: number;
  /** Bytes of one connection that wait to be validated. */
  readonly maxConnectionBytes: number;
}

/** A connection, as flow control needs it. */
export interface PausableConnection {
  readonly lane: { readonly pendingBytes: number };
  /** Stops or resumes reading, for one reason of {@link PAUSE}. */
  setPaused(reason: number, isPaused: boolean): void;
}

export interface FlowStatistics {
  /** Whether reading stands still for all connections. */
  readonly isPaused: boolean;
  /** For how long it has, in ms; 0 when it does not. */
  readonly pausedFor: number;
  /** How often it came to that. */
  readonly pauses: number;
  /** How often one connection alone was paused. */
  readonly connectionPauses: number;
  /** `block` subscribers that are behind now. */
  readonly blockedSubscribers: number;
}

/** The low watermark of both budgets, as a share of the high one. */
const LOW_SHARE = 0.75;
/**
 * Bytes that all connections together should have waiting for validation. Far more than the workers need, and
 * little enough to be in the processor's cache still when their turn comes: with 100 busy connections, a
 * sixth more messages and half of the memory, measured.
 */
const WAITING_BYTES = 8 * 1024 * 1024;
/** What each may have waiting, however many there are: about one read. */
const LEAST_WAITING_BYTES = 64 * 1024;

export class FlowControl {
  readonly #limits: FlowLimits;
  readonly #heldBytes: () => number;
  readonly #connections: Iterable<PausableConnection>;
  readonly #blocked = new Set<PausableConnection>();
  /** Of the bytes held for messages not yet delivered; a blocked subscriber counts as more than any limit. */
  readonly #held: Watermark;
  #pausedAt = 0;
  #pauses = 0;
  #connectionPauses = 0;
  /** Of the bytes of each connection that wait to be validated. */
  readonly #pending = new WeakMap<PausableConnection, Watermark>();
  /** Connections that have messages waiting for validation. */
  readonly #waiting = new Set<PausableConnection>();

  /** @param heldBytes tells how many bytes are held for messages not yet delivered */
  constructor(limits: FlowLimits, heldBytes: () => number, connections: Iterable<PausableConnection>) {
    this.#limits = limits;
    this.#heldBytes = heldBytes;
    this.#connections = connections;
    this.#held = new Watermark(limits.maxBufferedBytes, LOW_SHARE);
  }

  get statistics(): FlowStatistics {
    return {
      isPaused: this.#held.isHigh,
      pausedFor: this.#held.isHigh ? performance.now() - this.#pausedAt : 0,
      pauses: this.#pauses,
      connectionPauses: this.#connectionPauses,
      blockedSubscribers: this.#blocked.size,
    };
  }

  /** A connection has come in. */
  add(connection: PausableConnection): void {
    if (this.#held.isHigh) connection.setPaused(PAUSE.SERVER, true);
  }

  /** A connection has gone. */
  forget(connection: PausableConnection): void {
    this.#pending.delete(connection);
    this.#waiting.delete(connection);
    this.setBlocked(connection, false);
  }

  /** A `block` subscriber fell behind, or has caught up. */
  setBlocked(connection: PausableConnection, isBlocked: boolean): void {
    if (isBlocked) this.#blocked.add(connection);
    else this.#blocked.delete(connection);
    this.update();
  }

  /** Looks at one connection's own budget, after it has received or settled. */
  updateConnection(connection: PausableConnection): void {
    const pending = connection.lane.pendingBytes;
    if (pending > 0) this.#waiting.add(connection);
    else this.#waiting.delete(connection);
    const share = Math.max(LEAST_WAITING_BYTES, WAITING_BYTES / this.#waiting.size);
    const mark = this.#pendingOf(connection);
    mark.high = Math.min(this.#limits.maxConnectionBytes, share);
    if (!mark.update(pending)) return;
    if (mark.isHigh) this.#connectionPauses++;
    connection.setPaused(PAUSE.CONNECTION, mark.isHigh);
  }

  /** Looks at the budget of all: called whenever bytes are received or let go. */
  update(): void {
    if (!this.#held.update(this.#blocked.size > 0 ? Number.POSITIVE_INFINITY : this.#heldBytes())) return;
    const isPaused = this.#held.isHigh;
    if (isPaused) {
      this.#pauses++;
      this.#pausedAt = performance.now();
    }
    for (const connection of this.#connections) connection.setPaused(PAUSE.SERVER, isPaused);
  }

  #pendingOf(connection: PausableConnection): Watermark {
    let mark = this.#pending.get(connection);
    if (mark === undefined) {
      mark = new Watermark(0, LOW_SHARE);
      this.#pending.set(connection, mark);
    }
    return mark;
  }
}
