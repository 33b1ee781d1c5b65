// Where the server listens: a Unix socket, TCP, or a socket that was inherited.

import type { AddressInfo, Server } from 'node:net';
import type { ResolvedOptions } from '../config/config.js';
import { describeError, SluiceError } from '../errors.js';
import type { ServerAddress } from './server-events.js';
import { listenAtPath } from './socket-file.js';

export interface Listening {
  readonly address: ServerAddress;
  /** Removes the socket file, where there is one and it is this server's. */
  readonly remove: () => void;
}

/**
 * Makes the server listen where the options say.
 * @throws SluiceError `ADDRESS_IN_USE`, `SOCKET_PATH_INVALID`, `LISTEN_FAILED`
 */
export async function listen(server: Server, options: ResolvedOptions): Promise<Listening> {
  const { socketPath, host, port, backlog, listenFd } = options;
  if (socketPath !== undefined && listenFd === undefined) {
    return { address: socketPath, remove: await listenAtPath(server, socketPath, options) };
  }
  const target = listenFd === undefined ? { host, port, backlog } : { fd: listenFd };
  const name = listenFd === undefined ? `${host}:${port}` : `fd ${listenFd}`;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const code = cause.code === 'EADDRINUSE' ? 'ADDRESS_IN_USE' : 'LISTEN_FAILED';
      reject(new SluiceError(code, `${name}: ${describeError(cause)}`, { cause }));
    });
    server.listen(target, () => resolve());
  });
  server.removeAllListeners('error');
  // An inherited socket is whoever made it's: it is never removed.
  return { address: addressOf(server) ?? name, remove: () => {} };
}

function addressOf(server: Server): string | undefined {
  const bound = server.address() as AddressInfo | string | null;
  if (bound === null || typeof bound === 'string') return bound ?? undefined;
  return `${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`;
}
