// Runs a program from examples/ as described in its header.

import { join } from 'node:path';
import { temporaryFolder } from './broker.js';
import { type CliRun, runNode } from './cli.js';
import { publishedPackage } from './published.js';

export interface RunningExample {
  run: CliRun;
  /** Where its crawlers connect, or its broker listens. */
  socketPath: string;
}

/** @param says the output that indicates it is ready */
export async function startExample(
  name: string,
  says: string,
  { args = [], env = {} }: { args?: readonly string[]; env?: NodeJS.ProcessEnv } = {},
): Promise<RunningExample> {
  const socketPath = env.SOCKET_PATH ?? join(temporaryFolder(), 'crawlers.sock');
  const run = runNode(join(publishedPackage(), 'examples', name), args, {
    SOCKET_WORKERS_THREADS: '1',
    SOCKET_PATTERNS: 'off',
    // For what they store by default.
    TMPDIR: temporaryFolder(),
    ...env,
    SOCKET_PATH: socketPath,
  });
  await run.says(says);
  return { run, socketPath };
}
