// The memory for received messages. A slab is a region of a SharedArrayBuffer: the kernel reads into it, a worker
// validates it in place, and the main thread writes slices of it to subscribers. Slabs are reference-counted and reused
// when the last holder has released them.

const MiB = 1024 * 1024;
/** Size in bytes of the shared buffers that slabs are carved from. A larger slab gets its own buffer. */
const ARENA_SIZE = 1 * MiB;
/**
 * Maximum bytes of free slabs above the largest pooled size kept for reuse, or SPARE_SHARE times the largest such slab if
 * that is more. Dropped slabs would accumulate to gigabytes, because the garbage collector underestimates their memory.
 */
const MAX_SPARE_BYTES = 32 * MiB;
/** Leaves room for the slabs that a message outgrows while it is received: at most a third of the size of its last one. */
const SPARE_SHARE = 1.5;
/** Smallest slab size in bytes, used by idle connections. */
export const MIN_SLAB_SIZE = 8 * 1024;
/** Factor between consecutive slab sizes, up to the largest: 8 KiB, 64 KiB, 512 KiB. */
const GROWTH = 8;

/**
 * When this many bytes of one slab size are in use, connections get the next smaller size: the read buffers of a
 * thousand busy connections must not occupy a gigabyte.
 */
const BUSY_BYTES = 128 * MiB;

/** A SharedArrayBuffer with a Buffer over all of it. Message offsets are relative to its start. */
export interface Arena {
  readonly memory: SharedArrayBuffer;
  readonly bytes: Buffer;
}

export class Slab {
  readonly arena: Arena;
  /** Offset of the slab in its arena. */
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

  /** Whether the slab is still read from: by an unsettled batch or an unfinished write. */
  get isHeld(): boolean {
    return this.#holders > 0;
  }

  /** Protects the bytes from reuse until the matching {@link release}. */
  hold(): void {
    if (this.#holders++ === 0) this.#pool.heldBytes += this.size;
  }

  release(): void {
    if (--this.#holders > 0) return;
    this.#pool.heldBytes -= this.size;
    if (!this.#receiving) this.#pool.reclaim(this);
  }

  /** Marks the slab as being read into by a connection. */
  open(): void {
    this.#receiving = true;
  }

  /** The connection no longer reads into this slab. */
  close(): void {
    if (!this.#receiving) return;
    this.#receiving = false;
    if (this.#holders === 0) this.#pool.reclaim(this);
  }
}

/** The free slabs of one size, and the arena from which new ones are carved. */
interface SizeClass {
  readonly size: number;
  /** The latest last. */
  free: Slab[];
  /** The smallest number of free slabs since the pool was trimmed: as many, the oldest, were not needed. */
  idle: number;
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
  /** Total bytes of the slabs that are held, since their messages are not all delivered. */
  heldBytes = 0;
  /** Bytes of partial messages copied from the end of one slab to the start of the next, since the pool was created. */
  copiedBytes = 0;
  readonly #classes: readonly SizeClass[];
  /** Free slabs above the largest pooled size, the latest last. */
  #spare: Slab[] = [];
  #spareBytes = 0;
  /** As {@link SizeClass.idle}, of the spare slabs. */
  #idleSpares = 0;
  #allocatedBytes = 0;

  /**
   * @param largest largest slab size in bytes, for busy connections
   * @param smallest smallest slab size in bytes. Default: 8 KiB.
   * @param growth factor between consecutive sizes. Default: 8.
   */
  constructor(largest: number, smallest: number = MIN_SLAB_SIZE, growth: number = GROWTH) {
    const sizes: number[] = [];
    for (let size = smallest; size < largest; size *= growth) sizes.push(size);
    sizes.push(largest);
    this.#classes = sizes.map((size) => ({ size, free: [], idle: 0, arena: undefined, carved: 0, used: 0 }));
  }

  /** Size in bytes of the largest pooled slabs. */
  get largest(): number {
    return this.#classes.at(-1)?.size ?? MIN_SLAB_SIZE;
  }

  /** Bytes of shared memory allocated from the system. */
  get allocatedBytes(): number {
    return this.#allocatedBytes;
  }

  /**
   * The smallest pooled size with room for `bytes`, or the largest one if none has. While too many slabs of that size
   * are in use (128 MiB), a smaller size.
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

  /** A slab of at least `size` bytes. */
  acquire(size: number): Slab {
    const sizeClass = this.#classes.find((candidate) => candidate.size >= size);
    if (sizeClass === undefined) return this.#acquireLarge(size);
    const slab = sizeClass.free.pop() ?? this.#carve(sizeClass);
    sizeClass.idle = Math.min(sizeClass.idle, sizeClass.free.length);
    sizeClass.used++;
    slab.open();
    return slab;
  }

  /** A slab above the largest pooled size: a spare one that is at most twice as large as necessary, or a new one. */
  #acquireLarge(size: number): Slab {
    const at = this.#spare.findLastIndex((spare) => spare.size >= size && spare.size <= 2 * size);
    const [spare] = at === -1 ? [] : this.#spare.splice(at, 1);
    if (spare === undefined) {
      // Rounded up, so that slabs for content of similar size are interchangeable.
      const rounded = Math.ceil(size / this.largest) * this.largest;
      return new Slab(this, this.#allocate(rounded), 0, rounded);
    }
    this.#idleSpares = Math.min(this.#idleSpares, at);
    this.#spareBytes -= spare.size;
    spare.open();
    return spare;
  }

  /** Returns an unused slab to the pool. Called only by {@link Slab}. */
  reclaim(slab: Slab): void {
    const sizeClass = this.#classes.find(({ size }) => size === slab.size);
    if (sizeClass === undefined) return this.#keepSpare(slab);
    sizeClass.used--;
    sizeClass.free.push(slab);
  }

  /** Keeps a slab above the largest pooled size for reuse, instead of the oldest ones if there are too many. */
  #keepSpare(slab: Slab): void {
    this.#spare.push(slab);
    this.#spareBytes += slab.size;
    const largest = Math.max(...this.#spare.map(({ size }) => size));
    while (this.#spareBytes > Math.max(MAX_SPARE_BYTES, largest * SPARE_SHARE)) this.#discardSpare();
  }

  /** Discards the oldest spare slab. */
  #discardSpare(): void {
    const { size } = this.#spare.shift() as Slab;
    this.#idleSpares = Math.max(0, this.#idleSpares - 1);
    this.#spareBytes -= size;
    this.#allocatedBytes -= size;
  }

  /**
   * Frees slabs that were unused since the previous call. Freeing earlier would reallocate slabs in regular use, faster
   * than the garbage collector frees them.
   */
  trim(): void {
    for (let left = this.#idleSpares; left > 0; left--) this.#discardSpare();
    this.#idleSpares = this.#spare.length;
    for (const sizeClass of this.#classes) this.#trimClass(sizeClass);
  }

  /** Discards the arenas of which all slabs were free. */
  #trimClass(sizeClass: SizeClass): void {
    const idle = new Map<Arena, number>();
    for (const { arena } of sizeClass.free.slice(0, sizeClass.idle))
      idle.set(arena, (idle.get(arena) ?? 0) + 1);
    const isDiscarded = ({ arena }: Slab): boolean =>
      idle.get(arena) === (arena === sizeClass.arena ? sizeClass.carved : slabsPerArena(sizeClass.size));
    const discarded = new Set(sizeClass.free.filter(isDiscarded).map(({ arena }) => arena));
    sizeClass.free = sizeClass.free.filter(({ arena }) => !discarded.has(arena));
    sizeClass.idle = sizeClass.free.length;
    for (const arena of discarded) {
      if (arena === sizeClass.arena) sizeClass.arena = undefined;
      this.#allocatedBytes -= arena.memory.byteLength;
    }
  }

  #carve(sizeClass: SizeClass): Slab {
    const { size } = sizeClass;
    const perArena = slabsPerArena(size);
    if (sizeClass.arena === undefined || sizeClass.carved === perArena) {
      sizeClass.arena = this.#allocate(perArena * size);
      sizeClass.carved = 0;
    }
    return new Slab(this, sizeClass.arena, sizeClass.carved++ * size, size);
  }

  #allocate(size: number): Arena {
    const memory = new SharedArrayBuffer(size);
    this.#allocatedBytes += size;
    return { memory, bytes: Buffer.from(memory) };
  }
}

function slabsPerArena(size: number): number {
  return Math.max(1, Math.floor(ARENA_SIZE / size));
}

function isScarce(sizeClass: SizeClass | undefined): boolean {
  return sizeClass !== undefined && sizeClass.used * sizeClass.size >= BUSY_BYTES;
}
