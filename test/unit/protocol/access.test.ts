import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AccessControl, type SocketConnection } from 'sluice';
import { describe, expect, test } from 'vitest';
import { growth, sharePlainBroker, startPlainBroker, temporaryFolder, until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';
import type { Peer } from '../../support/peer.js';

const APP = 'app-token-0123456789';
const MONITOR = 'monitor-token-0123456789';
const CRAWLER = 'crawler-token-0123456789';
const beat = line(VALID.heartbeat);

const tokens = { app: [APP], monitor: [MONITOR] };
const CRAWLERS_TOO = { auth: { tokens: { ...tokens, crawler: [CRAWLER] } } };
/** A broker where applications and monitors need a token. */
const guarded = sharePlainBroker({ auth: { tokens } });
/** One where crawlers need one, too. */
const closed = sharePlainBroker(CRAWLERS_TOO);

async function greet(peer: Peer, role: string, token?: string): Promise<Peer> {
  peer.say('hello', { role, ...(token !== undefined && { token }) });
  await peer.next(({ type }) => type === 'welcome' || type === 'error');
  return peer;
}

describe('with tokens', () => {
  test('a right one lets a peer in; a wrong one, one of another role, or none closes it', async () => {
    const { connect } = guarded();
    expect((await greet(await connect(), 'app', APP)).errors).toEqual([]);
    for (const token of ['wrong', MONITOR, `${APP}x`, APP.slice(1), '', undefined]) {
      const peer = await greet(await connect(), 'app', token);
      expect(peer.errors).toEqual(['UNAUTHORIZED']);
      await peer.closed;
    }
  });

  test('a subscribe without hello is rejected and closes the connection', async () => {
    const { manager, connect } = guarded();
    const peer = await connect();
    peer.say('subscribe', { id: 'a' });
    await peer.closed;
    expect(peer.errors).toEqual(['UNAUTHORIZED']);
    expect(manager.getMetrics().protocol.subscriptions).toBe(0);
  });

  test.each(['ping', 'pong', 'unsubscribe', 'subscribe'])(
    'a peer that needs a token and sends %s before it is rejected and closed',
    async (type) => {
      const { connect } = closed();
      const peer = await connect();
      peer.say(type, type.includes('subscribe') ? { id: 'a' } : {});
      await peer.closed;
      expect(peer.messages.map(({ data }) => data)).toMatchObject([
        { code: 'UNAUTHORIZED', messageType: type },
      ]);
    },
  );

  test('an application message from anybody but an application is rejected', async () => {
    const { connect } = guarded();
    const crawler = await connect();
    crawler.write(beat);
    const monitor = await greet(await connect(), 'monitor', MONITOR);
    monitor.write(line(VALID.job_assignment));
    expect((await monitor.next('error')).data.code).toBe('UNAUTHORIZED');
    const other = await connect();
    other.write(line(VALID.job_assignment));
    await other.next('error');
    expect(other.errors).toEqual(['UNAUTHORIZED']);
    await crawler.settled();
    expect(crawler.forwarded).toEqual([]);
    const app = await greet(await connect(), 'app', APP);
    app.write(line(VALID.job_assignment));
    await crawler.next('job_assignment');
  });

  test('a monitor may listen, and a crawler may not', async () => {
    const { connect } = guarded();
    const monitor = await (await greet(await connect(), 'monitor', MONITOR)).subscribe();
    const crawler = await greet(await connect(), 'crawler');
    crawler.write(beat);
    await monitor.next('heartbeat');
    crawler.say('subscribe', { id: 'a' });
    expect((await crawler.next('error')).data.code).toBe('UNAUTHORIZED');
  });

  test('where crawlers have tokens too, one without is closed at its first message, and nothing is forwarded', async () => {
    const { manager, connect } = closed();
    const before = manager.getMetrics().protocol.rejected;
    const monitor = await (await greet(await connect(), 'monitor', MONITOR)).subscribe();
    const stranger = await connect();
    stranger.write(beat.repeat(3));
    await stranger.closed;
    expect(stranger.errors).toEqual(['UNAUTHORIZED']);
    expect(growth(before, manager.getMetrics().protocol.rejected)).toEqual({ UNAUTHORIZED: 1 });
    const crawler = await greet(await connect(), 'crawler', CRAWLER);
    crawler.write(beat);
    await monitor.count(3);
    expect(monitor.forwarded).toHaveLength(1);
  });
});

describe('a peer that has not sent its token', () => {
  test('gets no message, neither for its role nor by its name', async () => {
    const { manager, connect } = closed();
    const stranger = await connect();
    const pool = manager.getConnectionPool();
    await until(() => pool.size === 1);
    const id = pool.all()[0]?.id;
    const app = await greet(await connect(), 'app', APP);
    for (const to of [undefined, 'any', '*', id]) app.write(line({ ...VALID.job_assignment, to }));
    await app.settled();
    expect(app.errors).toEqual(Array(4).fill('NO_RECIPIENT'));
    for (const sent of [
      pool.broadcast({ ...VALID.shutdown }),
      pool.broadcastToCrawlers({ ...VALID.shutdown }),
      pool.sendTo({ role: 'crawler' }, { ...VALID.shutdown }),
    ]) {
      expect((await sent).failed).toEqual([]);
    }
    // What it gets is in the order it was sent: had there been messages, they came before this.
    await greet(stranger, 'crawler', CRAWLER);
    expect(stranger.lines).toHaveLength(1);
    app.write(line(VALID.job_assignment));
    await stranger.next('job_assignment');
  });
});

test('a rejected message does not identify its sender as a job owner or crawler', async () => {
  const { manager, connect } = closed();
  const [owner, other] = [await connect(), await connect()];
  for (const peer of [owner, other]) await greet(peer, 'crawler', CRAWLER);
  owner.write(line(VALID.job_started));
  await owner.settled();
  const gone: SocketConnection[] = [];
  manager.on('connection_removed', ({ connection }) => gone.push(connection));
  const stranger = await connect();
  stranger.write(line(VALID.job_started) + beat);
  await stranger.closed;
  await until(() => gone.length === 1);
  expect(gone[0]).toMatchObject({ workload: 0, lastHeartbeatAt: undefined });
  const app = await greet(await connect(), 'app', APP);
  app.write(line(VALID.token_refresh_response));
  await owner.next('token_refresh_response');
  await other.settled();
  expect(other.forwarded).toEqual([]);
});

test('setAuth disconnects active peers that now need a token, and no others', async () => {
  const { manager, connect } = await startPlainBroker();
  const greeted = await (await greet(await connect(), 'app')).subscribe();
  const listener = await (await connect()).subscribe();
  const crawler = await connect();
  crawler.write(beat);
  await crawler.settled();
  const quiet = await connect();
  await until(() => manager.getConnectionPool().size === 4);
  manager.setAuth({ tokens: { app: [APP], crawler: [CRAWLER] } });
  await Promise.all([listener.closed, crawler.closed]);
  expect([listener.errors, crawler.errors]).toEqual([['UNAUTHORIZED'], ['UNAUTHORIZED']]);
  await greet(quiet, 'crawler', CRAWLER);
  quiet.write(beat);
  await quiet.settled();
  await greeted.settled();
  expect([greeted, listener].map(({ forwarded }) => forwarded.length)).toEqual([2, 1]);
  expect(quiet.errors).toEqual([]);
});

test('tokens for applications alone leave crawlers where they are', async () => {
  const { manager, connect } = await startPlainBroker();
  const crawler = await connect();
  crawler.write(beat);
  await crawler.settled();
  manager.setAuth({ tokens: { app: [APP] } });
  await crawler.settled();
  expect(crawler.errors).toEqual([]);
});

test('wrong tokens are limited per second; right ones are accepted anyway', () => {
  const access = new AccessControl({ app: [APP] });
  expect(access.isFailureLimitReached(1000)).toBe(false);
  for (let attempt = 0; attempt < 100; attempt++) expect(access.verifyToken('app', MONITOR)).toBe(false);
  expect(access.isFailureLimitReached(1500)).toBe(true);
  expect(access.verifyToken('app', APP)).toBe(true);
  expect(access.isFailureLimitReached(2000)).toBe(false);
});

describe('a file of tokens', () => {
  const fileWith = (content: string, mode = 0o600): string => {
    const path = join(temporaryFolder(), 'tokens.json');
    writeFileSync(path, content);
    chmodSync(path, mode);
    return path;
  };

  test('adds to those of the options', () => {
    const access = AccessControl.load({
      tokens: { app: [APP] },
      file: fileWith(JSON.stringify({ app: [CRAWLER] })),
    });
    expect([APP, CRAWLER, MONITOR].map((token) => access.verifyToken('app', token))).toEqual([
      true,
      true,
      false,
    ]);
    // A role without tokens is closed, but for crawlers.
    expect(access.verifyToken('monitor', APP)).toBe(false);
    expect(access.verifyToken('crawler', undefined)).toBe(true);
    expect(access.verifyToken('relay', undefined)).toBe(true);
  });

  test.each([
    ['that is not there', () => '/nowhere/tokens.json'],
    ['that others may read', () => fileWith('{}', 0o644)],
    ['that is no JSON', () => fileWith(`${APP} oops`)],
    ['with a token too short', () => fileWith(`{"app":["${APP}","short"]}`)],
    ['with another role', () => fileWith(`{"operator":["${APP}"]}`)],
  ])('%s is rejected, and quoted nowhere', (_, make) => {
    const path = make();
    let message = '';
    try {
      AccessControl.load({ tokens: {}, file: path });
    } catch (error) {
      expect(error).toMatchObject({ code: 'CONFIG_UNREADABLE' });
      message = String(error);
    }
    expect(message).toContain(path);
    expect(message).not.toContain(APP);
    expect(message).not.toContain('short"');
  });
});

describe('limits of one connection', () => {
  const impatient = sharePlainBroker({
    maxMessageSize: 1000,
    partialMessageTimeout: 50,
    healthCheckInterval: 20,
  });

  test('more than maxMessagesPerSecond are rejected and counted; the rest and all others pass', async () => {
    const { manager, connect } = await startPlainBroker({ maxMessagesPerSecond: 100 });
    const monitor = await (await connect()).subscribe();
    const [fast, slow] = [await connect(), await connect()];
    const startedAt = performance.now();
    fast.write(beat.repeat(1000));
    slow.write(beat.repeat(50));
    await until(() => (manager.getMetrics().protocol.rejected.RATE_LIMITED ?? 0) > 0);
    await Promise.all([fast.settled(), slow.settled()]);
    const seconds = (performance.now() - startedAt) / 1000;
    const rejected = manager.getMetrics().protocol.rejected.RATE_LIMITED ?? 0;
    await monitor.count(1 + 1050 - rejected);
    // A second's worth at once, and a little of what came in meanwhile.
    expect(1000 - rejected).toBeGreaterThanOrEqual(100);
    expect(1000 - rejected).toBeLessThanOrEqual(100 * (1 + seconds));
    expect(fast.errors).toContain('RATE_LIMITED');
    expect(slow.errors).toEqual([]);
    // What was rejected is counted once; two pings and a subscribe are no application messages.
    expect(manager.getMetrics().totals).toMatchObject({ messagesReceived: 1050, controlReceived: 3 });
  });

  test('a message whose end does not come closes the connection after partialMessageTimeout', async () => {
    const { connect } = impatient();
    const [patient, slow] = [await connect(), await connect()];
    patient.write(beat);
    slow.write(beat + beat.slice(0, 20));
    await slow.closed;
    expect(slow.errors).toEqual(['INVALID_JSON']);
    await patient.settled();
  });

  test('so does one that is too long, and is skipped; blanks after a message do not', async () => {
    const { manager, connect } = impatient();
    let checks = 0;
    manager.on('health_summary', () => checks++);
    const [patient, endless] = [await connect(), await connect()];
    patient.write(`${beat.trimEnd()} `);
    endless.write(`{"a":"${'x'.repeat(2000)}`);
    const timer = setInterval(() => endless.write('x'), 10);
    await endless.closed;
    clearInterval(timer);
    expect(endless.errors).toEqual(['MESSAGE_TOO_LARGE', 'INVALID_JSON']);
    const before = checks;
    await until(() => checks > before + 5);
    await patient.settled();
  });
});
