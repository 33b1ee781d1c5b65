// TLS for brokers that listen on TCP: for crawlers on hosts without a broker.

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer as createPlainServer, type Server, type Socket } from 'node:net';
import { createSecureContext, createServer, type SecureContextOptions } from 'node:tls';
import { requirePrivate } from '../config/private-file.js';
import { readConfiguration } from '../config/text-file.js';
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
  /** @param socket encrypted, unless the peer has connected to an inherited Unix socket */
  onConnection(socket: Socket): void;
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
   * Reads the files again.
   * @returns a function that uses them, for connections from now on
   * @throws SluiceError `CONFIG_UNREADABLE`
   */
  reread(): () => void;
  /** Disconnects the peers whose handshake is not complete. Call it when the server has closed. */
  endHandshakes(): void;
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
  // The sockets beneath those that encrypt, which have the same address.
  const handshakes = new Map<string, Socket>();
  encrypting.on('secureConnection', (socket) => {
    handshakes.delete(peerOf(socket));
    // Not before: a peer that disconnects during its handshake is to be closed.
    socket.allowHalfOpen = true;
    onConnection(socket);
  });
  encrypting.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    if (failures.take(encrypting)) onFailure(error, socket.remoteAddress);
    socket.destroy();
  });
  // Of an inherited socket, the kind is known once the server listens.
  let isUnix = false;
  const server = createPlainServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
    if (isUnix) return onConnection(socket);
    socket.allowHalfOpen = false;
    const peer = peerOf(socket);
    if (handshakes.size >= MAX_HANDSHAKES) return void socket.destroy();
    handshakes.set(peer, socket);
    socket.once('close', () => handshakes.delete(peer));
    encrypting.emit('connection', socket);
  });
  server.on('listening', () => {
    const address = server.address();
    isUnix = address === null || typeof address === 'string';
  });
  const reread = () => {
    const context = readContext(options);
    return () => encrypting.setSecureContext(context);
  };
  const endHandshakes = () => {
    // These did not fail.
    encrypting.removeAllListeners('tlsClientError');
    for (const socket of handshakes.values()) socket.destroy();
  };
  return { server, reread, endHandshakes };
}

function peerOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

/** @throws SluiceError `CONFIG_UNREADABLE` if OpenSSL cannot use the files */
function readContext({ cert, key, clientCa }: TlsFiles): SecureContextOptions {
  requirePrivate(key);
  const read = (path: string) => readConfiguration(path, () => readFileSync(path));
  const context = { cert: read(cert), key: read(key) };
  readConfiguration(`${cert}, ${key}`, () => createSecureContext(context));
  if (clientCa === undefined) return context;
  const ca = read(clientCa);
  // A context ignores what is no certificate here.
  readConfiguration(clientCa, () => new X509Certificate(ca));
  return { ...context, ca };
}
