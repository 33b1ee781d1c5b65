// One connection to a broker, from connect to close: writes lines, matches answers to requests, and separates forwarded
// messages from the broker's own. The client handles everything before and after it.

import { SluiceError } from '../errors.js';
import type { MessageInputMap, MessageMap } from '../messages/messages.js';
import { META_LENGTH, protocolError, readOwnMessage } from './broker-lines.js';
import type { OutboxSink } from './client-outbox.js';
import { type BrokerAddress, ClientSocket } from './client-socket.js';
import { KeepAlive, type KeepAliveOptions } from './keep-alive.js';
import { LineNumberMap } from './line-number-map.js';
import { LineReader } from './line-reader.js';
import { type Answer, PendingRequests, type Settle } from './pending-requests.js';
import { ReceivedMessage } from './received-message.js';

/** The broker's `error` message. */
export type BrokerError = MessageMap['error']['data'];

/** Missing messages of the durable log. */
export type LogGap = MessageMap['gap']['data'];

export interface SessionListener {
  /** A forwarded message. */
  onMessage(event: ReceivedMessage): void;
  /** All messages before a position in the durable log were sent. */
  onPosition(position: MessageMap['position']['data']): void;
  /** Messages of the durable log are missing. */
  onGap(gap: LogGap): void;
  /** `error.line` counts published lines. */
  onRejected(error: BrokerError): void;
  /** The socket accepts more data again. */
  onDrain(): void;
  /** All messages of one read have been reported. */
  onRead(): void;
  /** @param error the reason, as far as it is known */
  onClosed(session: BrokerSession, error: SluiceError): void;
}

/** The client's options that one connection uses. */
export interface SessionOptions extends KeepAliveOptions {
  /** Timeout of connecting, and of each request, in ms. */
  readonly requestTimeout: number;
}

const MiB = 1024 * 1024;
/** Longest message that every client accepts, in bytes: code in the broker's process may exceed `maxMessageSize`. */
const DEFAULT_MAX_MESSAGE = 64 * MiB;
/** Upper bound for raising that limit by a `welcome`: the largest `maxMessageSize` of a broker. */
const LARGEST_MAX_MESSAGE = 256 * MiB;
/** ms between unsolicited pongs while reading is paused. */
const PAUSED_PONG_INTERVAL = 5000;
/** Errors after which the broker closes the connection, unless it sends anything else after them. */
const CLOSING_CODES = [
  'UNAUTHORIZED',
  'UNSUPPORTED_VERSION',
  'MAX_CONNECTIONS',
  'SHUTTING_DOWN',
  'SLOW_CONSUMER',
  'REPLACED',
  'LOG_UNAVAILABLE',
] as const;

export class BrokerSession implements OutboxSink {
  #socket!: ClientSocket;
  readonly #listener: SessionListener;
  readonly #requests: PendingRequests;
  readonly #lineNumbers: LineNumberMap;
  readonly #reader: LineReader;
  readonly #keepAlive: KeepAlive;
  /** Number of messages that the broker had rejected on this connection at its latest pong. */
  rejected = 0;
  /** Unanswered pings with their line numbers. */
  #pings: { line: number; onPong: (line?: number) => void }[] = [];
  #welcome: MessageMap['welcome']['data'] | undefined;
  /** Code of the broker's latest message, if that error may be its reason to close. */
  #closingCode: (typeof CLOSING_CODES)[number] | undefined;
  #cause: Error | undefined;
  /** The reason, if the client itself closes the connection. */
  #fault: SluiceError | undefined;
  #isPaused = false;
  #pongTimer: NodeJS.Timeout | undefined;

  private constructor(listener: SessionListener, options: SessionOptions, linesBefore: number) {
    this.#listener = listener;
    this.#requests = new PendingRequests(options.requestTimeout);
    this.#lineNumbers = new LineNumberMap(linesBefore);
    this.#reader = new LineReader(DEFAULT_MAX_MESSAGE + META_LENGTH, (line) => this.#onLine(line));
    const onSilent = () =>
      this.#fail(
        new SluiceError('CONNECTION_CLOSED', `no answer within ${options.pingTimeout} ms of a ping`),
      );
    this.#keepAlive = new KeepAlive(options, () => this.#pingOnce(), onSilent);
  }

  /**
   * Connects.
   * @param linesBefore number of lines published and confirmed on earlier connections
   * @param signal destroys the connection, established or not
   * @throws SluiceError `CONNECTION_FAILED`
   */
  static async open(
    address: BrokerAddress,
    listener: SessionListener,
    options: SessionOptions,
    linesBefore: number,
    signal: AbortSignal,
  ): Promise<BrokerSession> {
    const session = new BrokerSession(listener, options, linesBefore);
    const events = {
      onBytes: (bytes: Buffer) => session.#onBytes(bytes),
      onDrain: () => listener.onDrain(),
      onClosed: (cause: Error | undefined) => session.#onClosed(cause),
    };
    session.#socket = await ClientSocket.open(address, events, options.requestTimeout, signal);
    return session;
  }

  /** The broker's reply to `hello`. */
  get welcome(): MessageMap['welcome']['data'] | undefined {
    return this.#welcome;
  }

  /** Whether the socket is open, as far as it is known. */
  get isOpen(): boolean {
    return this.#socket.isOpen;
  }

  get isBusy(): boolean {
    return this.#socket.isBusy;
  }

  /** Whether any request is unanswered. */
  get hasRequests(): boolean {
    return this.#requests.size > 0;
  }

  write(bytes: Buffer, lines: number): void {
    this.#lineNumbers.addPublished(lines);
    this.#socket.write(bytes);
  }

  skipPublished(lines: number): void {
    this.#lineNumbers.skipPublished(lines);
  }

  ping(onPong: (line?: number) => void): void {
    this.#pings.push({ line: this.sendControl('ping', {}), onPong });
  }

  /**
   * Sends a message of the client's own.
   * @param onWritten called when it is written, or never will be
   * @returns its line number
   */
  sendControl(type: string, data: object, onWritten?: () => void): number {
    this.#socket.write(`${JSON.stringify({ type, timestamp: new Date().toISOString(), data })}\n`, onWritten);
    return this.#lineNumbers.addOwn();
  }

  /**
   * Sends a request. `settle` is called once, before any message after the answer is reported.
   * @param id the ID that the answer repeats
   */
  request(type: string, data: object, answer: Answer, settle: Settle, id?: string): void {
    if (!this.isOpen) return settle(this.#closedError());
    this.#requests.add(type, answer, id, settle);
    this.sendControl(type, data);
  }

  /**
   * Verifies that a broker answers and accepts this client: sends `hello`, or a ping if there is no `hello`.
   * @throws SluiceError the code of the broker's rejection, `CONNECTION_CLOSED`, `REQUEST_TIMEOUT`
   */
  handshake(hello: MessageInputMap['hello']['data'] | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (error?: SluiceError) => {
        if (error !== undefined) return reject(error);
        this.#keepAlive.start();
        resolve();
      };
      if (hello !== undefined) return this.request('hello', hello, 'welcome', settle);
      if (!this.isOpen) return settle(this.#closedError());
      this.#requests.add('ping', 'pong', undefined, settle);
      this.ping(() => this.#requests.answer('pong', undefined));
    });
  }

  /** Pauses reading, so that the broker sees a slow peer, or resumes it. */
  setPaused(isPaused: boolean): void {
    if (isPaused === this.#isPaused) return;
    this.#isPaused = isPaused;
    this.#socket.setPaused(isPaused);
    if (isPaused) {
      this.#keepAlive.stop();
      // While reading is paused, only a failed write reveals that the connection has ended.
      this.#pongTimer = setInterval(() => this.#pong(), PAUSED_PONG_INTERVAL);
      return;
    }
    clearInterval(this.#pongTimer);
    if (this.#closingCode !== 'SHUTTING_DOWN') this.#keepAlive.start();
  }

  /** Sends pending data, if the broker reads it soon, and closes. */
  end(): void {
    this.#socket.end();
  }

  /** Closes immediately. */
  destroy(): void {
    this.#socket.destroy();
  }

  #onBytes(bytes: Buffer): void {
    this.#keepAlive.onReceived();
    const isWithinLimit = this.#reader.push(bytes);
    if (!isWithinLimit) this.#fail(protocolError(`a line is longer than ${this.#reader.maxLength} bytes`));
    this.#listener.onRead();
  }

  #onLine(line: Buffer): void {
    if (this.#fault !== undefined) return;
    const message = readOwnMessage(line);
    if (message instanceof SluiceError) return this.#fail(message);
    // Further traffic means that the error was not fatal. Only SHUTTING_DOWN may be followed by replies.
    if (this.#closingCode !== 'SHUTTING_DOWN') this.#closingCode = undefined;
    if (message === undefined) {
      this.#listener.onMessage(new ReceivedMessage(line, this.#onMalformed));
      return;
    }
    switch (message.type) {
      case 'error':
        return this.#onError(message.data);
      case 'ping':
        return this.#pong();
      case 'pong':
        return this.#onPong(message.data);
      case 'welcome':
        return this.#onWelcome(message.data);
      case 'position':
        return this.#listener.onPosition(message.data);
      case 'gap':
        return this.#listener.onGap(message.data);
      case 'subscribed':
        return this.#requests.answer(message.type, message.data.id, message.data);
      case 'unsubscribed':
        return this.#requests.answer(message.type, message.data.id);
    }
  }

  readonly #onMalformed = (): void => this.#fail(protocolError('a forwarded line is not a message'));

  /** Closes because a request is unanswered. A broker that is shutting down answers none, and closes by itself. */
  onUnanswered(error: SluiceError): void {
    if (this.#closingCode !== 'SHUTTING_DOWN') this.#fail(error);
  }

  /** Closes because the broker violated the protocol or did not answer. */
  #fail(error: SluiceError): void {
    this.#fault ??= error;
    this.#socket.destroy();
  }

  /** Sends a pong, unless the write queue is full: then the data in it already shows that the client is alive. */
  #pong(): void {
    if (!this.isBusy) this.sendControl('pong', {});
  }

  /** Sends a ping, unless one is unanswered already. */
  #pingOnce(): void {
    if (this.#pings.length === 0) this.ping(() => {});
  }

  #onWelcome(welcome: MessageMap['welcome']['data']): void {
    this.#welcome = welcome;
    const longest = Math.min(Math.max(welcome.maxMessageSize, DEFAULT_MAX_MESSAGE), LARGEST_MAX_MESSAGE);
    this.#reader.maxLength = longest + META_LENGTH;
    this.#requests.answer('welcome', undefined);
  }

  #onError(error: BrokerError): void {
    // A peer that was welcomed only lacks a permission, and stays connected.
    const isPermissionError = error.code === 'UNAUTHORIZED' && this.#welcome !== undefined;
    if (!isPermissionError) this.#closingCode ??= CLOSING_CODES.find((code) => code === error.code);
    // A broker that is shutting down no longer reads, so it cannot answer. Otherwise a pong shows that it stays.
    if (this.#closingCode === 'SHUTTING_DOWN') this.#keepAlive.stop();
    else if (this.#closingCode !== undefined) this.#pingOnce();
    this.#requests.reject(error);
    const { line, ...others } = error;
    const published = line === undefined ? undefined : this.#lineNumbers.publishedLine(line);
    this.#listener.onRejected(published === undefined ? others : { ...others, line: published });
  }

  #onPong({ line, rejected = 0 }: NonNullable<MessageMap['pong']['data']> = {}): void {
    const ping = this.#pings.shift();
    if (ping === undefined) return;
    this.rejected = rejected;
    this.#lineNumbers.settle(ping.line);
    ping.onPong(line);
  }

  #onClosed(cause: Error | undefined): void {
    this.#cause = cause;
    const error = this.#closedError();
    this.#pings = [];
    this.#keepAlive.stop();
    clearInterval(this.#pongTimer);
    this.#requests.close(error);
    this.#listener.onClosed(this, error);
  }

  #closedError(): SluiceError {
    if (this.#fault !== undefined) return this.#fault;
    return new SluiceError(this.#closingCode ?? 'CONNECTION_CLOSED', undefined, { cause: this.#cause });
  }
}
