// A growable list of bytes.

import type { Code } from './expressions.js';

const INITIAL_CAPACITY = 256;

export class ByteList {
  #bytes = new Uint8Array(INITIAL_CAPACITY);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** A view of the bytes, valid until the next change. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Appends encoded instructions, including all nested parts. */
  add(code: Code): void {
    if (typeof code === 'number') {
      if (this.#length === this.#bytes.length) this.#reserve(1);
      this.#bytes[this.#length++] = code;
    } else {
      for (const part of code) this.add(part);
    }
  }

  append({ bytes }: ByteList): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #reserve(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}
