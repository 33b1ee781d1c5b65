// Exponential back-off: delays between attempts. Uses neither clock nor timer.

/** Delays of {@link Backoff}, in ms. */
export interface BackoffOptions {
  /** Upper bound of the first delay. */
  readonly initialDelay: number;
  /** Upper bound of every delay. */
  readonly maxDelay: number;
}

/**
 * The delays `jitter() * min(maxDelay, initialDelay * 2^n)`. `Math.random` as the jitter (full jitter) spreads attempts
 * that would otherwise start at the same time.
 * Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 */
export class Backoff {
  readonly #options: BackoffOptions;
  readonly #jitter: () => number;
  #attempts = 0;

  /** @param jitter returns the factor of a delay, from 0 to 1. Default: always 1. */
  constructor(options: BackoffOptions, jitter: () => number = () => 1) {
    this.#options = options;
    this.#jitter = jitter;
  }

  /** Returns the delay before the next attempt, in ms. Each call raises the upper bound of the following one. */
  next(): number {
    const { initialDelay, maxDelay } = this.#options;
    const ceiling = Math.min(maxDelay, initialDelay * 2 ** this.#attempts++);
    return this.#jitter() * ceiling;
  }

  /** Starts again with the first delay, after a success. */
  reset(): void {
    this.#attempts = 0;
  }
}
