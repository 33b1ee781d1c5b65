// Finds the filters that may match a message, so that the cost of a message depends on what it matches and not on how
// many subscriptions exist: filters with job IDs by job, those with crawler IDs alone by crawler, and the rest.

import type { Filter } from './filter.js';

/** A filter, and what it selects messages for. */
export interface IndexedFilter<T> {
  readonly filter: Filter;
  readonly target: T;
}

/** A filter that has a job. It contains what is needed to match a message, since each object more costs a cache miss. */
export interface JobFilter<T> extends IndexedFilter<T> {
  /** The upper half of the job's key, as a signed integer. */
  readonly high: number;
  /** Whether it matches all messages about the job: it has neither types nor crawler IDs. */
  readonly matchesAll: boolean;
  readonly mark: number;
}

/** @typeParam T what filters select messages for */
export class FilterIndex<T> {
  #others: readonly IndexedFilter<T>[] = [];
  readonly #byCrawler = new Map<string, IndexedFilter<T>[]>();
  /** By lower half of the job's key, which is signed, since V8 stores small signed integers without an object. */
  readonly #byJob = new Map<number, JobFilter<T>[]>();
  readonly #marksJobs: boolean;
  /** Created by the first filter with jobs. */
  #marks: JobMarks | undefined;

  /** @param marksJobs whether jobs with filters are marked, which takes 264 KiB. Default: false. */
  constructor(marksJobs = false) {
    this.#marksJobs = marksJobs;
  }

  /** Filters with neither job IDs nor crawler IDs. */
  get others(): readonly IndexedFilter<T>[] {
    return this.#others;
  }

  /** Whether any filter has job IDs. */
  get hasJobs(): boolean {
    return this.#byJob.size > 0;
  }

  /** Filters with this crawler ID and no job IDs. */
  ofCrawler(crawlerId: string | undefined): readonly IndexedFilter<T>[] {
    return (crawlerId !== undefined && this.#byCrawler.get(crawlerId)) || NONE;
  }

  /**
   * Filters with a job of this key; they may also have crawler IDs. Includes those of other jobs with the same lower half.
   * @param low the lower half of the key
   */
  ofJob(low: number): readonly JobFilter<T>[] {
    return this.mayHaveJob(low) ? (this.#byJob.get(low | 0) ?? NONE) : NONE;
  }

  /**
   * Whether there may be filters with a job of this key. If jobs are marked, this is much faster than
   * {@link ofJob}, and nearly always right.
   */
  mayHaveJob(low: number): boolean {
    return this.#marksJobs ? this.#marks?.has(low) === true : this.hasJobs;
  }

  add(filter: Filter, target: T): void {
    const entry = { filter, target };
    const { jobs, crawlerIds, mark, matchesAllTypes } = filter;
    const matchesAll = matchesAllTypes && crawlerIds === undefined;
    if (jobs !== undefined)
      for (const [low, high] of jobs.keys()) this.#addJob(low, { filter, target, high, matchesAll, mark });
    else if (crawlerIds !== undefined) for (const id of crawlerIds) append(this.#byCrawler, id, entry);
    else this.#others = [...this.#others, entry];
  }

  remove(filter: Filter, target: T): void {
    const isOther = (entry: IndexedFilter<T>) => entry.filter !== filter || entry.target !== target;
    const { jobs, crawlerIds } = filter;
    if (jobs !== undefined) for (const [low] of jobs.keys()) this.#keepOfJob(low, isOther);
    else if (crawlerIds !== undefined) for (const id of crawlerIds) keep(this.#byCrawler, id, isOther);
    else this.#others = this.#others.filter(isOther);
  }

  #addJob(low: number, entry: JobFilter<T>): void {
    if (this.#marksJobs) this.#marks ??= new JobMarks();
    if (!this.#byJob.has(low)) this.#marks?.add(low);
    append(this.#byJob, low, entry);
  }

  #keepOfJob(low: number, isKept: (entry: IndexedFilter<T>) => boolean): void {
    if (!this.#byJob.has(low)) return;
    keep(this.#byJob, low, isKept);
    if (!this.#byJob.has(low)) this.#marks?.delete(low);
  }
}

/** Number of keys that the index finds a filter by. */
export function keysOf({ jobs, crawlerIds }: Filter): number {
  return jobs?.size ?? crawlerIds?.size ?? 1;
}

const MARKS = 65_536;
const BITS = 32;

/** A bit for each job, by the end of its key: jobs may share one. Small enough for the caches of a processor. */
class JobMarks {
  readonly #bits = new Int32Array(MARKS / BITS);
  /** Number of jobs, by bit. */
  readonly #counts = new Uint32Array(MARKS);

  has(low: number): boolean {
    const bit = low & (MARKS - 1);
    return ((this.#bits[bit >> 5] ?? 0) & (1 << (bit % BITS))) !== 0;
  }

  add(low: number): void {
    this.#count(low, 1);
  }

  delete(low: number): void {
    this.#count(low, -1);
  }

  #count(low: number, change: number): void {
    const bit = low & (MARKS - 1);
    const count = (this.#counts[bit] ?? 0) + change;
    this.#counts[bit] = count;
    const others = (this.#bits[bit >> 5] ?? 0) & ~(1 << (bit % BITS));
    this.#bits[bit >> 5] = count > 0 ? others | (1 << (bit % BITS)) : others;
  }
}

const NONE: readonly never[] = [];

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const values = map.get(key);
  if (values === undefined) map.set(key, [value]);
  else values.push(value);
}

function keep<K, V>(map: Map<K, V[]>, key: K, isKept: (value: V) => boolean): void {
  const kept = map.get(key)?.filter(isKept) ?? [];
  if (kept.length === 0) map.delete(key);
  else map.set(key, kept);
}
