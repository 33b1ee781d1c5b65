import { execFile } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { startPlainBroker, temporaryFolder } from '../support/broker.js';
import { cliScript } from '../support/cli.js';

const run = promisify(execFile);

/** Runs a command whose output nobody reads. Rejects when it does not exit with 0. */
function unread(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<{ stderr: string }> {
  const script = 'set -o pipefail; "$0" "$@" | true';
  return run('bash', ['-c', script, process.execPath, cliScript(), ...args], {
    env: { ...process.env, ...env },
  });
}

// The errors of the output are handled in one place for all commands. These write in different ways: the help of commander,
// one large text, many lines.
test.each(['--help', 'completion bash', 'schemas'])(
  'sluice %s ends quietly when nobody reads what it prints',
  async (command) => {
    expect((await unread(command.split(' '))).stderr).toBe('');
  },
);

const hasFullDevice = existsSync('/dev/full');

test.skipIf(!hasFullDevice).each(['--help', 'schemas', 'check --json --workers 1 --patterns off /dev/null'])(
  `sluice %s reports a full disk in one line${hasFullDevice ? '' : ' (skipped: this machine has no /dev/full)'}`,
  async (command) => {
    const script = 'exec "$0" "$@" > /dev/full';
    const ended = run('sh', ['-c', script, process.execPath, cliScript(), ...command.split(' ')]);
    await expect(ended).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^sluice: .*no space left on device.*\n$/),
    });
  },
);

test('sluice reports a disk that becomes full in the middle of the output', async () => {
  const file = join(temporaryFolder(), 'output');
  // A limit of 4 KiB on files has the same effect as a disk with 4 KiB left.
  const script = `trap '' XFSZ; ulimit -f 4; exec "$0" "$1" completion bash > "$2"`;
  const ended = run('bash', ['-c', script, process.execPath, cliScript(), file]);
  await expect(ended).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^sluice: EFBIG.*\n$/),
  });
  expect(statSync(file).size).toBe(4096);
});

test('the commands that ask a broker do so, too', async () => {
  const adminPath = join(temporaryFolder(), 'admin.sock');
  const { socketPath } = await startPlainBroker({ admin: adminPath });
  const runs = [
    ['status', '--admin', adminPath],
    ['top', '--admin', adminPath],
    ['bench', '--socket', socketPath, '--msgs', '100'],
  ].map((args) => unread(args));
  for (const { stderr } of await Promise.all(runs)) expect(stderr).toBe('');
});

test('sluice demo does so soon, and leaves nothing behind', async () => {
  const folder = temporaryFolder();
  expect((await unread(['demo', '--duration', '3600', '--workers', '1'], { TMPDIR: folder })).stderr).toBe(
    '',
  );
  expect(readdirSync(folder)).toEqual([]);
});
