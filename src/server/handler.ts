// What an application registers for a message type, and what it is called with.

import type { CustomMessage, MessageEvent } from '../connection/message-event.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import type { MessageInputMap, MessageMap } from '../messages/messages.js';

/** A type of the protocol, one of a schema module, or `*` for every message. */
export type HandledType = keyof MessageMap | '*' | (string & {});

/** The event of a message type: `message` has the type's own shape, where the protocol knows it. */
export type EventOf<T extends string> = T extends keyof MessageMap
  ? MessageEvent & { readonly message: MessageMap[T] }
  : MessageEvent;

/** What a server sends: a message of the protocol in its type's own shape, or one of a schema module's types. */
export type SentMessage<T extends string> = { readonly type: T } & (T extends keyof MessageInputMap
  ? MessageInputMap[T]
  : CustomMessage);

/** What a handler can do beside looking at its message. */
export interface HandlerContext {
  /** Who sent the message. */
  readonly connection: SocketConnection;
  /**
   * Sends a message to who sent this one.
   * @throws SluiceError `INVALID_MESSAGE`, `CONNECTION_CLOSED`, `SLOW_CONSUMER`, `SEND_TIMEOUT`
   */
  readonly reply: <T extends string>(message: SentMessage<T>) => Promise<void>;
  /** Keeps the message from the handlers after this one. */
  readonly stop: () => void;
}

/** A handler as a function. What it returns is not looked at, but a promise is waited for. */
export type HandlerFunction<T extends string> = (event: EventOf<T>, context: HandlerContext) => unknown;

/** A handler as an object. */
export interface MessageHandler<T extends string> {
  /** Handlers with a higher one come first, equal ones in the order they were registered; default 0. */
  readonly priority?: number;
  /** Whether the handler wants this message; default: all of its type. */
  canHandle?(event: EventOf<T>): boolean;
  /** What it returns is not looked at, but a promise is waited for. */
  handle(event: EventOf<T>, context: HandlerContext): unknown;
}
