// What a command loads before it does anything: the broker, and what it is made with, only where it is needed.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../../support/broker.js';
import { type EndedRun, packageRoot, runSluice } from '../../support/cli.js';

const RECORDER = pathToFileURL(join(packageRoot, 'test/support/record-imports.mjs')).href;

interface Loaded {
  readonly run: EndedRun;
  readonly packages: string[];
  /** Names of the files of commands. */
  readonly commands: string[];
}

const runs = new Map<string, Promise<Loaded>>();

/** The packages and the files of commands that a command loads. Each command runs once. */
function loadedBy(args: readonly string[]): Promise<Loaded> {
  const name = args.join(' ');
  const loaded = runs.get(name) ?? record(args);
  runs.set(name, loaded);
  return loaded;
}

async function record(args: readonly string[]): Promise<Loaded> {
  const file = join(temporaryFolder(), 'imports');
  const run = await runSluice(args, { IMPORTS_FILE: file, NODE_OPTIONS: `--import ${RECORDER}` });
  const imports = readFileSync(file, 'utf8');
  const namesIn = (pattern: RegExp) =>
    [...new Set([...imports.matchAll(pattern)].map(([, name = '']) => name))].sort();
  return {
    run,
    packages: namesIn(/\/node_modules\/((?:@[^/\n]+\/)?[^/\n]+)\//g),
    commands: namesIn(/\/src\/cli\/commands\/([^/\n]+)\.js$/gm),
  };
}

test.each([
  [['--version'], 0],
  [['--help'], 0],
  [['pub', '--nonsense'], 64],
  [['status', '--admin', '/nowhere.sock'], 69],
])('%j loads the parser of the command line alone', async (args, code) => {
  const { run, packages } = await loadedBy(args);
  expect(packages).toEqual(['commander']);
  expect(run.code).toBe(code);
});

test.each([
  [['pub', '--socket', '/nowhere.sock'], 69],
  [['sub', '--socket', '/nowhere.sock'], 69],
  [['completion', 'bash'], 0],
  [['serve', '--print-config'], 0],
])('%j loads the schemas, but no broker', async (args, code) => {
  const { run, packages } = await loadedBy(args);
  expect(packages).toEqual(['commander', 'zod']);
  expect(run.code).toBe(code);
});

test('serve without its schemas exits 78 and says why; it loads no workers before them, and no printer for a terminal', async () => {
  const { run, packages } = await loadedBy(['serve', '--schemas', '/nowhere.mjs']);
  // The log is a CommonJS package, which is not recorded.
  expect(packages).toEqual(['commander', 'zod']);
  expect(run).toMatchObject({
    code: 78,
    stdout: '',
    stderr: expect.stringContaining('SCHEMA_MODULE_INVALID'),
  });
  expect(run.stderr.trim().split('\n').length).toBeLessThanOrEqual(2);
});

const ALL = [
  'bench',
  'check',
  'completion',
  'dead',
  'demo',
  'drift',
  'log',
  'pub',
  'schemas',
  'serve',
  'status',
  'sub',
  'top',
];

test.each([
  [['--version'], []],
  [['-V', 'pub'], []],
  [['pub', '--nonsense'], ['pub']],
  [['help', 'check'], ['check']],
  [['--help'], ALL],
  [['help'], ALL],
  [['fly'], ALL],
  [['completion', 'bash'], ALL],
])('%j loads the files of the commands %j', async (args, expected) => {
  const { commands } = await loadedBy(args);
  expect(commands).toEqual(expected);
});
