import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { pino } from 'pino';
import { SocketManager } from 'sluice';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { MAX_SOCKET_PATH } from '#src/config/defaults.js';
import { listenAtPath, temporaryName } from '#src/connection/socket-file.js';
import { LIGHT, sharePlainBroker, startPlainBroker, temporaryFolder } from '../../support/broker.js';
import { packageRoot, runNode } from '../../support/cli.js';
import { Peer } from '../../support/peer.js';
import { missingTools, without } from '../../support/tools.js';

/** Without workers, brokers start at once. */
const LOCAL = { logger: pino({ level: 'silent' }), validatesLocally: true };

const MODE_0600 = { backlog: 10, socketMode: '0600' };
const missing = missingTools('systemd-tmpfiles');

/**
 * A program that starts two brokers at one path, the second one in another worker, until its input ends. Only these
 * workers load the package.
 */
function programInWorker(kind: string, socketPath: string): string {
  const options = { socketPath, socketMode: '0660', logLevel: 'silent', ...LIGHT };
  return `
    import cluster from 'node:cluster';
    import { isMainThread, parentPort, Worker } from 'node:worker_threads';
    const start = () => ${kind === 'cluster' ? 'cluster.fork()' : 'new Worker(new URL(import.meta.url))'};
    if (${kind === 'cluster' ? 'cluster.isPrimary' : 'isMainThread && parentPort === null'}) {
      const first = start();
      first.once('message', (text) => {
        console.log(text);
        start().once('message', (code) => console.log(code));
      });
      process.stdin.on('end', () => first.${kind === 'cluster' ? 'send' : 'postMessage'}('stop')).resume();
    } else {
      const port = parentPort ?? process;
      const send = (text) => (parentPort === null ? process.send(text) : parentPort.postMessage(text));
      const exit = () => (parentPort === null ? process.disconnect() : parentPort.close());
      const { SocketManager } = await import('${join(packageRoot, 'dist/src/index.js')}');
      const manager = new SocketManager(${JSON.stringify(options)});
      port.once('message', () => manager.stop().then(exit));
      manager.start().then(() => send('ready'), ({ code }) => { send(code); exit(); });
    }`;
}

/** The socket file of a process that was killed. */
function leaveSocketAt(path: string): void {
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', script]);
  expect(lstatSync(path).isSocket()).toBe(true);
}

/** A server at a path, until the end of the test. */
async function listen(path: string): Promise<void> {
  const server = createServer();
  onTestFinished(() => void server.close());
  await listenAtPath(server, path, MODE_0600);
}

describe('the socket file', () => {
  const shared = sharePlainBroker();

  test('of a live broker is left alone', async () => {
    const { socketPath, connect } = shared();
    const second = new SocketManager({ socketPath, ...LIGHT }, LOCAL);
    await expect(second.start()).rejects.toMatchObject({
      code: 'ADDRESS_IN_USE',
      message: expect.stringContaining(socketPath),
    });
    const peer = await connect();
    await peer.settled();
  });

  test('that nobody listens on is replaced', async () => {
    const socketPath = join(temporaryFolder(), 'stale.sock');
    leaveSocketAt(socketPath);
    await listen(socketPath);
    await (await Peer.connect(socketPath)).close();
  });

  test('that is another kind of file is rejected', async () => {
    const socketPath = join(temporaryFolder(), 'file');
    writeFileSync(socketPath, 'precious');
    await expect(listen(socketPath)).rejects.toMatchObject({ code: 'SOCKET_PATH_INVALID' });
  });

  test('that is a symbolic link is rejected, wherever it leads', async () => {
    const { socketPath } = shared();
    const link = join(temporaryFolder(), 'link.sock');
    symlinkSync(socketPath, link);
    await expect(listen(link)).rejects.toMatchObject({ code: 'SOCKET_PATH_INVALID' });
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
  });

  test('in a folder that everybody may write to is rejected, unless it is sticky', async () => {
    const folder = temporaryFolder();
    const socketPath = join(folder, 's.sock');
    chmodSync(folder, 0o777);
    await expect(listen(socketPath)).rejects.toMatchObject({ code: 'SOCKET_PATH_INVALID' });
    chmodSync(folder, 0o1777);
    await listen(socketPath);
  });

  test('has the configured mode and group; default 0600', async () => {
    const group = process.getegid?.() ?? 0;
    const { socketPath } = shared();
    expect(lstatSync(socketPath).mode & 0o777).toBe(0o600);
    const open = await startPlainBroker({ socketMode: '0660', socketGroup: String(group) });
    expect(lstatSync(open.socketPath)).toMatchObject({ gid: group });
    expect(lstatSync(open.socketPath).mode & 0o777).toBe(0o660);
    const unknown = new SocketManager({ ...LIGHT, socketGroup: 'no-such-group' }, LOCAL);
    await expect(unknown.start()).rejects.toMatchObject({ code: 'INVALID_OPTION' });
  });

  test('is taken by one of many that start at once', async () => {
    const socketPath = join(temporaryFolder(), 'contested.sock');
    const results = await Promise.allSettled(Array.from({ length: 4 }, () => listen(socketPath)));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'ADDRESS_IN_USE' });
    }
    await (await Peer.connect(socketPath)).close();
  });

  test('is made beside those of others that start at the same time in its folder', async () => {
    const folder = temporaryFolder();
    const paths = ['a', 'b', 'c'].map((name) => join(folder, name));
    const servers = paths.map(() => createServer());
    const options = { backlog: 10, socketMode: '600' };
    await Promise.all(servers.map((server, index) => listenAtPath(server, paths[index] ?? '', options)));
    expect(readdirSync(folder).sort()).toEqual(['a', 'b', 'c']);
    for (const path of paths) await (await Peer.connect(path)).close();
    for (const server of servers) server.close();
  });

  test('is made though a start that was killed has left a folder behind, with a socket or without', async () => {
    for (const hasSocket of [true, false]) {
      const socketPath = join(temporaryFolder(), 'broker.sock');
      const temporary = temporaryName(socketPath);
      mkdirSync(dirname(temporary), 0o700);
      if (hasSocket) leaveSocketAt(temporary);
      await listen(socketPath);
      await (await Peer.connect(socketPath)).close();
      expect(readdirSync(dirname(socketPath))).toEqual(['broker.sock']);
    }
  });

  test('is not made while something else has the temporary name', async () => {
    const socketPath = join(temporaryFolder(), 'broker.sock');
    writeFileSync(dirname(temporaryName(socketPath)), 'precious');
    await expect(listenAtPath(createServer(), socketPath, MODE_0600)).rejects.toMatchObject({
      code: 'SOCKET_PATH_INVALID',
      message: expect.stringContaining(dirname(temporaryName(socketPath))),
    });
  });

  test('may have a path as long as the system allows, and a relative one in a folder of any length', async () => {
    const top = temporaryFolder();
    const folder = join(top, 'f'.repeat(MAX_SOCKET_PATH - '/.abcd/s'.length - top.length - 1));
    mkdirSync(folder);
    const longest = join(folder, 's'.repeat(MAX_SOCKET_PATH - folder.length - 1));
    const deep = join(folder, 'd'.repeat(60));
    mkdirSync(deep);
    const servers = [createServer(), createServer()];
    await listenAtPath(servers[0] as Server, longest, MODE_0600);
    await (await Peer.connect(longest)).close();
    const before = process.cwd();
    process.chdir(deep);
    try {
      await listenAtPath(servers[1] as Server, 'short.sock', MODE_0600);
      await (await Peer.connect('short.sock')).close();
    } finally {
      process.chdir(before);
    }
    for (const server of servers) server.close();
  });

  test('with a relative path is removed, though the process has changed its working directory', async () => {
    const folder = temporaryFolder();
    const before = process.cwd();
    process.chdir(folder);
    try {
      const manager = new SocketManager({ socketPath: 's.sock', ...LIGHT }, LOCAL);
      await manager.start();
      process.chdir(before);
      await (await Peer.connect(join(folder, 's.sock'))).close();
      await manager.stop();
    } finally {
      process.chdir(before);
    }
    expect(readdirSync(folder)).toEqual([]);
  });

  test('is made without a change of the umask, which is that of all threads', async () => {
    const umask = vi.spyOn(process, 'umask');
    const server = createServer();
    await listenAtPath(server, join(temporaryFolder(), 's.sock'), MODE_0600);
    server.close();
    expect(umask).not.toHaveBeenCalled();
    umask.mockRestore();
  });

  test.each(['worker_threads', 'cluster'])('is made in a worker of node:%s, with its mode', async (kind) => {
    const folder = temporaryFolder();
    const [script, socketPath] = [join(folder, 'program.mjs'), join(folder, 's.sock')];
    writeFileSync(script, programInWorker(kind, socketPath));
    const program = runNode(script, []);
    await program.says('ready');
    expect(lstatSync(socketPath).mode & 0o777).toBe(0o660);
    // Not by way of the primary, which would make it possible to have two brokers at one path.
    await program.says('ADDRESS_IN_USE');
    await (await Peer.connect(socketPath)).close();
    program.child.stdin.end();
    expect(await program.exited).toBe(0);
    expect(program.stderr).toBe('');
    expect(existsSync(socketPath)).toBe(false);
  });

  test.skipIf(missing.length > 0)(
    `of a live broker is not cleaned away by systemd-tmpfiles${without(missing)}`,
    async () => {
      const folder = temporaryFolder();
      const { socketPath, connect } = await startPlainBroker({ socketPath: join(folder, 'broker.sock') });
      const stale = join(folder, 'stale.sock');
      leaveSocketAt(stale);
      const config = join(temporaryFolder(), 'tmpfiles.conf');
      // Everything that is older than a microsecond is cleaned away.
      writeFileSync(config, `d ${folder} 0700 - - 1us\n`);
      const run = spawnSync('systemd-tmpfiles', ['--clean', '--prefix', folder, config], {
        encoding: 'utf8',
      });
      expect(run).toMatchObject({ status: 0, stderr: '' });
      expect([existsSync(stale), existsSync(socketPath)]).toEqual([false, true]);
      await (await connect()).settled();
    },
  );

  test('in a folder that is not there is rejected', async () => {
    const manager = new SocketManager({ socketPath: '/nowhere/at/all.sock', ...LIGHT }, LOCAL);
    await expect(manager.start()).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringMatching(/\/nowhere\/at\/all\.sock: its folder does not exist$/),
    });
  });

  test('that is lost and made again is logged, with a code', async () => {
    const lines: { msg: string; code?: string; address?: string }[] = [];
    const log = pino({ level: 'info' }, { write: (text: string) => lines.push(JSON.parse(text)) });
    const socketPath = join(temporaryFolder(), 'broker.sock');
    const options = { socketPath, healthCheckInterval: 20, ...LIGHT };
    await using manager = new SocketManager(options, { ...LOCAL, logger: log });
    await manager.start();
    unlinkSync(socketPath);
    await expect.poll(() => lines.map(({ msg }) => msg)).toContain('listening again');
    expect(lines.map(({ msg, code, address }) => [msg, code ?? address])).toEqual([
      ['listening', socketPath],
      ['server error', 'SOCKET_FILE_LOST'],
      ['listening again', socketPath],
    ]);
  });

  test('of a successor is not removed by the one before', async () => {
    // So rarely checked that it is not made again meanwhile.
    const { manager, socketPath } = await startPlainBroker({ healthCheckInterval: 3_600_000 });
    unlinkSync(socketPath);
    const successor = new SocketManager({ socketPath, ...LIGHT }, LOCAL);
    await successor.start();
    await manager.stop();
    expect(existsSync(socketPath)).toBe(true);
    await successor.stop();
    expect(existsSync(socketPath)).toBe(false);
  });
});
