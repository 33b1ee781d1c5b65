// Detects hung workers, and the message at which a worker failed. Each worker has a progress record in shared memory: its
// thread id, a counter that is odd while it is busy and grows with each message that is decoded or checked, and its position
// in the batch. No clock is shared.

/**
 * Fields of a worker's progress record: thread id (0 if the record is free), counter, batch number, and the fields of a
 * {@link BatchPosition}.
 */
export const PROGRESS = { THREAD: 0, COUNTER: 1, BATCH: 2, RANGE: 3, START: 4, END: 5, SIZE: 6 } as const;
/** Additional records, because those of workers that have just exited are not free yet. */
const SPARE_RECORDS = 8;
/** Value of the range field once the whole batch is done and only its verdict remains to be sent. */
export const DONE = -1;

/** A worker's position in a batch. */
export interface BatchPosition {
  /** Index of the current range; `undefined` if all ranges are done. */
  readonly range: number | undefined;
  /**
   * Offsets of the current message in the range's arena, or of several that patterns read at once; both are equal if
   * the message is not known.
   */
  readonly start: number;
  readonly end: number;
}

/** The latest observation of a record. */
interface Observation {
  /** The thread that had the record; 0 if it was free. */
  thread: number;
  counter: number;
  /** Time at which the counter was first observed with this value, in ms. */
  since: number;
}

export class Watchdog {
  readonly memory: SharedArrayBuffer;
  readonly #records: Int32Array;
  readonly #timeout: number;
  readonly #seen: Observation[];

  /** @param timeout ms that one message may take, and a batch apart from its messages; 0 disables the limit */
  constructor(workers: number, timeout: number) {
    const count = workers * 2 + SPARE_RECORDS;
    this.memory = new SharedArrayBuffer(count * PROGRESS.SIZE * Int32Array.BYTES_PER_ELEMENT);
    this.#records = new Int32Array(this.memory);
    this.#timeout = timeout;
    this.#seen = Array.from({ length: count }, () => ({ thread: 0, counter: 0, since: 0 }));
  }

  /**
   * Finds workers that have not made progress for longer than allowed, in a message or in a batch. Frees the records of
   * workers that have exited.
   * @param now time of a {@link ProcessorClock}, in ms
   * @param timeoutFor returns the ms that a message of this size may take in the batch with this number. Default: the
   *   watchdog's timeout.
   */
  findHung<W extends { readonly threadId: number }>(
    workers: readonly W[],
    now: number,
    timeoutFor: (batchId: number, bytes: number) => number = () => this.#timeout,
  ): W[] {
    const hung: W[] = [];
    this.#seen.forEach((seen, index) => {
      const at = index * PROGRESS.SIZE;
      const thread = Atomics.load(this.#records, at + PROGRESS.THREAD);
      const isSameThread = thread === seen.thread;
      seen.thread = thread;
      if (thread === 0) return;
      const worker = workers.find(({ threadId }) => threadId === thread);
      if (worker === undefined) {
        for (const field of [PROGRESS.BATCH, PROGRESS.COUNTER, PROGRESS.THREAD])
          Atomics.store(this.#records, at + field, 0);
        return;
      }
      const counter = Atomics.load(this.#records, at + PROGRESS.COUNTER);
      // Each thread starts its counter at 0, so counters of different threads cannot be compared.
      if (!isSameThread || counter !== seen.counter) {
        seen.counter = counter;
        seen.since = now;
        return;
      }
      if (counter % 2 === 0 || this.#timeout === 0) return;
      const bytes = this.#field(at, PROGRESS.END) - this.#field(at, PROGRESS.START);
      if (now - seen.since <= timeoutFor(this.#field(at, PROGRESS.BATCH), bytes)) return;
      hung.push(worker);
      seen.since = now;
    });
    return hung;
  }

  /** The workers that have not started yet. */
  unstarted<W extends { readonly threadId: number }>(workers: readonly W[]): W[] {
    const threads = this.#seen.map((_, index) => this.#field(index * PROGRESS.SIZE, PROGRESS.THREAD));
    return workers.filter(({ threadId }) => !threads.includes(threadId));
  }

  /**
   * The position of the worker that has begun with a batch; if it has exited, its last one until its record is freed.
   */
  locate(batchId: number): BatchPosition | undefined {
    for (let at = 0; at < this.#records.length; at += PROGRESS.SIZE) {
      if (this.#field(at, PROGRESS.THREAD) === 0 || this.#field(at, PROGRESS.BATCH) !== batchId) continue;
      const range = this.#field(at, PROGRESS.RANGE);
      const [start, end] = [this.#field(at, PROGRESS.START), this.#field(at, PROGRESS.END)];
      return { range: range === DONE ? undefined : range, start, end };
    }
    return undefined;
  }

  #field(at: number, field: number): number {
    return Atomics.load(this.#records, at + field);
  }
}

/**
 * Minimum rate of the clock while the process uses no processor time. Not 0, because a worker may hang without using
 * any.
 */
const MIN_RATE = 1 / 4;

/**
 * Measures the time in which this process was able to run, in ms: a worker that gets no processor, because other
 * processes keep the machine busy or this one is stopped, does not count as hung. The clock advances by the processor
 * time of the process, but at most by the elapsed time, and at least by a quarter of it.
 */
export class ProcessorClock {
  readonly #time: () => number;
  readonly #used: () => number;
  readonly #maxInterval: number;
  #timeBefore: number;
  #usedBefore: number;
  #now = 0;

  /**
   * @param interval ms between two readings. If the process used no processor time, a reading advances the clock by at
   *   most one interval, however much time has elapsed.
   * @param time monotonic clock, in ms. Default: `performance.now`.
   * @param used processor time of the process, in ms. Default: from `process.cpuUsage`.
   */
  constructor(interval: number, time = () => performance.now(), used = processorTime) {
    this.#time = time;
    this.#used = used;
    this.#maxInterval = interval / MIN_RATE;
    this.#timeBefore = time();
    this.#usedBefore = used();
  }

  read(): number {
    const [time, used] = [this.#time(), this.#used()];
    const passed = time - this.#timeBefore;
    const least = Math.min(passed, this.#maxInterval) * MIN_RATE;
    this.#now += Math.min(passed, Math.max(used - this.#usedBefore, least));
    this.#timeBefore = time;
    this.#usedBefore = used;
    return this.#now;
  }
}

function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
