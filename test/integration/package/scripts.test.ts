// The scripts of package.json that run something: what a user sees of them.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../../support/broker.js';
import { CliRun, packageRoot } from '../../support/cli.js';
import { Peer } from '../../support/peer.js';

/** Runs a script without its `pre` script: everything is built already. */
function npm(script: string, args: readonly string[]): CliRun {
  return new CliRun(spawn('npm', ['run', script, '--ignore-scripts', '--', ...args], { cwd: packageRoot }));
}

/** Runs the command of a script as npm does, which itself takes longer to start than most of the scripts. */
function withoutNpm(script: string, args: readonly string[]): CliRun {
  const { scripts } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as {
    scripts: Readonly<Record<string, string>>;
  };
  return new CliRun(spawn('sh', ['-c', `${scripts[script]} "$@"`, 'sh', ...args], { cwd: packageRoot }));
}

describe('npm start', () => {
  test('passes SIGTERM on: the broker stops, and npm exits with its code', async () => {
    const socketPath = join(temporaryFolder(), 'broker.sock');
    const run = npm('start', ['--socket', socketPath, '--workers', '1']);
    await run.says('listening');
    const peer = await Peer.connect(socketPath);
    run.child.kill('SIGTERM');
    await peer.next((message) => message.data.code === 'SHUTTING_DOWN');
    expect(await run.exited).toBe(0);
    expect(run.stdout).toContain('"msg":"stopped"');
    await expect(Peer.connect(socketPath)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('npm run pattern:dump', () => {
  test.each([
    [npm, ['heartbeat', '--schemas', '/nowhere.mjs'], 78, /^pattern:dump: .*\/nowhere\.mjs.*$/m],
    [withoutNpm, ['heartbeat', '--nonsense'], 64, /^pattern:dump: Unknown option '--nonsense'.*$/m],
  ])('%o %j is an error in one line', async (start, args, code, message) => {
    const run = start('pattern:dump', args);
    expect(await run.exited).toBe(code);
    expect(run.stderr).toMatch(message);
    expect(run.stderr).not.toMatch(/^ {4}at /m);
  });
});

describe('npm run bench:e2e', () => {
  test('--only with a text that no scenario name contains is an error that lists the scenarios', async () => {
    const run = withoutNpm('bench:e2e', ['--only', 'no such scenario']);
    expect(await run.exited).toBe(64);
    expect(run.stderr).toContain("No scenario name contains 'no such scenario'");
    for (const name of ['validation', '4 → 1', '4 → 1, 64 KB', 'latency', 'scaling']) {
      expect(run.stderr).toMatch(new RegExp(`^  ${name}$`, 'm'));
    }
  });
});
