// How long to wait before the next attempt to connect. Knows no clock and no socket.

/** Delays of {@link Backoff}, in ms. */
export interface BackoffOptions {
  /** The longest that the first attempt may wait. */
  readonly initialDelay: number;
  /** The longest that any attempt may wait. */
  readonly maxDelay: number;
}

/**
 * Exponential back-off with full jitter: `random(0, min(maxDelay, initialDelay * 2^n))`, so that clients that
 * lost the same broker do not come back to it at the same time.
 * Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 */
export class Backoff {
  readonly #options: BackoffOptions;
  readonly #random: () => number;
  #attempts = 0;

  /** @param random values in [0, 1); default `Math.random` */
  constructor(options: BackoffOptions, random: () => number = Math.random) {
    this.#options = options;
    this.#random = random;
  }

  /** The delay before the next attempt, in ms. Each call may give a longer one than the call before. */
  next(): number {
    const { initialDelay, maxDelay } = this.#options;
    const ceiling = Math.min(maxDelay, initialDelay * 2 ** this.#attempts++);
    return this.#random() * ceiling;
  }

  /** Starts over: the connection was good. */
  reset(): void {
    this.#attempts = 0;
  }
}
