// Handlers that an application registers for a message type, and their arguments.

import type { CustomMessage, MessageEvent } from '../connection/message-event.js';
import type { SocketConnection } from '../connection/socket-connection.js';
import type { MessageInputMap, MessageMap } from '../messages/messages.js';

/** A message type of the protocol or of a schema module, or `*` for every message. */
export type HandledType = keyof MessageMap | '*' | (string & {});

/** The event of a message type. For the protocol's own types, `message` has the type's shape, if `isValid` is true. */
export type EventOf<T extends string> = T extends keyof MessageMap
  ? MessageEvent & { readonly message: MessageMap[T] }
  : MessageEvent;

/** A message to send: one of the protocol in its type's shape, or one of a schema module's types. */
export type SentMessage<T extends string> = { readonly type: T } & (T extends keyof MessageInputMap
  ? MessageInputMap[T]
  : CustomMessage);

/** The sender of a message, and the actions available to its handler. */
export interface HandlerContext {
  /** The sender's connection. */
  readonly connection: SocketConnection;
  /**
   * Sends a message to the sender.
   * @throws SluiceError `INVALID_MESSAGE`, `CONNECTION_CLOSED`, `SLOW_CONSUMER`, `SEND_TIMEOUT`
   */
  readonly reply: <T extends string>(message: SentMessage<T>) => Promise<void>;
  /** Skips the remaining handlers. */
  readonly stop: () => void;
}

/** A handler as a function. A returned promise is awaited; other return values are ignored. */
export type HandlerFunction<T extends string> = (event: EventOf<T>, context: HandlerContext) => unknown;

/** What handlers of one message and handlers of many have in common. */
export interface HandlerSettings<T extends string> {
  /** Handlers with a higher priority run first, equal ones in order of registration. Default: 0. */
  readonly priority?: number;
  /**
   * Paths of the fields that the handler reads with `event.get`, such as `jobId` and `data.processed`. If the handler is
   * registered before the server starts, the workers deliver these fields, and the main thread does not parse the
   * messages. Fields of handlers that are registered later are read by parsing, until the server starts again. At most 16
   * different fields per type of message, including those of handlers for `*`, of at most 256 characters each.
   */
  readonly fields?: readonly string[];
  /** Whether to handle this message. If omitted, all messages of the type are handled. */
  canHandle?(event: EventOf<T>): boolean;
}

/** A handler as an object. */
export interface MessageHandler<T extends string> extends HandlerSettings<T> {
  /** A returned promise is awaited; other return values are ignored. */
  handle(event: EventOf<T>, context: HandlerContext): unknown;
  readonly handleBatch?: undefined;
}

/** A handler of many messages at a time. */
export interface BatchHandler<T extends string> extends HandlerSettings<T> {
  /**
   * Handles consecutive messages of one connection, in order: those that have arrived while earlier ones were handled, at
   * most 1,000. A handler for `*` gets messages of different types together, as long as these types have no handlers of
   * their own. A returned promise is awaited before the following messages of the connection are handled. If it rejects,
   * or the function throws, that is one error, and all the messages have failed. `context.reply` sends to their sender;
   * `context.stop` skips the remaining handlers for all of them. If a type has several handlers, each one processes all
   * the messages before the next one is called.
   */
  handleBatch(events: readonly EventOf<T>[], context: HandlerContext): unknown;
  readonly handle?: undefined;
}
