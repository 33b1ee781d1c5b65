// A program that uses this package, bundled by esbuild.

import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { SERVER_VERSION } from '#src/version.js';
import { LIGHT, shareBroker, temporaryFolder } from '../../support/broker.js';
import { packageRoot, runNode } from '../../support/cli.js';
import { VALID } from '../../support/messages.js';
import { publishedPackage } from '../../support/published.js';
import { share } from '../../support/share.js';
import { without } from '../../support/tools.js';

const esbuild = join(packageRoot, 'node_modules/.bin/esbuild');
const missing = existsSync(esbuild) ? [] : ['esbuild'];

/** Starts a broker with an admin server, and publishes a message to it. Its argument is the path of the socket. */
const BROKER = `
import { SocketManager } from 'sluice';
import { SluiceClient } from 'sluice/client';
const [, , socketPath] = process.argv;
async function main() {
  const manager = new SocketManager({ socketPath, admin: socketPath + '.admin', workers: { threads: 1 }, patterns: 'off' });
  const received = new Promise((resolve) => manager.on('message', resolve));
  await manager.start();
  const crawler = new SluiceClient({ socketPath, hello: { role: 'crawler', crawlerId: 'c1' } });
  await crawler.connect();
  await crawler.publishAsync(${JSON.stringify(VALID.job_failed)});
  console.log('received', (await received).message.type);
  await crawler.close();
  await manager.stop();
}
console.log('loaded');
main().catch(({ code, message }) => console.log(code, message));
`;

const CLIENT = `
import { SluiceClient } from 'sluice/client';
const [, , socketPath] = process.argv;
async function main() {
  const client = new SluiceClient({ socketPath, hello: { role: 'app' } });
  await client.connect();
  console.log('connected');
  await client.close();
}
main();
`;

const FORMATS = [
  ['esm', 'mjs'],
  ['cjs', 'cjs'],
] as const;

test('the version in the code is that of the package', () => {
  const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as {
    version: unknown;
  };
  expect(SERVER_VERSION).toBe(version);
});

describe.skipIf(missing.length > 0)(`bundled by esbuild${without(missing)}`, () => {
  const folder = share((whenOver) => {
    const path = temporaryFolder(whenOver);
    mkdirSync(join(path, 'elsewhere'));
    mkdirSync(join(path, 'app/node_modules'), { recursive: true });
    symlinkSync(publishedPackage(), join(path, 'app/node_modules/sluice'));
    const programs = { broker: BROKER, client: CLIENT };
    for (const [name, program] of Object.entries(programs))
      writeFileSync(join(path, `app/${name}.mjs`), program);
    for (const [format, extension] of FORMATS) {
      const options = ['--bundle', '--platform=node', `--format=${format}`, '--log-level=error'];
      const output = ['--outdir=out', `--out-extension:.js=.${extension}`];
      execFileSync(esbuild, ['broker.mjs', 'client.mjs', ...options, ...output], { cwd: join(path, 'app') });
      for (const name of Object.keys(programs))
        copyFileSync(
          join(path, `app/out/${name}.${extension}`),
          join(path, `elsewhere/${name}.${extension}`),
        );
    }
    return path;
  });
  const broker = shareBroker(LIGHT);

  async function run(path: string, socketPath: string): Promise<string> {
    const program = runNode(join(folder(), path), [socketPath], {}, folder());
    await program.exited;
    return program.stdout;
  }

  const newSocket = () => join(temporaryFolder(), 'broker.sock');

  describe.each(FORMATS)('as %s', (_, extension) => {
    test('a broker runs: workers, log and admin server come from node_modules', async () => {
      expect(await run(`app/out/broker.${extension}`, newSocket())).toBe('loaded\nreceived job_failed\n');
    });

    test('without the package in node_modules, start() fails with one line about the remedy', async () => {
      const output = await run(`elsewhere/broker.${extension}`, newSocket());
      expect(output).toMatch(/^loaded\nNOT_INSTALLED [^\n]*: not found; [^\n]*--external:sluice[^\n]*\n$/);
    });

    test('a client needs no node_modules', async () => {
      const output = await run(`elsewhere/client.${extension}`, broker().socketPath);
      expect(output).toBe('connected\n');
    });
  });

  test('with another version in node_modules, start() names both', async () => {
    const installed = join(temporaryFolder(), 'node_modules/sluice');
    mkdirSync(installed, { recursive: true });
    writeFileSync(join(installed, 'package.json'), '{ "name": "sluice", "version": "99.0.0" }');
    const copy = join(installed, '../../broker.mjs');
    copyFileSync(join(folder(), 'elsewhere/broker.mjs'), copy);
    const program = runNode(copy, [newSocket()]);
    await program.exited;
    expect(program.stdout).toContain('NOT_INSTALLED');
    expect(program.stdout).toContain(`version 99.0.0 found instead of ${SERVER_VERSION}`);
  });
});
