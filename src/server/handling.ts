// The handling of one message: the functions to call, their order, and the outcome.

import type { MessageEvent } from '../connection/message-event.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import type { OutgoingMessage } from '../messages/messages.js';
import type { HandlerContext, MessageHandler } from './handler.js';
import type { Middleware, ProcessOutcome } from './middleware.js';

/** The function that failed, of a handler or a middleware. */
export type HandlerPhase = 'beforeProcess' | 'canHandle' | 'handle' | 'afterProcess' | 'afterSend';

/** Calls one function. */
export type Step = (handling: Handling) => unknown;

/** The functions to call with messages of one type, in order. */
export interface Plan {
  readonly before: readonly Step[];
  readonly handlers: readonly Step[];
  readonly after: readonly Step[];
}

/** @param handlers in calling order */
export function makePlan(
  handlers: readonly MessageHandler<string>[],
  middleware: readonly Middleware[],
): Plan {
  return {
    before: middleware
      .filter(({ beforeProcess }) => beforeProcess)
      .map((one) => (handling) => {
        handling.phase = 'beforeProcess';
        return one.beforeProcess?.(handling.event);
      }),
    handlers: handlers.map((handler) => (handling) => {
      handling.phase = 'canHandle';
      if (handler.canHandle?.(handling.event) === false) return undefined;
      handling.phase = 'handle';
      return handler.handle(handling.event, handling);
    }),
    after: middleware
      .filter(({ afterProcess }) => afterProcess)
      .toReversed()
      .map((one) => (handling) => {
        handling.phase = 'afterProcess';
        return one.afterProcess?.(handling.event, handling.outcome);
      }),
  };
}

export class Handling implements HandlerContext {
  readonly event: MessageEvent;
  /** The function that is being called. */
  phase: HandlerPhase = 'beforeProcess';
  readonly #plan: Plan;
  readonly #send: (connection: SocketConnection, message: OutgoingMessage) => Promise<void>;
  #stage: keyof Plan = 'before';
  #at = 0;
  #startedAt = 0;
  #status: ProcessOutcome['status'] = 'handled';
  #isStopped = false;
  #outcome: ProcessOutcome | undefined;

  constructor(
    event: MessageEvent,
    plan: Plan,
    send: (connection: SocketConnection, message: OutgoingMessage) => Promise<void>,
  ) {
    this.event = event;
    this.#plan = plan;
    this.#send = send;
  }

  get connection(): SocketConnection {
    return this.event.connection;
  }

  /** The outcome, once the handlers have finished. */
  get outcome(): ProcessOutcome {
    this.#outcome ??= { status: this.#status, duration: performance.now() - this.#startedAt };
    return this.#outcome;
  }

  // Arrow functions, because handlers may destructure their context.
  readonly reply = (message: OutgoingMessage): Promise<void> => this.#send(this.connection, message);

  readonly stop = (): void => {
    this.#isStopped = true;
  };

  /** The next function to call; `undefined` after the last one. */
  next(): Step | undefined {
    if (this.#startedAt === 0) this.#startedAt = performance.now();
    for (;;) {
      const step =
        this.#isStopped && this.#stage !== 'after' ? undefined : this.#plan[this.#stage][this.#at++];
      if (step !== undefined || this.#stage === 'after') return step;
      this.#stage = this.#stage === 'before' ? 'handlers' : 'after';
      this.#at = 0;
    }
  }

  /** Records what a function returned, or what its promise resolved with. */
  settle(value: unknown): void {
    if (value !== false || this.phase !== 'beforeProcess') return;
    this.#status = 'skipped';
    this.#isStopped = true;
  }

  /** Records that a function threw, or its promise rejected. The remaining handlers are still called. */
  fail(): void {
    if (this.#stage === 'after') return;
    this.#status = 'failed';
    if (this.#stage === 'before') this.#isStopped = true;
  }
}
