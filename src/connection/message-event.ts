// A forwarded message as an event for code in this process. Parsed lazily, or not at all if only projected fields are
// read.

import type { FrameRun } from '../delivery/frame-run.js';
import { NO_VALUES, NOT_A_SPAN, type Numbers, SPAN } from '../dispatch/verdict.js';
import { cloneBytes } from '../memory/copy-bytes.js';
import { segmentsOf, valueAt } from '../messages/field-paths.js';
import type { MessageRegistry, MessageType } from '../messages/message-registry.js';
import type { MessageMap } from '../messages/messages.js';
import { parseAs } from '../messages/schema-functions.js';
import type { ProjectedField, Projection } from '../pattern/projection.js';
import { readJson } from './read-json.js';
import type { SocketConnection } from './socket-connection.js';

/** A message of a type that a schema module added. */
export interface CustomMessage {
  readonly type: string;
  readonly [key: string]: unknown;
}

/** What the events of a run have in common. It is valid for as long as one of them is kept. */
interface EventRun {
  /** A copy of the run's bytes. */
  readonly bytes: Buffer;
  /** Offset of these bytes in their arena. */
  readonly base: number;
  readonly firstSequence: number;
  readonly receivedAt: number;
  readonly isValid: boolean;
  /** The spans of each message, with offsets in the arena, and the values that rows of spans refer to. */
  readonly spans: Numbers | undefined;
  readonly spanWords: number;
  readonly values: readonly (readonly unknown[])[];
  /** The row of the first of `values` among those of the verdict. */
  readonly firstRow: number;
  /** Bytes of memory that the run takes, until they are counted for one of its events; then 0. */
  uncountedBytes: number;
}

/** Index of the type of messages whose type has no schema. */
const UNKNOWN_TYPE = 0;
/** Size in bytes of a number of the spans. */
const SPAN_WORD_BYTES = 4;

export class MessageEvent {
  readonly connection: SocketConnection;
  /** The message's type. Available without parsing. */
  readonly type: string;
  readonly #run: EventRun;
  readonly #messageType: MessageType;
  /** The projected fields, by path. */
  readonly #fields: ReadonlyMap<string, ProjectedField> | undefined;
  /** Position in the run, and offsets in its bytes. */
  readonly #index: number;
  readonly #start: number;
  readonly #end: number;
  #raw: Buffer | undefined;
  #message: CustomMessage | undefined;

  /** @internal */
  constructor(
    connection: SocketConnection,
    type: string,
    run: EventRun,
    messageType: MessageType,
    fields: ReadonlyMap<string, ProjectedField> | undefined,
    index: number,
    start: number,
    end: number,
  ) {
    this.connection = connection;
    this.type = type;
    this.#run = run;
    this.#messageType = messageType;
    this.#fields = fields;
    this.#index = index;
    this.#start = start;
    this.#end = end;
    this.#raw = undefined;
    this.#message = undefined;
  }

  /** Number of the message among its connection's accepted messages, from 1. */
  get sequence(): number {
    return this.#run.firstSequence + this.#index;
  }

  /**
   * The bytes as received, without the delimiter. They share memory with other messages: copy them if you keep only
   * a few of them for long.
   */
  get raw(): Buffer {
    this.#raw ??= this.#run.bytes.subarray(this.#start, this.#end);
    return this.#raw;
  }

  /** @internal Time of receipt, in ms of the monotonic clock. */
  get receivedAt(): number {
    return this.#run.receivedAt;
  }

  /**
   * False if the message breaks the schemas or rules and was forwarded because of `validation: "report"`. Check it first in
   * that mode: otherwise, `message` is a JSON object with any members, whatever its type says.
   */
  get isValid(): boolean {
    return this.#run.isValid;
  }

  /** @internal Whether the type has a schema. Always true if the message is valid. */
  get hasSchema(): boolean {
    return this.#messageType.index !== UNKNOWN_TYPE;
  }

  /**
   * @internal Bytes of memory that it keeps, and that no other event was counted for: all of its run for the first event
   * that this is called for, nothing for the others.
   */
  takeSize(): number {
    const size = this.#run.uncountedBytes;
    this.#run.uncountedBytes = 0;
    return size;
  }

  /** The parsed message, with the schema's defaults filled in if it is valid. Parsed once, on first access. */
  get message(): CustomMessage {
    if (this.#message === undefined) {
      const { bytes, isValid } = this.#run;
      this.#message = parseMessage(this.#messageType, bytes, this.#start, this.#end, isValid);
    }
    return this.#message;
  }

  /**
   * The value at a path in `message`, such as `data.processed` or `data.items.0.url`: keys and array indices, separated
   * by dots. Only own members of objects and elements of arrays are found. If the path is one of the `fields` of a
   * handler of this type, or was passed to `projectFields`, before the server started, the value is read without
   * parsing the message; otherwise, the message is parsed. Do not change a returned object: it may be shared with
   * `message` or with other calls.
   * @returns `undefined` if there is no such value
   */
  get(path: string): unknown {
    const field = this.#message === undefined ? this.#fields?.get(path) : undefined;
    if (field === undefined) return valueAt(this.message, segmentsOf(path));
    const value = this.#read(field);
    return field.isUrl && typeof value === 'string' ? trimUrl(value) : value;
  }

  /** The value of a field as received, unless it is read from the message. */
  #read(field: ProjectedField): unknown {
    const { spans, spanWords, values, firstRow, bytes, base } = this.#run;
    const row = this.#index * spanWords;
    if (spans === undefined) return valueAt(this.message, field.segments);
    if (spans[row + SPAN.START] === NOT_A_SPAN) {
      const valuesRow = spans[row + SPAN.END] ?? NO_VALUES;
      return valuesRow === NO_VALUES
        ? valueAt(this.message, field.segments)
        : values[valuesRow - firstRow]?.[field.index];
    }
    const at = row + field.span * SPAN.SIZE;
    const start = spans[at + SPAN.START] ?? 0;
    if (start === 0) return undefined;
    const value = readJson(bytes, start - base, (spans[at + SPAN.END] ?? 0) - base);
    return field.depth === field.segments.length ? value : valueAt(value, field.segments, field.depth);
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

/** As the schemas for URLs do. */
function trimUrl(value: string): string {
  return value.trim().replace(/[\t\n\r]/g, '');
}

/** Parses a message that was accepted, with the schema's defaults filled in if it is valid. */
export function parseMessage(
  type: MessageType,
  bytes: Buffer,
  start: number,
  end: number,
  isValid: boolean,
): CustomMessage {
  const value: unknown = JSON.parse(bytes.toString('utf8', start, end));
  // A worker has accepted these bytes: unless the schema transforms its input, they parse to the schema's type.
  return (isValid && type.transformsInput ? parseAs(type, value) : value) as CustomMessage;
}

/** The rows of values that a run refers to: those of other runs must not be kept as long as its events are. */
function valuesOf(
  { verdict: { values } }: FrameRun,
  spans: Numbers = [],
  spanWords: number,
): Pick<EventRun, 'values' | 'firstRow'> {
  let [firstRow, end] = [values.length, 0];
  if (values.length > 0)
    for (let word = 0; word < spans.length; word += spanWords) {
      const row = spans[word + SPAN.END] ?? NO_VALUES;
      if (spans[word + SPAN.START] !== NOT_A_SPAN || row === NO_VALUES) continue;
      if (end === 0) firstRow = row;
      end = row + 1;
    }
  return { values: values.slice(firstRow, end), firstRow };
}

/**
 * The messages of a run, in order, as events. Parses nothing: each event parses its message on first access.
 * @param projection the fields that workers deliver
 */
export function messageEvents(
  registry: MessageRegistry,
  connection: SocketConnection,
  run: FrameRun,
  projection: Projection | undefined,
): MessageEvent[] {
  const maxSpans = projection?.maxSpans ?? 0;
  const base = run.start(0);
  const bytes = cloneBytes(run.bytes);
  const spans = projection && run.verdict.spans(run.first, run.count, maxSpans);
  const spanWords = maxSpans * SPAN.SIZE;
  const { values, firstRow } = valuesOf(run, spans, spanWords);
  const eventRun: EventRun = {
    bytes,
    base,
    firstSequence: run.firstSequence,
    receivedAt: run.chunk.receivedAt,
    isValid: run.isValid,
    spans,
    spanWords,
    values,
    firstRow,
    uncountedBytes: bytes.length + (spans?.length ?? 0) * SPAN_WORD_BYTES,
  };
  const { unknownType, isValid } = run;
  const events: MessageEvent[] = [];
  for (let index = 0; index < run.count; index++) {
    const type = registry.types[run.typeIndex(index)];
    if (type === undefined) continue;
    const fields = isValid ? projection?.types[type.index]?.byPath : undefined;
    const [start, end] = [run.start(index) - base, run.end(index) - base];
    events.push(
      new MessageEvent(connection, unknownType ?? type.name, eventRun, type, fields, index, start, end),
    );
  }
  return events;
}
