// Logs warnings about connections: rejected messages, so that they are seen even if nothing subscribes to `rejected`, with
// error codes, paths and counts but no content, and closed connections. Peers can cause any number of them, so there is at
// most one line per text, reason and second.

import type { Logger } from 'pino';
import type { RejectedFrame } from '../dispatch/verdict.js';
import { WIRE_ERRORS, type WireErrorCode } from '../errors.js';
import type { Peer } from '../protocol/peer.js';
import { connectionLogger } from './broker-logger.js';
import { RateLimitedLog } from './rate-limited-log.js';
import type { SocketConnection } from './socket-connection.js';

/** Maximum number of issues in a line. */
const MAX_ISSUES = 5;

interface Warning {
  readonly text: string;
  readonly connection: Peer;
  readonly describe: () => object;
}

export class WarningLogger {
  readonly #logger: Logger;
  /** By text and reason. */
  readonly #lines = new RateLimitedLog<string, Warning>((_, count, { text, connection, describe }) =>
    connectionLogger(this.#logger, connection).warn({ ...describe(), count }, text),
  );

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /**
   * Records rejected messages of one connection.
   * @param details of the last of them, if they are known
   */
  recordRejected(
    connection: Peer,
    code: WireErrorCode,
    count: number,
    details: RejectedFrame | undefined,
  ): void {
    this.record('messages rejected', connection, code, () => describeRejected(code, details), count);
  }

  /**
   * Records what happened to a connection.
   * @param text of the line
   * @param reason one of few
   * @param describe returns what the line contains besides the connection and the count
   * @param count Default: 1.
   */
  record(text: string, connection: Peer, reason: string, describe: () => object, count = 1): void {
    if (!this.#logger.isLevelEnabled('warn')) return;
    this.#lines.record(`${text} ${reason}`, count, { text, connection, describe });
  }

  /** Logs what is unlogged. */
  flush(): void {
    this.#lines.flush();
  }
}

function describeRejected(code: WireErrorCode, details: RejectedFrame | undefined): object {
  const issues = details?.issues
    .slice(0, MAX_ISSUES)
    .map((issue) => ({ path: issue.path, code: issue.code }));
  return { code, ...(details && { messageType: details.type, line: details.line, issues }) };
}

/**
 * Logs that a connection has closed, with its totals: as a warning if the broker closed it because of an error of the
 * peer.
 */
export function logClosed(
  logger: Logger,
  warnings: WarningLogger,
  connection: SocketConnection,
  reason: string,
): void {
  const isWarning = Object.hasOwn(WIRE_ERRORS, reason) && reason !== 'SHUTTING_DOWN';
  if (!logger.isLevelEnabled(isWarning ? 'warn' : 'debug')) return;
  const { messagesReceived, messagesRejected, messagesSent, messagesDropped, ...others } =
    connection.statistics;
  const { bytesReceived, bytesSent, uptime } = others;
  const messages = { messagesReceived, messagesRejected, messagesSent, messagesDropped };
  const about = { reason, ...messages, bytesReceived, bytesSent, uptime: Math.round(uptime) };
  const text = 'connection closed';
  if (isWarning) warnings.record(text, connection, reason, () => about);
  else connectionLogger(logger, connection).debug(about, text);
}
