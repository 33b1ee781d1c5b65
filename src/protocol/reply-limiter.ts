// Error replies: at most so many a second for each connection, so that a peer that sends nothing but
// errors costs little. The others are counted.

import type { WireErrorCode } from '../errors.js';
import { type ErrorDetails, errorLine } from './outgoing.js';

/** Who can be answered: a connection. */
export interface Replyable {
  reply(line: Buffer): void;
}

const WINDOW = 1000;

export class ReplyLimiter {
  readonly #limit: number;
  readonly #delimiter: string;
  readonly #now: () => number;
  /** Replies of the present second, by connection. */
  readonly #windows = new WeakMap<Replyable, { startedAt: number; count: number }>();
  #sent = 0;
  #withheld = 0;

  /**
   * @param limit replies a second and connection
   * @param now monotonic clock in ms; default `performance.now`
   */
  constructor(limit: number, delimiter: string, now: () => number = () => performance.now()) {
    this.#limit = limit;
    this.#delimiter = delimiter;
    this.#now = now;
  }

  get sent(): number {
    return this.#sent;
  }

  /** Errors that no reply was sent for. */
  get withheld(): number {
    return this.#withheld;
  }

  reply(peer: Replyable, code: WireErrorCode, details: ErrorDetails = {}): void {
    const now = this.#now();
    let window = this.#windows.get(peer);
    if (window === undefined || now - window.startedAt >= WINDOW) {
      window = { startedAt: now, count: 0 };
      this.#windows.set(peer, window);
    }
    if (window.count >= this.#limit) {
      this.#withheld++;
      return;
    }
    window.count++;
    this.#sent++;
    peer.reply(errorLine(code, details, this.#delimiter));
  }
}
