// The memory that messages live in. A slab is a region of a SharedArrayBuffer: the kernel reads
// into it, a worker validates it in place, the main thread writes slices of it. It is counted by
// its holders and reused only when the last of them has let go.

/** Slabs are carved from shared buffers of this many bytes; a larger slab gets one of its own. */
const ARENA_SIZE = 1024 * 1024;
/** The smallest slab: what a quiet connection holds, in bytes. */
export const MIN_SLAB_SIZE = 8 * 1024;
/** Each size is this many times the one before, up to the largest: 8 KiB, 64 KiB, 512 KiB. */
const GROWTH = 8;

/**
 * Bytes of slabs of one size that may be in use before connections get the next smaller size: what a thousand
 * busy connections read into must not take a gigabyte.
 */
const BUSY_BYTES = 128 * 1024 * 1024;

/** One SharedArrayBuffer, and a Buffer over all of it: offsets of messages count from its start. */
export interface Arena {
  readonly memory: SharedArrayBuffer;
  readonly bytes: Buffer;
  /** Bytes that the pool has given up. */
  droppedBytes: number;
}

export class Slab {
  readonly arena: Arena;
  /** First byte of the slab in its arena. */
  readonly base: number;
  readonly size: number;
  readonly #pool: SlabPool;
  #holders = 0;
  #receiving = true;

  constructor(pool: SlabPool, arena: Arena, base: number, size: number) {
    this.#pool = pool;
    this.arena = arena;
    this.base = base;
    this.size = size;
  }

  get limit(): number {
    return this.base + this.size;
  }

  /** Whether somebody still reads from the slab: a batch that is not settled, a write that is not done. */
  get isHeld(): boolean {
    return this.#holders > 0;
  }

  /** Keeps the bytes until the matching {@link release}. */
  hold(): void {
    if (this.#holders++ === 0) this.#pool.heldBytes += this.size;
  }

  release(): void {
    if (--this.#holders > 0) return;
    this.#pool.heldBytes -= this.size;
    if (!this.#receiving) this.#pool.reclaim(this);
  }

  /** The connection takes the slab out of the pool to read into it. */
  open(): void {
    this.#receiving = true;
  }

  /** The connection reads into another slab from now on. */
  close(): void {
    if (!this.#receiving) return;
    this.#receiving = false;
    if (this.#holders === 0) this.#pool.reclaim(this);
  }
}

/** The free slabs of one size, and where the next new one is carved. */
interface SizeClass {
  readonly size: number;
  readonly free: Slab[];
  arena: Arena | undefined;
  carved: number;
  /** Slabs that are not free. */
  used: number;
}

/** Whole messages at `[start, end)` of the slab's arena. */
export interface FrameRange {
  readonly slab: Slab;
  readonly start: number;
  readonly end: number;
}

export class SlabPool {
  /** Bytes of slabs that hold received messages which are not yet delivered. */
  heldBytes = 0;
  /** Bytes copied from the end of one slab to the start of the next, since the start. */
  copiedBytes = 0;
  readonly #classes: readonly SizeClass[];
  #allocatedBytes = 0;

  /**
   * @param largest size in bytes of the slab that a busy connection reads into
   * @param smallest size in bytes
   * @param growth how many times as large as the one before each size is
   */
  constructor(largest: number, smallest: number = MIN_SLAB_SIZE, growth: number = GROWTH) {
    const sizes: number[] = [];
    for (let size = smallest; size < largest; size *= growth) sizes.push(size);
    sizes.push(largest);
    this.#classes = sizes.map((size) => ({ size, free: [], arena: undefined, carved: 0, used: 0 }));
  }

  /** Size of the largest pooled slabs. */
  get largest(): number {
    return this.#classes.at(-1)?.size ?? MIN_SLAB_SIZE;
  }

  /** Bytes of shared memory taken from the system. */
  get allocatedBytes(): number {
    return this.#allocatedBytes;
  }

  /**
   * The smallest size of pooled slabs that has room for `bytes`; the largest, where none has. A smaller one
   * while very many of that size are in use.
   */
  sizeFor(bytes: number): number {
    const last = this.#classes.length - 1;
    const found = this.#classes.findIndex(({ size }) => size >= bytes);
    let at = found === -1 ? last : found;
    while (at > 0 && isScarce(this.#classes[at])) at--;
    return this.#classes[at]?.size ?? MIN_SLAB_SIZE;
  }

  /** The next larger size, for a connection that fills `size`. */
  grow(size: number): number {
    return this.#classes.find((sizeClass) => sizeClass.size > size)?.size ?? size;
  }

  /** A slab of at least `size` bytes. One above the largest size is made for the occasion. */
  acquire(size: number): Slab {
    const sizeClass = this.#classes.find((candidate) => candidate.size >= size);
    if (sizeClass === undefined) return new Slab(this, this.#allocate(size), 0, size);
    const slab = sizeClass.free.pop() ?? this.#carve(sizeClass);
    sizeClass.used++;
    slab.open();
    return slab;
  }

  /** Takes back a slab that nobody uses. Only {@link Slab} calls this. */
  reclaim(slab: Slab): void {
    const sizeClass = this.#classes.find(({ size }) => size === slab.size);
    if (sizeClass === undefined) {
      this.#allocatedBytes -= slab.size;
      return;
    }
    sizeClass.used--;
    sizeClass.free.push(slab);
  }

  /** Gives up the slabs that are free: their memory goes back when nothing of its arena is in use. */
  trim(): void {
    for (const sizeClass of this.#classes) {
      for (const slab of sizeClass.free.splice(0)) this.#drop(slab.arena, slab.size);
      const { arena, carved, size } = sizeClass;
      if (arena === undefined) continue;
      sizeClass.arena = undefined;
      const rest = arena.memory.byteLength - carved * size;
      if (rest > 0) this.#drop(arena, rest);
    }
  }

  #drop(arena: Arena, bytes: number): void {
    arena.droppedBytes += bytes;
    if (arena.droppedBytes === arena.memory.byteLength) this.#allocatedBytes -= arena.memory.byteLength;
  }

  #carve(sizeClass: SizeClass): Slab {
    const { size } = sizeClass;
    const perArena = Math.max(1, Math.floor(ARENA_SIZE / size));
    if (sizeClass.arena === undefined || sizeClass.carved === perArena) {
      sizeClass.arena = this.#allocate(perArena * size);
      sizeClass.carved = 0;
    }
    return new Slab(this, sizeClass.arena, sizeClass.carved++ * size, size);
  }

  #allocate(size: number): Arena {
    const memory = new SharedArrayBuffer(size);
    this.#allocatedBytes += size;
    return { memory, bytes: Buffer.from(memory), droppedBytes: 0 };
  }
}

function isScarce(sizeClass: SizeClass | undefined): boolean {
  return sizeClass !== undefined && sizeClass.used * sizeClass.size >= BUSY_BYTES;
}
