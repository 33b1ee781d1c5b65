// What the broker logs with: the caller's logger or one of its own, with a fence around it. The broker logs no contents
// of messages and no tokens to begin with; the fence is for the day that somebody adds a line without thinking of it.

import { type Logger, type LoggerOptions, pino } from 'pino';
import { WIRE_ERRORS } from '../errors.js';
import { LogWriter } from './log-writer.js';
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

export interface OwnLog {
  readonly logger: Logger;
  /** Where its lines go. */
  readonly writer: LogWriter;
}

export interface OwnLogOptions extends LoggerOptions {
  /** Makes another text of each line. */
  readonly render?: (line: string) => string;
  /** Called with the first error of the output. */
  readonly onError?: (error: NodeJS.ErrnoException) => void;
}

/** A logger to standard output or error that never waits for its reader: it drops lines instead, and logs how many. */
export function openLog(fd: StandardFd, { render, onError, ...options }: OwnLogOptions): OwnLog {
  const writer = new LogWriter(openStandardStream(fd), {
    onDropped: (dropped, error) => {
      if (error === undefined) logger.warn({ dropped }, 'log lines were dropped: nobody read the log');
      else
        logger.warn({ dropped, error: error.code }, 'log lines were dropped: the log could not be written');
    },
    ...(onError === undefined ? {} : { onError }),
  });
  const write = (line: string) => writer.write(render === undefined ? line : render(line));
  const logger = pino(options, { write });
  return { logger, writer };
}

/** The log of a broker that is given none: JSON lines on standard error. */
export function defaultLog(level: string): { logger: Logger; droppedLogLines: () => number } {
  const { logger, writer } = openLog(2, { name: 'sluice', level });
  return { logger, droppedLogLines: () => writer.droppedLines };
}

/** A logger whose level can be changed without changing the caller's. */
export function brokerLogger(logger: Logger): Logger {
  return logger.child({}, { redact: REDACT });
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
