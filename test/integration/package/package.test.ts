// The package as users get it: packed, installed into an empty folder, imported, and run with the programs of its pages.

import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ask } from '../../support/admin.js';
import { startPlainBroker, until } from '../../support/broker.js';
import { packageRoot, runNode } from '../../support/cli.js';
import { line, VALID } from '../../support/messages.js';
import { Peer } from '../../support/peer.js';
import { publishedPackage } from '../../support/published.js';

/** The programs of pages that consist of programs, in the order they come. */
const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  'README.md': ['first.mts'],
  'docs/broker.md': ['manager.mts', 'server.mts'],
  'docs/client.md': ['client.mts'],
  'docs/schemas.md': ['my-schemas.mjs', 'more-names.mjs'],
};

const IMPORTS = `
import { MessageParser, MessageValidator } from 'sluice';
import { SluiceClient } from 'sluice/client';
import dropIn, { ConnectionState, type CrawlerMessage, type MessageHandler } from 'sluice/drop-in';
import { crawlerSchemas, type MessageMap } from 'sluice/messages';
import { validMessage } from 'sluice/testing';
const heartbeat: MessageMap['heartbeat']['data']['systemStatus'] = 'idle';
console.log(typeof MessageParser, typeof MessageValidator, typeof SluiceClient, Object.keys(crawlerSchemas).length, heartbeat);
console.log(Object.keys(dropIn).join(), ConnectionState.ACTIVE, validMessage('heartbeat').type);
export const handler: MessageHandler<number> = {
  canHandle: ({ type }: CrawlerMessage) => type === 'job_request',
  handle: async (message, connection) => ({ success: connection.isActive(), data: message.type.length }),
  getPriority: () => 1,
};
export async function dispose(server: import('sluice').SocketServer, client: SluiceClient): Promise<void> {
  await server[Symbol.asyncDispose]();
  await server.manager[Symbol.asyncDispose]();
  await client[Symbol.asyncDispose]();
}
// What the broker alone may touch is not in the types.
export function touch(connection: import('sluice').SocketConnection): void {
  connection.statistics satisfies object;
  // @ts-expect-error
  connection.lane;
  // @ts-expect-error
  connection.outbox;
  // @ts-expect-error
  connection.isHelloAccepted = true;
  // @ts-expect-error
  connection.role = 'app';
  // @ts-expect-error
  connection.workload = 0;
}
`;

/** What the TypeScript of the other pages uses and the reader has. */
const READERS_CODE = `
declare const server: import('sluice').SocketServer;
declare const jobService: {
  getAvailableJobs(count: number): Promise<import('sluice/messages').MessageMap['job_response']['data']['jobs']>;
};
declare const websocket: { send(text: string): void };
declare const allowed: ReadonlySet<string>;
declare const histogram: { observe(labels: object, value: number): void };
declare function currentTrace(): string;
declare function count(code: string): void;
declare function handle(message: unknown): Promise<void>;
`;

/** What pages link to and the package does not contain: pictures, figures, and pages for those who change the code. */
const ONLY_IN_REPOSITORY =
  /^((CHANGELOG|CONTRIBUTING|SECURITY)\.md|docs\/(architecture|getting-started|http-api|migration|patterns|performance|reliability)\.md|docs\/dashboard\.png|deploy\/(Dockerfile|fleet-compose\.yaml)|bench\/.*)$/;
/** In bytes, compressed. */
const MAX_SIZE = 400_000;

/** The parts of package.json that say where the types are. */
interface PackageTypes {
  readonly types: string;
  readonly exports: Readonly<Record<string, string | { readonly types: string }>>;
  readonly typesVersions: { readonly '*': Readonly<Record<string, readonly string[]>> };
}

let folder: string;
let tarball: string;
/** The files with the TypeScript of the other pages in docs/. */
let snippets: string[];

const run = (command: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}) =>
  execFileSync(command, args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-install-'));
  writeFileSync(join(folder, 'package.json'), '{ "name": "user", "type": "module", "private": true }');
  const options = ['--ignore-scripts', '--silent', '--pack-destination', folder];
  tarball = join(folder, run('npm', ['pack', ...options], publishedPackage()).trim());
  run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', tarball], folder);
  expect(lstatSync(join(folder, 'node_modules/sluice')).isSymbolicLink()).toBe(false);
  expect(existsSync(join(folder, 'node_modules/sluice/src'))).toBe(false);
  for (const [page, names] of Object.entries(PROGRAMS)) {
    const text = readFileSync(join(packageRoot, page), 'utf8');
    const blocks = [...text.matchAll(/^```(?:ts|js)\n(.*?)^```/gms)].map(([, code = '']) => code);
    expect(blocks, page).toHaveLength(names.length);
    // Where sockets go is all that is changed.
    names.forEach((name, index) => {
      writeFileSync(join(folder, name), (blocks[index] ?? '').replaceAll("'/run/", `'${folder}/`));
    });
  }
  writeFileSync(join(folder, 'imports.mts'), IMPORTS);
  writeFileSync(join(folder, 'readers-code.d.ts'), READERS_CODE);
  const pages = readdirSync(join(packageRoot, 'docs')).filter((page) => !(`docs/${page}` in PROGRAMS));
  snippets = pages.flatMap((page) =>
    [...readFileSync(join(packageRoot, 'docs', page), 'utf8').matchAll(/^```ts\n(.*?)^```/gms)].map(
      ([, text = ''], index) => {
        const name = `${page.replace('.md', '')}-${index + 1}.mts`;
        writeFileSync(join(folder, name), text);
        return name;
      },
    ),
  );
  expect(snippets).toHaveLength(7);
  copyFileSync(join(packageRoot, 'test/support/crawler-app.ts'), join(folder, 'crawler-app.mts'));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the packed package', () => {
  test('is small', () => {
    expect(statSync(tarball).size).toBeLessThan(MAX_SIZE);
  });

  test.each([
    ['attw', ['--profile', 'esm-only']],
    ['publint', ['--strict']],
  ])('has no problem that %s finds', (command, options) => {
    expect(() =>
      run(join(packageRoot, 'node_modules/.bin', command), [...options, tarball], folder),
    ).not.toThrow();
  });
});

describe('an install of the packed package', () => {
  test.each(['es2021', 'esnext'])('compiles against the types with lib %s', (lib) => {
    const tsc = join(packageRoot, 'node_modules/typescript/bin/tsc');
    const types = join(packageRoot, 'node_modules/@types');
    const options = [
      '--strict',
      '--module',
      'nodenext',
      '--target',
      'es2022',
      // Users may have an older library than this project, and check the declarations of their dependencies.
      '--lib',
      lib,
      '--skipLibCheck',
      'false',
      '--typeRoots',
      types,
      '--types',
      'node',
      // Each further thread checks the declarations of the dependencies anew.
      '--singleThreaded',
    ];
    const programs = Object.values(PROGRAMS)
      .flat()
      .filter((name) => name.endsWith('.mts'));
    const files = [...programs, ...snippets, 'readers-code.d.ts', 'imports.mts', 'crawler-app.mts'];
    // Go, in which the compiler is written, collects garbage less often with this: a quarter of the time.
    expect(run(process.execPath, [tsc, ...options, ...files], folder, { GOGC: '400' })).toBe('');
  });

  test('has types for `moduleResolution: node`, which does not read `exports`', () => {
    const { exports, types, typesVersions } = JSON.parse(
      readFileSync(join(folder, 'node_modules/sluice/package.json'), 'utf8'),
    ) as PackageTypes;
    const entries = Object.entries(exports).flatMap(([name, entry]) =>
      typeof entry === 'string' ? [] : [[name, entry.types] as const],
    );
    const old = Object.entries(typesVersions['*']).map(([name, [path]]) => [`./${name}`, path] as const);
    expect([['.', types], ...old]).toEqual(entries);
  });

  test('has every file that its pages link to', () => {
    const installed = join(folder, 'node_modules/sluice');
    const pages = readdirSync(installed, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.md'),
    );
    const broken = pages.flatMap((page) =>
      [...readFileSync(join(installed, page), 'utf8').matchAll(/\]\((?!https?:|#)([^)#]+)[^)]*\)/g)]
        .map(([, target = '']) => join(installed, page, '..', target))
        .filter((target) => !existsSync(target)),
    );
    expect(pages.length).toBeGreaterThan(8);
    const others = broken.map((target) => relative(installed, target));
    expect(others.filter((target) => !ONLY_IN_REPOSITORY.test(target))).toEqual([]);
  });

  test('imports from each entry point', () => {
    expect(run(process.execPath, ['imports.mjs'], folder)).toBe(
      'function function function 9 idle\n' +
        'SocketServer,MessageRouter,createDefaultRouter,createSocketServer,config active heartbeat\n',
    );
  });

  test('runs the README’s first program', async () => {
    const program = runNode(join(folder, 'first.mjs'), [], {}, folder);
    expect(await program.exited).toBe(0);
    expect(program.stdout).toMatch(/^received \{\s+type: 'job_started',[^}]*jobId: 'job-1'/m);
  });

  test('runs the SocketManager of docs/broker.md', async () => {
    const socketPath = join(folder, 'manager.sock');
    const env = { SOCKET_PATH: socketPath, SOCKET_WORKERS_THREADS: '1', SOCKET_PATTERNS: 'off' };
    const program = runNode(join(folder, 'manager.mjs'), [], env, folder);
    await program.says('"msg":"listening"');
    const peer = await Peer.connect(socketPath);
    await program.says('New connection:');
    peer.say('job_failed', { ...VALID.job_failed.data, errorType: 'timeout' }, { jobId: 'job-1' });
    await program.says('job-1 timeout');
    await peer.close();
  });

  test('runs the SocketServer of docs/broker.md', async () => {
    const program = runNode(join(folder, 'server.mjs'), [], {}, folder);
    await program.says('"msg":"listening"');
    const crawler = await Peer.connect(join(folder, 'crawlers.sock'));
    crawler.write(line(VALID.job_request) + line(VALID.job_progress));
    expect((await crawler.next('job_assignment')).data).toMatchObject({ job_id: 'test_job' });
    await program.says('job-1 5');
    crawler.say('job_failed', { ...VALID.job_failed.data, errorType: 'timeout' }, { jobId: 'job-1' });
    await program.says('timeout');
    await crawler.close();
  });

  test('runs the clients of docs/client.md', async () => {
    const { manager, connect } = await startPlainBroker({ socketPath: join(folder, 'sluice.sock') });
    const app = await (await connect()).subscribe({ types: ['job_request', 'job_started'] });
    const program = runNode(join(folder, 'client.mjs'), [], {}, folder);
    await app.next('job_request');
    app.say('job_assignment', VALID.job_assignment.data, { to: 'crawler-1' });
    expect(await app.next('job_started')).toMatchObject({ jobId: 'job-1' });
    // The crawler leaves, and the application subscribes.
    await until(() => manager.getMetrics().protocol.subscriptions === 2);
    const crawler = await connect();
    crawler.say('job_failed', { ...VALID.job_failed.data, errorType: 'timeout' }, { jobId: 'job-1' });
    await program.says('timeout');
    expect(program.stderr).toBe('');
  });

  test('serves the schema module of docs/schemas.md, and the dashboard', async () => {
    const [socketPath, admin] = [join(folder, 'schemas.sock'), join(folder, 'admin.sock')];
    const bin = join(folder, 'node_modules/sluice/dist/src/cli/main.js');
    const options = ['--socket', socketPath, '--admin', admin, '--schemas', './my-schemas.mjs'];
    const broker = runNode(bin, ['serve', ...options, '--workers', '1', '--patterns', 'off'], {}, folder);
    await broker.says('"msg":"listening"');
    const [app, crawler] = [await Peer.connect(socketPath), await Peer.connect(socketPath)];
    await app.subscribe();
    const page = { type: 'page_fetched', url: 'https://example.com/', bytes: 5 };
    crawler.write(line({ ...page, bytes: -1 }) + line(page));
    expect(await app.next('page_fetched')).toEqual(page);
    await crawler.settled();
    expect(crawler.errors).toEqual(['RULE_VIOLATION']);
    await Promise.all([app.close(), crawler.close()]);
    const dashboard = await ask(admin, '/');
    expect([dashboard.status, dashboard.body.includes('uPlot')]).toEqual([200, true]);
    for (const name of ['page.js', 'page.css', 'uPlot.esm.js']) {
      expect((await ask(admin, `/dashboard/${name}`)).status).toBe(200);
    }
    broker.child.kill('SIGTERM');
    expect(await broker.exited).toBe(0);
  });

  test('runs the command', async () => {
    const bin = join(folder, 'node_modules/sluice/dist/src/cli/main.js');
    expect(run(join(folder, 'node_modules/.bin/sluice'), ['--version'], folder)).toMatch(/^\d/);
    const options = ['--duration', '1', '--crawlers', '1', '--rate', '100', '--workers', '1'];
    const demo = runNode(bin, ['demo', ...options], {}, folder);
    expect(await demo.exited).toBe(0);
  });

  test('serves the dashboard when dependencies are symbolic links, as pnpm installs them', async () => {
    const linked = join(folder, 'linked');
    cpSync(join(folder, 'node_modules/sluice'), linked, { recursive: true });
    symlinkSync(join(folder, 'node_modules'), join(linked, 'node_modules'));
    const sockets = ['--socket', join(folder, 'linked.sock'), '--admin', join(folder, 'linked-admin.sock')];
    const bin = join(linked, 'dist/src/cli/main.js');
    const broker = runNode(bin, ['serve', ...sockets, '--workers', '1', '--patterns', 'off'], {}, linked);
    await broker.says('"msg":"listening"');
    broker.child.kill('SIGTERM');
    expect(await broker.exited).toBe(0);
  });
});
