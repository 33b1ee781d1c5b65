// The HTTP server for people and monitoring, on the loopback interface or a Unix socket.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { isLoopback, parseAdminAddress } from '../config/addresses.js';
import type { ResolvedOptions } from '../config/config.js';
import { Listener, type ListenerEvents, type ListenTarget } from '../connection/listener.js';
import { SluiceError } from '../errors.js';
import { MAX_FEEDS } from '../feed/feeds.js';
import { MAX_TAILS } from '../feed/tail.js';
import { SecondLimiter } from '../protocol/second-limiter.js';
import type { AdminHandler } from './admin-handler.js';
import { MAX_LISTENERS } from './event-stream.js';
import { json } from './reply.js';

/** Maximum number of connections: all streams, and a few browsers, scrapers and terminals. */
export const MAX_CONNECTIONS = MAX_FEEDS + MAX_LISTENERS + MAX_TAILS + 128;
const SOCKET_FILE_OPTIONS = { backlog: 64, socketMode: '0600' };

export interface AdminServerEvents extends ListenerEvents {
  /** A connection was closed, since too many are open. Called at most once per second. */
  onDropped(): void;
}

export interface RequestLimits {
  /** ms that a client has to send its request. */
  readonly requestTimeout: number;
  /** ms within which a client must read something of what is sent to it. */
  readonly readTimeout: number;
  /** Interval at which Node closes connections that exceeded it, in ms. */
  readonly connectionsCheckingInterval: number;
}

export const REQUEST_LIMITS: RequestLimits = {
  requestTimeout: 10_000,
  readTimeout: 30_000,
  connectionsCheckingInterval: 1000,
};

const REMOTE_ADMIN = 'admin: other machines can reach the inherited socket; set adminAllowRemote to allow it';

export class AdminServer {
  readonly #handler: AdminHandler;
  readonly #server: Server;
  readonly #target: ListenTarget;
  readonly #listener: Listener;
  readonly #allowRemote: boolean;
  /** Whether only this machine can reach the server by TCP. */
  #isOnLoopback = false;
  /** The latest response of each connection. */
  readonly #latest = new WeakMap<Socket, ServerResponse>();

  /**
   * @param address as in the option `admin`: `host:port`, `:port` or a path; or the file descriptor of an inherited
   *   listening socket
   * @throws SluiceError `INVALID_OPTION`
   */
  constructor(
    handler: AdminHandler,
    {
      healthCheckInterval,
      adminAllowRemote,
    }: Pick<ResolvedOptions, 'healthCheckInterval' | 'adminAllowRemote'>,
    address: string | { readonly fd: number },
    events: AdminServerEvents,
    limits: RequestLimits = REQUEST_LIMITS,
  ) {
    const target: ListenTarget | undefined =
      typeof address === 'string' ? parseAdminAddress(address) : address;
    if (target === undefined) throw new SluiceError('INVALID_OPTION', 'admin');
    this.#handler = handler;
    // HTTP/1.0 clients, such as the health checks of load balancers, send no Host header.
    this.#server = createServer({ ...limits, requireHostHeader: false }, (request, response) => {
      void this.#answer(request, response);
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
    const drops = new SecondLimiter<object>(1);
    this.#server.on('drop', () => {
      if (drops.take(this)) events.onDropped();
    });
    this.#server.timeout = limits.readTimeout;
    this.#target = target;
    const options = { ...SOCKET_FILE_OPTIONS, healthCheckInterval };
    this.#listener = new Listener(this.#server, target, 'admin', options, events);
    this.#allowRemote = adminAllowRemote;
  }

  /** The address that it listens on, a path or `host:port`; `undefined` if it does not listen. */
  get address(): string | undefined {
    return this.#listener.address;
  }

  /**
   * Listens.
   * @throws SluiceError `ADDRESS_IN_USE`, `SOCKET_PATH_INVALID`, `LISTEN_FAILED`; `INVALID_OPTION` if other machines
   *   can reach an inherited socket and `adminAllowRemote` is not set
   */
  async start(): Promise<void> {
    await this.#listener.open();
    const host = this.#host();
    this.#isOnLoopback = host !== undefined && isLoopback(host);
    if (host === undefined || this.#isOnLoopback || this.#allowRemote) return;
    await this.stop();
    throw new SluiceError('INVALID_OPTION', REMOTE_ADMIN);
  }

  /** Closes all connections and stops listening. Streams of events end with the handler. */
  async stop(): Promise<void> {
    await this.#listener.close();
    this.#server.closeAllConnections();
  }

  /** The host that it listens on; `undefined` for a Unix socket. */
  #host(): string | undefined {
    if ('host' in this.#target) return this.#target.host;
    const bound = this.#server.address();
    return typeof bound === 'object' ? bound?.address : undefined;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = request;
    const previous = this.#latest.get(socket);
    this.#latest.set(socket, response);
    if (response.socket === null && previous !== undefined) {
      // Pipelined: replies would have to be kept until those before them are read.
      if (!previous.writableEnded) return void socket.destroy();
      // The client may have read all of the previous reply before this process learns that it was written.
      await new Promise((resolve) => previous.once('close', resolve));
    }
    // Not if there is nothing to read, as in a stream between two events.
    response.on('timeout', () => {
      if (response.writableLength > 0) socket.destroy();
    });
    const isAllowed = this.#isHostAllowed(request);
    if (isAllowed && (await this.#handler.answer(request, response, request.url ?? '/'))) return;
    const reply = isAllowed
      ? json(404, { error: 'not found' })
      : json(403, { error: 'the Host header is not allowed' });
    await this.#handler.reply(request, response, () => reply);
  }

  /**
   * Protects against DNS rebinding: a page of another site could point its own host name at this machine and read the
   * replies. On the loopback interface, only names and addresses of the loopback interface are allowed. A request
   * without a Host header does not come from a browser.
   */
  #isHostAllowed({ headers: { host } }: IncomingMessage): boolean {
    return !this.#isOnLoopback || !host || isLoopback(host.replace(/:\d*$/, '').replace(/^\[(.*)\]$/, '$1'));
  }
}
