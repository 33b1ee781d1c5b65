// TLS for brokers that listen on TCP: for crawlers on hosts without a broker.

import { readFileSync } from 'node:fs';
import { createServer as createPlainServer, type Server } from 'node:net';
import { createServer, type SecureContextOptions, type TLSSocket } from 'node:tls';
import { requirePrivate } from '../config/private-file.js';
import { describeError, SluiceError } from '../errors.js';
import { SecondLimiter } from '../protocol/second-limiter.js';

/** Paths of PEM files. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  /** Authorities of the certificates that peers must present. If `undefined`, they need none. */
  readonly clientCa: string | undefined;
}

export interface TlsServerOptions extends TlsFiles {
  /** How long the handshake of a peer may take, in ms. */
  readonly handshakeTimeout: number;
  onConnection(socket: TLSSocket): void;
  /** A handshake has failed. Called at most 10 times per second. */
  onFailure(error: NodeJS.ErrnoException, address: string | undefined): void;
}

/** Peers whose handshake is not complete: more are disconnected, since anyone can begin one. */
const MAX_HANDSHAKES = 256;

/** Failures per second that are reported. */
const MAX_FAILURES = 10;

/** Accepts encrypted connections. */
export interface TlsServer {
  /** The one that listens. */
  readonly server: Server;
  /**
   * Reads the files again, for connections from now on.
   * @throws SluiceError `CONFIG_UNREADABLE`; nothing is changed then
   */
  reload(): void;
}

/** @throws SluiceError `CONFIG_UNREADABLE` */
export function createTlsServer(options: TlsServerOptions): TlsServer {
  const { clientCa, handshakeTimeout, onConnection, onFailure } = options;
  // It does not listen itself, so that connections can be closed before it takes them.
  const encrypting = createServer({
    ...readContext(options),
    requestCert: clientCa !== undefined,
    rejectUnauthorized: clientCa !== undefined,
    handshakeTimeout,
    minVersion: 'TLSv1.2',
  });
  const failures = new SecondLimiter<object>(MAX_FAILURES);
  // Each handshake ends with one of these events.
  let handshakes = 0;
  encrypting.on('secureConnection', (socket) => {
    handshakes--;
    // Not before: a peer that disconnects during its handshake is to be closed.
    socket.allowHalfOpen = true;
    onConnection(socket);
  });
  encrypting.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    handshakes--;
    if (failures.take(encrypting)) onFailure(error, socket.remoteAddress);
    socket.destroy();
  });
  const server = createPlainServer((socket) => {
    if (handshakes >= MAX_HANDSHAKES) return void socket.destroy();
    handshakes++;
    encrypting.emit('connection', socket);
  });
  return { server, reload: () => encrypting.setSecureContext(readContext(options)) };
}

function readContext({ cert, key, clientCa }: TlsFiles): SecureContextOptions {
  requirePrivate(key);
  return {
    cert: readPem(cert),
    key: readPem(key),
    ...(clientCa === undefined ? {} : { ca: readPem(clientCa) }),
  };
}

function readPem(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new SluiceError('CONFIG_UNREADABLE', `${path}: ${describeError(cause)}`, { cause });
  }
}
