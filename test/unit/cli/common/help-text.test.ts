import { describe, expect, test } from 'vitest';
import { OPTION_GROUPS } from '#src/config/config.js';
import { OPTION_SPECS } from '#src/config/sources.js';
import { shareSluice, sluiceInTerminal } from '../../../support/cli.js';
import { missingTools, without } from '../../../support/tools.js';

const run = shareSluice();

async function help(...words: string[]): Promise<string> {
  const { code, stdout } = await run([...words, '--help']);
  expect(code).toBe(0);
  return stdout;
}

test('the help of schemas offers what it reads, and no more', async () => {
  const options = [...(await help('schemas')).matchAll(/^ {2}(?:-h, )?(--[\w-]+)/gm)].map(([, flag]) => flag);
  const own = ['--config', '--json', '--max-message-age', '--max-clock-skew', '--schemas', '--help'];
  expect(options).toEqual(own);
});

test('help serve prints what serve --help does', async () => {
  const { code, stdout } = await run(['help', 'serve']);
  expect(code).toBe(0);
  expect(stdout).toBe(await help('serve'));
});

test('the help of serve contains each default once', async () => {
  const text = (await help('serve')).replaceAll(/\s+/g, ' ');
  for (const option of text.split(/ (?=--[a-z-]+ [<[])/)) {
    expect(option.split('default: ').length, option).toBeLessThanOrEqual(2);
  }
});

test('the help of every command has examples that its own flags allow, and the exit codes', async () => {
  const overview = await help();
  const commands = [...overview.matchAll(/^ {2}(\w+) .*$/gm)].map(([, name]) => name ?? '');
  const names = commands.filter((name) => name !== 'help' && /^[a-z]+$/.test(name));
  expect(names).toEqual(
    expect.arrayContaining(['serve', 'pub', 'sub', 'check', 'schemas', 'demo', 'completion']),
  );
  for (const name of names) {
    const text = await help(name);
    const [options = '', examples = ''] = text.split('\nExamples:\n');
    const own = examples.split('\n').filter((line) => line.includes(`sluice ${name}`));
    expect(own.length, name).toBeGreaterThan(0);
    for (const flag of own.join(' ').match(/(?<=\s)--[a-z][a-z-]+/g) ?? [])
      expect(options, name).toContain(`${flag} `);
    expect(text).toContain('Exit codes: 0 success, 1 ');
  }
});

test('the help of serve has each option in its group, and a heading for each group', async () => {
  const [, ...sections] = (await help('serve')).split(/^(?=\S.*:$)/m);
  const groups = sections.map((section) => ({
    heading: section.slice(0, section.indexOf(':')),
    flags: [...section.matchAll(/^ {2}(--[\w-]+)/gm)].map(([, flag]) => flag),
  }));
  const expected = Object.keys(OPTION_GROUPS).map((heading) => ({
    heading,
    flags: OPTION_SPECS.filter(({ group, isSecret }) => group === heading && !isSecret).map(
      ({ flag }) => flag,
    ),
  }));
  expect(groups.slice(1, -1)).toEqual(expected);
  expect(groups.map(({ heading }) => heading)).toEqual([
    'Options',
    ...Object.keys(OPTION_GROUPS),
    'Examples',
  ]);
});

test('without a terminal, the help of every command fits into 80 columns', async () => {
  const names = [...(await help()).matchAll(/^ {2}([a-z]+) .*$/gm)].map(([, name]) => name ?? '');
  for (const name of [undefined, ...names.filter((name) => name !== 'help')]) {
    const lines = (await help(...(name === undefined ? [] : [name]))).split('\n');
    expect(lines.filter((line) => line.length > 80)).toEqual([]);
  }
});

const missing = missingTools('python3');

describe.skipIf(missing.length > 0)(`in a terminal${without(missing)}`, () => {
  test.each([
    [100, 100],
    [200, 120],
  ])('of %i columns, the help of serve uses %i', async (columns, width) => {
    const run = sluiceInTerminal(['serve', '--help'], { lines: 30, columns });
    expect(await run.exited).toBe(0);
    // The examples are not wrapped.
    const [options = ''] = run.stdout.replaceAll('\r', '').split('\nExamples:\n');
    const longest = Math.max(...options.split('\n').map((line) => line.length));
    expect(longest).toBeLessThanOrEqual(width);
    expect(longest).toBeGreaterThan(width - 5);
  });
});
