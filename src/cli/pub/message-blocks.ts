// Splits the input of `pub` into blocks of whole messages, so that only one block has to be in memory. A block ends at
// a newline or, if there is none, between two adjacent messages.

import { FrameBoundary } from '../../wire/framing.js';

/** After this many bytes without a newline, a block may end between two adjacent messages. */
const BLOCK_SIZE = 256 * 1024;
/** The longest message that any broker accepts, in bytes. Longer text is not a message and may be split anywhere. */
const LONGEST_MESSAGE = 256 * 1024 * 1024;
const NEWLINE = 0x0a;

export class MessageBlocks {
  /** Parts of the line whose end has not been read yet. */
  #parts: Buffer[] = [];
  #bytes = 0;
  /** Number of bytes at which the parts are scanned again. Doubles with each scan to limit repeated work. */
  #nextScan = BLOCK_SIZE;

  /** Adds bytes from the input. @returns the next block, or `undefined` if none is complete yet */
  push(bytes: Buffer): Buffer | undefined {
    this.#parts.push(bytes);
    this.#bytes += bytes.length;
    const newline = bytes.lastIndexOf(NEWLINE);
    if (newline !== -1) return this.#cut(this.#bytes - bytes.length + newline + 1);
    if (this.#bytes < this.#nextScan) return undefined;
    const text = Buffer.concat(this.#parts);
    const end = new FrameBoundary('auto', NEWLINE).last(text, 0, text.length);
    if (end > 0) return this.#cut(end);
    if (this.#bytes > LONGEST_MESSAGE) return this.#cut(this.#bytes);
    this.#parts = [text];
    this.#nextScan = this.#bytes * 2;
    return undefined;
  }

  /** Ends the input. @returns the remaining bytes, or `undefined` if there are none */
  end(): Buffer | undefined {
    return this.#bytes === 0 ? undefined : this.#cut(this.#bytes);
  }

  #cut(end: number): Buffer {
    const text = Buffer.concat(this.#parts);
    this.#parts = end < text.length ? [text.subarray(end)] : [];
    this.#bytes = text.length - end;
    this.#nextScan = BLOCK_SIZE;
    return text.subarray(0, end);
  }
}
