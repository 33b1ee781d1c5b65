// Makes an accepted socket read straight into a MessageBuffer's slab. Node has no public way to give
// an accepted socket a read buffer, so its handle is wrapped anew with the documented `onread` option.
// All that is not documented API is in this file; where it is missing, bytes are copied from 'data'.

import { Socket, type SocketConstructorOpts } from 'node:net';

/** Where the bytes go: a MessageBuffer. */
export interface ReadTarget {
  writable(): Buffer;
  commit(length: number): void;
  write(bytes: Uint8Array): void;
}

/** The parts of an accepted socket that Node does not document. */
interface SocketInternals {
  _handle: { useUserBuffer?: unknown } | null;
  /** The server counts its sockets by this, and closes when the count is 0. */
  _server: unknown;
}

/**
 * Attaches an accepted socket, made with `pauseOnConnect`, to a target.
 * @param isReading asked after each read: `false` stops reading until the socket is resumed
 * @returns the socket to use from now on; the given one must not be touched again
 */
export function attachSocket(
  accepted: Socket,
  target: ReadTarget,
  mode: 'slab' | 'copy',
  isReading: () => boolean,
): Socket {
  const internals = accepted as unknown as SocketInternals;
  const handle = internals._handle;
  if (mode === 'copy' || typeof handle?.useUserBuffer !== 'function') {
    accepted.on('data', (bytes: Buffer) => target.write(bytes));
    return accepted.resume();
  }
  internals._handle = null;
  const options = {
    handle,
    allowHalfOpen: true,
    onread: {
      // A function is asked after each read for where the next one goes.
      buffer: () => target.writable(),
      callback(length: number) {
        target.commit(length);
        return isReading();
      },
    },
  };
  // The constructor's type knows neither `handle` nor `onread`; net.connect passes both through it.
  const socket = new Socket(options as SocketConstructorOpts);
  (socket as unknown as SocketInternals)._server = internals._server;
  internals._server = null;
  return socket.resume();
}
