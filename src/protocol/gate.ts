// Limits the messages of a connection: by its role, if tokens are configured, and by its rate, if that is limited.

import type { WireErrorCode } from '../errors.js';
import type { AccessAction, AccessControl } from './access.js';
import type { Peer } from './peer.js';
import type { ReplyLimiter } from './reply-limiter.js';

const SECOND = 1000;
/** Control messages per second in addition to the rate: enough for `hello`, and for `ping` to confirm messages. */
const EXTRA_CONTROL_RATE = 10;

/** A token bucket. Its capacity is one second of the rate. */
interface Bucket {
  tokens: number;
  filledAt: number;
}

export class Gate {
  readonly #access: AccessControl;
  readonly #replies: ReplyLimiter;
  /** Messages per second; 0: no limit. */
  readonly #rate: number;
  readonly #onRejected: (connection: Peer, code: WireErrorCode, count: number) => void;
  readonly #buckets = new WeakMap<Peer, Bucket>();
  /** Separate, so that a peer that publishes too fast still gets confirmations. */
  readonly #controlBuckets = new WeakMap<Peer, Bucket>();
  /** Number of each `ack` and `nack` that was admitted as the answer to a message. */
  readonly #answers = new WeakMap<Peer, number>();

  /**
   * @param rate messages per second and connection; 0: no limit
   * @param onRejected called with the number of a connection's rejected messages, to count them
   */
  constructor(
    access: AccessControl,
    replies: ReplyLimiter,
    rate: number,
    onRejected: (connection: Peer, code: WireErrorCode, count: number) => void,
  ) {
    this.#access = access;
    this.#replies = replies;
    this.#rate = rate;
    this.#onRejected = onRejected;
  }

  /**
   * Admits as many of the next `count` messages of a connection as its role and rate allow, from the first one. The
   * others are rejected and counted, with one error reply. A peer that has not authenticated is disconnected.
   * @param messageType the type of all of them, if they have a common one
   * @param now monotonic time in ms at which they were received
   * @returns the number of admitted messages
   */
  pass(
    connection: Peer,
    action: AccessAction,
    count: number,
    messageType: string | undefined,
    now: number,
  ): number {
    if (!this.#access.isAllowed(connection, action)) {
      this.#reject(connection, 'UNAUTHORIZED', count, messageType);
      if (!this.#access.isAuthenticated(connection)) void connection.disconnect('UNAUTHORIZED');
      return 0;
    }
    const allowed = this.take(connection, count, now);
    if (allowed < count) this.#reject(connection, 'RATE_LIMITED', count - allowed, messageType);
    return allowed;
  }

  /**
   * Whether a control message is admitted; see {@link pass}. As many `ack` and `nack` as the connection has got messages
   * of the durable log do not count toward its rate.
   */
  passControl(connection: Peer, messageType: string, now: number): boolean {
    if (this.#rate === 0 || this.#isAnswer(connection, messageType)) return true;
    if (take(this.#controlBuckets, connection, 1, now, this.#rate + EXTRA_CONTROL_RATE) === 1) return true;
    this.#reject(connection, 'RATE_LIMITED', 1, messageType);
    return false;
  }

  #isAnswer(connection: Peer, messageType: string): boolean {
    if (messageType !== 'ack' && messageType !== 'nack') return false;
    const answers = this.#answers.get(connection) ?? 0;
    if (answers >= connection.outbox.storedMessages) return false;
    this.#answers.set(connection, answers + 1);
    return true;
  }

  /** Takes up to `count` messages from a connection's rate. @returns how many the rate allows */
  take(connection: Peer, count: number, now: number): number {
    return this.#rate === 0 ? count : take(this.#buckets, connection, count, now, this.#rate);
  }

  #reject(connection: Peer, code: WireErrorCode, count: number, messageType: string | undefined): void {
    this.#onRejected(connection, code, count);
    this.#replies.reply(connection, code, { messageType });
  }
}

function take(
  buckets: WeakMap<Peer, Bucket>,
  connection: Peer,
  count: number,
  now: number,
  rate: number,
): number {
  let bucket = buckets.get(connection);
  if (bucket === undefined) {
    bucket = { tokens: rate, filledAt: now };
    buckets.set(connection, bucket);
  }
  const earned = (Math.max(0, now - bucket.filledAt) / SECOND) * rate;
  bucket.tokens = Math.min(rate, bucket.tokens + earned);
  bucket.filledAt = now;
  const allowed = Math.min(count, Math.floor(bucket.tokens));
  bucket.tokens -= allowed;
  return allowed;
}
