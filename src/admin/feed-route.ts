// `/api/stream`: the feed, for pages of other origins too. Unlike the other routes, it shows the content of messages: it is
// off unless the option `feed` is set, and needs a token if the broker has any.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import type { ReadableStream as NodeReadableStream } from 'node:stream/web';
import type { AdminSource } from './admin-source.js';
import { requireReader } from './bearer-token.js';
import { json, type Reply } from './reply.js';

export const FEED_PATH = '/api/stream';
/** How long a browser may remember what it may send, in s. */
const PREFLIGHT_AGE = 600;

export class FeedRoute {
  readonly #source: AdminSource;

  constructor(source: AdminSource) {
    this.#source = source;
  }

  /**
   * Answers a request, or streams the feed.
   * @throws RequestError
   */
  answer(request: IncomingMessage, response: ServerResponse): Reply | undefined {
    const { feed, feedOrigins } = this.#source.options;
    if (!feed) return json(404, { error: 'the feed is off: set the option feed' });
    const { origin } = request.headers;
    response.setHeader('vary', 'origin');
    if (origin !== undefined && (feedOrigins.includes(origin) || feedOrigins.includes('*'))) {
      response.setHeader('access-control-allow-origin', origin);
      response.setHeader('cross-origin-resource-policy', 'cross-origin');
    }
    if (request.method === 'OPTIONS') return preflight(request);
    if (request.method !== 'GET') {
      response.setHeader('allow', 'GET, OPTIONS');
      return json(405, { error: 'method not allowed' });
    }
    requireReader(this.#source, request);
    const feeds = this.#source.feeds();
    if (feeds === undefined) return json(503, { error: 'the broker is stopping' });
    stream(feeds.respond(webRequest(request)), response);
    return undefined;
  }
}

/** What the feed needs of a request. */
function webRequest({ url = '', headers: { 'last-event-id': id } }: IncomingMessage): Request {
  const headers = typeof id === 'string' ? { 'last-event-id': id } : {};
  // Only the query matters; the parser needs a base.
  return new Request(new URL(url, 'http://admin'), { headers });
}

function stream({ status, headers, body }: Response, response: ServerResponse): void {
  response.writeHead(status, Object.fromEntries(headers));
  if (body === null) return void response.end();
  // The same class, by another name.
  const content = Readable.fromWeb(body as NodeReadableStream<Uint8Array>);
  response.on('close', () => content.destroy());
  content.on('error', () => response.destroy()).pipe(response);
}

function preflight(request: IncomingMessage): Reply {
  const isToPrivateNetwork = request.headers['access-control-request-private-network'] === 'true';
  return {
    status: 204,
    headers: {
      'access-control-allow-methods': 'GET',
      'access-control-allow-headers': 'authorization, last-event-id',
      'access-control-max-age': String(PREFLIGHT_AGE),
      ...(isToPrivateNetwork ? { 'access-control-allow-private-network': 'true' } : {}),
    },
    body: '',
  };
}
