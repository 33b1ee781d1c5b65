import { once } from 'node:events';
import { MessageRegistry, type PresenceChange, type PresenceEvent } from 'sluice';
import { SluiceClient } from 'sluice/client';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Peer as Connection } from '#src/protocol/peer.js';
import { Presence } from '#src/protocol/presence.js';
import { JobOwners } from '#src/routing/job-owners.js';
import { Subscriptions } from '#src/routing/subscriptions.js';
import { sharePlainBroker, startPlainBroker, type TestBroker, until } from '../../support/broker.js';
import type { Line, Peer } from '../../support/peer.js';

const progress = { stage: 'fetching', entityType: 'issue', processed: 1 };
const completed = { success: true, finalCounts: {} };
const failed = { error: 'gone', isRecoverable: true };

const presenceOf = (peer: Peer): Line['data'][] =>
  peer.messages.filter(({ type }) => type === 'presence').map(({ data }) => data);
const next = (peer: Peer, event: string, crawlerId: string | null) =>
  peer.next(({ type, data }) => type === 'presence' && data.event === event && data.crawlerId === crawlerId);

const sorted = (jobs: unknown): string[] => [...(jobs as string[])].sort();

const shared = sharePlainBroker({ maxJobOwners: 5000 });

async function crawler({ connect }: TestBroker, crawlerId: string): Promise<Peer> {
  const peer = await connect();
  peer.say('hello', { role: 'crawler', crawlerId });
  await peer.next('welcome');
  return peer;
}

/** Presence without a broker. */
function observed() {
  const changes: PresenceChange<Connection>[] = [];
  const owners = new JobOwners(5000);
  const listener = {
    hasListener: () => true,
    onPresence: (change: PresenceChange<Connection>) => changes.push(change),
  };
  const subscriptions = new Subscriptions(MessageRegistry.builtin());
  return { changes, owners, presence: new Presence<Connection>(subscriptions, owners, listener, 10) };
}

/** A connection of one crawler. */
function connectionOf(id: string, isOpen = true): Connection {
  const crawlerId = 'crawler-1';
  return { id, role: 'crawler', isOpen, identity: { connectionId: id, crawlerId }, crawlerId } as Connection;
}

describe('presence', () => {
  test('reports a crawler after its hello, once, and when it has closed', async () => {
    const broker = shared();
    const app = await (await broker.connect()).subscribe({ types: ['presence'] });
    const peer = await crawler(broker, 'crawler-1');
    const { connectionId } = (await peer.next('welcome')).data;
    peer.say('heartbeat', { activeJobs: 0, totalProcessed: 0, systemStatus: 'idle' });
    peer.say('hello', { role: 'crawler', crawlerId: 'crawler-1' });
    await peer.settled();
    await peer.close();
    const gone = await next(app, 'gone', 'crawler-1');
    expect(gone.data).toEqual({
      event: 'gone',
      connectionId,
      crawlerId: 'crawler-1',
      reason: 'peer',
      jobs: [],
      jobsTotal: 0,
    });
    expect(Date.parse(String(gone.timestamp))).toBeGreaterThan(0);
    expect(presenceOf(app).map(({ event }) => event)).toEqual(['connected', 'gone']);
  });

  test('reports a crawler without hello after its first valid message, not after an invalid one', async () => {
    const broker = shared();
    const app = await (await broker.connect()).subscribe({ types: ['presence'] });
    const peer = await broker.connect();
    peer.say('heartbeat', { activeJobs: -1 });
    peer.say('ping');
    await peer.settled();
    expect(presenceOf(app)).toEqual([]);
    peer.say('job_progress', progress, { jobId: 'job-of-nobody' });
    await next(app, 'connected', null);
    await peer.close();
    expect((await next(app, 'gone', null)).data.jobs).toEqual(['job-of-nobody']);
  });

  test('does not report applications, nor to subscribers of all types', async () => {
    const broker = shared();
    const app = await (await broker.connect()).subscribe({ types: ['presence'] });
    const all = await (await broker.connect()).subscribe();
    const other = await (await broker.connect()).subscribe();
    await other.close();
    const peer = await crawler(broker, 'crawler-1');
    await peer.close();
    await next(app, 'gone', 'crawler-1');
    await all.settled();
    expect(presenceOf(app)).toHaveLength(2);
    expect(all.forwarded).toEqual([]);
  });

  test('applies crawlerIds, is not wrapped, and goes to every member of a group', async () => {
    const broker = shared();
    const data = { types: ['presence'], crawlerIds: ['crawler-2'], meta: true };
    const app = await (await broker.connect()).subscribe(data);
    const members = await Promise.all(
      [1, 2].map(async () => (await broker.connect()).subscribe({ types: ['presence'], group: 'watchers' })),
    );
    await crawler(broker, 'crawler-1');
    await crawler(broker, 'crawler-2');
    expect((await next(app, 'connected', 'crawler-2')).from).toBeUndefined();
    expect(presenceOf(app)).toHaveLength(1);
    for (const member of members) {
      await next(member, 'connected', 'crawler-2');
      expect(presenceOf(member)).toHaveLength(2);
    }
  });

  test('ends with the subscription', async () => {
    const broker = shared();
    const app = await (await broker.connect()).subscribe({ types: ['presence'] });
    app.say('unsubscribe', { id: 'all' });
    await app.next('unsubscribed');
    await crawler(broker, 'crawler-1');
    await app.settled();
    expect(presenceOf(app)).toEqual([]);
  });

  test('peers cannot send it', async () => {
    const broker = shared();
    const peer = await broker.connect();
    peer.say('presence', { event: 'gone', connectionId: 'x', crawlerId: 'x', jobs: [], jobsTotal: 0 });
    await peer.settled();
    expect(peer.errors).toEqual(['UNKNOWN_TYPE']);
  });
});

describe('a relay', () => {
  test('is not reported, and the jobs of its messages stay with their crawler, unless they have ended', async () => {
    const broker = shared();
    const app = await (await broker.connect()).subscribe({ types: ['presence', 'job_*'], last: true });
    const peer = await crawler(broker, 'crawler-r');
    for (const jobId of ['r-1', 'r-2']) peer.say('job_progress', progress, { jobId });
    await peer.settled();
    const relay = await broker.connect();
    relay.say('hello', { role: 'relay' });
    for (const jobId of ['r-1', 'r-unknown']) relay.say('job_progress', progress, { jobId });
    for (const jobId of ['r-2', 'r-other']) relay.say('job_completed', completed, { jobId });
    await relay.settled();
    await relay.close();
    await app.next(({ type, jobId }) => type === 'job_completed' && jobId === 'r-other');
    await peer.close();
    expect((await next(app, 'gone', 'crawler-r')).data.jobs).toEqual(['r-1']);
    expect(presenceOf(app)).toHaveLength(2);
  });

  test('does not take the place of a crawler with its ID, and gets no commands', async () => {
    const broker = shared();
    const peer = await crawler(broker, 'crawler-s');
    const relay = await broker.connect();
    relay.say('hello', { role: 'relay', crawlerId: 'crawler-s' });
    relay.say('job_progress', progress, { jobId: 's-1' });
    await relay.settled();
    const app = await broker.connect();
    app.say('hello', { role: 'app' });
    app.say('shutdown', {});
    app.say('job_cancel', { job_id: 's-1' }, { to: 'crawler-s' });
    await peer.next('shutdown');
    await peer.next('job_cancel');
    await Promise.all([app.settled(), relay.settled()]);
    expect([app.errors, relay.forwarded]).toEqual([[], []]);
  });
});

describe('a newer connection with the same crawlerId', () => {
  test('is reported as connected after the older as replaced, which is not reported as gone', async () => {
    const broker = shared();
    const app = await (await broker.connect()).subscribe({ types: ['presence'] });
    const older = await crawler(broker, 'crawler-1');
    older.say('job_progress', progress, { jobId: 'job-1' });
    await older.settled();
    const newer = await crawler(broker, 'crawler-1');
    await older.closed;
    await newer.close();
    const gone = await next(app, 'gone', 'crawler-1');
    const ids = [older, newer].map(
      (peer) => peer.messages.find(({ type }) => type === 'welcome')?.data.connectionId,
    );
    expect(presenceOf(app).map(({ event, connectionId }) => [event, connectionId])).toEqual([
      ['connected', ids[0]],
      ['replaced', ids[0]],
      ['connected', ids[1]],
      ['gone', ids[1]],
    ]);
    expect(presenceOf(app)[1]).toMatchObject({ jobs: [], jobsTotal: 0 });
    expect(gone.data.jobs).toEqual(['job-1']);
  });

  test('replaces also one that is being closed, so that the crawler is not gone after it has come back', async () => {
    const broker = shared();
    const { manager } = broker;
    const events: PresenceEvent[] = [];
    manager.on('presence', (event) => events.push(event));
    const older = await crawler(broker, 'crawler-1');
    older.say('job_progress', progress, { jobId: 'job-1' });
    await older.settled();
    const closing = manager.getConnectionPool().getCrawler('crawler-1');
    if (closing === undefined) return expect.unreachable();
    // Waits until the peer has read this.
    older.socket.pause();
    void closing.sendRaw(`${'x'.repeat(4_000_000)}\n`);
    void closing.disconnect('heartbeat_missed');
    const newer = await crawler(broker, 'crawler-1');
    older.socket.resume();
    await older.closed;
    await newer.close();
    await until(() => events.at(-1)?.event === 'gone');
    expect(events.map(({ event, connection, jobs }) => [event, connection === closing, jobs])).toEqual([
      ['connected', true, []],
      ['replaced', true, []],
      ['connected', false, []],
      ['gone', false, ['job-1']],
    ]);
  });

  test('does not if it is being closed itself: then it is not reported', () => {
    const { presence, changes } = observed();
    const [first, second, third] = [connectionOf('1', false), connectionOf('2'), connectionOf('3', false)];
    for (const connection of [first, second, third, first]) presence.onHello(connection);
    for (const connection of [third, first, second]) presence.onClosed(connection, 'peer');
    const reports = changes.map(({ event, connection }) => `${event} ${connection.id}`);
    expect(reports).toEqual(['connected 1', 'replaced 1', 'connected 2', 'gone 2']);
  });

  test('takes over the open jobs of the one that is gone', async () => {
    const broker = shared();
    const app = await (await broker.connect()).subscribe({ types: ['presence'] });
    const first = await crawler(broker, 'crawler-1');
    first.say('job_progress', progress, { jobId: 'job-1' });
    first.say('job_progress', progress, { jobId: 'job-2' });
    await first.settled();
    await first.close();
    expect(sorted((await next(app, 'gone', 'crawler-1')).data.jobs)).toEqual(['job-1', 'job-2']);
    const second = await broker.connect();
    // Before its name is known.
    second.say('job_progress', progress, { jobId: 'job-3' });
    second.say('hello', { role: 'crawler', crawlerId: 'crawler-1' });
    second.say('job_completed', completed, { jobId: 'job-1' });
    second.say('job_progress', progress, { jobId: 'job-4' });
    await second.settled();
    await second.close();
    const reports = () => presenceOf(app).filter(({ event }) => event === 'gone');
    await until(() => reports().length === 2);
    expect(sorted(reports()[1]?.jobs)).toEqual(['job-2', 'job-3', 'job-4']);
  });
});

describe('the jobs of a crawler that is gone', () => {
  async function jobsOf(send: (peer: Peer) => void, crawlerId = 'crawler-1'): Promise<Line['data']> {
    const broker = shared();
    const app = await (await broker.connect()).subscribe({ types: ['presence'] });
    const peer = await crawler(broker, crawlerId);
    send(peer);
    await peer.settled();
    await peer.close();
    return (await next(app, 'gone', crawlerId)).data;
  }

  test('are those whose latest message does not end them', async () => {
    const { jobs, jobsTotal } = await jobsOf((peer) => {
      for (const jobId of ['a-1', 'a-2', 'a-3', 'a-4', 'a-5']) peer.say('job_progress', progress, { jobId });
      peer.say('job_completed', completed, { jobId: 'a-1' });
      peer.say('job_failed', failed, { jobId: 'a-2' });
      peer.say('job_failed', failed, { jobId: 'a-3' });
      peer.say('job_started', {}, { jobId: 'a-3' });
    }, 'crawler-a');
    expect([sorted(jobs), jobsTotal]).toEqual([['a-3', 'a-4', 'a-5'], 3]);
  });

  test('have their IDs as they were sent, in either spelling, with escapes, and among other keys', async () => {
    const { jobs } = await jobsOf((peer) => {
      peer.say('job_progress', progress, { job_id: 'b-older' });
      peer.say('job_progress', progress, { jobId: 'b-"quoted"\\ü😀' });
      peer.say('job_progress', { jobId: 'b-decoy', ...progress }, { jobId: 'b-ok' });
      const rest = `"timestamp":"2026-01-01T00:00:00Z","data":{"jobId":"b-decoy","stage":"fetching"`;
      peer.write(`{"type":"job_progress",${rest},"entityType":"issue","processed":1}, "jobId" : "b-last"}\n`);
    }, 'crawler-b');
    expect(sorted(jobs)).toEqual(['b-"quoted"\\ü😀', 'b-last', 'b-ok', 'b-older']);
  });

  test('include assigned jobs of which no message has arrived, and not those that another crawler has got', async () => {
    const broker = shared();
    const { manager, connect } = broker;
    const app = await (await connect()).subscribe({ types: ['presence'] });
    const [one, two] = [await crawler(broker, 'crawler-c'), await crawler(broker, 'crawler-d')];
    const job = { job_type: 'crawl_user', gitlab_host: 'https://gitlab.test', access_token: 'x'.repeat(20) };
    for (const job_id of ['c-1', 'c-2']) app.say('job_assignment', { ...job, job_id }, { to: 'crawler-c' });
    await one.next(({ data }) => data.job_id === 'c-2');
    app.say('job_assignment', { ...job, job_id: 'c-1' }, { to: 'crawler-d' });
    await two.next('job_assignment');
    await manager
      .getConnectionPool()
      .getCrawler('crawler-c')
      ?.send({
        type: 'job_assignment',
        timestamp: '2026-01-01T00:00:00Z',
        data: { ...job, job_id: 'c-3', job_type: 'crawl_user' },
      });
    await one.close();
    await two.close();
    expect((await next(app, 'gone', 'crawler-c')).data.jobs).toEqual(['c-2', 'c-3']);
    expect((await next(app, 'gone', 'crawler-d')).data.jobs).toEqual(['c-1']);
  });

  test('are at most 1,000, with their total; IDs of more than 256 characters are only counted', async () => {
    const { jobs, jobsTotal } = await jobsOf((peer) => {
      peer.say('job_progress', progress, { jobId: 'e'.repeat(257) });
      for (let job = 0; job < 1500; job++) peer.say('job_progress', progress, { jobId: `e-${job}` });
    }, 'crawler-e');
    expect([(jobs as string[]).length, jobsTotal]).toEqual([999, 1501]);
    expect(new Set(jobs as string[]).size).toBe(999);
  });

  test('are at most 64 KiB as JSON, and at most about 16 MiB per second, with their total', () => {
    const now = vi.spyOn(performance, 'now').mockReturnValue(0);
    onTestFinished(() => void now.mockRestore());
    const { changes, owners, presence } = observed();
    const reconnect = (send: (connection: Connection) => void = () => {}) => {
      const connection = connectionOf(`connection-${changes.length}`);
      presence.onHello(connection);
      send(connection);
      presence.onClosed(connection, 'peer');
    };
    reconnect(({ identity }) => {
      // A control character takes six bytes.
      for (let job = 0; job < 1000; job++)
        if (owners.set(job, 1, identity)) owners.setId(`${job}${'\u0001'.repeat(250)}`);
    });
    for (let round = 0; round < 300; round++) reconnect();
    const reports = changes.filter(({ event }) => event === 'gone');
    const sizes = reports.map(({ jobs }) => JSON.stringify(jobs).length);
    expect(Math.max(...sizes)).toBeGreaterThan(62 * 1024);
    expect(Math.max(...sizes)).toBeLessThan(65 * 1024);
    const total = sizes.reduce((sum, size) => sum + size, 0);
    expect([Math.round(total / 1024 / 1024), sizes.at(-1)]).toEqual([16, 2]);
    expect(reports.every(({ jobsTotal }) => jobsTotal === 1000)).toBe(true);
    now.mockReturnValue(1001);
    reconnect();
    expect(changes.at(-1)?.jobs.length).toBe(reports[0]?.jobs.length);
  });

  test('are bounded by maxJobOwners, over all crawlers', async () => {
    const { jobsTotal } = await jobsOf((peer) => {
      for (let job = 0; job < 6000; job++) peer.say('job_progress', progress, { jobId: `f-${job}` });
    }, 'crawler-f');
    expect(jobsTotal).toBe(5000);
  });
});

describe('the reason', () => {
  test('is heartbeat_timeout, a slow consumer or an error, as in connection_removed', async () => {
    const { manager, connect } = await startPlainBroker({
      heartbeatInterval: 20,
      heartbeatTimeout: 60,
      healthCheckInterval: 20,
    });
    const app = await (await connect()).subscribe({ types: ['presence'] });
    const peer = await connect();
    peer.say('hello', { role: 'crawler', crawlerId: 'silent' });
    peer.say('heartbeat', { activeJobs: 0, totalProcessed: 0, systemStatus: 'idle' });
    const [{ reason }] = await once(manager, 'connection_removed');
    expect((await next(app, 'gone', 'silent')).data.reason).toBe(reason);
    expect(reason).not.toBe('peer');
  });

  test('is SLOW_CONSUMER for a crawler that does not read its messages', async () => {
    const { connect } = await startPlainBroker({ maxPendingBytes: 1024 });
    const app = await (await connect()).subscribe({ types: ['presence'] });
    const peer = await connect();
    peer.say('hello', { role: 'crawler', crawlerId: 'slow' });
    await peer.next('welcome');
    peer.socket.pause();
    const send = () => {
      for (let count = 0; count < 100; count++)
        app.say('job_cancel', { job_id: 'job-1', reason: 'x'.repeat(10_000) }, { to: 'slow' });
    };
    const timer = setInterval(send, 5);
    onTestFinished(() => clearInterval(timer));
    expect((await next(app, 'gone', 'slow')).data.reason).toBe('SLOW_CONSUMER');
  });
});

describe('for code in this process', () => {
  test('SocketManager emits presence, also without subscribers', async () => {
    const broker = shared();
    const { manager } = broker;
    const events: PresenceEvent[] = [];
    manager.on('presence', (event) => events.push(event));
    const peer = await crawler(broker, 'crawler-g');
    peer.say('job_progress', progress, { jobId: 'g-1' });
    await peer.settled();
    await peer.close();
    await until(() => events.length === 2);
    expect(
      events.map(({ event, connection, crawlerId, jobs }) => [event, connection.crawlerId, crawlerId, jobs]),
    ).toEqual([
      ['connected', 'crawler-g', 'crawler-g', []],
      ['gone', 'crawler-g', 'crawler-g', ['g-1']],
    ]);
  });

  test('SluiceClient delivers it typed, to the subscriptions that name it', async () => {
    const broker = shared();
    const { socketPath } = broker;
    const client = new SluiceClient({ socketPath });
    onTestFinished(async () => void (await client.close()));
    await client.connect();
    const others: string[] = [];
    await client.subscribe({}, ({ type }) => others.push(type));
    const ofOther = await client.subscribe({ types: ['presence'], crawlerIds: ['crawler-x'] });
    const subscription = await client.subscribe({ types: ['presence'], crawlerIds: ['crawler-h'] });
    expect(subscription.unknownTypes).toEqual([]);
    await (await crawler(broker, 'crawler-h')).close();
    for await (const event of subscription) {
      if (!event.is('presence')) throw new Error(`unexpected: ${event.type}`);
      expect(event.message.data.crawlerId).toBe('crawler-h');
      if (event.message.data.event === 'gone') break;
    }
    expect([others, ofOther.queuedBytes]).toEqual([[], 0]);
  });
});

test('it counts as messages of the broker itself', async () => {
  const broker = shared();
  const { manager } = broker;
  const app = await (await broker.connect()).subscribe({ types: ['presence'] });
  const { messagesSent, controlSent } = manager.getMetrics().totals;
  await crawler(broker, 'crawler-1');
  await next(app, 'connected', 'crawler-1');
  await until(() => manager.getMetrics().totals.controlSent === controlSent + 2);
  expect(manager.getMetrics().totals.messagesSent).toBe(messagesSent);
});
