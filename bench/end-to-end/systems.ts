// The systems that the end-to-end bench compares: how to start each, and how to subscribe to it.

import { fileURLToPath } from 'node:url';

export interface System {
  readonly name: string;
  /** Command line of the broker, to run with this Node. */
  command(socketPath: string): readonly string[];
  /** What its standard output says when it is ready. */
  readonly ready: string;
  /** What a subscriber sends first. */
  readonly greeting: string;
  /** How many lines answer that. */
  readonly greetingLines: number;
}

const script = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const subscribe =
  '{"type":"subscribe","timestamp":"2026-01-01T00:00:00Z","data":{"id":"bench","overflow":"block"}}\n';

function sluice(name: string, patterns: 'on' | 'off'): System {
  return {
    name,
    command: (socketPath) => [
      script('../../src/cli/main.js'),
      'serve',
      '--socket',
      socketPath,
      '--patterns',
      patterns,
    ],
    ready: 'listening',
    greeting: subscribe,
    greetingLines: 1,
  };
}

export const SYSTEMS: readonly System[] = [
  sluice('Sluice', 'on'),
  sluice('Sluice, patterns off', 'off'),
  {
    name: 'plain Node server',
    command: (socketPath) => [script('./plain-server.js'), socketPath],
    ready: 'listening',
    greeting: subscribe,
    greetingLines: 1,
  },
];
