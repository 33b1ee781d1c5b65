import { jetstream } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { describe, expect, onTestFinished, test } from 'vitest';
import { until } from '../../support/broker.js';
import { Application, hello, publish, startHost } from '../../support/fleet.js';
import { line, VALID } from '../../support/messages.js';
import { hasNatsServer, NatsServer } from '../../support/nats-server.js';

describe.skipIf(!hasNatsServer)('a host that stores each message by itself (needs nats-server)', () => {
  test('says its type and job in its subject, so that any program can select messages', async () => {
    const engine = await NatsServer.start();
    const host = await startHost(engine, 'a', { fleetMode: 'messages' });
    const crawler = await host.connect();
    const jobs = ['job-1', 'a.b *>ä\ud800', `long-${'x'.repeat(300)}`];
    const messages = jobs.map((jobId) => line({ ...VALID.job_progress, jobId }));
    crawler.write(hello('crawler') + line(VALID.heartbeat) + messages.join(''));
    await until(() => host.manager.getMetrics().fleet?.lag === 0);
    const connection = await connect({ servers: new URL(engine.address).host });
    onTestFinished(() => connection.close());
    const filter = { filter_subjects: 'sluice.main.messages.*.job_progress.>' };
    const consumer = await jetstream(connection).consumers.get('sluice-main', filter);
    const found = await consumer.fetch({ max_messages: 3, expires: 5000 });
    const [subjects, bodies]: string[][] = [[], []];
    for await (const message of found) {
      subjects?.push(message.subject);
      bodies?.push(message.string());
    }
    const prefix = 'sluice.main.messages.a.job_progress.';
    expect(subjects).toEqual(
      ['job-1', 'a%2Eb%20%2A%3E%C3%A4%EF%BF%BD', `long-${'x'.repeat(195)}`].map((job) => prefix + job),
    );
    expect(bodies).toEqual(messages);
    // The heartbeat has no job.
    const all = await jetstream(connection).consumers.get('sluice-main', {});
    const first = await all.next();
    expect(first?.subject).toBe('sluice.main.messages.a.heartbeat._');
    expect(host.errors).toEqual([]);
  });

  test('loses and repeats nothing for subscribers to the fleet, and may change to batches and back', async () => {
    const engine = await NatsServer.start();
    const reader = await startHost(engine, 'reader');
    const application = await Application.start(reader.socketPath, { from: 'first' });
    let log: string | undefined;
    let sent = 0;
    for (const fleetMode of ['messages', 'batches', 'messages'] as const) {
      const host = await startHost(engine, 'a', { fleetMode, ...(log === undefined ? {} : { log }) });
      log = host.manager.options.log;
      await publish(host.socketPath, 1, sent, sent + 50);
      if (sent === 0) {
        // Stored while the engine was away.
        await engine.kill();
        await publish(host.socketPath, 1, sent + 50, sent + 100);
        await engine.start();
      } else await publish(host.socketPath, 1, sent + 50, sent + 100);
      await until(() => host.manager.getMetrics().fleet?.lag === 0);
      await host.manager.stop();
      sent += 100;
    }
    expect(await application.faults(1, sent)).toEqual([]);
    expect(application.gaps).toEqual([]);
  });
});
