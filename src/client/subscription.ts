// The messages of one subscription, in order of arrival: for a loop that reads them one by one, or for a listener. If
// the loop is slower than the broker, the client stops reading its socket, so that the broker sees a slow subscriber.

import { SluiceError } from '../errors.js';
import { Fifo } from '../fifo.js';
import { DEFAULT_ACK_WAIT, MAX_ACK_RANGES, MAX_ACK_TIME, type OverflowPolicy } from '../messages/messages.js';
import { Watermark } from '../watermark.js';
import { rethrowLater } from './client-events.js';
import type { ReceivedMessage } from './received-message.js';
import { Repeats } from './repeats.js';
import { type Progress, Unacknowledged } from './unacknowledged.js';

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
   * this client has received and not handled when it closes are not passed on, unless it has `ack`.
   *
   * With `ack`, it is a work group: the messages come from the broker's durable log, and each comes again, to this or
   * another member, until one has acknowledged it. The group begins at `from`, and then where it was. All members have the
   * same filter.
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
  /**
   * Where to begin in the broker's durable log: at `new` messages, at the `first` one that it has, after a
   * {@link Subscription.position}, or at a time (ISO 8601, or a `Date`). Needs a broker with a durable log, and a client
   * without other subscriptions. After a reconnect, the subscription continues where it was: messages that were received
   * after the latest position are repeated, unless it has `meta` and its `ack` is not `manual`: then they are recognised,
   * and left out (not in a work group, where messages come again on purpose). Default: `new`, without the log.
   */
  readonly from?: 'new' | 'first' | { readonly offset: string } | { readonly time: string | Date };
  /**
   * Name under which the broker remembers the position, so that the next subscription with this name begins there, and not
   * at `from`. One connection at a time: the newer one takes over, and the older one is closed with `REPLACED`.
   */
  readonly cursor?: string;
  /**
   * When the cursor moves. `auto`: as soon as the loop has asked for the next message, or the listener has returned; a
   * listener that throws ends the subscription, as a loop does. `manual`: when {@link Subscription.ack} is called. Default:
   * `auto`. In a work group: when a message counts as done; one whose listener throws is given back.
   */
  readonly ack?: 'auto' | 'manual';
  /**
   * In a work group: time without an acknowledgement after which the messages of this client go to others, in ms. It runs
   * while the client has messages and all of them have reached it. The client gives a message back that is not acknowledged
   * for this long although later ones are. Default: 30,000.
   */
  readonly ackWait?: number;
  /**
   * In a work group: failures after which a message goes to the broker's dead letters: it was given back, or the client
   * disconnected or took too long while it was its oldest one. Default: 5.
   */
  readonly maxDeliveries?: number;
  /** In a work group: messages that this client may have without acknowledging them. Default: 1000. */
  readonly maxUnacked?: number;
  /**
   * Whose messages: those of the crawlers of the broker's `host`, or of all hosts of the `fleet` that it is part of. With
   * `fleet`, `from`, `cursor` and `position` refer to the stream of the fleet, which has what the brokers' durable logs
   * have; not with `group` and `overflow: 'log'`. Default: `host`.
   */
  readonly scope?: 'host' | 'fleet';
  /** Bytes of messages that may be queued for the loop before the client stops reading its socket. Default: 1 MiB. */
  readonly maxQueuedBytes?: number;
}

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
  /** Messages, and the positions between them. */
  readonly #queue = new Fifo<ReceivedMessage | string>();
  /** If messages can be recognised, and are not repeated on purpose. */
  readonly #repeats: Repeats | undefined;
  /** In a work group. */
  readonly #unacknowledged: Unacknowledged | undefined;
  /** The message that the loop or the listener is working on, with `ack: 'auto'`. */
  #current: ReceivedMessage | undefined;
  /** Of the broker's log. */
  #epoch = '';
  /** Whether what is done in a work group is sent at the end of this turn of the event loop. */
  #isScheduled = false;
  /** Gives back what was skipped for too long. */
  #skipTimer: NodeJS.Timeout | undefined;
  /** When the application has last shown that it is working, in ms. */
  #workingAt = 0;
  #position: string | undefined;
  /** Where the cursor is to be. */
  #wanted: string | undefined;
  /** The latest position of the cursor that was sent on this connection. */
  #acknowledged: string | undefined;
  /** The latest position that the broker has sent on this connection. */
  #reached: string | undefined;
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
    this.#repeats =
      isStored(filter) && filter.meta === true && filter.ack !== 'manual' && !isWorkGroup(filter)
        ? new Repeats()
        : undefined;
    this.#unacknowledged = isWorkGroup(filter) ? new Unacknowledged() : undefined;
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
    const unacknowledged = this.#unacknowledged;
    const isMessage = typeof done === 'object';
    if (this.filter.ack !== 'manual' || (unacknowledged === undefined && this.filter.cursor === undefined))
      throw new SluiceError(
        'INVALID_OPTION',
        "ack: needs a subscription with cursor or group, and ack: 'manual'",
      );
    if (unacknowledged === undefined) {
      if (isMessage) throw new SluiceError('INVALID_OPTION', 'ack: needs a position, unless it is a group');
      const position = done ?? this.#position;
      if (position !== undefined) this.#acknowledge(position);
    } else if (isMessage) this.#settle(done);
    else if (done !== undefined) this.#owner.acknowledge(this, done);
    else {
      unacknowledged.settleAll();
      this.#acknowledgeSoon();
    }
  }

  /**
   * Gives a message of a work group back: it comes again, to this or another member, or goes to the dead letters after
   * `maxDeliveries` failures.
   * @param options `delay`: time until then, in ms, at most a day. Default: 1000, doubled with each failure, at most 60,000.
   * @throws SluiceError `INVALID_OPTION` for another delay, and unless the subscription has a group and `ack: 'manual'`
   */
  nack(event: ReceivedMessage, { delay }: { readonly delay?: number | undefined } = {}): void {
    if (this.#unacknowledged === undefined || this.filter.ack !== 'manual')
      throw new SluiceError('INVALID_OPTION', "nack: needs a subscription with group and ack: 'manual'");
    if (delay !== undefined && !(delay >= 0 && delay <= MAX_ACK_TIME))
      throw new SluiceError('INVALID_OPTION', `nack: delay must be 0 to ${MAX_ACK_TIME}`);
    const { offset } = event;
    if (offset !== undefined) this.#giveBack(offset, delay === undefined ? undefined : Math.ceil(delay));
  }

  /** Shows the broker that a message takes long, so that it does not go to another member after `ackWait`. */
  working(): void {
    if (this.#unacknowledged === undefined) return;
    this.#workingAt = performance.now();
    this.#owner.acknowledge(this, this.#positionOf(0));
  }

  /**
   * Records where the broker has begun.
   * @internal
   */
  onStart(position: string): void {
    this.#epoch = position.slice(0, position.indexOf(':'));
    this.#position ??= position;
    this.#reached = position;
    if (this.#wanted !== undefined && !isBeyond(this.#wanted, position)) this.#wanted = undefined;
  }

  /**
   * Records the position after the messages that were received.
   * @internal
   */
  onPosition(position: string): void {
    if (this.#isEnded) return;
    this.#reached = position;
    if (this.#queue.length === 0 && (this.#listener !== undefined || this.#waiters.length > 0))
      this.#onHandled(position);
    else this.#queue.push(position);
    this.#moveCursor();
  }

  /**
   * The broker has rejected an acknowledgement. It is sent when the application repeats it.
   * @internal
   */
  onAckRejected(): void {
    this.#wanted = undefined;
    this.#acknowledged = undefined;
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
    this.#unacknowledged?.clear();
    // The broker may not have got the latest one.
    this.#acknowledged = undefined;
    this.#reached = undefined;
    // With a cursor or a group, the broker begins with the first message that was not acknowledged.
    const isRemembered = this.filter.cursor !== undefined || this.#unacknowledged !== undefined;
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

  #onHandled(position: string): void {
    this.#position = position;
    this.#unacknowledged?.endDelivery();
    const { cursor, ack } = this.filter;
    if (cursor !== undefined && ack !== 'manual') this.#acknowledge(position);
  }

  /** A message of a group is done. */
  #settle({ offset }: ReceivedMessage): void {
    if (offset === undefined) return;
    this.#unacknowledged?.settle(offset);
    this.#acknowledgeSoon();
  }

  /** A message of a group has failed. */
  #giveBack(offset: number, delay: number | undefined): void {
    this.#owner.giveBack(this, this.#positionOf(offset), delay);
    this.#unacknowledged?.giveBack(offset);
    this.#acknowledgeSoon();
  }

  #positionOf(offset: number): string {
    return `${this.#epoch}:${offset}`;
  }

  /** Many messages may be done in one turn of the event loop: the broker is sent them together. */
  #acknowledgeSoon(): void {
    if (!this.#isScheduled) setImmediate(() => this.#sendAcknowledgement());
    this.#isScheduled = true;
  }

  #sendAcknowledgement(): void {
    this.#isScheduled = false;
    if (this.#unacknowledged === undefined) return;
    const { position, done } = this.#unacknowledged.take();
    for (
      let [from, before] = [0, position];
      before !== undefined || from < done.length;
      from += MAX_ACK_RANGES, before = undefined
    ) {
      // The position 0 covers no message.
      const ranges = done.slice(from, from + MAX_ACK_RANGES);
      this.#owner.acknowledge(this, this.#positionOf(before ?? 0), ranges);
    }
    if (done.length > 0) this.#watchSkipped(this.#unacknowledged);
  }

  /** The broker cannot know that a message was forgotten, as long as others are acknowledged, or none is left. */
  #watchSkipped(unacknowledged: Unacknowledged): void {
    const { ackWait = DEFAULT_ACK_WAIT } = this.filter;
    this.#skipTimer ??= setTimeout(() => {
      this.#skipTimer = undefined;
      const before = performance.now() - ackWait;
      const late = this.#workingAt > before ? [] : unacknowledged.skipped(before);
      for (const offset of late) this.#giveBack(offset, undefined);
      if (unacknowledged.skipped().length > 0) this.#watchSkipped(unacknowledged);
    }, ackWait).unref();
  }

  #acknowledge(position: string): void {
    this.#wanted = position;
    this.#moveCursor();
  }

  /** Sends the wanted position, once the broker has sent what is before it on this connection. */
  #moveCursor(): void {
    const [wanted, reached] = [this.#wanted, this.#reached];
    if (wanted === undefined || wanted === this.#acknowledged) return;
    if (reached === undefined || isBeyond(wanted, reached)) return;
    if (this.#owner.acknowledge(this, wanted)) this.#acknowledged = wanted;
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
    this.#finishCurrent();
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
    if (event.offset !== undefined) this.#unacknowledged?.add(event.offset, performance.now());
    if (this.#unacknowledged !== undefined && this.filter.ack !== 'manual') this.#current = event;
  }

  /** The loop or the listener is done with its message. */
  #finishCurrent(): void {
    const event = this.#current;
    this.#current = undefined;
    if (event !== undefined) this.#settle(event);
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
    this.#sendAcknowledgement();
    clearTimeout(this.#skipTimer);
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
      return this.#failCurrent();
    }
    this.#finishCurrent();
  }

  /** The listener has thrown: its message must not count as handled. */
  #failCurrent(): void {
    const offset = this.#current?.offset;
    this.#current = undefined;
    if (offset !== undefined) this.#giveBack(offset, undefined);
    // A later position would cover it.
    else if (this.filter.cursor !== undefined && this.filter.ack !== 'manual')
      this.unsubscribe().catch(() => {});
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
export function wireFilter(subscription: Subscription): Record<string, unknown> {
  const { id, filter } = subscription;
  const { maxQueuedBytes: _, ...wire } = filter;
  const isGroup = isWorkGroup(filter);
  return {
    id,
    ...wire,
    // In a work group, it needs the offsets.
    ...(filter.crawlerIds === undefined && !isGroup ? {} : { meta: true }),
    // The client itself says what was handled.
    ...(filter.cursor === undefined && !isGroup ? {} : { ack: 'manual' }),
    ...(subscription.received === undefined || isGroup ? {} : { from: { offset: subscription.received } }),
  };
}

/** Whether a position is after another one of the same log, or of the same fleet. */
function isBeyond(position: string, other: string): boolean {
  const [[log, offset], [otherLog, otherOffset]] = [position.split(':'), other.split(':')];
  return log === otherLog && Number(offset) > Number(otherOffset);
}

/** Whether the messages come from the broker's durable log. */
export function isStored(filter: SubscriptionFilter): boolean {
  const { from, cursor, overflow } = filter;
  return from !== undefined || cursor !== undefined || overflow === 'log' || isWorkGroup(filter);
}

/** Whether it shares the messages of the durable log with others, each until it is acknowledged. */
export function isWorkGroup({ group, ack }: SubscriptionFilter): boolean {
  return group !== undefined && ack !== undefined;
}
