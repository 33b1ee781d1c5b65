import { execFile } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { Traffic } from '#src/traffic/traffic.js';
import { temporaryFolder } from '../../../support/broker.js';
import { cliScript, packageRoot, runNode, shareSluice } from '../../../support/cli.js';
import { changed, line, VALID } from '../../../support/messages.js';

const shell = promisify(execFile);
const runShared = shareSluice();
/** How many workers there are, and how they validate, is not what most of these tests are about. */
const CHECK = ['check', '--workers', '1', '--patterns', 'off'];
const check = (...args: readonly string[]) => runShared([...CHECK, ...args]);

function fileOf(text: string | Buffer): string {
  const file = join(temporaryFolder(), 'messages.ndjson');
  writeFileSync(file, text);
  return file;
}

const BAD = `${line(VALID.heartbeat)}\nCANARY\n${line(changed('job_progress', { processed: 11, stage: 'CANARY' }))}`;

describe('sluice check', () => {
  test('finds nothing in a good file: exits 0, sums up on standard error', async () => {
    const run = await check('--patterns', 'on', fileOf(new Traffic({ seed: 1 }).block(3000)));
    expect(run.code).toBe(0);
    expect(run.stdout).toBe('');
    expect(run.stderr).toMatch(
      /^checked 3,000 messages, 0 rejected \(1\.\d MB in [\d.]+ s, [\d,]+ messages\/s, /,
    );
    expect(run.stderr).toMatch(/^ {2}job_progress +2,\d{3}$/m);
  });

  test('prints a line for each thing that is wrong, without what was in it, and exits 1', async () => {
    const file = fileOf(BAD);
    const run = await check(file);
    expect(run.code).toBe(1);
    expect(run.stdout.split('\n')).toEqual([
      `${file}:3: - INVALID_JSON The message is not valid JSON at byte 0`,
      expect.stringMatching(/:4: data\.stage invalid_value expected .* \[SCHEMA_VIOLATION job_progress\]$/),
      '',
    ]);
    expect(run.stderr).toContain('checked 3 messages, 2 rejected');
    expect(run.stderr).toMatch(/^ {2}INVALID_JSON +1$/m);
    expect(run.stdout + run.stderr).not.toContain('CANARY');
  });

  test('few messages make no rate, and one is not many; it needs no newline at its end', async () => {
    const run = await check(fileOf(JSON.stringify(VALID.heartbeat)));
    expect(run.code).toBe(0);
    expect(run.stderr).toMatch(/^checked 1 message, 0 rejected \(\d+ B in [\d.]+ s\)$/m);
  });

  test('--json prints NDJSON: each rejected message, and a summary', async () => {
    const file = fileOf(BAD);
    const run = await check('--json', file);
    expect(run.code).toBe(1);
    const [first, second, last] = run.stdout
      .trim()
      .split('\n')
      .map((text) => JSON.parse(text));
    expect(first).toEqual({ file, line: 3, code: 'INVALID_JSON', issues: [], offset: 0 });
    expect(second).toMatchObject({ line: 4, type: 'job_progress', issues: [{ path: 'data.stage' }] });
    expect(last.summary).toMatchObject({
      file,
      bytes: BAD.length,
      accepted: { heartbeat: 1 },
      rejected: { INVALID_JSON: 1, SCHEMA_VIOLATION: 1 },
      isComplete: true,
    });
    expect(run.stderr).toBe('');
  });

  test('--quiet prints nothing and only sets the exit code', async () => {
    const run = await check('--quiet', fileOf(BAD));
    expect(run.code).toBe(1);
    expect(run.stdout + run.stderr).toBe('');
  });

  test('--max-errors stops after this number, and reports it', async () => {
    const run = await check('--max-errors', '3', fileOf('bad\n'.repeat(1000)));
    expect(run.code).toBe(1);
    expect(run.stdout.trim().split('\n').length).toBe(3);
    expect(run.stderr).toMatch(/^stopped early: checked \d+ messages, 3 rejected/);
  });

  test('reads standard input without a file', async () => {
    const run = await runShared(CHECK, {}, BAD);
    expect(run.code).toBe(1);
    expect(run.stdout).toContain('stdin:3: - INVALID_JSON');
  });

  test('reads standard input for -, and --json names it alike in findings and summary', async () => {
    const run = await runShared([...CHECK, '--json', '-'], {}, BAD);
    expect(run.code).toBe(1);
    const [finding, second, { summary }] = run.stdout
      .trim()
      .split('\n')
      .map((text) => JSON.parse(text));
    expect(finding).toEqual({ file: 'stdin', line: 3, code: 'INVALID_JSON', issues: [], offset: 0 });
    expect([second.file, summary.file]).toEqual(['stdin', 'stdin']);
  });

  test('an empty file is fine', async () => {
    expect((await check(fileOf(''))).code).toBe(0);
  });

  test('escapes control and format characters in the texts of rules', async () => {
    const schemas = fileOf(
      [
        `import * as z from '${import.meta.resolve('zod')}';`,
        `export const schemas = { odd: z.looseObject({ type: z.literal('odd') }) };`,
        `export const rules = { odd: (message, report) => report('path', 'odd', 'a\\u009b2J\\u202e') };`,
      ].join('\n'),
    );
    const module = schemas.replace(/ndjson$/, 'mjs');
    renameSync(schemas, module);
    const run = await check('--schemas', module, fileOf(line({ type: 'odd' })));
    expect(run.stdout).toContain('path odd a\\u009b2J\\u202e [RULE_VIOLATION odd]');
  });

  test('bytes of no kind of text are rejected, not fatal', async () => {
    const bytes = Buffer.alloc(300_000);
    const program = openSync(process.execPath, 'r');
    readSync(program, bytes);
    closeSync(program);
    const run = await check(fileOf(bytes));
    expect(run.code).toBe(1);
    expect(run.stderr).toContain('rejected');
  });

  test('goes by --schemas, --max-message-age, --max-message-size and --framing', async () => {
    const old = line(VALID.job_request);
    const file = fileOf(`{"type":"page_fetched","url":"CANARY"}\n${old}${line(VALID.heartbeat)}`);
    const schemas = join(packageRoot, 'test/support/custom-schemas.mjs');
    const limits = ['--max-message-age', '1000', '--max-message-size', String(old.length)];
    const run = await check(file, '--schemas', schemas, ...limits);
    expect(run.code).toBe(1);
    expect(run.stdout).toContain(':1: url');
    expect(run.stdout).toContain(':2: timestamp');
    expect(run.stdout).toContain(':3: - MESSAGE_TOO_LARGE');
    const glued = fileOf(JSON.stringify(VALID.heartbeat).repeat(2));
    expect((await check(glued)).code).toBe(0);
    expect((await check(glued, '--framing', 'ndjson')).code).toBe(1);
  });

  test('reports what cannot be read or used, and exits as the other commands do', async () => {
    const folder = join(temporaryFolder(), 'folder');
    mkdirSync(folder);
    for (const [args, code, text] of [
      [['/nowhere.ndjson'], 66, '/nowhere.ndjson'],
      [[folder], 66, 'is a directory'],
      [[fileOf(''), '--schemas', '/nowhere.mjs'], 78, 'SCHEMA_MODULE_INVALID'],
      [[fileOf(''), '--max-errors', '-1'], 64, 'Expected an integer'],
      [[fileOf(''), '--socket', '/x'], 64, 'unknown option'],
    ] as const) {
      const run = await check(...args);
      expect(run.code).toBe(code);
      expect(run.stderr).toContain(text);
    }
  });

  test('works in a pipe: head ends it quietly', async () => {
    const file = fileOf('bad\n'.repeat(3000));
    const { stdout, stderr } = await shell('bash', [
      '-c',
      `"${process.execPath}" "${cliScript()}" ${CHECK.join(' ')} "${file}" | head -n 2; echo "exit code \${PIPESTATUS[0]}"`,
    ]);
    expect(stdout.split('\n')).toMatchObject(
      [/:1: /, /:2: /, 'exit code 1', ''].map((text) => expect.stringMatching(text)),
    );
    expect(stderr).toBe('');
  });

  test('keeps a file of 80 MB within bounded memory', async () => {
    const file = join(temporaryFolder(), 'big.ndjson');
    const block = new Traffic({ seed: 2 }).block(20_000);
    const broken = Buffer.from(`${'{"type":"heartbeat","timestamp":1}\n'.repeat(100)}`);
    const output = openSync(file, 'w');
    let size = 0;
    let blocks = 0;
    for (; size < 80e6; blocks++) size += writeSync(output, block) + writeSync(output, broken);
    closeSync(output);
    const watched = join(packageRoot, 'test/support/peak-memory.mjs');
    const run = runNode(cliScript(), [...CHECK, '--patterns', 'on', '--json', file], {
      NODE_OPTIONS: `--import=${watched}`,
    });
    expect(await run.exited).toBe(1);
    const { summary } = JSON.parse(run.stdout.trim().split('\n').at(-1) ?? '{}');
    expect(summary).toMatchObject({
      bytes: size,
      rejected: { SCHEMA_VIOLATION: blocks * 100 },
      isComplete: true,
    });
    // A file of 50 MB takes 100 MB: with all of this one in memory, it would be 180.
    expect(Number(/peak RSS ([\d.]+) MB/.exec(run.stderr)?.[1])).toBeLessThan(150);
  });
});
