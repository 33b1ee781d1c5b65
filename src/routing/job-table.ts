// Assigns each job key a small integer, its entry, under which callers store data about the job. Bounded: the least
// recently set job is removed first. Operations take constant time and allocate nothing, since each message may refer to a
// new job. With many jobs, memory latency dominates: so a job is one slot and one row, and what will be needed is
// prefetched.

/**
 * Fields of an entry. `NEWER` and `OLDER` form a circular list: `NEWER` of the newest entry is the oldest one. `LINKED`:
 * number of the link that put it into its place of the list. `DATA`: numbers of the table's user, 0 for a new job.
 */
const ENTRY = { LOW: 0, HIGH: 1, NEWER: 2, OLDER: 3, LINKED: 4, DATA: 5, SIZE: 8 } as const;
/** Fields of a hash slot: the entry plus 1, or 0 if free; the lower half of its key, which saves reading the entry. */
const HASH_SLOT = { ENTRY: 0, LOW: 1, SIZE: 2 } as const;
/** Minimum number of slots per entry, so that few entries collide. */
const SLOTS_PER_ENTRY = 2;
const NONE = -1;

/** The keys of several jobs, in signed integers. */
export interface JobKeys {
  readonly lows: Int32Array;
  readonly highs: Int32Array;
  readonly count: number;
}

export class JobTable {
  readonly #capacity: number;
  readonly #entries: Int32Array;
  /** Open addressing with linear probing, from the slot given by the lower half of the key. */
  readonly #slots: Int32Array;
  readonly #mask: number;
  /** Entries that were removed and not used again, from the latest: `NEWER` is the next one. */
  #free = NONE;
  #used = 0;
  #size = 0;
  #newest = NONE;
  #isNew = false;
  readonly #lag: number;
  /** Number of the latest link, a signed integer that overflows. */
  #links = 0;
  /** Depends on all that was read in advance, so that it is read. */
  #prepared = 0;

  /**
   * @param capacity maximum number of jobs, 1 or more
   * @param lag number of other jobs that may be newer than a job that is set again, which then keeps its place. Default: 0.
   */
  constructor(capacity: number, lag = 0) {
    this.#capacity = capacity;
    this.#lag = lag;
    const slots = 2 ** Math.ceil(Math.log2(capacity * SLOTS_PER_ENTRY));
    this.#mask = slots - 1;
    // Pages are only allocated when they are written.
    this.#entries = new Int32Array(capacity * ENTRY.SIZE);
    this.#slots = new Int32Array(slots * HASH_SLOT.SIZE);
  }

  get size(): number {
    return this.#size;
  }

  /** Whether the latest {@link set} added its job. */
  get isNew(): boolean {
    return this.#isNew;
  }

  /** The entry of the job that was set least recently; -1 if there is none. */
  get oldest(): number {
    return this.#newest === NONE ? NONE : this.#field(this.#newest, ENTRY.NEWER);
  }

  /** The entry that was set next after this one; -1 if it is the newest. */
  newer(entry: number): number {
    return entry === this.#newest ? NONE : this.#field(entry, ENTRY.NEWER);
  }

  /** The entry of the job that was set last; -1 if there is none. */
  get newest(): number {
    return this.#newest;
  }

  /** The entry that was set before this one; -1 if it is the oldest. */
  older(entry: number): number {
    return entry === this.oldest ? NONE : this.#field(entry, ENTRY.OLDER);
  }

  /** The entry of a job, which is given by its key; -1 if it is not in the table. */
  find(low: number, high: number): number {
    for (let slot = low & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const entry = this.#number(this.#slots, slot * HASH_SLOT.SIZE + HASH_SLOT.ENTRY) - 1;
      if (entry === NONE) return NONE;
      if (
        this.#slots[slot * HASH_SLOT.SIZE + HASH_SLOT.LOW] === (low | 0) &&
        this.#entries[entry * ENTRY.SIZE + ENTRY.HIGH] === (high | 0)
      ) {
        return entry;
      }
    }
  }

  /** A number of the table's user about a job. @param index 0 to 2 */
  data(entry: number, index: number): number {
    return this.#field(entry, ENTRY.DATA + index);
  }

  /** @param value a signed integer */
  setData(entry: number, index: number, value: number): void {
    this.#entries[entry * ENTRY.SIZE + ENTRY.DATA + index] = value;
  }

  /**
   * Reads what {@link set} will need for these jobs, which takes a third of the time that it would take there.
   * @param entries gets the entry of each job; -1 if it is not found at once
   */
  prepare({ lows, highs, count }: JobKeys, entries: Int32Array): void {
    const [slots, rows, mask] = [this.#slots, this.#entries, this.#mask];
    // Nearly always the first slot: the rest is left to find().
    for (let at = 0; at < count; at++)
      entries[at] = (slots[((lows[at] ?? 0) & mask) * HASH_SLOT.SIZE + HASH_SLOT.ENTRY] ?? 0) - 1;
    let missing = 0;
    for (let at = 0; at < count; at++) {
      const row = (entries[at] ?? NONE) * ENTRY.SIZE;
      if (row >= 0 && rows[row + ENTRY.LOW] === lows[at] && rows[row + ENTRY.HIGH] === highs[at]) continue;
      entries[at] = NONE;
      missing++;
    }
    // The oldest entries will be replaced.
    let entry = this.oldest;
    for (let left = missing + this.#size - this.#capacity; left > 0 && entry !== NONE; left--) {
      this.#prepared ^= this.#number(
        this.#slots,
        (this.#field(entry, ENTRY.LOW) & this.#mask) * HASH_SLOT.SIZE + HASH_SLOT.ENTRY,
      );
      entry = this.newer(entry);
    }
  }

  /** Whether an entry is that of a job. */
  isEntryOf(entry: number, low: number, high: number): boolean {
    return this.#field(entry, ENTRY.LOW) === low && this.#field(entry, ENTRY.HIGH) === high;
  }

  /** As {@link set}, of a job whose entry is known. */
  renew(entry: number): void {
    this.#isNew = false;
    if (entry === this.#newest || this.#linksSince(entry) <= this.#lag) return;
    this.#unlink(entry);
    this.#link(entry);
  }

  /**
   * Makes a job the newest, or one of the newest, and adds it if necessary. At capacity, it replaces the oldest and gets
   * its entry.
   * @returns its entry
   */
  set(low: number, high: number): number {
    let entry = this.find(low, high);
    if (entry === NONE) {
      entry = this.#add(low, high);
      this.#isNew = true;
    } else this.renew(entry);
    return entry;
  }

  remove(entry: number): void {
    this.#freeSlotOf(entry);
    if (this.#size === 1) this.#newest = NONE;
    else {
      if (entry === this.#newest) this.#newest = this.#field(entry, ENTRY.OLDER);
      this.#unlink(entry);
    }
    this.#entries[entry * ENTRY.SIZE + ENTRY.NEWER] = this.#free;
    this.#free = entry;
    this.#size--;
  }

  #add(low: number, high: number): number {
    let entry = this.#newest;
    if (this.#size < this.#capacity) {
      entry = this.#newEntry();
      this.#link(entry);
      this.#size++;
    } else {
      // The oldest entry becomes the newest: in a circular list, nothing has to move.
      entry = this.#field(this.#newest, ENTRY.NEWER);
      this.#newest = entry;
      this.#recordLink(entry);
      this.#freeSlotOf(entry);
    }
    this.#entries[entry * ENTRY.SIZE + ENTRY.LOW] = low;
    this.#entries[entry * ENTRY.SIZE + ENTRY.HIGH] = high;
    for (let field: number = ENTRY.DATA; field < ENTRY.SIZE; field++)
      this.#entries[entry * ENTRY.SIZE + field] = 0;
    let slot = low & this.#mask;
    while (this.#slots[slot * HASH_SLOT.SIZE + HASH_SLOT.ENTRY] !== 0) slot = (slot + 1) & this.#mask;
    this.#slots[slot * HASH_SLOT.SIZE + HASH_SLOT.ENTRY] = entry + 1;
    this.#slots[slot * HASH_SLOT.SIZE + HASH_SLOT.LOW] = low;
    return entry;
  }

  #newEntry(): number {
    if (this.#free === NONE) return this.#used++;
    const entry = this.#free;
    this.#free = this.#field(entry, ENTRY.NEWER);
    return entry;
  }

  /** Frees an entry's slot and closes the gap: entries after it must be found without passing a free slot. */
  #freeSlotOf(entry: number): void {
    let gap = this.#field(entry, ENTRY.LOW) & this.#mask;
    while (this.#slots[gap * HASH_SLOT.SIZE + HASH_SLOT.ENTRY] !== entry + 1) gap = (gap + 1) & this.#mask;
    for (let slot = (gap + 1) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const next = this.#number(this.#slots, slot * HASH_SLOT.SIZE + HASH_SLOT.ENTRY);
      if (next === 0) break;
      const low = this.#number(this.#slots, slot * HASH_SLOT.SIZE + HASH_SLOT.LOW);
      // An entry must not move to before the slot where its search begins.
      const distance = (slot - low) & this.#mask;
      if (distance < ((slot - gap) & this.#mask)) continue;
      this.#slots[gap * HASH_SLOT.SIZE + HASH_SLOT.ENTRY] = next;
      this.#slots[gap * HASH_SLOT.SIZE + HASH_SLOT.LOW] = low;
      gap = slot;
    }
    this.#slots[gap * HASH_SLOT.SIZE + HASH_SLOT.ENTRY] = 0;
  }

  #unlink(entry: number): void {
    const [newer, older] = [this.#field(entry, ENTRY.NEWER), this.#field(entry, ENTRY.OLDER)];
    this.#entries[newer * ENTRY.SIZE + ENTRY.OLDER] = older;
    this.#entries[older * ENTRY.SIZE + ENTRY.NEWER] = newer;
  }

  /** Makes an entry that is not in the list the newest. */
  #link(entry: number): void {
    const older = this.#newest === NONE ? entry : this.#newest;
    const newer = this.#newest === NONE ? entry : this.#field(older, ENTRY.NEWER);
    this.#entries[entry * ENTRY.SIZE + ENTRY.OLDER] = older;
    this.#entries[entry * ENTRY.SIZE + ENTRY.NEWER] = newer;
    this.#entries[older * ENTRY.SIZE + ENTRY.NEWER] = entry;
    this.#entries[newer * ENTRY.SIZE + ENTRY.OLDER] = entry;
    this.#newest = entry;
    this.#recordLink(entry);
  }

  /** Number of links since an entry was put into its place: at most this many entries are newer. */
  #linksSince(entry: number): number {
    return (this.#links - this.#field(entry, ENTRY.LINKED)) >>> 0;
  }

  #recordLink(entry: number): void {
    this.#links = (this.#links + 1) | 0;
    this.#entries[entry * ENTRY.SIZE + ENTRY.LINKED] = this.#links;
  }

  #field(entry: number, field: number): number {
    return this.#number(this.#entries, entry * ENTRY.SIZE + field);
  }

  #number(numbers: Int32Array, index: number): number {
    return numbers[index] ?? 0;
  }
}
