// All subscriptions of one client: asks the broker for them, on each connection anew. The broker sends a message once,
// however many of them want it: here it is found out which.

import { SluiceError } from '../errors.js';
import { appSchemas } from '../messages/messages.js';
import { matchesType, REJECTED } from '../messages/type-patterns.js';
import type { BrokerSession } from './broker-session.js';
import type { ReceivedMessage } from './received-message.js';
import { Subscription, type SubscriptionFilter, type SubscriptionOwner, wireFilter } from './subscription.js';
import { startTimeout } from './timeouts.js';

/** What subscriptions need of their client. */
export interface SubscriptionTransport {
  /** The present connection. */
  readonly session: BrokerSession | undefined;
  /** Too much waits for a loop, or little enough again; or an answer of the broker is waited for. */
  onReadingChanged(): void;
}

export class ClientSubscriptions implements SubscriptionOwner {
  readonly #host: SubscriptionTransport;
  /** Whether nothing is received but what was subscribed to. */
  readonly #receivesNothingElse: boolean;
  readonly #subscriptions = new Set<Subscription>();
  readonly #full = new Set<Subscription>();
  /** Those that the broker may still send for: it has not said `unsubscribed` yet. */
  readonly #leaving = new Set<Subscription>();
  #nextId = 1;

  constructor(host: SubscriptionTransport, receivesNothingElse: boolean) {
    this.#host = host;
    this.#receivesNothingElse = receivesNothingElse;
  }

  get size(): number {
    return this.#subscriptions.size;
  }

  /** Whether one of them has too much waiting. */
  get isFull(): boolean {
    return this.#full.size > 0;
  }

  /**
   * Resolves when the broker has confirmed, on the present connection or a later one.
   * @param timeout ms that it may take
   * @throws SluiceError `INVALID_OPTION`, `REQUEST_TIMEOUT`, or why the broker or the client rejects
   */
  async subscribe(
    filter: SubscriptionFilter,
    listener: ((event: ReceivedMessage) => void) | undefined,
    timeout: number,
  ): Promise<Subscription> {
    const subscription = this.#add(filter, listener);
    const { session } = this.#host;
    if (session !== undefined) this.#request(session, subscription);
    const timer = startTimeout(timeout, () =>
      this.#giveUp(subscription, new SluiceError('REQUEST_TIMEOUT', 'subscribe')),
    );
    try {
      await subscription.confirmed;
    } finally {
      clearTimeout(timer);
    }
    return subscription;
  }

  /** Subscribes to everything on a new connection. */
  resume(session: BrokerSession): void {
    for (const subscription of this.#subscriptions) this.#request(session, subscription);
  }

  unsubscribe(subscription: Subscription): Promise<void> {
    this.#delete(subscription);
    const { session } = this.#host;
    // On another connection it is not subscribed in the first place.
    if (session === undefined) return Promise.resolve();
    this.#leaving.add(subscription);
    return new Promise((resolve, reject) => {
      const settle = (error?: SluiceError): void => {
        if (error === undefined) this.#leaving.delete(subscription);
        if (error?.code === 'REQUEST_TIMEOUT') reject(error);
        else resolve();
      };
      session.request('unsubscribe', { id: subscription.id }, 'unsubscribed', settle, subscription.id);
      this.#host.onReadingChanged();
    });
  }

  onFull(subscription: Subscription, isFull: boolean): void {
    if (isFull) this.#full.add(subscription);
    else this.#full.delete(subscription);
    this.#host.onReadingChanged();
  }

  /** The connection has gone, and with it all that the broker knew of subscriptions. */
  onLost(): void {
    this.#leaving.clear();
  }

  /** Gives a message to those that want it. Where only one can, nothing is parsed. */
  dispatch(event: ReceivedMessage): void {
    const isOnly = this.#subscriptions.size === 1 && this.#leaving.size === 0;
    const isCertain = isOnly && this.#receivesNothingElse;
    for (const subscription of this.#subscriptions) {
      if (isCertain || wants(subscription.filter, event)) subscription.push(event);
    }
  }

  /** The client is closed. */
  end(error?: SluiceError): void {
    for (const subscription of this.#subscriptions) subscription.end(error);
    this.#subscriptions.clear();
    this.#full.clear();
  }

  /** @throws SluiceError `INVALID_OPTION`: the messages of a group could not be told from others */
  #add(filter: SubscriptionFilter, listener?: (event: ReceivedMessage) => void): Subscription {
    const group = [...this.#subscriptions, { filter }].find((one) => one.filter.group !== undefined);
    if (group !== undefined && this.#subscriptions.size > 0) {
      throw new SluiceError('INVALID_OPTION', 'group: needs a client without other subscriptions');
    }
    if (filter.maxQueuedBytes !== undefined && !(filter.maxQueuedBytes > 0)) {
      throw new SluiceError('INVALID_OPTION', 'maxQueuedBytes: must be more than 0');
    }
    const subscription = new Subscription(`s${this.#nextId++}`, filter, this, listener);
    this.#subscriptions.add(subscription);
    return subscription;
  }

  #request(session: BrokerSession, subscription: Subscription): void {
    const settle = (error?: SluiceError): void => {
      if (error === undefined) return subscription.confirm();
      // A connection that is lost is replaced, and then it is asked for once more.
      if (session.isOpen) this.#giveUp(subscription, error);
    };
    session.request('subscribe', wireFilter(subscription), 'subscribed', settle, subscription.id);
    this.#host.onReadingChanged();
  }

  /** Subscribing failed or timed out. */
  #giveUp(subscription: Subscription, error: SluiceError): void {
    if (subscription.isEnded) return;
    subscription.end(error);
    // The broker may only be late, and would send for it then.
    if (error.code === 'REQUEST_TIMEOUT') this.unsubscribe(subscription).catch(() => {});
    else this.#delete(subscription);
  }

  #delete(subscription: Subscription): void {
    this.#subscriptions.delete(subscription);
    this.#full.delete(subscription);
  }
}

function wants({ types = ['*'], jobIds, crawlerIds }: SubscriptionFilter, event: ReceivedMessage): boolean {
  // Applications' messages are never for subscribers, and rejected ones only for those that name them.
  if (Object.hasOwn(appSchemas, event.type)) return false;
  if (event.type === REJECTED) return types.includes(REJECTED);
  if (!types.some((pattern) => matchesType(pattern, event.type))) return false;
  if (jobIds !== undefined) {
    const jobId = event.message.jobId ?? event.message.job_id;
    if (typeof jobId !== 'string' || !jobIds.includes(jobId)) return false;
  }
  return crawlerIds === undefined || crawlerIds.includes(event.crawlerId ?? '');
}
