// Error replies: at most so many a second for each connection, so that a peer that sends nothing but
// errors costs little. The others are counted.

import type { WireErrorCode } from '../errors.js';
import { type ErrorDetails, errorLine } from './outgoing.js';
import { SecondLimiter } from './second-limiter.js';

/** Who can be answered: a connection. */
export interface Replyable {
  reply(line: Buffer): void;
}

export class ReplyLimiter {
  readonly #limiter: SecondLimiter<Replyable>;
  readonly #delimiter: number;
  #sent = 0;
  #suppressed = 0;

  /**
   * @param limit replies a second and connection
   * @param now monotonic clock in ms; default `performance.now`
   */
  constructor(limit: number, delimiter: number, now?: () => number) {
    this.#limiter = new SecondLimiter(limit, now);
    this.#delimiter = delimiter;
  }

  get sent(): number {
    return this.#sent;
  }

  /** Errors that no reply was sent for. */
  get suppressed(): number {
    return this.#suppressed;
  }

  /** Whether the next error would be answered. */
  hasRoom(peer: Replyable): boolean {
    return this.#limiter.hasRoom(peer);
  }

  /** Counts errors that are not answered. */
  suppress(count: number): void {
    this.#suppressed += count;
  }

  reply(peer: Replyable, code: WireErrorCode, details: ErrorDetails = {}): void {
    if (!this.#limiter.take(peer)) {
      this.#suppressed++;
      return;
    }
    this.#sent++;
    peer.reply(errorLine(code, details, this.#delimiter));
  }
}
