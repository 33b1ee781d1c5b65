import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { ClientSocket } from '#src/client/client-socket.js';
import { temporaryFolder, until } from '../../support/broker.js';

/** A client's socket, the server's end of it, and what the client has read. */
async function pair() {
  const socketPath = join(temporaryFolder(), 'server.sock');
  let peer: Socket | undefined;
  const server = createServer((socket) => {
    peer = socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  onTestFinished(() => void server.close());
  const seen = { bytes: 0, isClosed: false, cause: undefined as Error | undefined };
  const events = {
    onBytes: (bytes: Buffer) => {
      seen.bytes += bytes.length;
    },
    onDrain: () => {},
    onClosed: (cause: Error | undefined) => {
      Object.assign(seen, { isClosed: true, cause });
    },
  };
  const socket = await ClientSocket.open({ socketPath, host: '', port: 0 }, events, 1000);
  onTestFinished(() => socket.destroy());
  await until(() => peer !== undefined);
  return { socket, peer: peer as Socket, seen };
}

test('reads to the end what was sent before the peer closed, though writing fails first', async () => {
  const { socket, peer, seen } = await pair();
  socket.setPaused(true);
  await new Promise<void>((resolve) => peer.write(Buffer.alloc(150_000), () => resolve()));
  await new Promise((resolve) => peer.destroy().once('close', resolve));
  expect(seen).toEqual({ bytes: 0, isClosed: false, cause: undefined });
  // Nobody goes on reading: the failed write does it.
  await new Promise<void>((resolve) => socket.write('a', resolve));
  await new Promise<void>((resolve) => socket.write('b', resolve));
  await until(() => seen.isClosed);
  expect(seen.bytes).toBe(150_000);
  expect(seen.cause).toMatchObject({ code: 'EPIPE' });
});

test('closes when the peer does, with nothing to blame', async () => {
  const { peer, seen } = await pair();
  peer.end('x');
  await until(() => seen.isClosed);
  expect(seen).toEqual({ bytes: 1, isClosed: true, cause: undefined });
});

test('rejects when nobody listens, saying where', async () => {
  const events = { onBytes: () => {}, onDrain: () => {}, onClosed: () => {} };
  const address = { socketPath: '/nowhere.sock', host: '', port: 0 };
  await expect(ClientSocket.open(address, events, 1000)).rejects.toMatchObject({
    code: 'CONNECTION_FAILED',
    message: expect.stringContaining('/nowhere.sock'),
  });
});
