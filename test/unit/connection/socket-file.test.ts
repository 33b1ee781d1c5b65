import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, lstatSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { pino } from 'pino';
import { SocketManager } from 'sluice';
import { describe, expect, test } from 'vitest';
import { listenAtPath, temporaryName } from '#src/connection/socket-file.js';
import { LIGHT, shareBroker, startPlainBroker, temporaryFolder, until } from '../../support/broker.js';
import { cliScript } from '../../support/cli.js';
import { Peer } from '../../support/peer.js';

const logger = pino({ level: 'silent' });

/** The socket file of a process that was killed. */
function leaveSocketAt(path: string): void {
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', script]);
  expect(lstatSync(path).isSocket()).toBe(true);
}

describe('the socket file', () => {
  const shared = shareBroker(LIGHT);

  test('of a live broker is left alone', async () => {
    const { socketPath, connect } = shared();
    const second = new SocketManager({ socketPath, ...LIGHT }, { logger });
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
    const { connect } = await startPlainBroker({ socketPath });
    await (await connect()).settled();
  });

  test('that is another kind of file is rejected', async () => {
    const socketPath = join(temporaryFolder(), 'file');
    writeFileSync(socketPath, 'precious');
    const manager = new SocketManager({ socketPath, ...LIGHT }, { logger });
    await expect(manager.start()).rejects.toMatchObject({ code: 'SOCKET_PATH_INVALID' });
  });

  test('that is a symbolic link is rejected, wherever it leads', async () => {
    const { socketPath } = shared();
    const link = join(temporaryFolder(), 'link.sock');
    symlinkSync(socketPath, link);
    const manager = new SocketManager({ socketPath: link, ...LIGHT }, { logger });
    await expect(manager.start()).rejects.toMatchObject({ code: 'SOCKET_PATH_INVALID' });
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
  });

  test('in a folder that everybody may write to is rejected, unless it is sticky', async () => {
    const folder = temporaryFolder();
    const manager = new SocketManager({ socketPath: join(folder, 's.sock'), ...LIGHT }, { logger });
    chmodSync(folder, 0o777);
    await expect(manager.start()).rejects.toMatchObject({ code: 'SOCKET_PATH_INVALID' });
    chmodSync(folder, 0o1777);
    await manager.start();
    await manager.stop();
  });

  test('has the mode and group that are asked for, 0600 without', async () => {
    const group = process.getegid?.() ?? 0;
    const { socketPath } = shared();
    expect(lstatSync(socketPath).mode & 0o777).toBe(0o600);
    const open = await startPlainBroker({ socketMode: '0660', socketGroup: String(group) });
    expect(lstatSync(open.socketPath)).toMatchObject({ gid: group });
    expect(lstatSync(open.socketPath).mode & 0o777).toBe(0o660);
    const unknown = new SocketManager({ ...LIGHT, socketGroup: 'no-such-group' }, { logger });
    await expect(unknown.start()).rejects.toMatchObject({ code: 'INVALID_OPTION' });
  });

  test('is taken by one of many that start at once', async () => {
    const socketPath = join(temporaryFolder(), 'contested.sock');
    const managers = Array.from({ length: 4 }, () => new SocketManager({ socketPath, ...LIGHT }, { logger }));
    const results = await Promise.allSettled(managers.map((manager) => manager.start()));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'ADDRESS_IN_USE' });
    }
    await (await Peer.connect(socketPath)).close();
    await Promise.all(managers.map((manager) => manager.stop()));
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

  test('is made though a start that was killed has left one behind', async () => {
    const socketPath = join(temporaryFolder(), 'broker.sock');
    leaveSocketAt(temporaryName(socketPath));
    const { connect } = await startPlainBroker({ socketPath });
    await (await connect()).settled();
    expect(readdirSync(dirname(socketPath))).toEqual(['broker.sock']);
  });

  test('that systemd has opened is listened on, and left where it is', async () => {
    const socketPath = join(temporaryFolder(), 'inherited.sock');
    // Opens the socket and hands it on, as systemd does; blocked meanwhile, so that it accepts nothing itself.
    const activator = `
      const { spawnSync } = require('child_process');
      const { existsSync } = require('fs');
      const path = ${JSON.stringify(socketPath)};
      const server = require('net').createServer().listen(path, () => {
        const command = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$1" serve --workers 1 --patterns off';
        const stdio = ['ignore', 'inherit', 'inherit', server._handle.fd];
        const { status } = spawnSync('/bin/sh', ['-c', command, process.execPath, ${JSON.stringify(cliScript)}], { stdio });
        console.log(JSON.stringify({ status, isThere: existsSync(path) }));
        process.exit();
      });`;
    const child = spawn(process.execPath, ['-e', activator], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.on('data', (text: Buffer) => {
      output += text.toString();
    });
    await until(() => output.includes('"listening"'));
    const peer = await Peer.connect(socketPath);
    await peer.settled();
    await peer.close();
    const { pid } = JSON.parse(output.split('\n')[0] ?? '') as { pid: number };
    process.kill(pid, 'SIGTERM');
    await once(child, 'close');
    expect(JSON.parse(output.trim().split('\n').at(-1) ?? '')).toEqual({ status: 0, isThere: true });
  });

  test('in a folder that is not there is rejected', async () => {
    const manager = new SocketManager({ socketPath: '/nowhere/at/all.sock', ...LIGHT }, { logger });
    await expect(manager.start()).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringMatching(/\/nowhere\/at\/all\.sock: its folder does not exist$/),
    });
  });

  test('of a successor is not removed by the one before', async () => {
    const { manager, socketPath } = await startPlainBroker();
    const { unlinkSync } = await import('node:fs');
    unlinkSync(socketPath);
    const successor = new SocketManager({ socketPath, ...LIGHT }, { logger });
    await successor.start();
    await manager.stop();
    expect(existsSync(socketPath)).toBe(true);
    await successor.stop();
    expect(existsSync(socketPath)).toBe(false);
  });
});
