// A broker in a separate process, with measurements from the kernel.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { temporaryFolder, until } from './broker.js';
import { type CliRun, packageRoot, sluice } from './cli.js';
import { share, type WhenOver } from './share.js';

export class BrokerProcess {
  readonly socketPath: string;
  readonly run: CliRun;

  private constructor(socketPath: string, run: CliRun) {
    this.socketPath = socketPath;
    this.run = run;
  }

  /** Starts a broker with additional flags, and waits until it listens. It is killed at the end of the test. */
  static async start(
    flags: readonly string[] = [],
    socketPath?: string,
    whenOver: WhenOver = onTestFinished,
  ): Promise<BrokerProcess> {
    const path = socketPath ?? join(temporaryFolder(whenOver), 'broker.sock');
    const env = { NODE_OPTIONS: `--import ${join(packageRoot, 'test/support/collect-on-signal.mjs')}` };
    const run = sluice(['serve', '--socket', path, '--workers', '1', ...flags], env, whenOver);
    await run.says('listening');
    return new BrokerProcess(path, run);
  }

  get pid(): number {
    return this.run.pid;
  }

  /** Resident memory, in bytes. */
  get rss(): number {
    return this.#memory('VmRSS');
  }

  /** Peak resident memory since the start, in bytes. */
  get peakRss(): number {
    return this.#memory('VmHWM');
  }

  /** Open file descriptors. */
  get openFiles(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }

  /** The lines it has logged. */
  get log(): Record<string, unknown>[] {
    const lines = this.run.stdout.split('\n').slice(0, -1);
    return lines.map((text) => JSON.parse(text) as Record<string, unknown>);
  }

  /** Forces a garbage collection. Resolves with the used bytes of the main thread's heap after it. */
  async collect(): Promise<number> {
    const before = this.#heaps.length;
    this.run.child.kill('SIGUSR2');
    await until(() => this.#heaps.length > before);
    return Number(this.#heaps.at(-1)?.[1]);
  }

  get #heaps(): RegExpExecArray[] {
    return [...this.run.stderr.matchAll(/^heap (\d+)$/gm)];
  }

  /** Stops it as an operator would. Resolves with the exit code. */
  stop(): Promise<number | NodeJS.Signals | null> {
    this.run.child.kill('SIGTERM');
    return this.run.exited;
  }

  #memory(field: 'VmRSS' | 'VmHWM'): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) * 1024;
  }
}

/** One broker process for all tests of a describe block or file. At the end it must exit with code 0. */
export function shareBrokerProcess(flags: readonly string[] = []): () => BrokerProcess {
  return share(async (whenOver) => {
    const broker = await BrokerProcess.start(flags, undefined, whenOver);
    whenOver(async () => expect(await broker.stop()).toBe(0));
    return broker;
  });
}
