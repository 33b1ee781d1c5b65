// The replaced server's router: handlers by message type, each with a result, and middleware around them.

import type { Logger } from 'pino';
import { defaultLogger, redactingLogger } from '../connection/broker-logger.js';
import { describeError, describeForLog } from '../errors.js';
import type {
  CrawlerMessage,
  MessageHandler,
  MessageMiddleware,
  MessageProcessingResult,
  SocketConnection,
  WebAppMessage,
} from './types.js';

/** A function of an application that may throw, for the log. */
type Phase = 'canHandle' | 'handle' | keyof Omit<MessageMiddleware, 'name' | 'priority'>;

/** Settings of a router. */
export interface RouterSettings {
  /** Default: the logger of the server that uses the router, or else one that writes to standard error. */
  readonly logger?: Logger | undefined;
}

/**
 * Calls the handlers of a message by priority, until one has a result with `success` and `data`. An error that a handler
 * or middleware throws becomes a result `{ success: false, error }`. It is logged with its name and place, but without
 * its text, which may contain parts of the message.
 */
export class MessageRouter {
  readonly #handlers = new Map<string, readonly MessageHandler[]>();
  #middleware: readonly MessageMiddleware[] = [];
  /** Types whose messages had no handler: each is logged once. Their number is limited by that of all types. */
  readonly #unhandled = new Set<string>();
  #openedLogger: Logger | undefined;
  #onRegistered: (messageType: string) => void = () => {};

  constructor({ logger }: RouterSettings = {}) {
    if (logger !== undefined) this.#openedLogger = redactingLogger(logger);
  }

  /**
   * @internal Connects the router to the server that uses it.
   * @param logger used if the router has none
   * @param onRegistered called with each type that a handler is registered for, also with the types so far
   */
  attach(logger: Logger, onRegistered: (messageType: string) => void): void {
    this.#openedLogger ??= logger;
    this.#onRegistered = onRegistered;
    for (const messageType of this.#handlers.keys()) onRegistered(messageType);
  }

  /** Registers a handler. It may be registered for several types. */
  registerHandler(messageType: string, handler: MessageHandler): void {
    const all = [...(this.#handlers.get(messageType) ?? []), handler];
    const byPriority = all.map((one) => ({ one, priority: one.getPriority() }));
    byPriority.sort((a, b) => b.priority - a.priority);
    this.#handlers.set(
      messageType,
      byPriority.map(({ one }) => one),
    );
    this.#unhandled.delete(messageType);
    this.#onRegistered(messageType);
  }

  /** Removes a handler. Without effect if it is not registered. */
  unregisterHandler(messageType: string, handler: MessageHandler): void {
    const handlers = this.#handlers.get(messageType) ?? [];
    const at = handlers.indexOf(handler);
    if (at === -1) return;
    if (handlers.length === 1) this.#handlers.delete(messageType);
    else this.#handlers.set(messageType, handlers.toSpliced(at, 1));
  }

  /** Adds middleware around all messages. */
  addMiddleware(middleware: MessageMiddleware): void {
    this.#middleware = [...this.#middleware, middleware].sort((a, b) => b.priority - a.priority);
  }

  /** The types with a handler. */
  getRegisteredTypes(): string[] {
    return [...this.#handlers.keys()];
  }

  /** The number of handlers of a type. */
  getHandlerCount(messageType: string): number {
    return this.#handlers.get(messageType)?.length ?? 0;
  }

  /**
   * Calls the middleware and the handlers of a message. Never rejects. If several handlers were called, the result is
   * that of the last one. Without a handler for the message, `afterProcess` is not called.
   */
  async processMessage(
    message: CrawlerMessage,
    connection: SocketConnection,
  ): Promise<MessageProcessingResult> {
    let current = message;
    for (const middleware of this.#middleware) {
      try {
        current = (await middleware.beforeProcess?.(current, connection)) ?? current;
      } catch (error) {
        return this.#fail(error, 'beforeProcess', middleware.name, message.type, connection);
      }
    }
    const result = await this.#handle(current, connection);
    if (result === undefined) return this.#reportUnhandled(current.type);
    let outcome = result;
    for (const middleware of this.#middleware) {
      try {
        await middleware.afterProcess?.(result, current, connection);
      } catch (error) {
        outcome = this.#fail(error, 'afterProcess', middleware.name, message.type, connection);
      }
    }
    return outcome;
  }

  /** Sends a message through the middleware. Never rejects. */
  async sendMessage(message: WebAppMessage, connection: SocketConnection): Promise<MessageProcessingResult> {
    let current = message;
    for (const middleware of this.#middleware) {
      try {
        current = (await middleware.beforeSend?.(current, connection)) ?? current;
      } catch (error) {
        return this.#fail(error, 'beforeSend', middleware.name, message.type, connection);
      }
    }
    try {
      await connection.send(current);
    } catch (error) {
      return failure(error);
    }
    let outcome: MessageProcessingResult = { success: true };
    for (const middleware of this.#middleware) {
      try {
        await middleware.afterSend?.(current, connection);
      } catch (error) {
        outcome = this.#fail(error, 'afterSend', middleware.name, message.type, connection);
      }
    }
    return outcome;
  }

  /** The result of the last handler called; `undefined` if none can handle the message. */
  async #handle(
    message: CrawlerMessage,
    connection: SocketConnection,
  ): Promise<MessageProcessingResult | undefined> {
    let last: MessageProcessingResult | undefined;
    for (const handler of this.#handlers.get(message.type) ?? []) {
      let phase: Phase = 'canHandle';
      try {
        if (!handler.canHandle(message)) continue;
        phase = 'handle';
        // JavaScript without types may return nothing.
        const result: MessageProcessingResult | undefined = await handler.handle(message, connection);
        last = result ?? { success: false, error: 'The handler returned no result' };
      } catch (error) {
        last = this.#fail(error, phase, handler.constructor.name, message.type, connection);
      }
      if (last.success && last.data !== undefined && last.data !== null) break;
    }
    return last;
  }

  #reportUnhandled(type: string): MessageProcessingResult {
    if (!this.#unhandled.has(type)) {
      this.#unhandled.add(type);
      this.#logger.warn({ type }, 'no handler for messages of this type');
    }
    return { success: false, error: `No handler for messages of type ${type}` };
  }

  #fail(
    error: unknown,
    phase: Phase,
    owner: string,
    type: string,
    connection: SocketConnection,
  ): MessageProcessingResult {
    const where = { type, connection: connection.id, phase, owner };
    this.#logger.error({ ...where, error: describeForLog(error) }, 'a message handler or middleware failed');
    return failure(error);
  }

  get #logger(): Logger {
    this.#openedLogger ??= redactingLogger(defaultLogger('warn').logger);
    return this.#openedLogger;
  }
}

/** A router without handlers: they belong to the application. */
export function createDefaultRouter(): MessageRouter {
  return new MessageRouter();
}

function failure(error: unknown): MessageProcessingResult {
  return { success: false, error: describeError(error) };
}
