// What a connection may send: by its role, where tokens are configured, and by its rate, where that is limited.

import type { WireErrorCode } from '../errors.js';
import type { AccessAction, AccessControl } from './access.js';
import type { Peer } from './peer.js';
import type { ReplyLimiter } from './reply-limiter.js';

const SECOND = 1000;
/** Control messages a second beyond the rate: enough for a greeting, and to ask how far the broker has come. */
const MORE_CONTROL = 10;

/** How much of its rate a connection has left: a token bucket that holds one second's worth. */
interface Bucket {
  tokens: number;
  filledAt: number;
}

export class Gate {
  readonly #access: AccessControl;
  readonly #replies: ReplyLimiter;
  /** Messages a second; 0: no limit. */
  readonly #rate: number;
  readonly #onRejected: (code: WireErrorCode, count: number) => void;
  readonly #buckets = new WeakMap<Peer, Bucket>();
  /** Apart from the others: a peer that publishes too fast still hears how far it has come. */
  readonly #controlBuckets = new WeakMap<Peer, Bucket>();

  /**
   * @param rate messages a second of one connection; 0: no limit
   * @param onRejected called with how many messages were not let through
   */
  constructor(
    access: AccessControl,
    replies: ReplyLimiter,
    rate: number,
    onRejected: (code: WireErrorCode, count: number) => void,
  ) {
    this.#access = access;
    this.#replies = replies;
    this.#rate = rate;
    this.#onRejected = onRejected;
  }

  /**
   * How many of the next `count` messages of a connection may pass: the first ones. The others are rejected
   * and counted, and the peer is told once. A peer that should have said `hello` first is closed.
   * @param messageType the type of them all, where they have one
   * @param now monotonic time in ms at which they were received
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

  /** Whether a control message may pass; see {@link pass}. */
  passControl(connection: Peer, messageType: string, now: number): boolean {
    if (this.#rate === 0 || take(this.#controlBuckets, connection, 1, now, this.#rate + MORE_CONTROL) === 1)
      return true;
    this.#reject(connection, 'RATE_LIMITED', 1, messageType);
    return false;
  }

  /** Takes from a connection's rate for its next `count` messages. Gives for how many it suffices. */
  take(connection: Peer, count: number, now: number): number {
    return this.#rate === 0 ? count : take(this.#buckets, connection, count, now, this.#rate);
  }

  #reject(connection: Peer, code: WireErrorCode, count: number, messageType: string | undefined): void {
    connection.recordRejected(code, count);
    this.#onRejected(code, count);
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
