// How far a command has come with its input: a bar on standard error, where that is a terminal.

import { formatBar, formatBytes, LiveView } from './terminal.js';

/** How often the bar is drawn, in ms. */
const REDRAW_INTERVAL = 100;
const BAR_WIDTH = 30;

export class Progress {
  readonly #size: number;
  readonly #view = new LiveView(process.stderr);
  #drawnAt = 0;

  /** @param size bytes of the whole input; 0: not known, then there is no bar */
  constructor(size: number) {
    this.#size = size;
  }

  /** Whether a person sees it. */
  get isLive(): boolean {
    return this.#view.isLive;
  }

  /**
   * Draws how far it is, if that was not done a moment ago.
   * @param bytes of the input that are done
   * @param note what else to say; asked only when it is drawn
   */
  update(bytes: number, note: () => string): void {
    const now = performance.now();
    if (!this.isLive || now - this.#drawnAt < REDRAW_INTERVAL) return;
    this.#drawnAt = now;
    const bar = this.#size > 0 ? `${formatBar(bytes / this.#size, BAR_WIDTH)} ` : '';
    this.#view.draw([`${bar}${formatBytes(bytes)}, ${note()}`]);
  }

  /** Takes it away: before anything else is written, and at the end. */
  clear(): void {
    this.#view.clear();
  }
}
