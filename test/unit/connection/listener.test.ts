import { existsSync, statSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { listenAt } from '#src/connection/listener.js';
import { temporaryFolder } from '../../support/broker.js';

const options = { backlog: 16, socketMode: '0600' };
const LOOPBACK = '127.0.0.1';

function newServer(): Server {
  const server = createServer();
  onTestFinished(() => void server.close());
  return server;
}

describe('listenAt', () => {
  test('listens on a path, and removes the socket file', async () => {
    const path = join(temporaryFolder(), 'server.sock');
    const remove = await listenAt(newServer(), { path }, 'name', options);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    remove();
    expect(existsSync(path)).toBe(false);
  });

  test('listens on a host and port, and leaves no listener', async () => {
    const server = newServer();
    const remove = await listenAt(server, { host: LOOPBACK, port: 0 }, 'name', options);
    expect(server.address()).toMatchObject({ address: LOOPBACK });
    expect(server.listenerCount('error')).toBe(0);
    remove();
    expect(server.listening).toBe(true);
  });

  test('names the target if the port is in use, or the address is not of this machine', async () => {
    const first = newServer();
    await listenAt(first, { host: LOOPBACK, port: 0 }, 'first', options);
    const { port } = first.address() as AddressInfo;
    await expect(listenAt(newServer(), { host: LOOPBACK, port }, 'second', options)).rejects.toMatchObject({
      code: 'ADDRESS_IN_USE',
      message: expect.stringContaining('second: '),
    });
    await expect(
      listenAt(newServer(), { host: '203.0.113.1', port: 0 }, 'third', options),
    ).rejects.toMatchObject({ code: 'LISTEN_FAILED', message: expect.stringContaining('third: ') });
  });
});
