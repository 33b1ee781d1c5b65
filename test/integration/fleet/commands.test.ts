import { describe, expect, test } from 'vitest';
import { until } from '../../support/broker.js';
import { hello, startHost } from '../../support/fleet.js';
import { line, VALID } from '../../support/messages.js';
import { hasNatsServer, NatsServer } from '../../support/nats-server.js';
import type { Peer } from '../../support/peer.js';

const cancel = (jobId: string, to?: string) =>
  line({ type: 'job_cancel', timestamp: '2026-01-01T00:00:00Z', to, data: { job_id: jobId } });
const assignment = (jobId: string, to?: string) =>
  line({ ...VALID.job_assignment, to, data: { ...VALID.job_assignment.data, job_id: jobId } });
const started = (jobId: string) => line({ ...VALID.job_started, jobId });

/** Two hosts, with a crawler of each and an application of the first one. */
async function startTwoHosts() {
  const engine = await NatsServer.start();
  const [a, b] = [await startHost(engine, 'a'), await startHost(engine, 'b')];
  await until(() => [a, b].every(({ manager }) => manager.getMetrics().fleet?.lag === 0));
  const [app, here, there] = [await a.connect(), await a.connect(), await b.connect()];
  here.write(hello('here') + started('job-here'));
  there.write(hello('there') + started('job-there'));
  await Promise.all([here.settled(), there.settled()]);
  return { engine, a, b, app, here, there };
}

const typesOf = (peer: Peer, type: string) => peer.messages.filter((message) => message.type === type);

describe.skipIf(!hasNatsServer)('an application of one host (needs nats-server)', () => {
  test('reaches a crawler of another one by its ID, and by its job', async () => {
    const { app, here, there } = await startTwoHosts();
    app.write(cancel('job-1', 'there'));
    expect(await there.next('job_cancel')).toMatchObject({ data: { job_id: 'job-1' } });
    app.write(cancel('job-there'));
    await there.next(({ type, data }) => type === 'job_cancel' && data.job_id === 'job-there');
    app.write(cancel('job-here'));
    await here.next('job_cancel');
    await app.settled();
    expect(typesOf(there, 'job_cancel')).toHaveLength(2);
    expect(typesOf(here, 'job_cancel')).toHaveLength(1);
    expect(app.errors).toEqual([]);
  });

  test('reaches one crawler if any will do: of its own host first, and one that waits before others', async () => {
    const { a, app, here, there } = await startTwoHosts();
    app.write(assignment('job-1'));
    await here.next('job_assignment');
    await here.close();
    await until(() => a.manager.getConnectionPool().size === 1);
    app.write(assignment('job-2'));
    await there.next('job_assignment');
    await app.settled();
    expect(typesOf(there, 'job_assignment')).toHaveLength(1);
    // It owns the job now, wherever the application is.
    app.write(cancel('job-2'));
    await there.next('job_cancel');
    expect(app.errors).toEqual([]);
  });

  test('reaches the crawlers of all hosts', async () => {
    const { a, app, here, there } = await startTwoHosts();
    app.write(cancel('job-1', '*'));
    await Promise.all([here.next('job_cancel'), there.next('job_cancel')]);
    await here.close();
    await until(() => a.manager.getConnectionPool().size === 1);
    app.write(cancel('job-2', '*'));
    await there.next(({ data }) => data?.job_id === 'job-2');
    await app.settled();
    expect(app.errors).toEqual([]);
  });

  test('gets NO_RECIPIENT if no host has the crawler, and while the engine is away', async () => {
    const { engine, app, there } = await startTwoHosts();
    app.write(cancel('job-unknown') + cancel('job-1', 'nobody'));
    await until(() => app.errors.length === 2);
    await engine.kill();
    app.write(cancel('job-there'));
    await until(() => app.errors.length === 3);
    expect(app.errors).toEqual(['NO_RECIPIENT', 'NO_RECIPIENT', 'NO_RECIPIENT']);
    expect(typesOf(there, 'job_cancel')).toEqual([]);
  });

  test('follows a crawler that moves from one host to another', async () => {
    const { a, b, app, there } = await startTwoHosts();
    await there.close();
    await until(() => b.manager.getConnectionPool().size === 0);
    const moved = await a.connect();
    moved.write(hello('there') + started('job-there'));
    await moved.settled();
    app.write(cancel('job-there') + cancel('job-1', 'there'));
    await until(() => typesOf(moved, 'job_cancel').length === 2);
    await moved.close();
    await until(() => a.manager.getConnectionPool().size === 2);
    const back = await b.connect();
    back.write(hello('there'));
    await back.settled();
    app.write(cancel('job-2', 'there'));
    await back.next('job_cancel');
    expect(app.errors).toEqual([]);
  });

  test('has its messages to one crawler delivered in order', async () => {
    const { app, there } = await startTwoHosts();
    for (let number = 0; number < 200; number++) app.write(cancel(`job-${number}`, 'there'));
    await until(() => typesOf(there, 'job_cancel').length === 200);
    const numbers = typesOf(there, 'job_cancel').map(({ data }) => data.job_id);
    expect(numbers).toEqual(Array.from({ length: 200 }, (_, number) => `job-${number}`));
  });

  test('learns which crawlers of all hosts come and go', async () => {
    const { a, b } = await startTwoHosts();
    const observer = await a.connect();
    observer.say('subscribe', { id: 'x', scope: 'fleet', types: ['presence'] });
    await observer.next('subscribed');
    const [near, far] = [await a.connect(), await b.connect()];
    near.write(hello('near'));
    far.write(hello('far') + started('job-far'));
    await Promise.all([near.settled(), far.settled()]);
    await Promise.all([near.close(), far.close()]);
    const event = (name: string, crawlerId: string) =>
      observer.next(
        ({ type, data }) => type === 'presence' && data.event === name && data.crawlerId === crawlerId,
      );
    expect(await event('connected', 'near')).toMatchObject({ data: { host: 'a' } });
    expect(await event('connected', 'far')).toMatchObject({ data: { host: 'b' } });
    expect(await event('gone', 'far')).toMatchObject({ data: { host: 'b', jobs: ['job-far'] } });
    await event('gone', 'near');
    expect(typesOf(observer, 'presence')).toHaveLength(4);
  });
});
