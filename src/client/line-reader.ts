// Splits what a broker sends into lines, and keeps the part of a line that has not ended yet.

const NEWLINE = 0x0a;

export class LineReader {
  readonly #onLine: (line: Buffer) => void;
  /** Pieces of the line whose end has not come. */
  #partial: Buffer[] = [];

  /** @param onLine called with each line, without its newline: the bytes that were pushed, or a copy of its pieces */
  constructor(onLine: (line: Buffer) => void) {
    this.#onLine = onLine;
  }

  /** @param bytes stay as they are: each read has its own */
  push(bytes: Buffer): void {
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, start)) {
      const line = bytes.subarray(start, end);
      start = end + 1;
      if (this.#partial.length === 0) this.#onLine(line);
      else {
        const whole = Buffer.concat([...this.#partial, line]);
        this.#partial = [];
        this.#onLine(whole);
      }
    }
    if (start < bytes.length) this.#partial.push(bytes.subarray(start));
  }
}
