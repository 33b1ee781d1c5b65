// Which part of a list is on the screen.

import { formatCount } from '../../formats.js';

export class Scroll {
  #first = 0;

  /** Index of the first row on the screen. */
  get first(): number {
    return this.#first;
  }

  /**
   * Moves the list if the key does that.
   * @param key its name, as `node:readline` names it
   * @param count number of rows
   * @param page number of rows on the screen
   */
  onKey(key: string | undefined, count: number, page: number): boolean {
    const step = Math.max(1, page);
    if (key === 'up') this.#first--;
    else if (key === 'down') this.#first++;
    else if (key === 'pageup') this.#first -= step;
    else if (key === 'pagedown') this.#first += step;
    else if (key === 'home') this.#first = 0;
    else if (key === 'end') this.#first = count;
    else return false;
    this.clamp(count, page);
    return true;
  }

  /** Moves the list back if there are fewer rows than before, or more room. */
  clamp(count: number, page: number): void {
    this.#first = Math.max(0, Math.min(this.#first, count - page));
  }

  reset(): void {
    this.#first = 0;
  }
}

/** `21–40 of 312`. */
export function rangeText(first: number, shown: number, count: number): string {
  const range = shown === 0 ? '0' : `${formatCount(first + 1)}–${formatCount(first + shown)}`;
  return `${range} of ${formatCount(count)}`;
}
