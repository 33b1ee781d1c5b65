// The progress of a command through its input: a bar on standard error, if that is a terminal.

import { formatBytes } from '../../formats.js';
import { printableLines } from '../../printable.js';
import { formatBar, LiveView } from './terminal.js';

/** Minimum time between two redraws, in ms. */
const REDRAW_INTERVAL = 100;
const BAR_WIDTH = 30;

export class Progress {
  readonly #size: number;
  readonly #view = new LiveView(process.stderr);
  #drawnAt = 0;

  /** @param size bytes of the whole input; 0 if unknown: then the numbers are shown without a bar */
  constructor(size: number) {
    this.#size = size;
  }

  /** Whether standard error is a terminal. */
  get isLive(): boolean {
    return this.#view.isLive;
  }

  /**
   * Draws the progress, at most once per {@link REDRAW_INTERVAL}.
   * @param bytes input bytes processed so far
   * @param note returns further text; called only when the progress is drawn
   */
  update(bytes: number, note: () => string): void {
    const now = performance.now();
    if (!this.isLive || now - this.#drawnAt < REDRAW_INTERVAL) return;
    this.#drawnAt = now;
    const bar = this.#size > 0 ? `${formatBar(bytes / this.#size, BAR_WIDTH)} ` : '';
    this.#view.draw([`${bar}${formatBytes(bytes)}, ${note()}`]);
  }

  /** Writes other output; see {@link LiveView.print}. */
  print(stream: NodeJS.WriteStream, text: string): Promise<void> {
    return this.#view.print(stream, text);
  }

  /** Writes a line on standard error, with unprintable characters escaped. */
  printError(line: string): void {
    void this.print(process.stderr, `${printableLines(line)}\n`);
  }

  /** Removes the progress from the terminal. */
  clear(): void {
    this.#view.clear();
  }
}
