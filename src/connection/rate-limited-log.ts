// Log lines about events of which peers and applications can cause any number: at most one line per key and second. What
// is not logged at once is logged with the next line, or at the end of the second.

/** Minimum time between two lines with the same key, in ms. */
const INTERVAL = 1000;

interface KeyState<T> {
  /** Monotonic time of the last line, in ms. */
  loggedAt: number;
  /** Events since then, and the details of the latest. */
  unlogged: { count: number; latest: T } | undefined;
  /** Logs what is unlogged at the end of the interval. */
  timer: NodeJS.Timeout | undefined;
}

/** @typeParam T details of an event */
export class RateLimitedLog<K, T> {
  readonly #write: (key: K, count: number, latest: T) => void;
  readonly #states = new Map<K, KeyState<T>>();

  /** @param write logs a number of events with a key, with the details of the latest */
  constructor(write: (key: K, count: number, latest: T) => void) {
    this.#write = write;
  }

  /** Records events, the latest of which has these details. @param key of a bounded set */
  record(key: K, count: number, latest: T): void {
    let state = this.#states.get(key);
    if (state === undefined) {
      state = { loggedAt: Number.NEGATIVE_INFINITY, unlogged: undefined, timer: undefined };
      this.#states.set(key, state);
    }
    state.unlogged = { count: (state.unlogged?.count ?? 0) + count, latest };
    const wait = state.loggedAt + INTERVAL - performance.now();
    if (wait <= 0) this.#log(key, state);
    else state.timer ??= setTimeout(this.#log, wait, key, state).unref();
  }

  /** Logs what is unlogged. */
  flush(): void {
    for (const [key, state] of this.#states) this.#log(key, state);
  }

  readonly #log = (key: K, state: KeyState<T>): void => {
    clearTimeout(state.timer);
    state.timer = undefined;
    if (state.unlogged === undefined) return;
    const { count, latest } = state.unlogged;
    state.unlogged = undefined;
    state.loggedAt = performance.now();
    this.#write(key, count, latest);
  };
}
