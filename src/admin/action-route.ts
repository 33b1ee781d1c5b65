// What an operator can do: close a connection, pause and resume reading from it, send a message to crawlers, and drop dead
// letters or send them again. Needs an admin token, unlike everything else, which only shows. Each action is logged, without
// content.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { PAUSE } from '../connection/connection-state.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import { SluiceError } from '../errors.js';
import type { OutgoingMessage } from '../messages/messages.js';
import type { AdminSource } from './admin-source.js';
import { bearerToken, rejectToken, requireStarted } from './bearer-token.js';
import type { DeadLetterStore } from './dead-letter-store.js';
import { json, type Reply, RequestError } from './reply.js';

const CONNECTION_ACTION = /^\/api\/connections\/([^/]+)\/(close|pause|resume)$/;
const MESSAGES_PATH = '/api/messages';
const DROP_PATH = '/api/dead-letters/drop';
const RETRY_PATH = '/api/dead-letters/retry';
/** Maximum number of dead letters of one action. */
const MAX_IDS = 100;
/** Maximum size of a body, in bytes. */
const MAX_BODY = 64 * 1024;

const NO_LETTERS = 'no such dead letters';

const CONNECTION_ACTIONS: Readonly<Record<string, (connection: SocketConnection) => void>> = {
  close: (connection) => void connection.disconnect('admin'),
  // What a peer sent before it disconnected is read to its end.
  pause: (connection) => connection.setPaused(PAUSE.ADMIN, connection.isOpen),
  resume: (connection) => connection.setPaused(PAUSE.ADMIN, false),
};

export class ActionRoute {
  readonly #source: AdminSource;
  readonly #deadLetters: DeadLetterStore;

  constructor(source: AdminSource, deadLetters: DeadLetterStore) {
    this.#source = source;
    this.#deadLetters = deadLetters;
  }

  /** Whether there is an action at this path. */
  has(path: string): boolean {
    return [MESSAGES_PATH, DROP_PATH, RETRY_PATH].includes(path) || CONNECTION_ACTION.test(path);
  }

  /**
   * Takes an action.
   * @throws RequestError
   */
  async answer(path: string, request: IncomingMessage, response: ServerResponse): Promise<Reply> {
    if (request.method !== 'POST') {
      response.setHeader('allow', 'POST');
      return json(405, { error: 'method not allowed' });
    }
    this.#requireAdmin(request);
    if (!/^application\/json\s*(?:;|$)/i.test(request.headers['content-type'] ?? ''))
      throw new RequestError(415, 'the content type must be application/json');
    const body = await readBody(request);
    if (path === DROP_PATH) return this.#drop(body);
    if (path === RETRY_PATH) return this.#retry(body);
    const [, id, action = ''] = CONNECTION_ACTION.exec(path) ?? [];
    if (id === undefined) return this.#send(body);
    const connection = this.#source.pool.get(id);
    if (connection === undefined) throw new RequestError(404, 'no such connection');
    CONNECTION_ACTIONS[action]?.(connection);
    this.#source.logAction(action, id);
    return json(200, { action, connectionId: id });
  }

  #requireAdmin(request: IncomingMessage): void {
    requireStarted(this.#source);
    const isAdmin = this.#source.verifyAdminToken(bearerToken(request));
    if (isAdmin === undefined)
      throw new RequestError(403, 'actions need an admin token: set the option auth.tokens.admin');
    if (!isAdmin) rejectToken(this.#source, 'an admin token is required');
  }

  async #drop(body: unknown): Promise<Reply> {
    const dropped = await this.#deadLetters.drop(idsIn(body));
    if (dropped.length === 0) throw new RequestError(404, NO_LETTERS);
    this.#source.logAction('drop_dead_letters', undefined, dropped);
    return json(200, { action: 'drop', dropped });
  }

  async #retry(body: unknown): Promise<Reply> {
    const { sent, failed } = await this.#deadLetters.retry(idsIn(body));
    if (sent.length + failed.length === 0) throw new RequestError(404, NO_LETTERS);
    this.#source.logAction('retry_dead_letters', undefined, sent);
    return json(200, { action: 'retry', sent, failed });
  }

  async #send(body: unknown): Promise<Reply> {
    const { crawlerId, message } = (body ?? {}) as {
      readonly crawlerId?: unknown;
      readonly message?: unknown;
    };
    if (crawlerId !== undefined && typeof crawlerId !== 'string')
      throw new RequestError(400, 'crawlerId: must be a string');
    if (typeof message !== 'object' || message === null)
      throw new RequestError(400, 'message: must be an object');
    const { pool } = this.#source;
    const crawler = crawlerId === undefined ? undefined : pool.getCrawler(crawlerId);
    if (crawlerId !== undefined && crawler === undefined) throw new RequestError(404, 'no such crawler');
    // Validated when it is encoded.
    const outgoing = message as OutgoingMessage;
    try {
      if (crawler !== undefined) {
        await crawler.send(outgoing);
        this.#source.logAction('send', crawler.id);
        return json(200, { delivered: 1, failed: 0 });
      }
      const { delivered, failed } = await pool.broadcastToCrawlers(outgoing);
      this.#source.logAction('broadcast', undefined);
      return json(200, { delivered, failed: failed.length });
    } catch (error) {
      if (!(error instanceof SluiceError)) throw error;
      throw new RequestError(error.code === 'INVALID_MESSAGE' ? 400 : 503, error.message);
    }
  }
}

/** @throws RequestError */
function idsIn(body: unknown): ReadonlySet<number> {
  const { ids } = (body ?? {}) as { readonly ids?: unknown };
  if (!Array.isArray(ids) || ids.length === 0 || ids.length > MAX_IDS || !ids.every(isId))
    throw new RequestError(400, `ids: must be a list of 1 to ${MAX_IDS} IDs`);
  return new Set(ids);
}

function isId(id: unknown): id is number {
  return Number.isSafeInteger(id) && Number(id) >= 0;
}

/** The value of a body in JSON; `undefined` if it is empty. A framework may have parsed it before. */
async function readBody(request: IncomingMessage & { readonly body?: unknown }): Promise<unknown> {
  if (request.body !== undefined) return request.body;
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > MAX_BODY) throw new RequestError(413, `the body must have at most ${MAX_BODY} bytes`);
    parts.push(part);
  }
  if (size === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(parts).toString());
  } catch {
    throw new RequestError(400, 'the body must be JSON');
  }
}
