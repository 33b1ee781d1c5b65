// Listening on a Unix socket, on TCP, or on an inherited socket.

import type { AddressInfo, Server } from 'node:net';
import type { AdminAddress } from '../config/addresses.js';
import type { ResolvedOptions } from '../config/config.js';
import { describeError, SluiceError } from '../errors.js';
import type { ServerAddress } from './server-events.js';
import { listenAtPath, type SocketFileOptions } from './socket-file.js';

/** An address, or the file descriptor of an inherited socket. */
export type ListenTarget = AdminAddress | { readonly fd: number };

export interface Listening {
  readonly address: ServerAddress;
  /** Removes the socket file if it exists and still belongs to this server. */
  readonly remove: () => void;
}

/**
 * Makes the broker's server listen at the configured address.
 * @throws SluiceError `ADDRESS_IN_USE`, `SOCKET_PATH_INVALID`, `LISTEN_FAILED`, `INVALID_OPTION`
 */
export async function listen(server: Server, options: ResolvedOptions): Promise<Listening> {
  const { socketPath, host, port = 0, listenFd } = options;
  if (socketPath !== undefined && listenFd === undefined) {
    return { address: socketPath, remove: await listenAt(server, { path: socketPath }, socketPath, options) };
  }
  const target = listenFd === undefined ? { host, port } : { fd: listenFd };
  const name = listenFd === undefined ? `${host}:${port}` : `fd ${listenFd}`;
  const remove = await listenAt(server, target, name, options);
  return { address: addressOf(server) ?? name, remove };
}

/**
 * Makes a server listen.
 * @param name of the target, for error messages; those for a Unix socket contain its path instead
 * @returns a function that removes the socket file if it exists and still belongs to this server. An inherited socket
 *   belongs to the process that created it, and is never removed.
 * @throws SluiceError `ADDRESS_IN_USE`, `SOCKET_PATH_INVALID`, `LISTEN_FAILED`, `INVALID_OPTION`
 */
export async function listenAt(
  server: Server,
  target: ListenTarget,
  name: string,
  options: SocketFileOptions,
): Promise<() => void> {
  if ('path' in target) return listenAtPath(server, target.path, options);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const code = cause.code === 'EADDRINUSE' ? 'ADDRESS_IN_USE' : 'LISTEN_FAILED';
      reject(new SluiceError(code, `${name}: ${describeError(cause)}`, { cause }));
    });
    server.listen({ ...target, backlog: options.backlog }, resolve);
  });
  server.removeAllListeners('error');
  return () => {};
}

function addressOf(server: Server): string | undefined {
  const bound = server.address() as AddressInfo | string | null;
  if (bound === null || typeof bound === 'string') return bound ?? undefined;
  return `${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`;
}
