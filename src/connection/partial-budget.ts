// Memory for messages whose end has not come. Short ones are free. A long one needs a place, which is as large as a
// message may grow; while none is free, its connection is not read from. Places go round: while others wait, whoever does
// not send the end of its message in time is closed.

import { PAUSE } from './connection-state.js';
import type { SocketConnection } from './socket-connection.js';

/** Bytes of a message that need no place. With 1,024 connections, these take 32 MiB at most, and the slab of each 64. */
const FREE_BYTES = 32 * 1024;
/** ms that the end of a long message may take to come while others wait for a place. */
const TURN = 2000;

export interface PartialStatistics {
  /** Bytes of unfinished messages. */
  readonly bytes: number;
  /** Connections that are not read from until another's long message has ended. */
  readonly waiting: number;
}

export class PartialBudget {
  readonly #places: number;
  readonly #onTurnOver: (connection: SocketConnection) => void;
  readonly #sizes = new Map<SocketConnection, number>();
  /** Connections with a place, and since when, in ms of the monotonic clock. */
  readonly #holders = new Map<SocketConnection, number>();
  /** In the order in which they came. */
  readonly #waiting = new Set<SocketConnection>();
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param maxBytes of all long messages together; one has a place however long it may be
   * @param onTurnOver called with a connection whose message has taken too long while others wait
   */
  constructor(maxBytes: number, maxMessageSize: number, onTurnOver: (connection: SocketConnection) => void) {
    this.#places = Math.max(1, Math.floor(maxBytes / maxMessageSize));
    this.#onTurnOver = onTurnOver;
  }

  get statistics(): PartialStatistics {
    return { bytes: this.#bytes, waiting: this.#waiting.size };
  }

  /** A connection has so many bytes of a message whose end has not come; 0: of none, or it is closed. */
  update(connection: SocketConnection, bytes: number): void {
    this.#bytes += bytes - (this.#sizes.get(connection) ?? 0);
    if (bytes === 0) this.#sizes.delete(connection);
    else this.#sizes.set(connection, bytes);
    if (bytes > FREE_BYTES) this.#claim(connection);
    else this.#free(connection);
  }

  /** A connection has gone. */
  forget(connection: SocketConnection): void {
    this.update(connection, 0);
  }

  #claim(connection: SocketConnection): void {
    if (this.#holders.has(connection) || this.#waiting.has(connection)) return;
    if (this.#holders.size < this.#places) {
      this.#holders.set(connection, performance.now());
      return;
    }
    this.#waiting.add(connection);
    connection.setPaused(PAUSE.PARTIAL, true);
    this.#timer ??= setTimeout(this.#endTurns, TURN).unref();
  }

  #free(connection: SocketConnection): void {
    const wasWaiting = this.#waiting.delete(connection);
    if (wasWaiting) connection.setPaused(PAUSE.PARTIAL, false);
    if (!this.#holders.delete(connection)) return;
    const [next] = this.#waiting;
    if (next === undefined) return;
    this.#waiting.delete(next);
    this.#holders.set(next, performance.now());
    next.setPaused(PAUSE.PARTIAL, false);
  }

  readonly #endTurns = (): void => {
    this.#timer = undefined;
    const latest = performance.now() - TURN;
    // Those that the broker itself does not read from are not late.
    const late = [...this.#holders].filter(([{ isPaused }, since]) => since <= latest && !isPaused);
    for (const [connection] of late.slice(0, this.#waiting.size)) this.#onTurnOver(connection);
    if (this.#waiting.size > 0) this.#timer = setTimeout(this.#endTurns, TURN).unref();
  };
}
