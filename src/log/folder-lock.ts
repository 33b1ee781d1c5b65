// Keeps two brokers from writing the same log: a socket in its folder, on which the one that writes listens. It needs no
// age limit, since nobody listens on it any more once that process has ended, however it ended.

import { rmSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { isListening, listenExclusively, lockPath } from '../config/unix-socket.js';
import { SluiceError } from '../errors.js';

const NAME = 'lock';

export class FolderLock {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** @throws SluiceError `LOG_IN_USE` if another process has the lock */
  static async acquire(folder: string): Promise<FolderLock> {
    const path = join(await realpath(folder), NAME);
    const unlock = await lockPath(path);
    try {
      if (await isListening(path)) throw new SluiceError('LOG_IN_USE', folder);
      rmSync(path, { force: true });
      const server = createServer((socket) => socket.destroy());
      await listenExclusively(server, path, 1);
      return new FolderLock(server.unref());
    } finally {
      unlock();
    }
  }

  /** Removes the socket. */
  release(): void {
    this.#server.close();
  }
}
