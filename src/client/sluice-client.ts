// A client of the broker, for crawlers and applications: publish, subscribe, ask for jobs, and stay connected.
// Holds what outlives a connection; connection-keeper.ts makes the connections.
//
//   idle ─connect()─▶ connecting ─▶ connected ◀─────▶ reconnecting
//                                       └──── close(), or giving up ────▶ closed

import { EventEmitter } from 'node:events';
import { SluiceError } from '../errors.js';
import type { MessageMap } from '../messages/messages.js';
import type { BrokerError, BrokerSession } from './broker-session.js';
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
import type { Subscription, SubscriptionFilter } from './subscription.js';
import { checkTimeout, within } from './timeouts.js';

/**
 * A client of the broker.
 *
 * What is published is kept in an outbox until the broker has confirmed that it has read and checked it, and sent
 * again after a reconnection if it has not: from client to broker, delivery is **at least once, in order**. So after a
 * reconnection, the broker may get messages twice. Confirmed does not mean accepted (rejections come as `rejected`
 * events), nor delivered: a broker that is killed loses what it had not delivered yet, one that is stopped with
 * SIGTERM delivers what it has read; messages that nobody has subscribed to at that time go nowhere.
 *
 * @typeParam C types of a schema module that may be published beside the protocol's own
 */
export class SluiceClient<C extends CustomPublishedMessage = never> extends EventEmitter<ClientEvents> {
  readonly #options: ResolvedClientOptions;
  readonly #outbox: ClientOutbox;
  readonly #subscriptions: ClientSubscriptions;
  readonly #jobs = new JobRequests();
  readonly #mayGetJobs: boolean;
  readonly #heartbeats: Heartbeats | undefined;
  readonly #keeper: Reconnector;
  #state: ClientState = 'idle';
  #closing: Promise<number> | undefined;

  /** @throws SluiceError `INVALID_OPTION` */
  constructor(options: ClientOptions = {}) {
    super();
    this.#options = resolveClientOptions(options);
    const { maxOutboxBytes, heartbeat, hello } = this.#options;
    // The broker sends applications' messages to crawlers only, and takes for one who has not said hello.
    this.#mayGetJobs = hello === undefined || hello.role === 'crawler';
    this.#outbox = new ClientOutbox(maxOutboxBytes, () => this.#tell('drain'));
    this.#heartbeats =
      heartbeat &&
      new Heartbeats(heartbeat, (data, done) => this.#keeper.session?.sendControl('heartbeat', data, done));
    const outbox = this.#outbox;
    const keeper = new Reconnector(this.#options, {
      get confirmedLines() {
        return outbox.confirmedLines;
      },
      onMessage: (event) => this.#onMessage(event),
      onRejected: (error) => this.#onRejected(error),
      onDrain: () => outbox.pump(),
      onRead: () => this.#updateReading(),
      onConnected: (session, isReconnect) => this.#onConnected(session, isReconnect),
      onShutdown: () => this.#onIdle(),
      onLost: (error) => this.#onLost(error),
      onRetry: (attempt, delay) => this.#tell('reconnecting', { attempt, delay }),
      onGivenUp: (error) => this.#finish(error),
    });
    this.#keeper = keeper;
    this.#subscriptions = new ClientSubscriptions(
      {
        get session() {
          return keeper.session;
        },
        onReadingChanged: () => this.#updateReading(),
      },
      !this.#mayGetJobs,
    );
  }

  get state(): ClientState {
    return this.#state;
  }

  /** What the broker said in answer to `hello`, on the present connection. */
  get welcome(): MessageMap['welcome']['data'] | undefined {
    return this.#keeper.session?.welcome;
  }

  get statistics(): ClientStatistics {
    const { confirmed, unconfirmed, resent, bytes } = this.#outbox;
    return { confirmed, unconfirmed, resent, outboxBytes: bytes, connections: this.#keeper.connections };
  }

  /**
   * Connects. Resolves when the broker has taken the client; what was published before is sent then. From then on,
   * the client reconnects by itself. When this first attempt fails, it may be called again.
   * @throws SluiceError `CONNECTION_FAILED`, `REQUEST_TIMEOUT`, `PROTOCOL_ERROR` when what answers is no broker, the code
   *   with which the broker rejects (such as `UNAUTHORIZED`, `MAX_CONNECTIONS`), `ALREADY_RUNNING` when it was called before, `CONNECTION_CLOSED` after `close`
   */
  async connect(): Promise<this> {
    if (this.#state === 'closed' || this.#state === 'closing') throw new SluiceError('CONNECTION_CLOSED');
    if (this.#state !== 'idle') throw new SluiceError('ALREADY_RUNNING');
    this.#state = 'connecting';
    try {
      await this.#keeper.open();
      // `connected` comes first.
      await new Promise<void>((resolve) => process.nextTick(resolve));
    } catch (error) {
      if (this.#state === 'connecting') this.#state = 'idle';
      throw error;
    }
    return this;
  }

  /**
   * Publishes a message: it is sent as soon as there is a connection that takes it.
   * @returns false when half of `maxOutboxBytes` is reached: then wait for `drain` before the next
   * @throws SluiceError `OUTBOX_FULL`, `CONNECTION_CLOSED` after `close`; the message was not taken
   */
  publish(message: PublishedMessage | C): boolean {
    this.#checkOpen();
    return this.#add(publishedLine(message), 1);
  }

  /**
   * Publishes a message, and waits while the outbox is more than half full, as {@link drained} does. The message is in
   * the outbox from the beginning: do not publish it again when this takes long.
   * @throws SluiceError `OUTBOX_FULL`; why the client was closed meanwhile
   */
  async publishAsync(message: PublishedMessage | C): Promise<void> {
    if (!this.publish(message)) await this.drained();
  }

  /**
   * Publishes bytes as they are: one whole message or more. A newline is added at the end if there is none. They are
   * not copied, so do not change them afterwards.
   * @returns as {@link publish}
   * @throws as {@link publish}
   */
  publishRaw(given: Buffer | string): boolean {
    this.#checkOpen();
    const { bytes, lines } = publishedLines(given);
    return lines === 0 || this.#add(bytes, lines);
  }

  /**
   * Resolves when `publish` may go on: at once, or with the next `drain`. Until then the client reads on, though a loop
   * may have more than `maxQueuedBytes` waiting.
   * @throws SluiceError why the client was closed meanwhile
   */
  drained(): Promise<void> {
    const drained = this.#outbox.drained();
    this.#updateReading();
    return drained;
  }

  /**
   * Resolves when the broker has read and checked all that was published before, on this connection or a later one;
   * the `rejected` events of those messages have come then. Until then the client reads on, as in {@link drained}.
   * @throws SluiceError why the client was closed meanwhile
   */
  flush(): Promise<void> {
    const flushed = this.#outbox.flush();
    this.#updateReading();
    return flushed;
  }

  /**
   * Subscribes. Resolves when the broker has confirmed; after a reconnection, the client subscribes again by itself.
   * @param filter which messages to get; default: all
   * @param listener called with each message, in place of a loop over the result
   * @throws SluiceError `INVALID_OPTION`, `REQUEST_TIMEOUT`, `CONNECTION_CLOSED`, or the code with which the broker rejects
   */
  async subscribe(
    filter: SubscriptionFilter = {},
    listener?: (event: ReceivedMessage) => void,
  ): Promise<Subscription> {
    this.#checkOpen();
    return this.#subscriptions.subscribe(filter, listener, this.#options.requestTimeout);
  }

  /**
   * Asks for jobs. Resolves with the next `job_assignment` or `job_response`, which is not given to `message`
   * listeners then. The request is made again after a reconnection.
   *
   * An application may assign a job unasked, or when the time is over: then it goes to the `message` listeners. Where
   * there are none, the client keeps it, 16 at most, and the next call resolves with it at once.
   * @param timeout ms to wait, or `Infinity`; default: `requestTimeout`
   * @throws SluiceError `REQUEST_TIMEOUT`, `CONNECTION_CLOSED`, `INVALID_OPTION`, or the code with which the broker rejects
   */
  async requestJobs({
    timeout = this.#options.requestTimeout,
  }: {
    timeout?: number;
  } = {}): Promise<JobMessage> {
    this.#checkOpen();
    checkTimeout('timeout', timeout);
    const kept = this.#jobs.shift();
    if (kept !== undefined) return kept;
    const answer = this.#jobs.add(timeout);
    this.#keeper.session?.sendControl('job_request', {});
    return answer;
  }

  /**
   * Ends the subscriptions, sends what is in the outbox, waits until the broker has confirmed it, and closes. Nothing can
   * be published from then on. Calling it again waits for the same end. Before the first connection is made there is
   * nobody to send to: then it closes at once, and a `connect` under way rejects.
   * @param timeout ms to wait for the confirmation, 0 for not at all, or `Infinity`; default: `requestTimeout`
   * @returns how many publications the broker has not confirmed: 0, unless the time did not suffice, or there was no
   *   connection yet
   * @throws SluiceError `INVALID_OPTION`
   */
  async close(timeout: number = this.#options.requestTimeout): Promise<number> {
    if (timeout !== 0) checkTimeout('timeout', timeout);
    this.#closing ??= this.#close(timeout);
    return this.#closing;
  }

  async #close(timeout: number): Promise<number> {
    if (this.#state !== 'closed') {
      const mayFlush = this.#state === 'connected' || this.#state === 'reconnecting';
      this.#heartbeats?.stop();
      this.#state = 'closing';
      this.#subscriptions.end();
      this.#updateReading();
      if (mayFlush) await within(timeout, this.#outbox.flush());
      this.#finish(undefined);
    }
    return this.#outbox.unconfirmed;
  }

  #add(bytes: Buffer, lines: number): boolean {
    const mayGoOn = this.#outbox.add(bytes, lines);
    // Who is told to wait waits for what is read.
    if (!mayGoOn) this.#updateReading();
    return mayGoOn;
  }

  /** Brings a new connection up to date. */
  #onConnected(session: BrokerSession, isReconnect: boolean): void {
    if (this.#state !== 'closing') this.#state = 'connected';
    this.#subscriptions.resume(session);
    for (let waiting = this.#jobs.size; waiting > 0; waiting--) session.sendControl('job_request', {});
    const resent = this.#outbox.attach(session);
    this.#updateReading();
    // An application's functions are called when all is up to date.
    process.nextTick(() => {
      if (this.#keeper.session !== session) return;
      if (this.#state === 'connected') this.#heartbeats?.start();
      this.#tell('connected', { welcome: session.welcome, isReconnect, resent });
    });
  }

  /**
   * Reads on or not. When a loop has too much waiting, the broker is to see a slow subscriber; but what somebody waits
   * for must come through, or a loop that itself waits for a confirmation would wait for ever.
   */
  #updateReading(): void {
    const { session } = this.#keeper;
    session?.setPaused(this.#subscriptions.isFull && !session.hasRequests && !this.#outbox.isAwaited);
  }

  #onRejected(error: BrokerError): void {
    // A line tells that it was published, and is not the client's own request.
    if (error.messageType === 'job_request' && error.line === undefined) this.#jobs.close(rejection(error));
    this.#tell('rejected', error);
  }

  #onMessage(event: ReceivedMessage): void {
    if (this.listenerCount('line') > 0) this.#tell('line', event.line);
    const isHeard = this.listenerCount('message') > 0;
    // Who gets no jobs need not look for them in every message.
    if (this.#mayGetJobs && this.#jobs.take(event, isHeard)) return;
    this.#subscriptions.dispatch(event);
    if (isHeard) this.#tell('message', event);
  }

  /** Writes no more for now: until the connection is lost, it only listens. */
  #onIdle(): void {
    this.#outbox.detach();
    this.#heartbeats?.stop();
  }

  #onLost(error: SluiceError): void {
    this.#onIdle();
    this.#subscriptions.onLost();
    if (this.#state === 'connected') this.#state = 'reconnecting';
    this.#tell('disconnected', { error });
  }

  /** The end, for whatever reason. */
  #finish(error: SluiceError | undefined): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#onIdle();
    this.#keeper.close();
    const reason = error ?? new SluiceError('CONNECTION_CLOSED');
    this.#outbox.close(reason);
    this.#jobs.close(reason);
    this.#subscriptions.end(error);
    this.#tell('closed', error);
  }

  /** A listener that throws must not stop what comes after it. */
  #tell<E extends keyof ClientEvents>(name: E, ...args: ClientEvents[E]): void {
    try {
      // The pair of name and event is checked by the signature; EventEmitter's own type loses it.
      (this as EventEmitter).emit(name, ...args);
    } catch (error) {
      rethrowLater(error);
    }
  }

  #checkOpen(): void {
    if (this.#state === 'closing' || this.#state === 'closed') throw new SluiceError('CONNECTION_CLOSED');
  }
}
