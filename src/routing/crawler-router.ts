// Selects the crawlers that receive an application's message.

import type { JobKey } from '../messages/job-key.js';
import type { MessageTraits } from '../messages/message-traits.js';
import { JobOwners } from './job-owners.js';

/** The properties of a connection that routing depends on. */
export interface Recipient {
  readonly id: string;
  readonly crawlerId: string | undefined;
  /** Active jobs of the crawler: as of its last heartbeat, plus those assigned since. */
  readonly workload: number;
}

/** The connections to choose from. */
export interface CrawlerDirectory<R extends Recipient> {
  /** All crawlers that can receive a message. */
  activeCrawlers(): R[];
  /** One of them, by its connection ID. */
  activeCrawler(connectionId: string): R | undefined;
}

/** The parts of an application's message that determine its recipients. */
export interface Address {
  readonly traits: MessageTraits;
  readonly to: string | undefined;
  readonly job: JobKey | undefined;
}

export class CrawlerRouter<R extends Recipient> {
  readonly #directory: CrawlerDirectory<R>;
  readonly owners: JobOwners;
  /** IDs of connections with an unanswered job request, the oldest first. */
  readonly #waiting = new Set<string>();

  /** @param maxJobOwners maximum number of jobs whose owners are kept */
  constructor(directory: CrawlerDirectory<R>, maxJobOwners: number) {
    this.#directory = directory;
    this.owners = new JobOwners(maxJobOwners);
  }

  /** Records that a crawler has requested a job. */
  onJobRequest(connectionId: string): void {
    this.#waiting.add(connectionId);
  }

  /** Removes a closed connection. */
  forget(connectionId: string): void {
    this.#waiting.delete(connectionId);
  }

  /**
   * Selects the recipients of a message by the first of these that applies: `to`; the owner of its job; if it answers a job
   * request, the crawler that has waited longest; every active crawler. Empty if no crawler can receive it.
   */
  find(address: Address, senderId: string | undefined): R[] {
    const found = this.#find(address, senderId);
    const only = found.length === 1 ? found[0] : undefined;
    if (only !== undefined) {
      if (address.traits.answersJobRequest) this.#waiting.delete(only.id);
      const { job } = address;
      if (address.traits.assignsJob && job !== undefined) this.owners.set(job.low, job.high, only.id);
    }
    return found;
  }

  #find({ traits, to, job }: Address, senderId: string | undefined): R[] {
    const others = () => this.#directory.activeCrawlers().filter(({ id }) => id !== senderId);
    if (to === '*') return others();
    if (to === 'any') return leastBusy(others());
    if (to !== undefined) return others().filter(({ id, crawlerId }) => id === to || crawlerId === to);
    const ownerId = job === undefined ? undefined : this.owners.get(job);
    const owner = this.#directory.activeCrawler(ownerId ?? '');
    if (owner !== undefined) return [owner];
    if (traits.answersJobRequest) {
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
