// Serializes the messages of the broker itself and those that code in this process sends.

import { SluiceError, WIRE_ERRORS, type WireErrorCode } from '../errors.js';
import type { Issue } from '../messages/issues.js';
import type { BrokerMessage, MessageMap, OutgoingMessage } from '../messages/messages.js';
import type { MessageValidator } from './message-validator.js';

type BrokerReply = {
  [M in BrokerMessage | MessageMap['ping' | 'pong'] as M['type']]: { data: NonNullable<M['data']> };
};

/** A message of the broker with the present time. `delimiter` is the byte that ends it. */
export function brokerLine<T extends keyof BrokerReply>(
  type: T,
  data: BrokerReply[T]['data'],
  delimiter: number,
): Buffer {
  return delimited(JSON.stringify({ type, timestamp: new Date().toISOString(), data }), delimiter);
}

/** A text and its delimiter, as bytes. */
export function delimited(text: string, delimiter: number): Buffer {
  return Buffer.from(text + String.fromCharCode(delimiter));
}

export interface ErrorDetails {
  /** Name of the rejected message's type. */
  messageType?: string | undefined;
  /** Line of the connection's stream, counted from 1. */
  line?: number | undefined;
  issues?: readonly Issue[] | undefined;
}

/** An `error` message. Its text is the code's own: nothing of the rejected message is in it. */
export function errorLine(code: WireErrorCode, details: ErrorDetails, delimiter: number): Buffer {
  const { messageType, line, issues } = details;
  const data = {
    code,
    message: WIRE_ERRORS[code].message,
    ...(messageType === undefined ? {} : { messageType }),
    ...(line === undefined ? {} : { line }),
    ...(issues === undefined || issues.length === 0 ? {} : { issues: issues.map((issue) => ({ ...issue })) }),
  };
  return brokerLine('error', data, delimiter);
}

/**
 * Checks and serializes a message that code sends.
 * @throws SluiceError `INVALID_MESSAGE`, naming what is wrong where
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
