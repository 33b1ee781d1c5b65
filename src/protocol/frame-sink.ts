// The receiver of a parser's results.

import type { MessageType } from '../messages/message-registry.js';
import type { Matches } from '../pattern/matches.js';
import type { Rejection } from './message-validator.js';

/** Receives the messages of a parser in order. Arguments are valid only during the call. */
export interface FrameSink {
  /** A valid message at `[start, end)`. `line` is the number of delimiters before it in the parsed bytes. */
  onMessage(type: MessageType, value: object, start: number, end: number, line: number): void;
  /** Valid messages that patterns matched without parsing. */
  onMatches?(matches: Matches): void;
  /** A pattern matched a message that the slow path rejects or reads differently. The slow path is authoritative. */
  onMismatch?(type: MessageType): void;
  /** Whether the next rejection includes its issues or its offset: finding them reads the message again. Default: true. */
  readonly wantsIssues?: boolean;
  /** Called before a message is decoded, or its schema or rule runs: it may take long. */
  onUserCode?(start: number, end: number): void;
  /** Called before patterns read over 1 MiB at once: a long message, or without delimiters, several of them. */
  onLongBlock?(start: number, end: number): void;
  /** A rejected message at `[start, end)`. `value` is the message, if it could be decoded. */
  onRejection(rejection: Rejection, start: number, end: number, line: number, value?: unknown): void;
}
