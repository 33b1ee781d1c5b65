// Routing: which subscribers receive which messages. Subscribers with equal filters form a filter group, for which a run is
// cut once, unless they have many keys; the members of a queue group receive each message once between them. Groups are found through an index of
// their filters.

import {
  cutRun,
  type FrameRun,
  metaBytes,
  SELECTED,
  Selection,
  WITH_META,
  wholeRun,
} from '../delivery/frame-run.js';
import type { GroupMember as Assignee, Piece } from '../delivery/outbox.js';
import { type JobSeed, NO_SEED } from '../messages/job-key.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { matchesType, RESERVED_TYPES } from '../messages/type-patterns.js';
import { Filter, matchesMessage, type SubscribeData, subscriptionBytes } from './filter.js';
import { FilterIndex, type IndexedFilter, keysOf } from './filter-index.js';

/** One subscriber may use at most this fraction of the memory for subscriptions: 1/16. */
const SHARES = 16;
/**
 * Maximum number of keys, in the index, of filters that subscribers share: to join or leave others, a subscriber adds or
 * removes all of its filters. With more, it has a group of its own, which is changed by one filter at a time.
 */
const MAX_SHARED_KEYS = 256;
/** Maximum number of selections kept for reuse, and of messages that each of them may have memory for. */
const MAX_SPARE = 1024;
const MAX_SPARE_CAPACITY = 4096;
/** Maximum number of entries of a list in a description. */
const MAX_LISTED = 20;

/** A connection that subscribes. */
export interface Subscriber {
  readonly id: string;
  /** Whether messages can still be sent to it. Default: true. */
  readonly isOpen?: boolean;
  /** Whether it can queue `bytes`, after `ahead` other bytes, without falling behind. Default: always. */
  hasRoom?(bytes: number, ahead: number): boolean;
  /**
   * Sends it a piece.
   * @param member the member of a queue group that the messages are assigned to
   * @param isTakenOver whether the messages were queued for another member before
   */
  deliver(piece: Piece, member?: Assignee, isTakenOver?: boolean): void;
}

/** Something that messages of a run are selected for. */
interface Target {
  /** The messages selected so far, while those of a run are being selected. */
  selection: Selection | undefined;
}

/** The messages of a run that are selected for a target. */
interface Selected<T extends Target> {
  readonly target: T;
  readonly selection: Selection;
}

/** Subscribers with equal filters, without their subscriptions in queue groups. */
interface FilterGroup extends Target {
  filters: readonly Filter[];
  readonly subscribers: Set<Subscriber>;
}

interface GroupMember extends Assignee {
  readonly subscriber: Subscriber;
  readonly subscriptionId: string;
  readonly filter: Filter;
  /** Its index in the group. */
  position: number;
}

interface QueueGroup extends Target {
  /** Replaced on every change: a member may leave during routing, when it is disconnected for being slow. */
  members: readonly GroupMember[];
  /** The members by the key of their filter: equal filters are indexed once. */
  readonly filters: Map<string, MembersOfFilter>;
  /** Finds the filters of the group that match a message. */
  readonly index: FilterIndex<MembersOfFilter>;
  /** Index of the member whose turn it is. */
  next: number;
}

/** The members of a queue group with equal filters. */
interface MembersOfFilter {
  readonly filter: Filter;
  /** In the order of their positions. */
  members: readonly GroupMember[];
}

/** The messages of a run that are assigned to a member. */
interface Assignment {
  readonly messages: Selection;
  /** Total size of the messages. */
  bytes: number;
}

/** Reads messages for a subscription that gets them from elsewhere, and not as they are received. */
export interface SubscriptionReader {
  /** Whether it also delivers reports of presence. Default: false. */
  readonly reportsPresence?: boolean;
  stop(): void;
}

/** At most 20 entries of a list. */
export interface ListExcerpt {
  readonly values: readonly string[];
  readonly total: number;
}

/** A subscription, for operators. */
export interface SubscriptionDescription {
  readonly id: string;
  /** Type patterns. */
  readonly types: ListExcerpt;
  /** The only jobs and crawlers that it is about; null: it is about all. */
  readonly jobIds: ListExcerpt | null;
  readonly crawlerIds: ListExcerpt | null;
  /** Its queue group, and its cursor in the durable log. */
  readonly group: string | null;
  readonly cursor: string | null;
}

interface Subscription {
  readonly description: SubscriptionDescription;
  readonly filter: Filter;
  readonly reader: SubscriptionReader | undefined;
  readonly group: string | undefined;
  readonly bytes: number;
}

/** The keys of the filters, or the only subscriber. */
type FilterGroupKey = string | Subscriber;

interface SubscriberEntry {
  bytes: number;
  readonly subscriptions: Map<string, Subscription>;
  filterGroupKey: FilterGroupKey | undefined;
}

export class Subscriptions {
  readonly #registry: MessageRegistry;
  readonly #entries = new Map<Subscriber, SubscriberEntry>();
  readonly #filterGroups = new Map<FilterGroupKey, FilterGroup>();
  /** Filter groups that receive every run unchanged. The others are indexed. */
  readonly #unfiltered = new Set<FilterGroup>();
  readonly #filterIndex = new FilterIndex<FilterGroup>(true);
  readonly #groups = new Map<string, QueueGroup>();
  readonly #groupIndex = new FilterIndex<QueueGroup>(true);
  readonly #rejected = new Set<Subscriber>();
  /** Subscribers of presence, with their filters that match it. */
  readonly #presence = new Map<Subscriber, readonly Filter[]>();
  /** Selections for reuse. */
  readonly #spare: Selection[] = [];
  readonly #maxBytes: number;
  readonly #jobSeed: JobSeed;
  #bytes = 0;

  /**
   * @param maxBytes estimated memory of all subscriptions; one subscriber may use 1/16. Default: no limit.
   * @param jobSeed seed of the job keys in verdicts. Default: {@link NO_SEED}.
   */
  constructor(
    registry: MessageRegistry,
    maxBytes: number = Number.POSITIVE_INFINITY,
    jobSeed: JobSeed = NO_SEED,
  ) {
    this.#registry = registry;
    this.#maxBytes = maxBytes;
    this.#jobSeed = jobSeed;
  }

  /** Estimated memory of all subscriptions, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether there is room for a subscription, which replaces one with the same ID. */
  hasRoomFor(subscriber: Subscriber, data: SubscribeData): boolean {
    const entry = this.#entries.get(subscriber);
    const more = subscriptionBytes(data) - (entry?.subscriptions.get(data.id)?.bytes ?? 0);
    const own = entry?.bytes ?? 0;
    return own + more <= this.#maxBytes / SHARES && this.#bytes + more <= this.#maxBytes;
  }

  /**
   * Those of these type patterns that no message can match: crawlers send no such type.
   * @param isAnyForwarded whether messages of types without a schema are forwarded, too
   */
  unknownTypes(patterns: readonly string[], isAnyForwarded: boolean): string[] {
    const { types } = this.#registry;
    return patterns.filter((pattern) => {
      if (RESERVED_TYPES.has(pattern)) return false;
      if (isAnyForwarded && (pattern.endsWith('*') || this.#registry.get(pattern) === undefined))
        return false;
      return !types.some(({ name, direction }) => direction === 'crawler' && matchesType(pattern, name));
    });
  }

  /** Number of subscriptions of all subscribers. */
  get size(): number {
    let size = 0;
    for (const { subscriptions } of this.#entries.values()) size += subscriptions.size;
    return size;
  }

  /** Number of subscriptions of one subscriber. */
  countOf(subscriber: Subscriber): number {
    return this.#entries.get(subscriber)?.subscriptions.size ?? 0;
  }

  /** The subscriptions of one subscriber, for operators. */
  describe(subscriber: Subscriber): SubscriptionDescription[] {
    const subscriptions = this.#entries.get(subscriber)?.subscriptions.values() ?? [];
    return Array.from(subscriptions, ({ description }) => description);
  }

  /** What reads the messages of a subscription, if anything does. */
  readerOf(subscriber: Subscriber, id: string): SubscriptionReader | undefined {
    return this.#entries.get(subscriber)?.subscriptions.get(id)?.reader;
  }

  has(subscriber: Subscriber, id: string): boolean {
    return this.#entries.get(subscriber)?.subscriptions.has(id) ?? false;
  }

  /**
   * Adds a subscription. Replaces one with the same ID.
   * @param reader if the subscription gets its messages elsewhere; stopped when it is removed
   */
  add(subscriber: Subscriber, data: SubscribeData, reader?: SubscriptionReader): void {
    this.remove(subscriber, data.id);
    const entry: SubscriberEntry = this.#entries.get(subscriber) ?? {
      bytes: 0,
      subscriptions: new Map(),
      filterGroupKey: undefined,
    };
    const bytes = subscriptionBytes(data);
    entry.bytes += bytes;
    this.#bytes += bytes;
    this.#entries.set(subscriber, entry);
    const filter = this.filterOf(data);
    const description = descriptionOf(data);
    // Groups that read the log share their messages elsewhere.
    const group = reader === undefined ? data.group : undefined;
    entry.subscriptions.set(data.id, { description, filter, reader, group, bytes });
    this.#updateReserved(subscriber, entry);
    if (group === undefined) this.#updateFilterGroup(subscriber, entry);
    else {
      const queueGroup = this.#groups.get(group) ?? newQueueGroup();
      this.#groups.set(group, queueGroup);
      const assignee = { groupName: group, filterKey: filter.key, hasMeta: filter.mark === WITH_META };
      const { length: position } = queueGroup.members;
      this.#join(queueGroup, { ...assignee, subscriber, subscriptionId: data.id, filter, position });
    }
  }

  /** The filter of a subscription. */
  filterOf(data: SubscribeData): Filter {
    return new Filter(this.#registry, data, this.#jobSeed);
  }

  /** Removes one subscription. @returns whether it existed */
  remove(subscriber: Subscriber, id: string): boolean {
    const entry = this.#entries.get(subscriber);
    const subscription = entry?.subscriptions.get(id);
    if (entry === undefined || subscription === undefined) return false;
    entry.subscriptions.delete(id);
    entry.bytes -= subscription.bytes;
    this.#bytes -= subscription.bytes;
    subscription.reader?.stop();
    this.#updateReserved(subscriber, entry);
    if (subscription.group === undefined) this.#updateFilterGroup(subscriber, entry);
    else this.#leave(subscription.group, subscriber, id);
    if (entry.subscriptions.size === 0) this.#entries.delete(subscriber);
    return true;
  }

  /** Removes all subscriptions of a subscriber. */
  removeAll(subscriber: Subscriber): void {
    const entry = this.#entries.get(subscriber);
    if (entry === undefined) return;
    const removed = [...entry.subscriptions];
    entry.subscriptions.clear();
    this.#entries.delete(subscriber);
    this.#bytes -= entry.bytes;
    this.#updateReserved(subscriber, entry);
    this.#leaveFilterGroup(subscriber, entry);
    for (const [id, { reader, group }] of removed) {
      reader?.stop();
      if (group !== undefined) this.#leave(group, subscriber, id);
    }
  }

  /** Subscribers of rejected messages. */
  get rejectedSubscribers(): ReadonlySet<Subscriber> {
    return this.#rejected;
  }

  get hasPresenceSubscribers(): boolean {
    return this.#presence.size > 0;
  }

  /** Subscribers of presence whose filter matches this crawler. */
  presenceSubscribers(crawlerId: string | undefined): Subscriber[] {
    const found: Subscriber[] = [];
    for (const [subscriber, filters] of this.#presence)
      if (filters.some((filter) => filter.matchesCrawler(crawlerId))) found.push(subscriber);
    return found;
  }

  /** Delivers the messages of a run to all matching subscribers. */
  route(run: FrameRun): void {
    if (this.#unfiltered.size > 0) {
      const whole = wholeRun(run);
      for (const { subscribers } of this.#unfiltered)
        for (const subscriber of subscribers) subscriber.deliver(whole);
    }
    this.#select(run, this.#filterIndex, ({ subscribers }, selection, selected) => {
      const pieces = cutRun(run, selection, selected);
      for (const subscriber of subscribers) for (const piece of pieces) subscriber.deliver(piece);
    });
    this.#select(run, this.#groupIndex, (group, selection) => this.#distribute(run, group, selection));
  }

  /**
   * Selects the messages of a run for each target with a matching filter, then delivers them.
   * @param deliver gets the number of messages that are selected for all targets together, too
   */
  #select<T extends Target>(
    run: FrameRun,
    index: FilterIndex<T>,
    deliver: (target: T, selection: Selection, selected: number) => void,
  ): void {
    const { crawlerId } = run.source;
    const { others, hasJobs } = index;
    const ofCrawler = index.ofCrawler(crawlerId);
    const ofJobs = hasJobs && mayMatchJobs(index, run);
    if (others.length === 0 && ofCrawler.length === 0 && !ofJobs) return;
    const all: Selected<T>[] = [];
    const { unknownType } = run;
    for (let at = 0; at < run.count; at++) {
      const typeIndex = run.typeIndex(at);
      for (const { filter, target } of others) {
        if (filter.matchesType(typeIndex, unknownType)) this.#add(target, at, filter.mark, all);
      }
      for (const { filter, target } of ofCrawler) {
        if (filter.matchesType(typeIndex, unknownType)) this.#add(target, at, filter.mark, all);
      }
      const job = ofJobs ? run.job(at) : -1;
      if (job === -1) continue;
      const low = run.verdict.jobLow(job);
      if (!index.mayHaveJob(low)) continue;
      const high = run.verdict.jobHigh(job) | 0;
      for (const entry of index.ofJob(low)) {
        if (entry.high !== high) continue;
        const { filter } = entry;
        if (
          entry.matchesAll ||
          (filter.matchesType(typeIndex, unknownType) && filter.matchesCrawler(crawlerId))
        )
          this.#add(entry.target, at, entry.mark, all);
      }
    }
    let total = 0;
    for (const { target, selection } of all) {
      target.selection = undefined;
      total += selection.count;
    }
    // Afterwards, since subscriptions may be removed while messages are delivered: a slow subscriber is disconnected. If
    // one throws, no target may keep its selection, to which the next run would be added.
    for (const { target, selection } of all) {
      deliver(target, selection, total);
      this.#release(selection);
    }
  }

  #add<T extends Target>(target: T, at: number, mark: number, all: Selected<T>[]): void {
    let { selection } = target;
    if (selection === undefined) {
      selection = this.#newSelection();
      target.selection = selection;
      all.push({ target, selection });
    }
    selection.add(at, mark);
  }

  /**
   * Delivers each message to one member. Splits the messages into equal parts, one per member, so that each part can be
   * delivered as one piece. The members take turns at receiving the first part. What a member has no room for goes to the
   * next one that has.
   */
  #distribute(run: FrameRun, group: QueueGroup, selection: Selection): void {
    const { members } = group;
    const part = Math.ceil(selection.count / members.length);
    const assigned = new Map<GroupMember, Assignment>();
    const overhead = members.some(({ hasMeta }) => hasMeta) ? 1 + metaBytes(run) : 1;
    const runBytes = run.span + run.count * overhead;
    const isScarce = !members.every(({ subscriber }) => hasRoom(subscriber, runBytes, 0));
    let latest: GroupMember | undefined;
    let assignment: Assignment | undefined;
    for (let at = 0; at < selection.count; at++) {
      const index = selection.index(at);
      const bytes = run.end(index) - run.start(index) + overhead;
      const preferred = (group.next + Math.floor(at / part)) % members.length;
      // If no member has room, the overflow policy of the first one applies.
      const assignee =
        (isScarce
          ? nextMember(group, run, index, preferred, (member) =>
              hasRoom(member.subscriber, bytes, assigned.get(member)?.bytes ?? 0),
            )
          : undefined) ?? nextMember(group, run, index, preferred);
      if (assignee === undefined) continue;
      if (assignee !== latest || assignment === undefined) {
        latest = assignee;
        assignment = assigned.get(assignee) ?? { messages: this.#newSelection(), bytes: 0 };
        assigned.set(assignee, assignment);
      }
      assignment.messages.add(index, assignee.filter.mark);
      assignment.bytes += bytes;
    }
    group.next = (group.next + Math.ceil(selection.count / part)) % members.length;
    for (const [member, { messages }] of assigned) {
      for (const piece of cutRun(run, messages)) member.subscriber.deliver(piece, member);
      this.#release(messages);
    }
  }

  /**
   * Delivers messages that were queued for a member that has left its group to another member with an equal filter, or
   * with none: to one with room, if there is one.
   * @returns false if there is no such member
   */
  takeOver(piece: Piece, from: Assignee): boolean {
    const group = this.#groups.get(from.groupName);
    if (group === undefined) return false;
    const { members } = group;
    let taker: GroupMember | undefined;
    for (let step = 0; step < members.length; step++) {
      const member = members[(group.next + step) % members.length];
      if (member === undefined || member.subscriber.isOpen === false || !isInterchangeable(member, from))
        continue;
      taker ??= member;
      if (!hasRoom(member.subscriber, piece.bytes.length, 0)) continue;
      taker = member;
      break;
    }
    if (taker === undefined) return false;
    group.next = (group.next + 1) % members.length;
    taker.subscriber.deliver(piece, taker, true);
    return true;
  }

  #newSelection(): Selection {
    return this.#spare.pop() ?? new Selection();
  }

  #release(selection: Selection): void {
    selection.clear();
    if (this.#spare.length < MAX_SPARE && selection.capacity <= MAX_SPARE_CAPACITY)
      this.#spare.push(selection);
  }

  /** Updates the subscribers of reserved types. Every member of a queue group receives these messages. */
  #updateReserved(subscriber: Subscriber, { subscriptions }: SubscriberEntry): void {
    const all = [...subscriptions.values()];
    if (all.some(({ filter }) => filter.matchesRejected)) this.#rejected.add(subscriber);
    else this.#rejected.delete(subscriber);
    const ofPresence = all
      .filter(({ filter, reader }) => filter.matchesPresence && reader?.reportsPresence !== true)
      .map(({ filter }) => filter);
    if (ofPresence.length > 0) this.#presence.set(subscriber, ofPresence);
    else this.#presence.delete(subscriber);
  }

  #updateFilterGroup(subscriber: Subscriber, entry: SubscriberEntry): void {
    const filters = [...entry.subscriptions.values()]
      .filter(({ group, reader }) => group === undefined && reader === undefined)
      .map(({ filter }) => filter);
    const keys = filters.reduce((sum, filter) => sum + keysOf(filter), 0);
    const key = keys > MAX_SHARED_KEYS ? subscriber : filters.map((filter) => filter.key).join('\n');
    if (key !== entry.filterGroupKey) this.#leaveFilterGroup(subscriber, entry);
    if (filters.length === 0) return;
    const group = this.#filterGroups.get(key) ?? this.#addFilterGroup(key, filters);
    group.subscribers.add(subscriber);
    entry.filterGroupKey = key;
    if (key === subscriber) this.#replaceFilters(group, filters);
  }

  #leaveFilterGroup(subscriber: Subscriber, entry: SubscriberEntry): void {
    const key = entry.filterGroupKey;
    entry.filterGroupKey = undefined;
    const group = key === undefined ? undefined : this.#filterGroups.get(key);
    if (key === undefined || group === undefined) return;
    group.subscribers.delete(subscriber);
    if (group.subscribers.size > 0) return;
    this.#filterGroups.delete(key);
    if (!this.#unfiltered.delete(group)) this.#replaceFilters(group, []);
  }

  #addFilterGroup(key: FilterGroupKey, filters: readonly Filter[]): FilterGroup {
    const group: FilterGroup = { filters: [], subscribers: new Set(), selection: undefined };
    this.#filterGroups.set(key, group);
    // The index always has the filters of a single subscriber: otherwise it would lose all of them for one.
    if (typeof key === 'string' && matchesWholeRuns(filters)) this.#unfiltered.add(group);
    else this.#replaceFilters(group, filters);
    return group;
  }

  /** Changes the index only by the filters that differ. */
  #replaceFilters(group: FilterGroup, filters: readonly Filter[]): void {
    const added = new Set(filters);
    for (const filter of group.filters) if (!added.delete(filter)) this.#filterIndex.remove(filter, group);
    for (const filter of added) this.#filterIndex.add(filter, group);
    group.filters = filters;
  }

  #join(group: QueueGroup, member: GroupMember): void {
    const { filter } = member;
    group.members = [...group.members, member];
    const known = group.filters.get(filter.key);
    if (known !== undefined) {
      known.members = [...known.members, member];
      return;
    }
    const ofFilter = { filter, members: [member] };
    group.filters.set(filter.key, ofFilter);
    group.index.add(filter, ofFilter);
    this.#groupIndex.add(filter, group);
  }

  #leave(name: string, subscriber: Subscriber, id: string): void {
    const group = this.#groups.get(name);
    const left = group?.members.find(
      (member) => member.subscriber === subscriber && member.subscriptionId === id,
    );
    if (group === undefined || left === undefined) return;
    group.members = group.members.filter((member) => member !== left);
    group.members.forEach((member, position) => {
      member.position = position;
    });
    group.next = 0;
    if (group.members.length === 0) this.#groups.delete(name);
    const ofFilter = group.filters.get(left.filter.key);
    if (ofFilter === undefined) return;
    ofFilter.members = ofFilter.members.filter((member) => member !== left);
    if (ofFilter.members.length > 0) return;
    group.filters.delete(left.filter.key);
    group.index.remove(ofFilter.filter, ofFilter);
    this.#groupIndex.remove(ofFilter.filter, group);
  }
}

/** Whether a run may contain messages about jobs with filters. */
function mayMatchJobs<T>(index: FilterIndex<T>, { verdict, index: runIndex }: FrameRun): boolean {
  const end = verdict.jobsEnd(runIndex);
  for (let job = verdict.firstJob(runIndex); job < end; job++)
    if (index.mayHaveJob(verdict.jobLow(job))) return true;
  return false;
}

function descriptionOf({
  id,
  types,
  jobIds,
  crawlerIds,
  group,
  cursor,
}: SubscribeData): SubscriptionDescription {
  return {
    id,
    types: excerptOf(types),
    jobIds: jobIds === undefined ? null : excerptOf(jobIds),
    crawlerIds: crawlerIds === undefined ? null : excerptOf(crawlerIds),
    group: group ?? null,
    cursor: cursor ?? null,
  };
}

function excerptOf(list: readonly string[]): ListExcerpt {
  return { values: list.slice(0, MAX_LISTED), total: list.length };
}

function newQueueGroup(): QueueGroup {
  return { members: [], filters: new Map(), index: new FilterIndex(), next: 0, selection: undefined };
}

/**
 * The next member whose filter matches a message, in turn.
 * @param index of the message in the run. At least one filter of the group must match it.
 * @param from position of the first member to consider
 * @param accepts whether a member comes into question. Default: always.
 */
function nextMember(
  group: QueueGroup,
  run: FrameRun,
  index: number,
  from: number,
  accepts?: (member: GroupMember) => boolean,
): GroupMember | undefined {
  const { members, filters } = group;
  if (filters.size === 1) return nextOf(members, from, accepts);
  const distance = ({ position }: GroupMember) => (position - from + members.length) % members.length;
  let next: GroupMember | undefined;
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
  return [index.others, index.ofCrawler(run.source.crawlerId), ofJob];
}

/**
 * The first accepted member from a position on, in turn.
 * @param members in the order of their positions
 */
function nextOf(
  members: readonly GroupMember[],
  from: number,
  accepts?: (member: GroupMember) => boolean,
): GroupMember | undefined {
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

/** Whether all messages are delivered unchanged: a filter matches everything, and none adds `meta`. */
function matchesWholeRuns(filters: readonly Filter[]): boolean {
  return filters.every(({ mark }) => mark === SELECTED) && filters.some(({ matchesAll }) => matchesAll);
}

function hasRoom(subscriber: Subscriber, bytes: number, ahead: number): boolean {
  return subscriber.hasRoom?.(bytes, ahead) ?? true;
}

/** Whether a member may receive all messages that were assigned to another one, in the same form. */
function isInterchangeable({ filter, hasMeta }: GroupMember, other: Assignee): boolean {
  return filter.key === other.filterKey || (filter.matchesAll && hasMeta === other.hasMeta);
}
