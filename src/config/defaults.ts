// Default values and limits, for modules that do not load the zod schemas.

import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** The socket that the broker listens on, and clients connect to, by default. */
export const DEFAULT_SOCKET_PATH = join(process.env.XDG_RUNTIME_DIR || tmpdir(), 'sluice.sock');

/** The longest delay that Node timers support, in ms. */
export const MAX_TIMER = 2_147_483_647;

/** Longest path, in bytes, that fits into the system's `sockaddr_un`. */
export const MAX_SOCKET_PATH = process.platform === 'linux' ? 107 : 103;

/** Whether the path is short enough for the kernel. */
export function fitsSocketPath(path: string): boolean {
  return Buffer.byteLength(path) <= MAX_SOCKET_PATH;
}

/**
 * Makes a path absolute, unless only the relative one is short enough for the kernel, in a deep folder.
 * @param folder that a relative path is relative to
 */
export function absoluteSocketPath(folder: string, path: string): string {
  // An abstract socket has a name and no path.
  if (path.startsWith('\0')) return path;
  const absolute = resolve(folder, path);
  return fitsSocketPath(absolute) ? absolute : path;
}
