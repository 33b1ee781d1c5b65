// The messages of one subscription, in order of arrival: for a loop that reads them one by one, or for a listener. If
// the loop is slower than the broker, the client stops reading its socket, so that the broker sees a slow subscriber.

import { SluiceError } from '../errors.js';
import { Fifo } from '../fifo.js';
import { MAX_ACK_TIME } from '../messages/messages.js';
import { Watermark } from '../watermark.js';
import { rethrowLater } from './client-events.js';
import { Cursor } from './cursor.js';
import type { ReceivedMessage } from './received-message.js';
import { Repeats } from './repeats.js';
import { isStored, isWorkGroup, type SubscriptionFilter } from './subscription-filter.js';
import type { Progress } from './unacknowledged.js';
import { WorkGroupProgress, type WorkGroupTransport } from './work-group-progress.js';

/** The client, as seen by a subscription. */
export interface SubscriptionOwner {
  /** The queue crossed its high (true) or low (false) watermark. */
  onFull(subscription: Subscription, isFull: boolean): void;
  unsubscribe(subscription: Subscription): Promise<void>;
  /**
   * @param done in a work group, messages after the position that are done: ranges of offsets
   * @returns whether there is a connection to send it on
   */
  acknowledge(subscription: Subscription, position: string, done?: Progress['done']): boolean;
  giveBack(subscription: Subscription, position: string, delay: number | undefined): void;
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
 * The loop ends when the client is closed; in a work group, without the messages that are queued: they go to others. It
 * throws if the client gives up, or if the broker rejects the subscription for good after a reconnect.
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
  /** Messages, and the positions between them, at most one after each message. */
  readonly #queue = new Fifo<ReceivedMessage | string>();
  /** If messages can be recognised, and are not repeated on purpose. */
  readonly #repeats: Repeats | undefined;
  readonly #cursor: Cursor | undefined;
  /** In a work group: which messages are done. */
  readonly #progress: WorkGroupProgress | undefined;
  #position: string | undefined;
  #bytes = 0;
  readonly #fullness: Watermark;
  #waiters: Waiter[] = [];
  #isConfirmed = false;
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
    this.#repeats =
      isStored(filter) && filter.meta === true && filter.ack !== 'manual' && !isWorkGroup(filter)
        ? new Repeats()
        : undefined;
    if (filter.cursor !== undefined)
      this.#cursor = new Cursor((position) => owner.acknowledge(this, position));
    if (isWorkGroup(filter)) {
      const transport: WorkGroupTransport = {
        acknowledge: (position, done) => owner.acknowledge(this, position, done),
        giveBack: (position, delay) => owner.giveBack(this, position, delay),
      };
      this.#progress = new WorkGroupProgress(transport, filter.ack !== 'manual', filter.ackWait);
    }
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

  /**
   * Whether the broker has confirmed it, on any connection.
   * @internal
   */
  get isConfirmed(): boolean {
    return this.#isConfirmed;
  }

  /**
   * Whether a listener receives the messages, so that no loop throws an error that ends the subscription.
   * @internal
   */
  get hasListener(): boolean {
    return this.#listener !== undefined;
  }

  /** Bytes of messages queued for the loop. */
  get queuedBytes(): number {
    return this.#bytes;
  }

  /**
   * The position in the broker's durable log after all messages that were handled: the loop has asked for the next one, or
   * the listener has returned or thrown. Store it with what you made of the messages, and begin there next time:
   * `from: { offset: position }`. It moves about once per 64 KiB, and whenever no more messages are there yet.
   * `undefined` without a durable log.
   */
  get position(): string | undefined {
    return this.#position;
  }

  /**
   * Moves the cursor; in a work group, marks a message as done. Those of a group may be done in any order.
   * @param done with a cursor: all messages before this position are done. Default: {@link Subscription.position}. In a
   *   group: the message. Default: all that were handed out.
   * @throws SluiceError `INVALID_OPTION` unless the subscription has a cursor or a group, and `ack: 'manual'`
   */
  ack(done?: string | ReceivedMessage): void {
    const [cursor, progress] = [this.#cursor, this.#progress];
    if (this.filter.ack !== 'manual' || (cursor === undefined && progress === undefined))
      throw new SluiceError(
        'INVALID_OPTION',
        "ack: needs a subscription with cursor or group, and ack: 'manual'",
      );
    if (typeof done === 'object') {
      if (progress === undefined)
        throw new SluiceError('INVALID_OPTION', 'ack: needs a position, unless it is a group');
      progress.settle(done);
    } else if (progress === undefined) {
      const position = done ?? this.#position;
      if (position !== undefined) cursor?.moveTo(position);
    } else if (done === undefined) progress.settleAll();
    else this.#owner.acknowledge(this, done);
  }

  /**
   * Gives a message of a work group back: it is redelivered, to this or another member, or goes to the dead letters after
   * `maxDeliveries` failures.
   * @param options `delay`: time until then, in ms, at most a day. Default: 1000, doubled with each failure, at most 60,000.
   * @throws SluiceError `INVALID_OPTION` for another delay, and unless the subscription has a group and `ack: 'manual'`
   */
  nack(event: ReceivedMessage, { delay }: { readonly delay?: number | undefined } = {}): void {
    if (this.#progress === undefined || this.filter.ack !== 'manual')
      throw new SluiceError('INVALID_OPTION', "nack: needs a subscription with group and ack: 'manual'");
    if (delay !== undefined && !(delay >= 0 && delay <= MAX_ACK_TIME))
      throw new SluiceError('INVALID_OPTION', `nack: delay must be 0 to ${MAX_ACK_TIME}`);
    this.#progress.giveBack(event, delay === undefined ? undefined : Math.ceil(delay));
  }

  /** Shows the broker that a message takes long, so that it does not go to another member after `ackWait`. */
  working(): void {
    this.#progress?.working();
  }

  /**
   * Records where the broker has begun.
   * @internal
   */
  onStart(position: string): void {
    this.#position ??= position;
    this.#progress?.onStart(position);
    this.#cursor?.onStart(position);
  }

  /**
   * Records the position after the messages that were received.
   * @internal
   */
  onPosition(position: string): void {
    if (this.#isEnded) return;
    if (this.#queue.length === 0 && (this.#listener !== undefined || this.#waiters.length > 0))
      this.#onHandled(position);
    // The queue's limit counts messages only: positions must not pile up.
    else if (typeof this.#queue.peekLast() === 'string') this.#queue.replaceLast(position);
    else this.#queue.push(position);
    this.#cursor?.onReached(position);
  }

  /**
   * Sends what is done.
   * @internal
   */
  sendProgress(): void {
    this.#progress?.send();
    this.#cursor?.send();
  }

  /**
   * The broker has rejected an acknowledgement. It is sent when the application repeats it.
   * @internal
   */
  onAckRejected(): void {
    this.#cursor?.onRejected();
  }

  /**
   * Records that the log of a host was deleted, and another one begun.
   * @internal
   */
  onNewLog(host: string | undefined): void {
    this.#repeats?.onNewLog(host);
  }

  /**
   * Another connection begins: messages after the latest position will be received again.
   * @internal
   */
  rewind(): void {
    if (!isStored(this.filter)) return;
    this.#progress?.onDisconnected();
    this.#cursor?.onDisconnected();
    // With a cursor or a group, the broker begins with the first message that was not acknowledged.
    const isRemembered = this.#cursor !== undefined || this.#progress !== undefined;
    const items = isRemembered ? [] : [...this.#queue];
    const positions = items.map((item) => typeof item === 'string');
    const kept = items.slice(0, positions.lastIndexOf(true) + 1);
    this.#queue.clear();
    this.#queue.unshift(kept);
    this.#setBytes(kept.reduce((sum, item) => sum + (typeof item === 'string' ? 0 : item.line.length), 0));
  }

  /**
   * The position after all messages that were received and not discarded.
   * @internal
   */
  get received(): string | undefined {
    return [...this.#queue].findLast((item) => typeof item === 'string') ?? this.#position;
  }

  /** The messages before a position were handled. */
  #onHandled(position: string): void {
    this.#position = position;
    this.#progress?.endDelivery();
    if (this.filter.ack !== 'manual') this.#cursor?.onHandled(position);
  }

  /**
   * The broker has confirmed it: resolves `confirmed`.
   * @internal
   */
  confirm(): void {
    this.#isConfirmed = true;
    this.#resolveConfirmed();
  }

  /**
   * Delivers a message to the listener or the loop.
   * @internal
   */
  push(event: ReceivedMessage): void {
    if (this.#isEnded || this.#repeats?.has(event) === true) return;
    if (this.#listener !== undefined) {
      this.#handOut(event);
      return this.#callListener(this.#listener, event);
    }
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) {
      this.#handOut(event);
      waiter.resolve({ done: false, value: event });
      return;
    }
    event.detach();
    this.#queue.push(event);
    this.#setBytes(this.#bytes + event.line.length);
  }

  /** @throws SluiceError the reason if the client gave up, after all queued messages are consumed */
  next(): Promise<IteratorResult<ReceivedMessage, undefined>> {
    // Once it is ended, the message is another member's.
    if (!this.#isEnded) this.#progress?.finishCurrent();
    const event = this.#nextMessage();
    if (event === undefined) {
      if (this.#error !== undefined) return Promise.reject(this.#error);
      if (this.#isEnded) return Promise.resolve({ done: true, value: undefined });
      return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
    }
    this.#handOut(event);
    this.#setBytes(this.#bytes - event.line.length);
    return Promise.resolve({ done: false, value: event });
  }

  /** The loop or the listener gets a message. */
  #handOut(event: ReceivedMessage): void {
    this.#repeats?.add(event);
    this.#progress?.handOut(event);
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
    this.#progress?.end();
    this.#cursor?.end();
    if (this.#progress !== undefined) this.#discardQueue();
    this.#isEnded = true;
    this.#error = error;
    this.#rejectConfirmed(error ?? new SluiceError('CONNECTION_CLOSED'));
    for (const { resolve, reject } of this.#waiters.splice(0)) {
      if (error === undefined) resolve({ done: true, value: undefined });
      else reject(error);
    }
  }

  /** The next message. The positions before it are those of messages that were handled. */
  #nextMessage(): ReceivedMessage | undefined {
    for (;;) {
      const item = this.#queue.shift();
      if (typeof item !== 'string') return item;
      this.#onHandled(item);
    }
  }

  #callListener(listener: (event: ReceivedMessage) => void, event: ReceivedMessage): void {
    try {
      listener(event);
    } catch (error) {
      rethrowLater(error);
      this.#progress?.failCurrent();
      // A later position would cover the message, which must not count as handled.
      if (this.#cursor !== undefined && this.filter.ack !== 'manual') this.unsubscribe().catch(() => {});
      return;
    }
    this.#progress?.finishCurrent();
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
