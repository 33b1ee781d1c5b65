// Subscriptions to the durable log: where each begins, and what happens to its cursor.

import { formatPosition, type Position, parsePosition } from '../log/cursors.js';
import type { MessageLog } from '../log/message-log.js';
import type { Issue } from '../messages/issues.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import type { MessageMap } from '../messages/messages.js';
import type { Filter, SubscribeData } from '../routing/filter.js';
import { type LogStart, LogSubscription } from './log-subscription.js';
import type { Peer } from './peer.js';
import { StoredMessageFilter } from './stored-messages.js';

/** Whether a subscription gets its messages from the durable log. */
export function isStored({ from, cursor, ack, overflow }: SubscribeData): boolean {
  return from !== undefined || cursor !== undefined || ack !== undefined || overflow === 'log';
}

/** A cursor that a subscription moves. */
interface CursorUse<P extends Peer> {
  readonly name: string;
  readonly isManual: boolean;
  readonly subscription: LogSubscription<P>;
}

/** @typeParam P the type of connections */
export class LogSubscriptions<P extends Peer> {
  readonly #log: MessageLog;
  readonly #registry: MessageRegistry;
  readonly #delimiter: number;
  readonly #onUnreadable: (connection: P, error: unknown) => void;
  /** By the name of the cursor. */
  readonly #uses = new Map<string, CursorUse<P>>();

  /** @param onUnreadable called if the log cannot be read for a subscriber */
  constructor(
    log: MessageLog,
    registry: MessageRegistry,
    delimiter: number,
    onUnreadable: (connection: P, error: unknown) => void,
  ) {
    this.#log = log;
    this.#registry = registry;
    this.#delimiter = delimiter;
    this.#onUnreadable = onUnreadable;
  }

  /** Why a subscription is impossible, if it is. */
  faultOf({ last, group, cursor, ack }: SubscribeData): Issue | 'RATE_LIMITED' | undefined {
    if (last === true || group !== undefined) return WITH_LAST_OR_GROUP;
    if (ack === 'manual' && cursor === undefined) return ACK_WITHOUT_CURSOR;
    return cursor === undefined || this.#log.cursors.hasRoomFor(cursor) ? undefined : 'RATE_LIMITED';
  }

  /**
   * Creates a subscription. Start it with `run` once its subscriber knows of it.
   * @returns the subscription, its first position, and the connection that used its cursor until now
   */
  create(connection: P, data: SubscribeData, filter: Filter) {
    const { id, cursor, ack } = data;
    const start = this.#startOf(data);
    const stored = new StoredMessageFilter(this.#registry, filter, this.#delimiter);
    const subscription: LogSubscription<P> = new LogSubscription(connection, this.#log, stored, {
      id,
      start,
      delimiter: this.#delimiter,
      onWritten: (offset) => {
        if (cursor !== undefined && ack !== 'manual') this.#move(cursor, offset);
      },
      onStopped: () => {
        connection.logSubscriptions--;
        if (cursor !== undefined && this.#uses.get(cursor)?.subscription === subscription)
          this.#uses.delete(cursor);
      },
      onError: (error) => this.#onUnreadable(connection, error),
    });
    connection.logSubscriptions++;
    const position = { epoch: this.#log.epoch, offset: start.offset };
    let replaced: P | undefined;
    if (cursor !== undefined) {
      const previous = this.#uses.get(cursor)?.subscription;
      previous?.stop();
      if (previous !== undefined && previous.connection !== connection) replaced = previous.connection;
      this.#uses.set(cursor, { name: cursor, isManual: ack === 'manual', subscription });
      if (this.#log.cursors.get(cursor) === undefined) this.#log.cursors.set(cursor, position);
    }
    return { subscription, position: formatPosition(position), replaced };
  }

  /** Moves the cursor of a subscription. @returns why that is impossible, if it is */
  acknowledge(connection: P, { id, position }: MessageMap['ack']['data']): Issue | undefined {
    for (const { name, subscription, isManual } of this.#uses.values()) {
      if (subscription.connection !== connection || subscription.id !== id) continue;
      const { epoch, offset } = parsePosition(position);
      if (!isManual) return ACK_NOT_MANUAL;
      if (epoch !== this.#log.epoch || offset > subscription.offset) return ACK_UNKNOWN_POSITION;
      this.#move(name, offset);
      return undefined;
    }
    return ACK_UNKNOWN_ID;
  }

  /** A cursor never moves backwards: acknowledgements are cumulative. */
  #move(cursor: string, offset: number): void {
    const { cursors, epoch } = this.#log;
    const known = cursors.get(cursor);
    if (known !== undefined && known.epoch === epoch && known.offset >= offset) return;
    cursors.set(cursor, { epoch, offset });
  }

  #startOf({ from = 'new', cursor }: SubscribeData): LogStart {
    const { first, end } = this.#log;
    const known = cursor === undefined ? undefined : this.#log.cursors.get(cursor);
    if (known !== undefined) return this.#startAt(known);
    if (from === 'first') return { offset: first };
    if (from === 'new') return { offset: end };
    if ('time' in from) {
      const time = Date.parse(String(from.time));
      return { offset: this.#log.offsetBefore(time), time };
    }
    return this.#startAt(parsePosition(String(from.offset)));
  }

  #startAt(position: Position): LogStart {
    const { epoch, first, end } = this.#log;
    if (position.epoch === epoch && position.offset <= end) return { offset: position.offset };
    // What it refers to does not exist any more: everything that does is delivered.
    return { offset: first, lost: position };
  }
}

const conflict = (path: string, message: string): Issue => ({ path, code: 'conflict', message });
const WITH_LAST_OR_GROUP = conflict(
  'data',
  'from, cursor, ack and overflow log cannot be combined with last or group',
);
const ACK_WITHOUT_CURSOR = conflict('data.ack', 'manual needs a cursor');
const ACK_NOT_MANUAL = conflict('data.id', 'is not a subscription with ack manual');
const ACK_UNKNOWN_ID = conflict('data.id', 'is not a subscription with a cursor');
const ACK_UNKNOWN_POSITION = conflict('data.position', 'was not sent for this subscription');
