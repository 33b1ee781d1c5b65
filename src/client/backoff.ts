// Delays between connection attempts. Uses neither clock nor socket.

/** Delays of {@link Backoff}, in ms. */
export interface BackoffOptions {
  /** Upper bound of the first delay. */
  readonly initialDelay: number;
  /** Upper bound of every delay. */
  readonly maxDelay: number;
}

/**
 * Exponential back-off with full jitter: `random(0, min(maxDelay, initialDelay * 2^n))`, so that clients that
 * lost the same broker do not all reconnect at the same time.
 * Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 */
export class Backoff {
  readonly #options: BackoffOptions;
  readonly #random: () => number;
  #attempts = 0;

  /** @param random returns values in [0, 1). Default: `Math.random`. */
  constructor(options: BackoffOptions, random: () => number = Math.random) {
    this.#options = options;
    this.#random = random;
  }

  /** Returns the delay before the next attempt, in ms. Each call raises the upper bound of the following one. */
  next(): number {
    const { initialDelay, maxDelay } = this.#options;
    const ceiling = Math.min(maxDelay, initialDelay * 2 ** this.#attempts++);
    return this.#random() * ceiling;
  }

  /** Starts over, after a stable connection. */
  reset(): void {
    this.#attempts = 0;
  }
}
