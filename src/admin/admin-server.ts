// The read-only HTTP server for people and monitoring, on the loopback interface or a Unix socket. Of a message, it
// shows only the type, the size, and the code and field paths of its rejection, unless the feed is on.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isLoopback, parseAdminAddress } from '../config/addresses.js';
import { Listener, type ListenerEvents, type ListenTarget } from '../connection/listener.js';
import { SluiceError } from '../errors.js';
import type { Peer } from '../protocol/peer.js';
import type { RejectedMessage } from '../protocol/rejection.js';
import { AdminRoutes } from './admin-routes.js';
import type { AdminSource } from './admin-source.js';
import { FEED_PATH, FeedRoute } from './feed-route.js';
import { History } from './history.js';
import { RejectionGroups } from './rejection-groups.js';
import { RejectionLog } from './rejection-log.js';
import { json, type Reply, RequestError } from './reply.js';
import { Sampler } from './sampler.js';

/** Maximum number of connections: a few browsers, scrapers and terminals. */
const MAX_CONNECTIONS = 128;
const SOCKET_FILE_OPTIONS = { backlog: 64, socketMode: '0600' };
/** Requests after which a connection is closed: bounds the memory for replies to pipelined requests. */
const MAX_REQUESTS = 100;

export interface RequestLimits {
  /** ms that a client has to send its request. */
  readonly requestTimeout: number;
  /** Interval at which Node closes connections that exceeded it, in ms. */
  readonly connectionsCheckingInterval: number;
}

export const REQUEST_LIMITS: RequestLimits = { requestTimeout: 10_000, connectionsCheckingInterval: 1000 };

const REMOTE_ADMIN = 'admin: other machines can reach the inherited socket; set adminAllowRemote to allow it';

/** Sent with every reply, unless it has its own: forbids use by other sites, in frames and in caches. */
const SAFE_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

export class AdminServer {
  readonly #sampler: Sampler;
  readonly #history: History;
  readonly #rejections = new RejectionLog();
  readonly #groups = new RejectionGroups();
  readonly #routes: AdminRoutes;
  readonly #feed: FeedRoute;
  readonly #server: Server;
  readonly #target: ListenTarget;
  readonly #listener: Listener;
  readonly #allowRemote: boolean;
  readonly #onError: (error: unknown) => void;
  /** Whether only this machine can reach the server by TCP. */
  #isOnLoopback = false;

  /**
   * @param address as in the option `admin`: `host:port`, `:port` or a path; or the file descriptor of an inherited
   *   listening socket
   * @param events also receive the errors of requests that failed
   * @throws SluiceError `INVALID_OPTION`
   */
  constructor(
    source: AdminSource,
    address: string | { readonly fd: number },
    events: ListenerEvents,
    limits: RequestLimits = REQUEST_LIMITS,
  ) {
    const target: ListenTarget | undefined =
      typeof address === 'string' ? parseAdminAddress(address) : address;
    if (target === undefined) throw new SluiceError('INVALID_OPTION', 'admin');
    this.#sampler = new Sampler(source);
    this.#history = new History(source, () => this.#sampler.eventLoopDelay);
    this.#routes = new AdminRoutes(source, this.#sampler, this.#history, this.#rejections, this.#groups);
    this.#feed = new FeedRoute(source);
    // HTTP/1.0 clients, such as the health checks of load balancers, send no Host header.
    this.#server = createServer({ ...limits, requireHostHeader: false }, (request, response) => {
      void this.#answer(request, response);
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.maxRequestsPerSocket = MAX_REQUESTS;
    const { healthCheckInterval, adminAllowRemote } = source.options;
    this.#target = target;
    const options = { ...SOCKET_FILE_OPTIONS, healthCheckInterval };
    this.#listener = new Listener(this.#server, target, 'admin', options, events);
    this.#allowRemote = adminAllowRemote;
    this.#onError = events.onError;
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
    this.#history.start();
    if (host === undefined || this.#isOnLoopback || this.#allowRemote) return;
    await this.stop();
    throw new SluiceError('INVALID_OPTION', REMOTE_ADMIN);
  }

  /** Closes all connections and stops listening. */
  async stop(): Promise<void> {
    this.#history.stop();
    this.#sampler.stop();
    this.#routes.close();
    await this.#listener.close();
    this.#server.closeAllConnections();
  }

  /** Records a rejected message's code and position, for the dashboard. */
  recordRejection(rejection: RejectedMessage<Peer>): void {
    this.#rejections.add(rejection);
    this.#groups.add(rejection);
  }

  /** The host that it listens on; `undefined` for a Unix socket. */
  #host(): string | undefined {
    if ('host' in this.#target) return this.#target.host;
    const bound = this.#server.address();
    return typeof bound === 'object' ? bound?.address : undefined;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {});
    for (const [name, value] of Object.entries(SAFE_HEADERS)) response.setHeader(name, value);
    try {
      const reply = await this.#reply(request, response);
      if (reply !== undefined) send(request, response, reply);
    } catch (error) {
      this.#onError(error);
      response.destroy();
    }
  }

  async #reply(request: IncomingMessage, response: ServerResponse): Promise<Reply | undefined> {
    if (!this.#isHostAllowed(request)) return json(403, { error: 'the Host header is not allowed' });
    // Only the path and the query matter; the parser needs a base.
    const { url = '/' } = request;
    const target = URL.canParse(url, 'http://admin') ? new URL(url, 'http://admin') : undefined;
    if (target?.pathname === FEED_PATH) return this.#feed.answer(request, response);
    const route = target && this.#routes.find(target.pathname);
    if (target === undefined || route === undefined) return json(404, { error: 'not found' });
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      return json(405, { error: 'method not allowed' });
    }
    try {
      return await route.reply(target.searchParams, response);
    } catch (error) {
      if (error instanceof RequestError) return json(error.status, { error: error.message });
      // The error is not shown to the client.
      if (response.headersSent) throw error;
      this.#onError(error);
      return json(500, { error: route.failure });
    }
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

function send(request: IncomingMessage, response: ServerResponse, { status, headers, body }: Reply): void {
  if (isUnchanged(request, headers.etag)) {
    response.writeHead(304, headers).end();
    return;
  }
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) });
  response.end(request.method === 'HEAD' ? undefined : body);
}

/** Whether the client already has this version: `If-None-Match` lists its tag, or one that a proxy made weak. */
function isUnchanged({ headers }: IncomingMessage, etag: string | undefined): boolean {
  const known = headers['if-none-match'];
  if (etag === undefined || known === undefined) return false;
  return known === '*' || known.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag);
}
