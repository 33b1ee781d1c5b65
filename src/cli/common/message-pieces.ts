// Cuts what `pub` reads into pieces of whole messages, so that no more than a piece has to be in memory. A piece ends at
// a newline; where none comes, between two messages that have nothing between them.

import { FrameBoundary } from '../../wire/framing.js';

/** Bytes without a newline after which the end of a message will do. */
const PIECE_SIZE = 256 * 1024;
/** No broker takes longer messages, in bytes: text that goes on is no message, and may be cut anywhere. */
const LONGEST_MESSAGE = 256 * 1024 * 1024;
const NEWLINE = 0x0a;

export class MessagePieces {
  /** Parts of the line whose end has not been read yet. */
  #parts: Buffer[] = [];
  #bytes = 0;
  /** Looked at again when there are so many: twice as many each time, so that little is looked at often. */
  #nextLook = PIECE_SIZE;

  /** Takes what was read. @returns the next piece; `undefined`: none is whole yet */
  push(bytes: Buffer): Buffer | undefined {
    this.#parts.push(bytes);
    this.#bytes += bytes.length;
    const newline = bytes.lastIndexOf(NEWLINE);
    if (newline !== -1) return this.#take(this.#bytes - bytes.length + newline + 1);
    if (this.#bytes < this.#nextLook) return undefined;
    const text = Buffer.concat(this.#parts);
    const end = new FrameBoundary('auto', NEWLINE).last(text, 0, text.length);
    if (end > 0) return this.#take(end);
    if (this.#bytes > LONGEST_MESSAGE) return this.#take(this.#bytes);
    this.#parts = [text];
    this.#nextLook = this.#bytes * 2;
    return undefined;
  }

  /** What is left when the input has ended. */
  end(): Buffer | undefined {
    return this.#bytes === 0 ? undefined : this.#take(this.#bytes);
  }

  #take(end: number): Buffer {
    const text = Buffer.concat(this.#parts);
    this.#parts = end < text.length ? [text.subarray(end)] : [];
    this.#bytes = text.length - end;
    this.#nextLook = PIECE_SIZE;
    return text.subarray(0, end);
  }
}
