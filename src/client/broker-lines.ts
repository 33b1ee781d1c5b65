// The lines that a broker sends, checked before anything reads them: nothing in the client trusts a broker to keep to
// the protocol. Its own messages are parsed and checked as they come. Forwarded messages are most of the traffic: of
// those only the brackets are looked at, and the rest is checked when somebody asks for their contents.

import * as z from 'zod';
import { SluiceError } from '../errors.js';
import { MessageRegistry } from '../messages/message-registry.js';
import { brokerSchemas, controlSchemas } from '../messages/messages.js';
import { decodeJsonText, MAX_DEPTH } from '../wire/safe-json.js';

/** Any message, as read: `is` narrows it to one of the protocol's own. */
export interface AnyMessage {
  readonly type: string;
  readonly [key: string]: unknown;
}

/** A forwarded message and what its wrapper tells. */
export interface Forwarded {
  readonly message: AnyMessage;
  /** Where the message begins in a wrapper, which ends one byte behind it; 0: there is no wrapper. */
  readonly rawAt: number;
  readonly from?: string;
  readonly crawlerId?: string | null;
  readonly seq?: number;
}

const ownMessage = z.discriminatedUnion('type', [
  brokerSchemas.welcome,
  brokerSchemas.subscribed,
  brokerSchemas.unsubscribed,
  brokerSchemas.error,
  controlSchemas.ping,
  controlSchemas.pong,
]);
const OWN_TYPES: ReadonlySet<string> = ownMessage.def.options.reduce(
  (types, { shape }) => types.add(shape.type.value),
  new Set<string>(),
);

/** A message of the broker's own. */
export type OwnMessage = z.output<typeof ownMessage>;

/** Own messages by their beginning: the broker writes `type` first, and forwards none of these types. */
const OWN_START = new RegExp(`^\\{"type":"(?:${[...OWN_TYPES].join('|')})"`);
/** Longer than any {@link OWN_START}. */
const OWN_START_LENGTH = 32;

/** How the broker begins a message that a subscription with `meta` gets. */
const META = /^\{"from":"[^"]*","crawlerId":(?:null|"(?:[^"\\]|\\.)*"),"seq":\d+,"message":/;
const META_START = '{"from":';
/** Longer than any {@link META}: ids have 256 characters at most, of six bytes each when they are escaped. */
export const META_LENGTH = 8192;

const BRACE_OPEN = 0x7b;
const BRACE_CLOSE = 0x7d;

/**
 * Reads a line if it is one of the broker's own messages.
 * @param line without its newline
 * @returns `undefined` for a forwarded message, of which no more is known than that it may be an object; a
 *   `PROTOCOL_ERROR` for what is neither
 */
export function readOwnMessage(line: Buffer): OwnMessage | SluiceError | undefined {
  if (line[0] !== BRACE_OPEN || line.at(-1) !== BRACE_CLOSE) return protocolError('a line is not an object');
  if (!OWN_START.test(line.toString('latin1', 0, OWN_START_LENGTH))) return undefined;
  const value = decode(line, MAX_DEPTH);
  if (!isMessage(value)) return protocolError('a control message is not valid JSON');
  // A forwarded message that names its type twice: the last one counts.
  if (!OWN_TYPES.has(value.type)) return undefined;
  const result = ownMessage.safeParse(value);
  return result.success
    ? result.data
    : protocolError(`a message of type ${value.type} does not match its schema`);
}

/** Whether a line begins like a wrapper. */
export function mayBeWrapped(line: Buffer): boolean {
  return line.toString('latin1', 0, META_START.length) === META_START;
}

/** Reads a forwarded message. @returns `undefined` when the line is none */
export function readForwarded(line: Buffer): Forwarded | undefined {
  // A wrapper is one level more.
  const value = decode(line, MAX_DEPTH + 1);
  const prefix = mayBeWrapped(line) ? META.exec(line.toString('latin1', 0, META_LENGTH)) : null;
  // A crawler may write such keys itself, but then its message has a type beside them: the wrapper has none.
  if (isMessage(value)) return { message: withDefaults(value), rawAt: 0 };
  if (prefix === null || !isWrapper(value)) return undefined;
  const { from, crawlerId, seq, message } = value;
  return { from, crawlerId, seq, message: withDefaults(message), rawAt: prefix[0].length };
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
  const { from, crawlerId, seq, message } = value;
  const isKnown = crawlerId === null || typeof crawlerId === 'string';
  return typeof from === 'string' && isKnown && typeof seq === 'number' && isMessage(message);
}

function withDefaults(message: AnyMessage): AnyMessage {
  const type = MessageRegistry.builtin().get(message.type);
  if (type === undefined || !type.transformsInput) return message;
  // The broker may know another schema of this name: then the message stays as it is.
  const result = type.schema.safeParse(message);
  return result.success ? (result.data as AnyMessage) : message;
}
