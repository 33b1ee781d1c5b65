// What a command loads before it does anything: the broker, and what it is made with, only where it is needed.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../../support/broker.js';
import { type EndedRun, packageRoot, runSluice } from '../../support/cli.js';

const RECORDER = pathToFileURL(join(packageRoot, 'test/support/record-imports.mjs')).href;

/** The packages that a command loads. */
async function packagesOf(args: readonly string[]): Promise<{ run: EndedRun; packages: string[] }> {
  const file = join(temporaryFolder(), 'imports');
  const run = await runSluice(args, { IMPORTS_FILE: file, NODE_OPTIONS: `--import ${RECORDER}` });
  const packages = readFileSync(file, 'utf8').matchAll(/\/node_modules\/((?:@[^/\n]+\/)?[^/\n]+)\//g);
  return { run, packages: [...new Set([...packages].map(([, name = '']) => name))].sort() };
}

test.each([
  [['--version'], 0],
  [['--help'], 0],
  [['pub', '--nonsense'], 64],
  [['status', '--admin', '/nowhere.sock'], 69],
])('%j loads the parser of the command line alone', async (args, code) => {
  const { run, packages } = await packagesOf(args);
  expect(packages).toEqual(['commander']);
  expect(run.code).toBe(code);
});

test.each([
  [['pub', '--socket', '/nowhere.sock'], 69],
  [['sub', '--socket', '/nowhere.sock'], 69],
  [['completion', 'bash'], 0],
  [['serve', '--print-config'], 0],
])('%j loads the schemas, but no broker', async (args, code) => {
  const { run, packages } = await packagesOf(args);
  expect(packages).toEqual(['commander', 'zod']);
  expect(run.code).toBe(code);
});

test('serve loads what the broker is made with, and no printer for a terminal that is not there', async () => {
  const { run, packages } = await packagesOf(['serve', '--schemas', '/nowhere.mjs']);
  expect(packages).toEqual(['commander', 'pino', 'piscina', 'zod']);
  expect(run.code).toBe(78);
});
