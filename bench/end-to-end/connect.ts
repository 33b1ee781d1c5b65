// Connects the load generators to a broker.

import { connect, type OnReadOpts, type Socket } from 'node:net';

/** The address of a broker. */
export interface Target {
  readonly socketPath: string;
  /** TCP port on 127.0.0.1, used instead of the socket. */
  readonly port?: number | undefined;
}

/** Delay before connecting again while the broker's backlog is full, in ms. */
const RETRY_DELAY_MS = 20;

/** Connects to a broker. Received bytes go to `onread`, if given. */
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
      await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY_MS));
    }
  }
}
