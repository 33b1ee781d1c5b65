// Cursors: the positions up to which named consumers have read the log, in one small file. If it is lost, messages are
// delivered again; none is lost.

import * as z from 'zod';
import type { LogDisk } from './disk.js';

/** A position in a log. */
export interface Position {
  /** Of the log that the offset refers to: 16 hexadecimal digits. */
  readonly epoch: string;
  /** Offset of the next message. */
  readonly offset: number;
}

/** As on the wire and the command line: `0123456789abcdef:42`. */
export function formatPosition({ epoch, offset }: Position): string {
  return `${epoch}:${offset}`;
}

/** @param text that has this form */
export function parsePosition(text: string): Position {
  const [epoch = '', offset] = text.split(':');
  return { epoch, offset: Number(offset) };
}

/** The epoch of a segment, as in a position. */
export function formatEpoch(epoch: bigint): string {
  return epoch.toString(16).padStart(16, '0');
}

const NAME = 'cursors.json';
const TEMPORARY = 'cursors.tmp';
/** An unreadable file is kept under this name. */
const DAMAGED = 'cursors.damaged';
const VERSION = 1;
/** The file is written at most once in this time, in ms. */
const SAVE_INTERVAL = 100;
/** Since each cursor takes memory, and all of them are written together. */
export const MAX_CURSORS = 10_000;

interface CursorFile {
  readonly version: number;
  readonly cursors: Readonly<Record<string, Position>>;
}

/** Entries, since zod leaves out a key `__proto__`. */
const cursorEntries = z.array(
  z.tuple([
    z.string(),
    z.object({ epoch: z.string().regex(/^[0-9a-f]{16}$/), offset: z.int().nonnegative() }),
  ]),
);

export class Cursors {
  readonly #disk: LogDisk;
  readonly #onError: (error: unknown) => void;
  /** Called when a cursor has changed. */
  onChange: () => void = () => {};
  readonly #positions: Map<string, Position>;
  #timer: NodeJS.Timeout | undefined;
  #saving: Promise<void> | undefined;
  #isChanged = false;
  #hasFailed = false;

  private constructor(disk: LogDisk, positions: Map<string, Position>, onError: (error: unknown) => void) {
    this.#disk = disk;
    this.#positions = positions;
    this.#onError = onError;
  }

  /**
   * Reads the cursors of a log. If their file is unreadable, it is kept under another name, and there are none.
   * @param onError called if the file is unreadable, or when it can no longer be written. Writing is tried again.
   */
  static async open(disk: LogDisk, onError: (error: unknown) => void): Promise<Cursors> {
    try {
      return new Cursors(disk, await Cursors.read(disk), onError);
    } catch (error) {
      await disk.rename(NAME, DAMAGED);
      onError(error);
      return new Cursors(disk, new Map(), onError);
    }
  }

  /**
   * The cursors of a log, by name.
   * @throws an error if their file is unreadable
   */
  static async read(disk: LogDisk): Promise<Map<string, Position>> {
    const names = await disk.list();
    return names.includes(NAME) ? readFile(disk) : new Map();
  }

  get size(): number {
    return this.#positions.size;
  }

  get(name: string): Position | undefined {
    return this.#positions.get(name);
  }

  /** All cursors, by name. */
  entries(): Iterable<[string, Position]> {
    return this.#positions;
  }

  /** The lowest offset of the cursors of a log; `Infinity` if there are none. */
  lowest(epoch: string): number {
    let lowest = Number.POSITIVE_INFINITY;
    for (const position of this.#positions.values())
      if (position.epoch === epoch) lowest = Math.min(lowest, position.offset);
    return lowest;
  }

  /** Whether there is a cursor of this name, or room for another one. */
  hasRoomFor(name: string): boolean {
    return this.#positions.has(name) || this.#positions.size < MAX_CURSORS;
  }

  /** Sets a cursor. It is durable within 100 ms if the disk works. */
  set(name: string, position: Position): void {
    this.#positions.set(name, position);
    this.#schedule();
    this.onChange();
  }

  delete(name: string): void {
    if (this.#positions.delete(name)) this.#schedule();
  }

  /** Writes what has changed. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#saving;
    if (this.#isChanged) await this.#save();
    clearTimeout(this.#timer);
  }

  #schedule(): void {
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

  /** Replaces the file as a whole: after a power failure, it is the old one or the new one. */
  async #save(): Promise<void> {
    this.#isChanged = false;
    const content: CursorFile = { version: VERSION, cursors: Object.fromEntries(this.#positions) };
    const bytes = Buffer.from(JSON.stringify(content));
    try {
      const file = await this.#disk.open(TEMPORARY, 'create');
      try {
        await file.truncate(0);
        await file.write([bytes], 0);
        await file.sync();
      } finally {
        await file.close();
      }
      await this.#disk.rename(TEMPORARY, NAME);
      await this.#disk.syncFolder();
      this.#hasFailed = false;
    } catch (error) {
      this.#isChanged = true;
      if (!this.#hasFailed) this.#onError(error);
      this.#hasFailed = true;
    }
  }
}

async function readFile(disk: LogDisk): Promise<Map<string, Position>> {
  const file = await disk.open(NAME, 'read');
  try {
    const bytes = Buffer.alloc(await file.size());
    await file.read(bytes, 0);
    const { version, cursors } = JSON.parse(bytes.toString()) as Partial<CursorFile>;
    if (version !== VERSION) throw new Error(`${NAME} has format version ${version}`);
    const { success, data } = cursorEntries.safeParse(Object.entries(cursors ?? {}));
    if (!success) throw new Error(`${NAME} is damaged`);
    return new Map(data);
  } finally {
    await file.close();
  }
}
