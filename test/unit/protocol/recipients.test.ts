// Who receives an application's message, and which connection is a crawler's, over real sockets.

import { describe, expect, test } from 'vitest';
import { sharePlainBroker, startPlainBroker, type TestBroker, until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';
import type { Peer } from '../../support/peer.js';
import { startServer } from '../../support/server.js';

const sharedBroker = sharePlainBroker();

async function crawler({ connect }: TestBroker, crawlerId?: string): Promise<Peer> {
  const peer = await connect();
  peer.say('hello', { role: 'crawler', crawlerId });
  await peer.next('welcome');
  return peer;
}

async function application({ connect }: TestBroker): Promise<Peer> {
  const app = await connect();
  app.say('hello', { role: 'app' });
  await app.next('welcome');
  return app;
}

/** The types that a peer has received. Everything sent before is settled then. */
async function received(peer: Peer, app: Peer): Promise<string[]> {
  await app.settled();
  await peer.settled();
  return peer.forwarded.map(({ type }) => type);
}

const idOf = async (peer: Peer) => String((await peer.next('welcome')).data.connectionId);

describe('any', () => {
  test('is the crawler that asks, not one that only is connected', async () => {
    const broker = sharedBroker();
    const [app, idle, asking] = [await application(broker), await crawler(broker), await crawler(broker)];
    asking.say('job_request');
    await asking.settled();
    app.write(line({ ...VALID.job_assignment, to: 'any' }));
    await asking.next('job_assignment');
    expect(await received(idle, app)).toEqual([]);
  });

  test('excludes connections that have sent only control messages or nothing', async () => {
    const broker = sharedBroker();
    const [app, mute, pinging] = [await application(broker), await broker.connect(), await broker.connect()];
    await pinging.settled();
    app.write(line({ ...VALID.job_assignment, to: 'any' }) + line(VALID.job_response));
    await app.settled();
    expect(app.errors).toEqual(['NO_RECIPIENT', 'NO_RECIPIENT']);
    mute.write(line(VALID.heartbeat));
    await mute.settled();
    app.write(line({ ...VALID.job_assignment, to: 'any' }));
    await mute.next('job_assignment');
    expect(await received(pinging, app)).toEqual([]);
  });

  test('is not a crawler that has closed its side, while its handlers run', async () => {
    const { server, connect } = await startServer({ defaultHandlers: false });
    let finish: () => void = () => {};
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    server.router.registerHandler('job_request', () => finished);
    const [app, ended] = [await connect(), await connect('ended')];
    app.say('hello', { role: 'app' });
    await app.next('welcome');
    ended.say('job_request');
    ended.socket.end();
    await until(() => server.router.statistics.running === 1);
    // The end has been read, too, unless the system needs another turn for it.
    await app.settled();
    app.write(line({ ...VALID.job_assignment, to: 'any' }));
    await app.settled();
    expect(app.errors).toEqual(['NO_RECIPIENT']);
    // When it comes back, it has not gone.
    const presence: string[] = [];
    server.manager.on('presence', ({ event }) => presence.push(event));
    await connect('ended');
    finish();
    await ended.closed;
    await app.settled();
    expect(presence).toEqual(['replaced', 'connected']);
  });

  test('is not a crawler whose request has timed out', async () => {
    const broker = sharedBroker();
    const [app, gaveUp, waiting] = [await application(broker), await crawler(broker), await crawler(broker)];
    gaveUp.say('job_request', { timeout_ms: 1 });
    await gaveUp.settled();
    waiting.say('job_request', { timeout_ms: 60_000 });
    await waiting.settled();
    await new Promise((resolve) => setTimeout(resolve, 5));
    app.write(line({ ...VALID.job_assignment, to: 'any' }));
    await waiting.next('job_assignment');
    expect(await received(gaveUp, app)).toEqual([]);
  });

  test('counts the jobs of a job_response', async () => {
    const broker = sharedBroker();
    const [app, one, two] = [
      await application(broker),
      await crawler(broker, 'c1'),
      await crawler(broker, 'c2'),
    ];
    app.write(line({ ...VALID.job_response, to: 'c1' }) + line(VALID.job_response));
    await two.next('job_response');
    expect(await received(one, app)).toEqual(['job_response']);
  });

  test('after code in this process has answered a request, is another crawler', async () => {
    const broker = sharedBroker();
    const [app, one, two] = [
      await application(broker),
      await crawler(broker, 'c1'),
      await crawler(broker, 'c2'),
    ];
    for (const peer of [one, two]) {
      peer.say('job_request');
      await peer.settled();
    }
    await broker.manager
      .getConnectionPool()
      .getCrawler('c1')
      ?.send({ ...VALID.job_response });
    app.write(line({ ...VALID.job_response, to: 'any' }));
    await two.next('job_response');
    expect(await received(one, app)).toEqual(['job_response']);
  });
});

describe('the owner of a job', () => {
  test('is the crawler with its crawlerId after a reconnection, also if it got that later', async () => {
    const broker = sharedBroker();
    const app = await application(broker);
    const old = await broker.connect();
    old.write(line(VALID.job_started));
    old.say('hello', { role: 'crawler', crawlerId: 'c1' });
    await old.settled();
    await old.close();
    await until(() => broker.manager.getConnectionPool().size === 1);
    const [other, current] = [await crawler(broker, 'c2'), await crawler(broker, 'c1')];
    app.write(line(VALID.token_refresh_response));
    await current.next('token_refresh_response');
    expect(await received(other, app)).toEqual([]);
  });

  test('that is not connected: a job is given anew, and nothing else goes to another crawler', async () => {
    const broker = sharedBroker();
    const app = await application(broker);
    const owner = await crawler(broker, 'c1');
    owner.write(line(VALID.job_started));
    await owner.settled();
    await owner.close();
    await until(() => broker.manager.getConnectionPool().size === 1);
    const other = await crawler(broker, 'c2');
    const about = [
      VALID.token_refresh_response,
      VALID.job_cancel,
      VALID.job_pause,
      VALID.job_resume,
      { ...VALID.shutdown, jobId: 'job-1' },
    ];
    app.write(about.map(line).join(''));
    await app.settled();
    expect(app.errors).toEqual(about.map(() => 'NO_RECIPIENT'));
    app.write(line(VALID.job_assignment));
    await other.next('job_assignment');
    // Now it is the other crawler's job.
    app.write(line(VALID.job_cancel));
    expect(await received(other, app)).toEqual(['job_assignment', 'job_cancel']);
  });

  test('is who got it in a job_response', async () => {
    const broker = sharedBroker();
    const [app, one, two] = [
      await application(broker),
      await crawler(broker, 'c1'),
      await crawler(broker, 'c2'),
    ];
    const [job] = VALID.job_response.data.jobs;
    const jobs = [job, { ...job, id: 'job-2' }];
    app.write(line({ ...VALID.job_response, to: 'c2', data: { jobs } }));
    app.write(line({ ...VALID.job_cancel, data: { job_id: 'job-2' } }));
    await two.next('job_cancel');
    expect(await received(one, app)).toEqual([]);
  });
});

test('without `to` and a known owner, a token or a command goes to nobody, a shutdown to all', async () => {
  const broker = sharedBroker();
  const [app, one, two] = [await application(broker), await crawler(broker, 'c1'), await crawler(broker)];
  const concernsOne = [VALID.token_refresh_response, VALID.job_cancel, VALID.job_pause, VALID.job_resume];
  app.write(concernsOne.map(line).join('') + line(VALID.shutdown));
  expect(await received(one, app)).toEqual(['shutdown']);
  expect(await received(two, app)).toEqual(['shutdown']);
  expect(app.errors).toEqual(concernsOne.map(() => 'NO_RECIPIENT'));
});

test('a command names its job in `data`, whatever its envelope says', async () => {
  const broker = sharedBroker();
  const [app, one, two] = [
    await application(broker),
    await crawler(broker, 'c1'),
    await crawler(broker, 'c2'),
  ];
  one.write(line(VALID.job_started));
  two.write(line({ ...VALID.job_started, jobId: 'job-2' }));
  await Promise.all([one.settled(), two.settled()]);
  app.write(line({ ...VALID.job_cancel, jobId: 'job-2' }));
  await one.next('job_cancel');
  expect(await received(two, app)).toEqual([]);
});

describe('two connections with one crawlerId', () => {
  test('the newer takes over, and the older is closed with REPLACED, even without a reply left', async () => {
    const broker = await startPlainBroker({ maxErrorReplies: 0 });
    const [app, old] = [await application(broker), await crawler(broker, 'c1')];
    const current = await crawler(broker, 'c1');
    await old.closed;
    expect(old.errors).toEqual(['REPLACED']);
    app.write(line({ ...VALID.job_assignment, to: 'c1' }));
    await current.next('job_assignment');
    expect(old.forwarded).toEqual([]);
    await until(() => broker.manager.getConnectionPool().size === 2);
    expect(broker.manager.getConnectionPool().getCrawler('c1')?.id).toBe(await idOf(current));
  });

  test('a repeated or late hello replaces nobody on its own connection', async () => {
    const broker = sharedBroker();
    const app = await application(broker);
    const peer = await broker.connect();
    peer.write(line(VALID.heartbeat));
    for (let round = 0; round < 3; round++) peer.say('hello', { role: 'crawler', crawlerId: 'c1' });
    await peer.settled();
    expect(peer.errors).toEqual([]);
    app.write(line({ ...VALID.shutdown, to: 'c1' }));
    await peer.next('shutdown');
  });

  test('a hello that the older had sent before it was replaced does not take the ID back', async () => {
    const broker = sharedBroker();
    const old = await crawler(broker, 'c1');
    const hello = line({ type: 'hello', data: { role: 'crawler', crawlerId: 'c1' } });
    const current = await broker.connect();
    current.write(hello);
    old.write(hello.repeat(50));
    await Promise.race([old.closed, current.closed]);
    const pool = broker.manager.getConnectionPool();
    await until(() => pool.size === 1);
    const [winner] = pool.all();
    expect(pool.getCrawler('c1')).toBe(winner);
    // Each was replaced at most once: it does not go back and forth.
    expect([...old.errors, ...current.errors]).toEqual(['REPLACED']);
  });

  test('an application with the same crawlerId replaces no crawler, and receives nothing by it', async () => {
    const broker = sharedBroker();
    const [first, second] = [await crawler(broker, 'c1'), await broker.connect()];
    second.say('hello', { role: 'app', crawlerId: 'c1' });
    await second.next('welcome');
    second.write(line({ ...VALID.shutdown, to: 'c1' }));
    await first.next('shutdown');
    expect([...first.errors, ...second.errors]).toEqual([]);
    // A crawler that becomes an application gives its ID up.
    first.say('hello', { role: 'app', crawlerId: 'c1' });
    await first.settled();
    second.write(line({ ...VALID.shutdown, to: 'c1' }));
    expect((await second.next('error')).data.code).toBe('NO_RECIPIENT');
    await crawler(broker, 'c1');
    await first.settled();
    expect(first.errors).toEqual([]);
  });

  test('a connection without a valid token replaces none', async () => {
    const token = 'a-token-of-a-crawler';
    const broker = await startPlainBroker({ auth: { tokens: { crawler: [token] } } });
    const first = await broker.connect();
    first.say('hello', { role: 'crawler', crawlerId: 'c1', token });
    const id = await idOf(first);
    for (const wrong of [undefined, 'a-token-of-nobody']) {
      const stranger = await broker.connect();
      stranger.say('hello', { role: 'crawler', crawlerId: 'c1', token: wrong });
      await stranger.closed;
      expect(stranger.errors).toEqual(['UNAUTHORIZED']);
    }
    await first.settled();
    expect(first.errors).toEqual([]);
    expect(broker.manager.getConnectionPool().getCrawler('c1')?.id).toBe(id);
  });
});

test('a crawlerId that is a connection ID is ignored: messages to a connection reach no other, even afterwards', async () => {
  const broker = sharedBroker();
  const [app, first] = [await application(broker), await crawler(broker, 'c1')];
  const id = await idOf(first);
  const impostor = await crawler(broker, id);
  expect((await impostor.next('error')).data).toMatchObject({
    code: 'RULE_VIOLATION',
    messageType: 'hello',
    issues: [{ path: 'data.crawlerId', code: 'reserved' }],
  });
  app.write(line({ ...VALID.job_assignment, to: id }));
  await first.next('job_assignment');
  await first.close();
  await until(() => broker.manager.getConnectionPool().size === 2);
  app.write(line({ ...VALID.job_assignment, to: id }));
  expect((await app.next('error')).data.code).toBe('NO_RECIPIENT');
  expect(await received(impostor, app)).toEqual([]);
  // It is still a crawler, by its own connection ID.
  app.write(line({ ...VALID.shutdown, to: await idOf(impostor) }));
  await impostor.next('shutdown');
});

test.each([
  ['*', ['job_assignment'], ['job_assignment']],
  ['any', [], ['job_assignment']],
])('the crawlerId %j is ignored: it names several crawlers in `to`', async (crawlerId, toFirst, toAsking) => {
  const broker = sharedBroker();
  const [app, first] = [await application(broker), await crawler(broker, 'c1')];
  const impostor = await crawler(broker, crawlerId);
  expect((await impostor.next('error')).data).toMatchObject({
    code: 'RULE_VIOLATION',
    issues: [{ path: 'data.crawlerId', code: 'reserved' }],
  });
  expect(broker.manager.getConnectionPool().getCrawler(crawlerId)).toBeUndefined();
  impostor.say('job_request');
  await impostor.settled();
  app.write(line({ ...VALID.job_assignment, to: crawlerId }));
  expect(await received(first, app)).toEqual(toFirst);
  expect(await received(impostor, app)).toEqual(toAsking);
});
