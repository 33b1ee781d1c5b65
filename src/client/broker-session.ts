// One connection to a broker, from connect to close: writes lines, asks and gets answers, and tells forwarded
// messages from the broker's own. What happens before and after it is the client's business.

import { connect, type Socket } from 'node:net';
import { describeError, SluiceError } from '../errors.js';
import type { MessageInputMap, MessageMap } from '../protocol/messages.js';
import type { OutboxSink } from './client-outbox.js';
import { LineLedger } from './line-ledger.js';
import { LineReader } from './line-reader.js';
import { type Answer, PendingRequests } from './pending-requests.js';

/** The broker's `error` message. */
export type BrokerError = MessageMap['error']['data'];

/** Where a broker listens. */
export interface BrokerAddress {
  readonly socketPath: string | undefined;
  readonly host: string;
  readonly port: number;
}

export interface SessionListener {
  /** A forwarded message, without its newline. */
  onLine(line: Buffer): void;
  /** `error.line` counts published lines. */
  onRefused(error: BrokerError): void;
  /** The socket takes more again. */
  onDrain(): void;
  /** @param error why, as far as it is known */
  onClosed(session: BrokerSession, error: SluiceError): void;
}

/** Messages of the broker's own, by their beginning: the broker writes `type` first, and forwards none of these types. */
const BROKER_TYPE = /^\{"type":"(welcome|subscribed|unsubscribed|pong|ping|error)"/;
const LONGEST_PREFIX = 32;
/** Bytes that may wait in the socket: enough to write with few system calls. */
const WRITE_AHEAD = 256 * 1024;
/** ms that the broker has to take the last words. */
const END_GRACE = 1000;
/** Refusals that are followed by the end of the connection, when nothing else comes after them. */
const CLOSING_CODES = [
  'UNAUTHORIZED',
  'UNSUPPORTED_VERSION',
  'MAX_CONNECTIONS',
  'SHUTTING_DOWN',
  'SLOW_CONSUMER',
] as const;

type BrokerSays = MessageMap['welcome' | 'subscribed' | 'unsubscribed' | 'pong' | 'ping' | 'error'];

export class BrokerSession implements OutboxSink {
  readonly #socket: Socket;
  readonly #listener: SessionListener;
  readonly #requests: PendingRequests;
  readonly #ledger: LineLedger;
  /** Pings that are not answered, with the number of their line. */
  #pings: { line: number; onPong: () => void }[] = [];
  #welcome: MessageMap['welcome']['data'] | undefined;
  /** The latest of the broker's words, when it may be why it closes. */
  #closingCode: (typeof CLOSING_CODES)[number] | undefined;
  #cause: Error | undefined;
  #isCorked = false;

  private constructor(socket: Socket, listener: SessionListener, timeout: number, linesBefore: number) {
    this.#socket = socket;
    this.#listener = listener;
    this.#requests = new PendingRequests(timeout);
    this.#ledger = new LineLedger(linesBefore);
    const reader = new LineReader((line) => this.#onLine(line));
    socket.on('data', (bytes: Buffer) => reader.push(bytes));
    socket.on('drain', () => listener.onDrain());
    socket.on('error', (error) => {
      this.#cause = error;
    });
    socket.on('close', () => this.#onClose());
  }

  /**
   * Connects.
   * @param timeout ms that connecting, and later each request, may take
   * @param linesBefore how many lines were published and confirmed before
   * @throws SluiceError `CONNECTION_FAILED`
   */
  static async open(
    address: BrokerAddress,
    listener: SessionListener,
    timeout: number,
    linesBefore: number,
  ): Promise<BrokerSession> {
    const { socketPath, host, port } = address;
    const where = socketPath ?? `${host}:${port}`;
    const socket = socketPath === undefined ? connect({ host, port }) : connect({ path: socketPath });
    await new Promise<void>((resolve, reject) => {
      const fail = (cause: Error): void => {
        socket.destroy();
        reject(new SluiceError('CONNECTION_FAILED', `${where}: ${describeError(cause)}`, { cause }));
      };
      const timer = setTimeout(() => fail(new Error(`no answer within ${timeout} ms`)), timeout);
      socket.once('connect', () => {
        clearTimeout(timer);
        resolve();
      });
      socket.once('error', (cause) => {
        clearTimeout(timer);
        fail(cause);
      });
    });
    socket.removeAllListeners();
    return new BrokerSession(socket, listener, timeout, linesBefore);
  }

  /** What the broker said in answer to `hello`. */
  get welcome(): MessageMap['welcome']['data'] | undefined {
    return this.#welcome;
  }

  /** Whether the socket is there, as far as it is known. */
  get isOpen(): boolean {
    return !this.#socket.destroyed;
  }

  get isBusy(): boolean {
    return this.#socket.writableLength >= WRITE_AHEAD;
  }

  write(bytes: Buffer, lines: number): void {
    this.#ledger.addPublished(lines);
    this.#write(bytes);
  }

  ping(onPong: () => void): void {
    this.#pings.push({ line: this.say('ping', {}), onPong });
  }

  /**
   * Says something of the client's own.
   * @param onWritten called when the socket has taken it, or never will
   * @returns the number of its line
   */
  say(type: string, data: object, onWritten?: () => void): number {
    this.#write(`${JSON.stringify({ type, timestamp: new Date().toISOString(), data })}\n`, onWritten);
    return this.#ledger.addOwn();
  }

  /**
   * Asks something. `settle` is called once, before anything is told of what came after the answer.
   * @param id what the answer repeats
   */
  ask(type: string, data: object, answer: Answer, settle: (error?: SluiceError) => void, id?: string): void {
    if (this.#socket.destroyed) return settle(this.#closedError());
    this.#requests.add(type, answer, id, settle);
    this.say(type, data);
  }

  /**
   * Makes sure that a broker is there which takes this client: says `hello`, or pings where there is none to say.
   * @throws SluiceError the code with which the broker refuses, `CONNECTION_CLOSED`, `REQUEST_TIMEOUT`
   */
  handshake(hello: MessageInputMap['hello']['data'] | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (error?: SluiceError) => (error ? reject(error) : resolve());
      if (hello !== undefined) return this.ask('hello', hello, 'welcome', settle);
      if (this.#socket.destroyed) return settle(this.#closedError());
      this.#requests.add('ping', 'pong', undefined, settle);
      this.ping(() => this.#requests.answer('pong', undefined));
    });
  }

  /** Stops reading, so that the broker sees a slow peer; or goes on. */
  setPaused(isPaused: boolean): void {
    if (isPaused) this.#socket.pause();
    else this.#socket.resume();
  }

  /** Sends what waits, if the broker takes it soon, and closes. */
  end(): void {
    this.#socket.end(() => this.#socket.destroy());
    setTimeout(() => this.#socket.destroy(), END_GRACE).unref();
  }

  /** Closes at once. */
  destroy(): void {
    this.#socket.destroy();
  }

  /** What is written in one turn of the event loop goes out with one system call. */
  #write(bytes: Buffer | string, onWritten?: () => void): void {
    if (this.#socket.writableEnded || this.#socket.destroyed) {
      onWritten?.();
      return;
    }
    if (!this.#isCorked) {
      this.#isCorked = true;
      this.#socket.cork();
      process.nextTick(this.#uncork);
    }
    this.#socket.write(bytes, onWritten);
  }

  readonly #uncork = (): void => {
    this.#isCorked = false;
    this.#socket.uncork();
  };

  #onLine(line: Buffer): void {
    if (!BROKER_TYPE.test(line.toString('latin1', 0, LONGEST_PREFIX))) {
      this.#listener.onLine(line);
      return;
    }
    const message = JSON.parse(line.toString()) as BrokerSays;
    if (message.type !== 'error') this.#closingCode = undefined;
    switch (message.type) {
      case 'error':
        return this.#onError(message.data);
      case 'ping':
        this.say('pong', {});
        return;
      case 'pong':
        return this.#onPong();
      case 'welcome':
        this.#welcome = message.data;
        return this.#requests.answer('welcome', undefined);
      case 'subscribed':
      case 'unsubscribed':
        return this.#requests.answer(message.type, message.data.id);
      default:
        // A forwarded message that names its type twice: the last one counts.
        this.#listener.onLine(line);
    }
  }

  #onError(error: BrokerError): void {
    this.#closingCode = CLOSING_CODES.find((code) => code === error.code);
    this.#requests.refuse(error);
    const { line, ...others } = error;
    const published = line === undefined ? undefined : this.#ledger.publishedLine(line);
    this.#listener.onRefused(published === undefined ? others : { ...others, line: published });
  }

  #onPong(): void {
    const ping = this.#pings.shift();
    if (ping === undefined) return;
    this.#ledger.settle(ping.line);
    ping.onPong();
  }

  #onClose(): void {
    const error = this.#closedError();
    this.#pings = [];
    this.#requests.close(error);
    this.#listener.onClosed(this, error);
  }

  #closedError(): SluiceError {
    return new SluiceError(this.#closingCode ?? 'CONNECTION_CLOSED', undefined, { cause: this.#cause });
  }
}
