// A client's socket. What the broker has sent before it closed is read to the end, even when writing fails first:
// Node destroys a socket at the first failed write, and with it what is still unread.

import { connect, type Socket } from 'node:net';
import { describeError, SluiceError } from '../errors.js';
import { startTimeout } from './timeouts.js';

/** Where a broker listens. */
export interface BrokerAddress {
  readonly socketPath: string | undefined;
  readonly host: string;
  readonly port: number;
}

export interface ClientSocketListener {
  /** The bytes stay as they are: each read has its own. */
  onBytes(bytes: Buffer): void;
  onDrain(): void;
  /** @param cause the first error, if there was one */
  onClosed(cause: Error | undefined): void;
}

const READ_SIZE = 64 * 1024;
/** Bytes that may wait to be written: enough to write with few system calls. */
const WRITE_AHEAD = 256 * 1024;
/** ms that the broker has to take the last words. */
const END_GRACE = 1000;
/** Turns of the event loop without a byte, after which nothing more is in the kernel's buffer. */
const QUIET_TURNS = 2;

export class ClientSocket {
  readonly #socket: Socket;
  readonly #listener: ClientSocketListener;
  #cause: Error | undefined;
  #isCorked = false;
  #cannotWrite = false;
  #quietTurns = 0;

  private constructor(socket: Socket, listener: ClientSocketListener) {
    this.#socket = socket;
    this.#listener = listener;
  }

  /**
   * Connects.
   * @param timeout ms that it may take
   * @param signal destroys the socket, whether it is connected already or not
   * @throws SluiceError `CONNECTION_FAILED`
   */
  static async open(
    address: BrokerAddress,
    listener: ClientSocketListener,
    timeout: number,
    signal?: AbortSignal,
  ): Promise<ClientSocket> {
    const { socketPath, host, port } = address;
    const where = socketPath ?? `${host}:${port}`;
    let opened: ClientSocket | undefined;
    const onread = {
      buffer: Buffer.allocUnsafe(READ_SIZE),
      callback: (length: number, buffer: Uint8Array) => {
        opened?.onRead(Buffer.from(buffer.subarray(0, length)));
        return true;
      },
    };
    const socket = connect(socketPath === undefined ? { host, port, onread } : { path: socketPath, onread });
    opened = new ClientSocket(socket, listener);
    signal?.addEventListener('abort', () => socket.destroy(new Error('given up')), { once: true });
    await new Promise<void>((resolve, reject) => {
      const fail = (cause: Error): void => {
        clearTimeout(timer);
        socket.destroy();
        reject(new SluiceError('CONNECTION_FAILED', `${where}: ${describeError(cause)}`, { cause }));
      };
      const timer = startTimeout(timeout, () => fail(new Error(`no answer within ${timeout} ms`)));
      socket.once('error', fail);
      socket.once('connect', () => {
        clearTimeout(timer);
        socket.off('error', fail);
        resolve();
      });
    });
    opened.#listen();
    return opened;
  }

  /** Whether it is there, as far as it is known. */
  get isOpen(): boolean {
    return !this.#socket.destroyed;
  }

  /** Whether enough waits to be written. Then `onDrain` comes. */
  get isBusy(): boolean {
    return this.#socket.writableLength >= WRITE_AHEAD;
  }

  /**
   * What is written in one turn of the event loop goes out with one system call.
   * @param onWritten called when the socket has taken it, or never will
   */
  write(bytes: Buffer | string, onWritten?: () => void): void {
    if (this.#cannotWrite || this.#socket.writableEnded || this.#socket.destroyed) {
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

  /** Stops reading, or goes on. When the broker has gone, what it has left behind is read all the same. */
  setPaused(isPaused: boolean): void {
    if (this.#cannotWrite) return;
    if (isPaused) this.#socket.pause();
    else this.#socket.resume();
  }

  /** Sends what waits, if the broker takes it soon, and closes. */
  end(): void {
    if (this.#cannotWrite) return this.destroy();
    this.#socket.end(() => this.destroy());
    setTimeout(() => this.destroy(), END_GRACE).unref();
  }

  /** Closes at once. */
  destroy(): void {
    this.#socket.destroy();
  }

  /** Bytes have come. */
  onRead(bytes: Buffer): void {
    this.#quietTurns = 0;
    this.#listener.onBytes(bytes);
  }

  #listen(): void {
    const socket = this.#socket;
    const destroy = socket.destroy;
    socket.destroy = (error?: NodeJS.ErrnoException): Socket => {
      this.#cause ??= error;
      if (error?.syscall !== 'write') return destroy.call(socket, error);
      this.#cannotWrite = true;
      socket.resume();
      setImmediate(this.#closeWhenQuiet);
      return socket;
    };
    socket.on('drain', () => this.#listener.onDrain());
    socket.on('error', (error) => {
      this.#cause ??= error;
    });
    socket.on('close', () => this.#listener.onClosed(this.#cause));
  }

  readonly #uncork = (): void => {
    this.#isCorked = false;
    this.#socket.uncork();
  };

  readonly #closeWhenQuiet = (): void => {
    if (this.#socket.destroyed) return;
    if (this.#quietTurns++ >= QUIET_TURNS) this.destroy();
    else setImmediate(this.#closeWhenQuiet);
  };
}
