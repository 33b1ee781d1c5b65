// Runs the command line as a user does, in a separate process, and captures its output and exit code.

import { type ChildProcessWithoutNullStreams, execFile, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished } from 'vitest';
import { packageRoot, publishedPackage } from './published.js';
import { share, type WhenOver } from './share.js';
import { python } from './tools.js';

export { packageRoot };

/** The command line: as it is published, or, for unit tests, as it is compiled, so that its coverage is measured. */
export function cliScript(): string {
  const isUnitTest = expect.getState().testPath?.startsWith(join(packageRoot, 'test/unit/')) ?? false;
  return join(isUnitTest ? packageRoot : publishedPackage(), 'dist/src/cli/main.js');
}

export class CliRun {
  readonly child: ChildProcessWithoutNullStreams;
  readonly exited: Promise<number | NodeJS.Signals | null>;
  stdout = '';
  stderr = '';
  #waiters: (() => void)[] = [];

  constructor(child: ChildProcessWithoutNullStreams, whenOver: WhenOver = onTestFinished) {
    this.child = child;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
      this.#wake();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
      this.#wake();
    });
    // The process may exit before it has read its input.
    child.stdin.on('error', () => {});
    this.exited = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        resolve(code ?? signal);
        this.#wake();
      });
    });
    whenOver(() => void child.kill('SIGKILL'));
  }

  /** Its process ID. */
  get pid(): number {
    return this.#existing(this.child.pid);
  }

  /** The process ID of a child process, such as the program in a terminal. @param part of its command line */
  childPid(part = ''): number {
    return this.#existing(childrenOf(this.pid).find(({ commandLine }) => commandLine.includes(part))?.pid);
  }

  /** Signals must not go to process 0, which is the group of the caller. */
  #existing(pid: number | undefined): number {
    if (pid === undefined) throw new Error(`no such process: ${this.stdout}${this.stderr}`);
    return pid;
  }

  /** Waits until standard output or standard error contains this text. */
  async says(text: string): Promise<void> {
    while (!this.stdout.includes(text) && !this.stderr.includes(text)) {
      if (this.child.exitCode !== null)
        throw new Error(`left without "${text}": ${this.stdout}${this.stderr}`);
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }
}

/** Starts a program with Node. */
export function runNode(
  script: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  cwd?: string,
  whenOver?: WhenOver,
): CliRun {
  return new CliRun(
    spawn(process.execPath, [script, ...args], { env: { ...process.env, ...env }, ...(cwd ? { cwd } : {}) }),
    whenOver,
  );
}

/** Runs code, as an ES module that can import the package, to completion. Rejects if it fails. */
export function evaluate(
  code: string,
  env: NodeJS.ProcessEnv = {},
): Promise<{ stdout: string; stderr: string }> {
  const args = ['--input-type=module', '-e', code];
  return promisify(execFile)(process.execPath, args, { cwd: packageRoot, env: { ...process.env, ...env } });
}

/** Starts `sluice` with arguments. */
export function sluice(args: readonly string[], env: NodeJS.ProcessEnv = {}, whenOver?: WhenOver): CliRun {
  return runNode(cliScript(), args, env, undefined, whenOver);
}

/** A finished run of `sluice`. */
export interface EndedRun {
  readonly code: number | NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `sluice` to completion, without input. */
export async function runSluice(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<EndedRun> {
  const run = sluice(args, env);
  run.child.stdin.end();
  const code = await run.exited;
  return { code, stdout: run.stdout, stderr: run.stderr };
}

/**
 * Like `runSluice`, but in one process for all tests of a file: for tests of a command's output and exit code. At the
 * end, nothing that the commands left behind may keep the process from exiting.
 * @param script the program. Default: `sluice`.
 */
export function shareSluice(
  script?: string,
): (args: readonly string[], env?: NodeJS.ProcessEnv, input?: string) => Promise<EndedRun> {
  const shared = share((whenOver) => {
    const runner = fork(join(packageRoot, 'test/support/command-runner.mjs'), [script ?? cliScript()]);
    const left = new AbortController();
    const exited = once(runner, 'exit').finally(() => left.abort());
    whenOver(async () => {
      runner.disconnect();
      expect(await exited).toEqual([0, null]);
    });
    return { runner, signal: left.signal };
  });
  return async (args, env = {}, input = '') => {
    const { runner, signal } = shared();
    runner.send({ args, env, input });
    const [run]: EndedRun[] = await once(runner, 'message', { signal });
    if (run === undefined) throw new Error('no answer');
    return run;
  };
}

/** Starts `sluice` in a terminal: the screen is on standard output, and standard input is the keyboard. */
export function sluiceInTerminal(args: readonly string[], size?: TerminalSize, whenOver?: WhenOver): CliRun {
  return inTerminal([process.execPath, cliScript(), ...args], size, undefined, whenOver);
}

interface TerminalSize {
  readonly lines: number;
  readonly columns: number;
}

/** Starts any program in a terminal. */
export function inTerminal(
  command: readonly string[],
  { lines, columns }: TerminalSize = { lines: 30, columns: 100 },
  cwd?: string,
  whenOver?: WhenOver,
): CliRun {
  const terminal = join(packageRoot, 'test/support/terminal.py');
  // Without site packages, Python starts sooner.
  const args = ['-I', '-S', terminal, String(lines), String(columns), ...command];
  return new CliRun(spawn(python(), args, cwd ? { cwd } : {}), whenOver);
}

/** The running child processes of a process, with their command lines, which any user can read. */
export function childrenOf(pid: number): { pid: number; commandLine: string }[] {
  const pids = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
  return pids.map((child) => ({
    pid: Number(child),
    commandLine: readFileSync(`/proc/${child}/cmdline`, 'utf8').replaceAll('\0', ' '),
  }));
}

/** Starts `sluice` with a limit on file descriptors. */
export function sluiceWithFiles(openFiles: number, args: readonly string[]): CliRun {
  const command = `ulimit -n ${openFiles}; exec "$0" "$@"`;
  return new CliRun(spawn('/bin/sh', ['-c', command, process.execPath, cliScript(), ...args]));
}
