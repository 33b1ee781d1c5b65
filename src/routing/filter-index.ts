// Finds the filters that may match a message, so that the cost of a message depends on what it matches and not on how
// many subscriptions exist: filters with job IDs by job, those with crawler IDs alone by crawler, and the rest.

import type { Filter } from './filter.js';

/** A filter, and what it selects messages for. */
export interface IndexedFilter<T> {
  readonly filter: Filter;
  readonly target: T;
}

/** @typeParam T what filters select messages for */
export class FilterIndex<T> {
  #others: readonly IndexedFilter<T>[] = [];
  readonly #byCrawler = new Map<string, IndexedFilter<T>[]>();
  /** By lower half of the job's key, which is signed, since V8 stores small signed integers without an object. */
  readonly #byJob = new Map<number, IndexedFilter<T>[]>();

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
  ofJob(low: number): readonly IndexedFilter<T>[] {
    return this.#byJob.get(low | 0) ?? NONE;
  }

  add(filter: Filter, target: T): void {
    const entry = { filter, target };
    const { jobs, crawlerIds } = filter;
    if (jobs !== undefined) for (const low of jobs.lows()) append(this.#byJob, low, entry);
    else if (crawlerIds !== undefined) for (const id of crawlerIds) append(this.#byCrawler, id, entry);
    else this.#others = [...this.#others, entry];
  }

  remove(filter: Filter, target: T): void {
    const isOther = (entry: IndexedFilter<T>) => entry.filter !== filter || entry.target !== target;
    const { jobs, crawlerIds } = filter;
    if (jobs !== undefined) for (const low of jobs.lows()) keep(this.#byJob, low, isOther);
    else if (crawlerIds !== undefined) for (const id of crawlerIds) keep(this.#byCrawler, id, isOther);
    else this.#others = this.#others.filter(isOther);
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
