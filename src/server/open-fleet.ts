// Joins a broker to a fleet, as its options say. Loaded only if there is one.

import { hostname } from 'node:os';
import type { ResolvedOptions } from '../config/config.js';
import { requirePrivate } from '../config/private-file.js';
import { Gatherer } from '../delivery/gatherer.js';
import { Dispatcher } from '../dispatch/dispatcher.js';
import { describeError, SluiceError } from '../errors.js';
import { Fleet, type FleetListener } from '../fleet/fleet.js';
import { FleetValidation } from '../fleet/fleet-validation.js';
import { NatsEngine } from '../fleet/nats-engine.js';
import type { MessageLog } from '../log/message-log.js';
import { CopyPool } from '../memory/copy-pool.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { SERVER_VERSION } from '../version.js';
import { compileModules, parserSettings } from '../worker/create-parser.js';
import { createInlineValidation } from '../worker/inline-validation.js';
import { createLocalValidation } from '../worker/local-validation.js';

export interface OpenFleetListener extends FleetListener {
  /** What the other hosts learn of this one. */
  describe(): { readonly uptime: number; readonly connections: number; readonly rate: number };
  onWorkerError(error: unknown): void;
  /** What the user should know, for the log. */
  onInfo(details: Record<string, unknown>, message: string): void;
  onWarning(details: Record<string, unknown>, message: string): void;
}

/**
 * @param servers the option `fleet`
 * @param validatesLocally whether this thread validates messages, instead of a worker
 * @throws SluiceError `FLEET_CLIENT_MISSING`, `FLEET_HOST_IN_USE`, `CONFIG_UNREADABLE`
 */
export async function openFleet(
  servers: readonly string[],
  options: ResolvedOptions,
  log: MessageLog,
  registry: MessageRegistry,
  validatesLocally: boolean,
  listener: OpenFleetListener,
): Promise<Fleet> {
  const { fleetName, fleetCredentials, fleetMaxAge, fleetReplicas } = options;
  if (fleetCredentials !== undefined) requirePrivate(fleetCredentials);
  let hasJoined = false;
  const engine = await NatsEngine.load({
    servers,
    name: fleetName,
    credentials: fleetCredentials,
    tls: tlsOf(servers, options),
    storesMessages: options.fleetMode === 'messages',
    maxBytes: options.fleetMaxBytes ?? -1,
    maxAge: fleetMaxAge,
    replicas: fleetReplicas,
    onError: (cause) =>
      listener.onError(new SluiceError('FLEET_UNAVAILABLE', describeError(cause), { cause })),
    onStream: ({ name, replicas, isNew }) => {
      listener.onInfo(
        { stream: name, replicas },
        isNew ? 'the stream of the fleet was created' : 'joined the fleet',
      );
      if (replicas > 1 || hasJoined) return;
      hasJoined = true;
      listener.onWarning(
        { stream: name },
        'the stream has one replica, and JetStream syncs it every 2 minutes by default: after a loss, the hosts send the last 10 minutes again',
      );
    },
  });
  const host = options.fleetHost ?? defaultHost();
  let fleet: Fleet | undefined;
  const copies = new CopyPool(options.messageBufferSize * 2);
  const validation = new FleetValidation({
    dispatcher: dispatcherOf(options, log, registry, validatesLocally, listener),
    delimiter: options.messageDelimiter.charCodeAt(0),
    gatherer: new Gatherer(copies),
    copies,
    onRejected: (count) => fleet?.countRejected(count),
  });
  const delimiter = options.messageDelimiter.charCodeAt(0);
  engine.start();
  fleet = await Fleet.join({
    engine,
    host,
    log,
    registry,
    delimiter,
    validation,
    requestTimeout: options.fleetRequestTimeout,
    listener,
    describe: () => ({ version: SERVER_VERSION, ...listener.describe() }),
  });
  return fleet;
}

function tlsOf(servers: readonly string[], { fleetCa: ca, fleetCert: cert, fleetKey: key }: ResolvedOptions) {
  const isRequired = servers.some((address) => address.startsWith('tls:'));
  return isRequired || ca !== undefined || cert !== undefined ? { ca, cert, key } : undefined;
}

/** The host name. Other characters have a meaning in subjects. */
function defaultHost(): string {
  return (
    hostname()
      .replace(/[^\w-]/g, '-')
      .slice(0, 64) || 'host'
  );
}

/** Validates like the broker itself, except for the age of messages: theirs was checked when they were received. */
function dispatcherOf(
  options: ResolvedOptions,
  log: MessageLog,
  registry: MessageRegistry,
  validatesLocally: boolean,
  { onWorkerError, onWarning }: OpenFleetListener,
): Dispatcher {
  const { fingerprint } = registry;
  const anyAge = { ...options, maxMessageAge: 0, maxClockSkew: 0 };
  const settings = { ...parserSettings(anyAge, log.jobSeed), fingerprint };
  const modules = compileModules(registry, settings);
  const onUnavailable = (reason: string): void => onWarning({ reason }, 'validating without patterns');
  return new Dispatcher({
    ...options.workers,
    threads: 1,
    validationTimeout: options.validationTimeout,
    settings,
    modules,
    maxDetailedRejections: () => 0,
    createLocal: validatesLocally
      ? () => createLocalValidation(registry, settings, modules, onUnavailable)
      : undefined,
    createInline: () =>
      createInlineValidation(options.inlineBytes, registry, settings, modules, undefined, onUnavailable),
    onVerdict: () => {},
    onSettled: () => {},
    onWorkerError,
    onPatternsUnavailable: onUnavailable,
  });
}
