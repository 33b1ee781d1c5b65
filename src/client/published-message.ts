// Messages that a client may publish, by type, and their encoding.

import type { appSchemas, crawlerSchemas, MessageInputMap } from '../messages/messages.js';
import { countDelimiters } from '../wire/framing.js';

/** A message of a schema module's own type. */
export interface CustomPublishedMessage {
  readonly type: string;
}

/** The message with an optional `timestamp`. */
type Undated<M> = M extends unknown
  ? { [K in keyof M as K extends 'timestamp' ? never : K]: M[K] } & { timestamp?: string | undefined }
  : never;

/**
 * A message of the protocol that crawlers or applications send. `timestamp` is an ISO 8601 date-time. If omitted, the
 * time of publishing is filled in.
 */
export type PublishedMessage = Undated<
  MessageInputMap[keyof typeof crawlerSchemas | keyof typeof appSchemas]
>;

const NEWLINE = 0x0a;

/** Encodes a message as a line. `type` and `timestamp` come first: the broker has a pattern for that order. */
export function publishedLine(message: CustomPublishedMessage & { timestamp?: unknown }): Buffer {
  const { type, timestamp, ...others } = message;
  const dated = timestamp === undefined ? { type, timestamp: new Date().toISOString(), ...others } : message;
  return Buffer.from(`${JSON.stringify(dated)}\n`);
}

/** Adds a newline at the end if it is missing, and counts the lines. */
export function publishedLines(data: Buffer | string): { bytes: Buffer; lines: number } {
  let bytes = typeof data === 'string' ? Buffer.from(data) : data;
  if (bytes.length > 0 && bytes.at(-1) !== NEWLINE) bytes = Buffer.concat([bytes, Buffer.of(NEWLINE)]);
  return { bytes, lines: countDelimiters(bytes, NEWLINE) };
}
