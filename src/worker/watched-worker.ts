// The worker's side of the watchdog (dispatch/watchdog.ts): records in shared memory whether it is busy, and its position.

import { DONE, SLOT } from '../dispatch/watchdog.js';

export class WatchedWorker {
  readonly #slots: Int32Array;
  readonly #at: number;

  /** Claims a free slot. */
  constructor(memory: SharedArrayBuffer, threadId: number) {
    this.#slots = new Int32Array(memory);
    let at = 0;
    while (Atomics.compareExchange(this.#slots, at + SLOT.THREAD, 0, threadId) !== 0) {
      at += SLOT.SIZE;
      if (at === this.#slots.length) throw new Error('no free watchdog slot');
    }
    this.#at = at;
  }

  /**
   * Runs one batch.
   * @param task its number; 0 if it has none
   */
  run<T>(work: () => T, task = 0): T {
    this.#slots[this.#at + SLOT.TASK] = task;
    this.reach(0, 0, 0);
    try {
      return work();
    } finally {
      this.#slots[this.#at + SLOT.RANGE] = DONE;
      Atomics.add(this.#slots, this.#at + SLOT.COUNTER, 1);
    }
  }

  /** Records that the worker has reached a message, given by its offsets in the range's arena. */
  reach(range: number, start: number, end: number): void {
    const slots = this.#slots;
    const at = this.#at;
    slots[at + SLOT.RANGE] = range;
    slots[at + SLOT.START] = start;
    slots[at + SLOT.END] = end;
    // The first call for a batch makes the counter odd, which means busy.
    const isBusy = (slots[at + SLOT.COUNTER] ?? 0) % 2 !== 0;
    Atomics.add(slots, at + SLOT.COUNTER, isBusy ? 2 : 1);
  }
}
