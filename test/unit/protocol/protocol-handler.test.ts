import type { RejectedEvent } from 'sluice';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { growth, shareBroker, sharePlainBroker, startPlainBroker, until } from '../../support/broker.js';
import { changed, line, VALID } from '../../support/messages.js';

const sharedBroker = shareBroker();

describe.each(['slab', 'copy'] as const)('messages, received by %s', (receive) => {
  const receiver = shareBroker({ receive, maxMessageSize: 1000 });

  test('reach a subscriber byte for byte, each with one newline', async () => {
    const { connect } = receiver();
    const subscriber = await (await connect()).subscribe();
    const crawler = await connect();
    const odd =
      '{"extra":1.50, "type":"job_request","timestamp":"2026-01-01T00:00:00Z","data":{ }, "z":"\\u00e9é"}';
    crawler.write(`${odd}\r\n\n${odd}${odd}\n`);
    await subscriber.count(4);
    expect(subscriber.lines.slice(1)).toEqual([odd, odd, odd]);
    expect(subscriber.partial).toBe('');
  });

  test('an undelimited message is delivered at once', async () => {
    const { connect } = receiver();
    const subscriber = await (await connect()).subscribe();
    const crawler = await connect();
    for (const job of ['job-a', 'job-b']) {
      crawler.write(JSON.stringify({ ...VALID.job_progress, jobId: job }));
      await subscriber.next(({ jobId }) => jobId === job);
    }
  });

  test('bad ones are answered with code and line, and the next is delivered', async () => {
    const { connect } = receiver();
    const subscriber = await (await connect()).subscribe();
    const crawler = await connect();
    const bad: [string | Buffer, string][] = [
      ['junk', 'INVALID_JSON'],
      [Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 'INVALID_UTF8'],
      [JSON.stringify(changed('heartbeat', { activeJobs: 'CANARY' })), 'SCHEMA_VIOLATION'],
      [JSON.stringify(changed('heartbeat', { activeJobs: -1 })), 'RULE_VIOLATION'],
      ['{"type":"CANARY"}', 'UNKNOWN_TYPE'],
      [`{"a":"${'x'.repeat(2000)}"}`, 'MESSAGE_TOO_LARGE'],
      [`{"type":"heartbeat","a":${'['.repeat(400)}${']'.repeat(400)}}`, 'MESSAGE_TOO_DEEP'],
      ['{"__proto__":{"CANARY":1}}', 'FORBIDDEN_KEY'],
    ];
    for (const [index, [message, code]] of bad.entries()) {
      crawler.write(message);
      crawler.write(`\n${line({ ...VALID.job_progress, jobId: `good-${index}` })}`);
      const error = await crawler.next(({ type, data }) => type === 'error' && data.line === index * 2 + 1);
      expect(error.data.code).toBe(code);
      await subscriber.next(({ jobId }) => jobId === `good-${index}`);
    }
    expect(crawler.errors).toEqual(bad.map(([, code]) => code));
    expect(crawler.lines.join('\n')).not.toContain('CANARY');
    expect(subscriber.forwarded).toHaveLength(bad.length);
  });

  test('of a peer that closes its side are all delivered, the last without newline too', async () => {
    const { connect } = await startPlainBroker({ receive, framing: 'ndjson', patterns: 'on' });
    const subscriber = await (await connect()).subscribe();
    const crawler = await connect();
    crawler.socket.end(line(VALID.heartbeat).repeat(1000) + JSON.stringify(VALID.job_completed));
    await subscriber.next('job_completed');
    expect(subscriber.forwarded).toHaveLength(1001);
    await crawler.closed;
  });
});

describe('control messages', () => {
  const limited = sharePlainBroker({
    maxSubscriptions: 2,
    maxErrorReplies: 3,
    minHeartbeatInterval: 60_000,
  });

  test('hello is answered with a welcome', async () => {
    const { manager, connect } = sharedBroker();
    const peer = await connect();
    peer.say('hello', {
      role: 'crawler',
      crawlerId: 'crawler-7',
      protocolVersion: '1.2.0',
      capabilities: ['x'],
    });
    const { data } = await peer.next('welcome');
    expect(data).toMatchObject({
      protocolVersion: '1.0.0',
      maxMessageSize: 1 << 20,
      heartbeatInterval: 5000,
      heartbeatTimeout: 30_000,
    });
    const connection = manager.getConnectionPool().get(String(data.connectionId));
    expect(connection?.metadata).toMatchObject({
      crawlerId: 'crawler-7',
      role: 'crawler',
      version: '1.2.0',
      capabilities: ['x'],
    });
    expect(connection?.state).toBe('authenticated');
  });

  test.each(['2.0.0', '0.9.0', 'one'])(
    'version %s is rejected, and the connection closed',
    async (protocolVersion) => {
      const { connect } = sharedBroker();
      const peer = await connect();
      peer.say('hello', { role: 'app', protocolVersion });
      await peer.closed;
      expect(peer.errors).toEqual(['UNSUPPORTED_VERSION']);
    },
  );

  test('ping is answered; subscribe and unsubscribe are confirmed', async () => {
    const { connect } = sharedBroker();
    const peer = await connect();
    peer.write('{"type":"ping"}{"type":"subscribe","data":{"id":"x","types":["heartbeat"]}}');
    await peer.next('pong');
    await peer.next('subscribed');
    peer.write('{"type":"unsubscribe","data":{"id":"x"}}\n');
    await peer.next('unsubscribed');
    (await connect()).write(line(VALID.heartbeat));
    await peer.settled();
    expect(peer.forwarded).toEqual([]);
  });

  test('a peer that disconnects before its subscribe is settled leaves no subscription', async () => {
    const { manager, connect } = sharedBroker();
    const member = await (await connect()).subscribe({ group: 'g' });
    for (let round = 0; round < 30; round++) {
      const peer = await connect();
      peer.say('ping');
      peer.say('subscribe', { id: 'x', group: 'g' });
      await new Promise((resolve) => setImmediate(resolve));
      await peer.close();
    }
    await until(() => manager.getConnectionPool().size === 1);
    await member.settled();
    expect(manager.getMetrics().protocol.subscriptions).toBe(1);
    (await connect()).write(line(VALID.heartbeat).repeat(100));
    while (member.forwarded.length < 100) await member.count(member.lines.length + 1);
  });

  test('a peer that does not read the answers to its pings is not read from', async () => {
    const { manager, connect } = sharedBroker();
    const peer = await connect();
    peer.socket.pause();
    const count = 50_000;
    const pings = Buffer.from('{"type":"ping"}\n'.repeat(count));
    peer.write(pings);
    await until(() => manager.getConnectionPool().all()[0]?.isPaused === true);
    const [connection] = manager.getConnectionPool().all();
    expect(connection?.statistics.pendingBytes).toBeLessThan(16e6);
    peer.socket.resume();
    await peer.count(count);
  });

  test('a later subscribe without overflow does not change it', async () => {
    const { manager, connect } = sharedBroker();
    await (await (await connect()).subscribe({ id: 'a', overflow: 'block' })).subscribe({ id: 'b' });
    expect(manager.getConnectionPool().all()[0]?.outbox.policy).toBe('block');
  });

  test('subscriptions are limited', async () => {
    const { connect } = limited();
    const peer = await connect();
    for (const id of ['a', 'b', 'c', 'b']) peer.say('subscribe', { id });
    await peer.settled();
    expect(peer.errors).toEqual(['RATE_LIMITED']);
  });

  test('error replies are limited, and the others counted', async () => {
    const { manager, connect } = limited();
    const counts = () => {
      const { errorReplies, errorsUnanswered, rejected } = manager.getMetrics().protocol;
      return { errorReplies, errorsUnanswered, ...rejected };
    };
    const before = counts();
    const peer = await connect();
    peer.write('junk\n'.repeat(100));
    await peer.settled();
    expect(peer.errors).toHaveLength(3);
    expect(growth(before, counts())).toEqual({ errorReplies: 3, errorsUnanswered: 97, INVALID_JSON: 100 });
  });

  test('too long messages in a row close the connection; a good one between starts the count anew', async () => {
    const { connect } = await startPlainBroker({ maxMessageSize: 500, maxFramingErrors: 2 });
    const long = `{"a":"${'x'.repeat(600)}"}\n`;
    const peer = await connect();
    peer.write(long + line(VALID.job_request) + long);
    await peer.settled();
    peer.write(long + long);
    await peer.closed;
    expect(peer.errors).toEqual(Array(4).fill('MESSAGE_TOO_LARGE'));
  });

  test('drops and counts heartbeats faster than minHeartbeatInterval', async () => {
    const { manager, connect } = limited();
    const before = manager.getMetrics().protocol.heartbeatsDropped;
    const subscriber = await (await connect()).subscribe();
    const crawler = await connect();
    crawler.write(
      line(VALID.heartbeat) +
        line(VALID.job_started) +
        line(VALID.heartbeat).repeat(2) +
        line(VALID.job_completed),
    );
    await subscriber.next('job_completed');
    expect(subscriber.forwarded.map(({ type }) => type)).toEqual([
      'heartbeat',
      'job_started',
      'job_completed',
    ]);
    expect(manager.getMetrics().protocol.heartbeatsDropped - before).toBe(2);
  });
});

describe('messages that take long to handle', () => {
  const shared = sharePlainBroker({ maxErrorReplies: 10_000 });
  const COUNT = 2000;

  // Each look at the clock takes a millisecond, so that what may take a few of them is soon interrupted.
  beforeEach(() => {
    let time = performance.now();
    vi.spyOn(performance, 'now').mockImplementation(() => time++);
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  test('do not hold up those of others, and are all handled, once and in order', async () => {
    const { manager, connect } = shared();
    const [busy, other] = [await connect(), await connect()];
    const { lane } = manager.getConnectionPool().all()[0] ?? expect.unreachable();
    let messages = 0;
    manager.on('message', () => messages++);
    /** Control messages handled in each turn of the event loop. */
    const turns: number[] = [];
    let before = 0;
    const look = () => {
      const { controlReceived: after } = manager.getConnectionPool().all()[0] ?? expect.unreachable();
      turns.push(after - before);
      before = after;
      if (after < 2 * COUNT) setImmediate(look);
    };
    setImmediate(look);
    const ids = Array.from({ length: COUNT }, (_, index) => `s${index}`);
    const change = (id: string) =>
      line({ type: 'subscribe', data: { id, jobId: 'none' } }) + line({ type: 'unsubscribe', data: { id } });
    busy.write(`${ids.map(change).join('')}bad\n${line(VALID.job_progress)}`);
    other.write(line(VALID.heartbeat));
    await Promise.all([busy.settled(), other.settled()]);
    expect(messages).toBe(2);
    // 30 ms, of which the clock is looked at after every eighth, and a few times besides.
    expect(Math.max(...turns)).toBeLessThanOrEqual(30 * 8);
    expect(lane.pendingBytes).toBe(0);
    const answers = busy.lines.map((text) => JSON.parse(text));
    expect(answers.filter(({ type }) => type === 'subscribed').map(({ data }) => data.id)).toEqual(ids);
    expect(answers.filter(({ type }) => type === 'unsubscribed').map(({ data }) => data.id)).toEqual(ids);
    expect(answers.filter(({ type }) => type === 'error').map(({ data }) => data.line)).toEqual([
      2 * COUNT + 1,
    ]);
    expect(manager.getMetrics().memory.heldBytes).toBe(0);
  });

  test('are handled if their peer closes its side, also while the broker stops', async () => {
    const { manager, connect } = await startPlainBroker();
    const [busy, stopped] = [await connect(), await connect()];
    let messages = 0;
    manager.on('message', () => messages++);
    const text = line({ type: 'ping' }).repeat(COUNT) + line(VALID.job_progress);
    busy.socket.end(text);
    await busy.closed;
    expect(messages).toBe(1);
    stopped.write(text);
    await until(() =>
      manager
        .getConnectionPool()
        .all()
        .some(({ lane }) => lane.pendingBytes > 0),
    );
    await manager.stop();
    expect(messages).toBe(2);
  });
});

describe('applications', () => {
  test('a message goes to the crawler it names, and the job is then that crawler’s', async () => {
    const { connect } = sharedBroker();
    const [app, one, two] = [await connect(), await connect(), await connect()];
    for (const [index, crawler] of [one, two].entries()) {
      crawler.say('hello', { role: 'crawler', crawlerId: `crawler-${index + 1}` });
      await crawler.next('welcome');
    }
    app.say('hello', { role: 'app' });
    app.write(line({ ...VALID.job_assignment, to: 'crawler-2' }));
    expect(await two.next('job_assignment')).toEqual({ ...VALID.job_assignment, to: 'crawler-2' });
    app.write(line(VALID.token_refresh_response));
    await two.next('token_refresh_response');
    app.write(line({ ...VALID.shutdown, to: '*' }));
    await one.next('shutdown');
    await two.next('shutdown');
    expect(one.forwarded).toHaveLength(1);
  });

  test('an application that speaks of a job does not take it from its crawler', async () => {
    const { connect } = sharedBroker();
    const [app, crawler, other] = [await connect(), await connect(), await connect()];
    crawler.write(line(VALID.job_started));
    await crawler.settled();
    await other.settled();
    app.say('hello', { role: 'app' });
    app.write(line(VALID.job_started) + line(VALID.token_refresh_response));
    await crawler.next('token_refresh_response');
    await other.settled();
    expect(other.forwarded).toEqual([]);
  });

  test('an assignment is about the job that it assigns, whatever its envelope contains', async () => {
    const { connect } = sharedBroker();
    const [app, crawler, other] = [await connect(), await connect(), await connect()];
    crawler.say('hello', { role: 'crawler', crawlerId: 'crawler-1' });
    await Promise.all([crawler.settled(), other.settled()]);
    app.say('hello', { role: 'app' });
    app.write(
      line({ ...VALID.job_assignment, jobId: 'another', to: 'crawler-1' }) +
        line(VALID.token_refresh_response),
    );
    await crawler.next('token_refresh_response');
    await other.settled();
    expect(other.forwarded).toEqual([]);
  });

  test('job_response goes to the crawler that asked first', async () => {
    const { connect } = sharedBroker();
    const [app, one, two] = [await connect(), await connect(), await connect()];
    app.say('hello', { role: 'app' });
    await app.settled();
    two.write(line(VALID.job_request));
    await two.settled();
    one.write(line(VALID.job_request));
    await one.settled();
    app.write(line(VALID.job_response));
    await two.next('job_response');
    app.write(line(VALID.job_response));
    await one.next('job_response');
  });

  test('answers NO_RECIPIENT if no crawler can take a message', async () => {
    const { manager, connect } = sharedBroker();
    const before = manager.getMetrics().protocol.undeliverable;
    const app = await connect();
    app.say('hello', { role: 'app' });
    app.write(line(VALID.job_assignment));
    const { data } = await app.next('error');
    expect(data).toMatchObject({ code: 'NO_RECIPIENT', messageType: 'job_assignment' });
    expect(manager.getMetrics().protocol.undeliverable).toBe(before + 1);
    app.say('ping');
    expect((await app.next('pong')).data).toEqual({ rejected: 1 });
  });

  test('its tokens are not shown to subscribers', async () => {
    const { connect } = sharedBroker();
    const [app, monitor, crawler] = [await connect(), await connect(), await connect()];
    await monitor.subscribe({ types: ['*', 'job_assignment'] });
    crawler.say('hello', { role: 'crawler' });
    await crawler.next('welcome');
    app.say('hello', { role: 'app' });
    app.write(line(VALID.job_assignment));
    await crawler.next('job_assignment');
    await monitor.settled();
    expect(monitor.forwarded).toEqual([]);
  });
});

describe('rejected messages', () => {
  test('go to subscribers of rejected, and to code, with a redacted sample', async () => {
    const { manager, connect } = sharedBroker();
    const rejections: RejectedEvent[] = [];
    manager.on('rejected', (rejection) => rejections.push(rejection));
    const watcher = await (await connect()).subscribe({ types: ['rejected'] });
    const ordinary = await (await connect()).subscribe();
    const app = await connect();
    app.write(line(changed('job_assignment', { job_type: 'steal', access_token: 'CANARY' })));
    const { data } = await watcher.next('rejected');
    expect(data).toMatchObject({ code: 'SCHEMA_VIOLATION', issues: [{ path: 'data.job_type' }] });
    expect(data.sample).toContain('"access_token":"***"');
    expect(rejections).toMatchObject([{ code: 'SCHEMA_VIOLATION', messageType: 'job_assignment', line: 1 }]);
    await ordinary.settled();
    expect(ordinary.forwarded).toEqual([]);
    expect(watcher.lines.join() + app.lines.join() + rejections[0]?.sample).not.toContain('CANARY');
  });
});

test('custom schemas travel like the protocol’s own', async () => {
  const schemas = new URL('../../support/custom-schemas.mjs', import.meta.url);
  const { connect } = await startPlainBroker({ schemas });
  const subscriber = await (await connect()).subscribe({ types: ['page_*'] });
  const crawler = await connect();
  crawler.write(line({ type: 'page_fetched', url: 'https://example.com', bytes: 5 }));
  expect(await subscriber.next('page_fetched')).toMatchObject({ bytes: 5 });
  crawler.write(line({ type: 'page_fetched', url: 'https://example.com', bytes: -5 }));
  expect((await crawler.next('error')).data).toMatchObject({
    code: 'RULE_VIOLATION',
    messageType: 'page_fetched',
  });
});
