// The socket file. A stale socket is replaced, a live one never. The new socket is created in a private folder, where no
// peer can reach it, and moved to its path once it listens and has its permissions. The umask, which belongs to the
// whole process, plays no part in this.

import { createHash } from 'node:crypto';
import {
  type BigIntStats,
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  statSync,
  unlinkSync,
  utimesSync,
} from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { dirname, join, relative, resolve } from 'node:path';
import { fitsSocketPath } from '../config/defaults.js';
import { describeError, SluiceError } from '../errors.js';

/**
 * If a server at the path neither accepts nor rejects a connection within this time, it counts as live but busy. In ms.
 */
const PROBE_TIMEOUT = 1000;
/** How long to wait while another server is starting at the same path, and the polling interval, in ms. */
const LOCK_TIMEOUT = 3000;
const LOCK_INTERVAL = 20;
/** Permission bits. */
const [STICKY, WRITABLE_BY_ALL] = [0o1000, 0o002];
/**
 * systemd-tmpfiles removes old sockets from folders for temporary files, unless their path is the one that they were
 * created at, or they have the sticky bit (XDG Base Directory Specification). Other systems do not allow it for a file.
 */
const KEEP = process.platform === 'linux' ? STICKY : 0;
/** Other programs that clean such folders go by the age of a file: it is renewed after this time, in ms. */
const TOUCH_INTERVAL = 3_600_000;

export interface SocketFileOptions {
  readonly backlog: number;
  /** Permissions of the socket file, octal. */
  readonly socketMode: string;
  /** Name or numeric id of the group that owns the file. */
  readonly socketGroup?: string | undefined;
}

/** A socket file that was created here. */
export class SocketFile {
  /** Absolute, so that it stays valid if the process changes its working directory. */
  readonly #path: string;
  /** The file cannot get the identity of another one while its socket is open. */
  readonly #identity: Pick<BigIntStats, 'dev' | 'ino'>;
  #touchedAt = performance.now();

  constructor(path: string, identity: Pick<BigIntStats, 'dev' | 'ino'>) {
    this.#path = path;
    this.#identity = identity;
  }

  /** Whether the file is still at its path, and so whether peers can connect. */
  get isInPlace(): boolean {
    const found = statOf(this.#path);
    return found?.ino === this.#identity.ino && found.dev === this.#identity.dev;
  }

  /** Renews the age of the file, at most once per hour. */
  touch(): void {
    const now = performance.now();
    if (now - this.#touchedAt < TOUCH_INTERVAL) return;
    this.#touchedAt = now;
    const date = new Date();
    try {
      utimesSync(this.#path, date, date);
    } catch {
      // If the file is removed because of its age, it is made again.
    }
  }

  /** Removes the file, unless another one is at its path. */
  remove(): void {
    if (this.isInPlace) unlinkSync(this.#path);
  }
}

/**
 * Makes the server listen at `path`.
 * @throws SluiceError `SOCKET_PATH_INVALID`, `ADDRESS_IN_USE`, `LISTEN_FAILED`, `INVALID_OPTION`
 */
export async function listenAtPath(
  server: Server,
  path: string,
  options: SocketFileOptions,
): Promise<SocketFile> {
  const absolute = resolve(path);
  const group = options.socketGroup === undefined ? undefined : groupId(options.socketGroup);
  requireSafeFolder(absolute);
  const unlock = await lock(absolute);
  try {
    await requireFree(absolute);
    return await createSocket(server, absolute, options, group);
  } finally {
    unlock();
  }
}

async function createSocket(
  server: Server,
  path: string,
  { backlog, socketMode }: SocketFileOptions,
  group: number | undefined,
): Promise<SocketFile> {
  const temporary = temporaryName(path);
  await removeLeftOver(temporary);
  const folder = dirname(temporary);
  try {
    mkdirSync(folder, 0o700);
  } catch (cause) {
    throw new SluiceError(
      'LISTEN_FAILED',
      `${path}: a folder beside it cannot be created: ${describeError(cause)}`,
      {
        cause,
      },
    );
  }
  try {
    // On close, Node removes the path that it listened on: the temporary name, so never a successor's socket.
    await listen(server, temporary, backlog);
    if (group !== undefined) chownSync(temporary, process.geteuid?.() ?? 0, group);
    chmodSync(temporary, Number.parseInt(socketMode, 8) | KEEP);
    const file = new SocketFile(path, lstatSync(temporary, { bigint: true }));
    renameSync(temporary, path);
    return file;
  } catch (cause) {
    server.close();
    if (cause instanceof SluiceError) throw cause;
    // The temporary name would mean nothing to the user.
    const reason = describeError(cause).replaceAll(temporary, path);
    throw new SluiceError('LISTEN_FAILED', reason, { cause });
  } finally {
    removeFolder(folder);
  }
}

/**
 * The name under which the socket for an absolute path is created, in a private folder. The folder is beside the path,
 * unique to it, and has a short name, because the length of socket paths is limited.
 */
export function temporaryName(path: string): string {
  return join(dirname(path), `.${digest(path, 'base64url').slice(0, 4)}`, 's');
}

/** Removes what a start that was killed has left behind. */
async function removeLeftOver(temporary: string): Promise<void> {
  const folder = dirname(temporary);
  const found = statOf(folder);
  if (found === undefined) return;
  if (!found.isDirectory() || Number(found.uid) !== process.geteuid?.()) {
    throw new SluiceError('SOCKET_PATH_INVALID', `${folder} exists; the broker needs this name for a moment`);
  }
  await requireFree(temporary);
  if (statOf(temporary) !== undefined) unlinkSync(temporary);
  removeFolder(folder);
}

function removeFolder(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Does no harm; the next start removes it or reports it.
  }
}

function digest(path: string, encoding: 'hex' | 'base64url'): string {
  return createHash('sha256').update(path).digest(encoding);
}

async function requireFree(path: string): Promise<void> {
  const found = statOf(path);
  if (found === undefined) return;
  if (!found.isSocket()) throw new SluiceError('SOCKET_PATH_INVALID', `${path} exists and is not a socket`);
  const user = process.geteuid?.();
  if (user !== undefined && user !== 0 && Number(found.uid) !== user) {
    throw new SluiceError('SOCKET_PATH_INVALID', `${path} belongs to another user`);
  }
  if (await isAlive(path)) throw new SluiceError('ADDRESS_IN_USE', path);
}

/** In a world-writable folder without the sticky bit, any user could replace the socket with their own. */
function requireSafeFolder(path: string): void {
  const mode = statSync(dirname(path), { throwIfNoEntry: false })?.mode;
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
      // Exclusive: in a worker of node:cluster, the primary would otherwise listen for all workers at once.
      server.listen({ path: name, exclusive: true }, () => done(true));
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

/**
 * The status of a file. With 64-bit numbers: after lstatSync of a socket with doubles, Node 20 no longer resolves the links
 * of packages that it loads later.
 */
function statOf(path: string): BigIntStats | undefined {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false });
}

/** Whether a server listens at the path. Every outcome but ECONNREFUSED and ENOENT counts as a live server. */
function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(addressable(path));
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

function listen(server: Server, path: string, backlog: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // Exclusive: in a worker of node:cluster, the primary would otherwise listen.
    server.listen({ path: addressable(path), backlog, exclusive: true }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/**
 * A name of the file that fits into a socket address: the absolute path or, if that is too long, the path from the
 * working directory.
 * @throws SluiceError `SOCKET_PATH_INVALID` if both are too long
 */
function addressable(path: string): string {
  const name = fitsSocketPath(path) ? path : relative(process.cwd(), path);
  if (fitsSocketPath(name)) return name;
  throw new SluiceError('SOCKET_PATH_INVALID', `${path}: the path of its folder is too long`);
}
