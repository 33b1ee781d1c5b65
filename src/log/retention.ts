// The segments of a log on the disk: the complete ones, spare files, and the one that is being written. Removes the oldest
// ones if they are too old, or if there is no room for a new one.

import type { ActiveSegment, StoredSegment } from './active-segment.js';
import type { LogDisk } from './disk.js';
import type { ReadableSegment } from './log-reader.js';
import { makeSpare, type Spare } from './segments.js';

export interface RetentionOptions {
  /** Size at which a segment is full, in bytes. */
  readonly segmentBytes: number;
  /** Maximum bytes of all segments. */
  readonly maxBytes: number;
  /** Maximum age of the newest message of a segment, in ms. */
  readonly maxAge: number;
  /** Whether messages before an offset may be removed because of their age, or to make room. */
  readonly mayRemove: (end: number, isForRoom: boolean) => boolean;
  /** Whether they are removed anyway if there is no room for new ones. */
  readonly dropsOldest: boolean;
  /** Offset of the next message. */
  readonly end: () => number;
  /** Wall clock, in ms since 1970. */
  readonly now: () => number;
  /** Monotonic clock, in ms. */
  readonly elapsed: () => number;
}

const MAX_SPARES = 2;
/** Sizes of spare files, relative to that of a segment. */
const [MIN_SPARE_SIZE, MAX_SPARE_SIZE] = [0.5, 1.5];
/** Thrown if there is no room, and nothing may be removed. */
export const FULL = new Error('the log is full');

export class RetainedSegments {
  readonly #disk: LogDisk;
  readonly #options: RetentionOptions;
  /** Monotonic clock when the log was opened, in ms. */
  readonly #openedAt: number;
  /** Complete segments, the oldest first. */
  readonly #complete: StoredSegment[];
  readonly #spares: Spare[];
  #active: ActiveSegment | undefined;
  /** The segments for readers, until they change. */
  #readable: readonly ReadableSegment[] | undefined;

  constructor(
    disk: LogDisk,
    complete: readonly StoredSegment[],
    spares: readonly Spare[],
    options: RetentionOptions,
  ) {
    this.#disk = disk;
    this.#complete = [...complete];
    this.#spares = [...spares];
    this.#options = options;
    this.#openedAt = options.elapsed();
  }

  /** The segment that is being written. */
  get active(): ActiveSegment | undefined {
    return this.#active;
  }

  set active(active: ActiveSegment | undefined) {
    this.#active = active;
    this.#readable = undefined;
  }

  /** Offset of the oldest message; `undefined` if there is no segment. */
  get first(): number | undefined {
    return (this.#complete[0] ?? this.#active)?.header.first;
  }

  /** Bytes on the disk. */
  get bytes(): number {
    return [...this.#complete, ...this.#spares].reduce(
      (sum, { size }) => sum + size,
      this.#active?.size ?? 0,
    );
  }

  /** The segments as readers may read them. */
  readonly list = (): readonly ReadableSegment[] => {
    this.#readable ??= [
      ...this.#complete.map((segment) => ({ ...segment, limit: segment.size })),
      ...(this.#active === undefined ? [] : [readableOf(this.#active)]),
    ];
    return this.#readable;
  };

  /** Whether the newest message of the active segment is too old. */
  get isActiveExpired(): boolean {
    const { maxAge, elapsed } = this.#options;
    const active = this.#active;
    return active !== undefined && !active.isEmpty && elapsed() - active.written.writtenAt > maxAge;
  }

  /** The active segment is complete. @param next the one after it, if it is there already */
  async complete(next?: ActiveSegment): Promise<void> {
    const active = this.#active;
    this.active = next;
    if (active === undefined) return;
    const { name, header, size, written } = active;
    this.#complete.push({ name, header, size, latest: written.latest, written });
    await active.close();
  }

  /**
   * Gives up the active segment after a failure: what the disk has of it is unknown, but for what is durable.
   * @param durable all messages before this offset are
   */
  async abandon(durable: number): Promise<void> {
    const active = this.#active;
    this.active = undefined;
    if (active === undefined) return;
    const { name, header, durable: size, written } = active;
    // Without messages, the next segment will have its name.
    if (header.first < durable) this.#complete.push({ name, header, size, latest: written.latest, written });
    await active.close().catch(() => {});
  }

  /** A file that can be overwritten, if there is one. It is no longer spare then. */
  async takeSpare(): Promise<Spare | undefined> {
    await this.#removeMisfits();
    return this.#spares.shift();
  }

  /** Removes spare files that are too large to be used again. */
  async #removeMisfits(): Promise<void> {
    for (const spare of this.#spares.filter((each) => !this.#fits(each))) await this.#removeSpare(spare);
  }

  async #removeSpare(spare: Spare): Promise<void> {
    await this.#disk.remove(spare.name);
    // Not before: if the disk fails, the next attempt must find it.
    this.#spares.splice(this.#spares.indexOf(spare), 1);
  }

  /** Whether a segment occupies most of this file. Segments may have been larger, or contain a message that is. */
  #fits({ size }: Spare): boolean {
    return size <= MAX_SPARE_SIZE * this.#options.segmentBytes;
  }

  /** Removes segments that are too old. */
  async removeExpired(): Promise<void> {
    while (this.#hasExpired) await this.removeOldest();
  }

  /** Removes segments that are too old, or that leave no room for another one. @throws FULL */
  async makeRoom(): Promise<void> {
    await this.#removeMisfits();
    await this.removeExpired();
    while (this.#complete.length > 0) {
      if (this.#hasRoom) return;
      const [spare] = this.#spares.slice(1);
      if (spare !== undefined) await this.#removeSpare(spare);
      else if (this.mayDropOldest) await this.removeOldest();
      else throw FULL;
    }
  }

  /** Whether the oldest segment may be removed to make room. */
  get mayDropOldest(): boolean {
    const { dropsOldest, mayRemove } = this.#options;
    return dropsOldest || mayRemove(this.#oldestEnd, true);
  }

  /** @returns whether there was a segment to remove */
  async removeOldest(): Promise<boolean> {
    const [oldest] = this.#complete;
    if (oldest === undefined) return false;
    const isLargeEnough = oldest.size >= MIN_SPARE_SIZE * this.#options.segmentBytes;
    const isReusable = this.#spares.length < MAX_SPARES && isLargeEnough && this.#fits(oldest);
    if (isReusable) await this.#reuse(oldest);
    else await this.#disk.remove(oldest.name);
    // Not before: if the disk fails, the next attempt must find it.
    this.#complete.shift();
    this.#readable = undefined;
    return true;
  }

  async #reuse(segment: StoredSegment): Promise<void> {
    try {
      this.#spares.push(await makeSpare(this.#disk, segment));
    } catch (error) {
      // Another program has removed it.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }

  /** Offset after the messages of the oldest segment. */
  get #oldestEnd(): number {
    return (this.#complete[1] ?? this.#active)?.header.first ?? this.#options.end();
  }

  /** Whether the newest message of the oldest segment is too old, and it may be removed. */
  get #hasExpired(): boolean {
    const { maxAge, mayRemove } = this.#options;
    return this.#oldestAge > maxAge && mayRemove(this.#oldestEnd, false);
  }

  /**
   * Age of the newest message of the oldest segment, in ms. The wall clock may be wrong, for example from a boot until NTP
   * sets it. So the age of what this process has written is monotonic. That of an earlier segment counts from when a later
   * one began, but only if that was not earlier than its own messages; and from when this process opened the log at the latest.
   */
  get #oldestAge(): number {
    const [oldest, ...complete] = this.#complete;
    const later = this.#active === undefined ? complete : [...complete, this.#active];
    // Without any segment, the log would begin anew after a restart.
    if (oldest === undefined || later.length === 0) return 0;
    const { now, elapsed } = this.#options;
    const { header, latest = 0, written } = oldest;
    if (written !== undefined) return elapsed() - written.writtenAt;
    const time = now();
    // A time in the future is wrong: the clock was set back.
    const times = [header.latestBefore ?? 0, header.created, latest].filter((each) => each <= time);
    const newest = Math.max(...times);
    const next = later.find(({ header: { created } }) => created >= newest && created <= time);
    return Math.max(time - (next?.header.created ?? time), elapsed() - this.#openedAt);
  }

  /** Whether another segment fits. */
  get #hasRoom(): boolean {
    const { segmentBytes, maxBytes } = this.#options;
    return this.bytes + Math.max(0, segmentBytes - (this.#spares[0]?.size ?? 0)) <= maxBytes;
  }
}

function readableOf(active: ActiveSegment): ReadableSegment {
  const { name, header, written } = active;
  return {
    name,
    header,
    written,
    get limit() {
      return active.durable;
    },
    get latest() {
      return written.latest;
    },
  };
}
