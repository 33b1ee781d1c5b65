// Subscriptions and handlers for types of which there are no messages do not just stay silent.

import { join } from 'node:path';
import { pino } from 'pino';
import { SocketServer } from 'sluice';
import { SluiceClient } from 'sluice/client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { LIGHT, sharePlainBroker, startPlainBroker, temporaryFolder, until } from '../../support/broker.js';
import { packageRoot, sluice } from '../../support/cli.js';
import { Peer } from '../../support/peer.js';

const CUSTOM = join(packageRoot, 'test/support/custom-schemas.mjs');

async function connectTo(socketPath: string): Promise<SluiceClient> {
  const client = await new SluiceClient({ socketPath }).connect();
  onTestFinished(() => void client.close(0));
  return client;
}

describe('a subscription', () => {
  const shared = sharePlainBroker();

  test('names the types that the broker does not know, and only those', async () => {
    const { connect } = shared();
    const peer = await connect();
    peer.say('subscribe', {
      id: 'a',
      types: ['heartbeat', 'typo', 'job_*', 'no_*', '*', 'rejected', 'job_assignment'],
    });
    const { data } = await peer.next('subscribed');
    expect(data).toEqual({ id: 'a', unknownTypes: ['typo', 'no_*', 'job_assignment'] });
    const other = await connect();
    other.say('subscribe', { id: 'b', types: ['heartbeat'] });
    expect((await other.next('subscribed')).data).toEqual({ id: 'b' });
  });

  test('of a client has them, and the client emits an event', async () => {
    const client = await connectTo(shared().socketPath);
    const events: (readonly string[])[] = [];
    client.on('unknown_types', ({ types }) => events.push(types));
    const good = await client.subscribe({ types: ['heartbeat', 'job_*'] });
    const bad = await client.subscribe({ types: ['heartbeat', 'typo'] });
    expect([good.unknownTypes, bad.unknownTypes, events]).toEqual([[], ['typo'], [['typo']]]);
  });

  test('is reported by a warning of the process if nobody listens for the event', async () => {
    const client = await connectTo(shared().socketPath);
    const warned = new Promise<Error & { code?: string }>((resolve) => process.once('warning', resolve));
    await client.subscribe({ types: ['typo'] });
    expect(await warned).toMatchObject({
      code: 'SLUICE_UNKNOWN_TYPE',
      message: expect.stringContaining('typo'),
    });
  });

  test('knows the types of a schema module', async () => {
    const { socketPath } = await startPlainBroker({ schemas: CUSTOM });
    const client = await connectTo(socketPath);
    expect((await client.subscribe({ types: ['page_fetched'] })).unknownTypes).toEqual([]);
  });

  test('does not name them if the broker forwards messages of unknown types', async () => {
    const warnings: unknown[] = [];
    const logger = pino({ level: 'warn' }, { write: (text) => void warnings.push(text) });
    const socketPath = join(temporaryFolder(), 'report.sock');
    const server = new SocketServer(
      { socketPath, ...LIGHT, validation: 'report' },
      { logger, validatesLocally: true },
    );
    onTestFinished(() => server.stop());
    const handled: string[] = [];
    server.router.registerHandler('typo', ({ type }) => void handled.push(type));
    await server.start();
    const peer = await Peer.connect(socketPath);
    onTestFinished(() => peer.close());
    peer.say('subscribe', { id: 'a', types: ['typo', 'typ*', 'job_assignment', 'ping'] });
    expect((await peer.next('subscribed')).data).toEqual({
      id: 'a',
      unknownTypes: ['job_assignment', 'ping'],
    });
    const crawler = await Peer.connect(socketPath);
    onTestFinished(() => crawler.close());
    crawler.write('{"type":"typo"}\n');
    await peer.next('typo');
    await until(() => handled.length > 0);
    expect(warnings).toEqual([]);
  });

  test('of sluice sub comes with a warning, and nothing else without a terminal', async () => {
    const { socketPath } = shared();
    const run = sluice(['sub', '--socket', socketPath, '--types', 'typo,heartbeat,typ*']);
    await run.says('lists the types)');
    expect(run.stderr).toMatch(/^sluice sub: warning: nothing will arrive of type "typo", "typ\*": .*\n$/);
    run.child.kill('SIGTERM');
    expect(await run.exited).toBe(0);
    expect(run.stdout).toBe('');
  });
});

test('a handler for a type of which there are no messages is logged once', async () => {
  const warnings: { type?: string }[] = [];
  const write = (line: string) => {
    const entry = JSON.parse(line);
    if (entry.level === 40) warnings.push(entry);
  };
  const socketPath = join(temporaryFolder(), 'b.sock');
  const server = new SocketServer(
    { socketPath, ...LIGHT, schemas: CUSTOM },
    { logger: pino({}, { write }), validatesLocally: true },
  );
  onTestFinished(() => server.stop());
  const handle = () => {};
  server.router.registerHandler('typo', handle).registerHandler('typo', handle);
  for (const type of ['page_fetched', 'heartbeat', 'job_assignment', '*'])
    server.router.registerHandler(type, handle);
  await server.start();
  expect(warnings.map(({ type }) => type)).toEqual(['typo']);
  server.router.registerHandler('ping', handle).registerHandler('typo', handle);
  expect(warnings.map(({ type }) => type)).toEqual(['typo', 'ping']);
});
