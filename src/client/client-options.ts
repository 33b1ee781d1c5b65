// Options of a client and their defaults.

import { randomUUID } from 'node:crypto';
import type { BackoffOptions } from '../backoff.js';
import { absoluteSocketPath, DEFAULT_SOCKET_PATH, MAX_TIMER } from '../config/defaults.js';
import { SluiceError } from '../errors.js';
import { requireKnownOptions } from '../known-options.js';
import type { MessageInputMap } from '../messages/messages.js';
import type { BrokerAddress, ClientTls } from './client-socket.js';
import type { HeartbeatOptions } from './heartbeats.js';
import { checkDelay, checkTimeout } from './timeouts.js';

/** How a client reconnects after it has lost its connection. */
export interface ReconnectOptions {
  /** Upper bound of the first delay, in ms; doubles with each attempt. Default: 100. */
  readonly initialDelay?: number | undefined;
  /** Upper bound of every delay, in ms. Default: 10,000. */
  readonly maxDelay?: number | undefined;
  /** Number of consecutive failed attempts before the client gives up. Default: `Infinity`. */
  readonly retries?: number | undefined;
}

/** Options of a client. All are optional. */
export interface ClientOptions {
  /** Unix socket of the broker. Default, unless `port` is set: the broker's default path. */
  readonly socketPath?: string | undefined;
  /** TCP host of the broker; needs `port`. Default: `127.0.0.1`. */
  readonly host?: string | undefined;
  /** TCP port of the broker, 1 to 65,535; not with `socketPath`. */
  readonly port?: number | undefined;
  /** Encrypts the TCP connection: `true`, or what it is verified with. Default: not encrypted. */
  readonly tls?: ClientTls | boolean | undefined;
  /** Data of the `hello` message. If omitted, none is sent, and the broker treats the client as a crawler. */
  readonly hello?: MessageInputMap['hello']['data'] | undefined;
  /** Sends heartbeats automatically while connected. If omitted, none are sent. */
  readonly heartbeat?: HeartbeatOptions | undefined;
  /** How to reconnect; `false`: never. */
  readonly reconnect?: ReconnectOptions | false | undefined;
  /** Maximum bytes of published messages that the broker has not confirmed. Default: 16 MiB. */
  readonly maxOutboxBytes?: number | undefined;
  /**
   * Timeout of connecting, `hello`, `subscribe`, `requestJobs` and the flush of `close`, in ms; `Infinity`: no limit.
   * Default: 10,000. As with all times, values above 2,147,483,647 are rejected: that is the longest timer.
   */
  readonly requestTimeout?: number | undefined;
  /**
   * The client pings the broker after receiving nothing for this time, in ms, or up to a fifth later; 0: never.
   * Default: 15,000. Time is not counted while the client has paused reading because a loop over a subscription is
   * behind. Until the broker has answered `hello`, `requestTimeout` applies.
   */
  readonly pingInterval?: number | undefined;
  /**
   * ms within which anything must be received after that ping. Default: 10,000. Otherwise the connection counts as
   * lost: it is closed with `CONNECTION_CLOSED`, and the client reconnects. Time while the event loop is blocked is
   * not counted.
   */
  readonly pingTimeout?: number | undefined;
}

/** Options of a client with every default filled in. */
export interface ResolvedClientOptions {
  readonly address: BrokerAddress;
  readonly hello: MessageInputMap['hello']['data'] | undefined;
  readonly heartbeat: HeartbeatOptions | undefined;
  readonly reconnect: (BackoffOptions & { readonly retries: number }) | undefined;
  readonly maxOutboxBytes: number;
  readonly requestTimeout: number;
  readonly pingInterval: number;
  readonly pingTimeout: number;
}

const MAX_PORT = 65_535;

const OPTIONS: Readonly<Record<keyof ClientOptions, true>> = {
  socketPath: true,
  host: true,
  port: true,
  tls: true,
  hello: true,
  heartbeat: true,
  reconnect: true,
  maxOutboxBytes: true,
  requestTimeout: true,
  pingInterval: true,
  pingTimeout: true,
};
const TLS_OPTIONS: Readonly<Record<keyof ClientTls, true>> = {
  ca: true,
  cert: true,
  key: true,
  serverName: true,
};
const HEARTBEAT_OPTIONS: Readonly<Record<keyof HeartbeatOptions, true>> = { interval: true, fields: true };
const RECONNECT_OPTIONS: Readonly<Record<keyof ReconnectOptions, true>> = {
  initialDelay: true,
  maxDelay: true,
  retries: true,
};

/**
 * Fills in the defaults.
 * @throws SluiceError `INVALID_OPTION`
 */
export function resolveClientOptions(options: ClientOptions): ResolvedClientOptions {
  requireKnownOptions(options, OPTIONS);
  const { socketPath, host, port, tls, hello, heartbeat, reconnect = {} } = options;
  const { maxOutboxBytes = 16 * 1024 * 1024, requestTimeout = 10_000 } = options;
  const { pingInterval = 15_000, pingTimeout = 10_000 } = options;
  const { initialDelay = 100, maxDelay = 10_000, retries = Number.POSITIVE_INFINITY } = reconnect || {};
  checkDelay('initialDelay', initialDelay);
  checkTimeout('maxDelay', maxDelay);
  checkTimeout('requestTimeout', requestTimeout);
  if (pingInterval !== 0) checkDelay('pingInterval', pingInterval);
  checkDelay('pingTimeout', pingTimeout);
  requireKnownOptions(reconnect || {}, RECONNECT_OPTIONS, 'reconnect.');
  if (heartbeat) checkHeartbeat(heartbeat);
  if (!(maxOutboxBytes > 0)) throw new SluiceError('INVALID_OPTION', 'maxOutboxBytes: must be more than 0');
  if (!(retries >= 0)) throw new SluiceError('INVALID_OPTION', 'retries: must be 0 or more');
  if (port !== undefined && !(Number.isInteger(port) && port > 0 && port <= MAX_PORT)) {
    throw new SluiceError('INVALID_OPTION', `port: must be from 1 to ${MAX_PORT}`);
  }
  if (port !== undefined && socketPath !== undefined)
    throw new SluiceError('INVALID_OPTION', 'port: cannot be combined with socketPath');
  if (host !== undefined && port === undefined) throw new SluiceError('INVALID_OPTION', 'host: needs port');
  const encryption = tls === true ? {} : tls || undefined;
  if (encryption !== undefined) requireKnownOptions(encryption, TLS_OPTIONS, 'tls.');
  if (encryption !== undefined && port === undefined)
    throw new SluiceError('INVALID_OPTION', 'tls: needs port, since Unix sockets are not encrypted');
  const path = socketPath ?? (port === undefined ? DEFAULT_SOCKET_PATH : undefined);
  return Object.freeze({
    // Absolute, so that the client can reconnect after a change of the working directory.
    address: {
      socketPath: path && absoluteSocketPath(process.cwd(), path),
      host: host ?? '127.0.0.1',
      port: port ?? 0,
      tls: encryption,
    },
    // So that a broker with a durable log knows what it has from earlier connections.
    hello: hello ? { session: randomUUID(), ...hello } : undefined,
    heartbeat: heartbeat ?? undefined,
    reconnect:
      reconnect === false ? undefined : { initialDelay, maxDelay: Math.min(maxDelay, MAX_TIMER), retries },
    maxOutboxBytes,
    requestTimeout,
    pingInterval,
    pingTimeout,
  });
}

function checkHeartbeat(heartbeat: HeartbeatOptions): void {
  requireKnownOptions(heartbeat, HEARTBEAT_OPTIONS, 'heartbeat.');
  if (heartbeat.interval !== undefined) checkDelay('heartbeat.interval', heartbeat.interval);
  if (typeof heartbeat.fields !== 'function')
    throw new SluiceError('INVALID_OPTION', 'heartbeat.fields: must be a function');
}
