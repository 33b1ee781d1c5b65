// Splits received data into lines, and buffers an incomplete line. Removes a byte order mark at the beginning of a line.

import { skipMark } from '../wire/framing.js';

const NEWLINE = 0x0a;
const EMPTY = Buffer.alloc(0);
/** Minimum capacity for an incomplete line, in bytes: most lines end in the next read. */
const MIN_CAPACITY = 1024;

export class LineReader {
  /** Maximum length of an incomplete line, in bytes. */
  maxLength: number;
  readonly #onLine: (line: Buffer) => void;
  /** Holds the incomplete line in its first `#length` bytes. */
  #partial = EMPTY;
  #length = 0;

  /** @param onLine called with each line, without its newline: a view of the pushed bytes, or a copy of several */
  constructor(maxLength: number, onLine: (line: Buffer) => void) {
    this.maxLength = maxLength;
    this.#onLine = onLine;
  }

  /**
   * @param bytes must not be reused: each read has its own buffer
   * @returns false if a line is too long; do not push anything after that
   */
  push(bytes: Buffer): boolean {
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, start)) {
      const line = bytes.subarray(start, end);
      start = end + 1;
      if (this.#length === 0) this.#onLine(withoutMark(line));
      else {
        this.#append(line, this.#length + line.length);
        this.#onLine(withoutMark(this.#takePartial()));
      }
    }
    if (start === bytes.length) return true;
    const length = this.#length + bytes.length - start;
    if (length > this.maxLength) {
      this.#takePartial();
      return false;
    }
    // Doubled, so that a line in many small reads is copied a few times, not once per read.
    const capacity = Math.max(Math.min(length * 2, this.maxLength), MIN_CAPACITY);
    this.#append(bytes.subarray(start), capacity);
    return true;
  }

  /** @param capacity size of the new buffer, in bytes, if the part does not fit */
  #append(part: Buffer, capacity: number): void {
    if (this.#length + part.length > this.#partial.length) {
      const larger = Buffer.allocUnsafe(capacity);
      this.#partial.copy(larger, 0, 0, this.#length);
      this.#partial = larger;
    }
    part.copy(this.#partial, this.#length);
    this.#length += part.length;
  }

  #takePartial(): Buffer {
    const line = this.#partial.subarray(0, this.#length);
    this.#partial = EMPTY;
    this.#length = 0;
    return line;
  }
}

function withoutMark(line: Buffer): Buffer {
  const start = skipMark(line, 0, line.length);
  return start === 0 ? line : line.subarray(start);
}
