// A client's socket. Everything that the broker sent before it closed is read, even if a write fails first: by default,
// Node destroys a socket at the first failed write and discards unread data.

import { connect, type Socket } from 'node:net';
import { describeError, SluiceError } from '../errors.js';
import { startTimeout } from '../timeout.js';

/** The address of a broker. */
export interface BrokerAddress {
  readonly socketPath: string | undefined;
  readonly host: string;
  readonly port: number;
  /** How to encrypt the connection; `undefined`: not at all. */
  readonly tls?: ClientTls | undefined;
}

/** TLS of a connection to a broker. Contents of PEM files. */
export interface ClientTls {
  /** Authorities that the broker's certificate is verified with. Default: those that Node trusts. */
  readonly ca?: string | Buffer | undefined;
  /** The client's certificate and its key, if the broker requires one. */
  readonly cert?: string | Buffer | undefined;
  readonly key?: string | Buffer | undefined;
  /** Name in the broker's certificate. Default: the host. */
  readonly serverName?: string | undefined;
}

export interface ClientSocketListener {
  /** The bytes are not reused: each read has its own buffer. */
  onBytes(bytes: Buffer): void;
  onDrain(): void;
  /** @param cause the first error, if any */
  onClosed(cause: Error | undefined): void;
}

const READ_SIZE = 64 * 1024;
/** Limit of the write queue, in bytes: large enough to write with few system calls. */
const WRITE_AHEAD = 256 * 1024;
/** ms that the broker has to read pending data before the socket is destroyed. */
const END_GRACE = 1000;
/** Event-loop turns without data after which the kernel's receive buffer is empty. */
const QUIET_TURNS = 2;

export class ClientSocket {
  readonly #socket: Socket;
  readonly #listener: ClientSocketListener;
  #cause: Error | undefined;
  #isCorked = false;
  #writeFailed = false;
  #quietTurns = 0;

  private constructor(socket: Socket, listener: ClientSocketListener) {
    this.#socket = socket;
    this.#listener = listener;
  }

  /**
   * Connects.
   * @param timeout in ms
   * @param signal destroys the socket, connected or not
   * @throws SluiceError `CONNECTION_FAILED`, `INVALID_OPTION` if a PEM file of `tls` cannot be used
   */
  static async open(
    address: BrokerAddress,
    listener: ClientSocketListener,
    timeout: number,
    signal?: AbortSignal,
  ): Promise<ClientSocket> {
    const { socketPath, host, port, tls } = address;
    const target = socketPath ?? `${host}:${port}`;
    let opened: ClientSocket | undefined;
    const onread = {
      buffer: Buffer.allocUnsafe(READ_SIZE),
      callback: (length: number, buffer: Uint8Array) => {
        opened?.onRead(Buffer.from(buffer.subarray(0, length)));
        return true;
      },
    };
    const socket =
      tls === undefined
        ? connect(socketPath === undefined ? { host, port, onread } : { path: socketPath, onread })
        : await connectTls(host, port, tls, signal);
    if (tls !== undefined) socket.on('data', (bytes: Buffer) => opened?.onRead(bytes));
    opened = new ClientSocket(socket, listener);
    signal?.addEventListener('abort', () => socket.destroy(new Error('aborted')), { once: true });
    await new Promise<void>((resolve, reject) => {
      const fail = (cause: Error): void => {
        clearTimeout(timer);
        socket.destroy();
        reject(new SluiceError('CONNECTION_FAILED', `${target}: ${describeError(cause)}`, { cause }));
      };
      const timer = startTimeout(timeout, () => fail(new Error(`no answer within ${timeout} ms`)));
      socket.once('error', fail);
      socket.once(tls === undefined ? 'connect' : 'secureConnect', () => {
        clearTimeout(timer);
        socket.off('error', fail);
        resolve();
      });
    });
    opened.#listen();
    return opened;
  }

  /** Whether the socket is open, as far as it is known. */
  get isOpen(): boolean {
    return !this.#socket.destroyed;
  }

  /** Whether the write queue is full. If so, `onDrain` follows. */
  get isBusy(): boolean {
    return this.#socket.writableLength >= WRITE_AHEAD;
  }

  /**
   * Writes data. All writes of one event-loop turn are combined into one system call.
   * @param onWritten called when the data is written, or never will be
   */
  write(bytes: Buffer | string, onWritten?: () => void): void {
    if (this.#writeFailed || this.#socket.writableEnded || this.#socket.destroyed) {
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

  /** Pauses or resumes reading. After a failed write, it has no effect: the remaining data is always read. */
  setPaused(isPaused: boolean): void {
    if (this.#writeFailed) return;
    if (isPaused) this.#socket.pause();
    else this.#socket.resume();
  }

  /** Sends pending data, if the broker reads it soon, and closes. */
  end(): void {
    if (this.#writeFailed) return this.destroy();
    this.#socket.end(() => this.destroy());
    setTimeout(() => this.destroy(), END_GRACE).unref();
  }

  /** Closes immediately. */
  destroy(): void {
    this.#socket.destroy();
  }

  /** Handles received data. */
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
      this.#writeFailed = true;
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

async function connectTls(
  host: string,
  port: number,
  { ca, cert, key, serverName }: ClientTls,
  signal: AbortSignal | undefined,
): Promise<Socket> {
  // Loaded on demand, since it takes a few milliseconds.
  const { connect: connectEncrypted } = await import('node:tls');
  signal?.throwIfAborted();
  try {
    return connectEncrypted({
      host,
      port,
      minVersion: 'TLSv1.2',
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      ...(serverName === undefined ? {} : { servername: serverName }),
    });
  } catch (cause) {
    throw new SluiceError('INVALID_OPTION', `tls: ${describeError(cause)}`, { cause });
  }
}
