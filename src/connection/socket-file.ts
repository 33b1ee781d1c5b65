// The socket's place in the file system. A stale socket is replaced, a live one never; the new one
// appears under its name only when it listens, and has its final permissions from the first instant.

import { lstatSync, renameSync, type Stats, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { MAX_SOCKET_PATH } from '../config.js';
import { describeError, SluiceError } from '../errors.js';

/** How long a server at the path may take to answer before it counts as alive but busy, in ms. */
const PROBE_TIMEOUT = 1000;

/**
 * Makes the server listen at `path`.
 * @param mode permissions of the socket file
 * @returns a function that removes the socket file, if it is still this server's
 * @throws SluiceError `SOCKET_PATH_INVALID`, `ADDRESS_IN_USE`, `LISTEN_FAILED`
 */
export async function listenAtPath(
  server: Server,
  path: string,
  backlog: number,
  mode: number,
): Promise<() => void> {
  await refuseUnlessFree(path);
  // Node removes the path it listened on when it closes; that is this name, not a successor's socket.
  const temporary = join(dirname(path), `.${process.pid.toString(36)}`);
  if (Buffer.byteLength(temporary) > MAX_SOCKET_PATH) {
    throw new SluiceError('SOCKET_PATH_INVALID', `${path}: the name of its folder is too long`);
  }
  await listen(server, temporary, backlog, mode);
  try {
    renameSync(temporary, path);
  } catch (cause) {
    server.close();
    throw new SluiceError('LISTEN_FAILED', `${path}: ${describeError(cause)}`, { cause });
  }
  const { ino, dev } = lstatSync(path);
  return () => {
    const found = statOf(path);
    if (found?.ino === ino && found.dev === dev) unlinkSync(path);
  };
}

async function refuseUnlessFree(path: string): Promise<void> {
  const found = statOf(path);
  if (found === undefined) return;
  if (!found.isSocket()) throw new SluiceError('SOCKET_PATH_INVALID', `${path} is there and is not a socket`);
  if (await isAlive(path)) throw new SluiceError('ADDRESS_IN_USE', path);
}

function statOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

/** Whether somebody listens at the path: anything but a refusal counts as somebody. */
function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    const settle = (alive: boolean) => {
      probe.destroy();
      resolve(alive);
    };
    probe.setTimeout(PROBE_TIMEOUT, () => settle(true));
    probe.once('connect', () => settle(true));
    probe.once('error', (error: NodeJS.ErrnoException) =>
      settle(!['ECONNREFUSED', 'ENOENT'].includes(error.code ?? '')),
    );
  });
}

function listen(server: Server, path: string, backlog: number, mode: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error) => reject(new SluiceError('LISTEN_FAILED', describeError(cause), { cause }));
    server.once('error', fail);
    // The socket file is made before listen() returns, so the mask is changed for that moment only.
    const before = process.umask(0o777 & ~mode);
    try {
      server.listen({ path, backlog }, () => {
        server.off('error', fail);
        resolve();
      });
    } finally {
      process.umask(before);
    }
  });
}
