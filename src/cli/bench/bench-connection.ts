// A connection of `sluice bench`: a plain socket with little overhead. Sends `hello` if required, then passes on all
// bytes as they are received.

import { connect, type Socket } from 'node:net';
import type { ClientOptions } from '../../client/client-options.js';
import { resolveClientOptions } from '../../client/client-options.js';
import { describeError, ERRORS, type ErrorCode, SluiceError } from '../../errors.js';
import { withTimeout } from '../../timeout.js';

const READ_SIZE = 256 * 1024;
/** Delay before connecting again to a broker whose accept queue is full, in ms. */
const RETRY_DELAY = 20;
/** Timeout of a request, in ms. */
const TIMEOUT = 10_000;

/** Shared by all connections of a process, which read one after the other. */
const readBuffer = Buffer.allocUnsafe(READ_SIZE);

export class BenchConnection {
  readonly socket: Socket;
  /** Called with the bytes of each read, which are valid until the next read. */
  onBytes: (bytes: Buffer) => void = () => {};

  private constructor(socket: Socket) {
    this.socket = socket;
  }

  /**
   * Connects and, if the options contain a `hello`, waits until the broker accepts it.
   * @throws SluiceError `CONNECTION_FAILED`, `REQUEST_TIMEOUT`, `CONNECTION_CLOSED`, or the code with which the broker
   *   rejects it
   */
  static async open(options: ClientOptions): Promise<BenchConnection> {
    for (;;) {
      try {
        const connection = await BenchConnection.#connect(options);
        if (options.hello) await connection.request('hello', options.hello, 'welcome');
        return connection;
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
        await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY));
      }
    }
  }

  static #connect(options: ClientOptions): Promise<BenchConnection> {
    const { socketPath, host, port } = resolveClientOptions(options).address;
    let connection: BenchConnection | undefined;
    const onread = {
      buffer: readBuffer,
      callback(length: number): boolean {
        connection?.onBytes(readBuffer.subarray(0, length));
        return true;
      },
    };
    return new Promise((resolve, reject) => {
      const socket = connect(
        socketPath === undefined ? { host, port, onread } : { path: socketPath, onread },
      );
      connection = new BenchConnection(socket);
      const fail = (cause: NodeJS.ErrnoException): void => {
        if (cause.code === 'EAGAIN') return reject(cause);
        const address = socketPath ?? `${host}:${port}`;
        reject(new SluiceError('CONNECTION_FAILED', `${address}: ${describeError(cause)}`, { cause }));
      };
      socket.once('error', fail);
      socket.once('connect', () => {
        socket.off('error', fail);
        // A later error is followed by `close`, which is handled.
        socket.on('error', () => {});
        resolve(connection as BenchConnection);
      });
    });
  }

  /** Sends a control message. */
  send(type: string, data: object): void {
    const message = { type, timestamp: new Date().toISOString(), data };
    this.socket.write(`${JSON.stringify(message)}\n`);
  }

  /**
   * Sends a control message and waits for a reply of type `replyType`. Until then, `onBytes` receives nothing.
   * @returns the text that contains the reply
   * @throws SluiceError `REQUEST_TIMEOUT`, `CONNECTION_CLOSED`, or the code with which the broker rejects the message
   */
  async request(type: string, data: object, replyType: string): Promise<string> {
    const { socket } = this;
    const previousOnBytes = this.onBytes;
    let text = '';
    let onClose: (() => void) | undefined;
    try {
      const answered = new Promise<string>((resolve, reject) => {
        onClose = () => reject(new SluiceError('CONNECTION_CLOSED', type));
        socket.once('close', onClose);
        this.onBytes = (bytes) => {
          text += bytes.toString('latin1');
          const code = errorCodeIn(text);
          if (code !== undefined) reject(new SluiceError(code));
          else if (text.includes(`"type":"${replyType}"`)) resolve(text);
          // Keeps the incomplete last line, to be searched again with the next bytes.
          text = text.slice(text.lastIndexOf('\n') + 1);
        };
        this.send(type, data);
      });
      return await withTimeout(answered, TIMEOUT, () => {
        throw new SluiceError('REQUEST_TIMEOUT', type);
      });
    } finally {
      if (onClose !== undefined) socket.off('close', onClose);
      this.onBytes = previousOnBytes;
    }
  }
}

/** The beginning of an `error` message from the broker: the code comes before all fields of variable length. */
const ERROR_LINE = /^\{"type":"error"[^\n]{0,128}?"code":"(\w{1,64})"/m;

/** The code of the first `error` message in text from the broker. */
export function errorCodeIn(text: string): ErrorCode | undefined {
  const code = ERROR_LINE.exec(text)?.[1];
  return code !== undefined && code in ERRORS ? (code as ErrorCode) : undefined;
}
