// Tells which worker hangs, and at which message a worker ended. Each worker has a slot in shared memory: its thread's id,
// a counter that is odd while it is busy and grows with each message that it looks at one by one, and where it is. No
// clock is shared.

/** Numbers of a slot: thread id (0: free), counter, and the place; see {@link Place}. */
export const SLOT = { THREAD: 0, COUNTER: 1, TASK: 2, RANGE: 3, START: 4, END: 5, SIZE: 6 } as const;
/** Slots beyond one a worker: those of workers that have just ended are not free yet. */
const SPARE_SLOTS = 8;
/** In place of a range: the whole batch is done, and only its answer is missing. */
export const DONE = -1;

/** Where a worker is in a batch. */
export interface Place {
  /** Index of the range that it looks at; `undefined` when it has done them all. */
  readonly range: number | undefined;
  /** The message that it looks at, in offsets of the range's arena; equal where it is not known. */
  readonly start: number;
  readonly end: number;
}

/** What is known of a slot, on the watching side. */
interface Sighting {
  /** The thread that had the slot then; 0: none. */
  thread: number;
  counter: number;
  /** When the counter was first seen so, in ms. */
  since: number;
}

export class Watchdog {
  readonly memory: SharedArrayBuffer;
  readonly #slots: Int32Array;
  readonly #timeout: number;
  readonly #seen: Sighting[];

  /** @param timeout ms that one message may take, and a batch beside them; 0: no limit */
  constructor(workers: number, timeout: number) {
    const count = workers * 2 + SPARE_SLOTS;
    this.memory = new SharedArrayBuffer(count * SLOT.SIZE * Int32Array.BYTES_PER_ELEMENT);
    this.#slots = new Int32Array(this.memory);
    this.#timeout = timeout;
    this.#seen = Array.from({ length: count }, () => ({ thread: 0, counter: 0, since: 0 }));
  }

  /**
   * Those of the workers that have been at one message, or in a batch without getting on, for longer than they may. Frees
   * the slots of workers that are gone.
   * @param now in ms, as a {@link ProcessorClock} reads
   * @param timeoutFor ms that the batch of this number may be at a message of so many bytes; default: the timeout
   */
  findHung<W extends { readonly threadId: number }>(
    workers: readonly W[],
    now: number,
    timeoutFor: (task: number, bytes: number) => number = () => this.#timeout,
  ): W[] {
    const hung: W[] = [];
    this.#seen.forEach((seen, index) => {
      const at = index * SLOT.SIZE;
      const thread = Atomics.load(this.#slots, at + SLOT.THREAD);
      const isSameThread = thread === seen.thread;
      seen.thread = thread;
      if (thread === 0) return;
      const worker = workers.find(({ threadId }) => threadId === thread);
      if (worker === undefined) {
        for (const field of [SLOT.TASK, SLOT.COUNTER, SLOT.THREAD]) Atomics.store(this.#slots, at + field, 0);
        return;
      }
      const counter = Atomics.load(this.#slots, at + SLOT.COUNTER);
      // Counters begin anew with each thread: an equal one of another thread says nothing.
      if (!isSameThread || counter !== seen.counter) {
        seen.counter = counter;
        seen.since = now;
        return;
      }
      if (counter % 2 === 0 || this.#timeout === 0) return;
      const bytes = this.#field(at, SLOT.END) - this.#field(at, SLOT.START);
      if (now - seen.since <= timeoutFor(this.#field(at, SLOT.TASK), bytes)) return;
      hung.push(worker);
      seen.since = now;
    });
    return hung;
  }

  /** How many of the workers have started. */
  countStarted(workers: readonly { readonly threadId: number }[]): number {
    const threads = this.#seen.map((_, index) => this.#field(index * SLOT.SIZE, SLOT.THREAD));
    return workers.filter(({ threadId }) => threads.includes(threadId)).length;
  }

  /** Where the worker is, or was when it ended, that has begun with a batch. Ask before its slot is freed. */
  locate(task: number): Place | undefined {
    for (let at = 0; at < this.#slots.length; at += SLOT.SIZE) {
      if (this.#field(at, SLOT.THREAD) === 0 || this.#field(at, SLOT.TASK) !== task) continue;
      const range = this.#field(at, SLOT.RANGE);
      const [start, end] = [this.#field(at, SLOT.START), this.#field(at, SLOT.END)];
      return { range: range === DONE ? undefined : range, start, end };
    }
    return undefined;
  }

  #field(at: number, field: number): number {
    return Atomics.load(this.#slots, at + field);
  }
}

/** How much slower the clock goes, at most, while the process gets no processor: a worker may wait without using any. */
const SLOWEST = 1 / 4;

/**
 * The time in which this process could have done something, in ms: where other processes keep the machine busy, or this
 * one is stopped, a worker that gets no processor does not hang. It goes no faster than time, no faster than the process
 * uses processors, and no slower than a quarter of the time between two readings.
 */
export class ProcessorClock {
  readonly #time: () => number;
  readonly #used: () => number;
  readonly #maxInterval: number;
  #timeBefore: number;
  #usedBefore: number;
  #now = 0;

  /**
   * @param interval ms between two readings: of a longer time without processor, only a quarter of four of them counts
   * @param time monotonic, in ms; default `performance.now`
   * @param used processor time of the process, in ms; default `process.cpuUsage`
   */
  constructor(interval: number, time = () => performance.now(), used = processorTime) {
    this.#time = time;
    this.#used = used;
    this.#maxInterval = interval / SLOWEST;
    this.#timeBefore = time();
    this.#usedBefore = used();
  }

  read(): number {
    const [time, used] = [this.#time(), this.#used()];
    const passed = time - this.#timeBefore;
    const least = Math.min(passed, this.#maxInterval) * SLOWEST;
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
