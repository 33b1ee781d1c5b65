// A server with handlers for one or several tests, on a socket in a temporary folder.

import { join } from 'node:path';
import { pino } from 'pino';
import { type SluiceOptions, SocketServer, type SocketServerSettings } from 'sluice';
import { onTestFinished, vi } from 'vitest';
import { LIGHT, temporaryFolder, until } from './broker.js';
import { Peer } from './peer.js';
import { share, type WhenOver } from './share.js';

export interface TestServer {
  server: SocketServer;
  /** Connects a crawler. If an id is given, it identifies itself. */
  connect: (crawlerId?: string) => Promise<Peer>;
}

export async function startServer(
  settings: SocketServerSettings = {},
  options: SluiceOptions = {},
  whenOver: WhenOver = onTestFinished,
): Promise<TestServer> {
  const socketPath = join(temporaryFolder(whenOver), 'server.sock');
  const server = new SocketServer(
    // The server does not depend on how messages are validated; without workers, it starts at once.
    { socketPath, ...LIGHT, ...options },
    { logger: pino({ level: 'silent' }), validatesLocally: true, ...settings },
  );
  await server.start();
  whenOver(() => server.stop());
  const connect = async (crawlerId?: string) => {
    const peer = await Peer.connect(socketPath);
    onTestFinished(() => peer.close());
    if (crawlerId !== undefined) {
      peer.say('hello', { role: 'crawler', crawlerId });
      await peer.next('welcome');
    }
    return peer;
  };
  return { server, connect };
}

/**
 * One server for all tests of a describe block or file. Each test starts without connections, and without the handlers
 * and listeners of the tests before. Statistics and what is known of crawlers and jobs stay.
 */
export function shareServer(
  settings: SocketServerSettings = {},
  options: SluiceOptions = {},
): () => TestServer {
  const shared = share((whenOver) => startServer(settings, options, whenOver));
  return () => {
    const started = shared();
    const { server } = started;
    const registered = vi.spyOn(server.router, 'registerHandler');
    onTestFinished(async () => {
      await until(() => server.getStatus().connections === 0);
      await server.router.idle();
      for (const [type, handler] of registered.mock.calls) server.router.unregisterHandler(type, handler);
      registered.mockRestore();
      server.removeAllListeners();
    });
    return started;
  };
}
