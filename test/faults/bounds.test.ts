// Each structure that peers can make grow, driven to its bound.

import { SlabPool } from 'sluice';
import { describe, expect, test } from 'vitest';
import { Chunk } from '#src/dispatch/lane.js';
import { growth, LIGHT, shareBroker, startPlainBroker, until } from '../support/broker.js';
import { shareBrokerProcess } from '../support/broker-process.js';
import { eventsOf } from '../support/diagnostics.js';
import { line, VALID } from '../support/messages.js';
import { Peer } from '../support/peer.js';

const MiB = 1024 * 1024;

/** For all that need no bound of their own. */
const shared = shareBroker({ ...LIGHT, maxSubscriptions: 3 });

describe('messages in a batch', () => {
  const shared = shareBrokerProcess();
  /** Before the first of them: what they take is bounded together. */
  let idle: number | undefined;

  test.each([
    ['the shortest that there are, rejected one by one', '{}'],
    ['lines of one byte', '1\n'],
    ['empty lines', '\n'],
    ['the shortest that are taken', '{"type":"ping"}'],
    [
      'one that is long, then the shortest',
      `{"type":"x","pad":"${'x'.repeat(200_000)}"}${'{}'.repeat(100_000)}`,
    ],
  ])('%s: memory stays bounded, and the next good message arrives', async (_, text) => {
    const broker = shared();
    const subscriber = await (await Peer.connect(broker.socketPath)).subscribe();
    const peer = await Peer.connect(broker.socketPath);
    await peer.settled();
    idle ??= broker.peakRss;
    peer.write(text.repeat(MiB / 2 / text.length));
    peer.write(`\n${line(VALID.heartbeat)}`);
    await subscriber.next('heartbeat');
    expect(broker.peakRss - idle).toBeLessThan(100_000_000);
    await Promise.all([peer.close(), subscriber.close()]);
  });
});

describe('jobs whose owner is remembered', () => {
  test('are maxJobOwners: the ones not heard of for longest are forgotten', async () => {
    const { manager, connect } = await startPlainBroker({ maxJobOwners: 100 });
    const [app, owner, other] = [await connect(), await connect(), await connect()];
    app.say('hello', { role: 'app' });
    await other.settled();
    for (let job = 0; job < 1000; job++) owner.write(line({ ...VALID.job_started, jobId: `job-${job}` }));
    await owner.settled();
    expect(manager.getMetrics().protocol.jobOwners).toBe(100);
    for (const jobId of ['job-0', 'job-999']) app.write(line({ ...VALID.token_refresh_response, jobId }));
    await app.settled();
    await Promise.all([owner.settled(), other.settled()]);
    // The job that is forgotten is nobody's.
    expect(app.errors).toEqual(['NO_RECIPIENT']);
    expect(owner.forwarded.map(({ jobId }) => jobId)).toEqual(['job-999']);
    expect(other.forwarded).toEqual([]);
  });

  test('take the same room, however long their ids are', async () => {
    const { manager, connect } = shared();
    const counted = () => manager.getMetrics().protocol;
    const [owners, accepted] = [counted().jobOwners, counted().accepted];
    const owner = await connect();
    for (const length of [256, 257, 100_000])
      owner.write(line({ ...VALID.job_started, jobId: 'x'.repeat(length) }));
    await owner.settled();
    expect(owner.errors).toEqual([]);
    expect(counted().jobOwners).toBe(owners + 3);
    expect(growth(accepted, counted().accepted)).toMatchObject({ job_started: 3 });
  });
});

test('a crawler that asks for jobs again and again waits once', async () => {
  const { connect } = shared();
  const [app, eager, patient] = [await connect(), await connect(), await connect()];
  app.say('hello', { role: 'app' });
  eager.write(line(VALID.job_request).repeat(2000));
  await eager.settled();
  patient.write(line(VALID.job_request));
  await patient.settled();
  app.write(line(VALID.job_response).repeat(2));
  await app.settled();
  await Promise.all([eager.settled(), patient.settled()]);
  expect([eager, patient].map(({ forwarded }) => forwarded.length)).toEqual([1, 1]);
});

describe('what the broker keeps of a peer’s own words', () => {
  const long = 'x'.repeat(257);
  const many = Array.from({ length: 257 }, (_, index) => `${index}`);
  test.each([
    ['hello', { role: 'crawler', crawlerId: long }],
    ['hello', { role: 'crawler', protocolVersion: `1.0.0-${long}` }],
    ['hello', { role: 'crawler', capabilities: [long] }],
    ['hello', { role: 'crawler', capabilities: many }],
    ['subscribe', { id: long }],
    ['unsubscribe', { id: long }],
    ['subscribe', { id: 'a', group: long }],
    ['subscribe', { id: 'a', types: [long] }],
    ['subscribe', { id: 'a', types: many }],
    ['subscribe', { id: 'a', jobIds: [long] }],
    ['subscribe', { id: 'a', jobIds: many }],
    ['subscribe', { id: 'a', crawlerIds: [long] }],
    ['subscribe', { id: 'a', crawlerIds: many }],
  ])('is bounded: %s %j', async (type, data) => {
    const { manager, connect } = shared();
    const peer = await connect();
    peer.say(type, data);
    await peer.settled();
    expect(peer.errors).toEqual(['SCHEMA_VIOLATION']);
    expect(manager.getMetrics().protocol.subscriptions).toBe(0);
  });

  test('is taken up to these bounds', async () => {
    const { manager, connect } = shared();
    const peer = await connect();
    const id = 'x'.repeat(256);
    const ids = many.slice(1).map((text) => text.padStart(256, '0'));
    peer.say('hello', { role: 'app', crawlerId: id, capabilities: ids.slice(0, 64) });
    // As many as a control message has room for.
    const most = ids.slice(0, 250);
    for (const [name, wanted] of [
      ['a', { jobIds: most }],
      ['b', { crawlerIds: most }],
      [id, { types: most }],
      ['d', {}],
    ] as const)
      peer.say('subscribe', { id: name, ...wanted });
    await peer.settled();
    expect(peer.errors).toEqual(['RATE_LIMITED']);
    expect(manager.getMetrics().protocol.subscriptions).toBe(3);
  });
});

describe('texts of subscriptions', () => {
  const ids = (prefix: string) =>
    Array.from({ length: 250 }, (_, index) => `${prefix}-${index}-`.padEnd(256, 'x'));

  test('take maxSubscriptionBytes at most, a sixteenth for each connection, and leave their room behind', async () => {
    const { manager, connect } = await startPlainBroker({ maxSubscriptionBytes: 4 * MiB });
    const bytes = () => manager.getMetrics().memory.subscriptionBytes;
    const peers = [];
    for (let count = 0; count < 20; count++) {
      const peer = await connect();
      peers.push(peer);
      for (const id of ['a', 'b', 'a', 'b', 'c']) peer.say('subscribe', { id, jobIds: ids(id) });
      await peer.settled();
      expect(peer.errors).toContain('RATE_LIMITED');
    }
    expect(bytes()).toBeGreaterThan(2 * MiB);
    expect(bytes()).toBeLessThanOrEqual(4 * MiB);
    for (const peer of peers) await peer.close();
    await until(() => bytes() === 0);
  });
});

describe('long messages whose end does not come', () => {
  test('take maxPartialBytes together; others wait for their turn, and short messages do not', async () => {
    const { manager, connect } = await startPlainBroker({ maxPartialBytes: 2 * MiB });
    const subscriber = await (await connect()).subscribe();
    const half = Buffer.alloc(MiB / 2, 'x');
    const peers = [];
    for (let count = 0; count < 20; count++) {
      const peer = await connect();
      peers.push(peer);
      peer.write(
        `{"type":"job_started","timestamp":"2026-01-01T00:00:00Z","jobId":"job-${count}","data":{"entityId":"`,
      );
      peer.write(half);
    }
    const memory = () => manager.getMetrics().memory;
    await until(() => memory().waitingForPartials === 18);
    expect(memory().partialBytes).toBeLessThan(2 * MiB + 20 * 128 * 1024);
    const honest = await connect();
    honest.write(line(VALID.heartbeat));
    await subscriber.next('heartbeat');
    // All of them arrive, one behind the other.
    for (const peer of peers) peer.write('"}}\n');
    for (const peer of peers) await peer.settled();
    await subscriber.settled();
    expect(subscriber.forwarded.filter(({ type }) => type === 'job_started')).toHaveLength(20);
    expect(memory()).toMatchObject({ partialBytes: 0, waitingForPartials: 0 });
  });

  test('a connection that holds a partial slot while others wait is closed, also if it reads nothing', async () => {
    const { manager, connect } = await startPlainBroker({ maxPartialBytes: 2 * MiB });
    const begun = `{"type":"x","pad":"${'x'.repeat(100_000)}`;
    const [first, deaf] = [await connect(), await connect()];
    first.write(begun);
    deaf.write(begun);
    await until(() => manager.getMetrics().memory.partialBytes > 200_000);
    deaf.socket.pause();
    const held = manager.getConnectionPool().all()[1];
    held?.sendRaw(Buffer.alloc(MiB)).catch(() => {});
    await until(() => held?.isPaused === true);
    const others = [await connect(), await connect()];
    for (const other of others) other.write(begun);
    await Promise.all([first.closed, until(() => manager.getConnectionPool().size === 2)]);
    expect(first.errors).toEqual(['RATE_LIMITED']);
    for (const other of others) {
      other.write('"}\n');
      await other.settled();
      expect(other.errors).toEqual(['UNKNOWN_TYPE']);
    }
  });
});

describe('control messages', () => {
  test('of more than 64 KB are rejected as too large, and others are not kept waiting for them', async () => {
    const { connect } = shared();
    const peer = await connect();
    peer.say('subscribe', { id: 'a', pad: 'x'.repeat(65_536) });
    await peer.settled();
    expect(peer.errors).toEqual(['MESSAGE_TOO_LARGE']);
  });

  test('and rejected messages count for maxMessagesPerSecond', async () => {
    const { manager, connect } = await startPlainBroker({ maxMessagesPerSecond: 10 });
    const limited = () => manager.getMetrics().protocol.rejected.RATE_LIMITED ?? 0;
    const texts = [
      '{"type":"job_started"}\n',
      '{"type":"ping"}\n',
      '{"type":"subscribe","data":{"id":"a"}}\n',
    ];
    for (const [index, text] of texts.entries()) {
      const peer = await connect();
      peer.write(text.repeat(1000));
      // A busy machine may take seconds for them: then a few more are in the rate.
      await until(() => limited() > 900 * (index + 1));
      expect(peer.messages.filter(({ type }) => type !== 'error').length).toBeLessThan(100);
      await peer.close();
    }
  });
});

test('messages that no worker could validate are counted together, and only the first are answered one by one', async () => {
  const { manager, connect } = shared();
  const peer = await connect();
  const before = manager.getMetrics().protocol;
  const events = eventsOf('sluice:rejected');
  const text = `\n{}\n \r\n${'{}\n'.repeat(5000)}\n{}{}`;
  const slab = new SlabPool(64 * 1024).acquire(text.length);
  const end = slab.base + slab.arena.bytes.write(text, slab.base);
  const [connection] = manager.getConnectionPool().all();
  if (connection === undefined) throw new Error('not connected');
  const chunk = new Chunk(connection.lane, { slab, start: slab.base, end }, 0);
  chunk.failed = true;
  connection.lane.push(chunk);
  connection.lane.advance();
  const counts = events.map((event) => (event as { count: number }).count);
  expect(counts).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4992]);
  // Answered with what follows.
  await peer.settled();
  const errors = peer.messages.filter(({ type }) => type === 'error');
  expect(errors.map(({ data }) => data.line)).toEqual([2, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  const { rejected, errorsUnanswered } = manager.getMetrics().protocol;
  expect(growth(before.rejected, rejected)).toEqual({ VALIDATION_FAILED: 5002 });
  expect(errorsUnanswered - before.errorsUnanswered).toBe(4992);
});

describe('subscribers of rejected messages', () => {
  test('receive 1,000 per connection and second, and the number of others', async () => {
    const { manager, connect } = shared();
    const before = manager.getMetrics().protocol.rejected;
    const watcher = await (await connect()).subscribe({ types: ['rejected'] });
    const peer = await connect();
    peer.write('{}\n'.repeat(10_000));
    await peer.settled();
    await peer.close();
    await until(() => manager.getConnectionPool().size === 1);
    await watcher.settled();
    const told = toldTo(watcher);
    expect(told.reports).toBeLessThan(10_000);
    expect(told.rejected).toBe(10_000);
    expect(growth(before, manager.getMetrics().protocol.rejected)).toEqual({ SCHEMA_VIOLATION: 10_000 });
  });

  test('learn of messages that are settled after their connection is closed', async () => {
    const { manager, connect } = shared();
    const watcher = await (await connect()).subscribe({ types: ['rejected'] });
    const peer = await connect();
    const [, connection] = manager.getConnectionPool().all();
    if (connection === undefined) throw new Error('not connected');
    // What follows waits until this is settled.
    const { lane } = connection;
    const held = new Chunk(lane, { slab: new SlabPool(8192).acquire(1), start: 0, end: 0 }, 0);
    lane.push(held);
    peer.write('{}\n'.repeat(3000));
    await until(() => connection.statistics.bytesReceived === 9000);
    connection.destroy();
    await until(() => manager.getConnectionPool().size === 1);
    held.failed = true;
    lane.advance();
    await until(() => lane.pendingBytes === 0);
    await watcher.settled();
    expect(toldTo(watcher).rejected).toBe(3000);
  });

  test('who fall behind, with invalid messages of their own, are closed, and the others lose nothing', async () => {
    const { manager, connect } = await startPlainBroker({ maxPendingBytes: 300_000 });
    const slow = await (await connect()).subscribe({ types: ['rejected'] });
    const watcher = await (await connect()).subscribe();
    slow.socket.pause();
    slow.write('{}\n'.repeat(3000));
    await until(() => manager.getMetrics().protocol.rejected.SCHEMA_VIOLATION === 3000);
    const [rounds, count] = [4, 100];
    const invalid = line({ pad: 'x'.repeat(300) });
    for (let round = 0; round < rounds; round++) {
      const peer = await connect();
      peer.write(invalid.repeat(900) + line(VALID.heartbeat).repeat(count));
      await peer.settled();
    }
    await watcher.settled();
    expect(watcher.forwarded).toHaveLength(rounds * count);
    expect(manager.getMetrics().protocol.subscriptions).toBe(1);
    slow.socket.resume();
    await slow.closed;
  });
});

/** Number of reports of rejected messages that a peer has received, and of the messages that they are about. */
function toldTo({ forwarded }: Peer): { reports: number; rejected: number } {
  const suppressed = forwarded.reduce((sum, { data }) => sum + Number(data.suppressed ?? 0), 0);
  return { reports: forwarded.length, rejected: forwarded.length + suppressed };
}
