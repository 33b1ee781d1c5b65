// A limit with hysteresis: a level that rises above the high watermark counts as high until it has fallen to the low one,
// so that small changes do not toggle it.

export class Watermark {
  /** The high watermark. May be changed; takes effect with the next {@link update}. */
  high: number;
  readonly #lowShare: number;
  #isHigh = false;

  /** @param lowShare the low watermark, as a share of the high one, from 0 to 1 */
  constructor(high: number, lowShare: number) {
    this.high = high;
    this.#lowShare = lowShare;
  }

  /** Whether the level has been above the high watermark since it was last at the low one, or below. */
  get isHigh(): boolean {
    return this.#isHigh;
  }

  /** Sets the level. @returns whether {@link isHigh} has changed */
  update(level: number): boolean {
    const isHigh = level > (this.#isHigh ? this.high * this.#lowShare : this.high);
    if (isHigh === this.#isHigh) return false;
    this.#isHigh = isHigh;
    return true;
  }
}
