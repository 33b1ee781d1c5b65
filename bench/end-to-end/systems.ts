// The systems that the end-to-end bench compares: how to start each, how to subscribe to it, and how a
// message travels in its protocol. Brokers that are not installed are left out, by name.

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface System {
  readonly name: string;
  /** Command line of the broker. */
  command(socketPath: string): readonly string[];
  /** What its output says when it is ready. */
  readonly ready: string;
  /** TCP port, where it does not listen on a Unix socket. */
  readonly port?: number;
  /** How messages travel; see load.ts. */
  readonly wire: 'lines' | 'nats' | 'redis';
}

const script = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const sluiceCommand = (socketPath: string) => [
  process.execPath,
  script('../../src/cli/main.js'),
  'serve',
  '--socket',
  socketPath,
];
/** Loopback: NATS speaks no Unix sockets. */
const NATS_PORT = 14_222;

const ALL: readonly (System & { readonly program?: string })[] = [
  { name: 'Sluice', command: sluiceCommand, ready: 'listening', wire: 'lines' },
  {
    name: 'Sluice, patterns off',
    command: (socketPath) => [...sluiceCommand(socketPath), '--patterns', 'off'],
    ready: 'listening',
    wire: 'lines',
  },
  {
    name: 'plain Node server',
    command: (socketPath) => [process.execPath, script('./plain-server.js'), socketPath],
    ready: 'listening',
    wire: 'lines',
  },
  {
    name: 'NATS (TCP, no validation)',
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
  },
  {
    name: 'Redis pub/sub (no validation)',
    program: 'redis-server',
    command: (socketPath) => [
      'redis-server',
      ...['--port', '0', '--unixsocket', socketPath, '--save', '', '--appendonly', 'no'],
      ...['--client-output-buffer-limit', 'pubsub 0 0 0'],
    ],
    ready: 'eady to accept connections',
    wire: 'redis',
  },
];

const isInstalled = (program: string) => spawnSync(program, ['--version']).error === undefined;

/** The systems that this machine can run. */
export const SYSTEMS: readonly System[] = ALL.filter(
  ({ program }) => program === undefined || isInstalled(program),
);

/** Names of those that it cannot. */
export const MISSING: readonly string[] = ALL.filter((system) => !SYSTEMS.includes(system)).map(
  ({ name }) => name,
);
