// Cursors: the positions up to which named consumers have read, in one small file of the log's folder. If it is
// damaged, messages are delivered again; none is lost.

import * as z from 'zod';
import { isDiskFull, type LogDisk, readFile, replaceFile } from './disk.js';
import type { Position } from './position.js';

/** A file of cursors, and what their positions look like there. @typeParam T a position */
export interface CursorFormat<T> {
  /** Name of the file, without its suffix: `.json`; `.damaged` if it was unreadable. */
  readonly name: string;
  readonly position: z.ZodType<T>;
}

/** The cursors of the log itself. */
export const LOG_CURSORS: CursorFormat<Position> = {
  name: 'cursors',
  position: z.object({ epoch: z.string().regex(/^[0-9a-f]{16}$/), offset: z.int().nonnegative() }),
};

const VERSION = 1;
/** The file is written at most once in this time, in ms. */
const SAVE_INTERVAL = 100;
/** Prefix of the broker's own cursors. They are not listed, and clients cannot use them. */
export const RESERVED_PREFIX = '$';
/** Since each cursor takes memory, and all of them are written together. */
export const MAX_CURSORS = 10_000;

interface CursorFile<T> {
  readonly version: number;
  readonly cursors: Readonly<Record<string, T>>;
}

/** @typeParam T a position */
export class Cursors<T> {
  readonly #format: CursorFormat<T>;
  readonly #disk: LogDisk;
  readonly #onError: (error: unknown) => void;
  /** Whether cursors that are not known may have existed: the file was damaged once, and is still kept. */
  readonly wereLost: boolean;
  /** Called before they are written. They are not if it throws. */
  beforeSave: () => Promise<void> = async () => {};
  /** Called when changes of cursors are on the disk. */
  onSaved: () => void = () => {};
  readonly #positions: Map<string, T>;
  /** As on the disk. */
  #saved: ReadonlyMap<string, T>;
  #timer: NodeJS.Timeout | undefined;
  #saving: Promise<void> | undefined;
  #isChanged = false;
  #isClosed = false;
  #hasFailed = false;
  /** Whether the disk has no room for the cursors. */
  #needsRoom = false;

  private constructor(
    format: CursorFormat<T>,
    disk: LogDisk,
    positions: Map<string, T>,
    wereLost: boolean,
    onError: (error: unknown) => void,
  ) {
    this.wereLost = wereLost;
    this.#format = format;
    this.#disk = disk;
    this.#positions = positions;
    this.#saved = new Map(positions);
    this.#onError = onError;
  }

  /**
   * Reads the cursors of a log. If their file is damaged, it is kept under another name, and there are none.
   * @param onError called if the file is damaged, or when it can no longer be written. Writing is tried again.
   * @throws an error of the disk
   */
  static async open<T>(
    format: CursorFormat<T>,
    disk: LogDisk,
    onError: (error: unknown) => void,
  ): Promise<Cursors<T>> {
    const [name, damaged] = [`${format.name}.json`, `${format.name}.damaged`];
    const names = await disk.list();
    if (names.includes(name)) {
      const content = await readFile(disk, name);
      try {
        return new Cursors(format, disk, parseCursors(format, content), names.includes(damaged), onError);
      } catch (error) {
        await disk.rename(name, damaged);
        onError(error);
        return new Cursors(format, disk, new Map(), true, onError);
      }
    }
    return new Cursors(format, disk, new Map(), names.includes(damaged), onError);
  }

  /**
   * The cursors of a log, by name.
   * @throws an error if their file is unreadable
   */
  static async read<T>(format: CursorFormat<T>, disk: LogDisk): Promise<Map<string, T>> {
    const name = `${format.name}.json`;
    const names = await disk.list();
    return names.includes(name) ? parseCursors(format, await readFile(disk, name)) : new Map();
  }

  get size(): number {
    return this.#positions.size;
  }

  get(name: string): T | undefined {
    return this.#positions.get(name);
  }

  /** All cursors, by name. */
  entries(): Iterable<[string, T]> {
    return this.#positions;
  }

  /**
   * All positions that a cursor has now, or may have after a crash. If the disk is too full to save the cursors, only those
   * that they have now: otherwise, nothing could ever be removed to make room for them.
   * @param except name of a cursor that does not count
   */
  *positions(except?: string): Iterable<T> {
    for (const [name, position] of this.#positions) {
      if (name === except) continue;
      yield position;
      const saved = this.#needsRoom ? undefined : this.#saved.get(name);
      if (saved !== undefined) yield saved;
    }
  }

  /** Whether there is a cursor of this name, or room for another one. */
  hasRoomFor(name: string): boolean {
    return this.#positions.has(name) || this.#positions.size < MAX_CURSORS;
  }

  /** Sets a cursor. It is durable within 100 ms if the disk works. */
  set(name: string, position: T): void {
    this.#positions.set(name, position);
    this.#schedule();
  }

  delete(name: string): void {
    if (this.#positions.delete(name)) this.#schedule();
  }

  /** Writes what has changed. What changes from now on is not saved: the file may soon belong to another log. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#saving;
    if (this.#isChanged) await this.#save();
  }

  #schedule(): void {
    if (this.#isClosed) return;
    this.#isChanged = true;
    if (this.#saving !== undefined) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#saving = this.#save().finally(() => {
        this.#saving = undefined;
        if (this.#isChanged) this.#schedule();
      });
    }, SAVE_INTERVAL).unref();
  }

  async #save(): Promise<void> {
    this.#isChanged = false;
    const positions = new Map(this.#positions);
    const content: CursorFile<T> = { version: VERSION, cursors: Object.fromEntries(positions) };
    const bytes = Buffer.from(JSON.stringify(content));
    try {
      await this.beforeSave();
      await replaceFile(this.#disk, `${this.#format.name}.json`, bytes);
      this.#hasFailed = false;
      this.#needsRoom = false;
      this.#saved = positions;
      this.onSaved();
    } catch (error) {
      this.#isChanged = true;
      this.#needsRoom = isDiskFull(error);
      if (!this.#hasFailed) this.#onError(error);
      this.#hasFailed = true;
    }
  }
}

/** The lowest offset that a cursor of a log has, or may have after a crash; `Infinity` if there are none. */
export function lowestOffset(cursors: Cursors<Position>, epoch: string, except?: string): number {
  let lowest = Number.POSITIVE_INFINITY;
  for (const position of cursors.positions(except))
    if (position.epoch === epoch) lowest = Math.min(lowest, position.offset);
  return lowest;
}

/** The highest offset that a cursor of a log has; 0 if there are none. */
export function highestOffset(cursors: Cursors<Position>, epoch: string): number {
  let highest = 0;
  for (const position of cursors.positions())
    if (position.epoch === epoch) highest = Math.max(highest, position.offset);
  return highest;
}

function parseCursors<T>({ name, position }: CursorFormat<T>, content: Buffer): Map<string, T> {
  const { version, cursors } = JSON.parse(content.toString()) as Partial<CursorFile<T>>;
  if (version !== VERSION) throw new Error(`${name}.json has format version ${version}`);
  // Entries, since zod leaves out a key `__proto__`.
  const entries = z.array(z.tuple([z.string(), position]));
  const { success, data } = entries.safeParse(Object.entries(cursors ?? {}));
  if (!success) throw new Error(`${name}.json is damaged`);
  return new Map(data);
}
