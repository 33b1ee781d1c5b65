// `/api/tail`: forwarded messages as they come. Like the feed, it shows the content of messages, without what looks like a
// secret: it is off unless the option `feed` is set, and needs a token if the broker has any.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { SluiceError } from '../errors.js';
import type { TailReader } from '../feed/tail.js';
import type { AdminSource } from './admin-source.js';
import { requireReader } from './bearer-token.js';
import { json, type Reply, RequestError } from './reply.js';

export const TAIL_PATH = '/api/tail';
/** A reader with more unsent bytes than this gets no further messages until it has caught up. */
const MAX_UNSENT = 256 * 1024;
const HEADERS = {
  'content-type': 'text/event-stream',
  // nginx would collect events otherwise.
  'x-accel-buffering': 'no',
};

export class TailRoute {
  readonly #source: AdminSource;

  constructor(source: AdminSource) {
    this.#source = source;
  }

  /**
   * Answers a request, or streams messages.
   * @throws RequestError
   */
  answer(query: URLSearchParams, request: IncomingMessage, response: ServerResponse): Reply | undefined {
    if (!this.#source.options.feed) return json(404, { error: 'the tail is off: set the option feed' });
    if (request.method !== 'GET') {
      response.setHeader('allow', 'GET');
      return json(405, { error: 'method not allowed' });
    }
    requireReader(this.#source, request);
    const tails = this.#source.tails();
    if (tails === undefined) return json(503, { error: 'the broker is stopping' });
    const reader: TailReader = {
      get isBehind() {
        return response.writableLength > MAX_UNSENT;
      },
      write: (event) => {
        if (response.writableLength <= MAX_UNSENT) response.write(event);
      },
      end: () => response.end(),
    };
    try {
      response.on('close', tails.open(query, reader));
    } catch (error) {
      if (!(error instanceof SluiceError)) throw error;
      throw new RequestError(error.code === 'INVALID_OPTION' ? 400 : 503, error.message);
    }
    response.writeHead(200, HEADERS);
    response.flushHeaders();
    return undefined;
  }
}
