// Every option there is, in one zod schema: it gives the type, the defaults, the names in the
// environment and on the command line, and the help texts. Resolved once, then frozen.

import { availableParallelism } from 'node:os';
import * as z from 'zod';
import { SluiceError } from '../errors.js';
import {
  adminAddressFault,
  fitsSocketPath,
  isLoopback,
  MAX_SOCKET_PATH,
  parseAdminAddress,
} from './addresses.js';
import { DEFAULT_SOCKET_PATH, MAX_TIMER } from './defaults.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const SECOND = 1000;

const milliseconds = () => z.number().int().min(0).max(MAX_TIMER);
const interval = () => z.number().int().min(1).max(MAX_TIMER);
const bytes = (min: number, max: number) => z.number().int().min(min).max(max);

/** Half of the cores for validating, the rest for the main thread and the peers; 2 at least. */
const DEFAULT_THREADS = Math.max(2, Math.floor(availableParallelism() / 2));

const workersSchema = z.strictObject({
  threads: z
    .number()
    .int()
    .min(1)
    .max(64)
    .default(DEFAULT_THREADS)
    .meta({ description: 'validation worker threads (default: half of the cores, at least 2)' }),
  concurrentTasksPerWorker: z
    .number()
    .int()
    .min(1)
    .max(16)
    .default(2)
    .meta({ description: 'batches that one worker may have at a time' }),
  maxBatchBytes: bytes(1, 16 * MiB)
    .default(1 * MiB)
    .meta({ description: 'bytes after which a batch is full' }),
  maxBatchMessages: z
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(16_384)
    .meta({ description: 'messages after which a batch is full, roughly' }),
});

const tokenList = (role: string) =>
  z
    .array(z.string().min(16).max(1024))
    .readonly()
    .optional()
    .meta({
      description: `tokens that let a peer in as ${role}, of 16 to 1024 characters; in the environment separated by commas`,
      secret: true,
    });

export const authTokensSchema = z.strictObject({
  crawler: tokenList('crawler'),
  app: tokenList('app'),
  monitor: tokenList('monitor'),
});

const authSchema = z.strictObject({
  tokens: authTokensSchema.prefault({}),
  file: z
    .string()
    .min(1)
    .optional()
    .meta({ description: 'JSON file with lists of tokens by role, readable by its owner only' }),
});

export const optionsSchema = z.strictObject({
  socketPath: z
    .string()
    .min(1)
    .refine(fitsSocketPath, { error: `must be at most ${MAX_SOCKET_PATH} bytes long` })
    .optional()
    .meta({
      description: `Unix socket to listen on, a path of at most ${MAX_SOCKET_PATH} bytes (default: ${DEFAULT_SOCKET_PATH}, unless port is set)`,
    }),
  host: z.string().min(1).default('127.0.0.1').meta({ description: 'TCP address, where port is used' }),
  port: z
    .number()
    .int()
    .min(0)
    .max(65_535)
    .optional()
    .meta({ description: 'TCP port to listen on in place of a Unix socket; 0: any free one' }),
  backlog: z
    .number()
    .int()
    .min(1)
    .max(65_535)
    .default(511)
    .meta({ description: 'connections that may wait to be accepted' }),
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
  listenFd: z
    .number()
    .int()
    .min(3)
    .optional()
    .meta({ description: 'listening socket that was inherited, as systemd passes it (default: LISTEN_FDS)' }),
  maxConnections: z
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(1024)
    .meta({ description: 'connections at a time; one more is rejected' }),
  connectionTimeout: milliseconds()
    .default(300 * SECOND)
    .meta({
      description: 'ms without a byte after which a connection that is not subscribed is closed; 0: never',
    }),
  messageBufferSize: bytes(16 * KiB, 16 * MiB)
    .default(512 * KiB)
    .meta({ description: 'bytes of the largest slab that a busy connection reads into' }),
  maxMessageSize: bytes(64, 256 * MiB)
    .default(1 * MiB)
    .meta({ description: 'longest message, in bytes without its delimiter' }),
  maxFramingErrors: z
    .number()
    .int()
    .min(1)
    .default(3)
    .meta({ description: 'too long messages in a row before a connection is closed' }),
  messageDelimiter: z
    .string()
    .refine((text) => text.length === 1 && text.charCodeAt(0) < 0x20, {
      error: 'must be one control character',
    })
    .default('\n')
    .meta({ description: 'the control character that ends a message' }),
  framing: z
    .enum(['auto', 'ndjson'])
    .default('auto')
    .meta({ description: 'auto also takes objects with no delimiter between them; ndjson does not' }),
  heartbeatInterval: interval()
    .default(5 * SECOND)
    .meta({ description: 'ms between the heartbeats that crawlers are asked for' }),
  heartbeatTimeout: interval()
    .default(30 * SECOND)
    .meta({
      description:
        'ms of silence after which a crawler that sends heartbeats is dead; longer than heartbeatInterval',
    }),
  minHeartbeatInterval: milliseconds()
    .default(0)
    .meta({ description: 'ms; a heartbeat that follows faster is counted and dropped; 0: off' }),
  healthCheckInterval: interval()
    .default(5 * SECOND)
    .meta({ description: 'ms between health checks' }),
  maxMessageAge: milliseconds()
    .default(0)
    .meta({ description: 'reject messages older than this many ms; 0: off' }),
  maxClockSkew: milliseconds()
    .default(0)
    .meta({ description: 'reject messages more than this many ms in the future; 0: off' }),
  maxBufferedBytes: bytes(1 * MiB, 64 * 1024 * MiB)
    .default(256 * MiB)
    .meta({ description: 'bytes received and not yet delivered, over which no more is read' }),
  maxConnectionBytes: bytes(1 * KiB, 1024 * MiB)
    .default(4 * MiB)
    .meta({
      description: 'bytes of one connection that wait to be validated, over which no more is read from it',
    }),
  maxPendingBytes: bytes(1 * KiB, 16 * 1024 * MiB)
    .default(64 * MiB)
    .meta({ description: 'bytes that a subscriber may fall behind before its overflow policy applies' }),
  stallTimeout: milliseconds()
    .default(30 * SECOND)
    .meta({
      description:
        'ms that one write to a peer may take before the peer is closed, unless it is a block subscriber; 0: no limit',
    }),
  sendTimeout: interval()
    .default(10 * SECOND)
    .meta({
      description: 'ms after which a send is reported as failed; what the peer takes later still arrives',
    }),
  drainTimeout: milliseconds()
    .default(10 * SECOND)
    .meta({ description: 'ms that stopping waits for deliveries' }),
  auth: authSchema.prefault({}),
  helloTimeout: interval()
    .default(10 * SECOND)
    .meta({
      description: 'ms that a peer may take for its hello, where crawlers need a token, before it is closed',
    }),
  maxMessagesPerSecond: z.number().int().min(0).default(0).meta({
    description:
      'messages a second of one connection, control messages and rejected ones included, over which they are rejected; 0: no limit',
  }),
  maxPartialBytes: bytes(1 * MiB, 64 * 1024 * MiB)
    .default(64 * MiB)
    .meta({
      description:
        'bytes of long messages whose end has not come, over which the next ones wait for their turn to be read; a quarter of maxBufferedBytes at most',
    }),
  maxSubscriptionBytes: bytes(1 * MiB, 64 * 1024 * MiB)
    .default(64 * MiB)
    .meta({
      description: 'bytes that the ids in all subscriptions may take; those of one connection, a sixteenth',
    }),
  partialMessageTimeout: milliseconds()
    .default(30 * SECOND)
    .meta({
      description:
        'ms that the end of a message may take to come before the connection is closed; 0: no limit',
    }),
  validationTimeout: milliseconds()
    .default(5 * SECOND)
    .meta({
      description:
        'ms that validating one message may take before it is rejected and its worker replaced; one that takes over 120 ms is moved to a worker of its own; 0: no limit',
    }),
  maxErrorReplies: z
    .number()
    .int()
    .min(0)
    .default(10)
    .meta({ description: 'error replies a second and connection; more are only counted' }),
  maxSubscriptions: z
    .number()
    .int()
    .min(1)
    .default(64)
    .meta({ description: 'subscriptions of one connection' }),
  maxJobOwners: z
    .number()
    .int()
    .min(1)
    .max(10_000_000)
    .default(100_000)
    .meta({ description: 'jobs whose owner is remembered' }),
  receive: z
    .enum(['slab', 'copy'])
    .default('slab')
    .meta({ description: 'slab: the kernel reads into shared memory; copy: through Node streams' }),
  patterns: z.enum(['on', 'off', 'verify']).default('on').meta({
    description: 'on: try compiled patterns before parsing; verify: do both, and report differences',
  }),
  maxLearnedLayouts: z.int().min(0).max(1000).default(16).meta({
    description: 'key orders and spacings of each message type that a worker learns patterns for; 0: none',
  }),
  inlineBytes: z.int().min(0).default(0).meta({
    description:
      'while the workers are idle, up to so many bytes are checked by patterns on the main thread, for lower latency; 0: never',
  }),
  schemas: z
    .union([z.string().min(1), z.instanceof(URL)])
    .optional()
    .meta({ description: 'ES module with zod schemas and rules for further message types' }),
  workers: workersSchema.prefault({}),
  admin: z
    .string()
    .refine((text) => adminAddressFault(text) === undefined, {
      error: ({ input }) => adminAddressFault(String(input)) ?? '',
    })
    .optional()
    .meta({
      description:
        'where metrics, health and the dashboard are served: host:port, :port or a socket path (default: nowhere)',
    }),
  adminAllowRemote: z.boolean().default(false).meta({
    description: 'let admin be a host that others can reach; it has neither passwords nor encryption',
  }),
  logLevel: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .meta({ description: 'least severe level to log' }),
  enableMetrics: z.boolean().default(true).meta({ description: 'measure rates and report them' }),
  metricsInterval: interval()
    .default(10 * SECOND)
    .meta({ description: 'ms between two measurements of the rates' }),
  cleanupInterval: interval()
    .default(60 * SECOND)
    .meta({ description: 'ms between two clean-ups of the connection pool' }),
});

/** Options as a caller gives them: all may be left out. */
export type SluiceOptions = z.input<typeof optionsSchema>;

type DeepReadonly<T> = T extends URL
  ? T
  : T extends object
    ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
    : T;
/** Options with every default filled in. */
export type ResolvedOptions = DeepReadonly<z.output<typeof optionsSchema>>;

/**
 * Checks options and fills in the defaults.
 * @throws SluiceError `INVALID_OPTION`, one line that names the option
 */
export function resolveOptions(input: SluiceOptions): ResolvedOptions {
  const result = optionsSchema.safeParse(input);
  if (!result.success) throw invalidOption(result.error);
  const options = result.data;
  const { socketPath, port, listenFd } = options;
  if (socketPath === undefined && port === undefined && listenFd === undefined)
    options.socketPath = DEFAULT_SOCKET_PATH;
  if (options.heartbeatTimeout <= options.heartbeatInterval) {
    throw new SluiceError('INVALID_OPTION', 'heartbeatTimeout: must be longer than heartbeatInterval');
  }
  requireLocalAdmin(options);
  Object.freeze(options.workers);
  Object.freeze(options.auth);
  return Object.freeze(options);
}

function requireLocalAdmin({ admin, adminAllowRemote }: z.output<typeof optionsSchema>): void {
  const address = admin === undefined ? undefined : parseAdminAddress(admin);
  if (address === undefined || 'path' in address || isLoopback(address.host) || adminAllowRemote) return;
  throw new SluiceError('INVALID_OPTION', 'admin: others can reach this host; adminAllowRemote allows it');
}

function invalidOption(error: z.ZodError): SluiceError {
  const issue = error.issues[0];
  if (issue?.code === 'unrecognized_keys') {
    const name = [...issue.path, issue.keys[0]].join('.');
    return new SluiceError('INVALID_OPTION', `${name}: there is no option of this name`);
  }
  return new SluiceError('INVALID_OPTION', `${issue?.path.join('.')}: ${issue?.message}`);
}
