// A connection to a broker, for crawlers and applications: send messages, subscribe to them.

import { EventEmitter } from 'node:events';
import { connect, type Socket } from 'node:net';
import { describeError, SluiceError, WIRE_ERRORS, type WireErrorCode } from '../errors.js';
import type { MessageInputMap, MessageMap, OutgoingMessage } from '../protocol/messages.js';
import { LineReader } from './line-reader.js';

export interface ClientOptions {
  /** Unix socket of the broker. */
  socketPath?: string;
  /** TCP address of the broker, where there is no `socketPath`; default `127.0.0.1`. */
  host?: string;
  port?: number;
  /** What to say in `hello`; without it, none is sent and the broker takes the peer for a crawler. */
  hello?: MessageInputMap['hello']['data'];
}

export interface ClientEvents {
  /** A message from the broker, as bytes without the newline; good only during the call. */
  line: [line: Buffer];
  /** The broker's `error` message. */
  refused: [error: MessageMap['error']['data']];
  /** The connection has ended; `error` says why, when it was not asked for. */
  closed: [error: Error | undefined];
}

export type Subscription = MessageInputMap['subscribe']['data'];

/** Messages of the broker's own, by their beginning: the broker writes `type` first, and forwards none of these types. */
const BROKER_TYPE = /^\{"type":"(welcome|subscribed|unsubscribed|pong|ping|error)"/;
const LONGEST_PREFIX = 32;

interface PendingRequest {
  /** What was asked, and what answers it. */
  readonly type: string;
  readonly answer: string;
  readonly id: string | undefined;
  settle(error?: Error): void;
}

type BrokerSays = MessageMap['welcome' | 'subscribed' | 'unsubscribed' | 'pong' | 'ping' | 'error'];

export class SluiceClient extends EventEmitter<ClientEvents> {
  readonly #socket: Socket;
  readonly #waiting: PendingRequest[] = [];
  #welcome: MessageMap['welcome']['data'] | undefined;
  #error: Error | undefined;
  #closed = false;

  private constructor(socket: Socket) {
    super();
    this.#socket = socket;
    const reader = new LineReader((line) => this.#onLine(line));
    socket.on('data', (bytes: Buffer) => reader.push(bytes));
    socket.on('error', (error) => {
      this.#error = error;
    });
    socket.on('close', () => this.#onClose());
  }

  /**
   * Connects, and says `hello` when there is one to say.
   * @throws SluiceError `CONNECTION_FAILED`, or the code with which the broker refuses the `hello`
   */
  static async connect(options: ClientOptions): Promise<SluiceClient> {
    const { socketPath, host = '127.0.0.1', port = 0, hello } = options;
    const where = socketPath ?? `${host}:${port}`;
    const socket = socketPath === undefined ? connect({ host, port }) : connect({ path: socketPath });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', (cause) => {
        reject(new SluiceError('CONNECTION_FAILED', `${where}: ${describeError(cause)}`, { cause }));
      });
    });
    socket.removeAllListeners('error');
    const client = new SluiceClient(socket);
    if (hello !== undefined) await client.#request('hello', hello, 'welcome');
    return client;
  }

  /** What the broker said in answer to `hello`. */
  get welcome(): MessageMap['welcome']['data'] | undefined {
    return this.#welcome;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Sends a message. False when it waits in memory: then wait for {@link drained} before the next. */
  publish(message: OutgoingMessage): boolean {
    return this.publishRaw(`${JSON.stringify(message)}\n`);
  }

  /** Sends bytes as they are: whole messages, or parts of them. */
  publishRaw(bytes: Buffer | string): boolean {
    return this.#socket.write(bytes);
  }

  /** Resolves when the socket takes more. */
  drained(): Promise<void> {
    if (!this.#socket.writableNeedDrain || this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      const settle = () => {
        this.#socket.off('drain', settle);
        this.#socket.off('close', settle);
        resolve();
      };
      this.#socket.on('drain', settle);
      this.#socket.on('close', settle);
    });
  }

  /**
   * Asks for messages: they come as `line` events. Resolves when the broker has confirmed.
   * @throws SluiceError `CONNECTION_CLOSED`, or the code with which the broker refuses
   */
  subscribe(subscription: Subscription): Promise<void> {
    return this.#request('subscribe', subscription, 'subscribed', subscription.id);
  }

  /** @throws SluiceError `CONNECTION_CLOSED` */
  unsubscribe(id: string): Promise<void> {
    return this.#request('unsubscribe', { id }, 'unsubscribed', id);
  }

  /**
   * Resolves when the broker has checked all that was sent before, and its `refused` events have come.
   * @throws SluiceError `CONNECTION_CLOSED`
   */
  ping(): Promise<void> {
    return this.#request('ping', {}, 'pong');
  }

  /** Stops reading, so that the broker sees a slow subscriber. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Sends what waits, then closes. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#closed) return resolve();
      this.once('closed', () => resolve());
      this.#socket.end(() => this.#socket.destroy());
    });
  }

  #request(type: string, data: object, answer: string, id?: string): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(this.#closedError());
      const settle = (error?: Error) => (error ? reject(error) : resolve());
      this.#waiting.push({ type, answer, id, settle });
      this.publish({ type, timestamp: new Date().toISOString(), data });
    });
  }

  #onLine(line: Buffer): void {
    if (!BROKER_TYPE.test(line.toString('latin1', 0, LONGEST_PREFIX))) {
      this.emit('line', line);
      return;
    }
    const message = JSON.parse(line.toString()) as BrokerSays;
    switch (message.type) {
      case 'error':
        this.#fail(message.data);
        this.emit('refused', message.data);
        return;
      case 'ping':
        this.publish({ type: 'pong', timestamp: new Date().toISOString(), data: {} });
        return;
      case 'welcome':
        this.#welcome = message.data;
        break;
      case 'subscribed':
      case 'unsubscribed':
      case 'pong':
        break;
      default:
        // A forwarded message that names its type twice: the last one counts.
        this.emit('line', line);
        return;
    }
    const id = (message.data as { id?: string } | undefined)?.id;
    this.#take((request) => request.answer === message.type && request.id === id)?.settle();
  }

  /** The broker refuses requests in the order they were made, and names their type. */
  #fail({ code, messageType, issues }: MessageMap['error']['data']): void {
    const detail = (issues ?? []).map(({ path, message }) => `${path} ${message}`).join('; ');
    const known = Object.hasOwn(WIRE_ERRORS, code) ? (code as WireErrorCode) : 'INVALID_MESSAGE';
    this.#take(({ type }) => type === messageType)?.settle(new SluiceError(known, detail));
  }

  #take(fits: (request: PendingRequest) => boolean): PendingRequest | undefined {
    const at = this.#waiting.findIndex(fits);
    return at === -1 ? undefined : this.#waiting.splice(at, 1)[0];
  }

  #onClose(): void {
    this.#closed = true;
    for (const { settle } of this.#waiting.splice(0)) settle(this.#closedError());
    this.emit('closed', this.#error);
  }

  #closedError(): SluiceError {
    return new SluiceError('CONNECTION_CLOSED', undefined, { cause: this.#error });
  }
}
