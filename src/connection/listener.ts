// Listening on a Unix socket, on TCP, or on an inherited socket. A socket file that is removed is made again.

import type { Server } from 'node:net';
import { resolve } from 'node:path';
import { Backoff } from '../backoff.js';
import { type AdminAddress, formatAdminAddress } from '../config/addresses.js';
import { describeError, SluiceError } from '../errors.js';
import type { ServerAddress } from './server-events.js';
import { listenAtPath, type SocketFile, type SocketFileOptions } from './socket-file.js';

/** An address, or the file descriptor of an inherited socket. */
export type ListenTarget = AdminAddress | { readonly fd: number };

export interface ListenerOptions extends SocketFileOptions {
  /** Interval between checks of the socket file, in ms. */
  readonly healthCheckInterval: number;
}

export interface ListenerEvents {
  /** The server cannot accept, or its socket file is gone, or cannot be made again or removed. */
  onError(error: unknown): void;
  /** Peers can connect again after the socket file was gone. */
  onRestored(address: ServerAddress): void;
}

/** Longest delay between attempts to make the socket file again, in ms, unless the checks are further apart. */
const MAX_RETRY_DELAY = 30_000;

/** Makes a server listen at one address until it is closed. */
export class Listener {
  readonly #server: Server;
  readonly #target: ListenTarget;
  readonly #name: string;
  readonly #options: ListenerOptions;
  readonly #events: ListenerEvents;
  readonly #retryBackoff: Backoff;
  #address: ServerAddress | undefined;
  #file: SocketFile | undefined;
  /** The last error that kept the socket file from being made again. */
  #reported: string | undefined;
  #checking: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param name of the target, for error messages; those for a Unix socket contain its path instead */
  constructor(
    server: Server,
    target: ListenTarget,
    name: string,
    options: ListenerOptions,
    events: ListenerEvents,
  ) {
    this.#server = server;
    // Absolute, because the process may change its working directory.
    this.#target = 'path' in target ? { path: resolve(target.path) } : target;
    this.#name = name;
    this.#options = options;
    this.#events = events;
    const initialDelay = options.healthCheckInterval;
    this.#retryBackoff = new Backoff({ initialDelay, maxDelay: Math.max(initialDelay, MAX_RETRY_DELAY) });
  }

  /** Where the server listens; `undefined` before {@link open}. */
  get address(): ServerAddress | undefined {
    return this.#address;
  }

  /**
   * Whether peers can connect. Checks the socket file; an address without a file of this server is always reachable
   * while it is open.
   */
  get isReachable(): boolean {
    return this.#address !== undefined && this.#reported === undefined && this.#file?.isInPlace !== false;
  }

  /**
   * Listens.
   * @throws SluiceError `ADDRESS_IN_USE`, `SOCKET_PATH_INVALID`, `LISTEN_FAILED`, `INVALID_OPTION`
   */
  async open(): Promise<void> {
    await this.#listen();
    this.#address = addressOf(this.#server, this.#target);
    if (this.#file !== undefined) this.#checkLater(this.#options.healthCheckInterval);
  }

  /**
   * Stops listening. Removes the socket file, unless another one is at its path. An inherited socket belongs to the
   * process that created it, and stays. Reports an error if the file cannot be removed.
   */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#checking;
    if (this.#server.listening) this.#server.close();
    try {
      this.#file?.remove();
    } catch (error) {
      this.#events.onError(error);
    }
  }

  #checkLater(delay: number): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#checking = this.#check();
    }, delay).unref();
  }

  async #check(): Promise<void> {
    const address = this.#address ?? '';
    let delay = this.#options.healthCheckInterval;
    try {
      if (this.isReachable) this.#file?.touch();
      else {
        if (this.#reported === undefined) this.#report(new SluiceError('SOCKET_FILE_LOST', address));
        // Its connections stay open.
        this.#server.close();
        await this.#listen();
        this.#reported = undefined;
        this.#retryBackoff.reset();
        this.#events.onRestored(address);
      }
    } catch (error) {
      this.#report(error);
      delay = this.#retryBackoff.next();
    }
    this.#checkLater(delay);
  }

  async #listen(): Promise<void> {
    const { onError } = this.#events;
    this.#server.off('error', onError);
    this.#file = await listenAt(this.#server, this.#target, this.#name, this.#options);
    this.#server.on('error', onError);
  }

  /** Reports an error, unless it is the same as the last one. */
  #report(error: unknown): void {
    const text = describeError(error);
    if (text !== this.#reported) this.#events.onError(error);
    this.#reported = text;
  }
}

/** @returns the socket file, if there is one that belongs to this server */
async function listenAt(
  server: Server,
  target: ListenTarget,
  name: string,
  options: SocketFileOptions,
): Promise<SocketFile | undefined> {
  if ('path' in target) return listenAtPath(server, target.path, options);
  const { backlog } = options;
  await new Promise<void>((resolve, reject) => {
    const onError = (cause: NodeJS.ErrnoException) => {
      const code = cause.code === 'EADDRINUSE' ? 'ADDRESS_IN_USE' : 'LISTEN_FAILED';
      const hint = 'fd' in target ? 'not a listening stream socket: ' : '';
      reject(new SluiceError(code, `${name}: ${hint}${describeError(cause)}`, { cause }));
    };
    server.once('error', onError);
    // Exclusive: in a worker of node:cluster, a file descriptor of the primary would be used otherwise.
    server.listen({ ...target, backlog, exclusive: 'fd' in target }, () => {
      server.off('error', onError);
      resolve();
    });
  });
  return undefined;
}

function addressOf(server: Server, target: ListenTarget): ServerAddress {
  if ('path' in target) return target.path;
  const bound = server.address();
  if (typeof bound === 'object' && bound !== null) {
    return formatAdminAddress({ host: bound.address, port: bound.port });
  }
  // Node does not know the path of an inherited Unix socket.
  return 'fd' in target ? `fd ${target.fd}` : '';
}
