// A real broker for one or several tests, on a socket in a temporary folder. Stopped at the end of the tests.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { type SluiceOptions, SocketManager } from 'sluice';
import { onTestFinished } from 'vitest';
import { Peer } from './peer.js';
import { share, type WhenOver } from './share.js';

/** A folder that is removed at the end of the test. */
export function temporaryFolder(whenOver: WhenOver = onTestFinished): string {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-test-'));
  whenOver(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface TestBroker {
  manager: SocketManager;
  socketPath: string;
  connect: () => Promise<Peer>;
}

export async function startBroker(
  options: SluiceOptions = {},
  whenOver: WhenOver = onTestFinished,
  validatesLocally = false,
): Promise<TestBroker> {
  const socketPath = options.socketPath ?? join(temporaryFolder(whenOver), 'broker.sock');
  const manager = new SocketManager(
    { socketPath, ...options, workers: { threads: 1, ...options.workers } },
    { logger: pino({ level: 'silent' }), validatesLocally },
  );
  await manager.start();
  whenOver(() => manager.stop());
  const connect = async () => {
    const peer = await Peer.connect(socketPath);
    onTestFinished(() => peer.close());
    return peer;
  };
  return { manager, socketPath, connect };
}

/** For brokers that validate few messages: without patterns, they start in half the time. */
export const LIGHT = { workers: { threads: 1 }, patterns: 'off' } as const;

/** Like `startBroker`, for tests that do not depend on how messages are validated: without workers, it starts at once. */
export function startPlainBroker(options: SluiceOptions = {}, whenOver?: WhenOver): Promise<TestBroker> {
  return startBroker({ ...LIGHT, ...options }, whenOver, true);
}

/** One broker for all tests of a describe block or file. Each test starts without connections and listeners. */
export function shareBroker(options: SluiceOptions = {}): () => TestBroker {
  return shareIdle((whenOver) => startBroker(options, whenOver));
}

/** Like `shareBroker`, without workers. */
export function sharePlainBroker(options: SluiceOptions = {}): () => TestBroker {
  return shareIdle((whenOver) => startPlainBroker(options, whenOver));
}

/** Like `share`, for a broker whose connections and listeners are removed after each test. */
export function shareIdle<T extends TestBroker>(start: (whenOver: WhenOver) => Promise<T>): () => T {
  const shared = share(start);
  return () => {
    const broker = shared();
    onTestFinished(async () => {
      await until(() => broker.manager.getConnectionPool().size === 0);
      broker.manager.removeAllListeners();
    });
    return broker;
  };
}

/** How often `until` checks its condition: often at first, and less often if it takes long, because checks cost, in ms. */
const [SHORT_INTERVAL, LONG_INTERVAL] = [2, 8];
const SHORT_CHECKS = 50;

/** Resolves when the condition holds. Checks it every few milliseconds. */
export async function until(condition: () => boolean): Promise<void> {
  for (let checks = 0; !condition(); checks++) {
    const interval = checks < SHORT_CHECKS ? SHORT_INTERVAL : LONG_INTERVAL;
    await new Promise((resolve) => setTimeout(resolve, interval));
  }
}

/** The increase of each counter. Unchanged counters are omitted. */
export function growth(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
): Record<string, number> {
  const grown = Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)] as const);
  return Object.fromEntries(grown.filter(([, more]) => more !== 0));
}
