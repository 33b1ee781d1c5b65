// All subscriptions of one client: requests them from the broker on each new connection. The broker sends a message
// once, even if several subscriptions match; the client finds the matching ones here.

import { Backoff } from '../backoff.js';
import { SluiceError } from '../errors.js';
import { withTimeout } from '../timeout.js';
import type { BrokerSession, LogGap } from './broker-session.js';
import type { Settle } from './pending-requests.js';
import type { ReceivedMessage } from './received-message.js';
import { Subscription, type SubscriptionOwner } from './subscription.js';
import {
  checkFilter,
  isWorkGroup,
  matchesFilter,
  type SubscriptionFilter,
  wireFilter,
} from './subscription-filter.js';
import type { Progress } from './unacknowledged.js';

/** The client, as seen by its subscriptions. */
export interface SubscriptionTransport {
  /** The current connection. */
  readonly session: BrokerSession | undefined;
  /** The broker knows these types of a subscription as no type of crawlers' messages. */
  onUnknownTypes(types: readonly string[]): void;
  /**
   * The broker has rejected a subscription after a reconnect, and no loop throws the error.
   * @param isRetried whether it is requested again. Reported once.
   */
  onNotConfirmed(error: SluiceError, isRetried: boolean): void;
  /** A queue crossed a watermark, or an answer of the broker is awaited: reading may have to pause or resume. */
  onReadingChanged(): void;
}

/** Delays until a subscription is requested again, in ms. */
const RETRY_DELAYS = { initialDelay: 500, maxDelay: 30_000 };

export class ClientSubscriptions implements SubscriptionOwner {
  readonly #transport: SubscriptionTransport;
  /** Whether the client receives only messages that match its subscriptions. */
  readonly #receivesOnlySubscribed: boolean;
  readonly #subscriptions = new Set<Subscription>();
  readonly #full = new Set<Subscription>();
  /** Ended subscriptions that the broker may still send messages for: it has not confirmed with `unsubscribed` yet. */
  readonly #unsubscribing = new Set<Subscription>();
  /** Subscriptions that the broker knows no more: it would reject acknowledgements. */
  readonly #left = new WeakSet<Subscription>();
  /** Number of work groups whose `unsubscribe` is sent later in this turn of the event loop. */
  #leaving = 0;
  /** Of subscriptions that are requested again on this connection. */
  readonly #retryTimers = new Set<NodeJS.Timeout>();
  #hasReportedRetry = false;
  /** The subscription that the next messages are for, and their number: the last values that it begins with. */
  #replay: { readonly subscription: Subscription; left: number } | undefined;
  #nextId = 1;

  constructor(transport: SubscriptionTransport, receivesOnlySubscribed: boolean) {
    this.#transport = transport;
    this.#receivesOnlySubscribed = receivesOnlySubscribed;
  }

  get size(): number {
    return this.#subscriptions.size;
  }

  /** Whether any queue is full. */
  get isFull(): boolean {
    return this.#full.size > 0;
  }

  /**
   * Resolves when the broker has confirmed, on the current connection or a later one.
   * @param timeout in ms
   * @throws SluiceError `INVALID_OPTION`, `REQUEST_TIMEOUT`, or the reason if the broker rejects or the client closes
   */
  async subscribe(
    filter: SubscriptionFilter,
    listener: ((event: ReceivedMessage) => void) | undefined,
    timeout: number,
  ): Promise<Subscription> {
    const subscription = this.#add(filter, listener);
    const { session } = this.#transport;
    // The broker receives requests in the order of the calls.
    if (session !== undefined && this.#leaving > 0) await Promise.resolve();
    if (session !== undefined && !subscription.isEnded) this.#request(session, subscription);
    await withTimeout(subscription.confirmed, timeout, () => {
      const error = new SluiceError('REQUEST_TIMEOUT', 'subscribe');
      this.#fail(subscription, error);
      throw error;
    });
    return subscription;
  }

  /** Requests all subscriptions on a new connection. */
  resume(session: BrokerSession): void {
    for (const subscription of this.#subscriptions) this.#request(session, subscription);
  }

  async unsubscribe(subscription: Subscription): Promise<void> {
    this.#delete(subscription);
    if (this.#transport.session !== undefined) this.#unsubscribing.add(subscription);
    if (isWorkGroup(subscription.filter)) {
      this.#leaving++;
      // A listener that calls this has finished its message when it returns.
      await Promise.resolve();
      this.#leaving--;
    }
    this.#left.add(subscription);
    const { session } = this.#transport;
    // The next connection will not request it.
    if (session === undefined) return;
    await new Promise<void>((resolve, reject) => {
      const settle = (error?: SluiceError): void => {
        if (error === undefined) this.#unsubscribing.delete(subscription);
        if (error?.code === 'REQUEST_TIMEOUT') reject(error);
        else resolve();
      };
      session.request('unsubscribe', { id: subscription.id }, 'unsubscribed', settle, subscription.id);
      this.#transport.onReadingChanged();
    });
  }

  onFull(subscription: Subscription, isFull: boolean): void {
    if (isFull) this.#full.add(subscription);
    else this.#full.delete(subscription);
    this.#transport.onReadingChanged();
  }

  acknowledge(subscription: Subscription, position: string, done: Progress['done'] = []): boolean {
    const session = this.#sessionOf(subscription);
    session?.sendControl('ack', { id: subscription.id, position, ...(done.length === 0 ? {} : { done }) });
    return session !== undefined;
  }

  /** Sends what is done, so that the next pong confirms it. */
  sendProgress(): void {
    for (const subscription of this.#subscriptions) subscription.sendProgress();
  }

  onAckRejected(): void {
    for (const subscription of this.#subscriptions) subscription.onAckRejected();
  }

  giveBack(subscription: Subscription, position: string, delay: number | undefined): void {
    this.#sessionOf(subscription)?.sendControl('nack', { id: subscription.id, position, delay });
  }

  /** The connection on which the broker knows a subscription. */
  #sessionOf(subscription: Subscription): BrokerSession | undefined {
    return this.#left.has(subscription) ? undefined : this.#transport.session;
  }

  /** The position after the messages of a subscription that were received. */
  onPosition({ id, position }: { readonly id: string; readonly position: string }): void {
    this.#find(id)?.onPosition(position);
  }

  /** Messages are missing before the ones that follow. */
  onGap({ id, reason, host }: LogGap): void {
    if (reason === 'epoch') this.#find(id)?.onNewLog(host);
  }

  /** The subscription with an ID, as long as it is not ended. */
  #find(id: string): Subscription | undefined {
    for (const subscription of this.#subscriptions) if (subscription.id === id) return subscription;
    return undefined;
  }

  /** The connection is lost, and with it the broker's record of all subscriptions. */
  onLost(): void {
    for (const subscription of this.#subscriptions) subscription.rewind();
    this.#clearRetries();
    this.#unsubscribing.clear();
    this.#replay = undefined;
  }

  /**
   * Delivers a message to all matching subscriptions. If only one can match, nothing is parsed. The last values that a
   * subscription begins with are delivered to it alone: the others have received these messages before.
   */
  dispatch(event: ReceivedMessage): void {
    if (this.#replay !== undefined) {
      const { subscription } = this.#replay;
      if (--this.#replay.left === 0) this.#replay = undefined;
      return subscription.push(event);
    }
    const isOnly = this.#subscriptions.size === 1 && this.#unsubscribing.size === 0;
    const isCertainMatch = isOnly && this.#receivesOnlySubscribed;
    for (const subscription of this.#subscriptions) {
      // Its listener may add another one.
      if (isCertainMatch) return subscription.push(event);
      if (matchesFilter(subscription.filter, event)) subscription.push(event);
    }
  }

  /**
   * Ends all subscriptions because the client closes, and leaves work groups: otherwise, the messages that this client has
   * would count as failed. Resolves when the broker has confirmed that, or has not done so in time.
   */
  async leave(): Promise<void> {
    const groups = [...this.#subscriptions].filter(({ filter }) => isWorkGroup(filter));
    this.end();
    await Promise.allSettled(groups.map((subscription) => this.unsubscribe(subscription)));
  }

  /** Ends all subscriptions because the client is closed. */
  end(error?: SluiceError): void {
    this.#clearRetries();
    for (const subscription of this.#subscriptions) subscription.end(error);
    this.#subscriptions.clear();
    this.#full.clear();
  }

  /** @throws SluiceError `INVALID_OPTION` */
  #add(filter: SubscriptionFilter, listener?: (event: ReceivedMessage) => void): Subscription {
    checkFilter(
      filter,
      Array.from(this.#subscriptions, (subscription) => subscription.filter),
    );
    const subscription = new Subscription(`s${this.#nextId++}`, filter, this, listener);
    this.#subscriptions.add(subscription);
    return subscription;
  }

  /** @param backoff of the requests that repeat this one on the same connection */
  #request(session: BrokerSession, subscription: Subscription, backoff?: Backoff): void {
    const settle: Settle = (
      error,
      { unknownTypes = [], lastValues = 0, position } = { id: subscription.id },
    ) => {
      if (error === undefined) {
        if (position !== undefined) subscription.onStart(position);
        if (lastValues > 0) this.#replay = { subscription, left: lastValues };
        const known = new Set(subscription.unknownTypes);
        subscription.unknownTypes = unknownTypes;
        subscription.confirm();
        if (unknownTypes.some((type) => !known.has(type))) this.#transport.onUnknownTypes(unknownTypes);
        return;
      }
      // A lost connection is replaced, and the subscription is then requested again.
      if (!session.isOpen || subscription.isEnded) return;
      const isTemporary = ['RATE_LIMITED', 'REQUEST_TIMEOUT'].includes(error.code);
      // Once confirmed, it is valid: the broker is busy.
      if (!subscription.isConfirmed || !isTemporary) return this.#fail(subscription, error);
      // On this connection, a late answer would count as that of the next request.
      if (error.code === 'REQUEST_TIMEOUT') return session.onUnanswered(error);
      if (!this.#hasReportedRetry) this.#transport.onNotConfirmed(error, true);
      this.#hasReportedRetry = true;
      this.#requestLater(session, subscription, backoff ?? new Backoff(RETRY_DELAYS, Math.random));
    };
    const { id, filter, received } = subscription;
    session.request('subscribe', wireFilter(id, filter, received), 'subscribed', settle, id);
    this.#transport.onReadingChanged();
  }

  #requestLater(session: BrokerSession, subscription: Subscription, backoff: Backoff): void {
    const timer = setTimeout(() => {
      this.#retryTimers.delete(timer);
      if (!subscription.isEnded) this.#request(session, subscription, backoff);
    }, backoff.next());
    this.#retryTimers.add(timer);
  }

  #clearRetries(): void {
    for (const timer of this.#retryTimers) clearTimeout(timer);
    this.#retryTimers.clear();
  }

  /** Subscribing failed or timed out. */
  #fail(subscription: Subscription, error: SluiceError): void {
    if (subscription.isEnded) return;
    subscription.end(error);
    if (subscription.isConfirmed && subscription.hasListener) this.#transport.onNotConfirmed(error, false);
    // The broker may just be late, and would then send messages for it.
    if (error.code === 'REQUEST_TIMEOUT') this.unsubscribe(subscription).catch(() => {});
    else this.#delete(subscription);
  }

  #delete(subscription: Subscription): void {
    this.#subscriptions.delete(subscription);
    this.#full.delete(subscription);
  }
}
