// Reports which crawlers connect and disconnect, to subscribers of `presence` and to code in this process. Each connection
// is reported as connected at most once, and later as gone or replaced at most once.

import type { Piece } from '../delivery/outbox.js';
import type { MessageMap } from '../messages/messages.js';
import { PRESENCE } from '../messages/type-patterns.js';
import type { JobOwners } from '../routing/job-owners.js';
import type { Subscriptions } from '../routing/subscriptions.js';
import { brokerLine } from './outgoing.js';
import type { Peer } from './peer.js';
import { SecondLimiter } from './second-limiter.js';

/**
 * A crawler has connected or disconnected.
 * @typeParam P the connections
 */
export interface PresenceChange<P> {
  /**
   * `connected`: it has identified itself, by a `hello` or its first valid message. `gone`: its connection has closed.
   * `replaced`: a newer connection has taken over its `crawlerId`, so this one is closed; `gone` does not follow.
   */
  readonly event: MessageMap['presence']['data']['event'];
  readonly connection: P;
  readonly crawlerId: string | undefined;
  /** Why the connection has closed; only with `gone`. */
  readonly reason: string | undefined;
  /**
   * With `gone`, the IDs of the jobs that the crawler owned and had not ended: at most 1,000, none of more than 256
   * characters, at most 64 KiB as JSON, and at most about 16 MiB per second for all crawlers together. Otherwise empty.
   */
  readonly jobs: readonly string[];
  /** Number of these jobs, with those that `jobs` does not contain. */
  readonly jobsTotal: number;
}

/** Code in this process that observes the presence of crawlers. */
export interface PresenceListener<P> {
  hasListener(event: 'presence'): boolean;
  onPresence(change: PresenceChange<P>): void;
}

/** As subscribers receive it. */
export type PresenceReport = MessageMap['presence']['data'];

const NO_JOBS = { ids: [], total: 0 };
/** Maximum bytes of the job IDs in a report, as JSON. Those of 1,000 jobs with UUIDs are 39 kB. */
const MAX_JOB_BYTES = 64 * 1024;
/**
 * Bytes of job IDs per second, after which the reports of this second have none: a crawler that reconnects again and again
 * sends little, and every subscriber gets its jobs each time. For all crawlers together: a limit for each of them would
 * begin anew with each connection. All crawlers that are gone at once own 4 MB, with UUIDs and the default `maxJobOwners`.
 */
const MAX_JOB_BYTES_PER_SECOND = 16 * 1024 * 1024;

export class Presence<P extends Peer> {
  readonly #subscriptions: Subscriptions;
  readonly #owners: JobOwners;
  readonly #listener: PresenceListener<P>;
  readonly #delimiter: number;
  readonly #onReport: ((report: PresenceReport) => void) | undefined;
  /** Whether a connection is present: true once it is reported as connected, false from when that has ended. */
  readonly #isPresent = new WeakMap<P, boolean>();
  readonly #jobBytes = new SecondLimiter<Presence<P>>(MAX_JOB_BYTES_PER_SECOND);
  /** The latest connection with each crawlerId, until it is closed and all of its messages are settled. */
  readonly #byCrawlerId = new Map<string, P>();
  /** The keys of these connections. */
  readonly #crawlerIds = new WeakMap<P, string>();

  constructor(
    subscriptions: Subscriptions,
    owners: JobOwners,
    listener: PresenceListener<P>,
    delimiter: number,
    onReport?: (report: PresenceReport) => void,
  ) {
    this.#onReport = onReport;
    this.#subscriptions = subscriptions;
    this.#owners = owners;
    this.#listener = listener;
    this.#delimiter = delimiter;
  }

  /** A connection has shown that it is a crawler. */
  onIdentified(connection: P): void {
    if (connection.role !== 'crawler' || this.#isPresent.has(connection)) return;
    this.#isPresent.set(connection, true);
    this.#report('connected', connection);
  }

  /** A crawler's `hello` was accepted. */
  onHello(connection: P): void {
    this.#releaseCrawlerId(connection);
    this.#claimCrawlerId(connection);
    this.#owners.join(connection.identity);
    this.onIdentified(connection);
  }

  /** A connection has closed, and all of its messages are settled. */
  onClosed(connection: P, reason: string): void {
    this.#releaseCrawlerId(connection);
    if (this.#end(connection)) this.#report('gone', connection, reason);
    this.#owners.leave(connection.identity);
  }

  /** Replaces the connection that has the crawlerId, also if that one is being closed; if only this one is, this one. */
  #claimCrawlerId(connection: P): void {
    const { crawlerId } = connection;
    if (crawlerId === undefined) return;
    const known = this.#byCrawlerId.get(crawlerId);
    const replaced = known === undefined || connection.isOpen ? known : connection;
    if (replaced !== undefined && this.#end(replaced)) this.#report('replaced', replaced);
    if (replaced === connection) return;
    this.#byCrawlerId.set(crawlerId, connection);
    this.#crawlerIds.set(connection, crawlerId);
  }

  #releaseCrawlerId(connection: P): void {
    const crawlerId = this.#crawlerIds.get(connection) ?? '';
    if (this.#byCrawlerId.get(crawlerId) === connection) this.#byCrawlerId.delete(crawlerId);
  }

  /** @returns whether the connection was present */
  #end(connection: P): boolean {
    const wasPresent = this.#isPresent.get(connection) === true;
    this.#isPresent.set(connection, false);
    return wasPresent;
  }

  #report(event: PresenceChange<P>['event'], connection: P, reason?: string): void {
    const isObserved = this.#listener.hasListener('presence');
    const onReport = this.#onReport;
    if (!isObserved && onReport === undefined && !this.#subscriptions.hasPresenceSubscribers) return;
    const { id, crawlerId, identity } = connection;
    const subscribers = this.#subscriptions.presenceSubscribers(crawlerId);
    if (!isObserved && onReport === undefined && subscribers.length === 0) return;
    const { ids, total: jobsTotal } = event === 'gone' ? this.#owners.openJobsOf(identity) : NO_JOBS;
    const jobs = this.#limit(ids);
    const data: PresenceReport = {
      event,
      connectionId: id,
      crawlerId: crawlerId ?? null,
      ...(reason === undefined ? {} : { reason }),
      jobs: [...jobs],
      jobsTotal,
    };
    onReport?.(data);
    if (subscribers.length > 0) {
      const bytes = brokerLine(PRESENCE, data, this.#delimiter);
      const piece: Piece = { bytes, slab: undefined, messages: 1, isControl: true };
      for (const subscriber of subscribers) subscriber.deliver(piece);
    }
    if (isObserved) this.#listener.onPresence({ event, connection, crawlerId, reason, jobs, jobsTotal });
  }

  /** Those of the IDs that are reported: the first ones that fit. */
  #limit(ids: readonly string[]): readonly string[] {
    if (!this.#jobBytes.hasRoom(this)) return [];
    let [count, bytes] = [0, 0];
    for (const id of ids) {
      const size = Buffer.byteLength(JSON.stringify(id)) + 1;
      if (bytes + size > MAX_JOB_BYTES) break;
      bytes += size;
      count++;
    }
    this.#jobBytes.take(this, bytes);
    return ids.slice(0, count);
  }
}
