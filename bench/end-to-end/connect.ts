// How the load generators reach a broker.

import { connect, type OnReadOpts, type Socket } from 'node:net';

/** Where a broker listens. */
export interface Target {
  readonly socketPath: string;
  /** TCP port on 127.0.0.1, in place of the socket. */
  readonly port?: number | undefined;
}

/** How long to wait for a broker that has not accepted those before yet, in ms. */
const STALL_TIMEOUT_MS = 20;

/** Connects; bytes go to `onread`, where it is given. */
export async function open({ socketPath, port }: Target, onread?: OnReadOpts): Promise<Socket> {
  const target = port === undefined ? { path: socketPath } : { host: '127.0.0.1', port };
  for (;;) {
    try {
      return await new Promise<Socket>((resolve, reject) => {
        const socket = connect({ ...target, ...(onread === undefined ? {} : { onread }) }, () =>
          resolve(socket),
        );
        socket.once('error', reject);
      });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      await new Promise((resolve) => setTimeout(resolve, STALL_TIMEOUT_MS));
    }
  }
}
