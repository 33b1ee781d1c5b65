// Unix sockets: whether one is in use, and listening on one without another process coming in between.

import { createHash } from 'node:crypto';
import { connect, createServer, type Server } from 'node:net';
import { relative } from 'node:path';
import { SluiceError } from '../errors.js';
import { fitsSocketPath } from './defaults.js';

/**
 * If a server at the path neither accepts nor rejects a connection within this time, it counts as live but busy. In ms.
 */
const PROBE_TIMEOUT = 1000;
/** How long to wait while another server is starting at the same path, and the polling interval, in ms. */
const LOCK_TIMEOUT = 3000;
const LOCK_INTERVAL = 20;

/** A name for a path that contains nothing of it. */
export function pathDigest(path: string, encoding: 'hex' | 'base64url'): string {
  return createHash('sha256').update(path).digest(encoding);
}

/**
 * Prevents two servers from checking the same path at the same time. The lock is an abstract socket, which the kernel
 * releases when the process exits. Only Linux has abstract sockets; on other systems there is no lock.
 * @returns a function that releases the lock
 * @throws SluiceError `ADDRESS_IN_USE` if another process does not release it within 3 s
 */
export async function lockPath(path: string): Promise<() => void> {
  if (process.platform !== 'linux') return () => {};
  const name = `\0sluice-${pathDigest(path, 'hex').slice(0, 32)}`;
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

/** Whether a server listens at the path. Every outcome but ECONNREFUSED and ENOENT counts as a live server. */
export function isListening(path: string): Promise<boolean> {
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

/** Makes a server listen at a path where no file is. @throws SluiceError `SOCKET_PATH_INVALID` */
export function listenExclusively(server: Server, path: string, backlog: number): Promise<void> {
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
