// Output for people: counts and rates, and lines in a terminal that are redrawn in place.

import { once } from 'node:events';
import type { WriteStream } from 'node:tty';
import { stopBlocking } from '../../connection/standard-stream.js';
import { formatCount } from '../../formats.js';

/** `1 line`, `1,234 lines`. */
export function counted(count: number, singular: string, plural = `${singular}s`): string {
  return `${formatCount(count)} ${count === 1 ? singular : plural}`;
}

/** With fewer messages in less time, in s, a rate would say more about the start and the end than about the speed. */
const MIN_RATE_MESSAGES = 1000;
const MIN_SLOW_RATE_MESSAGES = 100;
const MIN_SLOW_RATE_SECONDS = 1;

/** Whether these numbers of messages and seconds make a rate. */
export function isMeasurable(messages: number, seconds: number): boolean {
  return (
    messages >= MIN_RATE_MESSAGES || (messages >= MIN_SLOW_RATE_MESSAGES && seconds >= MIN_SLOW_RATE_SECONDS)
  );
}

/** `[#####.....]`, for a share from 0 to 1. */
export function formatBar(share: number, width: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * width);
  return `[${'#'.repeat(filled)}${'.'.repeat(width - filled)}]`;
}

/** Whether the stream is a terminal in which the cursor can be moved. */
export function canMoveCursor(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY === true && process.env.TERM !== 'dumb';
}

/** Signals that end or stop the process, by default. The lines are removed first. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGTSTP'] as const;
/** Size of a terminal that does not know its size and reports 0. */
const DEFAULT_COLUMNS = 80;
const DEFAULT_ROWS = 24;

/**
 * Lines at the bottom of a terminal that are redrawn in place. Draws nothing if the stream is not a terminal, if the
 * cursor cannot be moved in it, or while it has not accepted the previous output. The lines are removed when the process ends or is stopped. Until
 * {@link clear} is called, all other output must go through {@link print}: the lines would be drawn over it.
 */
export class LiveView {
  readonly #stream: NodeJS.WriteStream;
  /** Length of each line on the screen. */
  #drawn: number[] = [];
  #isGuarded = false;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
    stopBlocking(stream);
  }

  get isLive(): boolean {
    return canMoveCursor(this.#stream);
  }

  draw(lines: readonly string[]): void {
    if (!this.isLive || this.#stream.writableLength > 0) return;
    // Other output to the same terminal would appear after the lines, and be removed with them.
    if (process.stdout.isTTY && process.stdout.writableLength > 0) return;
    this.#guard();
    this.clear();
    const { rows } = this.#stream as WriteStream;
    const shown = lines.slice(0, (rows || DEFAULT_ROWS) - 1).map((line) => line.slice(0, this.#columns - 1));
    this.#stream.write(shown.map((line) => `${line}\n`).join(''));
    this.#drawn = shown.map((line) => line.length);
  }

  /**
   * Removes the lines and writes text in their place.
   * @param stream standard output or standard error, which may be the same terminal
   * @returns a promise that resolves when the stream can accept more
   */
  async print(stream: NodeJS.WriteStream, text: string): Promise<void> {
    this.clear();
    if (stream !== this.#stream && this.#stream.writableLength > 0) {
      await new Promise<void>((resolve) => this.#stream.write('', () => resolve()));
    }
    if (!stream.write(text)) await once(stream, 'drain');
  }

  /** Removes the lines. */
  clear(): void {
    if (this.#drawn.length === 0) return;
    // If the terminal has become narrower, it has wrapped them.
    const rows = this.#drawn.reduce((sum, length) => sum + Math.max(1, Math.ceil(length / this.#columns)), 0);
    // The cursor is not at the start of its line if the terminal has echoed a key, such as Ctrl-C.
    this.#stream.write(`\r\u001b[${rows}A\u001b[J`);
    this.#drawn = [];
  }

  get #columns(): number {
    return (this.#stream as WriteStream).columns || DEFAULT_COLUMNS;
  }

  /** From now on, removes the lines before the process ends. */
  #guard(): void {
    if (this.#isGuarded) return;
    this.#isGuarded = true;
    process.once('exit', () => this.clear());
    // Before the other listeners, which are counted below.
    for (const signal of SIGNALS) process.prependListener(signal, this.#onSignal);
  }

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.clear();
    this.#isGuarded = false;
    for (const other of SIGNALS) process.off(other, this.#onSignal);
    // Without another listener, the signal has its default effect.
    if (process.listenerCount(signal) === 0)
      process.kill(process.pid, signal === 'SIGTSTP' ? 'SIGSTOP' : signal);
  };
}

/** Where in its message an error is, to append to the error's text. @param offset in bytes from the message's start */
export function atOffset(offset: number | undefined): string {
  return offset === undefined ? '' : ` at byte ${offset}`;
}

/** Rows as lines with aligned columns. */
export function columns(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) => `${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd())
    .map((line) => `${line}\n`)
    .join('');
}
