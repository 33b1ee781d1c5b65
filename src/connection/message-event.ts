// A forwarded message as an event for code in this process. Parsed lazily.

import type { FrameRun } from '../delivery/frame-run.js';
import type { MessageRegistry, MessageType } from '../messages/message-registry.js';
import type { MessageMap } from '../messages/messages.js';
import { parseAs } from '../messages/schema-functions.js';
import type { SocketConnection } from './socket-connection.js';

/** A message of a type that a schema module added. */
export interface CustomMessage {
  readonly type: string;
  readonly [key: string]: unknown;
}

export class MessageEvent {
  readonly connection: SocketConnection;
  /** Number of the message among its connection's accepted messages, from 1. */
  readonly sequence: number;
  /** The bytes as received, without the delimiter. */
  readonly raw: Buffer;
  /** False if the message breaks the schemas or rules and was forwarded because of `validation: "report"`. */
  readonly isValid: boolean;
  /** The message's type. Available without parsing. */
  readonly type: string;
  /** The type, if parsing by its schema changes the value. */
  readonly #transforming: MessageType | undefined;
  #message: CustomMessage | undefined;

  /** @internal @param run the run that contains the message */
  constructor(connection: SocketConnection, type: MessageType, run: FrameRun, index: number, raw: Buffer) {
    this.connection = connection;
    this.sequence = run.firstSequence + index;
    this.raw = raw;
    this.isValid = run.isValid;
    this.type = run.unknownType ?? type.name;
    this.#transforming = run.isValid && type.transformsInput ? type : undefined;
  }

  /** The parsed message, with the schema's defaults filled in if it is valid. Parsed once, on first access. */
  get message(): CustomMessage {
    if (this.#message === undefined) {
      const value: unknown = JSON.parse(this.raw.toString());
      // A worker has accepted these bytes: unless the schema transforms its input, they parse to the schema's type.
      this.#message = (
        this.#transforming === undefined ? value : parseAs(this.#transforming, value)
      ) as CustomMessage;
    }
    return this.#message;
  }

  /**
   * Narrows the event to one of the protocol's own types: `if (event.is('heartbeat')) event.message.data.activeJobs`.
   */
  is<T extends keyof MessageMap>(type: T): this is MessageEvent & { readonly message: MessageMap[T] };
  /**
   * Narrows the event to a type of a schema module, given as type argument: `if
   * (event.is<PageFetched>('page_fetched'))`.
   */
  is<M extends { readonly type: string } = CustomMessage>(
    type: M['type'],
  ): this is MessageEvent & { readonly message: M };
  is(type: string): boolean {
    return this.type === type;
  }
}

/** The messages of a run, in order, as events. Parses nothing: each event parses its message on first access. */
export function messageEvents(
  registry: MessageRegistry,
  connection: SocketConnection,
  run: FrameRun,
): MessageEvent[] {
  // One copy per run, so that an event stays valid for as long as a listener keeps it.
  const base = run.start(0);
  const bytes = Buffer.from(run.bytes);
  const events: MessageEvent[] = [];
  for (let index = 0; index < run.count; index++) {
    const type = registry.types[run.typeIndex(index)];
    if (type === undefined) continue;
    const start = run.start(index) - base;
    const end = run.end(index) - base;
    events.push(new MessageEvent(connection, type, run, index, bytes.subarray(start, end)));
  }
  return events;
}
