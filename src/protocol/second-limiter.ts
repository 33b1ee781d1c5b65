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

/**
 * Limits events per second, of each key and of all keys together. Once half of the total is used up, the rest is divided
 * evenly among the keys, so that a few of them cannot use up everything.
 */
export class SharedLimiter<K extends object> {
  readonly #limit: number;
  readonly #total: number;
  readonly #now: () => number;
  #startedAt = Number.NEGATIVE_INFINITY;
  /** Events of this second, by key: also those beyond the limit. */
  #counts = new WeakMap<K, number>();
  #keys = 0;
  /** Events of this second within the limit. */
  #taken = 0;
  /** What each key may still take when half of the total is used up: so that one more than in the latest second may. */
  #share = 0;

  /**
   * @param limit events per key and second
   * @param total events of all keys per second
   * @param now monotonic clock in ms. Default: `performance.now`.
   */
  constructor(limit: number, total: number, now: () => number = () => performance.now()) {
    this.#limit = limit;
    this.#total = total;
    this.#now = now;
  }

  /** Whether one more event is within the limits. */
  hasRoom(key: K): boolean {
    this.#renew();
    const count = this.#counts.get(key) ?? 0;
    if (count >= this.#limit || this.#taken >= this.#total) return false;
    return this.#taken < this.#total / 2 || count < this.#share;
  }

  /** Counts one event. @returns whether it is within the limits */
  take(key: K): boolean {
    const isWithin = this.hasRoom(key);
    const count = this.#counts.get(key) ?? 0;
    if (count === 0) this.#keys++;
    this.#counts.set(key, count + 1);
    if (isWithin) this.#taken++;
    return isWithin;
  }

  /** Begins the next second when this one is over. */
  #renew(): void {
    const now = this.#now();
    const passed = now - this.#startedAt;
    if (passed < SECOND) return;
    const keys = passed < 2 * SECOND ? this.#keys : 0;
    this.#share = Math.max(1, Math.floor(this.#total / 2 / (keys + 1)));
    this.#startedAt = now;
    this.#counts = new WeakMap();
    this.#keys = 0;
    this.#taken = 0;
  }
}
