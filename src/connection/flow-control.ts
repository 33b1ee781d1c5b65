// Backpressure: when to stop reading, and when to go on. The kernel's socket buffers do the rest: they
// fill, and the crawler waits. High mark: the budget. Low mark: three quarters of it.

import { PAUSE } from './connection-state.js';
import type { SocketConnection } from './socket-connection.js';

export interface FlowLimits {
  /** Bytes received and not yet delivered, of all connections. */
  readonly maxBufferedBytes: number;
  /** Bytes of one connection that wait to be validated. */
  readonly maxConnectionBytes: number;
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

const LOW_MARK = 0.75;
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
  readonly #connections: Iterable<SocketConnection>;
  readonly #blocked = new Set<SocketConnection>();
  #isPaused = false;
  #pausedAt = 0;
  #pauses = 0;
  #connectionPauses = 0;
  readonly #pausedAlone = new Set<SocketConnection>();
  /** Connections that have messages waiting for validation. */
  readonly #waiting = new Set<SocketConnection>();

  /** @param heldBytes tells how many bytes are held for messages not yet delivered */
  constructor(limits: FlowLimits, heldBytes: () => number, connections: Iterable<SocketConnection>) {
    this.#limits = limits;
    this.#heldBytes = heldBytes;
    this.#connections = connections;
  }

  get statistics(): FlowStatistics {
    return {
      isPaused: this.#isPaused,
      pausedFor: this.#isPaused ? performance.now() - this.#pausedAt : 0,
      pauses: this.#pauses,
      connectionPauses: this.#connectionPauses,
      blockedSubscribers: this.#blocked.size,
    };
  }

  /** A connection has come in. */
  add(connection: SocketConnection): void {
    if (this.#isPaused) connection.setPaused(PAUSE.SERVER, true);
  }

  /** A connection has gone. */
  forget(connection: SocketConnection): void {
    this.#pausedAlone.delete(connection);
    this.#waiting.delete(connection);
    this.setBlocked(connection, false);
  }

  /** A `block` subscriber fell behind, or has caught up. */
  setBlocked(connection: SocketConnection, isBlocked: boolean): void {
    if (isBlocked) this.#blocked.add(connection);
    else this.#blocked.delete(connection);
    this.update();
  }

  /** Looks at one connection's own budget, after it has received or settled. */
  updateConnection(connection: SocketConnection): void {
    const isPaused = this.#pausedAlone.has(connection);
    const pending = connection.lane.pendingBytes;
    if (pending > 0) this.#waiting.add(connection);
    else this.#waiting.delete(connection);
    const share = Math.max(LEAST_WAITING_BYTES, WAITING_BYTES / this.#waiting.size);
    const limit = Math.min(this.#limits.maxConnectionBytes, share);
    if (!isPaused && pending > limit) {
      this.#pausedAlone.add(connection);
      this.#connectionPauses++;
      connection.setPaused(PAUSE.CONNECTION, true);
    } else if (isPaused && pending <= limit * LOW_MARK) {
      this.#pausedAlone.delete(connection);
      connection.setPaused(PAUSE.CONNECTION, false);
    }
  }

  /** Looks at the budget of all: called whenever bytes are received or let go. */
  update(): void {
    const { maxBufferedBytes } = this.#limits;
    const mark = this.#isPaused ? maxBufferedBytes * LOW_MARK : maxBufferedBytes;
    const isPaused = this.#blocked.size > 0 || this.#heldBytes() > mark;
    if (isPaused === this.#isPaused) return;
    this.#isPaused = isPaused;
    if (isPaused) {
      this.#pauses++;
      this.#pausedAt = performance.now();
    }
    for (const connection of this.#connections) connection.setPaused(PAUSE.SERVER, isPaused);
  }
}
