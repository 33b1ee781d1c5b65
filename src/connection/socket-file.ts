// The socket file. A stale socket is replaced, a live one never. The new socket is created in a private folder, where no
// peer can reach it, and moved to its path once it listens and has its permissions. The umask, which belongs to the
// whole process, plays no part in this.

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
import type { Server } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { isListening, listenExclusively, lockPath, pathDigest } from '../config/unix-socket.js';
import { describeError, SluiceError } from '../errors.js';

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
  const unlock = await lockPath(absolute);
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
    await listenExclusively(server, temporary, backlog);
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
  return join(dirname(path), `.${pathDigest(path, 'base64url').slice(0, 4)}`, 's');
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

async function requireFree(path: string): Promise<void> {
  const found = statOf(path);
  if (found === undefined) return;
  if (!found.isSocket()) throw new SluiceError('SOCKET_PATH_INVALID', `${path} exists and is not a socket`);
  const user = process.geteuid?.();
  if (user !== undefined && user !== 0 && Number(found.uid) !== user) {
    throw new SluiceError('SOCKET_PATH_INVALID', `${path} belongs to another user`);
  }
  if (await isListening(path)) throw new SluiceError('ADDRESS_IN_USE', path);
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
