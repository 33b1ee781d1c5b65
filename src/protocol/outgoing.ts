// Serializes messages of the broker and of code in this process.

import { SluiceError, WIRE_ERRORS, type WireErrorCode } from '../errors.js';
import type { Issue } from '../messages/issues.js';
import type { BrokerMessage, MessageMap, OutgoingMessage } from '../messages/messages.js';
import type { MessageValidator } from './message-validator.js';
import type { Peer } from './peer.js';

type BrokerReply = {
  [M in BrokerMessage | MessageMap['ping' | 'pong'] as M['type']]: { data: NonNullable<M['data']> };
};

/** A message of the broker with the current time. @param delimiter the byte that ends it */
export function brokerLine<T extends keyof BrokerReply>(
  type: T,
  data: BrokerReply[T]['data'],
  delimiter: number,
): Buffer {
  return delimited(JSON.stringify({ type, timestamp: new Date().toISOString(), data }), delimiter);
}

/** Encodes a text followed by the delimiter. */
export function delimited(text: string, delimiter: number): Buffer {
  return Buffer.from(text + String.fromCharCode(delimiter));
}

export interface ErrorDetails {
  /** Name of the rejected message's type. */
  messageType?: string | undefined;
  /** Line number in the connection's stream, from 1. */
  line?: number | undefined;
  /** Where the message stops being JSON or UTF-8, in bytes from its start. */
  offset?: number | undefined;
  issues?: readonly Issue[] | undefined;
}

/** An `error` message. Its text is fixed for each code and contains nothing of the rejected message. */
export function errorLine(code: WireErrorCode, details: ErrorDetails, delimiter: number): Buffer {
  const { messageType, line, offset, issues } = details;
  const data = {
    code,
    message: WIRE_ERRORS[code].message,
    ...(messageType === undefined ? {} : { messageType }),
    ...(line === undefined ? {} : { line }),
    ...(offset === undefined ? {} : { offset }),
    ...(issues === undefined || issues.length === 0 ? {} : { issues: issues.map((issue) => ({ ...issue })) }),
  };
  return brokerLine('error', data, delimiter);
}

/**
 * Closes a connection whose place another one has taken. Not limited by `maxErrorReplies`: a client that does not receive this
 * would reconnect and take the place back.
 */
export function closeReplaced(connection: Peer | undefined, delimiter: number): void {
  connection?.reply(errorLine('REPLACED', {}, delimiter));
  void connection?.disconnect('REPLACED');
}

/**
 * Validates and serializes a message that code in this process sends.
 * @throws SluiceError `INVALID_MESSAGE`, with the error code, paths and issues
 */
export function encodeMessage(
  message: OutgoingMessage,
  validator: MessageValidator,
  delimiter: number,
): Buffer {
  const text = JSON.stringify(message) as string | undefined;
  const result = validator.validate(Buffer.from(text ?? ''));
  if (result.ok) return delimited(text ?? '', delimiter);
  const issues = result.issues.map(({ path, message: expectation }) => `${path} ${expectation}`);
  throw new SluiceError('INVALID_MESSAGE', [result.code, ...issues].join('; '));
}
