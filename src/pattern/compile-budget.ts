// Limits how many patterns a worker compiles for learned layouts: a token bucket. Compiling one takes about as long as
// the slow path for 100 messages, so the bucket is refilled per slow-path message and not by time. A sender that
// constantly changes its layout cannot keep a worker busy with compiling.

/** Size of the bucket: enough for several message types when new senders have connected. */
const BURST = 32;
/** Slow-path messages per token. */
const REFILL_INTERVAL = 1024;
/** If no token is left, a layout with this many sightings may still be compiled, once per URGENT_INTERVAL messages. */
const URGENT_SIGHTINGS = 6;
const URGENT_INTERVAL = 256;

export class CompileBudget {
  #tokens = BURST;
  #untilRefill = REFILL_INTERVAL;
  #sinceLastCompile = URGENT_INTERVAL;

  /** Records a message that took the slow path. */
  recordMessage(): void {
    this.#sinceLastCompile++;
    if (--this.#untilRefill > 0) return;
    this.#untilRefill = REFILL_INTERVAL;
    if (this.#tokens < BURST) this.#tokens++;
  }

  /** Spends a token. @returns whether a layout with this many sightings may be compiled now */
  take(sightings: number): boolean {
    if (this.#tokens > 0) this.#tokens--;
    else if (sightings < URGENT_SIGHTINGS || this.#sinceLastCompile < URGENT_INTERVAL) return false;
    this.#sinceLastCompile = 0;
    return true;
  }
}
