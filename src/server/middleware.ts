// Functions around every handled or sent message: for logging, measuring, rejecting or changing it.

import type { MessageEvent } from '../connection/message-event.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import type { OutgoingMessage } from '../messages/messages.js';

/** The outcome of handling a message. */
export interface ProcessOutcome {
  /** `failed`: a handler or `beforeProcess` threw. `skipped`: a `beforeProcess` returned false. */
  readonly status: 'handled' | 'failed' | 'skipped';
  /** ms from the first function to the last, including promises. */
  readonly duration: number;
}

/** The recipient of a message. */
export type SendTarget =
  | { readonly kind: 'connection'; readonly connection: SocketConnection }
  | { readonly kind: 'crawler'; readonly crawlerId: string }
  | { readonly kind: 'broadcast' };

/**
 * Functions that are called with every message that has a handler, including the default handlers, and with every sent
 * message. All are optional. `before…` functions run in the order of `use`, `after…` functions in reverse order.
 * Promises are awaited.
 */
export interface Middleware {
  /** Called before the handlers. Returning false or throwing skips them. */
  beforeProcess?(event: MessageEvent): unknown;
  /** Called after the handlers, whatever the outcome. */
  afterProcess?(event: MessageEvent, outcome: ProcessOutcome): unknown;
  /** Called before a message is sent. A returned message is sent instead; throwing rejects it. */
  beforeSend?(
    message: OutgoingMessage,
    target: SendTarget,
    // biome-ignore lint/suspicious/noConfusingVoidType: a function that returns nothing is fine
  ): OutgoingMessage | undefined | void | Promise<OutgoingMessage | undefined | void>;
  /** Called after a message was sent, or could not be sent: then `error` is the reason. */
  afterSend?(message: OutgoingMessage, target: SendTarget, error: unknown): unknown;
}

export class MiddlewareChain {
  #all: readonly Middleware[] = [];

  /** In the order of {@link use}. */
  get inOrder(): readonly Middleware[] {
    return this.#all;
  }

  use(middleware: Middleware): void {
    this.#all = [...this.#all, middleware];
  }

  /**
   * Sends a message through the middleware.
   * @param deliver sends the resulting message
   * @param onError called with errors of `afterSend`
   * @throws errors of `beforeSend` and `deliver`
   */
  async send<R>(
    message: OutgoingMessage,
    target: SendTarget,
    deliver: (message: OutgoingMessage) => Promise<R>,
    onError: (error: unknown) => void,
  ): Promise<R> {
    let outgoing = message;
    let failure: unknown;
    try {
      for (const middleware of this.#all) {
        // Without any, the message is written synchronously.
        if (middleware.beforeSend) outgoing = (await middleware.beforeSend(outgoing, target)) ?? outgoing;
      }
      return await deliver(outgoing);
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      for (const middleware of this.#all.toReversed()) {
        try {
          await middleware.afterSend?.(outgoing, target, failure);
        } catch (error) {
          onError(error);
        }
      }
    }
  }
}
