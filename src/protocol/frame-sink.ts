// What a parser pushes its messages into.

import type { MessageType } from '../messages/message-registry.js';
import type { Matches } from '../pattern/pattern-set.js';
import type { Rejection } from './message-validator.js';

/** A checked message, as the sink sees it: valid only during the call. */
export interface FrameSink {
  /** A valid message at `[start, end)`. `line` counts the delimiters before it in what is parsed. */
  onMessage(type: MessageType, value: object, start: number, end: number, line: number): void;
  /** Valid messages that patterns have matched, numbers `from` to `to` of the matches: they were not parsed. */
  onMatches?(matches: Matches, from: number, to: number): void;
  /** A pattern took a message that the slow path rejects, or reads otherwise; the slow path's answer counts. */
  onMismatch?(type: MessageType): void;
  /** Whether the issues of the next rejected message matter; default: yes. Finding them takes a second look. */
  readonly wantsIssues?: boolean;
  /** A message is about to be parsed and checked one by one, which may take long, or never end. */
  onSlowPath?(start: number, end: number): void;
  /** A rejected one. */
  onRejection(rejection: Rejection, start: number, end: number, line: number): void;
}
