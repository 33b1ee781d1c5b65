// Maps each job to its owner: the crawler that last sent a message about it or was assigned it. Lists the jobs that each
// crawler owns and has not completed. Bounded: the least recently updated job is forgotten first.

import type { JobKey } from '../messages/job-key.js';
import { JobTable } from './job-table.js';

/** Maximum number of jobs of a crawler whose IDs are kept. Further ones are counted. */
const MAX_IDS = 1000;
/** Longer job IDs are not kept, in characters. */
const MAX_ID_LENGTH = 256;

/**
 * Who a crawler is, also after it has disconnected: each connection has one such object, which its jobs refer to. The
 * crawler with this `crawlerId` on any connection, or, without one, the crawler on this connection.
 */
export interface CrawlerIdentity {
  readonly connectionId: string;
  crawlerId: string | undefined;
  /** Maintained by {@link JobOwners}: the open jobs of this crawler, on all connections with its `crawlerId`. */
  openJobs?: OpenJobs | undefined;
}

/** The jobs of a crawler that have not ended. */
interface OpenJobs {
  readonly crawlerId: string | undefined;
  count: number;
  /** IDs by entry; `undefined` if an ID is unknown or too long. */
  readonly ids: Map<number, string | undefined>;
  /** Open connections with the crawlerId. */
  connections: number;
  /** The object that has taken over these jobs, since the connection has got a crawlerId that was known before. */
  mergedInto: OpenJobs | undefined;
}

/** The jobs that a crawler owns and has not completed. */
export interface OpenJobList {
  /** At most 1,000. */
  readonly ids: readonly string[];
  readonly total: number;
}

export class JobOwners {
  readonly #table: JobTable;
  /** Owners, by entry. */
  readonly #owners: CrawlerIdentity[] = [];
  /** The open jobs that contain the job, by entry; `undefined` if the job has ended. */
  readonly #open: (OpenJobs | undefined)[] = [];
  readonly #byCrawlerId = new Map<string, OpenJobs>();
  /** The number of the latest run about the job, by entry. */
  readonly #runs: Uint32Array;
  /** 1 for an entry whose ID is kept, or was found to be unknown or too long. */
  readonly #hasId: Uint8Array;
  #latest = -1;

  /** @param capacity maximum number of jobs, 1 or more */
  constructor(capacity: number) {
    this.#table = new JobTable(capacity);
    this.#hasId = new Uint8Array(capacity);
    this.#runs = new Uint32Array(capacity);
  }

  get size(): number {
    return this.#table.size;
  }

  /**
   * Sets the owner of a job, which is given by its key.
   * @param hasEnded whether the job has ended with the message. Any other message opens it again. Default: false.
   * @param run number of the run that contains the message. Default: that of the latest one.
   * @returns whether the job's ID is wanted: then pass it to {@link setId}
   */
  set(low: number, high: number, owner: CrawlerIdentity, hasEnded = false, run?: number): boolean {
    const entry = this.#table.set(low, high);
    if (run !== undefined || this.#table.isNew) this.#runs[entry] = run ?? 0;
    if (this.#owners[entry] !== owner) this.#owners[entry] = owner;
    const isForgotten = this.#table.isNew;
    const before = this.#open[entry];
    const jobs = owner.openJobs;
    // Most often, the job was open, or takes the place of an open job of the same crawler.
    if (hasEnded || jobs === undefined || before !== jobs) {
      this.#change(entry, owner, hasEnded, isForgotten);
      if (hasEnded) return false;
    } else if (isForgotten) this.#deleteId(entry, jobs);
    if (this.#hasId[entry] === 1 || (owner.openJobs?.ids.size ?? 0) >= MAX_IDS) return false;
    this.#latest = entry;
    return true;
  }

  /** @param isForgotten whether the entry had another job before */
  #change(entry: number, owner: CrawlerIdentity, hasEnded: boolean, isForgotten: boolean): void {
    const open = this.#open[entry];
    const before = open?.mergedInto ?? open;
    const id = isForgotten ? undefined : before?.ids.get(entry);
    if (before !== undefined) this.#close(entry, before);
    this.#open[entry] = undefined;
    if (hasEnded) return;
    owner.openJobs ??= this.#newOpenJobsOf(owner);
    const jobs = owner.openJobs;
    this.#open[entry] = jobs;
    jobs.count++;
    if (id !== undefined && jobs.ids.size < MAX_IDS) this.#setId(entry, jobs, id);
  }

  /** Sets the ID of the job of the latest {@link set}, which has returned true. @param id `undefined`: not known */
  setId(id: string | undefined): void {
    const jobs = this.#open[this.#latest];
    const isKept = id !== undefined && id.length <= MAX_ID_LENGTH;
    if (jobs !== undefined) this.#setId(this.#latest, jobs, isKept ? id : undefined);
  }

  #setId(entry: number, jobs: OpenJobs, id: string | undefined): void {
    jobs.ids.set(entry, id);
    this.#hasId[entry] = 1;
  }

  #deleteId(entry: number, jobs: OpenJobs): void {
    if (this.#hasId[entry] === 0) return;
    jobs.ids.delete(entry);
    this.#hasId[entry] = 0;
  }

  get({ low, high }: JobKey): CrawlerIdentity | undefined {
    const entry = this.#table.find(low, high);
    return entry === -1 ? undefined : this.#owners[entry];
  }

  /** Number of the latest run about a job; `undefined` if the job is not known. */
  runOf(low: number, high: number): number | undefined {
    const entry = this.#table.find(low, high);
    return entry === -1 ? undefined : this.#runs[entry];
  }

  /** A crawler has got its `crawlerId`: it takes over the open jobs of earlier connections with it. */
  join(owner: CrawlerIdentity): void {
    const { crawlerId, openJobs } = owner;
    if (openJobs !== undefined && openJobs.crawlerId === crawlerId) return;
    if (openJobs?.crawlerId !== undefined) this.leave(owner);
    if (crawlerId === undefined) return;
    const own = owner.openJobs;
    const jobs = this.#newOpenJobsOf(owner);
    if (own !== undefined) this.#merge(own, jobs);
    jobs.connections++;
    owner.openJobs = jobs;
  }

  /** A crawler has disconnected, or changed its `crawlerId`. It remains the owner of its jobs. */
  leave(owner: CrawlerIdentity): void {
    const jobs = owner.openJobs;
    owner.openJobs = undefined;
    if (jobs?.crawlerId === undefined) return;
    jobs.connections--;
    this.#forgetUnused(jobs);
  }

  /** The jobs of a connected crawler that have not ended. */
  openJobsOf({ openJobs }: CrawlerIdentity): OpenJobList {
    if (openJobs === undefined) return { ids: [], total: 0 };
    const ids = [...openJobs.ids.values()].filter((id) => id !== undefined);
    return { ids, total: openJobs.count };
  }

  /** The open jobs of earlier connections with the crawlerId, or none. */
  #newOpenJobsOf({ crawlerId }: CrawlerIdentity): OpenJobs {
    const known = crawlerId === undefined ? undefined : this.#byCrawlerId.get(crawlerId);
    if (known !== undefined) return known;
    const jobs = { crawlerId, count: 0, ids: new Map(), connections: 0, mergedInto: undefined };
    if (crawlerId !== undefined) this.#byCrawlerId.set(crawlerId, jobs);
    return jobs;
  }

  #close(entry: number, jobs: OpenJobs): void {
    jobs.count--;
    this.#deleteId(entry, jobs);
    this.#forgetUnused(jobs);
  }

  #forgetUnused({ crawlerId, count, connections }: OpenJobs): void {
    if (crawlerId !== undefined && count === 0 && connections === 0) this.#byCrawlerId.delete(crawlerId);
  }

  #merge(from: OpenJobs, into: OpenJobs): void {
    into.count += from.count;
    for (const [entry, id] of from.ids) {
      if (into.ids.size < MAX_IDS) into.ids.set(entry, id);
      else this.#hasId[entry] = 0;
    }
    from.ids.clear();
    from.mergedInto = into;
  }
}
