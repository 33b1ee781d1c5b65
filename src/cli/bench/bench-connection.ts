// A connection of `sluice bench`: a bare socket, so that it costs little. Says hello where it must, then hands its
// bytes on as they come.

import { connect, type Socket } from 'node:net';
import type { ClientOptions } from '../../client/client-options.js';
import { resolveClientOptions } from '../../client/client-options.js';
import { describeError, ERRORS, type ErrorCode, SluiceError } from '../../errors.js';

const READ_SIZE = 256 * 1024;
/** How long to wait for a broker whose queue of new connections is full, in ms. */
const RETRY_DELAY = 20;
/** How long an answer may take, in ms. */
const TIMEOUT = 10_000;

/** All connections of a process read into the same memory, one after the other. */
const readBuffer = Buffer.allocUnsafe(READ_SIZE);

export class BenchConnection {
  readonly socket: Socket;
  /** Called with what is read, until the next read. */
  onBytes: (bytes: Buffer) => void = () => {};

  private constructor(socket: Socket) {
    this.socket = socket;
  }

  /**
   * Connects, and is taken by the broker.
   * @throws SluiceError `CONNECTION_FAILED`, `REQUEST_TIMEOUT`, or the code with which the broker rejects
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
        const where = socketPath ?? `${host}:${port}`;
        reject(new SluiceError('CONNECTION_FAILED', `${where}: ${describeError(cause)}`, { cause }));
      };
      socket.once('error', fail);
      socket.once('connect', () => {
        socket.off('error', fail);
        // What ends it shows when it closes.
        socket.on('error', () => {});
        resolve(connection as BenchConnection);
      });
    });
  }

  /**
   * Sends a control message, and waits for its answer. What comes meanwhile is read for that.
   * @throws SluiceError `REQUEST_TIMEOUT`, `CONNECTION_CLOSED`, or the code with which the broker rejects
   */
  async request(type: string, data: object, answer: string): Promise<void> {
    const { socket } = this;
    const reading = this.onBytes;
    let text = '';
    let timer: NodeJS.Timeout | undefined;
    let onClose: (() => void) | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        timer = setTimeout(() => reject(new SluiceError('REQUEST_TIMEOUT', type)), TIMEOUT);
        onClose = () => reject(new SluiceError('CONNECTION_CLOSED', type));
        socket.once('close', onClose);
        this.onBytes = (bytes) => {
          text += bytes.toString('latin1');
          const code = errorCodeIn(text);
          if (code !== undefined) reject(new SluiceError(code));
          else if (text.includes(`"type":"${answer}"`)) resolve();
          // Only the line that has not ended is looked at again.
          text = text.slice(text.lastIndexOf('\n') + 1);
        };
        const message = { type, timestamp: new Date().toISOString(), data };
        socket.write(`${JSON.stringify(message)}\n`);
      });
    } finally {
      clearTimeout(timer);
      if (onClose !== undefined) socket.off('close', onClose);
      this.onBytes = reading;
    }
  }
}

/** What an `error` message of the broker begins with: its code comes before anything of varying length. */
const ERROR_LINE = /^\{"type":"error"[^\n]{0,128}?"code":"(\w{1,64})"/m;

/** The code of the first `error` message in what the broker says. */
export function errorCodeIn(text: string): ErrorCode | undefined {
  const code = ERROR_LINE.exec(text)?.[1];
  return code !== undefined && code in ERRORS ? (code as ErrorCode) : undefined;
}
