// Answers pings. A pong confirms everything that its receiver sent before the ping: with a durable log, only once the
// messages are durable. Until then, it is withheld.

import type { MessageLog } from '../log/message-log.js';
import { brokerLine } from './outgoing.js';
import type { Peer } from './peer.js';

/** Pings that are withheld for the same messages. */
interface Withheld {
  /** Offset after the messages. */
  readonly end: number;
  /** Number of decided messages of the session before the pings. */
  readonly decided: number | undefined;
  /** Number of messages that were rejected, or had no recipient, before the pings, if any: not each gets a reply. */
  readonly rejected: number | undefined;
  pings: number;
}

/** @typeParam P the type of connections */
export class Confirmations<P extends Peer> {
  readonly #log: MessageLog | undefined;
  readonly #delimiter: number;
  /** The withheld pongs, in order, by connection. */
  readonly #withheld = new Map<P, Withheld[]>();
  readonly #waiters = new Map<P, (() => void)[]>();

  /** @param log if `undefined`, no pong is withheld */
  constructor(log: MessageLog | undefined, delimiter: number) {
    this.#log = log;
    this.#delimiter = delimiter;
  }

  /** The epoch of the durable log; `undefined` if there is none. */
  get epoch(): string | undefined {
    return this.#log?.epoch;
  }

  /** Answers a ping, now or later. */
  answer(connection: P): void {
    // The peer may have disconnected before the ping was settled.
    if (!connection.isOpen) return;
    const { loggedEnd: end, session, messagesRejected, undeliverable } = connection;
    const decided = session?.decided;
    const rejected = messagesRejected + undeliverable || undefined;
    const waiting = this.#withheld.get(connection);
    if (this.#log === undefined || (waiting === undefined && end <= this.#log.durable))
      return this.#reply(connection, { end, decided, rejected, pings: 1 });
    const latest = waiting?.at(-1);
    if (latest?.end === end && latest.decided === decided && latest.rejected === rejected) latest.pings++;
    else if (waiting !== undefined) waiting.push({ end, decided, rejected, pings: 1 });
    else this.#withheld.set(connection, [{ end, decided, rejected, pings: 1 }]);
    connection.withheldPongs++;
    this.#log.sync(end);
  }

  /** Sends the pongs that are no longer withheld. Call it when more messages are durable. */
  release(): void {
    const { durable = 0 } = this.#log ?? {};
    for (const [connection, waiting] of this.#withheld) {
      const next = waiting.findIndex(({ end }) => end > durable);
      const released = waiting.splice(0, next === -1 ? waiting.length : next);
      for (const withheld of released) {
        this.#reply(connection, withheld);
        connection.withheldPongs -= withheld.pings;
      }
      if (waiting.length === 0) this.forget(connection);
    }
  }

  /** Resolves when no pong for the connection is withheld, or the connection is closed. */
  whenAnswered(connection: P): Promise<void> {
    if (!this.#withheld.has(connection)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiters.set(connection, [...(this.#waiters.get(connection) ?? []), resolve]);
    });
  }

  forget(connection: P): void {
    this.#withheld.delete(connection);
    connection.withheldPongs = 0;
    for (const resolve of this.#waiters.get(connection) ?? []) resolve();
    this.#waiters.delete(connection);
  }

  #reply(connection: P, { decided, rejected, pings }: Withheld): void {
    const pong = brokerLine('pong', { line: decided, rejected }, this.#delimiter);
    for (let sent = 0; sent < pings; sent++) connection.reply(pong);
  }
}
