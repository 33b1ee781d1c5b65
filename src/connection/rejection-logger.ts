// Logs rejected messages, so that they are seen even if nothing subscribes to `rejected`: error codes, paths and counts,
// no content. Peers can cause any number of rejections, so there is at most one line per error code and second.

import type { Logger } from 'pino';
import type { RejectedFrame } from '../dispatch/verdict.js';
import type { WireErrorCode } from '../errors.js';
import type { Peer } from '../protocol/peer.js';
import { connectionLogger } from './broker-logger.js';

/** Minimum time between two lines with the same code, in ms. */
const INTERVAL = 1000;
/** Maximum number of issues in a line. */
const MAX_ISSUES = 5;

/** Rejections with one code since its last line. The connection and the details are those of the latest. */
interface Unlogged {
  count: number;
  connection: Peer;
  details: RejectedFrame | undefined;
}

interface CodeState {
  /** Monotonic time of the last line, in ms. */
  loggedAt: number;
  unlogged: Unlogged | undefined;
  /** Logs what is unlogged at the end of the interval. */
  timer: NodeJS.Timeout | undefined;
}

export class RejectionLogger {
  readonly #logger: Logger;
  readonly #states = new Map<WireErrorCode, CodeState>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /**
   * Records rejected messages of one connection.
   * @param details of the last of them, if they are known
   */
  record(connection: Peer, code: WireErrorCode, count: number, details: RejectedFrame | undefined): void {
    if (!this.#logger.isLevelEnabled('warn')) return;
    let state = this.#states.get(code);
    if (state === undefined) {
      state = { loggedAt: Number.NEGATIVE_INFINITY, unlogged: undefined, timer: undefined };
      this.#states.set(code, state);
    }
    const { unlogged } = state;
    if (unlogged === undefined) state.unlogged = { count, connection, details };
    else {
      unlogged.count += count;
      unlogged.connection = connection;
      unlogged.details = details;
    }
    const wait = state.loggedAt + INTERVAL - performance.now();
    if (wait <= 0) this.#write(code, state);
    else state.timer ??= setTimeout(this.#write, wait, code, state).unref();
  }

  /** Logs what is unlogged. */
  flush(): void {
    for (const [code, state] of this.#states) this.#write(code, state);
  }

  readonly #write = (code: WireErrorCode, state: CodeState): void => {
    clearTimeout(state.timer);
    state.timer = undefined;
    if (state.unlogged === undefined) return;
    const { count, connection, details } = state.unlogged;
    state.unlogged = undefined;
    state.loggedAt = performance.now();
    const issues = details?.issues
      .slice(0, MAX_ISSUES)
      .map((issue) => ({ path: issue.path, code: issue.code }));
    const about = details && { messageType: details.type, line: details.line, issues };
    connectionLogger(this.#logger, connection).warn({ code, count, ...about }, 'messages rejected');
  };
}
