// The worker's side of the watchdog (dispatch/watchdog.ts): records in shared memory whether it is busy, and its position.

import { DONE, PROGRESS } from '../dispatch/watchdog.js';

export class WatchedWorker {
  readonly #records: Int32Array;
  readonly #at: number;

  /** Claims a free record. */
  constructor(memory: SharedArrayBuffer, threadId: number) {
    this.#records = new Int32Array(memory);
    let at = 0;
    while (Atomics.compareExchange(this.#records, at + PROGRESS.THREAD, 0, threadId) !== 0) {
      at += PROGRESS.SIZE;
      if (at === this.#records.length) throw new Error('no free progress record');
    }
    this.#at = at;
  }

  /**
   * Runs one batch.
   * @param batchId its number; 0 if it has none
   */
  run<T>(work: () => T, batchId = 0): T {
    this.#records[this.#at + PROGRESS.BATCH] = batchId;
    this.reach(0, 0, 0);
    try {
      return work();
    } finally {
      this.#records[this.#at + PROGRESS.RANGE] = DONE;
      Atomics.add(this.#records, this.#at + PROGRESS.COUNTER, 1);
    }
  }

  /** Records that the worker has reached a message, given by its offsets in the range's arena. */
  reach(range: number, start: number, end: number): void {
    const records = this.#records;
    const at = this.#at;
    records[at + PROGRESS.RANGE] = range;
    records[at + PROGRESS.START] = start;
    records[at + PROGRESS.END] = end;
    // The first call for a batch makes the counter odd, which means busy.
    const isBusy = (records[at + PROGRESS.COUNTER] ?? 0) % 2 !== 0;
    Atomics.add(records, at + PROGRESS.COUNTER, isBusy ? 2 : 1);
  }
}
