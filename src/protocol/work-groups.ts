// The work groups of a broker, by name. Each has a cursor of its name: everything before it is settled.

import { RESERVED_PREFIX } from '../log/cursors.js';
import { isFleetPosition, startOf } from '../log/log-start.js';
import { formatPosition } from '../log/position.js';
import type { Issue } from '../messages/issues.js';
import { DEFAULT_ACK_WAIT } from '../messages/messages.js';
import type { Filter, SubscribeData } from '../routing/filter.js';
import type { Peer } from './peer.js';
import {
  WorkGroup,
  type WorkGroupContext,
  type WorkGroupMember,
  type WorkGroupStatistics,
} from './work-group.js';

/** A subscription to a work group. */
export type WorkGroupData = SubscribeData & { readonly group: string };

/** Whether a subscription shares the messages of the durable log with others. */
export function isWorkGroup(data: SubscribeData): data is WorkGroupData {
  return data.group !== undefined && (data.ack !== undefined || data.from !== undefined);
}

/** Groups that are remembered, also without members. Each with members may hold memory for what it has read. */
const MAX_GROUPS = 256;
const [MAX_DELIVERIES, MAX_UNACKED] = [5, 1000];

/** @typeParam P the type of connections */
export class WorkGroups<P extends Peer> {
  readonly #context: WorkGroupContext<P>;
  /** Those whose members have left keep what they know of failures. */
  readonly #groups = new Map<string, WorkGroup<P>>();

  constructor(context: WorkGroupContext<P>) {
    this.#context = context;
  }

  get statistics(): WorkGroupStatistics[] {
    return [...this.#groups.values()].map(({ statistics }) => statistics);
  }

  /** Whether a cursor of this name belongs to a group with members. */
  has(name: string): boolean {
    return (this.#groups.get(name)?.size ?? 0) > 0;
  }

  /**
   * The reason to reject the subscription; `undefined` if it is valid.
   * @param isCursorUsed whether a subscription moves the cursor of this name
   */
  issueOf(data: WorkGroupData, filter: Filter, isCursorUsed: boolean): Issue | 'RATE_LIMITED' | undefined {
    const { group: name, cursor, last, overflow, ack, from } = data;
    if (cursor !== undefined || last === true || overflow === 'log') return WITH_CURSOR;
    if (ack !== 'manual') return NEEDS_ACK;
    if (isFleetPosition(from)) return POSITION_OF_FLEET;
    const { log } = this.#context;
    if (name.startsWith(RESERVED_PREFIX) || isCursorUsed || log.handlerCursors.has(name)) return NAME_IN_USE;
    const group = this.#groups.get(name);
    if (group !== undefined) return group.accepts(filter) ? undefined : OTHER_FILTER;
    return log.cursors.hasRoomFor(name) && this.#makeRoom() ? undefined : 'RATE_LIMITED';
  }

  /** Adds a member. Call `group.start` once its subscriber knows of it. @returns the member, and its first position */
  join(connection: P, data: WorkGroupData, filter: Filter): { member: WorkGroupMember<P>; position: string } {
    const group = this.#groups.get(data.group) ?? this.#create(data, filter);
    const { ackWait = DEFAULT_ACK_WAIT, maxDeliveries = MAX_DELIVERIES, maxUnacked = MAX_UNACKED } = data;
    const member = group.join(connection, data.id, filter, { ackWait, maxDeliveries, maxUnacked });
    return { member, position: formatPosition({ epoch: this.#context.log.epoch, offset: group.settled }) };
  }

  #create(data: WorkGroupData, filter: Filter): WorkGroup<P> {
    const { log } = this.#context;
    const { group: name, from } = data;
    const start = startOf(log, { from, cursor: name });
    const group = new WorkGroup(name, this.#context, filter, start);
    this.#groups.set(name, group);
    log.moveCursor(name, start.offset);
    return group;
  }

  /** @returns whether there is room for another group */
  #makeRoom(): boolean {
    if (this.#groups.size < MAX_GROUPS) return true;
    for (const [name, group] of this.#groups) if (group.size === 0) return this.#groups.delete(name);
    return false;
  }
}

const conflict = (path: string, message: string): Issue => ({ path, code: 'conflict', message });
const WITH_CURSOR = conflict('data', 'group with ack cannot be combined with cursor, last and overflow log');
const NEEDS_ACK = conflict('data.ack', 'must be manual for a group that reads the durable log');
const POSITION_OF_FLEET = conflict('data.from', 'is a position of scope fleet');
const NAME_IN_USE = conflict('data.group', 'is the name of a cursor that is used otherwise');
const OTHER_FILTER = conflict('data', 'all members of a group must have the same filter, and the same meta');
