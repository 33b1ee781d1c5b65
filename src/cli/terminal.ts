// What a person sees while a command runs: lines that are drawn over, and numbers that can be read.

import type { WriteStream } from 'node:tty';

/** `1,234,567`. */
export function formatCount(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** `12.3 MB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`;
}

/** `[#####.....]`, for a share of 0 to 1. */
export function formatBar(share: number, width: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * width);
  return `[${'#'.repeat(filled)}${'.'.repeat(width - filled)}]`;
}

/** Some lines at the bottom of a terminal that are drawn again and again. Draws nothing elsewhere. */
export class LiveView {
  readonly #stream: NodeJS.WriteStream;
  #drawnLines = 0;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  get isLive(): boolean {
    return this.#stream.isTTY === true;
  }

  draw(lines: readonly string[]): void {
    if (!this.isLive) return;
    const { columns = 80 } = this.#stream as WriteStream;
    this.clear();
    this.#stream.write(lines.map((line) => `${line.slice(0, columns - 1)}\n`).join(''));
    this.#drawnLines = lines.length;
  }

  /** Takes the lines away. */
  clear(): void {
    if (this.#drawnLines === 0) return;
    this.#stream.write(`\u001b[${this.#drawnLines}A\u001b[J`);
    this.#drawnLines = 0;
  }
}
