import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { Supervisor } from '#src/cli/serve/supervisor.js';
import { temporaryFolder } from '../../support/broker.js';
import { CliRun, packageRoot, sluice } from '../../support/cli.js';
import { missingTools, python, without } from '../../support/tools.js';

const missing = missingTools('systemd-notify', 'python3');
const SERVE = ['serve', '--workers', '1', '--patterns', 'off'];
const silent = pino({ level: 'silent' });

/** Reads what is told, in the place of systemd. */
async function startReader(): Promise<{ reader: CliRun; path: string }> {
  const path = join(temporaryFolder(), 'notify.sock');
  const reader = new CliRun(
    spawn(python(), ['-I', '-S', join(packageRoot, 'test/support/notify-socket.py'), path]),
  );
  await reader.says('bound');
  return { reader, path };
}

const told = ({ stdout }: CliRun) =>
  stdout.split('\n').filter((text) => /^(READY|STOPPING|RELOADING)/.test(text));

test.skipIf(missing.length > 0)(
  `serve notifies systemd when it is ready, reloads and stops${without(missing)}`,
  async () => {
    const { reader, path } = await startReader();
    const run = sluice([...SERVE, '--socket', join(temporaryFolder(), 'x.sock')], { NOTIFY_SOCKET: path });
    await reader.says('READY=1');
    expect(run.stdout).toContain('"msg":"listening"');
    run.child.kill('SIGHUP');
    await reader.says('RELOADING=1');
    run.child.kill('SIGTERM');
    await reader.says('STOPPING=1');
    expect(await run.exited).toBe(0);
    expect(told(reader)).toEqual([
      'READY=1',
      expect.stringMatching(/^RELOADING=1 MONOTONIC_USEC=\d+$/),
      'READY=1',
      'STOPPING=1',
    ]);
    expect(run.stderr).toBe('');
  },
);

test.skipIf(missing.length > 0)(
  `a reload is notified with its time, and in order${without(missing)}`,
  async () => {
    const { reader, path } = await startReader();
    const supervisor = new Supervisor(silent, { ...process.env, NOTIFY_SOCKET: path });
    void supervisor.notify('ready');
    void supervisor.notify('reloading');
    await supervisor.notify('ready');
    expect(told(reader)).toEqual([
      'READY=1',
      expect.stringMatching(/^RELOADING=1 MONOTONIC_USEC=\d+$/),
      'READY=1',
    ]);
  },
);

test('where there is no systemd-notify, or nobody listens, the broker goes on and logs it', async () => {
  const socketPath = join(temporaryFolder(), 'x.sock');
  const run = sluice([...SERVE, '--socket', socketPath], {
    NOTIFY_SOCKET: '/nowhere/notify',
    PATH: '/nowhere',
  });
  await run.says('systemd-notify failed');
  run.child.kill('SIGTERM');
  expect(await run.exited).toBe(0);
  expect(run.stdout).toContain('"msg":"stopped"');
});

test('without NOTIFY_SOCKET nothing is started', async () => {
  const lines: string[] = [];
  const log = pino({ level: 'warn' }, { write: (line: string) => lines.push(line) });
  // What was started here would fail, and be logged.
  await new Supervisor(log, { PATH: '/nowhere' }).notify('ready');
  expect(lines).toEqual([]);
  await new Supervisor(log, { PATH: '/nowhere', NOTIFY_SOCKET: '/nowhere/notify' }).notify('ready');
  expect(lines).toEqual([expect.stringContaining('systemd-notify failed')]);
});
