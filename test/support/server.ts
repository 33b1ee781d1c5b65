// A drop-in server for one test, on a socket in a temporary folder.

import { join } from 'node:path';
import { pino } from 'pino';
import { type SluiceOptions, SocketServer, type SocketServerSettings } from 'sluice';
import { onTestFinished } from 'vitest';
import { temporaryFolder } from './broker.js';
import { Peer } from './peer.js';

export interface TestServer {
  server: SocketServer;
  /** Connects a crawler. If an id is given, it identifies itself. */
  connect: (crawlerId?: string) => Promise<Peer>;
}

export async function startServer(
  settings: SocketServerSettings = {},
  options: SluiceOptions = {},
): Promise<TestServer> {
  const socketPath = join(temporaryFolder(), 'server.sock');
  const server = new SocketServer(
    // The server does not depend on how messages are validated; without patterns it starts in half the time.
    { socketPath, workers: { threads: 1 }, patterns: 'off', ...options },
    { logger: pino({ level: 'silent' }), ...settings },
  );
  await server.start();
  const peers: Peer[] = [];
  onTestFinished(async () => {
    for (const peer of peers) await peer.close();
    await server.stop();
  });
  const connect = async (crawlerId?: string) => {
    const peer = await Peer.connect(socketPath);
    peers.push(peer);
    if (crawlerId !== undefined) {
      peer.say('hello', { role: 'crawler', crawlerId });
      await peer.next('welcome');
    }
    return peer;
  };
  return { server, connect };
}
