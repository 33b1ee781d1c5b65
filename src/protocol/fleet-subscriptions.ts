// Subscriptions to the messages of all hosts: where each begins, which reader it has, and what happens to its cursor.

import type { Fleet } from '../fleet/fleet.js';
import { parseFleetPosition } from '../fleet/fleet-position.js';
import type { StreamReader } from '../fleet/stream-reader.js';
import { isFleetPosition } from '../log/log-start.js';
import type { Issue } from '../messages/issues.js';
import { brokerSchemas, FLEET_POSITION_PATTERN } from '../messages/messages.js';
import { PRESENCE } from '../messages/type-patterns.js';
import type { Filter, SubscribeData } from '../routing/filter.js';
import { decodeJsonText, MAX_DEPTH } from '../wire/safe-json.js';
import { FleetSubscription } from './fleet-subscription.js';
import { brokerLine } from './outgoing.js';
import type { Peer } from './peer.js';
import type { PresenceReport } from './presence.js';

/** A cursor that a subscription moves. */
interface CursorUse<P extends Peer> {
  readonly isManual: boolean;
  readonly subscription: FleetSubscription<P>;
  readonly reader: StreamReader;
}

/** @typeParam P the type of connections */
export class FleetSubscriptions<P extends Peer> {
  readonly #fleet: Fleet;
  readonly #delimiter: number;
  /** What live subscriptions share, while there are any. */
  #live: StreamReader | undefined;
  readonly #subscriptions = new Set<FleetSubscription<P>>();
  /** Those that have not started. */
  readonly #holding = new Set<unknown>();
  /** By the name of the cursor. */
  readonly #uses = new Map<string, CursorUse<P>>();

  constructor(fleet: Fleet, delimiter: number) {
    this.#fleet = fleet;
    this.#delimiter = delimiter;
    fleet.handle(PRESENCE, (data) => {
      const report = parsePresence(data);
      if (report !== undefined) this.#deliverPresence(report);
      return undefined;
    });
  }

  /** Sends presence of this host's crawlers to the subscribers of all hosts. */
  reportPresence(report: PresenceReport): void {
    const { host } = this.#fleet;
    const ofHost = { ...report, host };
    this.#fleet.notify(PRESENCE, Buffer.from(JSON.stringify(ofHost)));
    this.#deliverPresence(ofHost);
  }

  #deliverPresence(report: PresenceReport): void {
    if (this.#subscriptions.size === 0) return;
    const line = brokerLine(PRESENCE, report, this.#delimiter);
    for (const subscription of this.#subscriptions)
      subscription.deliverPresence(line, report.crawlerId ?? undefined);
  }

  /** The reason to reject the subscription; `undefined` if it is valid. */
  issueOf(connection: P, data: SubscribeData): Issue | 'RATE_LIMITED' | undefined {
    const { id, last, group, cursor, ack, from, overflow } = data;
    if (group !== undefined || overflow === 'log') return WITH_OTHERS;
    if (last === true && (from !== undefined || cursor !== undefined)) return LAST_WITH_START;
    if (ack === 'manual' && cursor === undefined) return ACK_WITHOUT_CURSOR;
    if (typeof from === 'object' && 'offset' in from && !isFleetPosition(from)) return NO_FLEET_POSITION;
    const needsReader = from !== undefined || cursor !== undefined || this.#live === undefined;
    if (needsReader && !this.#fleet.hasRoomForReader) return 'RATE_LIMITED';
    if (cursor === undefined) return undefined;
    if (this.#fleet.handlerCursors.has(cursor)) return CURSOR_OF_HANDLER;
    const user = this.#uses.get(cursor)?.subscription;
    if (user !== undefined && user.connection === connection && user.id !== id) return CURSOR_IN_USE;
    return this.#fleet.cursors.hasRoomFor(cursor) ? undefined : 'RATE_LIMITED';
  }

  /**
   * Creates a subscription. Its messages follow once it is started.
   * @returns the subscription, the connection that used its cursor until now, and a promise that resolves when what is
   *   stored from then on will arrive: at once if the engine is not connected
   */
  create(connection: P, data: SubscribeData, filter: Filter) {
    const { id, cursor, ack, from } = data;
    const isPaced = from !== undefined || cursor !== undefined;
    const previous = cursor === undefined ? undefined : this.#uses.get(cursor)?.subscription;
    previous?.stop();
    const reader = isPaced ? this.#fleet.openReader(this.#fleet.startOf(data)) : this.#liveReader();
    const subscription: FleetSubscription<P> = new FleetSubscription(connection, filter, {
      id,
      cursor,
      delimiter: this.#delimiter,
      isPaced,
      holding: this.#holding,
      onWritten: (position) => {
        if (cursor !== undefined && ack !== 'manual') this.#fleet.cursors.set(cursor, position);
      },
      onStopped: () => {
        this.#subscriptions.delete(subscription);
        reader.targets.delete(subscription);
        if (cursor !== undefined && this.#uses.get(cursor)?.subscription === subscription)
          this.#uses.delete(cursor);
        if (reader.targets.size > 0) return;
        if (this.#live === reader) this.#live = undefined;
        void this.#fleet.closeReader(reader);
      },
    });
    reader.targets.add(subscription);
    this.#subscriptions.add(subscription);
    if (cursor !== undefined) this.#uses.set(cursor, { isManual: ack === 'manual', subscription, reader });
    const replaced = previous?.connection === connection ? undefined : previous?.connection;
    const isReady = this.#fleet.isConnected ? reader.ready : Promise.resolve();
    return { subscription, isReady, replaced };
  }

  /** Moves the cursor of a subscription. @returns why that is impossible, if it is */
  acknowledge(subscription: FleetSubscription<P>, position: string): Issue | undefined {
    const { cursor = '' } = subscription;
    const use = this.#uses.get(cursor);
    if (use?.subscription !== subscription) return ACK_UNKNOWN_ID;
    if (!use.isManual) return ACK_NOT_MANUAL;
    if (!FLEET_POSITION_PATTERN.test(position)) return NO_FLEET_POSITION;
    const { sequence = 0 } = use.reader.position ?? {};
    if (parseFleetPosition(position).sequence > sequence) return ACK_UNKNOWN_POSITION;
    this.#fleet.cursors.set(cursor, position);
    return undefined;
  }

  #liveReader(): StreamReader {
    this.#live ??= this.#fleet.openReader('new');
    return this.#live;
  }
}

/** Parses a presence report of another host; `undefined` if it is invalid. */
function parsePresence(data: Uint8Array): PresenceReport | undefined {
  const decoded = decodeJsonText(Buffer.from(data).toString(), MAX_DEPTH);
  const parsed = brokerSchemas.presence.shape.data.safeParse(decoded.ok ? decoded.value : undefined);
  return parsed.success ? parsed.data : undefined;
}

const conflict = (path: string, message: string): Issue => ({ path, code: 'conflict', message });
const WITH_OTHERS = conflict('data.scope', 'fleet cannot be combined with group or overflow log');
const LAST_WITH_START = conflict('data.last', 'cannot be combined with from or cursor');
const NO_FLEET_POSITION = conflict('data.from', 'scope fleet needs a position that begins with fleet:');
const ACK_WITHOUT_CURSOR = conflict('data.ack', 'manual needs a cursor');
const CURSOR_IN_USE = conflict('data.cursor', 'is used by another subscription of this connection');
const CURSOR_OF_HANDLER = conflict('data.cursor', 'is used by a handler in the process of the broker');
const ACK_NOT_MANUAL = conflict('data.id', 'is not a subscription with ack manual');
const ACK_UNKNOWN_ID = conflict('data.id', 'is not a subscription with a cursor');
const ACK_UNKNOWN_POSITION = conflict('data.position', 'was not sent for this subscription');
