// A broker in a separate process whose metrics can be read while it runs.

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { ServerMetrics, SluiceOptions } from 'sluice';
import { onTestFinished } from 'vitest';
import { temporaryFolder } from './broker.js';
import { packageRoot } from './cli.js';

export interface Sample {
  readonly metrics: ServerMetrics;
  readonly memory: NodeJS.MemoryUsage;
}

export class MeasuredBroker {
  readonly socketPath: string;
  readonly #child: ChildProcess;

  private constructor(socketPath: string, child: ChildProcess) {
    this.socketPath = socketPath;
    this.#child = child;
  }

  static async start(options: SluiceOptions): Promise<MeasuredBroker> {
    const socketPath = join(temporaryFolder(), 'broker.sock');
    const script = join(packageRoot, 'test/support/measured-broker.mjs');
    const child = fork(script, [JSON.stringify({ socketPath, logLevel: 'silent', ...options })]);
    onTestFinished(() => void child.kill('SIGKILL'));
    await once(child, 'message');
    return new MeasuredBroker(socketPath, child);
  }

  async sample(): Promise<Sample> {
    const answer = once(this.#child, 'message') as Promise<[Sample]>;
    this.#child.send('sample');
    return (await answer)[0];
  }

  /** Resolves with the exit code. */
  async stop(): Promise<number> {
    const exit = once(this.#child, 'exit') as Promise<[number]>;
    this.#child.send('stop');
    return (await exit)[0];
  }
}
