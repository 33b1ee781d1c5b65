import { expect, test } from 'vitest';
import { shareSluice } from '../../../support/cli.js';

const run = shareSluice();

async function help(...words: string[]): Promise<string> {
  const { code, stdout } = await run([...words, '--help']);
  expect(code).toBe(0);
  return stdout;
}

test('the help of schemas offers what it reads, and no more', async () => {
  const options = [...(await help('schemas')).matchAll(/^ {2}(?:-h, )?(--[\w-]+)/gm)].map(([, flag]) => flag);
  expect(options).toEqual(['--config', '--max-message-age', '--max-clock-skew', '--schemas', '--help']);
});

test('help serve prints what serve --help does', async () => {
  const { code, stdout } = await run(['help', 'serve']);
  expect(code).toBe(0);
  expect(stdout).toBe(await help('serve'));
});

test('the help of serve says each default once', async () => {
  const text = (await help('serve')).replaceAll(/\s+/g, ' ');
  for (const option of text.split(/ (?=--[a-z-]+ <)/)) {
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
