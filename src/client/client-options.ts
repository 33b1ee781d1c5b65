// What a client is made with, and what is taken where nothing is said.

import { DEFAULT_SOCKET_PATH, MAX_TIMER } from '../config/defaults.js';
import { SluiceError } from '../errors.js';
import type { MessageInputMap } from '../messages/messages.js';
import type { BackoffOptions } from './backoff.js';
import type { BrokerAddress } from './client-socket.js';
import type { HeartbeatOptions } from './heartbeats.js';
import { checkDelay, checkTimeout } from './timeouts.js';

/** How a client comes back after it has lost its connection. */
export interface ReconnectOptions {
  /** The longest that the first attempt waits, in ms; default 100. The limit doubles with each attempt. */
  readonly initialDelay?: number | undefined;
  /** The longest that any attempt waits, in ms; default 10,000. */
  readonly maxDelay?: number | undefined;
  /** How many attempts in a row may fail before the client gives up; default `Infinity`. */
  readonly retries?: number | undefined;
}

/** Options of a client; all may be left out. */
export interface ClientOptions {
  /** Unix socket of the broker. Default, when there is no `port` either: the broker's own default. */
  readonly socketPath?: string | undefined;
  /** TCP address of the broker, where there is no `socketPath`; default `127.0.0.1`. */
  readonly host?: string | undefined;
  /** From 1 to 65,535. */
  readonly port?: number | undefined;
  /** What to say in `hello`; without it, none is sent and the broker takes the peer for a crawler. */
  readonly hello?: MessageInputMap['hello']['data'] | undefined;
  /** Sends heartbeats by itself for as long as there is a connection; default: none are sent. */
  readonly heartbeat?: HeartbeatOptions | undefined;
  /** How to reconnect; `false`: not at all. */
  readonly reconnect?: ReconnectOptions | false | undefined;
  /** Bytes of published messages that may wait for the broker to confirm them; default 16 MiB. */
  readonly maxOutboxBytes?: number | undefined;
  /**
   * ms that connecting, `hello`, `subscribe`, `requestJobs` and the flush of `close` may take; default 10,000. `Infinity`:
   * no limit. Here as in all times, more than 2,147,483,647 is rejected: no timer waits so long.
   */
  readonly requestTimeout?: number | undefined;
  /**
   * ms without a byte from the broker after which the client pings it, or up to a fifth later; default 15,000. 0: never.
   * While the client itself does not read, because a loop over a subscription is behind, nothing is counted. Until the
   * broker has answered `hello`, `requestTimeout` is the limit.
   */
  readonly pingInterval?: number | undefined;
  /**
   * ms that may pass after that ping until anything is received; default 10,000. Then the connection counts as lost: it is
   * closed with `CONNECTION_CLOSED`, and the client reconnects. Time for which the event loop stood still is not counted.
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

/**
 * Fills in the defaults.
 * @throws SluiceError `INVALID_OPTION`
 */
export function resolveClientOptions(options: ClientOptions): ResolvedClientOptions {
  const { socketPath, host = '127.0.0.1', port, hello, heartbeat, reconnect = {} } = options;
  const { maxOutboxBytes = 16 * 1024 * 1024, requestTimeout = 10_000 } = options;
  const { pingInterval = 15_000, pingTimeout = 10_000 } = options;
  const { initialDelay = 100, maxDelay = 10_000, retries = Number.POSITIVE_INFINITY } = reconnect || {};
  checkDelay('initialDelay', initialDelay);
  checkTimeout('maxDelay', maxDelay);
  checkTimeout('requestTimeout', requestTimeout);
  if (pingInterval !== 0) checkDelay('pingInterval', pingInterval);
  checkDelay('pingTimeout', pingTimeout);
  if (heartbeat?.interval !== undefined) checkDelay('heartbeat.interval', heartbeat.interval);
  if (!(maxOutboxBytes > 0)) throw new SluiceError('INVALID_OPTION', 'maxOutboxBytes: must be more than 0');
  if (!(retries >= 0)) throw new SluiceError('INVALID_OPTION', 'retries: must be 0 or more');
  if (port !== undefined && !(Number.isInteger(port) && port > 0 && port <= MAX_PORT)) {
    throw new SluiceError('INVALID_OPTION', `port: must be from 1 to ${MAX_PORT}`);
  }
  const path = socketPath ?? (port === undefined ? DEFAULT_SOCKET_PATH : undefined);
  return Object.freeze({
    address: { socketPath: path, host, port: port ?? 0 },
    hello,
    heartbeat,
    reconnect:
      reconnect === false ? undefined : { initialDelay, maxDelay: Math.min(maxDelay, MAX_TIMER), retries },
    maxOutboxBytes,
    requestTimeout,
    pingInterval,
    pingTimeout,
  });
}
