// The handling of one message: which functions are called with it, in which order, and how it ended.

import type { MessageEvent } from '../connection/message-event.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import type { OutgoingMessage } from '../messages/messages.js';
import type { HandlerContext, MessageHandler } from './handler.js';
import type { Middleware, ProcessOutcome } from './middleware.js';

/** Where something went wrong: a function of a handler, or of a middleware. */
export type HandlerPhase = 'beforeProcess' | 'canHandle' | 'handle' | 'afterProcess' | 'afterSend';

/** Calls one function. */
export type Step = (handling: Handling) => unknown;

/** What is called with the messages of one type, in order. */
export interface Plan {
  readonly before: readonly Step[];
  readonly handlers: readonly Step[];
  readonly after: readonly Step[];
}

/** @param handlers in the order they are to be called */
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
  /** What is called at present. */
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

  /** How it ended, once the handlers are through. */
  get outcome(): ProcessOutcome {
    this.#outcome ??= { status: this.#status, duration: performance.now() - this.#startedAt };
    return this.#outcome;
  }

  // Handlers take these out of their context: they must not need it as `this`.
  readonly reply = (message: OutgoingMessage): Promise<void> => this.#send(this.connection, message);

  readonly stop = (): void => {
    this.#isStopped = true;
  };

  /** The next function to call; `undefined` when all were. */
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

  /** The function has returned this, or its promise has resolved with it. */
  settle(value: unknown): void {
    if (value !== false || this.phase !== 'beforeProcess') return;
    this.#status = 'skipped';
    this.#isStopped = true;
  }

  /** The function has thrown, or its promise was rejected. The handlers after it are still called. */
  fail(): void {
    if (this.#stage === 'after') return;
    this.#status = 'failed';
    if (this.#stage === 'before') this.#isStopped = true;
  }
}
