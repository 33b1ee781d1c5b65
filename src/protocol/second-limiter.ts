// Limits events per key and second. The first event of a key opens a window of one second. A second that spans two windows
// may have twice as many: this limits costs, and needs no exact maximum.

const SECOND = 1000;

export class SecondLimiter<K extends object> {
  readonly #limit: number;
  readonly #now: () => number;
  readonly #windows = new WeakMap<K, { startedAt: number; count: number }>();

  /**
   * @param limit events per key and second
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

  /** Counts one event. @returns whether it is within the limit */
  take(key: K): boolean {
    const now = this.#now();
    let window = this.#windows.get(key);
    if (window === undefined || now - window.startedAt >= SECOND) {
      window = { startedAt: now, count: 0 };
      this.#windows.set(key, window);
    }
    return window.count++ < this.#limit;
  }
}
