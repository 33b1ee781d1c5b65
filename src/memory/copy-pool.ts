// Reusable slabs for copied pieces. Allocating a new buffer per copy would add half of the cost of copying: V8 collects
// garbage after every 64 MB of buffers.

import { type Slab, SlabPool } from './slab-pool.js';

/** Memory to copy into. */
export interface CopyTarget {
  readonly bytes: Buffer;
  /** The slab that contains `bytes`; `undefined` if `bytes` is a separate buffer. */
  readonly slab: Slab | undefined;
}

/** Where memory for copies comes from. */
export interface CopyMemory {
  /** Memory for a copy of `size` bytes. Valid until {@link endTurn}, and beyond that while its slab is held. */
  take(size: number): CopyTarget;
  /** Call at the end of an event-loop turn, when all pieces of the turn are queued: releases the slabs taken in it. */
  endTurn(): void;
}

/** Separate buffers. */
export const SEPARATE_COPIES: CopyMemory = {
  take: (size) => ({ bytes: Buffer.allocUnsafe(size), slab: undefined }),
  endTurn: () => {},
};

/** Smallest slab size in bytes. Each size is twice the previous one, so that at most half of a slab is unused. */
const SMALLEST = 64 * 1024;
const GROWTH = 2;
/** Copies with fewer bytes get a separate buffer: each would occupy a slab that has room for many of them. */
const MIN_COPY = SMALLEST / GROWTH;

export class CopyPool implements CopyMemory {
  readonly slabs: SlabPool;
  /** Slabs taken in this turn of the event loop, released at its end: by then, each queued piece holds its slab. */
  #takenThisTurn: Slab[] = [];

  /** @param largest size in bytes of the largest pooled slab; longer copies get slabs of their own */
  constructor(largest: number) {
    this.slabs = new SlabPool(largest, SMALLEST, GROWTH);
  }

  take(size: number): CopyTarget {
    if (size < MIN_COPY) return SEPARATE_COPIES.take(size);
    const slab = this.slabs.acquire(size);
    slab.hold();
    slab.close();
    this.#takenThisTurn.push(slab);
    return { bytes: slab.arena.bytes.subarray(slab.base, slab.base + size), slab };
  }

  endTurn(): void {
    if (this.#takenThisTurn.length === 0) return;
    for (const slab of this.#takenThisTurn) slab.release();
    this.#takenThisTurn = [];
  }
}
