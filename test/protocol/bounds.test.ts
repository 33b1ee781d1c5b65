// Each structure that peers can make grow, driven to its bound.

import { describe, expect, test } from 'vitest';
import { startBroker } from '../support/broker.js';
import { BrokerProcess } from '../support/broker-process.js';
import { line, VALID } from '../support/messages.js';
import { Peer } from '../support/peer.js';

const MiB = 1024 * 1024;

describe('messages in a batch', () => {
  test.each([
    ['the shortest that there are, refused one by one', '{}'],
    ['lines of one byte', '1\n'],
    ['empty lines', '\n'],
    ['the shortest that are taken', '{"type":"ping"}'],
    [
      'one that is long, then the shortest',
      `{"type":"x","pad":"${'x'.repeat(200_000)}"}${'{}'.repeat(150_000)}`,
    ],
  ])('%s: memory stays bounded, and the next good message arrives', async (_, text) => {
    const broker = await BrokerProcess.start();
    const subscriber = await (await Peer.connect(broker.socketPath)).subscribe();
    const peer = await Peer.connect(broker.socketPath);
    await peer.settled();
    const idle = broker.peakRss;
    peer.write(text.repeat((2 * MiB) / text.length));
    peer.write(`\n${line(VALID.heartbeat)}`);
    await subscriber.next('heartbeat');
    expect(broker.peakRss - idle).toBeLessThan(200_000_000);
    await Promise.all([peer.close(), subscriber.close()]);
    expect(await broker.stop()).toBe(0);
  });
});

describe('jobs whose owner is remembered', () => {
  test('are maxJobOwners: the ones not heard of for longest are forgotten', async () => {
    const { manager, connect } = await startBroker({ maxJobOwners: 100 });
    const [app, owner, other] = [await connect(), await connect(), await connect()];
    app.say('hello', { role: 'app' });
    await other.settled();
    for (let job = 0; job < 1000; job++) owner.write(line({ ...VALID.job_started, jobId: `job-${job}` }));
    await owner.settled();
    expect(manager.getMetrics().protocol.jobOwners).toBe(100);
    for (const jobId of ['job-0', 'job-999']) app.write(line({ ...VALID.token_refresh_response, jobId }));
    await app.settled();
    await Promise.all([owner.settled(), other.settled()]);
    // The job that is forgotten is everybody's.
    expect(owner.forwarded.map(({ jobId }) => jobId)).toEqual(['job-0', 'job-999']);
    expect(other.forwarded.map(({ jobId }) => jobId)).toEqual(['job-0']);
  });

  test('have ids of 256 characters at most', async () => {
    const { manager, connect } = await startBroker();
    const owner = await connect();
    for (const length of [256, 257, 100_000])
      owner.write(line({ ...VALID.job_started, jobId: 'x'.repeat(length) }));
    await owner.settled();
    expect(owner.errors).toEqual([]);
    expect(manager.getMetrics().protocol).toMatchObject({ jobOwners: 1, accepted: { job_started: 3 } });
  });
});

test('a crawler that asks for jobs again and again waits once', async () => {
  const { connect } = await startBroker();
  const [app, eager, patient] = [await connect(), await connect(), await connect()];
  app.say('hello', { role: 'app' });
  eager.write(line(VALID.job_request).repeat(10_000));
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
    const { manager, connect } = await startBroker();
    const peer = await connect();
    peer.say(type, data);
    await peer.settled();
    expect(peer.errors).toEqual(['SCHEMA_VIOLATION']);
    expect(manager.getMetrics().protocol.subscriptions).toBe(0);
  });

  test('is taken up to these bounds', async () => {
    const { manager, connect } = await startBroker({ maxSubscriptions: 3 });
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
