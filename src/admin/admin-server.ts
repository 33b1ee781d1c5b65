// The read-only HTTP server for people and monitoring, on the loopback interface or a Unix socket. Of a message, it
// shows only the type, the size, and the code and field paths of its rejection.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type AdminAddress, formatAdminAddress, isLoopback, parseAdminAddress } from '../config/addresses.js';
import { listenAt } from '../connection/listener.js';
import { SluiceError } from '../errors.js';
import type { Peer } from '../protocol/peer.js';
import type { RejectedMessage } from '../protocol/rejection.js';
import { AdminRoutes } from './admin-routes.js';
import type { AdminSource } from './admin-source.js';
import { RejectionLog } from './rejection-log.js';
import { json, type Reply } from './reply.js';
import { Sampler } from './sampler.js';

/** Maximum number of connections: a few browsers, scrapers and terminals. */
const MAX_CONNECTIONS = 128;
const LISTEN_OPTIONS = { backlog: 64, socketMode: '0600' };
/** Requests after which a connection is closed: bounds the memory for replies to pipelined requests. */
const MAX_REQUESTS = 100;

export interface RequestLimits {
  /** ms that a client has to send its request. */
  readonly requestTimeout: number;
  /** Interval at which Node closes connections that exceeded it, in ms. */
  readonly connectionsCheckingInterval: number;
}

export const REQUEST_LIMITS: RequestLimits = { requestTimeout: 10_000, connectionsCheckingInterval: 1000 };

/** Sent with every reply, unless it has its own: forbids use by other sites, in frames and in caches. */
const SAFE_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

export class AdminServer {
  readonly #address: AdminAddress;
  readonly #sampler: Sampler;
  readonly #rejections = new RejectionLog();
  readonly #routes: AdminRoutes;
  readonly #server: Server;
  #bound: AdminAddress | undefined;
  #removeSocketFile: () => void = () => {};

  /**
   * @param address as in the option `admin`: `host:port`, `:port` or a path
   * @throws SluiceError `INVALID_OPTION`
   */
  constructor(source: AdminSource, address: string, limits: RequestLimits = REQUEST_LIMITS) {
    const parsed = parseAdminAddress(address);
    if (parsed === undefined) throw new SluiceError('INVALID_OPTION', 'admin');
    this.#address = parsed;
    this.#sampler = new Sampler(source);
    this.#routes = new AdminRoutes(source, this.#sampler, this.#rejections);
    this.#server = createServer({ ...limits }, (request, response) => {
      void this.#answer(request, response);
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.maxRequestsPerSocket = MAX_REQUESTS;
  }

  /** The address that it listens on, a path or `host:port`; `undefined` if it does not listen. */
  get address(): string | undefined {
    return this.#bound && formatAdminAddress(this.#bound);
  }

  /**
   * Listens.
   * @throws SluiceError `ADDRESS_IN_USE`, `SOCKET_PATH_INVALID`, `LISTEN_FAILED`
   */
  async start(): Promise<void> {
    this.#bound = await this.#listen();
    // Ignores failed accepts, for lack of file descriptors: existing connections continue.
    this.#server.on('error', () => {});
  }

  /** Closes all connections and stops listening. */
  async stop(): Promise<void> {
    this.#bound = undefined;
    this.#sampler.stop();
    this.#routes.close();
    this.#removeSocketFile();
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  /** Records a rejected message's code and position, for the dashboard. */
  recordRejection(rejection: RejectedMessage<Peer>): void {
    this.#rejections.add(rejection);
  }

  async #listen(): Promise<AdminAddress> {
    const address = this.#address;
    this.#removeSocketFile = await listenAt(this.#server, address, 'admin', LISTEN_OPTIONS);
    if ('path' in address) return address;
    const { port } = this.#server.address() as AddressInfo;
    return { host: address.host, port };
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {});
    for (const [name, value] of Object.entries(SAFE_HEADERS)) response.setHeader(name, value);
    try {
      const reply = await this.#reply(request, response);
      if (reply !== undefined) send(request, response, reply);
    } catch {
      // The error is not shown to the client.
      if (response.headersSent) response.destroy();
      else send(request, response, json(500, { error: 'failed to collect metrics' }));
    }
  }

  async #reply(request: IncomingMessage, response: ServerResponse): Promise<Reply | undefined> {
    if (!this.#isHostAllowed(request)) return json(403, { error: 'the Host header is not allowed' });
    // Only the path and the query matter; the parser needs a base.
    const { url = '/' } = request;
    const target = URL.canParse(url, 'http://admin') ? new URL(url, 'http://admin') : undefined;
    const route = target && this.#routes.find(target.pathname);
    if (target === undefined || route === undefined) return json(404, { error: 'not found' });
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      return json(405, { error: 'method not allowed' });
    }
    return route(target.searchParams, response);
  }

  /**
   * Protects against DNS rebinding: a page of another site could point its own host name at this machine and read the
   * replies. On the loopback interface, only names of the loopback interface are allowed.
   */
  #isHostAllowed({ headers: { host = '' } }: IncomingMessage): boolean {
    if ('path' in this.#address || !isLoopback(this.#address.host)) return true;
    return isLoopback(host.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1'));
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
