// The socket's place in the file system. A stale socket is replaced, a live one never; the new one
// appears under its name only when it listens, and has its final permissions from the first instant.

import { createHash } from 'node:crypto';
import { chownSync, lstatSync, readFileSync, renameSync, type Stats, statSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { fitsSocketPath } from '../config/addresses.js';
import { describeError, SluiceError } from '../errors.js';

/** How long a server at the path may take to answer before it counts as alive but busy, in ms. */
const PROBE_TIMEOUT = 1000;
/** How long another server that is just starting at the path is waited for, and how often to look, in ms. */
const LOCK_TIMEOUT = 3000;
const LOCK_INTERVAL = 20;
/** Permission bits of a folder. */
const [STICKY, WRITABLE_BY_ALL] = [0o1000, 0o002];

export interface SocketFileOptions {
  readonly backlog: number;
  /** Permissions of the socket file, octal. */
  readonly socketMode: string;
  /** Name or number of the group that owns the file. */
  readonly socketGroup?: string | undefined;
}

/**
 * Makes the server listen at `path`.
 * @returns a function that removes the socket file, if it is still this server's
 * @throws SluiceError `SOCKET_PATH_INVALID`, `ADDRESS_IN_USE`, `LISTEN_FAILED`, `INVALID_OPTION`
 */
export async function listenAtPath(
  server: Server,
  path: string,
  options: SocketFileOptions,
): Promise<() => void> {
  const group = options.socketGroup === undefined ? undefined : groupId(options.socketGroup);
  requireSafeFolder(path);
  const unlock = await lock(path);
  try {
    return await takePath(server, path, options, group);
  } finally {
    unlock();
  }
}

async function takePath(
  server: Server,
  path: string,
  { backlog, socketMode }: SocketFileOptions,
  group: number | undefined,
): Promise<() => void> {
  await requireFree(path);
  // Node removes the path it listened on when it closes; that is this name, not a successor's socket.
  const temporary = temporaryName(path);
  if (!fitsSocketPath(temporary)) {
    throw new SluiceError('SOCKET_PATH_INVALID', `${path}: the name of its folder is too long`);
  }
  // Left over from a start that was killed.
  await requireFree(temporary);
  if (statOf(temporary) !== undefined) unlinkSync(temporary);
  try {
    await listen(server, temporary, backlog, Number.parseInt(socketMode, 8));
    if (group !== undefined) chownSync(temporary, process.geteuid?.() ?? 0, group);
    renameSync(temporary, path);
  } catch (cause) {
    server.close();
    // Nobody but this file knows of the other name.
    const reason = describeError(cause).replaceAll(temporary, path);
    throw new SluiceError('LISTEN_FAILED', reason, { cause });
  }
  const { ino, dev } = lstatSync(path);
  return () => {
    const found = statOf(path);
    if (found?.ino === ino && found.dev === dev) unlinkSync(path);
  };
}

/** Where the socket for a path is made: beside it, under a name that no other path has, and short as paths must be. */
export function temporaryName(path: string): string {
  return join(dirname(path), `.${digest(path, 'base64url').slice(0, 6)}`);
}

function digest(path: string, encoding: 'hex' | 'base64url'): string {
  return createHash('sha256').update(resolve(path)).digest(encoding);
}

async function requireFree(path: string): Promise<void> {
  const found = statOf(path);
  if (found === undefined) return;
  if (!found.isSocket()) throw new SluiceError('SOCKET_PATH_INVALID', `${path} is there and is not a socket`);
  const user = process.geteuid?.();
  if (user !== undefined && user !== 0 && found.uid !== user) {
    throw new SluiceError('SOCKET_PATH_INVALID', `${path} is another user's`);
  }
  if (await isAlive(path)) throw new SluiceError('ADDRESS_IN_USE', path);
}

/** In a folder that everybody may write to, anybody could put his own socket in the place of this one. */
function requireSafeFolder(path: string): void {
  const mode = statSync(dirname(resolve(path)), { throwIfNoEntry: false })?.mode;
  // Said here: Node says that permission is denied.
  if (mode === undefined) throw new SluiceError('LISTEN_FAILED', `${path}: its folder does not exist`);
  if ((mode & WRITABLE_BY_ALL) !== 0 && (mode & STICKY) === 0) {
    throw new SluiceError(
      'SOCKET_PATH_INVALID',
      `${path}: everybody may write to its folder; chmod +t or o-w it`,
    );
  }
}

/**
 * Keeps two servers from looking at one path at the same time: a name in the kernel, which is gone with the
 * process. Only Linux has such names; elsewhere there is no lock.
 * @returns a function that lets go
 */
async function lock(path: string): Promise<() => void> {
  if (process.platform !== 'linux') return () => {};
  const name = `\0sluice-${digest(path, 'hex').slice(0, 32)}`;
  const startedAt = performance.now();
  for (;;) {
    const server = createServer((socket) => socket.destroy());
    const isTaken = await new Promise<boolean>((done) => {
      server.once('error', () => done(false));
      server.listen(name, () => done(true));
    });
    if (isTaken) return () => server.close();
    if (performance.now() - startedAt > LOCK_TIMEOUT) throw new SluiceError('ADDRESS_IN_USE', path);
    await new Promise((done) => setTimeout(done, LOCK_INTERVAL));
  }
}

/** The number of a group, as /etc/group has it. */
function groupId(group: string): number {
  if (/^\d+$/.test(group)) return Number(group);
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${group}:`));
  const id = line?.split(':')[2];
  if (id === undefined) throw new SluiceError('INVALID_OPTION', `socketGroup: there is no group ${group}`);
  return Number(id);
}

function statOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

/** Whether somebody listens at the path: anything but a rejection counts as somebody. */
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
    server.once('error', reject);
    // The socket file is made before listen() returns, so the mask is changed for that moment only.
    const before = process.umask(0o777 & ~mode);
    try {
      server.listen({ path, backlog }, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(before);
    }
  });
}
