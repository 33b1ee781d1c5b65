// The package as users get it: packed, installed into an empty folder, imported, and run.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ask } from './support/admin.js';
import { packageRoot, runNode } from './support/cli.js';
import { Peer } from './support/peer.js';

const PROGRAM = `
import { SocketManager, SOCKET_CONFIG } from 'sluice';
const socketManager = new SocketManager(SOCKET_CONFIG);
socketManager.on('connection_added', (event) => console.log('New connection:', event.connection.id));
socketManager.on('connection_removed', (event) => console.log('Connection removed:', event.connectionId));
await socketManager.start();
const connectionPool = socketManager.getConnectionPool();
await connectionPool.broadcast({
  type: 'job_assignment', timestamp: new Date().toISOString(),
  data: { job_id: 'test_job', job_type: 'crawl_project', gitlab_host: 'https://gitlab.example.com', access_token: 'token_here', priority: 1, resume: false },
});
`;

const IMPORTS = `
import { MessageParser, MessageValidator } from 'sluice';
import { SluiceClient } from 'sluice/client';
import { crawlerSchemas, type MessageMap } from 'sluice/messages';
const heartbeat: MessageMap['heartbeat']['data']['systemStatus'] = 'idle';
console.log(typeof MessageParser, typeof MessageValidator, typeof SluiceClient, Object.keys(crawlerSchemas).length, heartbeat);
`;

let folder: string;
let socketPath: string;

const run = (command: string, args: readonly string[], cwd: string) =>
  execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-install-'));
  socketPath = join(folder, 'broker.sock');
  // What is packed is what was built before the tests.
  run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], packageRoot);
  writeFileSync(join(folder, 'package.json'), '{ "name": "user", "type": "module", "private": true }');
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz')) ?? '';
  run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', `./${tarball}`], folder);
  writeFileSync(join(folder, 'program.mts'), PROGRAM);
  writeFileSync(join(folder, 'imports.mts'), IMPORTS);
}, 120_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('an install from npm pack', () => {
  test('compiles against the types', () => {
    const tsc = join(packageRoot, 'node_modules/typescript/bin/tsc');
    const types = join(packageRoot, 'node_modules/@types');
    const options = [
      '--strict',
      '--module',
      'nodenext',
      '--target',
      'es2022',
      '--typeRoots',
      types,
      '--types',
      'node',
    ];
    expect(run(process.execPath, [tsc, ...options, 'program.mts', 'imports.mts'], folder)).toBe('');
  });

  test('imports from each entry point', () => {
    expect(run(process.execPath, ['imports.mjs'], folder)).toBe('function function function 9 idle\n');
  });

  test('runs the documented program as written', async () => {
    const program = runNode(join(folder, 'program.mjs'), [], { SOCKET_PATH: socketPath }, folder);
    await program.says('"msg":"listening"');
    const peer = await Peer.connect(socketPath);
    await program.says('New connection:');
    await peer.close();
    await program.says('Connection removed:');
    program.child.kill('SIGKILL');
    await program.exited;
  });

  test('serves the dashboard', async () => {
    const bin = join(folder, 'node_modules/sluice/dist/src/cli/main.js');
    const [socket, admin] = ['c.sock', 'admin.sock'].map((name) => join(folder, name)) as [string, string];
    const broker = runNode(
      bin,
      ['serve', '--socket', socket, '--admin', admin, '--workers', '1'],
      {},
      folder,
    );
    await broker.says('"msg":"listening"');
    const page = await ask(admin, '/');
    expect([page.status, page.body.includes('uPlot')]).toEqual([200, true]);
    broker.child.kill('SIGTERM');
    expect(await broker.exited).toBe(0);
  });

  test('runs the command', async () => {
    const bin = join(folder, 'node_modules/sluice/dist/src/cli/main.js');
    expect(run(join(folder, 'node_modules/.bin/sluice'), ['--version'], folder)).toMatch(/^\d/);
    const demo = runNode(bin, ['demo', '--duration', '1', '--crawlers', '1'], {}, folder);
    expect(await demo.exited).toBe(0);
  });
});
