// Limits events, or their bytes, per key and second. The first event of a key opens a window of one second. A second that
// spans two windows may have twice as many, and the last event may exceed the limit: this limits costs, and needs no exact
// maximum.

const SECOND = 1000;

export class SecondLimiter<K extends object> {
  readonly #limit: number;
  readonly #now: () => number;
  readonly #windows = new WeakMap<K, { startedAt: number; count: number }>();

  /**
   * @param limit events or bytes per key and second
   * @param now monotonic clock in ms. Default: `performance.now`.
   */
  constructor(limit: number, now: () => number = () => performance.now()) {
    this.#limit = limit;
    this.#now = now;
  }

  /** Whether one more event is within the limit. */
  hasRoom(key: K): boolean {
    const window = this.#windows.get(key);
    return window === undefined || window.count < this.#limit || this.#now() - window.startedAt >= SECOND;
  }

  /** Counts one event, or its bytes. @returns whether it is within the limit: it begins below it */
  take(key: K, count = 1): boolean {
    const now = this.#now();
    let window = this.#windows.get(key);
    if (window === undefined || now - window.startedAt >= SECOND) {
      window = { startedAt: now, count: 0 };
      this.#windows.set(key, window);
    }
    const isWithin = window.count < this.#limit;
    window.count += count;
    return isWithin;
  }
}
