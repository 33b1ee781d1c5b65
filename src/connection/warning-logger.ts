// Logs warnings about connections: rejected messages, so that they are seen even if nothing subscribes to `rejected`, with
// error codes, paths and counts but no content, and closed connections. Peers can cause any number of them, so there is at
// most one line per text, reason and second.

import type { Logger } from 'pino';
import type { RejectedFrame } from '../dispatch/verdict.js';
import { WIRE_ERRORS, type WireErrorCode } from '../errors.js';
import type { Peer } from '../protocol/peer.js';
import { connectionLogger } from './broker-logger.js';
import type { SocketConnection } from './socket-connection.js';

/** Minimum time between two lines with the same text and reason, in ms. */
const INTERVAL = 1000;
/** Maximum number of issues in a line. */
const MAX_ISSUES = 5;

/** What happened since the last line. The connection and the details are those of the latest. */
interface Unlogged {
  count: number;
  connection: Peer;
  describe: () => object;
}

interface LineState {
  readonly text: string;
  /** Monotonic time of the last line, in ms. */
  loggedAt: number;
  unlogged: Unlogged | undefined;
  /** Logs what is unlogged at the end of the interval. */
  timer: NodeJS.Timeout | undefined;
}

export class WarningLogger {
  readonly #logger: Logger;
  readonly #states = new Map<string, LineState>();

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
    const key = `${text} ${reason}`;
    let state = this.#states.get(key);
    if (state === undefined) {
      state = { text, loggedAt: Number.NEGATIVE_INFINITY, unlogged: undefined, timer: undefined };
      this.#states.set(key, state);
    }
    state.unlogged = { count: (state.unlogged?.count ?? 0) + count, connection, describe };
    const wait = state.loggedAt + INTERVAL - performance.now();
    if (wait <= 0) this.#write(state);
    else state.timer ??= setTimeout(this.#write, wait, state).unref();
  }

  /** Logs what is unlogged. */
  flush(): void {
    for (const state of this.#states.values()) this.#write(state);
  }

  readonly #write = (state: LineState): void => {
    clearTimeout(state.timer);
    state.timer = undefined;
    if (state.unlogged === undefined) return;
    const { count, connection, describe } = state.unlogged;
    state.unlogged = undefined;
    state.loggedAt = performance.now();
    connectionLogger(this.#logger, connection).warn({ ...describe(), count }, state.text);
  };
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
