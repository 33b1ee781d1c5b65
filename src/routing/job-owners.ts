// Maps each job to its owner: the crawler that last sent a message about it or was assigned it. Lists the jobs that each
// crawler owns and has not completed. Bounded: of many jobs, one of those that were updated least recently is forgotten
// first.

import type { JobKey } from '../messages/job-key.js';
import { type JobKeys, JobTable } from './job-table.js';

/** Maximum number of jobs of a crawler whose IDs are kept. Further ones are counted. */
const MAX_IDS = 1000;
/** When so few are left, the IDs of other jobs are read from their next messages. */
const FEW_IDS = MAX_IDS / 2;
/**
 * A job that is set again keeps its place if it is in the newest part of the table, of this size: finding a new place
 * would take longer than all else.
 */
const LAG_SHARE = 0.25;
/**
 * Data of a job in the table: the number of the latest run about it, and its owner and its open jobs, by their numbers,
 * if it is open and its ID is not wanted.
 */
const DATA = { RUN: 0, OWNER: 1, OPEN: 2 } as const;
/** Maximum number of jobs that have ended whose IDs are kept. */
const ENDED_IDS = 4096;
const NONE = -1;
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
  /** Maintained by {@link JobOwners}: differs from that of all others. */
  number?: number;
}

/** What a message says of its job. `MENTIONED`: it is not about it, but its sender owns the job. */
export const JOB_STATE = { OPEN: 0, ENDED: 1, MENTIONED: 2 } as const;

/** Jobs that messages are about, by their keys, each with one of {@link JOB_STATE}. */
export interface JobUpdates extends JobKeys {
  readonly states: Uint8Array;
}

/** The jobs of a crawler that have not ended. */
interface OpenJobs {
  readonly crawlerId: string | undefined;
  /** Differs from that of all others. Changed if the IDs of its jobs are wanted again. */
  number: number;
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
  /** 1 for an entry whose ID is kept, or was found to be unknown or too long. */
  readonly #hasId: Uint8Array;
  #latest = NONE;
  /** Entries of jobs that have ended, and their IDs, which are needed if they open again: finding them takes long. */
  readonly #ended = new Int32Array(ENDED_IDS).fill(NONE);
  readonly #endedIds = new Array<string | undefined>(ENDED_IDS);
  /** Entries of the jobs of {@link setAll}. */
  #entries = new Int32Array(1024);
  /** The latest number of a crawler or of open jobs. */
  #numbers = 0;

  /** @param capacity maximum number of jobs, 1 or more */
  constructor(capacity: number) {
    this.#table = new JobTable(capacity, Math.floor(capacity * LAG_SHARE));
    this.#hasId = new Uint8Array(capacity);
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
    return this.#set(this.#table.set(low, high), owner, hasEnded, run);
  }

  /**
   * Sets the owner of several jobs.
   * @param run number of the run that contains the messages
   * @param readId reads the ID of one of the jobs; `undefined`: not known
   */
  setAll(
    jobs: JobUpdates,
    owner: CrawlerIdentity,
    run: number,
    readId: (at: number) => string | undefined,
  ): void {
    const { lows, highs, states, count } = jobs;
    if (count > this.#entries.length) this.#entries = new Int32Array(2 * count);
    const entries = this.#entries;
    const table = this.#table;
    table.prepare(jobs, entries);
    for (let at = 0; at < count; at++) {
      const [low, high, state] = [lows[at] ?? 0, highs[at] ?? 0, states[at]];
      let entry = entries[at] ?? NONE;
      // One of the jobs before it may have taken its entry.
      if (entry !== NONE && table.isEntryOf(entry, low, high)) table.renew(entry);
      else entry = table.set(low, high);
      const isWanted = this.#set(
        entry,
        owner,
        state === JOB_STATE.ENDED,
        state === JOB_STATE.MENTIONED ? undefined : run,
      );
      if (isWanted) this.setId(readId(at));
    }
  }

  /** Ends those of the jobs that have ended. Their owners, and those of the others, remain. */
  endAll({ lows, highs, states, count }: JobUpdates): void {
    for (let at = 0; at < count; at++) {
      if (states[at] !== JOB_STATE.ENDED) continue;
      const entry = this.#table.find(lows[at] ?? 0, highs[at] ?? 0);
      const owner = entry === NONE ? undefined : this.#owners[entry];
      if (owner !== undefined) this.#change(entry, owner, true, false);
    }
  }

  #set(entry: number, owner: CrawlerIdentity, hasEnded: boolean, run: number | undefined): boolean {
    const table = this.#table;
    const isForgotten = table.isNew;
    if (run !== undefined) table.setData(entry, DATA.RUN, run);
    // Most often, the job is known and nothing else changes.
    const isSame =
      table.data(entry, DATA.OPEN) === owner.openJobs?.number &&
      table.data(entry, DATA.OWNER) === owner.number;
    return hasEnded || !isSame ? this.#update(entry, owner, hasEnded, isForgotten) : false;
  }

  /**
   * @param isForgotten whether the entry may have had another job before
   * @returns whether the job's ID is wanted
   */
  #update(entry: number, owner: CrawlerIdentity, hasEnded: boolean, isForgotten: boolean): boolean {
    const before = this.#open[entry];
    const jobs = owner.openJobs;
    this.#owners[entry] = owner;
    // Often, the job takes the place of an open job of the same crawler.
    if (hasEnded || jobs === undefined || before !== jobs) this.#change(entry, owner, hasEnded, isForgotten);
    else if (isForgotten) this.#deleteId(entry, jobs);
    if (hasEnded) return false;
    const isWanted = this.#hasId[entry] === 0 && (owner.openJobs?.ids.size ?? 0) < MAX_IDS;
    if (isWanted) this.#latest = entry;
    else this.#markOpen(entry);
    return isWanted;
  }

  #markOpen(entry: number): void {
    const owner = this.#owners[entry];
    if (owner?.openJobs === undefined) return;
    owner.number ??= ++this.#numbers;
    this.#table.setData(entry, DATA.OWNER, owner.number);
    this.#table.setData(entry, DATA.OPEN, owner.openJobs.number);
  }

  /** @param isForgotten whether the entry had another job before */
  #change(entry: number, owner: CrawlerIdentity, hasEnded: boolean, isForgotten: boolean): void {
    const open = this.#open[entry];
    const before = open?.mergedInto ?? open;
    const id = isForgotten ? undefined : (before?.ids.get(entry) ?? this.#endedIdOf(entry));
    if (before !== undefined) this.#close(entry, before);
    this.#open[entry] = undefined;
    this.#keepEnded(entry, hasEnded ? id : undefined);
    if (hasEnded) return;
    owner.openJobs ??= this.#newOpenJobsOf(owner);
    const jobs = owner.openJobs;
    this.#open[entry] = jobs;
    jobs.count++;
    if (id !== undefined && jobs.ids.size < MAX_IDS) this.#setId(entry, jobs, id);
  }

  #endedIdOf(entry: number): string | undefined {
    const slot = entry % ENDED_IDS;
    return this.#ended[slot] === entry ? this.#endedIds[slot] : undefined;
  }

  /** @param id `undefined` if the job has not ended, or its ID is not known */
  #keepEnded(entry: number, id: string | undefined): void {
    const slot = entry % ENDED_IDS;
    if (id === undefined && this.#ended[slot] !== entry) return;
    this.#ended[slot] = id === undefined ? NONE : entry;
    this.#endedIds[slot] = id;
  }

  /** Sets the ID of the job of the latest {@link set}, which has returned true. @param id `undefined`: not known */
  setId(id: string | undefined): void {
    const jobs = this.#open[this.#latest];
    const isKept = id !== undefined && id.length <= MAX_ID_LENGTH;
    if (jobs === undefined) return;
    this.#setId(this.#latest, jobs, isKept ? id : undefined);
    this.#markOpen(this.#latest);
  }

  #setId(entry: number, jobs: OpenJobs, id: string | undefined): void {
    jobs.ids.set(entry, id);
    this.#hasId[entry] = 1;
  }

  #deleteId(entry: number, jobs: OpenJobs): void {
    if (this.#hasId[entry] === 0) return;
    jobs.ids.delete(entry);
    this.#hasId[entry] = 0;
    if (jobs.ids.size === FEW_IDS && jobs.count > FEW_IDS) jobs.number = ++this.#numbers;
  }

  get({ low, high }: JobKey): CrawlerIdentity | undefined {
    const entry = this.#table.find(low, high);
    return entry === NONE ? undefined : this.#owners[entry];
  }

  /** Number of the latest run about a job; `undefined` if the job is not known. */
  runOf(low: number, high: number): number | undefined {
    const entry = this.#table.find(low, high);
    return entry === NONE ? undefined : this.#table.data(entry, DATA.RUN);
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
    const number = ++this.#numbers;
    const jobs = { crawlerId, number, count: 0, ids: new Map(), connections: 0, mergedInto: undefined };
    if (crawlerId !== undefined) this.#byCrawlerId.set(crawlerId, jobs);
    return jobs;
  }

  #close(entry: number, jobs: OpenJobs): void {
    jobs.count--;
    this.#table.setData(entry, DATA.OPEN, 0);
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
