// The systems that the end-to-end bench compares: how to start each, and how a message travels in its
// protocol. Brokers that are not installed are left out, by name.

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { WireName } from './wires.js';

export type SystemName =
  | 'Sluice'
  | 'Sluice, inlineBytes'
  | 'Sluice, watched'
  | 'Sluice, patterns off'
  | 'plain Node server'
  | 'NATS'
  | 'Redis pub/sub'
  | 'Mosquitto';

export interface System {
  readonly name: SystemName;
  /** Command line of the broker. Options go to Sluice only. */
  command(socketPath: string, options?: readonly string[]): readonly string[];
  /** What its output says when it is ready. */
  readonly ready: string;
  /** TCP port, where it does not listen on a Unix socket. */
  readonly port?: number;
  readonly wire: WireName;
  /** Where its admin server listens, when it is to be watched. */
  adminPath?(socketPath: string): string;
  /** Whether it forwards valid messages only. */
  readonly validates: boolean;
  /** Share of a scenario's messages that it is measured with: less, where it is slow. */
  readonly share: number;
  /** The program that has to be installed. */
  readonly program?: string;
}

const script = (path: string) => fileURLToPath(new URL(path, import.meta.url));

function sluice(name: SystemName, ...extra: readonly string[]): System {
  return {
    name,
    command: (socketPath, options = []) => [
      process.execPath,
      // As the command's first line and `npm start` have it.
      '--max-semi-space-size=2',
      script('../../src/cli/main.js'),
      'serve',
      ...['--socket', socketPath, ...extra, ...options],
    ],
    ready: 'listening',
    wire: 'lines',
    validates: true,
    share: 1,
  };
}

const adminPathOf = (socketPath: string) => `${socketPath}.admin`;

/** Loopback: NATS speaks no Unix sockets. */
const NATS_PORT = 14_222;
/** Large enough for a few messages, small enough for the event loop: under a tenth of a millisecond. */
const INLINE_BYTES = '16384';

const ALL: readonly System[] = [
  sluice('Sluice'),
  sluice('Sluice, inlineBytes', '--inline-bytes', INLINE_BYTES),
  {
    ...sluice('Sluice, watched'),
    command: (socketPath, options = []) =>
      sluice('Sluice').command(socketPath, [...options, '--admin', adminPathOf(socketPath)]),
    adminPath: adminPathOf,
  },
  { ...sluice('Sluice, patterns off', '--patterns', 'off'), share: 0.5 },
  {
    name: 'plain Node server',
    command: (socketPath) => [process.execPath, script('./plain-server.js'), socketPath],
    ready: 'listening',
    wire: 'lines',
    validates: true,
    share: 0.2,
  },
  {
    name: 'NATS',
    program: 'nats-server',
    command: (socketPath) => {
      const config = `${socketPath}.conf`;
      // As patient as Sluice's block policy, so far as NATS goes: room for all that is on the way.
      writeFileSync(config, 'max_pending: 1073741824\nwrite_deadline: "60s"\n');
      return ['nats-server', '--addr', '127.0.0.1', '--port', String(NATS_PORT), '--config', config];
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
      // Only root can keep another user's folder; for others, the line means nothing.
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
    share: 0.5,
  },
];

/** Servers inside an application; their options are the numbers of messages at which they say so. */
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
}));

// Mosquitto's --help ends with exit code 1; what is not there cannot be started at all.
const isInstalled = (program: string) => spawnSync(program, ['--help']).error === undefined;

/** The systems that this machine can run. */
export const SYSTEMS: readonly System[] = ALL.filter(
  ({ program }) => program === undefined || isInstalled(program),
);

/** Names of those that it cannot. */
export const MISSING: readonly string[] = ALL.filter((system) => !SYSTEMS.includes(system)).map(
  ({ name }) => name,
);
