// Makes an accepted socket read directly into a MessageBuffer's slab. Node has no public API to give an accepted socket
// a read buffer, so its handle is wrapped in a new socket with the documented `onread` option. All use of undocumented
// API is in this file; if that API is missing, bytes are copied from 'data' events. Also keeps a failed write from
// destroying the socket while there is data left to read.

import { Socket, type SocketConstructorOpts } from 'node:net';

/** The destination of the bytes: a MessageBuffer. */
export interface ReadTarget {
  writable(): Buffer;
  commit(length: number): void;
  write(bytes: Uint8Array): void;
}

/** The parts of an accepted socket that Node does not document. */
interface SocketInternals {
  _handle: {
    useUserBuffer?: unknown;
    /** Bytes passed to libuv that the kernel has not accepted. */
    readonly writeQueueSize?: number;
  } | null;
  /** The server counts its sockets through this field, and its close completes when the count is 0. */
  _server: unknown;
}

/**
 * Attaches an accepted socket, created with `pauseOnConnect`, to a target.
 * @param onBytes called before the bytes of a read are passed to the target
 * @param isReading called after each read: `false` stops reading until the socket is resumed
 * @returns the socket to use from now on; the accepted one must not be used again
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
  // What the kernel reads of an encrypted connection is not what its peer has sent.
  if (mode === 'copy' || 'encrypted' in accepted || typeof handle?.useUserBuffer !== 'function') {
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
      // Node calls this function after each read to get the buffer for the next one.
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

/** Bytes of the current write that the kernel has not accepted; 0 if that is not known, as with TLS. */
export function unwrittenBytes(socket: Socket): number {
  // Those of an encrypted connection are encrypted, and the kernel may have accepted a part of them.
  return 'encrypted' in socket ? 0 : queuedBytes(socket);
}

/** Decreases while the kernel accepts bytes of the current write. */
export function queuedBytes(socket: Socket): number {
  return (socket as unknown as SocketInternals)._handle?.writeQueueSize ?? 0;
}

/** Calls back when a socket is destroyed, before its handle is closed. */
export function beforeDestroy(socket: Socket, onDestroy: () => void): void {
  const { _destroy } = socket;
  socket._destroy = (error, done) => {
    onDestroy();
    _destroy.call(socket, error, done);
  };
}

/** Error codes of a write after the peer has disconnected or has stopped reading. */
const CLOSED_CODES: ReadonlySet<string | undefined> = new Set(['EPIPE', 'ECONNRESET']);

/**
 * Node destroys a stream when a write fails, and with it the data that the peer sent before it disconnected and that
 * the kernel still holds. So the error is hidden from the stream and reported to `onClosed`, once. The caller must not
 * write after that.
 * @param onClosed `isUnwritten`: whether the kernel has accepted nothing of the failed write
 */
export function keepReadingAfterWriteError(
  socket: Socket,
  onClosed: (code: string, isUnwritten: boolean) => void,
): void {
  const { _write, _writev } = socket;
  let isClosed = false;
  /** A write that fails before `_write` returns has failed as a whole. */
  let isStarting = false;
  const guarded = (done: WriteDone): WriteDone => {
    return (error) => {
      const { code } = (error ?? {}) as NodeJS.ErrnoException;
      if (code === undefined || !CLOSED_CODES.has(code)) return done(error);
      if (!isClosed) onClosed(code, isStarting);
      isClosed = true;
      done();
    };
  };
  socket._write = (chunk, encoding, done) => {
    isStarting = true;
    _write.call(socket, chunk, encoding, guarded(done));
    isStarting = false;
  };
  socket._writev = (chunks, done) => {
    isStarting = true;
    _writev?.call(socket, chunks, guarded(done));
    isStarting = false;
  };
}

type WriteDone = (error?: Error | null) => void;
