// Queue groups: the members of each receive a message once between them.

import { cutRun, type FrameRun, metaBytes, type Selection, WITH_META } from '../delivery/frame-run.js';
import { type Assignee, ENTRY_OVERHEAD, type Piece } from '../delivery/outbox.js';
import { type Filter, matchesMessage } from './filter.js';
import { FilterIndex, type IndexedFilter } from './filter-index.js';
import { type SelectionPool, selectMessages, type Target } from './select-messages.js';
import { hasRoom, type Subscriber } from './subscriber.js';

interface QueueMember extends Assignee {
  readonly subscriber: Subscriber;
  readonly subscriptionId: string;
  readonly filter: Filter;
  /** Its index in the group. */
  position: number;
}

interface QueueGroup extends Target {
  /** Replaced on every change: a member may leave during routing, when it is disconnected for being slow. */
  members: readonly QueueMember[];
  /** The members by the key of their filter: equal filters are indexed once. */
  readonly filters: Map<string, MembersOfFilter>;
  /** Finds the filters of the group that match a message. */
  readonly index: FilterIndex<MembersOfFilter>;
  /** Index of the member whose turn it is. */
  next: number;
  /** Who may take over what was assigned to a member with this filter, by its key, since the members last changed. */
  readonly takers: Map<string, readonly QueueMember[]>;
  /** Number of members that were considered for taking over so far. */
  considered: number;
}

/** The members of a queue group with equal filters. */
interface MembersOfFilter {
  readonly filter: Filter;
  /** In the order of their positions. */
  members: readonly QueueMember[];
}

/**
 * Number of members that are considered for messages to take over, until one has room: hundreds of thousands of pieces may
 * have to be taken over at once. The next messages are offered to other members.
 */
const MAX_CONSIDERED = 16;

/** The messages of a run that are assigned to a member. */
interface Assignment {
  readonly messages: Selection;
  /** Total size of the messages. */
  bytes: number;
}

export class QueueGroups {
  readonly #pool: SelectionPool;
  readonly #groups = new Map<string, QueueGroup>();
  readonly #index = new FilterIndex<QueueGroup>(true);
  /** Number of members that have left so far. */
  #departures = 0;

  constructor(pool: SelectionPool) {
    this.#pool = pool;
  }

  /** Delivers the messages of a run to one matching member of each group. */
  route(run: FrameRun): void {
    const departures = this.#departures;
    selectMessages(run, this.#index, this.#pool, (group, selection) =>
      this.#distribute(run, group, selection, departures === this.#departures),
    );
  }

  /** Adds a member to the group of this name. */
  join(groupName: string, subscriber: Subscriber, subscriptionId: string, filter: Filter): void {
    const group = this.#groups.get(groupName) ?? newQueueGroup();
    this.#groups.set(groupName, group);
    const member: QueueMember = {
      groupName,
      filterKey: filter.key,
      hasMeta: filter.mark === WITH_META,
      subscriber,
      subscriptionId,
      filter,
      position: group.members.length,
    };
    group.members = [...group.members, member];
    group.takers.clear();
    const known = group.filters.get(filter.key);
    if (known !== undefined) {
      known.members = [...known.members, member];
      return;
    }
    const ofFilter = { filter, members: [member] };
    group.filters.set(filter.key, ofFilter);
    group.index.add(filter, ofFilter);
    this.#index.add(filter, group);
  }

  /** Removes a member. */
  leave(groupName: string, subscriber: Subscriber, subscriptionId: string): void {
    const group = this.#groups.get(groupName);
    const left = group?.members.find(
      (member) => member.subscriber === subscriber && member.subscriptionId === subscriptionId,
    );
    if (group === undefined || left === undefined) return;
    this.#departures++;
    group.members = group.members.filter((member) => member !== left);
    group.takers.clear();
    group.members.forEach((member, position) => {
      member.position = position;
    });
    group.next = 0;
    if (group.members.length === 0) this.#groups.delete(groupName);
    const ofFilter = group.filters.get(left.filter.key);
    if (ofFilter === undefined) return;
    ofFilter.members = ofFilter.members.filter((member) => member !== left);
    if (ofFilter.members.length > 0) return;
    group.filters.delete(left.filter.key);
    group.index.remove(ofFilter.filter, ofFilter);
    this.#index.remove(ofFilter.filter, group);
  }

  /**
   * Delivers messages that were queued for a member that has left its group to another member with an equal filter, or
   * with none: to one with room, if one is soon found.
   * @returns false if there is no such member
   */
  takeOver(piece: Piece, from: Assignee): boolean {
    const group = this.#groups.get(from.groupName);
    if (group === undefined) return false;
    const takers = takersOf(group, from);
    let taker: QueueMember | undefined;
    for (let step = 0; step < takers.length && (step < MAX_CONSIDERED || taker === undefined); step++) {
      const member = takers[group.considered++ % takers.length];
      if (member === undefined || member.subscriber.isOpen === false) continue;
      taker ??= member;
      if (!hasRoom(member.subscriber, piece.bytes.length, 0)) continue;
      taker = member;
      break;
    }
    if (taker === undefined) return false;
    taker.subscriber.deliver(piece, taker, true);
    return true;
  }

  /**
   * Delivers each message to one member. Splits the messages into equal parts, one per member, so that each part can be
   * delivered as one piece. The members take turns at receiving the first part. What a member has no room for goes to the
   * next one that has.
   * @param isUnchanged whether no member has left since the messages were selected
   */
  #distribute(run: FrameRun, group: QueueGroup, selection: Selection, isUnchanged: boolean): void {
    const { members } = group;
    // Messages that only a member matched that has left match no filter any more.
    const allMatch = isUnchanged && group.filters.size === 1;
    const part = Math.ceil(selection.count / members.length);
    const assigned = new Map<QueueMember, Assignment>();
    // Each message may become a piece of its own.
    const overhead = ENTRY_OVERHEAD + 1 + (members.some(({ hasMeta }) => hasMeta) ? metaBytes(run) : 0);
    const runBytes = run.span + run.count * overhead;
    const isScarce = !members.every(({ subscriber }) => hasRoom(subscriber, runBytes, 0));
    let latest: QueueMember | undefined;
    let assignment: Assignment | undefined;
    for (let at = 0; at < selection.count; at++) {
      const index = selection.index(at);
      const bytes = run.end(index) - run.start(index) + overhead;
      const preferred = (group.next + Math.floor(at / part)) % members.length;
      // If no member has room, the overflow policy of the first one applies.
      const assignee =
        (isScarce
          ? nextMember(group, run, index, preferred, allMatch, (member) =>
              hasRoom(member.subscriber, bytes, assigned.get(member)?.bytes ?? 0),
            )
          : undefined) ?? nextMember(group, run, index, preferred, allMatch);
      if (assignee === undefined) continue;
      if (assignee !== latest || assignment === undefined) {
        latest = assignee;
        assignment = assigned.get(assignee) ?? { messages: this.#pool.take(), bytes: 0 };
        assigned.set(assignee, assignment);
      }
      assignment.messages.add(index, assignee.filter.mark);
      assignment.bytes += bytes;
    }
    group.next = (group.next + Math.ceil(selection.count / part)) % members.length;
    for (const [member, { messages }] of assigned) {
      for (const piece of cutRun(run, messages)) member.subscriber.deliver(piece, member);
      this.#pool.release(messages);
    }
  }
}

function newQueueGroup(): QueueGroup {
  return {
    members: [],
    filters: new Map(),
    index: new FilterIndex(),
    next: 0,
    takers: new Map(),
    considered: 0,
    selection: undefined,
  };
}

/** The members that may receive all messages that were assigned to another one, in the same form. */
function takersOf(group: QueueGroup, from: Assignee): readonly QueueMember[] {
  const known = group.takers.get(from.filterKey);
  if (known !== undefined) return known;
  const takers = group.members.filter((member) => isInterchangeable(member, from));
  group.takers.set(from.filterKey, takers);
  return takers;
}

/**
 * The next member whose filter matches a message, in turn.
 * @param index of the message in the run
 * @param from position of the first member to consider
 * @param allMatch whether the message is known to match the filters of all members
 * @param accepts whether a member comes into question. Default: always.
 */
function nextMember(
  group: QueueGroup,
  run: FrameRun,
  index: number,
  from: number,
  allMatch: boolean,
  accepts?: (member: QueueMember) => boolean,
): QueueMember | undefined {
  const { members } = group;
  if (allMatch) return nextOf(members, from, accepts);
  const distance = ({ position }: QueueMember) => (position - from + members.length) % members.length;
  let next: QueueMember | undefined;
  for (const entries of indexedFilters(group.index, run, index)) {
    for (const { filter, target } of entries) {
      if (!matchesMessage(filter, run, index)) continue;
      const member = nextOf(target.members, from, accepts);
      if (member !== undefined && (next === undefined || distance(member) < distance(next))) next = member;
    }
  }
  return next;
}

/** The filters of an index that may match a message. @param at index of the message in the run */
function indexedFilters<T>(
  index: FilterIndex<T>,
  run: FrameRun,
  at: number,
): readonly (readonly IndexedFilter<T>[])[] {
  const job = index.hasJobs ? run.job(at) : -1;
  const ofJob = job === -1 ? [] : index.ofJob(run.verdict.jobLow(job));
  return [index.others, index.ofCrawler(run.sender.crawlerId), ofJob];
}

/**
 * The first accepted member from a position on, in turn.
 * @param members in the order of their positions
 */
function nextOf(
  members: readonly QueueMember[],
  from: number,
  accepts?: (member: QueueMember) => boolean,
): QueueMember | undefined {
  let [first, end] = [0, members.length];
  while (first < end) {
    const middle = (first + end) >> 1;
    if ((members[middle]?.position ?? 0) < from) first = middle + 1;
    else end = middle;
  }
  for (let step = 0; step < members.length; step++) {
    const member = members[(first + step) % members.length];
    if (member !== undefined && accepts?.(member) !== false) return member;
  }
  return undefined;
}

/** Whether a member may receive all messages that were assigned to another one, in the same form. */
function isInterchangeable({ filter, hasMeta }: QueueMember, other: Assignee): boolean {
  return filter.key === other.filterKey || (filter.matchesAll && hasMeta === other.hasMeta);
}
