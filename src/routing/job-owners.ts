// Which connection owns a job: the crawler that last spoke of it, or was assigned it. Bounded: the
// job that was not heard of for the longest time is forgotten first.

/** A longer id, in UTF-16 units, is not worth its memory: such a job has no owner. */
const MAX_JOB_ID_LENGTH = 256;

export class JobOwners {
  readonly #capacity: number;
  /** Job id → connection id, least recently heard of first, so far as {@link set} keeps it. */
  readonly #owners = new Map<string, string>();

  /** @param capacity how many jobs to remember */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#owners.size;
  }

  set(jobId: string, connectionId: string): void {
    if (jobId.length > MAX_JOB_ID_LENGTH) return;
    // While there is much room, who is forgotten first does not matter: the order costs more than the lookup.
    if (this.#owners.size < this.#capacity / 2 && this.#owners.get(jobId) === connectionId) return;
    this.#owners.delete(jobId);
    this.#owners.set(jobId, connectionId);
    if (this.#owners.size <= this.#capacity) return;
    for (const oldest of this.#owners.keys()) {
      this.#owners.delete(oldest);
      return;
    }
  }

  get(jobId: string): string | undefined {
    return this.#owners.get(jobId);
  }
}
