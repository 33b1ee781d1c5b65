// Answers the requests of the admin server and of the application's own servers. Of a message, it shows only the type, the
// size, and the code and field paths of its rejection, unless the feed is on.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Peer } from '../protocol/peer.js';
import type { RejectedMessage } from '../protocol/rejected-message.js';
import { ActionRoute } from './action-route.js';
import { AdminRoutes, EVENTS_PATH, type Route } from './admin-routes.js';
import type { AdminSource } from './admin-source.js';
import { DeadLetterStore } from './dead-letter-store.js';
import { FEED_PATH, FeedRoute } from './feed-route.js';
import { History } from './history.js';
import { RejectionGroups } from './rejection-groups.js';
import { RejectionLog } from './rejection-log.js';
import { json, type Reply, RequestError } from './reply.js';
import { Sampler } from './sampler.js';
import { TAIL_PATH, TailRoute } from './tail-route.js';

/** Sent with every reply, unless it has its own: forbids use by other sites, in frames and in caches. */
const SAFE_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};
const STREAM_PATHS: ReadonlySet<string> = new Set([EVENTS_PATH, FEED_PATH, TAIL_PATH]);

export class AdminHandler {
  readonly #sampler: Sampler;
  readonly #history: History;
  readonly #rejections = new RejectionLog();
  readonly #groups = new RejectionGroups();
  readonly #routes: AdminRoutes;
  readonly #feed: FeedRoute;
  readonly #actions: ActionRoute;
  readonly #tail: TailRoute;
  readonly #onError: (error: unknown) => void;

  /** @param onError receives the errors of requests that failed */
  constructor(source: AdminSource, onError: (error: unknown) => void) {
    this.#sampler = new Sampler(source);
    this.#history = new History(source, () => this.#sampler.eventLoopDelay);
    const deadLetters = new DeadLetterStore(source);
    this.#routes = new AdminRoutes(source, this.#sampler, this.#history, {
      rejections: this.#rejections,
      groups: this.#groups,
      deadLetters,
    });
    this.#feed = new FeedRoute(source);
    this.#actions = new ActionRoute(source, deadLetters);
    this.#tail = new TailRoute(source);
    this.#onError = onError;
  }

  /** Begins the history. */
  start(): void {
    this.#history.start();
  }

  /** Stops measuring, and ends all streams of events. */
  stop(): void {
    this.#history.stop();
    this.#sampler.stop();
    this.#routes.close();
  }

  /** Records a rejected message's code and position, for the dashboard. */
  recordRejection(rejection: RejectedMessage<Peer>): void {
    this.#rejections.add(rejection);
    this.#groups.add(rejection);
  }

  /**
   * Answers a request.
   * @param url path and query, from where the admin server's own paths begin
   * @returns false, without an answer, if there is no such path
   */
  async answer(request: IncomingMessage, response: ServerResponse, url: string): Promise<boolean> {
    // Only the path and the query matter; the parser needs a base.
    const target = URL.canParse(url, 'http://admin') ? new URL(url, 'http://admin') : undefined;
    const createReply = target && this.#replyAt(target, request, response);
    if (createReply === undefined) return false;
    await this.reply(request, response, createReply);
    return true;
  }

  /** Sends a reply, unless there is none because the response is written already. */
  async reply(
    request: IncomingMessage,
    response: ServerResponse,
    createReply: () => Reply | undefined | Promise<Reply | undefined>,
  ): Promise<void> {
    // The client has left: a stream would not notice.
    if (request.socket.destroyed) return;
    response.on('error', () => {});
    for (const [name, value] of Object.entries(SAFE_HEADERS)) response.setHeader(name, value);
    try {
      const reply = await createReply();
      if (reply !== undefined) send(request, response, reply);
    } catch (error) {
      if (error instanceof RequestError)
        return send(request, response, json(error.status, { error: error.message }));
      this.#onError(error);
      if (response.headersSent) response.destroy();
      else send(request, response, json(500, { error: "failed; see the broker's log" }));
    }
  }

  #replyAt(
    { pathname, searchParams }: URL,
    request: IncomingMessage,
    response: ServerResponse,
  ): (() => Reply | undefined | Promise<Reply | undefined>) | undefined {
    // Behind another response of its connection, a stream would not notice that the client leaves.
    if (response.socket === null && STREAM_PATHS.has(pathname))
      return () => json(400, { error: 'a stream must not be pipelined' });
    if (pathname === FEED_PATH) return () => this.#feed.answer(request, response);
    if (pathname === TAIL_PATH) return () => this.#tail.answer(searchParams, request, response);
    if (this.#actions.has(pathname)) return () => this.#actions.answer(pathname, request, response);
    const route = this.#routes.find(pathname);
    return route && (() => this.#follow(route, searchParams, request, response));
  }

  async #follow(
    route: Route,
    query: URLSearchParams,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<Reply | undefined> {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      return json(405, { error: 'method not allowed' });
    }
    try {
      return await route.reply(query, response, request);
    } catch (error) {
      // The error is not shown to the client.
      if (error instanceof RequestError || response.headersSent) throw error;
      this.#onError(error);
      return json(500, { error: route.failure });
    }
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
