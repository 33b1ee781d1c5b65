// The folder of a log, as the log uses it. Everything that must survive a power failure goes through this interface, so
// that tests can put a simulated disk in its place.

import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** An open file of a log. */
export interface LogFile {
  /** Size in bytes. */
  size(): Promise<number>;
  /**
   * Reads into a buffer, as much as there is.
   * @returns number of bytes read; fewer than the buffer has room for only at the end of the file
   */
  read(buffer: Buffer, position: number): Promise<number>;
  /** Writes all bytes of the buffers. Not durable before {@link sync}. */
  write(buffers: readonly Buffer[], position: number): Promise<void>;
  /** Makes everything written to this file durable, its size included. */
  sync(): Promise<void>;
  truncate(size: number): Promise<void>;
  /** Whether it still has its name: it was neither removed nor replaced. */
  isInPlace(): Promise<boolean>;
  close(): Promise<void>;
}

export interface LogDisk {
  /** Names of the files. */
  list(): Promise<string[]>;
  /** @param purpose `create`: write it, and create it if it does not exist */
  open(name: string, purpose: 'read' | 'write' | 'create'): Promise<LogFile>;
  /** Replaces a file of the new name, if there is one. Not durable before {@link syncFolder}. */
  rename(from: string, to: string): Promise<void>;
  /** Not durable before {@link syncFolder}. */
  remove(name: string): Promise<void>;
  /** Makes created, renamed and removed names durable. */
  syncFolder(): Promise<void>;
}

/** Only the broker's user may read what crawlers have sent. */
const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;
const { O_RDONLY, O_RDWR, O_CREAT } = constants;
const FLAGS = { read: O_RDONLY, write: O_RDWR, create: O_RDWR | O_CREAT } as const;
/** Buffers per system call: the smallest limit of common systems (IOV_MAX). */
const MAX_BUFFERS = 1024;
/** Smaller buffers, in bytes, are copied into one: each system call takes a turn of the event loop. */
const MIN_BUFFER = 4096;

/** A folder of the file system. */
export class FolderDisk implements LogDisk {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Creates the folder if it does not exist. */
  static async create(path: string): Promise<FolderDisk> {
    await mkdir(path, { recursive: true, mode: FOLDER_MODE });
    return new FolderDisk(path);
  }

  list(): Promise<string[]> {
    return readdir(this.#path);
  }

  async open(name: string, purpose: 'read' | 'write' | 'create'): Promise<LogFile> {
    const flags = FLAGS[purpose] | constants.O_NOFOLLOW;
    const path = join(this.#path, name);
    const handle = await open(path, flags, FILE_MODE);
    // The log works without it, as long as its user stays the same.
    if (purpose === 'create' && process.geteuid?.() === 0) await this.#giveToOwner(handle).catch(() => {});
    return new FolderFile(handle, path);
  }

  /** Gives a new file to the owner of the folder: the broker has to read what root's commands write. */
  async #giveToOwner(handle: FileHandle): Promise<void> {
    const [{ uid, gid }, { size, nlink }] = await Promise.all([stat(this.#path), handle.stat()]);
    // One that was there may be a link to somebody else's.
    if (size === 0 && nlink === 1) await handle.chown(uid, gid);
  }

  rename(from: string, to: string): Promise<void> {
    return rename(join(this.#path, from), join(this.#path, to));
  }

  remove(name: string): Promise<void> {
    return rm(join(this.#path, name), { force: true });
  }

  async syncFolder(): Promise<void> {
    const folder = await open(this.#path, constants.O_RDONLY);
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }
}

class FolderFile implements LogFile {
  readonly #handle: FileHandle;
  readonly #path: string;

  constructor(handle: FileHandle, path: string) {
    this.#handle = handle;
    this.#path = path;
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  async read(buffer: Buffer, position: number): Promise<number> {
    let length = 0;
    while (length < buffer.length) {
      const { bytesRead } = await this.#handle.read(
        buffer,
        length,
        buffer.length - length,
        position + length,
      );
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return length;
  }

  async write(buffers: readonly Buffer[], position: number): Promise<void> {
    let at = position;
    for (let left = gather(buffers); left.length > 0; ) {
      // A write may end early: a short count comes before ENOSPC.
      const { bytesWritten } = await this.#handle.writev(left.slice(0, MAX_BUFFERS), at);
      if (bytesWritten === 0) throw Object.assign(new Error('nothing was written'), { code: 'EIO' });
      at += bytesWritten;
      left = after(left, bytesWritten);
    }
  }

  sync(): Promise<void> {
    return this.#handle.datasync();
  }

  truncate(size: number): Promise<void> {
    return this.#handle.truncate(size);
  }

  async isInPlace(): Promise<boolean> {
    return isAt(this.#path, await this.#handle.stat({ bigint: true }));
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** Whether a file is at a path, and not another one. */
export async function isAt(path: string, { dev, ino }: Pick<BigIntStats, 'dev' | 'ino'>): Promise<boolean> {
  const found = await lstat(path, { bigint: true }).catch(() => undefined);
  return found?.dev === dev && found.ino === ino;
}

/** The same bytes in fewer buffers. */
function gather(buffers: readonly Buffer[]): Buffer[] {
  const gathered: Buffer[] = [];
  let small: Buffer[] = [];
  const flush = (): void => {
    if (small.length > 1) gathered.push(Buffer.concat(small));
    else gathered.push(...small);
    small = [];
  };
  for (const buffer of buffers) {
    if (buffer.length < MIN_BUFFER) small.push(buffer);
    else {
      flush();
      gathered.push(buffer);
    }
  }
  flush();
  return gathered;
}

/** What is left of buffers without their first bytes. */
function after(buffers: readonly Buffer[], bytes: number): Buffer[] {
  let skip = bytes;
  for (const [index, buffer] of buffers.entries()) {
    if (skip < buffer.length) return [buffer.subarray(skip), ...buffers.slice(index + 1)];
    skip -= buffer.length;
  }
  return [];
}

/** Reads a small file as a whole. */
export async function readFile(disk: LogDisk, name: string): Promise<Buffer> {
  const file = await disk.open(name, 'read');
  try {
    const bytes = Buffer.alloc(await file.size());
    await file.read(bytes, 0);
    return bytes;
  } finally {
    await file.close();
  }
}

/** Replaces a small file as a whole: after a power failure, it is the old one or the new one. */
export async function replaceFile(disk: LogDisk, name: string, bytes: Buffer): Promise<void> {
  const temporary = `${name.replace(/\.json$/, '')}.tmp`;
  // One that is left of a crash may be somebody else's.
  await disk.remove(temporary);
  const file = await disk.open(temporary, 'create');
  try {
    await file.write([bytes], 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(temporary, name);
  await disk.syncFolder();
}

/** Whether the disk, or the share of it that this user has, is full. */
export function isDiskFull(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT';
}
