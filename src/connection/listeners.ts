// The sockets that a server listens on: that of its address, or those that it has inherited. With or without TLS.

import { createServer, type Server, type Socket } from 'node:net';
import type { ResolvedOptions } from '../config/config.js';
import { importInstalled } from '../installed.js';
import { Listener, type ListenerEvents, type ListenTarget } from './listener.js';
import type { ServerAddress } from './server-events.js';
import type { TlsFiles, TlsServer } from './tls-server.js';

export interface ListenersEvents extends ListenerEvents {
  /** A peer has connected. Its socket is paused. */
  onConnection(socket: Socket): void;
  /** A TLS handshake has failed. Called at most 10 times per second. */
  onHandshakeFailure(error: NodeJS.ErrnoException, address: string | undefined): void;
}

/** Use it once: after {@link close}, it does not open again. */
export class Listeners {
  readonly #options: ResolvedOptions;
  readonly #fds: readonly number[];
  readonly #events: ListenersEvents;
  readonly #listeners: Listener[] = [];
  readonly #tlsServers: TlsServer[] = [];

  /** @param fds file descriptors of inherited sockets; if there are none, listens at the address in the options */
  constructor(options: ResolvedOptions, fds: readonly number[], events: ListenersEvents) {
    this.#options = options;
    this.#fds = fds;
    this.#events = events;
  }

  /** Where the server listens. Empty before {@link open}. */
  get addresses(): readonly ServerAddress[] {
    return this.#listeners.flatMap(({ address }) => address ?? []);
  }

  /** Whether peers can connect everywhere. */
  get isReachable(): boolean {
    return this.#listeners.every(({ isReachable }) => isReachable);
  }

  /** @throws SluiceError `ADDRESS_IN_USE`, `SOCKET_PATH_INVALID`, `LISTEN_FAILED`, `CONFIG_UNREADABLE` */
  async open(): Promise<void> {
    const { socketPath, host, port = 0 } = this.#options;
    const address = socketPath === undefined ? { host, port } : { path: socketPath };
    if (this.#fds.length === 0) await this.#listenAt(address, `${host}:${port}`);
    for (const fd of this.#fds) await this.#listenAt({ fd }, `fd ${fd}`);
  }

  /**
   * Reads the certificates again.
   * @returns a function that uses them, for connections from now on
   * @throws SluiceError `CONFIG_UNREADABLE`
   */
  rereadCertificates(): () => void {
    const uses = this.#tlsServers.map((server) => server.reread());
    return () => {
      for (const use of uses) use();
    };
  }

  /** Stops listening, and ends handshakes that are in progress. */
  async close(): Promise<void> {
    await Promise.all(this.#listeners.map((listener) => listener.close()));
    for (const server of this.#tlsServers) server.endHandshakes();
  }

  async #listenAt(target: ListenTarget, name: string): Promise<void> {
    const server = await this.#createServer(target);
    const listener = new Listener(server, target, name, this.#options, this.#events);
    await listener.open();
    this.#listeners.push(listener);
  }

  async #createServer(target: ListenTarget): Promise<Server> {
    const { onConnection, onHandshakeFailure: onFailure } = this.#events;
    const tls = tlsFilesOf(this.#options);
    if (tls === undefined || 'path' in target)
      return createServer({ pauseOnConnect: true, allowHalfOpen: true }, onConnection);
    // Loaded on demand, since it takes a few milliseconds.
    const { createTlsServer } =
      await importInstalled<typeof import('./tls-server.js')>('connection/tls-server.js');
    const { helloTimeout: handshakeTimeout } = this.#options;
    const encrypting = createTlsServer({ ...tls, handshakeTimeout, onConnection, onFailure });
    this.#tlsServers.push(encrypting);
    return encrypting.server;
  }
}

function tlsFilesOf({
  tlsCert: cert,
  tlsKey: key,
  tlsClientCa: clientCa,
}: ResolvedOptions): TlsFiles | undefined {
  return cert === undefined || key === undefined ? undefined : { cert, key, clientCa };
}
