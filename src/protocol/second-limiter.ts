// So many events a second for each key: a window that begins with the first event and lasts for a second.

const SECOND = 1000;

export class SecondLimiter<K extends object> {
  readonly #limit: number;
  readonly #now: () => number;
  readonly #windows = new WeakMap<K, { startedAt: number; count: number }>();

  /**
   * @param limit events a second of one key
   * @param now monotonic clock in ms; default `performance.now`
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

  /** Counts one event. False where it is beyond the limit of the present second. */
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
