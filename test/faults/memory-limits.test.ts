// Limits on the address space of the process. The kernel counts what V8 only reserves: 10 GiB for each memory of
// WebAssembly, 600 MiB for each thread.

import { execFile, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../support/broker.js';
import { CliRun, cliScript } from '../support/cli.js';
import { line, VALID } from '../support/messages.js';
import { Peer } from '../support/peer.js';

const NO_PATTERNS = 'there is not enough address space for the memory of WebAssembly (ulimit -v)';
const GiB = 1024 * 1024;

/** Runs `sluice` with a limit on address space, in KiB. */
function limited(limit: number, args: readonly string[]): CliRun {
  const script = `ulimit -v ${limit}; exec "$0" "$@"`;
  return new CliRun(spawn('bash', ['-c', script, process.execPath, cliScript(), ...args]));
}

function fileOfMessages(): string {
  const path = join(temporaryFolder(), 'messages.ndjson');
  writeFileSync(path, line(VALID.heartbeat));
  return path;
}

test('check works without patterns, and reports that once', async () => {
  const run = limited(4 * GiB, ['check', '--workers', '2', fileOfMessages()]);
  expect(await run.exited).toBe(0);
  expect(run.stderr).toMatch(/^checked 1 message, 0 rejected/m);
  expect(run.stderr.split(`sluice check: validating without patterns: ${NO_PATTERNS}\n`)).toHaveLength(2);
});

test('schemas lists no pattern, and the reason', async () => {
  const run = limited(8 * GiB, ['schemas']);
  expect(await run.exited).toBe(0);
  expect(run.stdout).toContain(`none      ${NO_PATTERNS}`);
  expect(run.stderr).toBe(`sluice: no pattern can be used: ${NO_PATTERNS}\n`);
});

test('the broker validates without patterns, in the workers and inline, and logs that once', async () => {
  const socketPath = join(temporaryFolder(), 'broker.sock');
  const run = limited(8 * GiB, ['serve', '--socket', socketPath, '--workers', '1', '--inline-bytes', '16k']);
  await run.says('"msg":"listening"');
  const peer = await Peer.connect(socketPath);
  peer.write(`${line(VALID.heartbeat)}{}\n`);
  await peer.next('error');
  await peer.close();
  run.child.kill('SIGTERM');
  expect(await run.exited).toBe(0);
  const warnings = run.stdout.split('\n').filter((text) => text.includes('validating without patterns'));
  expect(warnings.map((text) => JSON.parse(text))).toMatchObject([{ level: 40, reason: NO_PATTERNS }]);
});

test('without room for the workers, the command fails with a reason', async () => {
  const run = limited(2 * GiB, ['check', '--workers', '8', fileOfMessages()]);
  expect(await run.exited).toBe(1);
  expect(run.stderr).toMatch(
    /^sluice: WORKERS_FAILED: .*the limit on address space \(ulimit -v\) has room for \d/,
  );
});

test('without WebAssembly, check works without patterns', async () => {
  const { stderr } = await promisify(execFile)(process.execPath, [
    '--jitless',
    cliScript(),
    'check',
    '--workers',
    '1',
    fileOfMessages(),
  ]);
  expect(stderr).toContain(
    'sluice check: validating without patterns: this machine does not support WebAssembly',
  );
  expect(stderr).toMatch(/^checked 1 message, 0 rejected/m);
});
