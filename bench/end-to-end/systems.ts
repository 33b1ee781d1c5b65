// The systems that the end-to-end bench compares: the command that starts each, and its wire protocol. Brokers that are
// not installed are skipped and listed in `MISSING`.

import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { WireName } from './wires.js';

export type SystemName =
  | 'Sluice'
  | 'Sluice, watched'
  | 'Sluice, durable'
  | 'Sluice, patterns off'
  | 'plain Node server'
  | 'NATS'
  | 'Redis pub/sub'
  | 'Mosquitto'
  | 'bare relay in C';

export interface System {
  readonly name: SystemName;
  /** Command line of the broker. Only Sluice uses the options. */
  command(socketPath: string, options?: readonly string[]): readonly string[];
  /** Text that the broker prints when it is ready. */
  readonly ready: string;
  /** TCP port, if the broker does not listen on a Unix socket. */
  readonly port?: number;
  readonly wire: WireName;
  /** Socket path of its admin server, if the broker is measured with monitoring. */
  adminPath?(socketPath: string): string;
  /** Whether it forwards only valid messages. */
  readonly validates: boolean;
  /** Share of a scenario's messages; lower for slow systems. */
  readonly share: number;
  /** Whether V8 runs it, which compiles and optimises code while it runs, so that it needs a longer warm-up. */
  readonly isJavaScript?: boolean;
  /** Program that must be installed. */
  readonly program?: string;
}

const script = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export function sluiceCommand(socketPath: string, ...options: readonly string[]): string[] {
  return [process.execPath, script('../../src/cli/main.js'), 'serve', '--socket', socketPath, ...options];
}

/** Less than a measurement writes, so that most of it is written to files that are used again. */
const LOG_BYTES = '512M';

export function durableCommand(socketPath: string, ...options: readonly string[]): string[] {
  const log = ['--log', `${socketPath}.log`, '--log-max-bytes', LOG_BYTES];
  return sluiceCommand(socketPath, ...log, ...options);
}

function sluice(name: SystemName, ...extra: readonly string[]): System {
  return {
    name,
    command: (socketPath, options = []) => sluiceCommand(socketPath, ...extra, ...options),
    ready: 'listening',
    wire: 'lines',
    validates: true,
    share: 1,
    isJavaScript: true,
  };
}

const adminPathOf = (socketPath: string) => `${socketPath}.admin`;

/** On the loopback interface, because NATS does not support Unix sockets. */
export const NATS_PORT = 14_222;

export function natsCommand(config: string): string[] {
  return ['nats-server', '--addr', '127.0.0.1', '--port', String(NATS_PORT), '--config', config];
}

const ALL: readonly System[] = [
  sluice('Sluice'),
  {
    ...sluice('Sluice, watched'),
    command: (socketPath, options = []) =>
      sluice('Sluice').command(socketPath, [...options, '--admin', adminPathOf(socketPath)]),
    adminPath: adminPathOf,
  },
  {
    ...sluice('Sluice, durable'),
    command: (socketPath, options = []) => durableCommand(socketPath, ...options),
  },
  { ...sluice('Sluice, patterns off', '--patterns', 'off'), share: 0.25 },
  {
    name: 'plain Node server',
    command: (socketPath) => [process.execPath, script('./plain-server.js'), socketPath],
    ready: 'listening',
    wire: 'lines',
    validates: true,
    share: 0.1,
    isJavaScript: true,
  },
  {
    name: 'NATS',
    program: 'nats-server',
    command: (socketPath) => {
      const config = `${socketPath}.conf`;
      // The closest equivalent of Sluice's block policy in NATS: buffers for all messages in flight.
      writeFileSync(config, 'max_pending: 1073741824\nwrite_deadline: "60s"\n');
      return natsCommand(config);
    },
    ready: 'Server is ready',
    port: NATS_PORT,
    wire: 'nats',
    validates: false,
    share: 1,
  },
  {
    name: 'Redis pub/sub',
    program: 'redis-server',
    command: (socketPath) => [
      'redis-server',
      ...['--port', '0', '--unixsocket', socketPath, '--save', '', '--appendonly', 'no'],
      ...['--client-output-buffer-limit', 'pubsub 0 0 0'],
    ],
    ready: 'eady to accept connections',
    wire: 'redis',
    validates: false,
    share: 1,
  },
  {
    name: 'Mosquitto',
    program: 'mosquitto',
    command: (socketPath) => {
      const config = `${socketPath}.conf`;
      // Started by root, Mosquitto would switch to another user, who cannot access the folder. Ignored for other users.
      const settings = [
        'user root',
        `listener 0 ${socketPath}`,
        'allow_anonymous true',
        'max_queued_messages 0',
      ];
      writeFileSync(config, `${settings.join('\n')}\n`);
      return ['mosquitto', '-c', config];
    },
    ready: 'running',
    wire: 'mqtt',
    validates: false,
    share: 0.2,
  },
  {
    name: 'bare relay in C',
    program: 'cc',
    command: (socketPath) => {
      const program = `${socketPath}.relay`;
      // Compilation copies no C files to dist/.
      execFileSync('cc', ['-O2', '-o', program, script('../../../bench/end-to-end/relay.c')]);
      return [program, socketPath];
    },
    ready: 'listening',
    wire: 'lines',
    validates: false,
    share: 1,
  },
];

/** The schema module of users' message types. */
export const USER_SCHEMAS = script('./user-schemas.js');

/** Servers inside an application. Their options are the handler and the message counts at which they print `handled`. */
export const DROP_IN_SYSTEMS: readonly System[] = (
  [
    ['Sluice', 'sluice', 1],
    ['plain Node server', 'plain', 0.5],
  ] as const
).map(([name, kind, share]) => ({
  name,
  command: (socketPath, options = []) => [
    process.execPath,
    script('./drop-in.js'),
    kind,
    socketPath,
    ...options,
  ],
  ready: 'listening',
  wire: 'lines',
  validates: true,
  share,
  isJavaScript: true,
}));

// Ignores the exit code: Mosquitto's --help exits with 1. A missing program fails to start.
export const isInstalled = (program: string) => spawnSync(program, ['--help']).error === undefined;

/** The installed systems. */
export const SYSTEMS: readonly System[] = ALL.filter(
  ({ program }) => program === undefined || isInstalled(program),
);

/** Names of the systems that are not installed. */
export const MISSING: readonly string[] = ALL.filter((system) => !SYSTEMS.includes(system)).map(
  ({ name }) => name,
);
