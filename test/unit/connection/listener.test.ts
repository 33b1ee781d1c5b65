import { once } from 'node:events';
import { existsSync, mkdirSync, renameSync, rmdirSync, statSync, unlinkSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Listener, type ListenTarget } from '#src/connection/listener.js';
import { temporaryFolder, until } from '../../support/broker.js';

const options = { backlog: 16, socketMode: '0600', healthCheckInterval: 10 };
const LOOPBACK = '127.0.0.1';

interface TestListener {
  readonly server: Server;
  readonly listener: Listener;
  /** Codes of the errors so far. */
  readonly errors: string[];
  readonly restored: string[];
}

function newListener(target: ListenTarget): TestListener {
  const server = createServer();
  const [errors, restored]: [string[], string[]] = [[], []];
  const listener = new Listener(server, target, 'name', options, {
    onError: (error) => errors.push((error as { code: string }).code),
    onRestored: (address) => restored.push(address),
  });
  onTestFinished(() => listener.close());
  return { server, listener, errors, restored };
}

async function openListener(target: ListenTarget): Promise<TestListener> {
  const opened = newListener(target);
  await opened.listener.open();
  return opened;
}

async function canConnect(path: string): Promise<boolean> {
  const socket = connect(path);
  return once(socket, 'connect').then(
    () => Boolean(socket.destroy()),
    () => false,
  );
}

describe('a listener', () => {
  test('listens on a path, and removes the socket file', async () => {
    const path = join(temporaryFolder(), 'server.sock');
    const { listener } = await openListener({ path });
    expect(listener.address).toBe(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await listener.close();
    expect(existsSync(path)).toBe(false);
  });

  test('listens on a host and port', async () => {
    const { listener, server } = await openListener({ host: LOOPBACK, port: 0 });
    const { port } = server.address() as AddressInfo;
    expect(listener).toMatchObject({ address: `${LOOPBACK}:${port}`, isReachable: true });
    await listener.close();
    expect(server.listening).toBe(false);
  });

  test('names the target if the port is in use, or the address is not of this machine', async () => {
    const { server } = await openListener({ host: LOOPBACK, port: 0 });
    const { port } = server.address() as AddressInfo;
    await expect(newListener({ host: LOOPBACK, port }).listener.open()).rejects.toMatchObject({
      code: 'ADDRESS_IN_USE',
      message: expect.stringContaining('name: '),
    });
    await expect(newListener({ host: '203.0.113.1', port: 0 }).listener.open()).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringContaining('name: '),
    });
  });

  test('rejects a file descriptor that is not a listening stream socket', async () => {
    await expect(newListener({ fd: 9999 }).listener.open()).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringContaining('name: not a listening stream socket: '),
    });
  });
});

describe('a socket file', () => {
  test('that was removed is made again, reported once; open connections stay', async () => {
    const path = join(temporaryFolder(), 'server.sock');
    const { server, listener, errors, restored } = await openListener({ path });
    const accepted = once(server, 'connection');
    const early = connect(path);
    const [peer] = await accepted;
    for (const round of [1, 2]) {
      unlinkSync(path);
      expect(listener.isReachable).toBe(false);
      await until(() => restored.length === round);
      expect(listener.isReachable).toBe(true);
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(await canConnect(path)).toBe(true);
      expect(errors).toHaveLength(round);
    }
    expect(errors).toEqual(['SOCKET_FILE_LOST', 'SOCKET_FILE_LOST']);
    expect(restored).toEqual([path, path]);
    peer.write('still here');
    expect(String((await once(early, 'data'))[0])).toBe('still here');
    early.destroy();
    await listener.close();
    expect(existsSync(path)).toBe(false);
  });

  test('of another live server is left alone; when that one is gone, the path is used again', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'server.sock');
    const { listener, errors, restored } = await openListener({ path });
    const other = createServer().listen(join(folder, 'other.sock'));
    await once(other, 'listening');
    renameSync(join(folder, 'other.sock'), path);
    const { ino } = statSync(path);
    await until(() => errors.length === 2);
    expect(errors).toEqual(['SOCKET_FILE_LOST', 'ADDRESS_IN_USE']);
    expect(listener.isReachable).toBe(false);
    expect(statSync(path).ino).toBe(ino);
    other.close();
    await until(() => restored.length === 1);
    expect(listener.isReachable).toBe(true);
    expect(statSync(path).ino).not.toBe(ino);
    expect(errors).toHaveLength(2);
  });

  test('of another live server stays when the first one is closed', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'server.sock');
    const { listener, errors } = await openListener({ path });
    const other = createServer().listen(join(folder, 'other.sock'));
    onTestFinished(() => void other.close());
    await once(other, 'listening');
    renameSync(join(folder, 'other.sock'), path);
    await until(() => errors.length === 2);
    await listener.close();
    expect(await canConnect(path)).toBe(true);
  });

  test('whose folder was removed is made again once the folder is back', async () => {
    const folder = join(temporaryFolder(), 'run');
    const path = join(folder, 'server.sock');
    mkdirSync(folder);
    const { listener, errors, restored } = await openListener({ path });
    unlinkSync(path);
    rmdirSync(folder);
    await until(() => errors.length === 2);
    expect(errors).toEqual(['SOCKET_FILE_LOST', 'LISTEN_FAILED']);
    expect(listener.isReachable).toBe(false);
    mkdirSync(folder);
    await until(() => restored.length === 1);
    expect(await canConnect(path)).toBe(true);
  });
});
