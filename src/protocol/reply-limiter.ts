// Sends error replies, up to a limit per connection and second, so that a peer that sends only invalid messages costs
// little. Errors beyond the limit are counted.

import type { WireErrorCode } from '../errors.js';
import type { Issue } from '../messages/issues.js';
import { type ErrorDetails, errorLine } from './outgoing.js';
import type { Peer } from './peer.js';
import { SecondLimiter } from './second-limiter.js';

/** A connection that accepts replies. */
export interface Replyable {
  reply(line: Buffer): void;
}

export class ReplyLimiter {
  readonly #limiter: SecondLimiter<Replyable>;
  readonly #delimiter: number;
  #sent = 0;
  #suppressed = 0;

  /**
   * @param limit replies per connection and second
   * @param now monotonic clock in ms. Default: `performance.now`.
   */
  constructor(limit: number, delimiter: number, now?: () => number) {
    this.#limiter = new SecondLimiter(limit, now);
    this.#delimiter = delimiter;
  }

  get sent(): number {
    return this.#sent;
  }

  /** Number of errors without a reply. */
  get suppressed(): number {
    return this.#suppressed;
  }

  /** Whether the next error would get a reply. */
  hasRoom(peer: Replyable): boolean {
    return this.#limiter.hasRoom(peer);
  }

  /** Counts errors without a reply. */
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

  /** Rejects a message that its schema has accepted. */
  reject(peer: Peer, code: WireErrorCode, messageType: string, issues: readonly Issue[] = []): void {
    peer.recordError(code);
    this.reply(peer, code, { messageType, issues });
  }

  /** Rejects a message and disconnects its sender. */
  close(peer: Peer, code: WireErrorCode, messageType: string): void {
    this.reject(peer, code, messageType);
    void peer.disconnect(code);
  }
}
