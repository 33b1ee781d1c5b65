// Files of segments for many readers: each is opened once, and closed when nobody reads it any more.

import type { LogDisk, LogFile } from './disk.js';
import type { ReadableSegment, SegmentFile } from './log-reader.js';

interface SharedFile {
  readonly file: Promise<LogFile>;
  readers: number;
}

export class SharedFiles {
  readonly #disk: LogDisk;
  /** By the ID of the segment, since its name may be used again. */
  readonly #files = new Map<number, SharedFile>();

  constructor(disk: LogDisk) {
    this.#disk = disk;
  }

  /** Number of open files. */
  get size(): number {
    return this.#files.size;
  }

  readonly open = async ({ name, header: { id } }: ReadableSegment): Promise<SegmentFile> => {
    const shared = this.#files.get(id) ?? { file: this.#disk.open(name, 'read'), readers: 0 };
    this.#files.set(id, shared);
    shared.readers++;
    const close = async (): Promise<void> => {
      if (--shared.readers > 0) return;
      this.#files.delete(id);
      // What was read is right, whether or not it can be closed.
      await (await shared.file).close().catch(() => {});
    };
    try {
      const file = await shared.file;
      return { read: (buffer, position) => file.read(buffer, position), close };
    } catch (error) {
      if (--shared.readers === 0) this.#files.delete(id);
      throw error;
    }
  };
}
