// Functions around every message that is handled or sent: for logging, measuring, rejecting, changing.

import type { MessageEvent } from '../connection/message-event.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import type { OutgoingMessage } from '../messages/messages.js';

/** How the handling of a message ended. */
export interface ProcessOutcome {
  /** `failed`: a handler or `beforeProcess` threw. `skipped`: a `beforeProcess` kept it from the handlers. */
  readonly status: 'handled' | 'failed' | 'skipped';
  /** ms from the first function to the last, the time that promises took included. */
  readonly duration: number;
}

/** Whom a message is for. */
export type SendTarget =
  | { readonly kind: 'connection'; readonly connection: SocketConnection }
  | { readonly kind: 'crawler'; readonly crawlerId: string }
  | { readonly kind: 'broadcast' };

/**
 * Functions that are called with every message that has a handler, the default ones among them, and every message that
 * is sent; each of them is optional. `before…` run in the order of `use`, `after…` in
 * the opposite order. A promise is waited for.
 */
export interface Middleware {
  /** Before the handlers. False keeps the message from them, and so does throwing. */
  beforeProcess?(event: MessageEvent): unknown;
  /** After the handlers, however they ended. */
  afterProcess?(event: MessageEvent, outcome: ProcessOutcome): unknown;
  /** Before a message is sent. What it returns is sent in its place, if it returns something; throwing rejects it. */
  beforeSend?(
    message: OutgoingMessage,
    target: SendTarget,
    // biome-ignore lint/suspicious/noConfusingVoidType: a function that returns nothing is fine
  ): OutgoingMessage | undefined | void | Promise<OutgoingMessage | undefined | void>;
  /** After a message was sent, or was not: then `error` says why. */
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
   * Sends a message through the functions.
   * @param deliver sends what comes out of them
   * @param onError called with what an `afterSend` throws
   * @throws what `beforeSend` or `deliver` throws
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
        // Where there is none, a message is written before its sender goes on.
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
