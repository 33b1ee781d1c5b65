// Keeps one connection to the broker: makes it, notices when it is lost, and makes another after a while. What is
// said on it is the client's business.

import { SluiceError } from '../errors.js';
import { Backoff } from './backoff.js';
import { type BrokerError, BrokerSession, type SessionListener } from './broker-session.js';
import type { ResolvedClientOptions } from './client-options.js';
import type { ReceivedMessage } from './received-message.js';

export interface KeeperListener {
  /** How many published lines are confirmed: the next connection goes on from there. */
  readonly confirmedLines: number;
  /** A forwarded message. */
  onMessage(event: ReceivedMessage): void;
  onRejected(error: BrokerError): void;
  /** The socket takes more again. */
  onDrain(): void;
  /** What was read at a time has been told. */
  onRead(): void;
  /** The broker has taken the client. @param isReconnect whether there was a connection before */
  onConnected(session: BrokerSession, isReconnect: boolean): void;
  /** The broker is stopping: it reads no more, but still delivers. */
  onShutdown(): void;
  onLost(error: SluiceError): void;
  /** The next attempt is made in `delay` ms. */
  onRetry(attempt: number, delay: number): void;
  /** No attempt is made any more. */
  onGivenUp(error: SluiceError): void;
}

/** Rejections that another attempt would only repeat. */
const FINAL_CODES = new Set(['UNAUTHORIZED', 'UNSUPPORTED_VERSION', 'SCHEMA_VIOLATION', 'RULE_VIOLATION']);
/** ms that a broker which is shutting down may take to close, before the client does. */
const SHUTDOWN_GRACE = 30_000;

export class Reconnector {
  readonly #options: ResolvedClientOptions;
  readonly #listener: KeeperListener;
  readonly #events: SessionListener;
  readonly #backoff: Backoff;
  #session: BrokerSession | undefined;
  /** Ends the attempt to connect that is under way. */
  #opening: AbortController | undefined;
  #connections = 0;
  /** When the present connection was made, in ms of the monotonic clock. */
  #connectedAt = 0;
  #retryTimer: NodeJS.Timeout | undefined;
  #graceTimer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: ResolvedClientOptions, listener: KeeperListener) {
    this.#options = options;
    this.#listener = listener;
    this.#backoff = new Backoff(options.reconnect ?? { initialDelay: 0, maxDelay: 0 });
    this.#events = {
      onMessage: (event) => listener.onMessage(event),
      onRejected: (error) => this.#onRejected(error),
      onDrain: () => listener.onDrain(),
      onRead: () => listener.onRead(),
      onClosed: (session, error) => this.#onClosed(session, error),
    };
  }

  /** The present connection: one that the broker has taken. */
  get session(): BrokerSession | undefined {
    return this.#session;
  }

  /** Connections made so far. */
  get connections(): number {
    return this.#connections;
  }

  /**
   * Makes a connection.
   * @throws SluiceError `CONNECTION_FAILED`, `REQUEST_TIMEOUT`, `CONNECTION_CLOSED`, `PROTOCOL_ERROR`, or the code with which the
   *   broker rejects
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

  /** Sends what waits, closes, and makes no connection any more. */
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
    // One that is lost again and again is not a good connection, even if it was made each time.
    if (performance.now() - this.#connectedAt >= (reconnect?.maxDelay ?? 0)) this.#backoff.reset();
    this.#listener.onLost(error);
    this.#retry(1, error);
  }

  /** Tries again after a while. @param last why the attempt before failed, or the connection was lost */
  #retry(attempt: number, last: SluiceError): void {
    if (this.#isClosed) return;
    const { retries = 0 } = this.#options.reconnect ?? {};
    if (attempt > retries || FINAL_CODES.has(last.code)) {
      this.#listener.onGivenUp(last);
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
