// Routing: which subscribers receive which messages. Subscribers with equal filters form a filter group, for which a run is
// cut once; the members of a queue group receive each message once between them.

import { cutRun, type FrameRun, SELECTED, SKIP, wholeRun } from '../delivery/frame-run.js';
import type { Piece } from '../delivery/outbox.js';
import { type JobSeed, NO_SEED } from '../messages/job-key.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { Filter, type SubscribeData, subscriptionBytes } from './filter.js';

/** One subscriber may use at most this fraction of the memory for subscriptions: 1/16. */
const SHARES = 16;

/** A connection that subscribes. */
export interface Subscriber {
  readonly id: string;
  deliver(piece: Piece): void;
}

/** Subscribers with equal filters, without their subscriptions in queue groups. */
interface FilterGroup {
  readonly filters: readonly Filter[];
  readonly subscribers: Set<Subscriber>;
}

interface GroupMember {
  readonly subscriber: Subscriber;
  readonly subscriptionId: string;
  readonly filter: Filter;
}

interface QueueGroup {
  /** Replaced on every change: a member may leave during routing, when it is disconnected for being slow. */
  members: readonly GroupMember[];
  /** Index of the member whose turn it is. */
  next: number;
}

/** The smallest range `[from, to)` of a run that contains all messages of a member. */
interface Assignment {
  readonly from: number;
  to: number;
}

interface Subscription {
  readonly filter: Filter;
  readonly group: string | undefined;
  readonly bytes: number;
}

interface SubscriberEntry {
  bytes: number;
  readonly subscriptions: Map<string, Subscription>;
  filterGroupKey: string | undefined;
}

export class Subscriptions {
  readonly #registry: MessageRegistry;
  readonly #entries = new Map<Subscriber, SubscriberEntry>();
  readonly #filterGroups = new Map<string, FilterGroup>();
  readonly #groups = new Map<string, QueueGroup>();
  readonly #rejected = new Set<Subscriber>();
  #marks = new Uint8Array(1024);
  /** For each message of a run, the index of its group member plus 1; 0 if no member matches. */
  #assignees = new Uint32Array(1024);
  readonly #maxBytes: number;
  readonly #jobSeed: JobSeed;
  #bytes = 0;

  /**
   * @param maxBytes memory for the texts of all subscriptions; one subscriber may use 1/16. Default: no limit.
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

  /** Memory of the texts of all subscriptions, in bytes. */
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

  has(subscriber: Subscriber, id: string): boolean {
    return this.#entries.get(subscriber)?.subscriptions.has(id) ?? false;
  }

  /** Adds a subscription. Replaces one with the same ID. */
  add(subscriber: Subscriber, data: SubscribeData): void {
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
    const filter = new Filter(this.#registry, data, this.#jobSeed);
    entry.subscriptions.set(data.id, { filter, group: data.group, bytes });
    if (filter.matchesRejected) this.#rejected.add(subscriber);
    if (data.group === undefined) this.#updateFilterGroup(subscriber, entry);
    else {
      const group = this.#groups.get(data.group) ?? { members: [], next: 0 };
      this.#groups.set(data.group, group);
      group.members = [...group.members, { subscriber, subscriptionId: data.id, filter }];
    }
  }

  /** Removes one subscription. @returns whether it existed */
  remove(subscriber: Subscriber, id: string): boolean {
    const entry = this.#entries.get(subscriber);
    const subscription = entry?.subscriptions.get(id);
    if (entry === undefined || subscription === undefined) return false;
    entry.subscriptions.delete(id);
    entry.bytes -= subscription.bytes;
    this.#bytes -= subscription.bytes;
    const matchesRejected = [...entry.subscriptions.values()].some(({ filter }) => filter.matchesRejected);
    if (!matchesRejected) this.#rejected.delete(subscriber);
    if (subscription.group === undefined) this.#updateFilterGroup(subscriber, entry);
    else this.#leaveGroup(subscription.group, subscriber, id);
    if (entry.subscriptions.size === 0) this.#entries.delete(subscriber);
    return true;
  }

  /** Removes all subscriptions of a subscriber. */
  removeAll(subscriber: Subscriber): void {
    for (const id of [...(this.#entries.get(subscriber)?.subscriptions.keys() ?? [])]) {
      this.remove(subscriber, id);
    }
  }

  /** Subscribers of rejected messages. */
  get rejectedSubscribers(): ReadonlySet<Subscriber> {
    return this.#rejected;
  }

  /** Delivers the messages of a run to all matching subscribers. */
  route(run: FrameRun): void {
    let whole: Piece | undefined;
    for (const { filters, subscribers } of this.#filterGroups.values()) {
      if (matchesWholeRuns(filters)) {
        whole ??= wholeRun(run);
        for (const subscriber of subscribers) subscriber.deliver(whole);
      } else {
        const pieces = cutRun(run, this.#mark(run, filters));
        for (const subscriber of subscribers) for (const piece of pieces) subscriber.deliver(piece);
      }
    }
    for (const group of this.#groups.values()) this.#distribute(run, group);
  }

  /** Marks the messages of a run that match at least one of the filters. */
  #mark(run: FrameRun, filters: readonly Filter[]): Uint8Array {
    this.#reserve(run.count);
    const marks = this.#marks.fill(SKIP, 0, run.count);
    for (const filter of filters) {
      if (!filter.matchesCrawler(run.source.crawlerId)) continue;
      for (let index = 0; index < run.count; index++) {
        const mark = this.#markOf(run, index, filter);
        if (mark > (marks[index] ?? SKIP)) marks[index] = mark;
      }
    }
    return marks;
  }

  #markOf(run: FrameRun, index: number, filter: Filter): number {
    const { verdict } = run;
    const job = run.job(index);
    const typeIndex = run.typeIndex(index);
    if (job === -1) return filter.markOf(typeIndex, 0, 0);
    return filter.markOf(typeIndex, verdict.jobLow(job), verdict.jobHigh(job));
  }

  /**
   * Delivers each message to one member. Splits a run into equal parts, one per member, so that each part can be
   * delivered as one piece. The members take turns at receiving the first part.
   */
  #distribute(run: FrameRun, group: QueueGroup): void {
    const { members } = group;
    this.#reserve(run.count);
    const assignees = this.#assignees.fill(0, 0, run.count);
    const part = Math.ceil(run.count / members.length);
    const assignments = new Map<number, Assignment>();
    for (let index = 0; index < run.count; index++) {
      const preferred = group.next + Math.floor(index / part);
      for (let step = 0; step < members.length; step++) {
        const memberIndex = (preferred + step) % members.length;
        if (this.#memberMark(run, index, members[memberIndex]) === SKIP) continue;
        assignees[index] = memberIndex + 1;
        const assignment = assignments.get(memberIndex);
        if (assignment === undefined) assignments.set(memberIndex, { from: index, to: index + 1 });
        else assignment.to = index + 1;
        break;
      }
    }
    group.next = (group.next + Math.ceil(run.count / part)) % members.length;
    for (const [memberIndex, assignment] of assignments)
      this.#deliverAssigned(run, assignees, memberIndex, assignment, members);
  }

  #memberMark(run: FrameRun, index: number, member: GroupMember | undefined): number {
    if (member === undefined || !member.filter.matchesCrawler(run.source.crawlerId)) return SKIP;
    return this.#markOf(run, index, member.filter);
  }

  #deliverAssigned(
    run: FrameRun,
    assignees: Uint32Array,
    memberIndex: number,
    { from, to }: Assignment,
    members: readonly GroupMember[],
  ): void {
    const member = members[memberIndex];
    if (member === undefined) return;
    const marks = this.#marks;
    const count = to - from;
    for (let index = 0; index < count; index++) {
      marks[index] = assignees[from + index] === memberIndex + 1 ? member.filter.mark : SKIP;
    }
    for (const piece of cutRun(run.part(from, to), marks, run.span)) member.subscriber.deliver(piece);
  }

  #reserve(count: number): void {
    if (count <= this.#marks.length) return;
    this.#marks = new Uint8Array(count * 2);
    this.#assignees = new Uint32Array(count * 2);
  }

  #updateFilterGroup(subscriber: Subscriber, entry: SubscriberEntry): void {
    if (entry.filterGroupKey !== undefined) {
      const old = this.#filterGroups.get(entry.filterGroupKey);
      old?.subscribers.delete(subscriber);
      if (old?.subscribers.size === 0) this.#filterGroups.delete(entry.filterGroupKey);
    }
    const filters = [...entry.subscriptions.values()]
      .filter(({ group }) => group === undefined)
      .map(({ filter }) => filter);
    entry.filterGroupKey = filters.length === 0 ? undefined : filters.map(({ key }) => key).join('\n');
    if (entry.filterGroupKey === undefined) return;
    const group = this.#filterGroups.get(entry.filterGroupKey) ?? { filters, subscribers: new Set() };
    this.#filterGroups.set(entry.filterGroupKey, group);
    group.subscribers.add(subscriber);
  }

  #leaveGroup(name: string, subscriber: Subscriber, id: string): void {
    const group = this.#groups.get(name);
    if (group === undefined) return;
    group.members = group.members.filter(
      (member) => member.subscriber !== subscriber || member.subscriptionId !== id,
    );
    group.next = 0;
    if (group.members.length === 0) this.#groups.delete(name);
  }
}

/** Whether all messages are delivered unchanged: a filter matches everything, and none adds `meta`. */
function matchesWholeRuns(filters: readonly Filter[]): boolean {
  return filters.every(({ mark }) => mark === SELECTED) && filters.some(({ matchesAll }) => matchesAll);
}
