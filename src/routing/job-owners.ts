// Which connection owns a job: the crawler that last spoke of it, or was assigned it. Bounded: the
// job that was not heard of for the longest time is forgotten first.

import { LruMap } from '../lru-map.js';

/** A longer id, in UTF-16 units, is not worth its memory: such a job has no owner. */
const MAX_JOB_ID_LENGTH = 256;

export class JobOwners {
  /** Job id → connection id. */
  readonly #owners: LruMap<string, string>;

  /** @param capacity how many jobs to remember */
  constructor(capacity: number) {
    this.#owners = new LruMap(capacity);
  }

  get size(): number {
    return this.#owners.size;
  }

  set(jobId: string, connectionId: string): void {
    if (jobId.length <= MAX_JOB_ID_LENGTH) this.#owners.set(jobId, connectionId);
  }

  get(jobId: string): string | undefined {
    return this.#owners.get(jobId);
  }
}
