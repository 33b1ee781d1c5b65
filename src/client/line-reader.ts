// Splits what a broker sends into lines, and keeps the part of a line that has not ended yet.

const NEWLINE = 0x0a;
const EMPTY = Buffer.alloc(0);
/** Bytes that the first part of a line gets at least: most lines end in the next read. */
const MIN_CAPACITY = 1024;

export class LineReader {
  /** Bytes that a line which has not ended may have. */
  maxLength: number;
  readonly #onLine: (line: Buffer) => void;
  /** The line whose end has not come, in its first `#length` bytes. */
  #partial = EMPTY;
  #length = 0;

  /** @param onLine called with each line, without its newline: the bytes that were pushed, or a copy of its pieces */
  constructor(maxLength: number, onLine: (line: Buffer) => void) {
    this.maxLength = maxLength;
    this.#onLine = onLine;
  }

  /**
   * @param bytes stay as they are: each read has its own
   * @returns false when a line is too long; nothing can be pushed then
   */
  push(bytes: Buffer): boolean {
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, start)) {
      const line = bytes.subarray(start, end);
      start = end + 1;
      if (this.#length === 0) this.#onLine(line);
      else {
        this.#append(line, this.#length + line.length);
        this.#onLine(this.#take());
      }
    }
    if (start === bytes.length) return true;
    const length = this.#length + bytes.length - start;
    if (length > this.maxLength) {
      this.#take();
      return false;
    }
    // Doubled, so that a line of many small pieces is copied a few times and not once for each piece.
    const capacity = Math.max(Math.min(length * 2, this.maxLength), MIN_CAPACITY);
    this.#append(bytes.subarray(start), capacity);
    return true;
  }

  /** @param capacity bytes to make room for when the piece does not fit */
  #append(piece: Buffer, capacity: number): void {
    if (this.#length + piece.length > this.#partial.length) {
      const larger = Buffer.allocUnsafe(capacity);
      this.#partial.copy(larger, 0, 0, this.#length);
      this.#partial = larger;
    }
    piece.copy(this.#partial, this.#length);
    this.#length += piece.length;
  }

  #take(): Buffer {
    const line = this.#partial.subarray(0, this.#length);
    this.#partial = EMPTY;
    this.#length = 0;
    return line;
  }
}
