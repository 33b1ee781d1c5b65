// The subscriptions of all subscribers. Messages are routed to filter groups and queue groups, rejected messages and reports of
// presence to those that name these types.

import type { FrameRun } from '../delivery/frame-run.js';
import type { Assignee, Piece } from '../delivery/outbox.js';
import { type JobSeed, NO_SEED } from '../messages/job-key.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { matchesType, RESERVED_TYPES } from '../messages/type-patterns.js';
import { Filter, type SubscribeData, subscriptionBytes } from './filter.js';
import { FilterGroups } from './filter-groups.js';
import { QueueGroups } from './queue-groups.js';
import { SelectionPool } from './select-messages.js';
import type { Subscriber } from './subscriber.js';

/** One subscriber may use at most this fraction of the memory for subscriptions: 1/16. */
const SHARES = 16;
/** Maximum number of entries of a list in a description. */
const MAX_LISTED = 20;

/** Reads messages for a subscription that gets them from elsewhere, and not as they are received. */
export interface SubscriptionReader {
  /** Whether it also delivers reports of presence. Default: false. */
  readonly reportsPresence?: boolean;
  /** @param isDisconnecting whether all subscriptions end, since the connection of the subscriber does */
  stop(isDisconnecting: boolean): void;
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

interface SubscriberEntry {
  bytes: number;
  readonly subscriptions: Map<string, Subscription>;
}

export class Subscriptions {
  readonly #registry: MessageRegistry;
  readonly #entries = new Map<Subscriber, SubscriberEntry>();
  readonly #filterGroups: FilterGroups;
  readonly #queueGroups: QueueGroups;
  readonly #rejected = new Set<Subscriber>();
  /** Subscribers of presence, with their filters that match it. */
  readonly #presence = new Map<Subscriber, readonly Filter[]>();
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
    const pool = new SelectionPool();
    this.#filterGroups = new FilterGroups(pool);
    this.#queueGroups = new QueueGroups(pool);
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
    const entry: SubscriberEntry = this.#entries.get(subscriber) ?? { bytes: 0, subscriptions: new Map() };
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
    if (group === undefined) this.#updateFilters(subscriber, entry);
    else this.#queueGroups.join(group, subscriber, data.id, filter);
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
    subscription.reader?.stop(false);
    this.#updateReserved(subscriber, entry);
    if (subscription.group === undefined) this.#updateFilters(subscriber, entry);
    else this.#queueGroups.leave(subscription.group, subscriber, id);
    if (entry.subscriptions.size === 0) this.#entries.delete(subscriber);
    return true;
  }

  /** Removes all subscriptions of a subscriber whose connection ends. */
  removeAll(subscriber: Subscriber): void {
    const entry = this.#entries.get(subscriber);
    if (entry === undefined) return;
    const removed = [...entry.subscriptions];
    entry.subscriptions.clear();
    this.#entries.delete(subscriber);
    this.#bytes -= entry.bytes;
    this.#updateReserved(subscriber, entry);
    this.#updateFilters(subscriber, entry);
    for (const [id, { reader, group }] of removed) {
      reader?.stop(true);
      if (group !== undefined) this.#queueGroups.leave(group, subscriber, id);
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
    this.#filterGroups.route(run);
    this.#queueGroups.route(run);
  }

  /**
   * Delivers messages that were queued for a member that has left its queue group to another member, if one may receive them.
   * @returns false if there is no such member
   */
  takeOver(piece: Piece, from: Assignee): boolean {
    return this.#queueGroups.takeOver(piece, from);
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

  /** Updates the filters of a subscriber, without those of queue groups and of what is read from the log. */
  #updateFilters(subscriber: Subscriber, { subscriptions }: SubscriberEntry): void {
    const filters = [...subscriptions.values()]
      .filter(({ group, reader }) => group === undefined && reader === undefined)
      .map(({ filter }) => filter);
    this.#filterGroups.update(subscriber, filters);
  }
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
