// The messages of one subscription, in order of arrival: for a loop that reads them one by one, or for a listener. If
// the loop is slower than the broker, the client stops reading its socket, so that the broker sees a slow subscriber.

import { SluiceError } from '../errors.js';
import { Fifo } from '../fifo.js';
import type { OverflowPolicy } from '../messages/messages.js';
import { Watermark } from '../watermark.js';
import { rethrowLater } from './client-events.js';
import type { ReceivedMessage } from './received-message.js';

/** Which messages to receive. A message must match every field that is set. */
export interface SubscriptionFilter {
  /**
   * Message types; `job_*` matches a prefix, `rejected` matches rejected messages, `presence` matches reports of crawlers
   * that connect and disconnect. Default: `['*']`, all types but `rejected` and `presence`.
   */
  readonly types?: readonly string[];
  readonly jobIds?: readonly string[];
  readonly crawlerIds?: readonly string[];
  /**
   * Shares the messages among all subscribers of this group: each goes to one. Requires a separate client. Messages that
   * this client has received and not handled when it closes are not passed on.
   */
  readonly group?: string;
  /** Policy when this client falls `maxPendingBytes` behind. Applies to the whole client. Default: `disconnect`. */
  readonly overflow?: OverflowPolicy;
  /** Whether to include the sender: `from`, `crawlerId` and `sequence`. Default: only with `crawlerIds`. */
  readonly meta?: boolean;
  /**
   * Whether to begin with the latest message of each job, and the latest heartbeat of each crawler, that match: those
   * that the broker keeps (see its option `maxLastValues`). After a reconnect, the subscription begins with them again.
   * Not with `group`. Default: false.
   */
  readonly last?: boolean;
  /** Bytes of messages that may be queued for the loop before the client stops reading its socket. Default: 1 MiB. */
  readonly maxQueuedBytes?: number;
}

/** The client, as seen by a subscription. */
export interface SubscriptionOwner {
  /** The queue crossed its high (true) or low (false) watermark. */
  onFull(subscription: Subscription, isFull: boolean): void;
  unsubscribe(subscription: Subscription): Promise<void>;
}

interface Waiter {
  resolve(result: IteratorResult<ReceivedMessage, undefined>): void;
  reject(error: Error): void;
}

const DEFAULT_QUEUED_BYTES = 1024 * 1024;
/** The low watermark of the queue, as a share of `maxQueuedBytes`. */
const LOW_SHARE = 0.5;

/**
 * The result of `SluiceClient.subscribe`: `for await (const event of subscription)`. Leaving the loop unsubscribes.
 * The loop ends when the client is closed. It throws if the client gives up, or if the broker rejects the subscription
 * after a reconnect.
 *
 * While the queue is full, the client does not read the connection at all, not even for its other subscriptions and
 * `requestJobs`. It keeps reading only while it waits for an answer of the broker, for room in its outbox, or in
 * `flush`; then more than `maxQueuedBytes` may be queued.
 */
export class Subscription implements AsyncIterableIterator<ReceivedMessage, undefined> {
  /** Its ID at the broker. */
  readonly id: string;
  readonly filter: SubscriptionFilter;
  /**
   * Names and prefixes in `filter.types` for which nothing will arrive: the broker knows no such type of crawlers'
   * messages. As of the latest confirmation.
   */
  unknownTypes: readonly string[] = [];
  /** Resolves when the broker has confirmed it for the first time; rejects if subscribing fails. */
  readonly confirmed: Promise<void>;
  readonly #owner: SubscriptionOwner;
  readonly #listener: ((event: ReceivedMessage) => void) | undefined;
  readonly #queue = new Fifo<ReceivedMessage>();
  #bytes = 0;
  readonly #fullness: Watermark;
  #waiters: Waiter[] = [];
  #isEnded = false;
  #error: SluiceError | undefined;
  #resolveConfirmed: () => void = () => {};
  #rejectConfirmed: (error: SluiceError) => void = () => {};

  /**
   * @param listener receives the messages instead of a loop
   * @internal
   */
  constructor(
    id: string,
    filter: SubscriptionFilter,
    owner: SubscriptionOwner,
    listener?: (event: ReceivedMessage) => void,
  ) {
    this.id = id;
    this.filter = filter;
    this.#owner = owner;
    this.#listener = listener;
    this.#fullness = new Watermark(filter.maxQueuedBytes ?? DEFAULT_QUEUED_BYTES, LOW_SHARE);
    this.confirmed = new Promise((resolve, reject) => {
      this.#resolveConfirmed = resolve;
      this.#rejectConfirmed = reject;
    });
    this.confirmed.catch(() => {});
  }

  /** Whether no more messages will arrive. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Bytes of messages queued for the loop. */
  get queuedBytes(): number {
    return this.#bytes;
  }

  /**
   * Resolves `confirmed`.
   * @internal
   */
  confirm(): void {
    this.#resolveConfirmed();
  }

  /**
   * Delivers a message to the listener or the loop.
   * @internal
   */
  push(event: ReceivedMessage): void {
    if (this.#isEnded) return;
    if (this.#listener !== undefined) return this.#callListener(this.#listener, event);
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) {
      waiter.resolve({ done: false, value: event });
      return;
    }
    event.detach();
    this.#queue.push(event);
    this.#setBytes(this.#bytes + event.line.length);
  }

  /** @throws SluiceError the reason if the client gave up, after all queued messages are consumed */
  next(): Promise<IteratorResult<ReceivedMessage, undefined>> {
    const event = this.#queue.shift();
    if (event === undefined) {
      if (this.#error !== undefined) return Promise.reject(this.#error);
      if (this.#isEnded) return Promise.resolve({ done: true, value: undefined });
      return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
    }
    this.#setBytes(this.#bytes - event.line.length);
    return Promise.resolve({ done: false, value: event });
  }

  /** Ends the loop and unsubscribes. Does not throw if the broker fails to confirm that. */
  async return(): Promise<IteratorResult<ReceivedMessage, undefined>> {
    await this.unsubscribe().catch(() => {});
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /**
   * Unsubscribes, and discards queued messages. Resolves when the broker has confirmed, or the connection is lost.
   * @throws SluiceError `REQUEST_TIMEOUT`
   */
  async unsubscribe(): Promise<void> {
    if (this.#isEnded) return this.#discardQueue();
    this.end();
    this.#discardQueue();
    await this.#owner.unsubscribe(this);
  }

  /**
   * Ends the subscription.
   * @param error thrown by the loop after all queued messages are consumed
   * @internal
   */
  end(error?: SluiceError): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#error = error;
    this.#rejectConfirmed(error ?? new SluiceError('CONNECTION_CLOSED'));
    for (const { resolve, reject } of this.#waiters.splice(0)) {
      if (error === undefined) resolve({ done: true, value: undefined });
      else reject(error);
    }
  }

  #callListener(listener: (event: ReceivedMessage) => void, event: ReceivedMessage): void {
    try {
      listener(event);
    } catch (error) {
      rethrowLater(error);
    }
  }

  #discardQueue(): void {
    this.#queue.clear();
    this.#error = undefined;
    this.#setBytes(0);
  }

  #setBytes(bytes: number): void {
    this.#bytes = bytes;
    if (this.#fullness.update(bytes)) this.#owner.onFull(this, this.#fullness.isHigh);
  }
}

/** The filter as sent to the broker. With `crawlerIds`, the client needs `meta` to match messages to subscriptions. */
export function wireFilter({ id, filter }: Subscription): Record<string, unknown> {
  const { maxQueuedBytes: _, ...wire } = filter;
  return filter.crawlerIds === undefined ? { id, ...wire } : { id, ...wire, meta: true };
}
