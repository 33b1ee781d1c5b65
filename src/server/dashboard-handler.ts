// The admin server's paths as a handler for the application's own server, which decides who may reach them.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AdminHandler } from '../admin/admin-handler.js';
import { SluiceError } from '../errors.js';
import { requireKnownOptions } from '../known-options.js';

export interface DashboardOptions {
  /**
   * The path that it is served at, such as `/sluice`, if the requests still contain it. Default: none, as in Express, which
   * removes the path of `app.use`.
   */
  readonly prefix?: string;
}

/**
 * Answers a request, or calls `next` if there is no such path. Without `next`, the answer is 404.
 */
export type DashboardHandler = (
  request: IncomingMessage,
  response: ServerResponse,
  next?: (error?: unknown) => void,
) => void;

const PREFIX = /^(?:\/[\w.~-]+)*\/?$/;
const JSON_HEADERS = { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' };

/**
 * @param admin answers the requests; `undefined` while the broker is stopped
 * @throws SluiceError `INVALID_OPTION` if the prefix is not a path, or another option is set
 */
export function createDashboardHandler(
  admin: () => Promise<AdminHandler> | undefined,
  options: DashboardOptions,
): DashboardHandler {
  requireKnownOptions(options, { prefix: true });
  const { prefix = '' } = options;
  if (!PREFIX.test(prefix))
    throw new SluiceError('INVALID_OPTION', 'prefix: must be a path, such as /sluice');
  const mount = prefix.replace(/\/$/, '');
  const answer = async (
    request: IncomingMessage,
    response: ServerResponse,
    next: (() => void) | undefined,
  ): Promise<void> => {
    const path = pathBelow(mount, request.url ?? '/');
    const loaded = admin();
    if (loaded === undefined) return sendError(response, 503, 'the broker is not running');
    if (path !== undefined && lacksSlash(path, request)) return redirect(request, response);
    const isFound = path !== undefined && (await (await loaded).answer(request, response, path));
    if (isFound) return;
    if (next === undefined) sendError(response, 404, 'not found');
    else next();
  };
  return (request, response, next) => {
    answer(request, response, next).catch((error: unknown) => {
      if (next !== undefined) next(error);
      else sendError(response, 500, 'the dashboard cannot be loaded');
    });
  };
}

/** Path and query without the prefix; `undefined` if they do not begin with it. Empty, or only a query, at the prefix itself. */
function pathBelow(prefix: string, url: string): string | undefined {
  const rest = url.startsWith(prefix) ? url.slice(prefix.length) : undefined;
  return rest === undefined || /^[^/?]/.test(rest) ? undefined : rest;
}

/** Whether the page would be at a path without a slash at its end, where its relative URLs lead elsewhere. */
function lacksSlash(path: string, request: IncomingMessage): boolean {
  if (!/^\/(?:\?|$)/.test(path)) return !path.startsWith('/');
  return !pathOf(originalUrl(request)).endsWith('/');
}

function redirect(request: IncomingMessage, response: ServerResponse): void {
  const url = originalUrl(request);
  const path = pathOf(url);
  // Relative: a proxy in front of the application may have removed a part of the path.
  const location = `./${path.slice(path.lastIndexOf('/') + 1)}/${url.slice(path.length)}`;
  response.writeHead(302, { location, 'cache-control': 'no-store' }).end();
}

/** The URL before Express, or what works like it, has removed the path of `app.use`. */
function originalUrl(request: IncomingMessage & { readonly originalUrl?: unknown }): string {
  return typeof request.originalUrl === 'string' ? request.originalUrl : (request.url ?? '/');
}

function pathOf(url: string): string {
  return url.split('?', 1)[0] ?? '';
}

function sendError(response: ServerResponse, status: number, error: string): void {
  if (response.headersSent) response.destroy();
  else response.writeHead(status, JSON_HEADERS).end(`${JSON.stringify({ error })}\n`);
}
