// Route, the other way: which crawlers an application's message goes to.

import type { JobKey } from '../messages/job-key.js';
import { JobOwners } from './job-owners.js';

/** What routing needs to know of a connection. */
export interface Recipient {
  readonly id: string;
  readonly crawlerId: string | undefined;
  /** Jobs the crawler works on: by its last heartbeat, and what it was assigned since. */
  readonly workload: number;
}

/** The connections to choose from. */
export interface CrawlerDirectory<R extends Recipient> {
  /** Every crawler that can take a message. */
  activeCrawlers(): R[];
  /** One of them by its connection id. */
  activeCrawler(connectionId: string): R | undefined;
}

/** The parts of an application's message that say whom it is for. */
export interface Address {
  readonly type: string;
  readonly to: string | undefined;
  readonly job: JobKey | undefined;
}

export class CrawlerRouter<R extends Recipient> {
  readonly #directory: CrawlerDirectory<R>;
  readonly owners: JobOwners;
  /** Ids of connections whose `job_request` is not answered, the longest waiting first. */
  readonly #waiting = new Set<string>();

  /** @param maxJobOwners how many jobs' owners to remember */
  constructor(directory: CrawlerDirectory<R>, maxJobOwners: number) {
    this.#directory = directory;
    this.owners = new JobOwners(maxJobOwners);
  }

  /** A crawler has asked for jobs. */
  onJobRequest(connectionId: string): void {
    this.#waiting.add(connectionId);
  }

  /** A connection has gone. */
  forget(connectionId: string): void {
    this.#waiting.delete(connectionId);
  }

  /**
   * Whom a message is for, by the first of these that applies: `to`; the owner of its job; for a
   * `job_response`, the crawler that has waited longest; every active crawler.
   * Empty when nobody can take it.
   */
  find(address: Address, senderId: string | undefined): R[] {
    const found = this.#find(address, senderId);
    const only = found.length === 1 ? found[0] : undefined;
    if (only !== undefined) {
      if (address.type === 'job_response') this.#waiting.delete(only.id);
      const { job } = address;
      if (address.type === 'job_assignment' && job !== undefined) this.owners.set(job.low, job.high, only.id);
    }
    return found;
  }

  #find({ type, to, job }: Address, senderId: string | undefined): R[] {
    const others = () => this.#directory.activeCrawlers().filter(({ id }) => id !== senderId);
    if (to === '*') return others();
    if (to === 'any') return leastBusy(others());
    if (to !== undefined) return others().filter(({ id, crawlerId }) => id === to || crawlerId === to);
    const ownerId = job === undefined ? undefined : this.owners.get(job);
    const owner = this.#directory.activeCrawler(ownerId ?? '');
    if (owner !== undefined) return [owner];
    if (type === 'job_response') {
      for (const id of this.#waiting) {
        const crawler = this.#directory.activeCrawler(id);
        if (crawler !== undefined) return [crawler];
        this.#waiting.delete(id);
      }
    }
    return others();
  }
}

function leastBusy<R extends Recipient>(crawlers: R[]): R[] {
  const [first, ...rest] = crawlers;
  if (first === undefined) return [];
  return [rest.reduce((best, crawler) => (crawler.workload < best.workload ? crawler : best), first)];
}
