// Logs rejected messages, so that they are seen even if nothing subscribes to `rejected`: error codes, paths and counts,
// no content. There is at most one line per error code and second.

import type { Logger } from 'pino';
import type { RejectedFrame } from '../dispatch/verdict.js';
import type { WireErrorCode } from '../errors.js';
import type { Peer } from '../protocol/peer.js';
import { connectionLogger } from './broker-logger.js';
import { RateLimitedLog } from './rate-limited-log.js';

/** Maximum number of issues in a line. */
const MAX_ISSUES = 5;

interface Rejection {
  readonly connection: Peer;
  readonly details: RejectedFrame | undefined;
}

export class RejectionLogger {
  readonly #logger: Logger;
  readonly #lines = new RateLimitedLog<WireErrorCode, Rejection>((code, count, { connection, details }) => {
    const issues = details?.issues
      .slice(0, MAX_ISSUES)
      .map((issue) => ({ path: issue.path, code: issue.code }));
    const about = details && { messageType: details.type, line: details.line, issues };
    connectionLogger(this.#logger, connection).warn({ code, count, ...about }, 'messages rejected');
  });

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /**
   * Records rejected messages of one connection.
   * @param details of the last of them, if they are known
   */
  record(connection: Peer, code: WireErrorCode, count: number, details: RejectedFrame | undefined): void {
    if (this.#logger.isLevelEnabled('warn')) this.#lines.record(code, count, { connection, details });
  }

  /** Logs what is unlogged. */
  flush(): void {
    this.#lines.flush();
  }
}
