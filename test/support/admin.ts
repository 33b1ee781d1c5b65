// A broker with an admin server for one test, and requests to it.

import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { join } from 'node:path';
import { pino } from 'pino';
import { type SluiceOptions, SocketManager } from 'sluice';
import { onTestFinished } from 'vitest';
import { AdminHandler } from '#src/admin/admin-handler.js';
import type { AdminSource } from '#src/admin/admin-source.js';
import { LIGHT, shareIdle, startBroker, type TestBroker, temporaryFolder, until } from './broker.js';
import { line, VALID } from './messages.js';
import type { WhenOver } from './share.js';

export interface AdminReply {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

/** Sends a request to an admin server at a Unix socket. */
export function ask(
  socketPath: string,
  path: string,
  { body: sentBody, ...options }: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<AdminReply> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path, ...options }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => {
        body += text;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
      );
    });
    sent.on('error', reject);
    sent.end(sentBody);
  });
}

export interface AdminBroker extends TestBroker {
  adminPath: string;
  get: (path: string) => Promise<AdminReply>;
  /** The JSON at a path. */
  read: <T>(path: string) => Promise<T>;
}

/** A broker as an admin server sees it that a test makes by itself. */
export function adminSourceOf(manager: SocketManager, changes: Partial<AdminSource> = {}): AdminSource {
  return {
    options: manager.options,
    pool: manager.getConnectionPool(),
    status: () => manager.getStatus(),
    metrics: () => manager.getMetrics(),
    registry: () => undefined,
    drift: () => [],
    jobs: () => undefined,
    subscriptionsOf: () => [],
    feeds: () => undefined,
    tails: () => undefined,
    verifyToken: () => true,
    verifyAdminToken: () => undefined,
    logAction: () => {},
    openSender: () => Promise.reject(new Error('not expected')),
    isTokenLimitReached: () => false,
    ...changes,
  };
}

/** Answers requests about a source, without a broker's admin server. @returns the path of its socket */
export async function serveAdmin(
  source: AdminSource,
  onError: (error: unknown) => void = () => {},
): Promise<string> {
  const handler = new AdminHandler(source, onError);
  const socketPath = join(temporaryFolder(), 'admin.sock');
  const server = createServer((request, response) =>
    handler.answer(request, response, request.url ?? '/'),
  ).listen(socketPath);
  onTestFinished(() => {
    handler.stop();
    server.close();
  });
  await once(server, 'listening');
  return socketPath;
}

export async function startAdminBroker(
  options: SluiceOptions = {},
  whenOver: WhenOver = onTestFinished,
  validatesLocally = false,
): Promise<AdminBroker> {
  const adminPath = options.admin ?? join(temporaryFolder(whenOver), 'admin.sock');
  const broker = await startBroker({ ...options, admin: adminPath }, whenOver, validatesLocally);
  const get = (path: string) => ask(adminPath, path);
  // The calling test checks the type of the response.
  const read = async <T>(path: string) => JSON.parse((await get(path)).body) as T;
  return { ...broker, adminPath, get, read };
}

/** Like `startPlainBroker`, with an admin server. */
export function startPlainAdminBroker(
  options: SluiceOptions = {},
  whenOver?: WhenOver,
): Promise<AdminBroker> {
  return startAdminBroker({ ...LIGHT, ...options }, whenOver, true);
}

/** One broker for all tests of a describe block or file. Each test starts without connections. */
export function shareAdminBroker(options: SluiceOptions = {}): () => AdminBroker {
  return shareIdle((whenOver) => startAdminBroker(options, whenOver));
}

/** Like `shareAdminBroker`, without workers. */
export function sharePlainAdminBroker(options: SluiceOptions = {}): () => AdminBroker {
  return shareIdle((whenOver) => startPlainAdminBroker(options, whenOver));
}

/** A broker that is starting: its schema module does not finish loading until `open` is called. */
export async function startSlowBroker(options: SluiceOptions = {}): Promise<{
  manager: SocketManager;
  socketPath: string;
  adminPath: string;
  /** Lets the broker finish starting. */
  open: () => Promise<void>;
}> {
  const folder = temporaryFolder();
  const [socketPath, adminPath] = [join(folder, 'broker.sock'), join(folder, 'admin.sock')];
  const schemas = join(folder, 'slow.mjs');
  writeFileSync(schemas, 'await globalThis.sluiceTestGate; export const schemas = {};');
  let openGate = () => {};
  Object.assign(globalThis, { sluiceTestGate: new Promise<void>((resolve) => (openGate = resolve)) });
  const manager = new SocketManager(
    { socketPath, admin: adminPath, schemas, workers: { threads: 1 }, ...options },
    { logger: pino({ level: 'silent' }) },
  );
  const started = manager.start();
  const open = () => {
    openGate();
    return started;
  };
  onTestFinished(async () => {
    await open();
    await manager.stop();
  });
  await until(() => manager.getStatus().admin !== undefined);
  return { manager, socketPath, adminPath, open };
}

/** The value of a series: `metricValue(text, 'sluice_workers')`, or with its labels in braces. */
export function metricValue(text: string, series: string): number {
  const found = text.split('\n').find((row) => row.startsWith(`${series} `));
  return found === undefined ? Number.NaN : Number(found.slice(series.length + 1));
}

/** The `/metrics` response of a broker after it has accepted one message and rejected another. */
export async function metricsOfUse({ connect, get }: AdminBroker): Promise<string> {
  const peer = await connect();
  peer.write(line(VALID.heartbeat) + line({ type: 'nonsense' }));
  await peer.settled();
  return (await get('/metrics')).body;
}
