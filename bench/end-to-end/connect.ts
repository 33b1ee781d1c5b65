// How the load generators reach a broker.

import { connect, type OnReadOpts, type Socket } from 'node:net';

/** Where a broker listens. */
export interface Target {
  readonly socketPath: string;
  /** TCP port on 127.0.0.1, in place of the socket. */
  readonly port?: number | undefined;
}

/** Connects; bytes go to `onread`, where it is given. */
export function open({ socketPath, port }: Target, onread?: OnReadOpts): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const target = port === undefined ? { path: socketPath } : { host: '127.0.0.1', port };
    const socket = connect({ ...target, ...(onread === undefined ? {} : { onread }) }, () => resolve(socket));
    socket.once('error', reject);
  });
}
