// All options, in one zod schema: the source of their types, defaults, environment variables, flags and help texts.
// Options are resolved once, then frozen.

import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import * as z from 'zod';
import { SluiceError } from '../errors.js';
import { unknownOption } from '../known-options.js';
import { isModuleUrl } from '../messages/module-url.js';
import {
  adminAddressFault,
  engineHost,
  isEngineAddress,
  isLoopback,
  parseAdminAddress,
} from './addresses.js';
import {
  absoluteSocketPath,
  DEFAULT_SOCKET_PATH,
  fitsSocketPath,
  MAX_SOCKET_PATH,
  MAX_TIMER,
} from './defaults.js';
import { size, time } from './quantities.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const SECOND = 1000;
const HOUR = 3600 * SECOND;

const milliseconds = () => time(0, MAX_TIMER);
const interval = () => time(1, MAX_TIMER);

/** Half of the cores for validation, but at least 2. The other half is left to the main thread and local peers. */
const DEFAULT_THREADS = Math.max(2, Math.floor(availableParallelism() / 2));

const workersSchema = z.strictObject({
  threads: z.number().int().min(1).max(64).default(DEFAULT_THREADS).meta({
    description:
      'maximum number of validation worker threads: one starts with the broker, others when messages wait for 100 ms and a core is left (default: half of the cores, at least 2)',
  }),
  concurrentTasksPerWorker: z
    .number()
    .int()
    .min(1)
    .max(16)
    .default(2)
    .meta({ description: 'maximum number of batches in flight per worker' }),
  maxBatchBytes: size(1, 16 * MiB)
    .default(1 * MiB)
    .meta({ description: 'batch size, in bytes, at which a batch is full' }),
  maxBatchMessages: z
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(16_384)
    .meta({ description: 'approximate number of messages at which a batch is full' }),
});

const tokenList = (role: string) =>
  z
    .array(z.string().min(16).max(1024))
    .readonly()
    .optional()
    .meta({
      description: `tokens that authenticate a peer as ${role}, 16 to 1024 characters each; comma-separated in the environment`,
      secret: true,
    });

export const authTokensSchema = z.strictObject({
  crawler: tokenList('crawler'),
  app: tokenList('app'),
  monitor: tokenList('monitor'),
  admin: tokenList('admin').meta({
    description:
      'tokens for actions in the admin server, such as closing a connection, 16 to 1024 characters each; not a role of peers; comma-separated in the environment',
    secret: true,
  }),
});

const authSchema = z.strictObject({
  tokens: authTokensSchema.prefault({}),
  file: z.string().min(1).optional().meta({
    description: 'JSON file with lists of tokens by role, accessible only to its owner',
    path: true,
  }),
});

/** Part of a subject of NATS. */
const subjectToken = () =>
  z.string().regex(/^[\w-]{1,64}$/, { error: 'must consist of 1 to 64 letters, digits, _ and -' });

/** The options by group: the heading of each group, and its options. */
const GROUPS = {
  Listening: {
    socketPath: z
      .string()
      .min(1)
      .refine(fitsSocketPath, { error: `must be at most ${MAX_SOCKET_PATH} bytes long` })
      .optional()
      .meta({
        description: `path of the Unix socket to listen on, at most ${MAX_SOCKET_PATH} bytes (default: ${DEFAULT_SOCKET_PATH}, unless port is set)`,
        path: true,
      }),
    host: z
      .string()
      .min(1)
      .default('127.0.0.1')
      .meta({ description: 'TCP address to listen on; without port, it has no effect' }),
    port: z
      .number()
      .int()
      .min(0)
      .max(65_535)
      .optional()
      .meta({ description: 'TCP port to listen on instead of a Unix socket; 0: any free port' }),
    tlsCert: z.string().min(1).optional().meta({
      description:
        'PEM file with a certificate: peers on TCP have to use TLS; needs tlsKey, and port or inherited sockets',
      path: true,
    }),
    tlsKey: z
      .string()
      .min(1)
      .optional()
      .meta({ description: 'PEM file with the key of tlsCert, accessible only to its owner', path: true }),
    tlsClientCa: z.string().min(1).optional().meta({
      description:
        'PEM file with authorities: peers on TCP have to present a certificate of one of them; needs tlsCert',
      path: true,
    }),
    backlog: z
      .number()
      .int()
      .min(1)
      .max(65_535)
      .default(511)
      .meta({ description: 'maximum number of connections waiting to be accepted' }),
    socketMode: z
      .string()
      .regex(/^0?[0-7]{3}$/, { error: 'must be an octal mode such as 0600' })
      .default('0600')
      .meta({ description: 'permissions of the Unix socket, octal' }),
    socketGroup: z
      .string()
      .regex(/^[\w.-]{1,64}$/, { error: 'must be a name or number of a group' })
      .optional()
      .meta({ description: 'group that owns the Unix socket; give it access with socketMode 0660' }),
    listenFd: z.number().int().min(3).optional().meta({
      description:
        'file descriptor of an inherited listening socket, as passed by systemd (default: LISTEN_FDS)',
    }),
  },
  Connections: {
    maxConnections: z
      .number()
      .int()
      .min(1)
      .max(1_000_000)
      .default(1024)
      .meta({ description: 'maximum number of connections; further ones are rejected' }),
    connectionTimeout: milliseconds()
      .default(300 * SECOND)
      .meta({
        description:
          'ms without a received byte after which a connection without subscriptions is closed; 0: never',
      }),
    cleanupInterval: interval()
      .default(60 * SECOND)
      .meta({ description: 'ms between clean-ups of the connection pool' }),
    receive: z
      .enum(['slab', 'copy'])
      .default('slab')
      .meta({ description: 'slab: the kernel reads into shared memory; copy: through Node streams' }),
    messageBufferSize: size(16 * KiB, 16 * MiB)
      .default(512 * KiB)
      .meta({ description: 'size, in bytes, of the largest slab that a busy connection reads into' }),
  },
  'Messages and framing': {
    messageDelimiter: z
      .string()
      .refine((text) => text.length === 1 && text.charCodeAt(0) < 0x20, {
        error: 'must be one control character',
      })
      .default('\n')
      .meta({ description: 'control character that ends a message' }),
    framing: z
      .enum(['auto', 'ndjson'])
      .default('auto')
      .meta({ description: 'auto also accepts objects without a delimiter between them; ndjson does not' }),
    maxMessageSize: size(64, 256 * MiB)
      .default(1 * MiB)
      .meta({ description: 'maximum message size in bytes, excluding the delimiter' }),
    maxFramingErrors: z
      .number()
      .int()
      .min(1)
      .default(3)
      .meta({ description: 'consecutive oversized messages after which a connection is closed' }),
    maxMessageAge: milliseconds()
      .default(0)
      .meta({ description: 'reject messages older than this many ms; 0: off' }),
    maxClockSkew: milliseconds()
      .default(0)
      .meta({ description: 'reject messages more than this many ms in the future; 0: off' }),
  },
  'Heartbeats and health': {
    heartbeatInterval: interval()
      .default(5 * SECOND)
      .meta({ description: 'ms between heartbeats, as requested from crawlers' }),
    heartbeatTimeout: interval()
      .default(30 * SECOND)
      .meta({
        description:
          'ms of silence after which a crawler that sends heartbeats is considered dead; must be longer than heartbeatInterval',
      }),
    minHeartbeatInterval: milliseconds().default(0).meta({
      description:
        'minimum ms between two heartbeats of a connection; earlier ones are counted but not forwarded; 0: off',
    }),
    healthCheckInterval: interval()
      .default(5 * SECOND)
      .meta({ description: 'ms between health checks' }),
  },
  Access: {
    auth: authSchema.prefault({}),
    helloTimeout: interval()
      .default(10 * SECOND)
      .meta({
        description:
          'if crawlers need a token: ms within which a peer must send hello, or its connection is closed',
      }),
  },
  'Limits and backpressure': {
    maxBufferedBytes: size(1 * MiB, 64 * 1024 * MiB)
      .default(256 * MiB)
      .meta({ description: 'maximum bytes received and not yet delivered; above it, reading stops' }),
    maxConnectionBytes: size(1 * KiB, 1024 * MiB)
      .default(4 * MiB)
      .meta({
        description:
          'maximum bytes of one connection that wait for validation; above it, reading from it stops',
      }),
    maxPartialBytes: size(1 * MiB, 64 * 1024 * MiB)
      .default(64 * MiB)
      .meta({
        description:
          'maximum bytes of long incomplete messages; above it, further ones wait for their turn to be read; at most a quarter of maxBufferedBytes',
      }),
    maxPendingBytes: size(1 * KiB, 16 * 1024 * MiB)
      .default(64 * MiB)
      .meta({
        description: 'maximum bytes that a subscriber may lag behind; above it, its overflow policy applies',
      }),
    maxSubscriptionBytes: size(1 * MiB, 64 * 1024 * MiB)
      .default(128 * MiB)
      .meta({
        description:
          'maximum memory of all subscriptions, estimated from their ids; one connection may use a sixteenth of it',
      }),
    maxSubscriptions: z
      .number()
      .int()
      .min(1)
      .default(64)
      .meta({ description: 'maximum number of subscriptions per connection' }),
    maxJobOwners: z
      .number()
      .int()
      .min(1)
      .max(10_000_000)
      .default(100_000)
      .meta({ description: 'maximum number of jobs whose owner is remembered' }),
    maxLastValues: z.number().int().min(0).max(10_000_000).default(10_000).meta({
      description:
        'maximum number of messages kept for subscriptions with last: the latest one of each job, and the latest heartbeat of each crawler; they take at most 16 MiB, and half of maxPendingBytes; 0: none',
    }),
    maxMessagesPerSecond: z.number().int().min(0).default(0).meta({
      description:
        'maximum messages per second of one connection, and as many at once after a pause, including control messages and rejected ones; further ones are rejected; 0: no limit',
    }),
    maxErrorReplies: z.number().int().min(0).default(10).meta({
      description: 'maximum error replies per second and connection; further errors are only counted',
    }),
  },
  Timeouts: {
    partialMessageTimeout: milliseconds()
      .default(30 * SECOND)
      .meta({
        description: 'ms that a message may stay incomplete before its connection is closed; 0: no limit',
      }),
    stallTimeout: milliseconds()
      .default(30 * SECOND)
      .meta({
        description:
          'ms that one write to a peer may take before its connection is closed, except for subscribers with overflow block; 0: no limit',
      }),
    sendTimeout: interval()
      .default(10 * SECOND)
      .meta({
        description: 'ms after which a send is reported as failed; its message may still arrive later',
      }),
    drainTimeout: milliseconds()
      .default(10 * SECOND)
      .meta({ description: 'maximum ms that a shutdown waits for deliveries' }),
  },
  Validation: {
    workers: workersSchema.prefault({}),
    validationTimeout: milliseconds()
      .default(5 * SECOND)
      .meta({
        description:
          'ms that validating one message may take before it is rejected and its worker replaced; after 120 ms, it is moved to a dedicated worker; 0: no limit',
      }),
    inlineBytes: size(0, Number.MAX_SAFE_INTEGER)
      .default(16 * KiB)
      .meta({
        description:
          'while the workers are idle, batches of up to this many bytes are checked by patterns on the main thread, for lower latency; 0: never',
      }),
  },
  'Durable log': {
    log: z.string().min(1).optional().meta({
      description:
        'folder of the durable log: the broker confirms messages of crawlers only once they are on disk, and keeps them (default: none)',
      path: true,
    }),
    logMaxBytes: size(1 * MiB, 1024 * 1024 * MiB)
      .optional()
      .meta({
        description:
          'maximum bytes of the log; the oldest messages are removed (default: a tenth of the free space, at most 16 GiB, but at least what the log occupies at the start)',
      }),
    logMaxAge: time(1, Number.MAX_SAFE_INTEGER)
      .default(24 * HOUR)
      .meta({ description: 'ms after which messages are removed from the log' }),
    logSegmentBytes: size(64 * KiB, 1024 * MiB)
      .default(64 * MiB)
      .meta({
        description:
          'size of a file of the log, in bytes; whole files are removed; at most a quarter of logMaxBytes',
      }),
    logSyncInterval: interval().default(50).meta({
      description: 'ms after which messages are on disk at the latest if nobody waits for their confirmation',
    }),
    logExcludedTypes: z.array(z.string().min(1).max(256)).readonly().default([]).meta({
      description:
        'message types that are not stored, such as heartbeat, or job_* for all with this prefix; comma-separated in the environment',
    }),
    logKeep: z.enum(['recent', 'unread']).default('recent').meta({
      description:
        'recent: messages are removed after logMaxAge; unread: not before every cursor has read them, as long as there is room',
    }),
    logFull: z.enum(['drop-oldest', 'block', 'reject']).default('drop-oldest').meta({
      description:
        'if the log is full of messages that must be kept: drop-oldest removes them anyway; block stops reading; reject rejects new messages with LOG_FULL',
    }),
    deadLetterMaxBytes: size(1 * MiB, 1024 * 1024 * MiB)
      .default(64 * MiB)
      .meta({
        description:
          'maximum bytes of the dead letters, in the folder of the log: messages that failed too often in a group, and rejected ones; the oldest are removed',
      }),
    rejectedBytes: z.enum(['sample', 'full']).default('sample').meta({
      description:
        'what the dead letters keep of a rejected message: sample is its beginning, with what looks like a secret masked; full is all of it',
    }),
    logFailure: z.enum(['stop', 'pass']).default('stop').meta({
      description:
        'if the disk fails: stop stops reading until it works again; pass forwards messages without storing or confirming them',
    }),
  },
  Fleet: {
    fleet: z
      .array(
        z.string().max(2048).refine(isEngineAddress, {
          error: 'must be an address such as nats://host:4222 or tls://host:4222',
        }),
      )
      .readonly()
      .optional()
      .meta({
        description:
          'addresses of NATS servers with JetStream that join this broker to those of other hosts, such as nats://host:4222, or tls://host:4222 for TLS; comma-separated in the environment; needs log (default: none)',
      }),
    fleetName: subjectToken().default('main').meta({ description: 'name of the fleet' }),
    fleetHost: subjectToken().optional().meta({
      description: 'name of this host, which no other host of the fleet may have (default: the host name)',
    }),
    fleetMode: z.enum(['batches', 'messages']).default('batches').meta({
      description:
        'batches: NATS stores many messages together; messages: each separately, with its type and job in its subject, for programs that know nothing of Sluice; much slower',
    }),
    fleetCredentials: z
      .string()
      .min(1)
      .optional()
      .meta({ description: 'file with NATS credentials, accessible only to its owner', path: true }),
    fleetCa: z.string().min(1).optional().meta({
      description: 'PEM file with the authorities that NATS certificates are verified with',
      path: true,
    }),
    fleetCert: z
      .string()
      .min(1)
      .optional()
      .meta({ description: 'PEM file with a client certificate for NATS; needs fleetKey', path: true }),
    fleetKey: z
      .string()
      .min(1)
      .optional()
      .meta({ description: 'PEM file with the key of fleetCert', path: true }),
    fleetInsecure: z.boolean().default(false).meta({
      description: 'allow addresses of other machines without TLS: messages may contain access tokens',
    }),
    fleetRequestTimeout: interval()
      .default(2 * SECOND)
      .meta({
        description:
          'ms that a message to a crawler of another host may take; if no host has the crawler, its sender gets NO_RECIPIENT',
      }),
    fleetMaxBytes: size(1 * MiB, 1024 * 1024 * MiB)
      .optional()
      .meta({
        description: 'if the stream has to be created in the engine: its maximum bytes (default: no limit)',
      }),
    fleetMaxAge: time(1, Number.MAX_SAFE_INTEGER)
      .default(7 * 24 * HOUR)
      .meta({
        description: 'if the stream has to be created: ms after which the engine removes messages',
      }),
    fleetReplicas: z
      .number()
      .int()
      .min(1)
      .max(5)
      .default(1)
      .meta({ description: 'if the stream has to be created: number of servers that store it' }),
  },
  'Schemas and patterns': {
    schemas: z
      .union([z.string().min(1), z.instanceof(URL)])
      .optional()
      .meta({ description: 'ES module with zod schemas and rules for additional message types', path: true }),
    validation: z.enum(['enforce', 'report']).default('enforce').meta({
      description:
        'enforce: reject messages that break the schemas and rules; report: forward them anyway, and report them',
    }),
    patterns: z.enum(['on', 'off', 'verify']).default('on').meta({
      description: 'on: try compiled patterns before parsing; verify: do both and report differences',
    }),
    maxLearnedLayouts: z.int().min(0).max(1000).default(16).meta({
      description:
        'layouts (key order and spacing) that a worker learns per message type, each with a compiled pattern; 0: none',
    }),
  },
  'Admin server': {
    admin: z
      .string()
      .refine((text) => adminAddressFault(text) === undefined, {
        error: ({ input }) => adminAddressFault(String(input)) ?? '',
      })
      .optional()
      .meta({
        description:
          'address of the admin server (metrics, health checks, dashboard): host:port, :port or a socket path (default: none)',
      }),
    feed: z.boolean().default(false).meta({
      description:
        'serve the contents of messages to web pages at /api/stream and /api/tail of the admin server, to peers with a token of the role monitor or app if there are tokens',
    }),
    feedOrigins: z
      .array(
        z.string().regex(/^(?:\*|https?:\/\/[^/]+)$/, 'must be an origin such as https://example.com, or *'),
      )
      .readonly()
      .default([])
      .meta({
        description:
          'origins of pages that may read the feed from another origin, such as https://example.com; * for all; comma-separated in the environment',
      }),
    adminAllowRemote: z.boolean().default(false).meta({
      description:
        'allow an admin address that other machines can reach; the admin server has neither passwords nor encryption',
    }),
  },
  'Logging and metrics': {
    logLevel: z
      .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
      .default('info')
      .meta({ description: 'least severe level that is logged' }),
    enableMetrics: z.boolean().default(true).meta({ description: 'measure and report rates' }),
    metricsInterval: interval()
      .default(10 * SECOND)
      .meta({ description: 'ms between rate measurements' }),
  },
};

export const optionsSchema = z.strictObject({
  ...GROUPS.Listening,
  ...GROUPS.Connections,
  ...GROUPS['Messages and framing'],
  ...GROUPS['Heartbeats and health'],
  ...GROUPS.Access,
  ...GROUPS['Limits and backpressure'],
  ...GROUPS.Timeouts,
  ...GROUPS.Validation,
  ...GROUPS['Durable log'],
  ...GROUPS.Fleet,
  ...GROUPS['Schemas and patterns'],
  ...GROUPS['Admin server'],
  ...GROUPS['Logging and metrics'],
});

/** The names of the options in each group, by the heading of the group. */
export const OPTION_GROUPS: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  Object.entries(GROUPS).map(([heading, shape]) => [heading, Object.keys(shape)]),
);

/** Options as passed by a caller; all are optional. */
export type SluiceOptions = z.input<typeof optionsSchema>;

type DeepReadonly<T> = T extends URL
  ? T
  : T extends object
    ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
    : T;
/** Options with every default filled in. */
export type ResolvedOptions = DeepReadonly<z.output<typeof optionsSchema>>;

/**
 * Validates options, fills in the defaults, and makes paths absolute.
 * @param folder that relative paths are relative to. Default: the current working directory.
 * @throws SluiceError `INVALID_OPTION`, with a one-line message that names the option
 */
export function resolveOptions(input: SluiceOptions, folder: string = process.cwd()): ResolvedOptions {
  const result = optionsSchema.safeParse(input);
  if (!result.success) throw storedError(input) ?? invalidOption(result.error);
  const options = result.data;
  const { socketPath, port, listenFd } = options;
  if (socketPath === undefined && port === undefined && listenFd === undefined)
    options.socketPath = DEFAULT_SOCKET_PATH;
  if (options.heartbeatTimeout <= options.heartbeatInterval) {
    throw new SluiceError('INVALID_OPTION', 'heartbeatTimeout: must be longer than heartbeatInterval');
  }
  requireLocalAdmin(options);
  requireUsableFleet(options);
  requireUsableTls(options);
  if (socketPath !== undefined && port !== undefined)
    throw new SluiceError(
      'INVALID_OPTION',
      'port: cannot be combined with socketPath; set one of them to undefined',
    );
  makePathsAbsolute(options, folder);
  Object.freeze(options.workers);
  Object.freeze(options.auth);
  return Object.freeze(options);
}

/** The first error that the options have in place of a value; see SOCKET_CONFIG. */
function storedError(options: SluiceOptions): SluiceError | undefined {
  const groups = [options, options?.workers, options?.auth, options?.auth?.tokens];
  const values: unknown[] = groups.flatMap((group) => Object.values(group ?? {}));
  return values.find((value) => value instanceof SluiceError);
}

function requireLocalAdmin({ admin, adminAllowRemote }: z.output<typeof optionsSchema>): void {
  const address = admin === undefined ? undefined : parseAdminAddress(admin);
  if (address === undefined || 'path' in address || isLoopback(address.host) || adminAllowRemote) return;
  throw new SluiceError(
    'INVALID_OPTION',
    'admin: other machines can reach this host; set adminAllowRemote to allow it',
  );
}

function requireUsableFleet(options: z.output<typeof optionsSchema>): void {
  const { fleet, fleetInsecure, fleetCert, fleetKey, log, messageDelimiter } = options;
  if ((fleetCert === undefined) !== (fleetKey === undefined))
    throw new SluiceError('INVALID_OPTION', 'fleetCert: needs fleetKey, and fleetKey needs fleetCert');
  if (fleet === undefined) return;
  if (fleet.length === 0) throw new SluiceError('INVALID_OPTION', 'fleet: must contain an address');
  if (log === undefined)
    throw new SluiceError('INVALID_OPTION', 'fleet: needs the option log, from which messages are forwarded');
  if (messageDelimiter !== '\n')
    throw new SluiceError('INVALID_OPTION', 'fleet: needs the default messageDelimiter');
  const isExposed = fleet.some((address) => !address.startsWith('tls:') && !isLoopback(engineHost(address)));
  if (isExposed && !fleetInsecure)
    throw new SluiceError(
      'INVALID_OPTION',
      'fleet: messages may contain access tokens; use tls:// for other machines, or set fleetInsecure',
    );
}

function requireUsableTls({ tlsCert, tlsKey, tlsClientCa }: z.output<typeof optionsSchema>): void {
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new SluiceError('INVALID_OPTION', 'tlsCert: needs tlsKey, and tlsKey needs tlsCert');
  if (tlsClientCa !== undefined && tlsCert === undefined)
    throw new SluiceError('INVALID_OPTION', 'tlsClientCa: needs tlsCert');
}

/** Makes the options independent of later changes of the working directory. */
function makePathsAbsolute(options: z.output<typeof optionsSchema>, folder: string): void {
  const { socketPath, auth, schemas, admin, log } = options;
  if (socketPath !== undefined) options.socketPath = absoluteSocketPath(folder, socketPath);
  if (log !== undefined) options.log = resolve(folder, log);
  for (const name of PATHS) {
    const path = options[name];
    if (path !== undefined) options[name] = resolve(folder, path);
  }
  if (auth.file !== undefined) auth.file = resolve(folder, auth.file);
  if (typeof schemas === 'string' && !isModuleUrl(schemas)) options.schemas = resolve(folder, schemas);
  const address = admin === undefined ? undefined : parseAdminAddress(admin);
  if (address !== undefined && 'path' in address) options.admin = absoluteSocketPath(folder, address.path);
}

function invalidOption(error: z.ZodError): SluiceError {
  const issue = error.issues[0];
  if (issue?.code === 'unrecognized_keys') {
    // A token in the wrong place may be the key.
    if (issue.path[0] === 'auth')
      return new SluiceError('INVALID_OPTION', `${issue.path.join('.')}: contains an unknown option`);
    const name = [...issue.path, issue.keys[0]].join('.');
    return unknownOption(name, OPTION_NAMES);
  }
  return new SluiceError('INVALID_OPTION', `${issue?.path.join('.')}: ${issue?.message}`);
}

/** Further options that are paths. */
const PATHS = [
  'tlsCert',
  'tlsKey',
  'tlsClientCa',
  'fleetCredentials',
  'fleetCa',
  'fleetCert',
  'fleetKey',
] as const;

/** The names of all options, by themselves and by their last part: `workers.threads`, `threads`. */
const OPTION_NAMES: ReadonlyMap<string, string> = new Map(
  namesOf('', optionsSchema).flatMap((name) => [
    [name.split('.').at(-1) ?? name, name],
    [name, name],
  ]),
);

function namesOf(prefix: string, schema: z.ZodObject): string[] {
  return Object.entries(schema.shape).flatMap(([key, nested]) => {
    const inner = innerSchema(nested as z.ZodType);
    return inner instanceof z.ZodObject ? namesOf(`${prefix}${key}.`, inner) : [prefix + key];
  });
}

/** The schema inside of defaults and optional schemas. */
export function innerSchema(schema: z.ZodType): z.ZodType {
  let inner = schema;
  while ('innerType' in inner.def) inner = inner.def.innerType as z.ZodType;
  return inner;
}
