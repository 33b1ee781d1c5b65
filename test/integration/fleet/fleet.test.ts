import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, headers, type NatsConnection } from '@nats-io/transport-node';
import { pino } from 'pino';
import { SocketManager } from 'sluice';
import { SluiceClient } from 'sluice/client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { NatsEngine } from '#src/fleet/nats-engine.js';
import { LIGHT, startPlainBroker, type TestBroker, temporaryFolder, until } from '../../support/broker.js';
import { BrokerProcess } from '../../support/broker-process.js';
import { packageRoot } from '../../support/cli.js';
import { Application, hello, publish, QUICK, startHost } from '../../support/fleet.js';
import { line, VALID } from '../../support/messages.js';
import { hasNatsServer, NatsServer } from '../../support/nats-server.js';
import { numbered, numberedBlock } from '../../support/numbered.js';

async function connectTo(server: NatsServer): Promise<NatsConnection> {
  const nats = await connect({ servers: new URL(server.address).host });
  onTestFinished(() => nats.close());
  return nats;
}

describe.skipIf(!hasNatsServer)('a fleet (needs nats-server)', () => {
  test('subscribers get the messages of all hosts, once and in order', async () => {
    const engine = await NatsServer.start();
    const hosts = [
      await startHost(engine, 'host-0'),
      await startHost(engine, 'host-1'),
      await startHost(engine, 'host-2'),
    ];
    const live = await Promise.all(hosts.map(({ socketPath }) => Application.start(socketPath)));
    await Promise.all(hosts.map(({ socketPath }, number) => publish(socketPath, number, 0, 3000)));
    for (const application of live)
      for (const producer of [0, 1, 2]) expect(await application.faults(producer, 3000)).toEqual([]);
    expect([...(live[0]?.hosts ?? [])].sort()).toEqual(['host-0', 'host-1', 'host-2']);
    // Others read everything from the engine afterwards.
    const later = await Application.start(hosts[1]?.socketPath ?? '', { from: 'first' });
    for (const producer of [0, 1, 2]) expect(await later.faults(producer, 3000)).toEqual([]);
    expect(later.gaps).toEqual([]);
    for (const { errors } of hosts) expect(errors).toEqual([]);
  });

  test('subscribers to one host get nothing of others, and filters apply to all hosts', async () => {
    const engine = await NatsServer.start();
    const [a, b] = [await startHost(engine, 'a'), await startHost(engine, 'b')];
    const local = await Application.start(a.socketPath, { scope: 'host' });
    const ofJob = await Application.start(a.socketPath, { jobIds: ['producer-1'] });
    const ofCrawler = await Application.start(b.socketPath, { crawlerIds: ['crawler-2'] });
    const ofType = await Application.start(b.socketPath, { types: ['heartbeat'], meta: false });
    await publish(b.socketPath, 1, 0, 10);
    await publish(a.socketPath, 2, 0, 10);
    expect(await local.faults(2, 10)).toEqual([]);
    expect(await ofJob.faults(1, 10)).toEqual([]);
    expect(await ofCrawler.faults(2, 10)).toEqual([]);
    const sender = await b.connect();
    sender.write(line(VALID.heartbeat));
    await until(() => ofType.received === 1);
    expect([local.ledger.total, ofJob.ledger.total, ofCrawler.ledger.total]).toEqual([10, 10, 10]);
  });

  test('meta names the host, the connection and the number of a message', async () => {
    const engine = await NatsServer.start();
    const [a, b] = [await startHost(engine, 'a'), await startHost(engine, 'b')];
    const application = await b.connect();
    application.say('subscribe', { id: 'all', scope: 'fleet', meta: true });
    await application.next('subscribed');
    const crawler = await a.connect();
    crawler.write(hello('ä"\\') + line(VALID.heartbeat) + line(VALID.job_progress));
    const welcome = await crawler.next('welcome');
    const received = await application.next(({ seq }) => seq === 3);
    expect(received).toMatchObject({
      from: welcome.data.connectionId,
      crawlerId: 'ä"\\',
      host: 'a',
      seq: 3,
      offset: 1,
    });
  });

  test('a cursor goes on where it was, on another host of the fleet too if the application knows its position', async () => {
    const engine = await NatsServer.start();
    const [a, b] = [await startHost(engine, 'a'), await startHost(engine, 'b')];
    const first = await Application.start(a.socketPath, { cursor: 'writer' });
    await publish(a.socketPath, 1, 0, 100);
    await publish(b.socketPath, 2, 0, 100);
    for (const producer of [1, 2]) expect(await first.faults(producer, 100)).toEqual([]);
    await until(() => first.subscription?.position?.includes('b=') === true);
    const { position = '' } = first.subscription ?? {};
    await until(() => {
      const reached = first.subscription?.position ?? '';
      return /a=\w+:100\b/.test(reached) && /b=\w+:100\b/.test(reached);
    });
    await first.client.close();
    await publish(b.socketPath, 2, 100, 200);
    const second = await Application.start(a.socketPath, { cursor: 'writer' });
    await until(() => second.ledger.of(2).length >= 100);
    expect([second.ledger.of(2)[0], second.ledger.of(2).length]).toEqual([100, 100]);
    const elsewhere = await Application.start(b.socketPath, { from: { offset: position } });
    await until(() => elsewhere.ledger.of(2).at(-1) === 199);
    expect(elsewhere.gaps).toEqual([]);
    expect(elsewhere.ledger.of(2).length).toBeLessThanOrEqual(200);
  });

  test('if the cursors of a host were lost, those that are not known begin with the oldest message', async () => {
    const engine = await NatsServer.start();
    const log = join(temporaryFolder(), 'log');
    const first = await startHost(engine, 'a', { log });
    await publish(first.socketPath, 1, 0, 10);
    await until(() => first.manager.getMetrics().fleet?.lag === 0);
    await first.manager.stop();
    writeFileSync(join(log, 'fleet-cursors.json'), '');
    const a = await startHost(engine, 'a', { log });
    const application = await Application.start(a.socketPath, { cursor: 'writer' });
    expect(await application.faults(1, 10)).toEqual([]);
  });

  test('a subscription begins at a time in any spelling of a timestamp', async () => {
    const engine = await NatsServer.start();
    const a = await startHost(engine, 'a');
    await publish(a.socketPath, 1, 0, 10);
    await until(() => a.manager.getMetrics().fleet?.lag === 0);
    for (const time of ['2000-01-01T00:00:60,5+01', '0000-01-01T00:00Z', '0000-01-01T00:00+23:59']) {
      const application = await Application.start(a.socketPath, { from: { time } });
      expect([time, ...(await application.faults(1, 10))]).toEqual([time]);
    }
    expect(a.errors).toEqual([]);
  });

  test('with ack manual, a cursor moves when the application says so', async () => {
    const engine = await NatsServer.start();
    const a = await startHost(engine, 'a');
    const first = await Application.start(a.socketPath, { cursor: 'writer', ack: 'manual', from: 'first' });
    await publish(a.socketPath, 1, 0, 10);
    expect(await first.faults(1, 10)).toEqual([]);
    await until(() => first.subscription?.position?.includes('a=') === true);
    await first.client.close();
    const second = await Application.start(a.socketPath, { cursor: 'writer', ack: 'manual', from: 'first' });
    expect(await second.faults(1, 10)).toEqual([]);
    await until(() => /a=\w+:10$/.test(second.subscription?.position ?? ''));
    second.subscription?.ack();
    await second.client.close();
    await publish(a.socketPath, 1, 10, 20);
    const third = await Application.start(a.socketPath, { cursor: 'writer', ack: 'manual' });
    await until(() => third.ledger.total >= 10);
    expect(third.ledger.of(1)[0]).toBe(10);
  });

  test('while the engine is away, hosts serve on, and nothing is lost or repeated', async () => {
    const engine = await NatsServer.start();
    const [a, b] = [await startHost(engine, 'a'), await startHost(engine, 'b')];
    const local = await Application.start(a.socketPath, { scope: 'host' });
    const fleet = await Application.start(a.socketPath);
    await publish(b.socketPath, 1, 0, 100);
    expect(await fleet.faults(1, 100)).toEqual([]);
    await engine.kill();
    await publish(b.socketPath, 1, 100, 1000);
    await publish(a.socketPath, 2, 0, 1000);
    expect(await local.faults(2, 1000)).toEqual([]);
    expect(a.manager.getMetrics().fleet).toMatchObject({ isConnected: false });
    // A subscription begins when the engine is back.
    const late = await Application.start(b.socketPath, { from: 'first' });
    await engine.start();
    for (const application of [fleet, late]) {
      expect(await application.faults(1, 1000)).toEqual([]);
      expect(await application.faults(2, 1000)).toEqual([]);
      expect(application.gaps).toEqual([]);
    }
    await until(() => a.manager.getMetrics().fleet?.lag === 0);
    for (const { errors } of [a, b]) expect(new Set(errors)).toEqual(new Set(['FLEET_UNAVAILABLE']));
  });

  test('an interruption is one error and one line in the log, and its end one more line', async () => {
    const engine = await NatsServer.start();
    const folder = temporaryFolder();
    const socketPath = join(folder, 'broker.sock');
    const lines: string[] = [];
    const manager = new SocketManager(
      { ...LIGHT, socketPath, log: join(folder, 'log'), fleet: [engine.address], fleetHost: 'a' },
      { logger: pino({}, { write: (text: string) => lines.push(JSON.parse(text).msg) }) },
    );
    onTestFinished(() => manager.stop());
    await manager.start();
    const errors: unknown[] = [];
    manager.on('server_error', ({ error }) => errors.push(error));
    const reader = await Application.start(socketPath, { cursor: 'reports' });
    await publish(socketPath, 1, 0, 10);
    expect(await reader.faults(1, 10)).toEqual([]);
    const before = lines.length;
    // It tells the reader before it closes the connection.
    await engine.stop();
    await until(() => errors.length > 0);
    await engine.start();
    await publish(socketPath, 1, 10, 20);
    expect(await reader.faults(1, 20)).toEqual([]);
    expect(errors).toMatchObject([{ code: 'FLEET_UNAVAILABLE' }]);
    expect(lines.slice(before)).toEqual(['server error', 'joined the fleet']);
  });

  test('with logKeep unread, nothing is removed before it is forwarded', async () => {
    const engine = await NatsServer.start();
    const options = {
      logKeep: 'unread',
      logMaxAge: 1,
      logSegmentBytes: 65_536,
      cleanupInterval: 20,
    } as const;
    const a = await startHost(engine, 'a', options);
    await engine.kill();
    await publish(a.socketPath, 1, 0, 3000);
    // Another cursor that has read everything does not change that.
    const other = await Application.start(a.socketPath, { scope: 'host', from: 'first', cursor: 'other' });
    expect(await other.faults(1, 3000)).toEqual([]);
    await publish(a.socketPath, 1, 3000, 6000);
    expect(await other.faults(1, 6000)).toEqual([]);
    await engine.start();
    const fleet = await Application.start(a.socketPath, { from: 'first' });
    expect(await fleet.faults(1, 6000)).toEqual([]);
    expect(fleet.gaps).toEqual([]);
  });

  test('what an engine loses that is put back to an older state, it gets again', async () => {
    const engine = await NatsServer.start();
    const [a, b] = [await startHost(engine, 'a'), await startHost(engine, 'b')];
    const fleet = await Application.start(a.socketPath);
    const cursor = await Application.start(b.socketPath, { cursor: 'writer', from: 'first' });
    const sendAll = async (from: number, to: number): Promise<void> => {
      // Several batches, of both hosts in turn.
      for (let at = from; at < to; at += 50) {
        await publish(a.socketPath, 1, at, at + 50);
        await publish(b.socketPath, 2, at, at + 50);
      }
      for (const application of [fleet, cursor])
        for (const producer of [1, 2]) expect(await application.faults(producer, to)).toEqual([]);
    };
    await sendAll(0, 500);
    await engine.kill();
    engine.save();
    await engine.start();
    await sendAll(500, 1000);
    await engine.kill();
    engine.restore();
    await engine.start();
    // The brokers have nothing to forward, and notice it anyway.
    await until(() => [a, b].every(({ manager }) => manager.getMetrics().fleet?.isConnected === true));
    await sendAll(1000, 1500);
    const later = await Application.start(a.socketPath, { from: 'first' });
    for (const producer of [1, 2]) expect(await later.faults(producer, 1500)).toEqual([]);
    for (const { gaps } of [fleet, cursor, later]) expect(gaps).toEqual([]);
  });

  test('a broker that is killed while it forwards loses and repeats nothing', async () => {
    const engine = await NatsServer.start();
    const reader = await startHost(engine, 'reader');
    const fleet = await Application.start(reader.socketPath);
    const [socketPath, log] = [join(temporaryFolder(), 's'), join(temporaryFolder(), 'log')];
    const flags = ['--log', log, '--fleet', engine.address, '--fleet-host', 'killed', '--patterns', 'off'];
    let broker = await BrokerProcess.start(flags, socketPath);
    const client = new SluiceClient({
      socketPath,
      hello: { role: 'crawler', crawlerId: 'c-1' },
      reconnect: QUICK,
    });
    onTestFinished(() => void client.close(0));
    await client.connect();
    let published = 0;
    for (let kill = 0; kill < 2; kill++) {
      for (let burst = 0; burst < 200; burst++) client.publishRaw(numbered(1, published++));
      await until(() => client.statistics.confirmed > published - 100);
      broker.run.child.kill('SIGKILL');
      await once(broker.run.child, 'exit');
      broker = await BrokerProcess.start(flags, socketPath);
    }
    await client.flush();
    expect(await fleet.faults(1, published)).toEqual([]);
    expect(fleet.gaps).toEqual([]);
  });

  test('messages that the engine does not accept are left out and counted, and all others arrive', async () => {
    const engine = await NatsServer.start('max_payload: 65536');
    const a = await startHost(engine, 'a');
    const fleet = await Application.start(a.socketPath);
    const sender = await a.connect();
    const { data } = VALID.job_progress;
    const long = line({ ...VALID.job_progress, data: { ...data, message: 'x'.repeat(60_000) } });
    sender.write(numberedBlock(1, 0, 1000) + long + numberedBlock(1, 1000, 2000) + long);
    await sender.settled();
    sender.write(numberedBlock(1, 2000, 2001));
    expect(await fleet.faults(1, 2001)).toEqual([]);
    expect(a.manager.getMetrics().fleet).toMatchObject({ tooLong: 2 });
    expect(fleet.gaps).toMatchObject([
      { host: 'a', reason: 'removed' },
      { host: 'a', reason: 'removed' },
    ]);
  });

  test('what the engine has removed is a gap', async () => {
    const engine = await NatsServer.start();
    const a = await startHost(engine, 'a', { fleetMaxBytes: 1024 * 1024 });
    const first = await Application.start(a.socketPath, { cursor: 'writer' });
    await publish(a.socketPath, 1, 0, 100);
    expect(await first.faults(1, 100)).toEqual([]);
    await until(() => /a=\w+:100$/.test(first.subscription?.position ?? ''));
    await first.client.close();
    for (let at = 100; at < 10_100; at += 1000) await publish(a.socketPath, 1, at, at + 1000);
    await until(() => a.manager.getMetrics().fleet?.lag === 0);
    const second = await Application.start(a.socketPath, { cursor: 'writer' });
    await until(() => second.ledger.of(1).at(-1) === 10_099);
    const [from = 0] = second.ledger.of(1);
    expect(from).toBeGreaterThan(100);
    expect(second.gaps).toMatchObject([
      { host: 'a', reason: 'removed', from: expect.stringMatching(/:100$/) },
    ]);
    expect(second.ledger.of(1)).toEqual(Array.from({ length: 10_100 - from }, (_, index) => from + index));
  });

  test('of two brokers with the same name, the second one does not start', async () => {
    const engine = await NatsServer.start();
    await startHost(engine, 'same');
    await expect(startHost(engine, 'same')).rejects.toMatchObject({ code: 'FLEET_HOST_IN_USE' });
  });

  test('if they started without the engine, one of them forwards, and the other one takes its place', async () => {
    const engine = await NatsServer.start();
    await engine.kill();
    const hosts = [await startHost(engine, 'same'), await startHost(engine, 'same')] as const;
    await Promise.all(hosts.map(({ socketPath }, number) => publish(socketPath, number, 0, 10)));
    await engine.start();
    await until(() => hosts.some(({ errors }) => errors.includes('FLEET_HOST_IN_USE')));
    const waits = hosts.findIndex(({ errors }) => errors.includes('FLEET_HOST_IN_USE'));
    const [waiting, forwarding] = waits === 0 ? hosts : ([hosts[1], hosts[0]] as const);
    const fleet = await Application.start(waiting.socketPath, { from: 'first' });
    expect(await fleet.faults(1 - waits, 10)).toEqual([]);
    expect(waiting.manager.getMetrics().fleet).toMatchObject({ messages: 0 });
    await forwarding.manager.stop();
    expect(await fleet.faults(waits, 10)).toEqual([]);
    expect(fleet.gaps).toMatchObject([{ host: 'same', reason: 'epoch' }]);
  });

  test('a batch that is none, or has invalid messages, harms nobody', async () => {
    const engine = await NatsServer.start();
    const a = await startHost(engine, 'a');
    const fleet = await Application.start(a.socketPath);
    const nats = await connectTo(engine);
    const publishBatch = (body: string, runs: string, count: number): void => {
      const fields = headers();
      for (const [name, value] of Object.entries({
        'Sluice-Format': '1',
        'Sluice-Start': '0123456789abcdef:0',
        'Sluice-Count': String(count),
        'Sluice-Senders': '[["evil-1",null]]',
        'Sluice-Runs': runs,
      }))
        fields.set(name, value);
      nats.publish('sluice.main.batches.evil', body, { headers: fields });
    };
    nats.publish('sluice.main.batches.evil', 'not a batch');
    publishBatch('{}\n', '7,1,1,3', 1);
    publishBatch('{}\n', '0,1,1,4', 1);
    const bad = `{"type":"hello","data":{"role":"app"}}\n${line({ type: 'heartbeat', data: 1 })}{]\n\n`;
    const good = numberedBlock(1, 0, 3);
    publishBatch(bad + good, `0,1,7,${bad.length + good.length}`, 7);
    await publish(a.socketPath, 2, 0, 10);
    expect(await fleet.faults(1, 3)).toEqual([]);
    expect(await fleet.faults(2, 10)).toEqual([]);
    expect(a.manager.getMetrics().fleet).toMatchObject({ invalidBatches: 3, rejected: 3 });
  });

  test('has at most 64 readers', async () => {
    const engine = await NatsServer.start();
    const a = await startHost(engine, 'a', { maxSubscriptions: 100 });
    const app = await a.connect();
    for (let number = 0; number < 66; number++)
      app.say('subscribe', { id: `${number}`, scope: 'fleet', from: 'new' });
    await until(() => app.lines.length === 66);
    expect(app.errors).toEqual(['RATE_LIMITED', 'RATE_LIMITED']);
    expect(a.manager.getMetrics().fleet?.feeds).toBe(64);
    await app.close();
    await until(() => a.manager.getMetrics().fleet?.feeds === 0);
    await Application.start(a.socketPath, { from: 'first' });
  });

  test('begins with the latest message of each job and crawler of all hosts', async () => {
    const engine = await NatsServer.start();
    const [a, b] = [await startHost(engine, 'a'), await startHost(engine, 'b')];
    await publish(a.socketPath, 1, 0, 10);
    await publish(b.socketPath, 2, 0, 20);
    await until(() => [a, b].every(({ manager }) => manager.getMetrics().fleet?.hosts.length === 2));
    const subscribe = async (data: object) => {
      const app = await b.connect();
      app.say('subscribe', { id: 'x', scope: 'fleet', last: true, ...data });
      const lastValues = Number((await app.next('subscribed')).data.lastValues);
      await until(() => app.lines.length > lastValues);
      return app.messages.filter(({ type }) => type !== 'subscribed');
    };
    const all = await subscribe({ meta: true });
    expect(all.map(({ host, message }) => [host, (message as { jobId: string }).jobId]).sort()).toEqual([
      ['a', 'producer-1'],
      ['b', 'producer-2'],
    ]);
    expect(await subscribe({ jobIds: ['producer-1'] })).toMatchObject([{ data: { processed: 9 } }]);
    expect(await subscribe({ crawlerIds: ['nobody'] })).toEqual([]);
    // A host that does not answer only takes time.
    await a.manager.stop();
    expect(await subscribe({})).toMatchObject([{ data: { processed: 19 } }]);
  });

  test('begins with the latest messages also if newer ones arrive before all hosts have answered', async () => {
    const engine = await NatsServer.start();
    const hosts = [
      await startHost(engine, 'a'),
      await startHost(engine, 'b'),
      await startHost(engine, 'c'),
    ] as const;
    const [a, b, c] = hosts;
    // Its broker reads live messages already.
    await Application.start(b.socketPath);
    const crawler = await a.connect();
    const ofJob = (type: 'job_progress' | 'job_completed') => line({ ...VALID[type], jobId: 'job-x' });
    crawler.write(ofJob('job_progress'));
    await crawler.settled();
    await until(() => hosts.every(({ manager }) => manager.getMetrics().fleet?.hosts.length === 3));
    await c.manager.stop();
    const app = await b.connect();
    app.say('subscribe', { id: 'x', scope: 'fleet', last: true });
    await app.settled();
    expect(app.messages.some(({ type }) => type === 'subscribed')).toBe(false);
    crawler.write(ofJob('job_completed'));
    await app.next('job_completed');
    await app.settled();
    const types = app.messages.map(({ type }) => type);
    const ofSubscription = types.filter((type) => type === 'subscribed' || type.startsWith('job_'));
    expect([ofSubscription[0], ofSubscription.at(-1)]).toEqual(['subscribed', 'job_completed']);
  });

  test('begins at once if much arrives meanwhile, and the overflow policy does not apply to that', async () => {
    const engine = await NatsServer.start();
    const hosts = [
      await startHost(engine, 'a'),
      await startHost(engine, 'b', { maxPendingBytes: 40 * 1024, fleetRequestTimeout: 60_000 }),
      await startHost(engine, 'c'),
    ] as const;
    const [, b, c] = hosts;
    await Application.start(b.socketPath);
    const crawler = await b.connect();
    const ofLength = (length: number) =>
      line({ ...VALID.job_progress, data: { ...VALID.job_progress.data, message: 'x'.repeat(length) } });
    crawler.write(ofLength(15_000));
    await crawler.settled();
    await until(() => hosts.every(({ manager }) => manager.getMetrics().fleet?.hosts.length === 3));
    await c.manager.stop();
    const app = await b.connect();
    app.say('subscribe', { id: 'x', scope: 'fleet', last: true });
    await app.settled();
    expect(app.messages.some(({ type }) => type === 'subscribed')).toBe(false);
    crawler.write(ofLength(30_000));
    await until(() => app.messages.filter(({ type }) => type === 'job_progress').length === 2);
    expect(app.messages.find(({ type }) => type === 'subscribed')?.data).toMatchObject({ lastValues: 1 });
    await app.settled();
  });

  test('is not confirmed if it ends or is replaced before', async () => {
    const engine = await NatsServer.start();
    const hosts = [
      await startHost(engine, 'a', { fleetRequestTimeout: 1000 }),
      await startHost(engine, 'b'),
    ] as const;
    const [a, b] = hosts;
    await until(() => hosts.every(({ manager }) => manager.getMetrics().fleet?.hosts.length === 2));
    await b.manager.stop();
    const app = await a.connect();
    const subscribe = (id: string, types: string[]) =>
      app.say('subscribe', { id, types, scope: 'fleet', last: true });
    subscribe('ended', ['*']);
    app.say('unsubscribe', { id: 'ended' });
    subscribe('replaced', ['*']);
    subscribe('replaced', ['job_unknown']);
    subscribe('latest', ['*']);
    await app.next(({ type, data }) => type === 'subscribed' && data.id === 'latest');
    expect(app.messages.map(({ type, data }) => [type, data.id, data.unknownTypes])).toEqual([
      ['unsubscribed', 'ended', undefined],
      ['subscribed', 'replaced', ['job_unknown']],
      ['subscribed', 'latest', undefined],
    ]);
  });

  test('a host answers with the latest messages that are not too long for the engine, in parts that are not', async () => {
    const server = await NatsServer.start('max_payload: 65536');
    const a = await startHost(server, 'a');
    const crawler = await a.connect();
    const messageOf = (jobId: string, length: number) =>
      line({
        ...VALID.job_progress,
        jobId,
        data: { ...VALID.job_progress.data, message: 'x'.repeat(length) },
      });
    crawler.write(messageOf('job-a', 30_000) + messageOf('job-b', 30_000) + messageOf('job-c', 60_000));
    await crawler.settled();
    const nats = await connectTo(server);
    const answers = [];
    const question = JSON.stringify({ id: 'x', meta: true });
    for await (const { data } of await nats.requestMany('sluice.main.calls.last', question, {
      strategy: 'sentinel',
    }))
      answers.push(Buffer.from(data).toString());
    expect(answers.map((answer) => /"jobId":"(.*?)"/.exec(answer)?.[1])).toEqual([
      'job-a',
      'job-b',
      undefined,
    ]);
    expect(a.errors).toEqual([]);
  });

  test('a request that a host fails to answer is reported once, and it answers others', async () => {
    const server = await NatsServer.start();
    const errors: unknown[] = [];
    const options = { name: 'main', storesMessages: false, maxBytes: -1, maxAge: 0, replicas: 1 };
    const engine = await NatsEngine.load({
      ...options,
      servers: [server.address],
      credentials: undefined,
      tls: undefined,
      onError: (error) => errors.push(error),
      onStream: () => {},
    });
    onTestFinished(() => engine.close());
    engine.start();
    await engine.whenConnected(new AbortController().signal);
    engine.handle('fails', () => {
      throw new Error('simulated');
    });
    engine.handle('long', () => Buffer.alloc(2 * 1024 * 1024));
    engine.handle('works', (data) => data);
    const nats = await connectTo(server);
    for (const subject of ['fails', 'fails', 'long'])
      nats.publish(`sluice.main.calls.${subject}`, '', { reply: 'x' });
    expect((await nats.request('sluice.main.calls.works', 'text')).string()).toBe('text');
    expect(errors.map(String)).toEqual([
      'Error: fails: no answer to a request',
      'Error: long: no answer to a request',
    ]);
  });

  test('a question that is none is not answered, and others are', async () => {
    const server = await NatsServer.start();
    const a = await startHost(server, 'a');
    const nats = await connectTo(server);
    const subjects = ['find', 'deliver', 'deliver.a', 'deliver-to', 'last', 'hosts', 'presence', 'host.a'];
    for (const subject of subjects)
      for (const text of ['', 'null', '7', '[]', 'null\nnull', '{"type":null}'])
        nats.publish(`sluice.main.calls.${subject}`, text, { reply: 'x' });
    const crawler = await a.connect();
    crawler.write(hello('crawler-1'));
    await crawler.settled();
    const question = JSON.stringify({ type: 'job_cancel', crawler: 'crawler-1', isWaiting: false });
    expect((await nats.request('sluice.main.calls.find', question)).string()).toBe('a');
    expect(a.errors).toEqual([]);
  });

  test('the engine may need TLS and a certificate of the broker', async () => {
    const certificates = join(packageRoot, 'test/support/certificates');
    const files = ['server.pem', 'server.key', 'ca.pem'].map((name) =>
      JSON.stringify(join(certificates, name)),
    );
    const engine = await NatsServer.start(
      `tls { cert_file: ${files[0]}, key_file: ${files[1]}, ca_file: ${files[2]}, verify: true }`,
    );
    const fleet = [engine.address.replace('nats:', 'tls:')];
    const fleetCa = join(certificates, 'ca.pem');
    const withCertificate = { fleet, fleetCa, fleetCert: join(certificates, 'client.pem') };
    const a = await startHost(engine, 'a', {
      ...withCertificate,
      fleetKey: join(certificates, 'client.key'),
    });
    expect(a.manager.getMetrics().fleet).toMatchObject({ isConnected: true });
    const reader = await Application.start(a.socketPath);
    await publish(a.socketPath, 1, 0, 100);
    expect(await reader.faults(1, 100)).toEqual([]);
    for (const options of [{ fleet, fleetCa }, { fleet }]) {
      const other = await startHost(engine, 'b', options);
      await until(
        () =>
          other.errors.includes('FLEET_UNAVAILABLE') ||
          other.manager.getMetrics().fleet?.isConnected === false,
      );
      expect(other.manager.getMetrics().fleet).toMatchObject({ isConnected: false });
      await other.manager.stop();
    }
  });

  test('options that cannot be right are rejected', async () => {
    const log = join(temporaryFolder(), 'log');
    const fails = (options: object, text: string) =>
      expect(startPlainBroker({ log, ...options })).rejects.toMatchObject({
        message: expect.stringContaining(text),
      });
    await fails({ fleet: ['nats://localhost:1'], log: undefined }, 'needs the option log');
    await fails({ fleet: ['http://localhost:1'] }, 'must be an address');
    await fails({ fleet: ['nats://user:secret@localhost:1'] }, 'must be an address');
    await fails({ fleet: ['nats://example.org:4222'] }, 'access tokens');
    await fails({ fleet: [] }, 'must contain an address');
    await fails({ fleet: ['nats://localhost:1'], fleetHost: 'a.b' }, 'fleetHost');
    await fails({ fleet: ['nats://localhost:1'], fleetCert: 'x' }, 'needs fleetKey');
    await fails({ fleet: ['nats://localhost:1'], messageDelimiter: '\0' }, 'messageDelimiter');
  });

  test('needs a fleet, and excludes what only a host has', async () => {
    const plain = await startPlainBroker();
    const engine = await NatsServer.start();
    const a = await startHost(engine, 'a');
    const issueOf = async (broker: TestBroker, data: object) => {
      const peer = await broker.connect();
      peer.say('subscribe', { id: 'x', scope: 'fleet', ...data });
      return (await peer.next('error')).data;
    };
    expect(await issueOf(plain, {})).toMatchObject({
      code: 'RULE_VIOLATION',
      issues: [{ path: 'data.scope', code: 'no_fleet' }],
    });
    for (const data of [
      { group: 'g' },
      { last: true, from: 'first' },
      { overflow: 'log' },
      { ack: 'manual' },
    ])
      expect(await issueOf(a, data)).toMatchObject({
        code: 'RULE_VIOLATION',
        issues: [{ code: 'conflict' }],
      });
    expect(await issueOf(a, { from: { offset: '0123456789abcdef:1' } })).toMatchObject({
      issues: [{ path: 'data.from' }],
    });
    expect(await issueOf(a, { scope: 'host', from: { offset: 'fleet:1:1:' } })).toMatchObject({
      issues: [{ path: 'data.from' }],
    });
  });
});
