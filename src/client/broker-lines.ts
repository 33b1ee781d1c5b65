// Lines received from a broker, checked before use: the client does not trust a broker to follow the protocol. The
// broker's own messages are parsed and checked on arrival. Forwarded messages are most of the traffic: only their outer
// braces are checked on arrival, and the rest when the content is accessed.

import * as z from 'zod';
import { SluiceError } from '../errors.js';
import { replaceParts } from '../messages/extension.js';
import { MessageRegistry } from '../messages/message-registry.js';
import { brokerSchemas, controlSchemas, entityType, jobType } from '../messages/messages.js';
import { decodeJsonText, MAX_DEPTH } from '../wire/safe-json.js';

/** Any parsed message; `ReceivedMessage.is` narrows it to one of the protocol's types. */
export interface AnyMessage {
  readonly type: string;
  readonly [key: string]: unknown;
}

/** A forwarded message and the fields of its wrapper. */
export interface Forwarded {
  readonly message: AnyMessage;
  /** Offset of the message in its wrapper, which ends one byte after the message; 0: there is no wrapper. */
  readonly rawAt: number;
  readonly from?: string;
  readonly crawlerId?: string | null;
  readonly seq?: number;
  readonly offset?: number | undefined;
  readonly host?: string | undefined;
}

const ownMessage = z.discriminatedUnion('type', [
  brokerSchemas.welcome,
  brokerSchemas.subscribed,
  brokerSchemas.unsubscribed,
  brokerSchemas.position,
  brokerSchemas.gap,
  brokerSchemas.error,
  controlSchemas.ping,
  controlSchemas.pong,
]);
const OWN_TYPES: ReadonlySet<string> = ownMessage.def.options.reduce(
  (types, { shape }) => types.add(shape.type.value),
  new Set<string>(),
);

/** A message from the broker itself. */
export type OwnMessage = z.output<typeof ownMessage>;

/** Matches the beginning of the broker's own messages: it writes `type` first, and forwards none of these types. */
const OWN_START = new RegExp(`^\\{"type":"(?:${[...OWN_TYPES].join('|')})"`);
/** Longer than any {@link OWN_START}. */
const OWN_START_LENGTH = 32;

/** Matches the beginning of a wrapper, as sent for a subscription with `meta`. */
const META =
  /^\{"from":"[^"]*","crawlerId":(?:null|"(?:[^"\\]|\\.)*"),(?:"host":"[\w-]+",)?"seq":\d+,(?:"offset":\d+,)?"message":/;
const META_START = '{"from":';
/** Longer than any {@link META}: IDs have at most 256 characters, of at most six bytes each when escaped. */
export const META_LENGTH = 8192;

const BRACE_OPEN = 0x7b;
const BRACE_CLOSE = 0x7d;

/**
 * Parses a line if it is one of the broker's own messages.
 * @param line without its newline
 * @returns `undefined` for a forwarded message, which is not checked beyond its outer braces; a `PROTOCOL_ERROR` for
 *   anything else
 */
export function readOwnMessage(line: Buffer): OwnMessage | SluiceError | undefined {
  if (line[0] !== BRACE_OPEN || line.at(-1) !== BRACE_CLOSE) return protocolError('a line is not an object');
  if (!OWN_START.test(line.toString('latin1', 0, OWN_START_LENGTH))) return undefined;
  const value = decode(line, MAX_DEPTH);
  if (!isMessage(value)) return protocolError('a control message is not valid JSON');
  // A forwarded message may repeat the key `type`: the last one counts.
  if (!OWN_TYPES.has(value.type)) return undefined;
  const result = ownMessage.safeParse(value);
  return result.success
    ? result.data
    : protocolError(`a message of type ${value.type} does not match its schema`);
}

/** Whether a line starts like a wrapper. */
export function mayBeWrapped(line: Buffer): boolean {
  return line.toString('latin1', 0, META_START.length) === META_START;
}

/** Parses a forwarded message. @returns `undefined` if the line is not a message */
export function readForwarded(line: Buffer): Forwarded | undefined {
  // A wrapper adds one nesting level.
  const value = decode(line, MAX_DEPTH + 1);
  const prefix = mayBeWrapped(line) ? META.exec(line.toString('latin1', 0, META_LENGTH)) : null;
  // A crawler's message may contain the same keys, but it also has a `type`, which a wrapper has not.
  if (isMessage(value)) return { message: withDefaults(value), rawAt: 0 };
  if (prefix === null || !isWrapper(value)) return undefined;
  const { from, crawlerId, host, seq, offset, message } = value;
  return { from, crawlerId, host, seq, offset, message: withDefaults(message), rawAt: prefix[0].length };
}

export function protocolError(detail: string): SluiceError {
  return new SluiceError('PROTOCOL_ERROR', detail);
}

function decode(line: Buffer, maxDepth: number): unknown {
  const decoded = decodeJsonText(line.toString(), maxDepth);
  return decoded.ok ? decoded.value : undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isMessage(value: unknown): value is AnyMessage {
  return isObject(value) && typeof value.type === 'string';
}

function isWrapper(value: unknown): value is Required<Omit<Forwarded, 'rawAt'>> {
  if (!isObject(value) || value.type !== undefined) return false;
  const { from, crawlerId, host, seq, offset, message } = value;
  const isCrawlerId = crawlerId === null || typeof crawlerId === 'string';
  const isOffset = offset === undefined || typeof offset === 'number';
  const isHost = host === undefined || typeof host === 'string';
  const isSender = typeof from === 'string' && isCrawlerId && isHost && typeof seq === 'number';
  return isSender && isOffset && isMessage(message);
}

function withDefaults(message: AnyMessage): AnyMessage {
  const type = MessageRegistry.builtin().get(message.type);
  if (type === undefined || !type.transformsInput) return message;
  let schema = schemasWithDefaults.get(type.name);
  if (schema === undefined) {
    schema = replaceParts(type.definition, ANY_NAMES);
    schemasWithDefaults.set(type.name, schema);
  }
  // The broker may use another schema for this type: then the message stays unchanged.
  const result = schema.safeParse(message);
  return result.success ? (result.data as AnyMessage) : message;
}

/** The broker has validated the message, and its schema module may extend the lists of names. */
const ANY_NAMES = new Map<z.ZodType, z.ZodType>([
  [entityType, z.string()],
  [jobType, z.string()],
]);
/** By type name. */
const schemasWithDefaults = new Map<string, z.ZodType>();
