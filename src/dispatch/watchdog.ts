// Tells which worker hangs. Each worker has a slot in shared memory: its thread's id, and a counter that it
// raises before and after each batch, so that it is odd while the worker is busy. No clock is shared.

/** Numbers of a slot: thread id (0: free), counter. */
const SLOT = { THREAD: 0, COUNTER: 1, SIZE: 2 } as const;
/** Slots beyond one a worker: those of workers that have just ended are not free yet. */
const SPARE_SLOTS = 8;

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

  /** @param timeout ms that one batch may take; 0: no limit */
  constructor(workers: number, timeout: number) {
    const count = workers * 2 + SPARE_SLOTS;
    this.memory = new SharedArrayBuffer(count * SLOT.SIZE * Int32Array.BYTES_PER_ELEMENT);
    this.#slots = new Int32Array(this.memory);
    this.#timeout = timeout;
    this.#seen = Array.from({ length: count }, () => ({ thread: 0, counter: 0, since: 0 }));
  }

  /**
   * Those of the workers that have been busy with one batch for longer than the timeout. Frees the slots of
   * workers that are gone.
   * @param now monotonic time in ms
   */
  findHung<W extends { readonly threadId: number }>(workers: readonly W[], now: number): W[] {
    const hung: W[] = [];
    this.#seen.forEach((seen, index) => {
      const at = index * SLOT.SIZE;
      const thread = Atomics.load(this.#slots, at + SLOT.THREAD);
      const isSameThread = thread === seen.thread;
      seen.thread = thread;
      if (thread === 0) return;
      const worker = workers.find(({ threadId }) => threadId === thread);
      if (worker === undefined) {
        Atomics.store(this.#slots, at + SLOT.COUNTER, 0);
        Atomics.store(this.#slots, at + SLOT.THREAD, 0);
        return;
      }
      const counter = Atomics.load(this.#slots, at + SLOT.COUNTER);
      // Counters begin anew with each thread: an equal one of another thread says nothing.
      if (!isSameThread || counter !== seen.counter) {
        seen.counter = counter;
        seen.since = now;
      } else if (counter % 2 !== 0 && this.#timeout > 0 && now - seen.since > this.#timeout) {
        hung.push(worker);
        seen.since = now;
      }
    });
    return hung;
  }
}

/** A worker's own side: says when it is busy. */
export class WatchedWorker {
  readonly #slots: Int32Array;
  readonly #counter: number;

  /** Takes a free slot. */
  constructor(memory: SharedArrayBuffer, threadId: number) {
    this.#slots = new Int32Array(memory);
    let at = 0;
    while (Atomics.compareExchange(this.#slots, at + SLOT.THREAD, 0, threadId) !== 0) {
      at += SLOT.SIZE;
      if (at === this.#slots.length) throw new Error('no slot is free to be watched in');
    }
    this.#counter = at + SLOT.COUNTER;
  }

  /** Runs one batch. */
  run<T>(work: () => T): T {
    Atomics.add(this.#slots, this.#counter, 1);
    try {
      return work();
    } finally {
      Atomics.add(this.#slots, this.#counter, 1);
    }
  }
}
