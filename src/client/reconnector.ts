// Maintains one connection to the broker: connects, detects a lost connection, and reconnects after a delay. The
// messages on it are the client's concern.

import { Backoff } from '../backoff.js';
import { SluiceError } from '../errors.js';
import { type BrokerError, BrokerSession, type SessionListener } from './broker-session.js';
import type { ResolvedClientOptions } from './client-options.js';
import type { ReceivedMessage } from './received-message.js';

export interface ReconnectorListener extends Pick<SessionListener, 'onPosition' | 'onGap'> {
  /** Number of confirmed published lines: the next connection continues from there. */
  readonly confirmedLines: number;
  /** A forwarded message. */
  onMessage(event: ReceivedMessage): void;
  onRejected(error: BrokerError): void;
  /** The socket accepts more data again. */
  onDrain(): void;
  /** All messages of one read have been reported. */
  onRead(): void;
  /** The broker has accepted the client. @param isReconnect whether there was a connection before */
  onConnected(session: BrokerSession, isReconnect: boolean): void;
  /** The broker is shutting down: it no longer reads, but still delivers. */
  onShutdown(): void;
  onLost(error: SluiceError): void;
  /** The next attempt starts in `delay` ms. */
  onRetry(attempt: number, delay: number): void;
  /** No further attempt is made. */
  onReconnectFailed(error: SluiceError): void;
}

/** Errors that another attempt would only repeat, for the connection that has replaced this one in the last case. */
const FINAL_CODES = new Set([
  'UNAUTHORIZED',
  'UNSUPPORTED_VERSION',
  'SCHEMA_VIOLATION',
  'RULE_VIOLATION',
  'REPLACED',
]);
/** ms that a broker has to close the connection after `SHUTTING_DOWN`; then the client closes it. */
const SHUTDOWN_GRACE = 30_000;

export class Reconnector {
  readonly #options: ResolvedClientOptions;
  readonly #listener: ReconnectorListener;
  readonly #events: SessionListener;
  readonly #backoff: Backoff;
  #session: BrokerSession | undefined;
  /** Aborts the connection attempt in progress. */
  #opening: AbortController | undefined;
  #connections = 0;
  /** Monotonic time at which the current connection was made, in ms. */
  #connectedAt = 0;
  #retryTimer: NodeJS.Timeout | undefined;
  #graceTimer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: ResolvedClientOptions, listener: ReconnectorListener) {
    this.#options = options;
    this.#listener = listener;
    // Full jitter: clients that lost the same broker do not all reconnect at the same time.
    this.#backoff = new Backoff(options.reconnect ?? { initialDelay: 0, maxDelay: 0 }, Math.random);
    this.#events = {
      onMessage: (event) => listener.onMessage(event),
      onPosition: (position) => listener.onPosition(position),
      onGap: (gap) => listener.onGap(gap),
      onRejected: (error) => this.#onRejected(error),
      onDrain: () => listener.onDrain(),
      onRead: () => listener.onRead(),
      onClosed: (session, error) => this.#onClosed(session, error),
    };
  }

  /** The current connection, once the broker has accepted the client. */
  get session(): BrokerSession | undefined {
    return this.#session;
  }

  /** Connections made so far. */
  get connections(): number {
    return this.#connections;
  }

  /**
   * Connects.
   * @throws SluiceError `CONNECTION_FAILED`, `REQUEST_TIMEOUT`, `CONNECTION_CLOSED`, `PROTOCOL_ERROR`, or the code of
   *   the broker's rejection
   */
  async open(): Promise<void> {
    const { address, hello } = this.#options;
    const { confirmedLines } = this.#listener;
    const opening = new AbortController();
    this.#opening = opening;
    let session: BrokerSession | undefined;
    try {
      const { signal } = opening;
      session = await BrokerSession.open(address, this.#events, this.#options, confirmedLines, signal);
      await session.handshake(hello);
      signal.throwIfAborted();
    } catch (error) {
      session?.destroy();
      throw opening.signal.aborted
        ? new SluiceError('CONNECTION_CLOSED', undefined, { cause: error })
        : error;
    }
    this.#opening = undefined;
    this.#session = session;
    this.#connectedAt = performance.now();
    this.#listener.onConnected(session, this.#connections++ > 0);
  }

  /** Sends pending data, closes, and stops reconnecting. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#graceTimer);
    this.#opening?.abort();
    this.#session?.end();
    this.#session = undefined;
  }

  #onRejected(error: BrokerError): void {
    if (error.code === 'SHUTTING_DOWN' && this.#session !== undefined) {
      const session = this.#session;
      clearTimeout(this.#graceTimer);
      this.#graceTimer = setTimeout(() => session.destroy(), SHUTDOWN_GRACE);
      this.#listener.onShutdown();
    }
    this.#listener.onRejected(error);
  }

  #onClosed(session: BrokerSession, error: SluiceError): void {
    if (session !== this.#session) return;
    this.#session = undefined;
    clearTimeout(this.#graceTimer);
    const { reconnect } = this.#options;
    // Resets the back-off only after a stable connection, not if every connection is lost again soon.
    if (performance.now() - this.#connectedAt >= (reconnect?.maxDelay ?? 0)) this.#backoff.reset();
    this.#listener.onLost(error);
    this.#retry(1, error);
  }

  /** Reconnects after a delay. @param lastError why the previous attempt failed, or the connection was lost */
  #retry(attempt: number, lastError: SluiceError): void {
    if (this.#isClosed) return;
    const { retries = 0 } = this.#options.reconnect ?? {};
    if (attempt > retries || FINAL_CODES.has(lastError.code)) {
      this.#listener.onReconnectFailed(lastError);
      return;
    }
    const delay = this.#backoff.next();
    this.#retryTimer = setTimeout(() => {
      this.open().catch((error: unknown) => this.#retry(attempt + 1, asSluiceError(error)));
    }, delay);
    this.#listener.onRetry(attempt, delay);
  }
}

function asSluiceError(error: unknown): SluiceError {
  return error instanceof SluiceError ? error : new SluiceError('CONNECTION_FAILED', '', { cause: error });
}
