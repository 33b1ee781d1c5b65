// Makes an accepted socket read straight into a MessageBuffer's slab. Node has no public way to give
// an accepted socket a read buffer, so its handle is wrapped anew with the documented `onread` option.
// All that is not documented API is in this file; where it is missing, bytes are copied from 'data'.
// And keeps a write that fails from destroying the socket while there is something left to read.

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
 * @param onBytes called before the target gets what was read
 * @param isReading asked after each read: `false` stops reading until the socket is resumed
 * @returns the socket to use from now on; the given one must not be touched again
 */
export function attachSocket(
  accepted: Socket,
  target: ReadTarget,
  mode: 'slab' | 'copy',
  onBytes: () => void,
  isReading: () => boolean,
): Socket {
  const internals = accepted as unknown as SocketInternals;
  const handle = internals._handle;
  if (mode === 'copy' || typeof handle?.useUserBuffer !== 'function') {
    accepted.on('data', (bytes: Buffer) => {
      onBytes();
      target.write(bytes);
    });
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
        onBytes();
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

/** What a write fails with when the peer has gone, or reads no more. */
const GONE_CODES: ReadonlySet<string | undefined> = new Set(['EPIPE', 'ECONNRESET']);

/**
 * A stream whose write fails is destroyed, and with it all that the peer has sent before it left and that the
 * kernel still holds. So the stream is not told of it: only `onGone` is, once. Nothing is to be written after that.
 */
export function keepReadingAfterWriteError(socket: Socket, onGone: (code: string) => void): void {
  const { _write, _writev } = socket;
  let isGone = false;
  const guarded = (done: WriteDone): WriteDone => {
    return (error) => {
      const { code } = (error ?? {}) as NodeJS.ErrnoException;
      if (code === undefined || !GONE_CODES.has(code)) return done(error);
      if (!isGone) onGone(code);
      isGone = true;
      done();
    };
  };
  socket._write = (chunk, encoding, done) => _write.call(socket, chunk, encoding, guarded(done));
  socket._writev = (chunks, done) => _writev?.call(socket, chunks, guarded(done));
}

type WriteDone = (error?: Error | null) => void;
