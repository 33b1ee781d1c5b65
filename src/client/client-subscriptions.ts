// All subscriptions of one client. The broker sends a message once, however many of them want it: here it is
// found out which.

import { SluiceError } from '../errors.js';
import { appSchemas } from '../protocol/messages.js';
import { matchesType, REJECTED } from '../routing/filter.js';
import type { ReceivedMessage } from './received-message.js';
import { Subscription, type SubscriptionFilter, type SubscriptionHost } from './subscription.js';

export class ClientSubscriptions {
  readonly #host: SubscriptionHost;
  /** Whether nothing is received but what was subscribed to. */
  readonly #receivesNothingElse: boolean;
  readonly #subscriptions = new Set<Subscription>();
  readonly #full = new Set<Subscription>();
  /** Ids of subscriptions that the broker may still send for: it has not said `unsubscribed` yet. */
  readonly #leaving = new Set<string>();
  #nextId = 1;

  constructor(host: SubscriptionHost, receivesNothingElse: boolean) {
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

  [Symbol.iterator](): IterableIterator<Subscription> {
    return this.#subscriptions.values();
  }

  /** @throws SluiceError `INVALID_OPTION`: the messages of a group could not be told from others */
  add(filter: SubscriptionFilter, listener?: (event: ReceivedMessage) => void): Subscription {
    const group = [...this.#subscriptions, { filter }].find((one) => one.filter.group !== undefined);
    if (group !== undefined && this.#subscriptions.size > 0) {
      throw new SluiceError('INVALID_OPTION', 'group: needs a client without other subscriptions');
    }
    if (filter.maxQueuedBytes !== undefined && !(filter.maxQueuedBytes > 0)) {
      throw new SluiceError('INVALID_OPTION', 'maxQueuedBytes: must be more than 0');
    }
    const subscription = new Subscription(`s${this.#nextId++}`, filter, this.#host, listener);
    this.#subscriptions.add(subscription);
    return subscription;
  }

  /** The broker has none such. */
  delete(subscription: Subscription): void {
    this.#subscriptions.delete(subscription);
    this.#full.delete(subscription);
  }

  /** The broker is told to send no more for it. */
  leave(subscription: Subscription): void {
    this.delete(subscription);
    this.#leaving.add(subscription.id);
  }

  /** The broker sends no more for it. */
  left({ id }: Subscription): void {
    this.#leaving.delete(id);
  }

  /** The connection has gone, and with it all that the broker knew of subscriptions. */
  forgetLeaving(): void {
    this.#leaving.clear();
  }

  setFull(subscription: Subscription, isFull: boolean): void {
    if (isFull) this.#full.add(subscription);
    else this.#full.delete(subscription);
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
}

function wants({ types = ['*'], jobIds, crawlerIds }: SubscriptionFilter, event: ReceivedMessage): boolean {
  // Applications' messages are never for subscribers, and refused ones only for those that name them.
  if (Object.hasOwn(appSchemas, event.type)) return false;
  if (event.type === REJECTED) return types.includes(REJECTED);
  if (!types.some((pattern) => matchesType(pattern, event.type))) return false;
  if (jobIds !== undefined) {
    const jobId = event.message.jobId ?? event.message.job_id;
    if (typeof jobId !== 'string' || !jobIds.includes(jobId)) return false;
  }
  return crawlerIds === undefined || crawlerIds.includes(event.crawlerId ?? '');
}
