// Commands with a progress bar or other lines that are redrawn, in a terminal: nothing else is erased by them, and
// nothing of them is left behind.

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, type WriteStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startAdminBroker } from '../../support/admin.js';
import { LIGHT, sharePlainBroker, temporaryFolder } from '../../support/broker.js';
import { type CliRun, cliScript, inTerminal, sluiceInTerminal } from '../../support/cli.js';
import { line, VALID } from '../../support/messages.js';
import { screenOf } from '../../support/screen.js';
import { missingTools, without } from '../../support/tools.js';

const missing = missingTools('python3');
/** More than `check` reads, and `pub` sends, at a time: the progress is shown before the end. */
const BLOCK = line({ ...VALID.heartbeat, note: 'x'.repeat(5000) }).repeat(500);
const BAR = /\[[#.]{30}\]|B, [\d,]+ (?:lines?|rejected)$/m;
/** A check that starts soon. */
const CHECK = ['check', '--workers', '1', '--patterns', 'off'];
const CTRL_C = '\u0003';

/** A pipe with a name, as input that does not end. */
async function openPipe(): Promise<{ file: string; input: WriteStream }> {
  const file = join(temporaryFolder(), 'input');
  execFileSync('mkfifo', [file]);
  const input = createWriteStream(file);
  // The command ends while the input is open.
  input.on('error', () => {});
  onTestFinished(() => void input.destroy());
  return { file, input };
}

function screen(run: CliRun): string[] {
  return screenOf(run.stdout);
}

describe.skipIf(missing.length > 0)(`in a terminal${without(missing)}`, () => {
  const shared = sharePlainBroker();

  test('check shows every finding, also the last, and no bar at the end', async () => {
    const file = join(temporaryFolder(), 'messages.ndjson');
    writeFileSync(file, `bad\n${BLOCK}bad\n${BLOCK}bad`);
    const run = sluiceInTerminal([...CHECK, file], { lines: 30, columns: 200 });
    expect(await run.exited).toBe(1);
    expect(run.stdout).toMatch(BAR);
    const shown = screen(run);
    expect(shown.slice(0, 3)).toEqual(
      [1, 502, 1003].map(
        (number) => `${file}:${number}: - INVALID_JSON The message is not valid JSON at byte 0`,
      ),
    );
    expect(shown[3]).toMatch(/^checked 1,003 messages, 3 rejected/);
    expect(shown.join('\n')).not.toMatch(BAR);
  });

  test.each([
    ['check', (file: string) => [...CHECK, file]],
    ['pub', (file: string) => ['pub', '--socket', shared().socketPath, file]],
  ])('%s leaves no progress behind when Ctrl-C ends it', async (_, argsOf) => {
    const { file, input } = await openPipe();
    const run = sluiceInTerminal(argsOf(file));
    input.write(BLOCK);
    await run.says('B, ');
    run.child.stdin.write(CTRL_C);
    await run.exited;
    expect(screen(run).join('\n')).not.toMatch(BAR);
  });

  test('pub shows every rejection above its progress', async () => {
    const file = join(temporaryFolder(), 'messages.ndjson');
    writeFileSync(file, `bad\n${BLOCK}bad\n${BLOCK}bad\n`);
    const run = sluiceInTerminal(['pub', '--socket', shared().socketPath, file]);
    expect(await run.exited).toBe(1);
    expect(run.stdout).toMatch(BAR);
    const shown = screen(run);
    expect(shown.slice(0, 3)).toEqual(
      [1, 502, 1003].map((number) => `line ${number}: INVALID_JSON: The message is not valid JSON at byte 0`),
    );
    expect(shown[3]).toMatch(/^sent 1,003 lines, .*, 3 error replies$/);
    expect(shown.join('\n')).not.toMatch(BAR);
  });

  test('pub leaves no progress behind when the broker closes the connection', async () => {
    const { socketPath, manager } = shared();
    const { file, input } = await openPipe();
    const pub = `"${process.execPath}" "${cliScript()}" pub --socket "${socketPath}"`;
    const run = inTerminal(['sh', '-c', `cat "${file}" | ${pub}; echo "exit code $?"`]);
    input.write(BLOCK);
    await run.says('B, ');
    for (const connection of manager.getConnectionPool()) connection.destroy();
    await run.says('sluice pub: ');
    input.end();
    await run.says('exit code 1');
    expect(screen(run).join('\n')).not.toMatch(BAR);
  });

  test('bench leaves no progress behind when Ctrl-C ends it', async () => {
    const args = ['bench', '--socket', shared().socketPath, '--latency', '100', '--msgs', '100000'];
    const run = sluiceInTerminal(args);
    await run.says('messages delivered');
    run.child.stdin.write(CTRL_C);
    await run.exited;
    expect(screen(run).join('\n')).not.toContain('messages delivered');
  });

  test('demo fits a low terminal, and Ctrl-C sums up', async () => {
    const run = sluiceInTerminal(['demo', '--crawlers', '1', '--rate', '100', '--workers', '1'], {
      lines: 6,
      columns: 100,
    });
    await run.says(' s of 15');
    await run.says('\u001b[5A');
    run.child.stdin.write(CTRL_C);
    expect(await run.exited).toBe(0);
    const shown = screen(run).join('\n');
    expect(shown).not.toContain(' s of 15');
    expect(shown).toMatch(/^In [\d.]+ s:$/m);
  });

  test('sub shows what it receives', async () => {
    const { socketPath } = shared();
    const run = sluiceInTerminal(['sub', '--socket', socketPath, '--types', 'job_*', '--crawler', 'c1']);
    await run.says(`receiving messages of type job_*, from crawler c1, from ${socketPath}; Ctrl-C ends`);
    run.child.stdin.write(CTRL_C);
    expect(await run.exited).toBe(0);
  });

  test.each([
    ['check', () => CHECK],
    ['pub', () => ['pub', '--socket', shared().socketPath]],
  ])('%s shows that it reads from the keyboard', async (command, argsOf) => {
    const run = sluiceInTerminal(argsOf());
    await run.says(`sluice ${command}: reading messages from the terminal; Ctrl-D ends`);
    run.child.stdin.write(`${line(VALID.heartbeat)}\u0004`);
    expect(await run.exited).toBe(0);
    expect(screen(run).join('\n')).toMatch(/^(?:checked 1 message, 0 rejected|sent 1 line)/m);
  });

  test('top shows since when the broker does not answer', async () => {
    const { manager, adminPath } = await startAdminBroker(LIGHT);
    const run = sluiceInTerminal(['top', '--admin', adminPath]);
    await run.says('q quit');
    await manager.stop();
    await run.says('no answer since ');
    const answered = once(run.child, 'close');
    run.child.stdin.write('q');
    await answered;
    expect(run.stdout).toMatch(/broker {4}no answer since \d\d:\d\d:\d\d: The connection could not/);
  });
});
