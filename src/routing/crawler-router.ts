// Selects the crawlers that receive an application's message.

import type { AssignedJob, JobKey } from '../messages/job-key.js';
import type { MessageTraits } from '../messages/message-traits.js';
import { type CrawlerIdentity, JobOwners } from './job-owners.js';

/** The properties of a connection that routing depends on. */
export interface Recipient {
  readonly id: string;
  readonly identity: CrawlerIdentity;
  /** Whether it has shown that it is a crawler: by a `hello`, or by a valid crawler message. */
  readonly isIdentified: boolean;
  /** Active jobs of the crawler: as of its last heartbeat, plus those assigned since. */
  readonly workload: number;
}

/** The connections to choose from: crawlers that can receive a message. */
export interface CrawlerDirectory<R extends Recipient> {
  crawlers(): R[];
  crawlerByConnection(connectionId: string): R | undefined;
  crawlerById(crawlerId: string): R | undefined;
}

/** The parts of an application's message that determine its recipients. */
export interface Address {
  readonly traits: MessageTraits;
  readonly to: string | undefined;
  readonly job: JobKey | undefined;
  /** The jobs that the message assigns. */
  readonly assigned: readonly AssignedJob[];
}

export class CrawlerRouter<R extends Recipient> {
  readonly #directory: CrawlerDirectory<R>;
  readonly #now: () => number;
  readonly owners: JobOwners;
  /** Until when each crawler waits for a job, by connection ID, the longest-waiting first. In ms of the clock. */
  readonly #waiting = new Map<string, number>();

  /**
   * @param maxJobOwners maximum number of jobs whose owners are kept
   * @param now monotonic clock in ms. Default: `performance.now`.
   */
  constructor(
    directory: CrawlerDirectory<R>,
    maxJobOwners: number,
    now: () => number = () => performance.now(),
  ) {
    this.#directory = directory;
    this.#now = now;
    this.owners = new JobOwners(maxJobOwners);
  }

  /**
   * Records that a crawler has requested a job.
   * @param until monotonic time in ms at which it stops waiting, unless an earlier request of it lasts longer
   */
  onJobRequest(connectionId: string, until: number): void {
    const before = this.#waiting.get(connectionId) ?? 0;
    // After a request that has expired, a crawler waits anew, behind all others.
    if (before <= this.#now()) this.#waiting.delete(connectionId);
    this.#waiting.set(connectionId, Math.max(until, before));
  }

  /** All crawlers that can receive a message. */
  crawlers(): R[] {
    return this.#directory.crawlers();
  }

  /** A crawler that can receive a message, by its connection ID or its crawlerId. */
  crawler(id: string): R | undefined {
    return this.#directory.crawlerByConnection(id) ?? this.#directory.crawlerById(id);
  }

  /** Removes a closed connection. */
  forget(connectionId: string): void {
    this.#waiting.delete(connectionId);
  }

  /** Selects the recipients of a message, and records that they receive it. Empty if no crawler can receive it. */
  find(address: Address, senderId: string | undefined): R[] {
    const found = this.#find(address, senderId);
    if (address.traits.answersJobRequest) for (const { id } of found) this.#waiting.delete(id);
    const only = found.length === 1 ? found[0] : undefined;
    if (only !== undefined) this.#assign(address.assigned, only.identity);
    return found;
  }

  /** Whether a message is for every crawler, and not only for those of this host. */
  isForAll({ traits, to, job }: Address): boolean {
    if (to !== undefined) return to === '*';
    return traits.fallback === 'all' && (job === undefined || this.owners.get(job) === undefined);
  }

  /**
   * Whether a crawler can receive a message.
   * @param mustWait whether it has to wait for a job, if any crawler would do
   */
  hasRecipient(address: Address, mustWait: boolean): boolean {
    const [first] = this.#find(address, undefined);
    if (first === undefined) return false;
    return !mustWait || this.#isFor(address, first) || this.#waiting.has(first.id);
  }

  /** Whether a message is for this crawler alone, and not for any. */
  #isFor({ to, job }: Address, crawler: R): boolean {
    if (to !== undefined) return to !== 'any';
    const owner = job === undefined ? undefined : this.owners.get(job);
    return owner !== undefined && this.#connectionOf(owner) === crawler;
  }

  /** Records that code in this process has sent a crawler a message. */
  onSent({ id, identity }: R, traits: MessageTraits, assigned: readonly AssignedJob[]): void {
    if (traits.answersJobRequest) this.#waiting.delete(id);
    this.#assign(assigned, identity);
  }

  #assign(jobs: readonly AssignedJob[], owner: CrawlerIdentity): void {
    for (const { low, high, id } of jobs) if (this.owners.set(low, high, owner)) this.owners.setId(id);
  }

  #find({ traits, to, job }: Address, senderId: string | undefined): R[] {
    if (to === '*') return this.#all(senderId);
    if (to === 'any') return this.#any(senderId);
    if (to !== undefined) {
      const named = this.crawler(to);
      return named === undefined || named.id === senderId ? [] : [named];
    }
    const { fallback } = traits;
    const owner = job === undefined ? undefined : this.owners.get(job);
    if (owner !== undefined) {
      const crawler = this.#connectionOf(owner);
      if (crawler !== undefined) return [crawler];
      return fallback === 'any' ? this.#any(senderId) : [];
    }
    if (fallback === 'none') return [];
    return fallback === 'any' ? this.#any(senderId) : this.#all(senderId);
  }

  #connectionOf({ crawlerId, connectionId }: CrawlerIdentity): R | undefined {
    if (crawlerId === undefined) return this.#directory.crawlerByConnection(connectionId);
    return this.#directory.crawlerById(crawlerId);
  }

  #all(senderId: string | undefined): R[] {
    return this.#directory.crawlers().filter(({ id }) => id !== senderId);
  }

  /** The crawler that has waited longest for a job; if none waits, the one with the fewest jobs. */
  #any(senderId: string | undefined): R[] {
    const now = this.#now();
    for (const [id, until] of this.#waiting) {
      const crawler = until > now ? this.#directory.crawlerByConnection(id) : undefined;
      if (crawler === undefined) this.#waiting.delete(id);
      else if (id !== senderId) return [crawler];
    }
    let best: R | undefined;
    for (const crawler of this.#directory.crawlers()) {
      if (!crawler.isIdentified || crawler.id === senderId) continue;
      if (best === undefined || crawler.workload < best.workload) best = crawler;
    }
    return best === undefined ? [] : [best];
  }
}
