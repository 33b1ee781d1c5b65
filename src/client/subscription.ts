// The messages of one subscription, in the order they came: for a loop that takes them one by one, or for a
// function. When the loop is slower than the broker, the socket is not read, so that the broker sees a slow
// subscriber.

import { SluiceError } from '../errors.js';
import type { OverflowPolicy } from '../messages/messages.js';
import { rethrowLater } from './client-events.js';
import type { ReceivedMessage } from './received-message.js';

/** Which messages to get. Every field that is there must fit. */
export interface SubscriptionFilter {
  /** Message types; `job_*` is all that begin so, `rejected` what the broker rejected. Default: `['*']`, all types. */
  readonly types?: readonly string[];
  readonly jobIds?: readonly string[];
  readonly crawlerIds?: readonly string[];
  /** Shares the messages with all subscribers of this group: each goes to one. Needs a client of its own. */
  readonly group?: string;
  /** What the broker does when this client falls `maxPendingBytes` behind; default `disconnect`. One for the whole client. */
  readonly overflow?: OverflowPolicy;
  /** Whether to tell who sent each message: `from`, `crawlerId` and `sequence`. Default: only with `crawlerIds`. */
  readonly meta?: boolean;
  /** Bytes of messages that may wait for the loop before the socket is not read any more; default 1 MiB. */
  readonly maxQueuedBytes?: number;
}

/** What a subscription needs of its client. */
export interface SubscriptionOwner {
  /** Too much waits (true), or little enough again (false). */
  onFull(subscription: Subscription, isFull: boolean): void;
  unsubscribe(subscription: Subscription): Promise<void>;
}

interface Waiter {
  resolve(result: IteratorResult<ReceivedMessage, undefined>): void;
  reject(error: Error): void;
}

const DEFAULT_QUEUED_BYTES = 1024 * 1024;
const LOW_MARK = 0.5;

/**
 * What `SluiceClient.subscribe` gives: `for await (const event of subscription)`. Leaving the loop unsubscribes.
 * The loop ends when the client is closed, and throws when the client gives up or the broker rejects the subscription
 * it again. While it waits for the loop, nothing of the connection is read, for other subscriptions of its client and
 * for `requestJobs` neither. Only while the client waits for an answer of the broker, for room in its outbox, or in
 * `flush`, it reads on: then more than `maxQueuedBytes` may come to wait.
 */
export class Subscription implements AsyncIterableIterator<ReceivedMessage, undefined> {
  /** What the broker knows it by. */
  readonly id: string;
  readonly filter: SubscriptionFilter;
  /** Resolves when the broker has confirmed it for the first time; rejects when it does not come to that. */
  readonly confirmed: Promise<void>;
  readonly #host: SubscriptionOwner;
  readonly #listener: ((event: ReceivedMessage) => void) | undefined;
  readonly #maxBytes: number;
  #queue: ReceivedMessage[] = [];
  #head = 0;
  #bytes = 0;
  #isFull = false;
  #waiters: Waiter[] = [];
  #isEnded = false;
  #error: SluiceError | undefined;
  #confirm: () => void = () => {};
  #deny: (error: SluiceError) => void = () => {};

  /**
   * @param listener takes the messages in place of the loop
   * @internal
   */
  constructor(
    id: string,
    filter: SubscriptionFilter,
    host: SubscriptionOwner,
    listener?: (event: ReceivedMessage) => void,
  ) {
    this.id = id;
    this.filter = filter;
    this.#host = host;
    this.#listener = listener;
    this.#maxBytes = filter.maxQueuedBytes ?? DEFAULT_QUEUED_BYTES;
    this.confirmed = new Promise((resolve, reject) => {
      this.#confirm = resolve;
      this.#deny = reject;
    });
    this.confirmed.catch(() => {});
  }

  /** Whether no more messages come. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Bytes of messages that wait for the loop. */
  get queuedBytes(): number {
    return this.#bytes;
  }

  /**
   * The broker has confirmed it.
   * @internal
   */
  confirm(): void {
    this.#confirm();
  }

  /**
   * Gives it a message.
   * @internal
   */
  push(event: ReceivedMessage): void {
    if (this.#isEnded) return;
    if (this.#listener !== undefined) return this.#tell(this.#listener, event);
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) {
      waiter.resolve({ done: false, value: event });
      return;
    }
    event.detach();
    this.#queue.push(event);
    this.#bytes += event.line.length;
    if (this.#bytes >= this.#maxBytes) this.#setFull(true);
  }

  /** @throws SluiceError why the client gave up, once all that came before is taken */
  next(): Promise<IteratorResult<ReceivedMessage, undefined>> {
    const event = this.#queue[this.#head];
    if (event === undefined) {
      if (this.#error !== undefined) return Promise.reject(this.#error);
      if (this.#isEnded) return Promise.resolve({ done: true, value: undefined });
      return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
    }
    this.#head++;
    if (this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    this.#bytes -= event.line.length;
    if (this.#bytes <= this.#maxBytes * LOW_MARK) this.#setFull(false);
    return Promise.resolve({ done: false, value: event });
  }

  /** Ends the loop, and unsubscribes. A broker that does not confirm that is no reason for a loop to throw. */
  async return(): Promise<IteratorResult<ReceivedMessage, undefined>> {
    await this.unsubscribe().catch(() => {});
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /**
   * Wants no more messages; those that wait are dropped. Resolves when the broker has confirmed, or the connection
   * has gone.
   * @throws SluiceError `REQUEST_TIMEOUT`
   */
  async unsubscribe(): Promise<void> {
    if (this.#isEnded) return this.#drop();
    this.end();
    this.#drop();
    await this.#host.unsubscribe(this);
  }

  /**
   * No more messages come.
   * @param error for the loop to throw, when it has taken what waits
   * @internal
   */
  end(error?: SluiceError): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#error = error;
    this.#deny(error ?? new SluiceError('CONNECTION_CLOSED'));
    for (const { resolve, reject } of this.#waiters.splice(0)) {
      if (error === undefined) resolve({ done: true, value: undefined });
      else reject(error);
    }
  }

  #tell(listener: (event: ReceivedMessage) => void, event: ReceivedMessage): void {
    try {
      listener(event);
    } catch (error) {
      rethrowLater(error);
    }
  }

  #drop(): void {
    this.#queue = [];
    this.#head = 0;
    this.#bytes = 0;
    this.#error = undefined;
    this.#setFull(false);
  }

  #setFull(isFull: boolean): void {
    if (isFull === this.#isFull) return;
    this.#isFull = isFull;
    this.#host.onFull(this, isFull);
  }
}

/** What of a filter goes over the wire. Who sent a message must be told where that decides whose it is. */
export function wireFilter({ id, filter }: Subscription): Record<string, unknown> {
  const { maxQueuedBytes: _, ...wire } = filter;
  return filter.crawlerIds === undefined ? { id, ...wire } : { id, ...wire, meta: true };
}
