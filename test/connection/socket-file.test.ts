import { existsSync, lstatSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { SocketManager } from 'sluice';
import { describe, expect, test } from 'vitest';
import { startBroker, temporaryFolder } from '../support/broker.js';

const logger = pino({ level: 'silent' });

describe('the socket file', () => {
  test('of a live broker is left alone', async () => {
    const { socketPath, connect } = await startBroker();
    const second = new SocketManager({ socketPath, workers: { threads: 1 } }, { logger });
    await expect(second.start()).rejects.toMatchObject({
      code: 'ADDRESS_IN_USE',
      message: expect.stringContaining(socketPath),
    });
    const peer = await connect();
    await peer.settled();
  });

  test('that nobody listens on is replaced', async () => {
    const socketPath = join(temporaryFolder(), 'stale.sock');
    const { spawnSync } = await import('node:child_process');
    const script = `require('net').createServer().listen(${JSON.stringify(socketPath)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    expect(lstatSync(socketPath).isSocket()).toBe(true);
    const { connect } = await startBroker({ socketPath });
    await (await connect()).settled();
  });

  test('that is another kind of file is refused', async () => {
    const socketPath = join(temporaryFolder(), 'file');
    writeFileSync(socketPath, 'precious');
    const manager = new SocketManager({ socketPath, workers: { threads: 1 } }, { logger });
    await expect(manager.start()).rejects.toMatchObject({ code: 'SOCKET_PATH_INVALID' });
  });

  test('in a folder that is not there is refused', async () => {
    const manager = new SocketManager(
      { socketPath: '/nowhere/at/all.sock', workers: { threads: 1 } },
      { logger },
    );
    await expect(manager.start()).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
  });

  test('of a successor is not removed by the one before', async () => {
    const { manager, socketPath } = await startBroker();
    const { unlinkSync } = await import('node:fs');
    unlinkSync(socketPath);
    const successor = new SocketManager({ socketPath, workers: { threads: 1 } }, { logger });
    await successor.start();
    await manager.stop();
    expect(existsSync(socketPath)).toBe(true);
    await successor.stop();
    expect(existsSync(socketPath)).toBe(false);
  });
});
