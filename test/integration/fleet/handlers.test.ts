import { join } from 'node:path';
import { connect as connectNats } from '@nats-io/transport-node';
import { pino } from 'pino';
import {
  type DurableGap,
  type DurableHandler,
  type DurableMessage,
  type SluiceOptions,
  SocketServer,
} from 'sluice';
import { describe, expect, onTestFinished, test } from 'vitest';
import { temporaryFolder, until } from '../../support/broker.js';
import { hello, publish, startHost } from '../../support/fleet.js';
import { line, VALID } from '../../support/messages.js';
import { hasNatsServer, NatsServer } from '../../support/nats-server.js';
import { Ledger } from '../../support/numbered.js';
import { Peer } from '../../support/peer.js';

/** A server of an application that is a host of the fleet. */
function newServer(engine: NatsServer, folder: string, options: SluiceOptions = {}): SocketServer {
  const server = new SocketServer(
    {
      socketPath: join(folder, 's.sock'),
      log: join(folder, 'log'),
      fleet: [engine.address],
      fleetHost: 'app',
      workers: { threads: 1 },
      ...options,
    },
    { logger: pino({ level: 'silent' }), validatesLocally: true },
  );
  onTestFinished(() => server.stop());
  return server;
}

describe.skipIf(!hasNatsServer)('a server that is a host of a fleet (needs nats-server)', () => {
  test('handles the messages of all hosts, and goes on where it was', async () => {
    const engine = await NatsServer.start();
    const other = await startHost(engine, 'other');
    const folder = temporaryFolder();
    const ledger = new Ledger();
    const handled: DurableMessage[] = [];
    const handler: DurableHandler = {
      scope: 'fleet',
      cursor: 'database',
      types: ['job_*'],
      handle: (message) => {
        handled.push(message);
        ledger.readLine(message.raw.toString());
      },
    };
    const first = newServer(engine, folder).registerDurableHandler(handler);
    await first.start();
    await until(() => first.manager.getMetrics().fleet?.lag === 0);
    await publish(other.socketPath, 1, 0, 100);
    await publish(join(folder, 's.sock'), 2, 0, 100);
    await until(() => ledger.total === 200);
    expect(handled.find(({ host }) => host === 'other')).toMatchObject({
      type: 'job_progress',
      crawlerId: 'crawler-1',
      sequence: 2,
      offset: 0,
      isValid: true,
    });
    // Nobody else uses its cursor meanwhile.
    const peer = await Peer.connect(join(folder, 's.sock'));
    peer.say('subscribe', { id: 's', scope: 'fleet', cursor: 'database' });
    expect(await peer.next('error')).toMatchObject({ data: { issues: [{ path: 'data.cursor' }] } });
    await first.stop();
    await publish(other.socketPath, 1, 100, 200);
    const second = newServer(engine, folder).registerDurableHandler(handler);
    await second.start();
    for (const [producer, count] of [
      [1, 200],
      [2, 100],
    ] as const) {
      await until(() => ledger.of(producer).length >= count);
      expect(ledger.faults(producer, count)).toEqual([]);
    }
    // From the position of any message, the following ones are there.
    const middle = handled.find(({ host, offset }) => host === 'other' && offset === 57);
    const rest: number[] = [];
    const third = newServer(engine, temporaryFolder());
    await second.stop();
    third.registerDurableHandler({
      scope: 'fleet',
      from: { offset: middle?.position ?? '' },
      crawlerIds: ['crawler-1'],
      handleBatch: (messages) => rest.push(...messages.map(({ offset }) => offset)),
    });
    await third.start();
    await until(() => rest.at(-1) === 199);
    expect(rest[0]).toBe(58);
  });

  test('handles a message again that has failed, and after a stop goes on with the one that was not handled', async () => {
    const engine = await NatsServer.start();
    const other = await startHost(engine, 'other');
    const folder = temporaryFolder();
    const offsets: number[] = [];
    let failures = 0;
    let isStuck = true;
    const handler: DurableHandler = {
      scope: 'fleet',
      cursor: 'c',
      from: 'first',
      handle: ({ offset }) => {
        if (offset === 7 && isStuck) {
          failures++;
          throw new Error('refused');
        }
        offsets.push(offset);
      },
    };
    await publish(other.socketPath, 1, 0, 20);
    await until(() => other.manager.getMetrics().fleet?.lag === 0);
    const first = newServer(engine, folder).registerDurableHandler(handler);
    await first.start();
    await until(() => failures === 2);
    await first.stop();
    isStuck = false;
    const second = newServer(engine, folder).registerDurableHandler(handler);
    await second.start();
    await until(() => offsets.length >= 20);
    expect(offsets).toEqual(Array.from({ length: 20 }, (_, offset) => offset));
  });

  test('that is stopped during a call skips nothing of what comes meanwhile', async () => {
    const engine = await NatsServer.start();
    const other = await startHost(engine, 'other');
    const folder = temporaryFolder();
    const offsets: number[] = [];
    let goOn: (() => void) | undefined;
    const handler: DurableHandler = {
      scope: 'fleet',
      cursor: 'c',
      from: 'first',
      handleBatch: async (messages) => {
        if (offsets.length === 0)
          await new Promise<void>((resolve) => {
            goOn = resolve;
          });
        offsets.push(...messages.map(({ offset }) => offset));
      },
    };
    const first = newServer(engine, folder).registerDurableHandler(handler);
    await first.start();
    await publish(other.socketPath, 1, 0, 10);
    await until(() => goOn !== undefined);
    const stopped = first.stop();
    await publish(other.socketPath, 1, 10, 20);
    await until(() => other.manager.getMetrics().fleet?.lag === 0);
    // The feed has time to go on.
    await new Promise((resolve) => setTimeout(resolve, 200));
    goOn?.();
    await stopped;
    const second = newServer(engine, folder).registerDurableHandler(handler);
    await second.start();
    await until(() => offsets.includes(19));
    expect(offsets).toEqual(Array.from({ length: 20 }, (_, offset) => offset));
  });

  test('is told what is missing, with its host', async () => {
    const engine = await NatsServer.start();
    const folder = temporaryFolder();
    const gaps: DurableGap[] = [];
    const offsets: number[] = [];
    const handler: DurableHandler = {
      scope: 'fleet',
      cursor: 'c',
      from: 'first',
      handleBatch: (messages) => offsets.push(...messages.map(({ offset }) => offset)),
      handleGap: (gap) => gaps.push(gap),
    };
    const other = await startHost(engine, 'other', { fleetRequestTimeout: 500 });
    const server = newServer(engine, folder).registerDurableHandler(handler);
    await server.start();
    await publish(other.socketPath, 1, 0, 10);
    await until(() => offsets.length === 10);
    const crawler = await other.connect();
    const { data } = VALID.job_progress;
    // Too long for the engine.
    crawler.write(line({ ...VALID.job_progress, data: { ...data, message: 'x'.repeat(800_000) } }));
    crawler.write(line(VALID.job_progress));
    await until(() => offsets.length === 11);
    expect(gaps).toMatchObject([{ host: 'other', reason: 'removed' }]);
    expect(gaps[0]?.from).toMatch(/:10$/);
    expect(gaps[0]?.to).toMatch(/:11$/);
  });

  test('sends to crawlers of other hosts as to its own', async () => {
    const engine = await NatsServer.start();
    const other = await startHost(engine, 'other');
    const folder = temporaryFolder();
    const server = newServer(engine, folder);
    await server.start();
    await until(() => server.manager.getMetrics().fleet?.lag === 0);
    const [there, here] = [await other.connect(), await Peer.connect(join(folder, 's.sock'))];
    there.write(hello('there') + line({ ...VALID.job_started, jobId: 'job-1' }));
    here.write(hello('here'));
    await Promise.all([there.settled(), here.settled()]);
    const cancel = {
      type: 'job_cancel',
      timestamp: '2026-01-01T00:00:00Z',
      data: { job_id: 'job-of-nobody' },
    } as const;
    expect(await server.sendToCrawler('there', cancel)).toEqual({ delivered: 1, failed: [] });
    expect((await there.next('job_cancel')).to).toBeUndefined();
    await expect(server.sendToCrawler('nobody', cancel)).rejects.toMatchObject({ code: 'NO_RECIPIENT' });
    await expect(server.sendToCrawler('there', { type: 'job_cancel' } as never)).rejects.toMatchObject({
      code: 'INVALID_MESSAGE',
    });
    const all = { ...cancel, data: { job_id: 'job-of-all' } };
    expect(await server.broadcast(all)).toEqual({ delivered: 1, failed: [] });
    for (const crawler of [there, here])
      await crawler.next(({ type, data }) => type === 'job_cancel' && data.job_id === 'job-of-all');
    await engine.kill();
    await expect(server.sendToCrawler('there', cancel)).rejects.toMatchObject({ code: 'NO_RECIPIENT' });
  });

  test('does not report that a message is not sent which another host may still deliver', async () => {
    const engine = await NatsServer.start();
    const folder = temporaryFolder();
    const server = newServer(engine, folder, { fleetRequestTimeout: 1000 });
    await server.start();
    await until(() => server.manager.getMetrics().fleet?.lag === 0);
    // A host that has the crawler, and hangs when it is sent the message.
    const hanging = await connectNats({ servers: engine.address });
    onTestFinished(() => hanging.close());
    hanging.subscribe('sluice.main.calls.find', {
      callback: (_, request) => void request.respond('hanging'),
    });
    hanging.subscribe('sluice.main.calls.deliver-to.hanging', { callback: () => {} });
    let sent = 0;
    hanging.subscribe('sluice.main.calls.deliver.hanging', { callback: () => void sent++ });
    await hanging.flush();
    const cancel = server.sendToCrawler('there', { ...VALID.job_cancel });
    await expect(cancel).rejects.toMatchObject({ code: 'SEND_TIMEOUT' });
    // An application's message goes to no further host.
    const app = await Peer.connect(join(folder, 's.sock'));
    app.write(line({ ...VALID.job_assignment, to: 'any' }));
    await app.next('error');
    expect([app.errors, sent]).toEqual([['NO_RECIPIENT'], 1]);
    hanging.subscribe('sluice.main.calls.deliver-to.hanging', { callback: () => void engine.kill() });
    await hanging.flush();
    const lost = server.sendToCrawler('there', { ...VALID.job_cancel });
    await expect(lost).rejects.toMatchObject({ code: 'CONNECTION_CLOSED' });
  });

  test('needs the option fleet, and positions of the fleet', () => {
    const folder = temporaryFolder();
    const handle = () => {};
    const alone = new SocketServer({ log: folder });
    const register = (server: SocketServer, handler: Omit<DurableHandler, 'handle'>) => () =>
      server.registerDurableHandler({ ...handler, handle } as DurableHandler);
    expect(register(alone, { scope: 'fleet' })).toThrow('scope: fleet needs the option fleet');
    const server = new SocketServer({ log: folder, fleet: ['nats://127.0.0.1:1'] });
    const ofHost = { offset: '0123456789abcdef:1' };
    expect(register(server, { scope: 'fleet', from: ofHost })).toThrow('is a position of another scope');
    expect(register(server, { from: { offset: 'fleet:1:1:' } })).toThrow('is a position of another scope');
    expect(register(server, { cursor: '$c' })).toThrow('must not begin with $');
    for (let count = 0; count < 32; count++) register(server, { scope: 'fleet' })();
    expect(register(server, { scope: 'fleet' })).toThrow('at most 32');
  });
});
