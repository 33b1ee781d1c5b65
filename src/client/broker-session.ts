// One connection to a broker, from connect to close: writes lines, asks and gets answers, and tells forwarded
// messages from the broker's own. What happens before and after it is the client's business.

import { SluiceError } from '../errors.js';
import type { MessageInputMap, MessageMap } from '../messages/messages.js';
import { META_LENGTH, protocolError, readOwnMessage } from './broker-lines.js';
import type { OutboxSink } from './client-outbox.js';
import { type BrokerAddress, ClientSocket } from './client-socket.js';
import { KeepAlive, type KeepAliveOptions } from './keep-alive.js';
import { LineNumberMap } from './line-number-map.js';
import { LineReader } from './line-reader.js';
import { type Answer, PendingRequests } from './pending-requests.js';
import { ReceivedMessage } from './received-message.js';

/** The broker's `error` message. */
export type BrokerError = MessageMap['error']['data'];

export interface SessionListener {
  /** A forwarded message. */
  onMessage(event: ReceivedMessage): void;
  /** `error.line` counts published lines. */
  onRejected(error: BrokerError): void;
  /** The socket takes more again. */
  onDrain(): void;
  /** What was read at a time has been told. */
  onRead(): void;
  /** @param error why, as far as it is known */
  onClosed(session: BrokerSession, error: SluiceError): void;
}

/** What one connection needs of the client's options. */
export interface SessionOptions extends KeepAliveOptions {
  /** ms that connecting, and later each request, may take. */
  readonly requestTimeout: number;
}

const MiB = 1024 * 1024;
/** Bytes of the longest message that any client takes: code in the broker's process may send more than `maxMessageSize`. */
const DEFAULT_MAX_MESSAGE = 64 * MiB;
/** The most that a `welcome` may raise that to: the largest `maxMessageSize` of a broker. */
const LARGEST_MAX_MESSAGE = 256 * MiB;
/** ms between two words to the broker while nothing is read. */
const LIFE_SIGN_INTERVAL = 5000;
/** Rejections that are followed by the end of the connection, when nothing else comes after them. */
const CLOSING_CODES = [
  'UNAUTHORIZED',
  'UNSUPPORTED_VERSION',
  'MAX_CONNECTIONS',
  'SHUTTING_DOWN',
  'SLOW_CONSUMER',
] as const;

export class BrokerSession implements OutboxSink {
  #socket!: ClientSocket;
  readonly #listener: SessionListener;
  readonly #requests: PendingRequests;
  readonly #ledger: LineNumberMap;
  readonly #reader: LineReader;
  readonly #keepAlive: KeepAlive;
  /** Pings that are not answered, with the number of their line. */
  #pings: { line: number; onPong: () => void }[] = [];
  #welcome: MessageMap['welcome']['data'] | undefined;
  /** The latest of the broker's words, when it may be why it closes. */
  #closingCode: (typeof CLOSING_CODES)[number] | undefined;
  #cause: Error | undefined;
  /** Why the client closes the connection, when it is the client that does. */
  #fault: SluiceError | undefined;
  #isPaused = false;
  #lifeSigns: NodeJS.Timeout | undefined;

  private constructor(listener: SessionListener, options: SessionOptions, linesBefore: number) {
    this.#listener = listener;
    this.#requests = new PendingRequests(options.requestTimeout);
    this.#ledger = new LineNumberMap(linesBefore);
    this.#reader = new LineReader(DEFAULT_MAX_MESSAGE + META_LENGTH, (line) => this.#onLine(line));
    const onSilent = () =>
      this.#fail(
        new SluiceError('CONNECTION_CLOSED', `no answer within ${options.pingTimeout} ms of a ping`),
      );
    this.#keepAlive = new KeepAlive(options, () => this.#pingOnce(), onSilent);
  }

  /**
   * Connects.
   * @param linesBefore how many lines were published and confirmed before
   * @param signal destroys the connection, whether it is made already or not
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

  /** What the broker said in answer to `hello`. */
  get welcome(): MessageMap['welcome']['data'] | undefined {
    return this.#welcome;
  }

  /** Whether the socket is there, as far as it is known. */
  get isOpen(): boolean {
    return this.#socket.isOpen;
  }

  get isBusy(): boolean {
    return this.#socket.isBusy;
  }

  /** Whether the broker has still to answer something. */
  get hasRequests(): boolean {
    return this.#requests.size > 0;
  }

  write(bytes: Buffer, lines: number): void {
    this.#ledger.addPublished(lines);
    this.#socket.write(bytes);
  }

  ping(onPong: () => void): void {
    this.#pings.push({ line: this.sendControl('ping', {}), onPong });
  }

  /**
   * Says something of the client's own.
   * @param onWritten called when the socket has taken it, or never will
   * @returns the number of its line
   */
  sendControl(type: string, data: object, onWritten?: () => void): number {
    this.#socket.write(`${JSON.stringify({ type, timestamp: new Date().toISOString(), data })}\n`, onWritten);
    return this.#ledger.addOwn();
  }

  /**
   * Asks something. `settle` is called once, before anything is told of what came after the answer.
   * @param id what the answer repeats
   */
  request(
    type: string,
    data: object,
    answer: Answer,
    settle: (error?: SluiceError) => void,
    id?: string,
  ): void {
    if (!this.isOpen) return settle(this.#closedError());
    this.#requests.add(type, answer, id, settle);
    this.sendControl(type, data);
  }

  /**
   * Makes sure that a broker is there which takes this client: says `hello`, or pings where there is none to say.
   * @throws SluiceError the code with which the broker rejects, `CONNECTION_CLOSED`, `REQUEST_TIMEOUT`
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

  /** Stops reading, so that the broker sees a slow peer; or goes on. */
  setPaused(isPaused: boolean): void {
    if (isPaused === this.#isPaused) return;
    this.#isPaused = isPaused;
    this.#socket.setPaused(isPaused);
    if (isPaused) {
      this.#keepAlive.stop();
      // While reading is paused, only a failed write reveals that the connection has ended.
      this.#lifeSigns = setInterval(() => this.#pong(), LIFE_SIGN_INTERVAL);
      return;
    }
    clearInterval(this.#lifeSigns);
    if (this.#closingCode !== 'SHUTTING_DOWN') this.#keepAlive.start();
  }

  /** Sends what waits, if the broker takes it soon, and closes. */
  end(): void {
    this.#socket.end();
  }

  /** Closes at once. */
  destroy(): void {
    this.#socket.destroy();
  }

  #onBytes(bytes: Buffer): void {
    this.#keepAlive.onReceived();
    const isBounded = this.#reader.push(bytes);
    if (!isBounded) this.#fail(protocolError(`a line has more than ${this.#reader.maxLength} bytes`));
    this.#listener.onRead();
  }

  #onLine(line: Buffer): void {
    if (this.#fault !== undefined) return;
    const message = readOwnMessage(line);
    if (message instanceof SluiceError) return this.#fail(message);
    // Whoever goes on talking did not close for that; only a shutdown answers what came before it.
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
        return this.#onPong();
      case 'welcome':
        return this.#onWelcome(message.data);
      case 'subscribed':
      case 'unsubscribed':
        return this.#requests.answer(message.type, message.data.id);
    }
  }

  readonly #onMalformed = (): void => this.#fail(protocolError('a forwarded line is not a message'));

  /** Closes because of something that the broker did or did not do. */
  #fail(error: SluiceError): void {
    this.#fault ??= error;
    this.#socket.destroy();
  }

  /** Answers a ping, unless so much waits to be written that the broker does not wait for this. */
  #pong(): void {
    if (!this.isBusy) this.sendControl('pong', {});
  }

  /** Makes sure that an answer of the broker is on its way. */
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
    // Who was welcomed is told what its role may not do, and stays.
    const isHarmless = error.code === 'UNAUTHORIZED' && this.#welcome !== undefined;
    if (!isHarmless) this.#closingCode ??= CLOSING_CODES.find((code) => code === error.code);
    // A broker that is shutting down reads no more, so it answers nothing. Any other stays if it answers.
    if (this.#closingCode === 'SHUTTING_DOWN') this.#keepAlive.stop();
    else if (this.#closingCode !== undefined) this.#pingOnce();
    this.#requests.reject(error);
    const { line, ...others } = error;
    const published = line === undefined ? undefined : this.#ledger.publishedLine(line);
    this.#listener.onRejected(published === undefined ? others : { ...others, line: published });
  }

  #onPong(): void {
    const ping = this.#pings.shift();
    if (ping === undefined) return;
    this.#ledger.settle(ping.line);
    ping.onPong();
  }

  #onClosed(cause: Error | undefined): void {
    this.#cause = cause;
    const error = this.#closedError();
    this.#pings = [];
    this.#keepAlive.stop();
    clearInterval(this.#lifeSigns);
    this.#requests.close(error);
    this.#listener.onClosed(this, error);
  }

  #closedError(): SluiceError {
    if (this.#fault !== undefined) return this.#fault;
    return new SluiceError(this.#closingCode ?? 'CONNECTION_CLOSED', undefined, { cause: this.#cause });
  }
}
