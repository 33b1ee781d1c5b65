// Where a reader of the durable log begins: at its cursor, or where it wants to.

import { FLEET_POSITION_PATTERN, type MessageMap } from '../messages/messages.js';
import { parseTimestamp } from '../messages/timestamps.js';
import type { MessageLog } from './message-log.js';
import { type Position, parsePosition } from './position.js';

/** Where reading begins. */
export interface LogStart {
  /** Offset of the first message. */
  readonly offset: number;
  /** Messages that were received earlier are skipped, in ms since 1970. Default: none. */
  readonly time?: number | undefined;
  /** The position that was requested, if it belongs to another log. */
  readonly lost?: Position | undefined;
}

type StartData = Pick<MessageMap['subscribe']['data'], 'from' | 'cursor'>;

/** Whether it is a position in the messages of a fleet, which the log of one host does not have. */
export function isFleetPosition(from: StartData['from']): boolean {
  return typeof from === 'object' && 'offset' in from && FLEET_POSITION_PATTERN.test(String(from.offset));
}

/**
 * A cursor that exists determines the start; else `from` does. Default: `new`. If the cursors were lost, it may have been
 * anywhere: messages are delivered again then.
 */
export function startOf(log: MessageLog, { from = 'new', cursor }: StartData): LogStart {
  const known = cursor === undefined ? undefined : log.cursors.get(cursor);
  if (known !== undefined) return startAt(log, known);
  if (typeof from === 'object' && 'offset' in from) return startAt(log, parsePosition(String(from.offset)));
  const wasLost = cursor !== undefined && log.cursors.wereLost;
  if (from === 'first' || wasLost) return { offset: log.first };
  if (from === 'new') return { offset: log.end };
  const time = parseTimestamp(String(from.time));
  return { offset: log.offsetBefore(time), time };
}

function startAt({ epoch, first, end }: MessageLog, position: Position): LogStart {
  if (position.epoch === epoch && position.offset <= end) return { offset: position.offset };
  // What it refers to does not exist any more: everything that does is delivered.
  return { offset: first, lost: position };
}
