import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { OPTION_SPECS } from '#src/config/sources.js';
import { temporaryFolder } from '../../support/broker.js';
import { cliScript, inTerminal, packageRoot, shareSluice } from '../../support/cli.js';
import { share } from '../../support/share.js';
import { missingTools, without } from '../../support/tools.js';

const run = promisify(execFile);
const runSluice = shareSluice();
const missing = (shell: string) => missingTools(shell);
const scripts: Record<string, string> = {};

beforeAll(async () => {
  for (const shell of ['bash', 'zsh', 'fish']) {
    scripts[shell] = (await runSluice(['completion', shell])).stdout;
  }
});

const bashScript = share((whenOver) => {
  const file = join(temporaryFolder(whenOver), 'completion.bash');
  writeFileSync(file, scripts.bash ?? '');
  return file;
});

/** What bash offers at the end of a command line; its words are separated as bash does. */
async function complete(
  words: readonly string[],
  { cwd = '/', source = `. '${bashScript()}'` }: { cwd?: string; source?: string } = {},
): Promise<string[]> {
  const { stdout } = await run(
    'bash',
    [
      '--norc',
      '-c',
      `${source}; shift 1; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sluice; printf '%s\\n' "\${COMPREPLY[@]}"`,
      process.execPath,
      cliScript(),
      'sluice',
      ...words,
    ],
    { cwd },
  );
  return stdout.split('\n').filter((text) => text !== '');
}

describe.skipIf(missing('bash').length > 0)(`bash completes${without(missing('bash'))}`, () => {
  test('commands', async () => {
    expect(await complete([''])).toEqual(expect.arrayContaining(['serve', 'pub', 'sub', 'check', '--help']));
    expect(await complete(['comp'])).toEqual(['completion']);
    expect(await complete(['x'])).toEqual([]);
  });

  test('as docs/broker.md has the script read', async () => {
    const source = 'source <("$0" "$1" completion bash)';
    expect(await complete(['comp'], { source })).toEqual(['completion']);
  });

  test('flags of the command', async () => {
    expect(await complete(['serve', '--max-c'])).toEqual(
      ['--max-connections', '--max-connection-bytes', '--max-clock-skew'].sort(byOption),
    );
    expect(await complete(['sub', '--max'])).toEqual([]);
    expect(await complete(['check', '--j'])).toEqual(['--json']);
  });

  test('values that a flag may have', async () => {
    expect(await complete(['serve', '--framing', ''])).toEqual(['auto', 'ndjson']);
    expect(await complete(['serve', '--framing', '=', 'n'])).toEqual(['ndjson']);
    expect(await complete(['serve', '--framing', '='])).toEqual(['auto', 'ndjson']);
    expect(await complete(['serve', '--enable-metrics', ''])).toEqual(['true', 'false']);
    expect(await complete(['sub', '--role', 'm'])).toEqual(['monitor']);
    expect(await complete(['completion', ''])).toEqual(['bash', 'zsh', 'fish']);
    expect(await complete(['serve', '--backlog', ''])).toEqual([]);
    expect(await complete(['serve', '--log-level', 'w'])).toEqual(['warn']);
    expect(await complete(['serve', '--host', ''], { cwd: packageRoot })).toEqual([]);
  });

  test('the choices of every option that has some', async () => {
    const specs = OPTION_SPECS.filter(({ choices }) => choices !== undefined);
    expect(specs.length).toBeGreaterThan(3);
    for (const { flag, choices } of specs) expect(await complete(['serve', flag, ''])).toEqual(choices);
  });

  test('files, with spaces in their names too', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'two words.ndjson'), '');
    mkdirSync(join(folder, 'twofold'));
    for (const words of [
      ['pub', 'tw'],
      ['check', '--quiet', 'tw'],
      ['serve', '--config', 'tw'],
      ['serve', '--schemas', 'tw'],
      ['serve', '--auth-file', 'tw'],
      ['serve', '--socket', 'tw'],
      ['sub', '--socket', 'tw'],
    ]) {
      expect((await complete(words, { cwd: folder })).sort()).toEqual(['two words.ndjson', 'twofold']);
    }
  });
});

const missingPython = missing('python3');

describe.skipIf([...missing('bash'), ...missingPython].length > 0)(
  `bash in a terminal${without([...missing('bash'), ...missingPython])}`,
  () => {
    test('takes words for names of files only where a file may stand', async () => {
      const folder = temporaryFolder();
      mkdirSync(join(folder, 'status'));
      const shell = inTerminal(['bash', '--norc', '--noprofile', '-i'], undefined, folder);
      writeFileSync(join(folder, 'completion.bash'), scripts.bash ?? '');
      shell.child.stdin.write('source completion.bash; sluice() { printf \'<%s>\' "$@" end; }\n');
      shell.child.stdin.write('sluice stat\t\n');
      await shell.says('<status><end>');
      shell.child.stdin.write('sluice pub stat\t\n');
      await shell.says('<pub><status/><end>');
    });
  },
);

const byOption = (a: string, b: string) => place(a) - place(b);
const place = (flag: string) => OPTION_SPECS.findIndex((spec) => spec.flag === flag);

describe('the scripts', () => {
  test.each(['bash', 'zsh', 'fish'])('for %s know every flag of serve that is no secret', (shell) => {
    for (const { flag, isSecret } of OPTION_SPECS) {
      const name = shell === 'fish' ? `-l ${flag.slice(2)} ` : flag;
      if (!isSecret) expect(scripts[shell]).toContain(name);
    }
  });

  test.skipIf(missing('zsh').length > 0)(`are good zsh${without(missing('zsh'))}`, async () => {
    await run('zsh', ['-n', '-c', scripts.zsh ?? '']);
  });

  test.skipIf(missing('fish').length > 0)(`are good fish${without(missing('fish'))}`, async () => {
    await run('fish', ['--no-execute', '-c', scripts.fish ?? '']);
  });

  test('are there for no other shell', async () => {
    const tried = await runSluice(['completion', 'tcsh']);
    expect(tried.code).toBe(64);
    expect(tried.stderr).toContain('Allowed choices are bash, zsh, fish');
  });
});
