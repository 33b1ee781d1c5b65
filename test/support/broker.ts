// A real broker for one test: on a socket in a folder of its own, gone when the test is over.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { type SluiceOptions, SocketManager } from 'sluice';
import { onTestFinished } from 'vitest';
import { Peer } from './peer.js';

/** A folder that is removed when the test is over. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface TestBroker {
  manager: SocketManager;
  socketPath: string;
  connect: () => Promise<Peer>;
}

export async function startBroker(options: SluiceOptions = {}): Promise<TestBroker> {
  const socketPath = options.socketPath ?? join(temporaryFolder(), 'broker.sock');
  const manager = new SocketManager(
    { socketPath, ...options, workers: { threads: 1, ...options.workers } },
    { logger: pino({ level: 'silent' }) },
  );
  await manager.start();
  const peers: Peer[] = [];
  onTestFinished(async () => {
    for (const peer of peers) await peer.close();
    await manager.stop();
  });
  const connect = async () => {
    const peer = await Peer.connect(socketPath);
    peers.push(peer);
    return peer;
  };
  return { manager, socketPath, connect };
}

/** Resolves when the condition holds: looked at whenever the event loop turns. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}
