// The memory that copied pieces lie in: slabs that are used again and again. Fresh buffers in their place cost
// half as much again as copying: V8 collects garbage for every 64 MB of them.

import { type Slab, SlabPool } from './slab-pool.js';

/** Where to copy to. */
export interface CopyTarget {
  readonly bytes: Buffer;
  /** The slab that `bytes` lies in; none: a buffer of its own. */
  readonly slab: Slab | undefined;
}

/** The smallest slab, in bytes. Each size is twice the one before, so that at most half of one is not used. */
const SMALLEST = 64 * 1024;
const GROWTH = 2;
/** A smaller copy, in bytes, gets a buffer of its own: it would keep a slab from many others. */
const MIN_COPY = SMALLEST / GROWTH;

export class CopyPool {
  readonly slabs: SlabPool;
  /** Slabs taken in this turn: whoever queues a piece holds its slab, and nobody else needs it after the turn. */
  #fresh: Slab[] = [];

  /** @param largest bytes of the longest copy that is common; a longer one gets memory of its own */
  constructor(largest: number) {
    this.slabs = new SlabPool(largest, SMALLEST, GROWTH);
  }

  /** Memory for a copy of so many bytes. It stays until {@link endTurn}, and as long as somebody holds the slab. */
  take(size: number): CopyTarget {
    if (size < MIN_COPY) return { bytes: Buffer.allocUnsafe(size), slab: undefined };
    const slab = this.slabs.acquire(size);
    slab.hold();
    slab.close();
    this.#fresh.push(slab);
    return { bytes: slab.arena.bytes.subarray(slab.base, slab.base + size), slab };
  }

  /** What was taken in this turn of the event loop is queued by now, by all who want it. */
  endTurn(): void {
    if (this.#fresh.length === 0) return;
    for (const slab of this.#fresh) slab.release();
    this.#fresh = [];
  }
}
