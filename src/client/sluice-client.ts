// A client of the broker, for crawlers and applications: publishes, subscribes, requests jobs, and reconnects.
// Holds the state that outlives a connection; reconnector.ts makes the connections.
//
//   idle ─connect()─▶ connecting ─▶ connected ◀─────▶ reconnecting
//                                       └──── close(), or giving up ────▶ closed

import '../async-dispose.js';
import { SluiceError } from '../errors.js';
import { requireKnownOptions } from '../known-options.js';
import type { MessageMap } from '../messages/messages.js';
import { SafeEmitter } from '../safe-emitter.js';
import { withTimeout } from '../timeout.js';
import type { BrokerError, BrokerSession, LogGap } from './broker-session.js';
import type { ClientEvents, ClientState, ClientStatistics } from './client-events.js';
import { rethrowLater } from './client-events.js';
import { type ClientOptions, type ResolvedClientOptions, resolveClientOptions } from './client-options.js';
import { ClientOutbox } from './client-outbox.js';
import { ClientSubscriptions } from './client-subscriptions.js';
import { Heartbeats } from './heartbeats.js';
import { type JobMessage, JobRequests } from './job-requests.js';
import { rejection } from './pending-requests.js';
import {
  type CustomPublishedMessage,
  type PublishedMessage,
  publishedLine,
  publishedLines,
} from './published-message.js';
import type { ReceivedMessage } from './received-message.js';
import { Reconnector } from './reconnector.js';
import { RejectionCounter } from './rejection-counter.js';
import type { Subscription } from './subscription.js';
import type { SubscriptionFilter } from './subscription-filter.js';
import { checkTimeout } from './timeouts.js';

/**
 * A client of the broker.
 *
 * Published messages are kept in an outbox until the broker confirms that it has read and checked them, or, if it has a
 * durable log, that they are on its disk. Unconfirmed messages are resent after a reconnect: from client to broker, delivery
 * is **at least once, in order**, and a broker without a durable log may get messages twice. Confirmed does not mean accepted (rejections are `rejected` events) or delivered: a
 * broker that is killed loses messages that it had not delivered yet; a broker that is stopped with SIGTERM delivers
 * what it has read. Messages that have no subscriber at that time are discarded.
 *
 * If a newer connection sends the same `crawlerId`, the client is closed with `REPLACED` and does not reconnect.
 *
 * @typeParam C message types of a schema module that may be published in addition to the protocol's own
 */
export class SluiceClient<C extends CustomPublishedMessage = never> extends SafeEmitter<ClientEvents> {
  readonly #options: ResolvedClientOptions;
  readonly #outbox: ClientOutbox;
  readonly #subscriptions: ClientSubscriptions;
  readonly #jobs = new JobRequests();
  readonly #rejections = new RejectionCounter();
  readonly #canReceiveJobs: boolean;
  readonly #heartbeats: Heartbeats | undefined;
  readonly #reconnector: Reconnector;
  #state: ClientState = 'idle';
  #closing: Promise<number> | undefined;

  /** @throws SluiceError `INVALID_OPTION` */
  constructor(options: ClientOptions = {}) {
    super();
    this.#options = resolveClientOptions(options);
    const { maxOutboxBytes, heartbeat, hello } = this.#options;
    // Only crawlers receive applications' messages. The broker treats a peer that sends no `hello` as a crawler.
    this.#canReceiveJobs = hello === undefined || hello.role === 'crawler';
    this.#outbox = new ClientOutbox(maxOutboxBytes, () => this.emitSafely('drain'));
    this.#heartbeats =
      heartbeat &&
      new Heartbeats(heartbeat, (data, done) => {
        const { session } = this.#reconnector;
        if (session === undefined) return;
        this.#outbox.addOwnMessage();
        session.sendControl('heartbeat', data, done);
      });
    const outbox = this.#outbox;
    const reconnector = new Reconnector(this.#options, {
      get confirmedLines() {
        return outbox.confirmedLines;
      },
      onMessage: (event) => this.#onMessage(event),
      onPosition: (position) => this.#subscriptions.onPosition(position),
      onGap: (gap) => this.#onGap(gap),
      onRejected: (error) => this.#onRejected(error),
      onDrain: () => outbox.pump(),
      onRead: () => {
        this.#rejections.warn();
        this.#updateReading();
      },
      onConnected: (session, isReconnect) => this.#onConnected(session, isReconnect),
      onShutdown: () => this.#stopWriting(),
      onLost: (error) => this.#onLost(error),
      onRetry: (attempt, delay) => this.emitSafely('reconnecting', { attempt, delay }),
      onReconnectFailed: (error) => this.#finish(error),
    });
    this.#reconnector = reconnector;
    this.#subscriptions = new ClientSubscriptions(
      {
        get session() {
          return reconnector.session;
        },
        onUnknownTypes: (types) => this.#onUnknownTypes(types),
        onNotConfirmed: (error, isRetried) => this.#onNotConfirmed(error, isRetried),
        onReadingChanged: () => this.#updateReading(),
      },
      !this.#canReceiveJobs,
    );
  }

  get state(): ClientState {
    return this.#state;
  }

  /** The broker's reply to `hello` on the current connection. */
  get welcome(): MessageMap['welcome']['data'] | undefined {
    return this.#reconnector.session?.welcome;
  }

  /**
   * Whether the broker confirms messages only once they are on its disk: it has a durable log. Known on a connection on
   * which `hello` was sent, else false.
   */
  get isDurable(): boolean {
    return this.welcome?.durable !== undefined;
  }

  /** @internal Number of messages rejected on this connection, as of the latest confirmation: not each causes an event. */
  get rejectedByBroker(): number {
    return this.#reconnector.session?.rejected ?? 0;
  }

  get statistics(): ClientStatistics {
    const { confirmed, unconfirmed, resent, bytes } = this.#outbox;
    return {
      confirmed,
      unconfirmed,
      rejected: this.#rejections.total,
      resent,
      outboxBytes: bytes,
      connections: this.#reconnector.connections,
    };
  }

  /**
   * Connects. Resolves when the broker has accepted the client; messages published earlier are sent then. From then on,
   * the client reconnects automatically. If this first attempt fails, `connect` may be called again.
   * @throws SluiceError `CONNECTION_FAILED`, `REQUEST_TIMEOUT`, `PROTOCOL_ERROR` if the server is not a broker, the
   *   broker's error code if it rejects the client (such as `UNAUTHORIZED`, `MAX_CONNECTIONS`), `ALREADY_RUNNING` if
   *   called before, `CONNECTION_CLOSED` after `close`, `INVALID_OPTION` if the files of `tls` cannot be used
   */
  async connect(): Promise<this> {
    if (this.#state === 'closed' || this.#state === 'closing') throw new SluiceError('CONNECTION_CLOSED');
    if (this.#state !== 'idle') throw new SluiceError('ALREADY_RUNNING');
    this.#state = 'connecting';
    try {
      await this.#reconnector.open();
      // Emits `connected` first.
      await new Promise<void>((resolve) => process.nextTick(resolve));
    } catch (error) {
      if (this.#state === 'connecting') this.#state = 'idle';
      throw error;
    }
    return this;
  }

  /**
   * Publishes a message. It is sent as soon as a connection is available.
   * @returns false if more than half of `maxOutboxBytes` is in use: wait for `drain` before publishing more
   * @throws SluiceError `OUTBOX_FULL`, `CONNECTION_CLOSED` after `close`; the message was not published
   */
  publish(message: PublishedMessage | C): boolean {
    this.#checkOpen();
    return this.#add(publishedLine(message), 1);
  }

  /**
   * Publishes a message and waits for room in the outbox, as {@link drained} does. The message is in the outbox
   * immediately: do not publish it again if this takes long.
   * @throws SluiceError `OUTBOX_FULL`, or the reason if the client is closed meanwhile
   */
  async publishAsync(message: PublishedMessage | C): Promise<void> {
    if (!this.publish(message)) await this.drained();
  }

  /**
   * Publishes raw bytes: one or more whole messages. A missing newline at the end is added. The bytes are not copied,
   * so do not modify them afterwards.
   * @returns as {@link publish}
   * @throws as {@link publish}
   */
  publishRaw(data: Buffer | string): boolean {
    this.#checkOpen();
    const { bytes, lines } = publishedLines(data);
    return lines === 0 || this.#add(bytes, lines);
  }

  /**
   * Resolves when publishing may continue: immediately, or with the next `drain`. Until then the client keeps reading,
   * even if a subscription has more than `maxQueuedBytes` queued.
   * @throws SluiceError the reason if the client is closed meanwhile
   */
  drained(): Promise<void> {
    const drained = this.#outbox.drained();
    this.#updateReading();
    return drained;
  }

  /**
   * Resolves when the broker has read and checked everything published so far, on this connection or a later one. By
   * then, the `rejected` events of those messages have been emitted. Until then the client keeps reading, as in
   * {@link drained}.
   * @throws SluiceError the reason if the client is closed meanwhile
   */
  flush(): Promise<void> {
    this.#subscriptions.sendProgress();
    const flushed = this.#outbox.flush();
    this.#updateReading();
    return flushed;
  }

  /**
   * Subscribes. Resolves when the broker has confirmed. After a reconnect, the client resubscribes automatically. Types
   * that the broker does not know are reported by `unknown_types` and in `unknownTypes` of the result.
   * @param filter which messages to receive. Default: all.
   * @param listener called with each message, instead of a loop over the result
   * @throws SluiceError `INVALID_OPTION`, `REQUEST_TIMEOUT`, `CONNECTION_CLOSED`, or the code of the broker's rejection
   */
  async subscribe(
    filter: SubscriptionFilter = {},
    listener?: (event: ReceivedMessage) => void,
  ): Promise<Subscription> {
    this.#checkOpen();
    return this.#subscriptions.subscribe(filter, listener, this.#options.requestTimeout);
  }

  /**
   * Requests jobs. Resolves with the next `job_assignment` or `job_response`, which is then not emitted as `message`.
   * The request is repeated after a reconnect. The broker receives the timeout, and no longer counts the crawler as
   * waiting once it has expired.
   *
   * A job that arrives while no call is pending (unrequested, or after the timeout) is emitted as `message`. If there
   * are no `message` listeners, the client keeps it (at most 16), and the next call resolves with it immediately.
   * @param options.timeout ms to wait, or `Infinity`. Default: `requestTimeout`.
   * @throws SluiceError `REQUEST_TIMEOUT`, `CONNECTION_CLOSED`, `INVALID_OPTION`, or the code of the broker's rejection
   */
  async requestJobs(options: { timeout?: number } = {}): Promise<JobMessage> {
    this.#checkOpen();
    requireKnownOptions(options, { timeout: true });
    const { timeout = this.#options.requestTimeout } = options;
    checkTimeout('timeout', timeout);
    const kept = this.#jobs.shift();
    if (kept !== undefined) return kept;
    const answer = this.#jobs.add(timeout);
    if (this.#reconnector.session !== undefined) {
      this.#outbox.addOwnMessage();
      sendJobRequest(this.#reconnector.session, timeout);
    }
    return answer;
  }

  /**
   * Ends the subscriptions, leaves work groups, sends the contents of the outbox, waits until the broker has confirmed that,
   * and closes. Nothing can be published afterwards. Further calls wait for the same result. Before the first connection is
   * made, it closes immediately, and a pending `connect` rejects.
   * @param timeout ms to wait for the confirmation, 0 to not wait, or `Infinity`. Default: `requestTimeout`.
   * @returns the number of publications that the broker has not confirmed: 0, unless the timeout expired or there was
   *   no connection yet
   * @throws SluiceError `INVALID_OPTION`
   */
  async close(timeout: number = this.#options.requestTimeout): Promise<number> {
    if (timeout !== 0) checkTimeout('timeout', timeout);
    this.#closing ??= this.#close(timeout);
    return this.#closing;
  }

  /** Closes at the end of the block, for `await using`: waits for confirmations for at most `requestTimeout`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(timeout: number): Promise<number> {
    if (this.#state !== 'closed') {
      const canFlush = this.#state === 'connected' || this.#state === 'reconnecting';
      this.#heartbeats?.stop();
      this.#state = 'closing';
      const left = this.#subscriptions.leave();
      this.#updateReading();
      if (canFlush) {
        const flushed = this.#outbox.flush().catch(() => {});
        await withTimeout(
          Promise.all([flushed, left]).then(() => {}),
          timeout,
          () => {},
        );
      }
      this.#finish(undefined);
    }
    return this.#outbox.unconfirmed;
  }

  #add(bytes: Buffer, lines: number): boolean {
    const hasRoom = this.#outbox.add(bytes, lines);
    // The caller will wait for `drain`, which depends on reading the broker's confirmations.
    if (!hasRoom) this.#updateReading();
    return hasRoom;
  }

  /** Restores subscriptions, job requests and unconfirmed messages on a new connection. */
  #onConnected(session: BrokerSession, isReconnect: boolean): void {
    if (this.#state !== 'closing') this.#state = 'connected';
    this.#subscriptions.resume(session);
    const requests = [...this.#jobs.timeouts];
    for (const timeout of requests) sendJobRequest(session, timeout);
    const resent = this.#outbox.attach(session, session.welcome?.session?.line, requests.length);
    this.#updateReading();
    // Listeners run once everything is restored.
    process.nextTick(() => {
      if (this.#reconnector.session !== session) return;
      if (this.#state === 'connected') this.#heartbeats?.start();
      this.emitSafely('connected', { welcome: session.welcome, isReconnect, resent });
    });
  }

  /**
   * Pauses or resumes reading. It pauses while a subscription's queue is full, so that the broker sees a slow
   * subscriber. It continues while a reply of the broker is awaited: a loop that awaits a confirmation would deadlock
   * otherwise.
   */
  #updateReading(): void {
    const { session } = this.#reconnector;
    session?.setPaused(this.#subscriptions.isFull && !session.hasRequests && !this.#outbox.isAwaited);
  }

  #onRejected(error: BrokerError): void {
    // An error with a line number is about a published message, not about the client's own request.
    if (error.messageType === 'job_request' && error.line === undefined) this.#jobs.close(rejection(error));
    if (error.messageType === 'ack' && error.line === undefined) this.#subscriptions.onAckRejected();
    this.#rejections.record(error, this.listenerCount('rejected') > 0);
    this.emitSafely('rejected', error);
  }

  #onUnknownTypes(types: readonly string[]): void {
    if (this.listenerCount('unknown_types') > 0) return this.emitSafely('unknown_types', { types });
    process.emitWarning(`The broker knows no crawler message of type ${types.join(', ')}`, {
      code: 'SLUICE_UNKNOWN_TYPE',
    });
  }

  #onNotConfirmed({ message }: SluiceError, isRetried: boolean): void {
    // The `rejected` event has the broker's error.
    if (this.listenerCount('rejected') > 0) return;
    const outcome = isRetried ? 'is retried' : 'has ended';
    process.emitWarning(`After a reconnect, a subscription ${outcome}: ${message}`, {
      type: 'SluiceWarning',
      code: 'SLUICE_SUBSCRIPTION_REJECTED',
    });
  }

  #onGap(gap: LogGap): void {
    this.#subscriptions.onGap(gap);
    if (this.listenerCount('gap') > 0) return this.emitSafely('gap', gap);
    process.emitWarning(`Messages ${gap.from} to ${gap.to} are missing: ${gap.reason}`, {
      code: 'SLUICE_GAP',
    });
  }

  #onMessage(event: ReceivedMessage): void {
    if (this.listenerCount('line') > 0) this.emitSafely('line', event.line);
    const hasListeners = this.listenerCount('message') > 0;
    // An application receives no jobs: its messages need not be parsed to find one.
    if (this.#canReceiveJobs && this.#jobs.accept(event, hasListeners)) return;
    this.#subscriptions.dispatch(event);
    if (hasListeners) this.emitSafely('message', event);
  }

  /** Stops writing. The connection is only read until it is lost. */
  #stopWriting(): void {
    this.#outbox.detach();
    this.#heartbeats?.stop();
  }

  #onLost(error: SluiceError): void {
    this.#stopWriting();
    this.#subscriptions.onLost();
    if (this.#state === 'connected') this.#state = 'reconnecting';
    this.emitSafely('disconnected', { error });
  }

  /** Closes for good. @param error the reason, unless `close` was called */
  #finish(error: SluiceError | undefined): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#stopWriting();
    this.#reconnector.close();
    const reason = error ?? new SluiceError('CONNECTION_CLOSED');
    this.#outbox.close(reason);
    this.#jobs.close(reason);
    this.#subscriptions.end(error);
    this.emitSafely('closed', error);
  }

  /** @internal */
  protected override onListenerError(error: unknown): void {
    rethrowLater(error);
  }

  #checkOpen(): void {
    if (this.#state === 'closing' || this.#state === 'closed') throw new SluiceError('CONNECTION_CLOSED');
  }
}

/** Requests a job. Without `timeout_ms`, the broker assumes that the client waits until it disconnects. */
function sendJobRequest(session: BrokerSession, timeout: number): void {
  session.sendControl(
    'job_request',
    timeout === Number.POSITIVE_INFINITY ? {} : { timeout_ms: Math.ceil(timeout) },
  );
}
