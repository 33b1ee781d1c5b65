// A message of a durable log, as a durable handler gets it. Parsed lazily.

import { type CustomMessage, parseMessage } from '../connection/message-event.js';
import { segmentsOf, valueAt } from '../messages/field-paths.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import type { MessageMap } from '../messages/messages.js';

/** What consecutive messages of one connection have in common. */
export interface DurableOrigin {
  readonly registry: MessageRegistry;
  readonly connectionId: string | undefined;
  readonly crawlerId: string | undefined;
  readonly host: string | undefined;
  /** When they were stored, in ms since 1970. */
  readonly time: number;
  readonly isValid: boolean;
  /** The position after the message with an offset. */
  positionAfter(offset: number): string;
}

export class DurableMessage {
  /** Number of the message in the log of its host. */
  readonly offset: number;
  /** Number of the message among its connection's accepted messages, from 1. */
  readonly sequence: number;
  /** The bytes as received, without the delimiter. They share memory with other messages: copy them to keep few of
   * many for long. */
  readonly raw: Buffer;
  /** The message's type. Available without parsing. */
  readonly type: string;
  readonly #origin: DurableOrigin;
  #message: CustomMessage | undefined;

  /** @internal */
  constructor(origin: DurableOrigin, offset: number, sequence: number, raw: Buffer, type: string) {
    this.offset = offset;
    this.sequence = sequence;
    this.raw = raw;
    this.type = type;
    this.#origin = origin;
    this.#message = undefined;
  }

  /** Where the next message begins: pass it as `from.offset` to continue there. */
  get position(): string {
    return this.#origin.positionAfter(this.offset);
  }

  /** When the broker stored it; with scope `fleet`, when the engine did. */
  get receivedAt(): Date {
    return new Date(this.#origin.time);
  }

  /** Name of the host that received it, with scope `fleet`. */
  get host(): string | undefined {
    return this.#origin.host;
  }

  /** ID of the connection that sent it, which may have been closed long ago. */
  get connectionId(): string | undefined {
    return this.#origin.connectionId;
  }

  get crawlerId(): string | undefined {
    return this.#origin.crawlerId;
  }

  /**
   * False if the message broke the schemas or rules and was forwarded because of `validation: "report"`. Check it first in
   * that mode: otherwise, `message` is a JSON object with any members, whatever its type says.
   */
  get isValid(): boolean {
    return this.#origin.isValid;
  }

  /**
   * The parsed message, with the schema's defaults filled in if it is valid; as it was sent, if the schema has changed
   * since and no longer accepts it. Parsed once, on first access.
   */
  get message(): CustomMessage {
    this.#message ??= this.#parse();
    return this.#message;
  }

  /**
   * The value at a path in `message`, such as `data.processed` or `data.items.0.url`.
   * @returns `undefined` if there is no such value
   */
  get(path: string): unknown {
    return valueAt(this.message, segmentsOf(path));
  }

  /** Narrows the message to one of the protocol's own types: `if (durable.is('heartbeat')) durable.message.data.activeJobs`. */
  is<T extends keyof MessageMap>(type: T): this is DurableMessage & { readonly message: MessageMap[T] };
  /** Narrows the message to a type of a schema module, given as type argument: `if (durable.is<PageFetched>('page_fetched'))`. */
  is<M extends { readonly type: string } = CustomMessage>(
    type: M['type'],
  ): this is DurableMessage & { readonly message: M };
  is(type: string): boolean {
    return this.type === type;
  }

  #parse(): CustomMessage {
    const type = this.#origin.registry.get(this.type);
    if (type !== undefined && this.isValid && type.transformsInput) {
      try {
        return parseMessage(type, this.raw, 0, this.raw.length, true);
      } catch {
        // The schema was another one when the message was stored.
      }
    }
    return JSON.parse(this.raw.toString()) as CustomMessage;
  }
}
