// The broker's logger: the caller's or a default one, with redaction. The broker never logs message contents or tokens;
// redaction is a safeguard in case a log line is ever added that does.

import type { Logger, LoggerOptions } from 'pino';
import { requireInstalled } from '../installed.js';
import { printable, printableLines } from '../printable.js';
import type { Peer } from '../protocol/peer.js';
import { LineWriter } from './line-writer.js';
import type { SocketConnection } from './socket-connection.js';
import { openStandardStream, type StandardFd } from './standard-stream.js';

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

/** The broker's logger. */
export interface BrokerLogger {
  readonly logger: Logger;
  /** Returns how many lines it has dropped. */
  readonly droppedLogLines: () => number;
}

/** A logger whose output the broker opened itself. */
export interface OwnedLogger {
  readonly logger: Logger;
  /** Writes the logger's lines. */
  readonly writer: LineWriter;
}

export interface OwnedLoggerOptions extends LoggerOptions {
  /** Formats each line. */
  readonly render?: (line: string) => string;
  /** Called with the first error of the output. */
  readonly onError?: (error: NodeJS.ErrnoException) => void;
}

/**
 * A logger to standard output or error that never blocks: if the log is not read, it drops lines and logs their number.
 */
export function openLogger(fd: StandardFd, { render, onError, ...options }: OwnedLoggerOptions): OwnedLogger {
  const writer = new LineWriter(openStandardStream(fd), {
    onDropped: (dropped, error) => {
      if (error === undefined) logger.warn({ dropped }, 'log lines dropped: the log was not read');
      else logger.warn({ dropped, error: error.code }, 'log lines dropped: the log could not be written');
    },
    ...(onError === undefined ? {} : { onError }),
  });
  const write = (line: string) => writer.write(render === undefined ? printableLines(line) : render(line));
  const { pino } = requireInstalled<typeof import('pino')>('pino');
  const logger = pino(options, { write });
  return { logger, writer };
}

/** The default logger of a broker without a logger option: JSON lines on standard error. */
export function defaultLogger(level: string): BrokerLogger {
  const { logger, writer } = openLogger(2, { name: 'sluice', level });
  return { logger, droppedLogLines: () => writer.droppedLines };
}

/** A child logger with redaction. Changing its level does not change the level of the caller's logger. */
export function redactingLogger(logger: Logger): Logger {
  return logger.child({}, { redact: REDACT });
}

/**
 * A logger that adds the connection's id, role and crawler id to its lines. Created for each line, since such lines are
 * rare, so that it has the current level and the peer's current identity. A crawler id is arbitrary text, of which pino
 * would escape only some control characters.
 */
export function connectionLogger(
  logger: Logger,
  { id, role, crawlerId, name }: Pick<Peer, 'id' | 'role' | 'crawlerId' | 'name'>,
): Logger {
  return logger.child({
    connection: id,
    role,
    ...(crawlerId === undefined ? {} : { crawlerId: printable(crawlerId) }),
    ...(name === undefined ? {} : { program: printable(name) }),
  });
}

/** Logs a new connection, before it has sent anything. */
export function logOpened(logger: Logger, connection: SocketConnection): void {
  if (logger.isLevelEnabled('debug')) connectionLogger(logger, connection).debug('connection opened');
}
