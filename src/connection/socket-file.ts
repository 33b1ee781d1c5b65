// The socket file. A stale socket is replaced, a live one never. The new socket appears under its name only once it
// listens, and has its final permissions from the start.

import { createHash } from 'node:crypto';
import { chownSync, lstatSync, readFileSync, renameSync, type Stats, statSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { fitsSocketPath } from '../config/addresses.js';
import { describeError, SluiceError } from '../errors.js';

/**
 * If a server at the path neither accepts nor rejects a connection within this time, it counts as live but busy. In ms.
 */
const PROBE_TIMEOUT = 1000;
/** How long to wait while another server is starting at the same path, and the polling interval, in ms. */
const LOCK_TIMEOUT = 3000;
const LOCK_INTERVAL = 20;
/** Permission bits of a folder. */
const [STICKY, WRITABLE_BY_ALL] = [0o1000, 0o002];

export interface SocketFileOptions {
  readonly backlog: number;
  /** Permissions of the socket file, octal. */
  readonly socketMode: string;
  /** Name or numeric id of the group that owns the file. */
  readonly socketGroup?: string | undefined;
}

/**
 * Makes the server listen at `path`.
 * @returns a function that removes the socket file if it still belongs to this server
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
    return await replaceSocket(server, path, options, group);
  } finally {
    unlock();
  }
}

async function replaceSocket(
  server: Server,
  path: string,
  { backlog, socketMode }: SocketFileOptions,
  group: number | undefined,
): Promise<() => void> {
  await requireFree(path);
  // On close, Node removes the path that it listened on: the temporary name, so never a successor's socket.
  const temporary = temporaryName(path);
  if (!fitsSocketPath(temporary)) {
    throw new SluiceError('SOCKET_PATH_INVALID', `${path}: the path of its folder is too long`);
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
    // The temporary name would mean nothing to the user.
    const reason = describeError(cause).replaceAll(temporary, path);
    throw new SluiceError('LISTEN_FAILED', reason, { cause });
  }
  const { ino, dev } = lstatSync(path);
  return () => {
    const found = statOf(path);
    if (found?.ino === ino && found.dev === dev) unlinkSync(path);
  };
}

/**
 * The temporary name under which the socket for a path is created: in the same folder, unique to the path, and short,
 * because the length of socket paths is limited.
 */
export function temporaryName(path: string): string {
  return join(dirname(path), `.${digest(path, 'base64url').slice(0, 6)}`);
}

function digest(path: string, encoding: 'hex' | 'base64url'): string {
  return createHash('sha256').update(resolve(path)).digest(encoding);
}

async function requireFree(path: string): Promise<void> {
  const found = statOf(path);
  if (found === undefined) return;
  if (!found.isSocket()) throw new SluiceError('SOCKET_PATH_INVALID', `${path} exists and is not a socket`);
  const user = process.geteuid?.();
  if (user !== undefined && user !== 0 && found.uid !== user) {
    throw new SluiceError('SOCKET_PATH_INVALID', `${path} belongs to another user`);
  }
  if (await isAlive(path)) throw new SluiceError('ADDRESS_IN_USE', path);
}

/** In a world-writable folder without the sticky bit, any user could replace the socket with their own. */
function requireSafeFolder(path: string): void {
  const mode = statSync(dirname(resolve(path)), { throwIfNoEntry: false })?.mode;
  // Checked here because Node would report EACCES.
  if (mode === undefined) throw new SluiceError('LISTEN_FAILED', `${path}: its folder does not exist`);
  if ((mode & WRITABLE_BY_ALL) !== 0 && (mode & STICKY) === 0) {
    throw new SluiceError(
      'SOCKET_PATH_INVALID',
      `${path}: its folder is world-writable; run chmod +t or chmod o-w on it`,
    );
  }
}

/**
 * Prevents two servers from checking the same path at the same time. The lock is an abstract socket, which the kernel
 * releases when the process exits. Only Linux has abstract sockets; on other systems there is no lock.
 * @returns a function that releases the lock
 */
async function lock(path: string): Promise<() => void> {
  if (process.platform !== 'linux') return () => {};
  const name = `\0sluice-${digest(path, 'hex').slice(0, 32)}`;
  const startedAt = performance.now();
  for (;;) {
    const server = createServer((socket) => socket.destroy());
    const isLocked = await new Promise<boolean>((done) => {
      server.once('error', () => done(false));
      server.listen(name, () => done(true));
    });
    if (isLocked) return () => server.close();
    if (performance.now() - startedAt > LOCK_TIMEOUT) throw new SluiceError('ADDRESS_IN_USE', path);
    await new Promise((done) => setTimeout(done, LOCK_INTERVAL));
  }
}

/** The numeric id of a group, from /etc/group. */
function groupId(group: string): number {
  if (/^\d+$/.test(group)) return Number(group);
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${group}:`));
  const id = line?.split(':')[2];
  if (id === undefined) throw new SluiceError('INVALID_OPTION', `socketGroup: group ${group} does not exist`);
  return Number(id);
}

function statOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

/** Whether a server listens at the path. Every outcome but ECONNREFUSED and ENOENT counts as a live server. */
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
    // The socket file is created before listen() returns, so the umask needs to be changed only until then.
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
