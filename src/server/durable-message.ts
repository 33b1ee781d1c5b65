// A message of the durable log, as a durable handler gets it. Parsed lazily.

import { type CustomMessage, parseMessage } from '../connection/message-event.js';
import { formatPosition } from '../log/cursors.js';
import { RecordKind } from '../log/format.js';
import type { LoggedRun } from '../log/log-reader.js';
import { segmentsOf, valueAt } from '../messages/field-paths.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import type { MessageMap } from '../messages/messages.js';

/** The log that a message is in. */
export interface DurableSource {
  readonly registry: MessageRegistry;
  readonly epoch: string;
}

export class DurableMessage {
  /** Number of the message in the log. */
  readonly offset: number;
  /** The bytes as received, without the delimiter. They share memory with other messages: copy them to keep few of
   * many for long. */
  readonly raw: Buffer;
  /** The message's type. Available without parsing. */
  readonly type: string;
  readonly #log: DurableSource;
  readonly #run: LoggedRun;
  #message: CustomMessage | undefined;

  /** @internal @param at index of the message in the run */
  constructor(log: DurableSource, run: LoggedRun, at: number, raw: Buffer, type: string) {
    this.offset = run.header.first + at;
    this.raw = raw;
    this.type = type;
    this.#log = log;
    this.#run = run;
    this.#message = undefined;
  }

  /** Where the next message begins: pass it as `from.offset` to continue there. */
  get position(): string {
    return formatPosition({ epoch: this.#log.epoch, offset: this.offset + 1 });
  }

  /** When the broker stored it. */
  get receivedAt(): Date {
    return new Date(this.#run.header.time);
  }

  /** ID of the connection that sent it, which may have been closed long ago. */
  get connectionId(): string | undefined {
    return this.#run.source?.id;
  }

  get crawlerId(): string | undefined {
    return this.#run.source?.crawlerId ?? undefined;
  }

  /** Number of the message among its connection's accepted messages, from 1. */
  get sequence(): number {
    const { first, sequence } = this.#run.header;
    return sequence + this.offset - first;
  }

  /** False if the message broke the schemas or rules and was forwarded because of `validation: "report"`. */
  get isValid(): boolean {
    return this.#run.header.kind !== RecordKind.INVALID_RUN;
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
    const type = this.#log.registry.get(this.type);
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
