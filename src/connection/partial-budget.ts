// Limits the memory for partial messages. Short ones are not limited. A long one needs a slot, which reserves
// maxMessageSize; while no slot is free, reading from the connection is paused. While connections wait for a slot, a
// holder that does not complete its message in time is closed.

import { PAUSE } from './connection-state.js';
import type { SocketConnection } from './socket-connection.js';

/** Bytes of a message that need no slot. With 1,024 connections, these are at most 32 MiB in slabs of 64 MiB. */
const FREE_BYTES = 32 * 1024;
/** While connections wait for a slot, its holders are checked this often, in ms, */
const CHECK_INTERVAL = 250;
/**
 * and a message may stay incomplete for this many checks: 2 s. Checks are counted, since nothing is read while the event
 * loop is blocked, and only those at which the broker has not paused the connection: they are a sample of the time in which
 * it is read, or could be if its peer read its replies.
 */
const MAX_CHECKS = 8;

export interface PartialStatistics {
  /** Bytes of partial messages. */
  readonly bytes: number;
  /** Connections whose reading is paused until another connection's long message is complete. */
  readonly waiting: number;
}

export class PartialBudget {
  readonly #slots: number;
  readonly #isPrivileged: (connection: SocketConnection) => boolean;
  readonly #onTimeout: (connection: SocketConnection) => void;
  readonly #sizes = new Map<SocketConnection, number>();
  /** Connections that hold a slot, and how many checks have found them so, and not paused by the broker. */
  readonly #holders = new Map<SocketConnection, number>();
  /** Connections that wait for a slot, in order of arrival. */
  readonly #waiting = new Set<SocketConnection>();
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param maxBytes limit for all long messages together; there is always at least one slot
   * @param isPrivileged whether a connection may use one slot more, since it is read although others, which hold the
   *   slots, are not
   * @param onTimeout called with a connection whose message has taken too long while others wait
   */
  constructor(
    maxBytes: number,
    maxMessageSize: number,
    isPrivileged: (connection: SocketConnection) => boolean,
    onTimeout: (connection: SocketConnection) => void,
  ) {
    this.#slots = Math.max(1, Math.floor(maxBytes / maxMessageSize));
    this.#isPrivileged = isPrivileged;
    this.#onTimeout = onTimeout;
  }

  get statistics(): PartialStatistics {
    return { bytes: this.#bytes, waiting: this.#waiting.size };
  }

  /**
   * Updates the size of a connection's partial message.
   * @param bytes received of the message; 0 if there is none or the connection is closed
   */
  update(connection: SocketConnection, bytes: number): void {
    this.#bytes += bytes - (this.#sizes.get(connection) ?? 0);
    if (bytes === 0) this.#sizes.delete(connection);
    else this.#sizes.set(connection, bytes);
    if (bytes > FREE_BYTES) this.#claim(connection);
    else this.#release(connection);
  }

  /** Forgets a closed connection. */
  forget(connection: SocketConnection): void {
    this.update(connection, 0);
  }

  #claim(connection: SocketConnection): void {
    if (this.#holders.has(connection) || this.#waiting.has(connection)) return;
    if (this.#hasSlotFor(connection)) {
      this.#holders.set(connection, 0);
      return;
    }
    this.#waiting.add(connection);
    connection.setPaused(PAUSE.PARTIAL, true);
    this.#timer ??= setInterval(this.#endOverdue, CHECK_INTERVAL).unref();
  }

  #release(connection: SocketConnection): void {
    const wasWaiting = this.#waiting.delete(connection);
    if (wasWaiting) connection.setPaused(PAUSE.PARTIAL, false);
    if (this.#holders.delete(connection)) this.#admitNext();
  }

  #hasSlotFor(connection: SocketConnection): boolean {
    const { size } = this.#holders;
    return size < this.#slots || (size === this.#slots && this.#isPrivileged(connection));
  }

  /** Gives a free slot to the connection that has waited longest for one. */
  #admitNext(): void {
    if (this.#holders.size > this.#slots) return;
    for (const next of this.#waiting) {
      if (!this.#hasSlotFor(next)) continue;
      this.#waiting.delete(next);
      this.#holders.set(next, 0);
      return next.setPaused(PAUSE.PARTIAL, false);
    }
  }

  readonly #endOverdue = (): void => {
    const overdue: SocketConnection[] = [];
    for (const [connection, checks] of this.#holders) {
      if (connection.isPausedByBroker) continue;
      this.#holders.set(connection, checks + 1);
      if (checks >= MAX_CHECKS) overdue.push(connection);
    }
    for (const connection of overdue.slice(0, this.#waiting.size)) this.#onTimeout(connection);
    // Reading may have been paused since they began to wait.
    this.#admitNext();
    if (this.#waiting.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  };
}
