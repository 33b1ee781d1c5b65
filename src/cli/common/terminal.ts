// Output for people: numbers in a readable format, and lines in a terminal that are redrawn in place.

import type { WriteStream } from 'node:tty';
import { stopBlocking } from '../../connection/standard-stream.js';

/** `1,234,567`. */
export function formatCount(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** `9,999`, `12.3 k`, `1.23 M`: 7 characters at most. */
export function formatShort(value: number): string {
  if (Math.round(value) < 10_000) return formatCount(value);
  const units = ['k', 'M', 'G', 'T', 'P'];
  let short = value;
  let unit = -1;
  while (short >= 999.5 && unit < units.length - 1) {
    short /= 1000;
    unit++;
  }
  return `${short.toPrecision(3)} ${units[unit]}`;
}

/** `12 s`, `3 min`, `5 h`, `2 d`. */
export function formatAge(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 100) return `${Math.floor(seconds)} s`;
  if (seconds < 6000) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 360_000) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** `12.3 MB`: 8 characters at most. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.95 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`;
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

/**
 * Lines at the bottom of a terminal that are redrawn in place. Draws nothing if the stream is not a terminal, if the
 * cursor cannot be moved in it, or while it has not accepted the previous output.
 */
export class LiveView {
  readonly #stream: NodeJS.WriteStream;
  #drawnLines = 0;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
    stopBlocking(stream);
  }

  get isLive(): boolean {
    return canMoveCursor(this.#stream);
  }

  draw(lines: readonly string[]): void {
    if (!this.isLive || this.#stream.writableLength > 0) return;
    // A terminal that does not know its size reports 0.
    const columns = (this.#stream as WriteStream).columns || 80;
    this.clear();
    this.#stream.write(lines.map((line) => `${line.slice(0, columns - 1)}\n`).join(''));
    this.#drawnLines = lines.length;
  }

  /** Removes the lines. */
  clear(): void {
    if (this.#drawnLines === 0) return;
    this.#stream.write(`\u001b[${this.#drawnLines}A\u001b[J`);
    this.#drawnLines = 0;
  }
}

/** Where in its message an error is, to append to the error's text. @param offset in bytes from the message's start */
export function atOffset(offset: number | undefined): string {
  return offset === undefined ? '' : ` at byte ${offset}`;
}
