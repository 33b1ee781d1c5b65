// The disk of a broker's durable log, which hangs or fails on command.

import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished, vi } from 'vitest';
import { FolderDisk, type LogDisk, type LogFile } from '#src/log/disk.js';

export class FaultyDisk {
  /** Number of writes and syncs that hang. */
  waiting = 0;
  /** How long each sync takes at least, in ms. */
  syncDelay = 0;
  #error: Error | undefined;
  #hang: Promise<void> | undefined;
  #release: () => void = () => {};

  /** The disks of all logs that are opened during the test. @param isFaulty whether that of a folder is. Default: all. */
  static install(isFaulty: (folder: string) => boolean = () => true): FaultyDisk {
    const faulty = new FaultyDisk();
    const { create } = FolderDisk;
    const spy = vi.spyOn(FolderDisk, 'create').mockImplementation(async (path) => {
      const disk = await create(path);
      // As far as the log uses it.
      return isFaulty(path) ? (faulty.#wrap(disk) as unknown as FolderDisk) : disk;
    });
    onTestFinished(() => {
      faulty.work();
      spy.mockRestore();
    });
    return faulty;
  }

  /** Writes and syncs hang from now on. */
  hang(): void {
    this.#hang = new Promise((resolve) => {
      this.#release = resolve;
    });
  }

  /** Writes and syncs fail from now on. */
  fail(code = 'EIO'): void {
    this.#error = Object.assign(new Error(`${code}: simulated`), { code, syscall: 'fdatasync' });
  }

  /** Those that hang continue. */
  work(): void {
    this.#error = undefined;
    this.#hang = undefined;
    this.#release();
  }

  async #pass<T>(call: () => Promise<T>): Promise<T> {
    if (this.#hang !== undefined) {
      this.waiting++;
      await this.#hang;
      this.waiting--;
    }
    if (this.#error !== undefined) throw this.#error;
    return call();
  }

  #wrap(disk: LogDisk): LogDisk {
    return {
      list: () => disk.list(),
      open: async (name, purpose) => this.#wrapFile(await disk.open(name, purpose)),
      rename: (from, to) => disk.rename(from, to),
      remove: (name) => disk.remove(name),
      syncFolder: () => this.#pass(() => disk.syncFolder()),
    };
  }

  #wrapFile(file: LogFile): LogFile {
    const calls = new Set<Promise<void>>();
    const pass = (call: () => Promise<void>): Promise<void> => {
      const passed = this.#pass(call).finally(() => calls.delete(passed));
      calls.add(passed);
      return passed;
    };
    return {
      size: () => file.size(),
      read: (buffer, position) => file.read(buffer, position),
      isInPlace: () => file.isInPlace(),
      truncate: (size) => file.truncate(size),
      // Like that of Node, after the calls that are in progress.
      close: async () => {
        await Promise.allSettled(calls);
        await file.close();
      },
      write: (buffers, position) => pass(() => file.write(buffers, position)),
      sync: () => pass(() => sleep(this.syncDelay).then(() => file.sync())),
    };
  }
}
