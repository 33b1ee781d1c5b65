// The token of a request, in its header `Authorization`.

import type { IncomingMessage } from 'node:http';
import type { AdminSource } from './admin-source.js';
import { RequestError } from './reply.js';

export function bearerToken({ headers: { authorization = '' } }: IncomingMessage): string | undefined {
  const [, token] = /^Bearer (\S+)$/i.exec(authorization) ?? [];
  return token;
}

/**
 * Requires that the broker has started: before, no token is known.
 * @throws RequestError
 */
export function requireStarted(source: AdminSource): void {
  if (source.status().state === 'starting') throw new RequestError(503, 'the broker is starting');
}

/**
 * Requires a token of someone who may read messages, if the broker has tokens.
 * @throws RequestError
 */
export function requireReader(source: AdminSource, request: IncomingMessage): void {
  requireStarted(source);
  if (!source.verifyToken(bearerToken(request)))
    rejectToken(source, 'a token of the role monitor or app, or an admin token, is required');
}

/** @throws RequestError 401, or 429 if there were too many wrong tokens */
export function rejectToken(source: AdminSource, error: string): never {
  if (source.isTokenLimitReached()) throw new RequestError(429, 'too many wrong tokens');
  throw new RequestError(401, `${error}: Authorization: Bearer TOKEN`);
}
