// Keeps two brokers from writing the same log: a socket in its folder, on which the one that writes listens. It needs no
// age limit, since nobody listens on it any more once that process has ended, however it ended.

import type { BigIntStats } from 'node:fs';
import { lstat, realpath, rename, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { isListening, listenExclusively, lockPath } from '../config/unix-socket.js';
import { SluiceError } from '../errors.js';
import { isAt } from './disk.js';

const NAME = 'lock';
/** Not longer, since the length of socket paths is limited. */
const TEMPORARY_NAME = 'new';

/** A socket that listens, and its file. */
interface LockSocket {
  readonly server: Server;
  readonly path: string;
  readonly identity: BigIntStats;
}

export class FolderLock {
  readonly #folder: string;
  #socket: LockSocket;
  /** Whether another process may have changed the folder. */
  #isLost = false;
  #verifying: Promise<void> | undefined;

  private constructor(folder: string, socket: LockSocket) {
    this.#folder = folder;
    this.#socket = socket;
  }

  /** @throws SluiceError `LOG_IN_USE` if another process has the lock */
  static async acquire(folder: string): Promise<FolderLock> {
    return new FolderLock(folder, await listenIn(folder));
  }

  /**
   * Makes the socket again if it was removed.
   * @throws SluiceError `LOG_IN_USE` if another process has the lock
   */
  verify(): Promise<void> {
    this.#verifying ??= this.#verify().finally(() => {
      this.#verifying = undefined;
    });
    return this.#verifying;
  }

  async #verify(): Promise<void> {
    if (this.#isLost) throw new SluiceError('LOG_IN_USE', this.#folder);
    const { server, path, identity } = this.#socket;
    if (await isAt(path, identity)) return;
    server.close();
    try {
      this.#socket = await listenIn(this.#folder);
    } catch (error) {
      this.#isLost = error instanceof SluiceError && error.code === 'LOG_IN_USE';
      throw error;
    }
  }

  /** Removes the socket, unless it is that of another process. */
  async release(): Promise<void> {
    const { server, path, identity } = this.#socket;
    if (await isAt(path, identity)) await rm(path, { force: true }).catch(() => {});
    server.close();
  }
}

async function listenIn(folder: string): Promise<LockSocket> {
  const directory = await realpath(folder);
  const [path, temporary] = [join(directory, NAME), join(directory, TEMPORARY_NAME)];
  const unlock = await lockPath(path);
  try {
    if (await isListening(path)) throw new SluiceError('LOG_IN_USE', folder);
    await rm(temporary, { force: true });
    const server = createServer((socket) => socket.destroy());
    // On close, Node removes the path that it listened on: the temporary name, so never a successor's socket.
    await listenExclusively(server, temporary, 1);
    try {
      const identity = await lstat(temporary, { bigint: true });
      await rename(temporary, path);
      return { server: server.unref(), path, identity };
    } catch (error) {
      server.close();
      throw error;
    }
  } finally {
    unlock();
  }
}
