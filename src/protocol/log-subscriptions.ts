// Subscriptions to the durable log: where each begins, and what happens to its cursor.

import { RESERVED_PREFIX } from '../log/cursors.js';
import { isFleetPosition, startOf } from '../log/log-start.js';
import type { MessageLog } from '../log/message-log.js';
import { formatPosition, parsePosition } from '../log/position.js';
import { StoredMessageFilter } from '../log/stored-messages.js';
import type { Issue } from '../messages/issues.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import type { Filter, SubscribeData } from '../routing/filter.js';
import type { SubscriptionReader } from '../routing/subscriptions.js';
import { LogSubscription } from './log-subscription.js';
import type { Peer } from './peer.js';

/** Whether a subscription gets its messages from the durable log. */
export function isStored({ from, cursor, ack, overflow }: SubscribeData): boolean {
  return from !== undefined || cursor !== undefined || ack !== undefined || overflow === 'log';
}

/** A cursor that a subscription moves. */
interface CursorUse<P extends Peer> {
  readonly isManual: boolean;
  readonly subscription: LogSubscription<P>;
}

/** @typeParam P the type of connections */
export class LogSubscriptions<P extends Peer> {
  readonly #log: MessageLog;
  readonly #registry: MessageRegistry;
  readonly #delimiter: number;
  readonly #onUnreadable: (connection: P, error: unknown) => void;
  readonly #groups: { has(name: string): boolean };
  #count = 0;
  /** By the name of the cursor. */
  readonly #uses = new Map<string, CursorUse<P>>();

  /**
   * @param groups the work groups, which have cursors too
   * @param onUnreadable called if the log cannot be read for a subscriber
   */
  constructor(
    log: MessageLog,
    registry: MessageRegistry,
    delimiter: number,
    groups: { has(name: string): boolean },
    onUnreadable: (connection: P, error: unknown) => void,
  ) {
    this.#log = log;
    this.#registry = registry;
    this.#delimiter = delimiter;
    this.#groups = groups;
    this.#onUnreadable = onUnreadable;
  }

  /** The reason to reject the subscription; `undefined` if it is valid. */
  issueOf(
    connection: P,
    { id, last, group, cursor, ack, from }: SubscribeData,
  ): Issue | 'RATE_LIMITED' | undefined {
    if (last === true || group !== undefined) return WITH_LAST_OR_GROUP;
    if (ack === 'manual' && cursor === undefined) return ACK_WITHOUT_CURSOR;
    if (isFleetPosition(from)) return POSITION_OF_FLEET;
    if (cursor === undefined) return undefined;
    if (this.#log.handlerCursors.has(cursor)) return CURSOR_OF_HANDLER;
    if (cursor.startsWith(RESERVED_PREFIX)) return CURSOR_OF_BROKER;
    const user = this.#uses.get(cursor)?.subscription;
    if (user !== undefined && user.connection === connection && user.id !== id) return CURSOR_IN_USE;
    if (this.#groups.has(cursor)) return CURSOR_OF_GROUP;
    return this.#log.cursors.hasRoomFor(cursor) ? undefined : 'RATE_LIMITED';
  }

  /**
   * Creates a subscription. Start it with `run` once its subscriber knows of it.
   * @returns the subscription, its first position, and the connection that used its cursor until now
   */
  create(connection: P, data: SubscribeData, filter: Filter) {
    const { id, cursor, ack } = data;
    const start = startOf(this.#log, data);
    const stored = new StoredMessageFilter(this.#registry, filter, this.#delimiter);
    const subscription: LogSubscription<P> = new LogSubscription(connection, this.#log, stored, {
      id,
      cursor,
      start,
      delimiter: this.#delimiter,
      onWritten: (offset) => {
        if (cursor !== undefined && ack !== 'manual') this.#log.moveCursor(cursor, offset);
      },
      count: () => this.#count,
      onStopped: () => {
        this.#count--;
        connection.logSubscriptions--;
        if (cursor !== undefined && this.#uses.get(cursor)?.subscription === subscription)
          this.#uses.delete(cursor);
      },
      onError: (error) => this.#onUnreadable(connection, error),
    });
    connection.logSubscriptions++;
    this.#count++;
    const position = { epoch: this.#log.epoch, offset: start.offset };
    let replaced: P | undefined;
    if (cursor !== undefined) {
      const previous = this.#uses.get(cursor)?.subscription;
      previous?.stop();
      if (previous !== undefined && previous.connection !== connection) replaced = previous.connection;
      this.#uses.set(cursor, { isManual: ack === 'manual', subscription });
      if (this.#log.cursors.get(cursor) === undefined) this.#log.moveCursor(cursor, start.offset);
    }
    return { subscription, position: formatPosition(position), replaced };
  }

  /** Whether a subscription moves the cursor of this name. */
  uses(cursor: string): boolean {
    return this.#uses.has(cursor);
  }

  /** Moves the cursor of a subscription. @returns why that is impossible, if it is */
  acknowledge(subscription: SubscriptionReader | undefined, position: string): Issue | undefined {
    if (!(subscription instanceof LogSubscription)) return ACK_UNKNOWN_ID;
    const { cursor = '', offset: read } = subscription;
    const use = this.#uses.get(cursor);
    if (use?.subscription !== subscription) return ACK_UNKNOWN_ID;
    const { epoch, offset } = parsePosition(position);
    if (!use.isManual) return ACK_NOT_MANUAL;
    if (epoch !== this.#log.epoch || offset > read) return ACK_UNKNOWN_POSITION;
    this.#log.moveCursor(cursor, offset);
    return undefined;
  }
}

const conflict = (path: string, message: string): Issue => ({ path, code: 'conflict', message });
const WITH_LAST_OR_GROUP = conflict(
  'data',
  'cursor and overflow log cannot be combined with last or group, from and ack not with last',
);
const POSITION_OF_FLEET = conflict('data.from', 'is a position of scope fleet');
const ACK_WITHOUT_CURSOR = conflict('data.ack', 'manual needs a cursor');
const CURSOR_IN_USE = conflict('data.cursor', 'is used by another subscription of this connection');
const CURSOR_OF_GROUP = conflict('data.cursor', 'is used by a group');
const CURSOR_OF_HANDLER = conflict('data.cursor', 'is used by a handler in the process of the broker');
const CURSOR_OF_BROKER = conflict(
  'data.cursor',
  `must not begin with ${RESERVED_PREFIX}: those names are reserved for the broker`,
);
const ACK_NOT_MANUAL = conflict('data.id', 'is not a subscription with ack manual');
const ACK_UNKNOWN_ID = conflict('data.id', 'is not a subscription with a cursor');
const ACK_UNKNOWN_POSITION = conflict('data.position', 'was not sent for this subscription');
