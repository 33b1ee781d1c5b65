// Backpressure: decides when reading pauses and resumes. While it is paused, the kernel's socket buffers fill and the
// crawler's writes block. High watermark: the budget. Low watermark: three quarters of it.

import { Watermark } from '../watermark.js';
import { PAUSE } from './connection-state.js';

export interface FlowLimits {
  /** Limit on bytes received but not yet delivered, for all connections together. */
  readonly maxBufferedBytes: number;
  /** Limit on bytes that wait for validation, per connection. */
  readonly maxConnectionBytes: number;
}

/** The part of a connection that flow control uses. */
export interface PausableConnection {
  readonly lane: { readonly pendingBytes: number };
  /** Monotonic time at which bytes were last read from it, in ms. */
  readonly lastActivityAt: number;
  /**
   * Whether it reads the durable log, or may be about to, and has sent nothing that is postponed: others may wait for
   * its acknowledgements. Default: false.
   */
  readonly isLogReader?: boolean;
  /** Stops or resumes reading, for one reason of {@link PAUSE}. */
  setPaused(reason: number, isPaused: boolean): void;
}

export interface FlowStatistics {
  /** Whether reading is paused for all connections. */
  readonly isPaused: boolean;
  /** Duration of the current pause of all connections, in ms; 0 if reading is not paused. */
  readonly pausedFor: number;
  /** How often reading was paused for all connections. */
  readonly pauses: number;
  /** How often reading was paused for a single connection. */
  readonly connectionPauses: number;
  /** `block` subscribers that are currently behind. */
  readonly blockedSubscribers: number;
}

/** The low watermark of both budgets, as a share of the high one. */
const LOW_SHARE = 0.75;
/**
 * Target for the bytes of all connections that wait for validation. Far more than the workers need, but few enough to
 * still be in the processor's cache when a worker gets to them. Measured with 100 busy connections: a sixth more
 * messages per second, and half of the memory.
 */
const WAITING_BYTES = 8 * 1024 * 1024;
/** Each connection's share of the target is at least this many bytes: about one read. */
const MIN_WAITING_BYTES = 64 * 1024;

export class FlowControl {
  readonly #limits: FlowLimits;
  readonly #heldBytes: () => number;
  readonly #connections: Iterable<PausableConnection>;
  readonly #blocked = new Set<PausableConnection>();
  /** Watermark of the bytes held for messages not yet delivered; infinite while a subscriber is blocked. */
  readonly #held: Watermark;
  #pausedAt = 0;
  #pauses = 0;
  #connectionPauses = 0;
  /** Watermark of each connection's bytes that wait for validation. */
  readonly #pending = new WeakMap<PausableConnection, Watermark>();
  /** Connections with messages that wait for validation. */
  readonly #waiting = new Set<PausableConnection>();

  /** @param heldBytes returns the bytes held for messages not yet delivered */
  constructor(limits: FlowLimits, heldBytes: () => number, connections: Iterable<PausableConnection>) {
    this.#limits = limits;
    this.#heldBytes = heldBytes;
    this.#connections = connections;
    this.#held = new Watermark(limits.maxBufferedBytes, LOW_SHARE);
  }

  /** Whether reading is paused for all connections. */
  get isPaused(): boolean {
    return this.#held.isHigh;
  }

  get statistics(): FlowStatistics {
    return {
      isPaused: this.isPaused,
      pausedFor: this.isPaused ? performance.now() - this.#pausedAt : 0,
      pauses: this.#pauses,
      connectionPauses: this.#connectionPauses,
      blockedSubscribers: this.#blocked.size,
    };
  }

  /** Registers a new connection. */
  add(connection: PausableConnection): void {
    this.#pauseByServer(connection);
  }

  /** Those who read the log are not paused: a log that is full would otherwise stay full. */
  #pauseByServer(connection: PausableConnection): void {
    connection.setPaused(PAUSE.SERVER, this.isPaused && connection.isLogReader !== true);
  }

  /** Forgets a closed connection. */
  forget(connection: PausableConnection): void {
    this.#pending.delete(connection);
    this.#waiting.delete(connection);
    this.setBlocked(connection, false);
  }

  /** Records that a `block` subscriber has fallen behind or caught up. */
  setBlocked(connection: PausableConnection, isBlocked: boolean): void {
    if (isBlocked) this.#blocked.add(connection);
    else this.#blocked.delete(connection);
    this.update();
  }

  /** Checks one connection's own budget. Called after it has received or settled messages. */
  updateConnection(connection: PausableConnection): void {
    if (this.isPaused) this.#pauseByServer(connection);
    const pending = connection.lane.pendingBytes;
    if (pending > 0) this.#waiting.add(connection);
    else this.#waiting.delete(connection);
    const share = Math.max(MIN_WAITING_BYTES, WAITING_BYTES / this.#waiting.size);
    const mark = this.#pendingOf(connection);
    mark.high = Math.min(this.#limits.maxConnectionBytes, share);
    if (!mark.update(pending)) return;
    if (mark.isHigh) this.#connectionPauses++;
    connection.setPaused(PAUSE.CONNECTION, mark.isHigh);
  }

  /** Checks the shared budget. Called whenever bytes are received or released. */
  update(): void {
    if (!this.#held.update(this.#blocked.size > 0 ? Number.POSITIVE_INFINITY : this.#heldBytes())) return;
    const { isPaused } = this;
    if (isPaused) {
      this.#pauses++;
      this.#pausedAt = performance.now();
    }
    // Reading may pause again before all have had their turn: those that have waited longest come first.
    const connections = [...this.#connections];
    if (!isPaused) connections.sort((a, b) => a.lastActivityAt - b.lastActivityAt);
    for (const connection of connections) this.#pauseByServer(connection);
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
