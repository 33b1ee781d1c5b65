// How long the path of a Unix socket may be.

/** Longest path that fits `sockaddr_un` on Linux, in bytes. */
export const MAX_SOCKET_PATH = 107;

/** Whether the kernel takes a path of this length. */
export function fitsSocketPath(path: string): boolean {
  return Buffer.byteLength(path) <= MAX_SOCKET_PATH;
}
