// How many patterns a worker may compile for the layouts that it learns. Compiling one takes about as long as the slow
// path of 100 messages, so the messages that took the slow path are the clock: a sender who changes its layout all the
// time cannot make a worker compile all the time.

/** Patterns that may be compiled at once: those of some message types from senders that have just connected. */
const BURST = 32;
/** Slow-path messages that earn another one of those. */
const REFILL_INTERVAL = 1024;
/** A layout of so many sightings may be compiled without one of those, once in so many slow-path messages. */
const URGENT_SIGHTINGS = 6;
const URGENT_INTERVAL = 256;

export class CompileBudget {
  #tokens = BURST;
  #untilRefill = REFILL_INTERVAL;
  #sinceLatest = URGENT_INTERVAL;

  /** A message has taken the slow path. */
  recordMessage(): void {
    this.#sinceLatest++;
    if (--this.#untilRefill > 0) return;
    this.#untilRefill = REFILL_INTERVAL;
    if (this.#tokens < BURST) this.#tokens++;
  }

  /** Whether a layout that was seen so often may be compiled now. */
  take(sightings: number): boolean {
    if (this.#tokens > 0) this.#tokens--;
    else if (sightings < URGENT_SIGHTINGS || this.#sinceLatest < URGENT_INTERVAL) return false;
    this.#sinceLatest = 0;
    return true;
  }
}
