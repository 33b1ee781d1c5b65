// What the broker logs with: the caller's logger or one of its own, with a fence around it. The broker logs no contents
// of messages and no tokens to begin with; the fence is for the day that somebody adds a line without thinking of it.

import { type Logger, pino } from 'pino';
import { WIRE_ERRORS } from '../errors.js';
import type { SocketConnection } from './socket-connection.js';

const SECRETS = [
  'token',
  'tokens',
  'access_token',
  'accessToken',
  'authorization',
  'password',
  'secret',
  'sample',
  'raw',
];
const REDACT = { paths: SECRETS.flatMap((key) => [key, `*.${key}`]), censor: '***' };

/**
 * A logger whose level can be changed without changing the caller's.
 * @param logger the caller's; none: JSON lines on standard error
 * @param level of the broker's own logger; the caller's keeps the level that it has
 */
export function brokerLogger(logger: Logger | undefined, level: string): Logger {
  const parent = logger ?? pino({ name: 'sluice', level }, pino.destination(2));
  return parent.child({}, { redact: REDACT });
}

/**
 * The logger for what concerns one connection: each line says which, and whose. Made anew for each line, of which
 * there are few: so it has the present level, and who the peer is by now.
 */
export function connectionLogger(log: Logger, { id, role, crawlerId }: SocketConnection): Logger {
  return log.child({ connection: id, role, ...(crawlerId === undefined ? {} : { crawlerId }) });
}

/** Says that a connection has gone: aloud where the broker has closed it for a fault of the peer's. */
export function logGone(log: Logger, connection: SocketConnection, reason: string): void {
  const level = Object.hasOwn(WIRE_ERRORS, reason) && reason !== 'SHUTTING_DOWN' ? 'warn' : 'debug';
  if (log.isLevelEnabled(level)) connectionLogger(log, connection)[level]({ reason }, 'connection has gone');
}
