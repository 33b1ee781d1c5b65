// The broker's window for people and monitoring: HTTP on the loopback interface or on a Unix socket, read-only. Never
// shows anything of a message but its type, its size and the code of its rejection.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type AdminAddress, formatAdminAddress, isLoopback, parseAdminAddress } from '../config/addresses.js';
import { listenAtPath } from '../connection/socket-file.js';
import { describeError, SluiceError } from '../errors.js';
import type { Peer } from '../protocol/peer.js';
import type { RejectedMessage } from '../protocol/rejection.js';
import { AdminRoutes } from './admin-routes.js';
import type { AdminSource } from './admin-source.js';
import { RejectionLog } from './rejection-log.js';
import { json, type Reply } from './reply.js';
import { Sampler } from './sampler.js';

/** Connections at a time: a few browsers, scrapers and terminals. */
const MAX_CONNECTIONS = 128;
const BACKLOG = 64;
/** Requests of one connection, after which it is closed: more could be sent at once than their answers have room for. */
const MAX_REQUESTS = 100;

export interface RequestLimits {
  /** Milliseconds that a client may take to send its request. */
  readonly requestTimeout: number;
  /** Interval at which Node closes the connections that took longer, in ms. */
  readonly connectionsCheckingInterval: number;
}

export const REQUEST_LIMITS: RequestLimits = { requestTimeout: 10_000, connectionsCheckingInterval: 1000 };

/** On every reply: nothing here is for another site, a frame or a cache. */
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
   * @param address as `admin` has it: `host:port`, `:port` or a path
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

  /** Where it listens: a path, or `host:port`; `undefined` when it does not. */
  get address(): string | undefined {
    return this.#bound && formatAdminAddress(this.#bound);
  }

  /**
   * Listens.
   * @throws SluiceError `ADDRESS_IN_USE`, `SOCKET_PATH_INVALID`, `LISTEN_FAILED`
   */
  async start(): Promise<void> {
    this.#bound = await this.#listen();
    // Connections that cannot be accepted, for want of file descriptors: those that are there go on.
    this.#server.on('error', () => {});
  }

  /** Ends all connections, and listens no more. */
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

  /** Keeps a rejected message's code and place, for the page. */
  recordRejection(rejection: RejectedMessage<Peer>): void {
    this.#rejections.add(rejection);
  }

  async #listen(): Promise<AdminAddress> {
    const address = this.#address;
    if ('path' in address) {
      const options = { backlog: BACKLOG, socketMode: '0600' };
      this.#removeSocketFile = await listenAtPath(this.#server, address.path, options);
      return address;
    }
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (cause: NodeJS.ErrnoException) => {
        const code = cause.code === 'EADDRINUSE' ? 'ADDRESS_IN_USE' : 'LISTEN_FAILED';
        reject(new SluiceError(code, `admin: ${describeError(cause)}`, { cause }));
      });
      this.#server.listen({ ...address, backlog: BACKLOG }, resolve);
    });
    this.#server.removeAllListeners('error');
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
      // What went wrong is not for whoever asked.
      if (response.headersSent) response.destroy();
      else send(request, response, json(500, { error: 'the figures cannot be told' }));
    }
  }

  async #reply(request: IncomingMessage, response: ServerResponse): Promise<Reply | undefined> {
    if (!this.#isMeantForUs(request)) return json(403, { error: 'the Host of the request is not allowed' });
    // Only the path and the query count; the base is there for the parser.
    const { url = '/' } = request;
    const target = URL.canParse(url, 'http://admin') ? new URL(url, 'http://admin') : undefined;
    const route = target && this.#routes.find(target.pathname);
    if (target === undefined || route === undefined) return json(404, { error: 'there is nothing here' });
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      return json(405, { error: 'only GET' });
    }
    return route(target.searchParams, response);
  }

  /**
   * A page of another site can make a name of its own point to this machine, and then read what is here: on the
   * loopback interface, only names of the loopback interface count.
   */
  #isMeantForUs({ headers: { host = '' } }: IncomingMessage): boolean {
    if ('path' in this.#address || !isLoopback(this.#address.host)) return true;
    return isLoopback(host.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1'));
  }
}

function send(request: IncomingMessage, response: ServerResponse, { status, headers, body }: Reply): void {
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) });
  response.end(request.method === 'HEAD' ? undefined : body);
}
