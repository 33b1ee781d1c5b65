// Logs errors of an application's functions: where they come from and their number, no content. There is at most one line
// per type, phase and second, for live and durable handlers each.

import type { Logger } from 'pino';
import { RateLimitedLog } from '../connection/rate-limited-log.js';
import { describeForLog } from '../errors.js';
import type { HandlerFailure } from './message-router.js';

interface Failure {
  readonly message: string;
  /** Which function has failed; `undefined` for a listener. */
  readonly where:
    | { readonly type: string | undefined; readonly phase: string; readonly isDurable: boolean }
    | undefined;
  readonly error: unknown;
}

export class FailureLogger {
  readonly #lines: RateLimitedLog<string, Failure>;

  /** @param logger called for each line */
  constructor(logger: () => Logger) {
    this.#lines = new RateLimitedLog((_, count, { message, where, error }) =>
      logger().error({ ...where, count, error: describeForLog(error) }, message),
    );
  }

  /** Records that a handler or middleware has failed. */
  record({ error, phase, event, events, durable }: HandlerFailure): void {
    const first = event ?? events?.[0] ?? durable?.[0];
    // Peers may make up the types of messages that are not valid.
    const type = first?.isValid === false ? '*' : first?.type;
    const message = 'a message handler or middleware failed';
    const where = { type, phase, isDurable: durable !== undefined };
    this.#lines.record(Object.values(where).join(' '), 1, { message, where, error });
  }

  /** Records that a listener of `handler_error` has failed. */
  recordListener(error: unknown): void {
    const message = 'a listener of handler_error failed';
    this.#lines.record('listener', 1, { message, where: undefined, error });
  }

  /** Logs what is unlogged. */
  flush(): void {
    this.#lines.flush();
  }
}
