import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Watchdog } from '#src/dispatch/watchdog.js';
import { WatchedWorker } from '#src/worker/watched-worker.js';
import { growth, shareBroker, startBroker, temporaryFolder, until } from '../support/broker.js';
import { eventsOf } from '../support/diagnostics.js';
import { line, VALID } from '../support/messages.js';

const schemas = new URL('../support/deadly-schemas.mjs', import.meta.url);
const zod = pathToFileURL(createRequire(import.meta.url).resolve('zod')).href;
/** Where patterns play no part: without them, workers start in half of the time. */
const withoutPatterns = { schemas, patterns: 'off' } as const;
const shared = shareBroker({ ...withoutPatterns, validationTimeout: 300 });
const harmless = (id: number) => line({ type: 'harmless', id });

describe.each([
  ['deadly', 'on'],
  ['hungry', 'off'],
  ['looping', 'off'],
  ['refined', 'on'],
] as const)('a message that makes a worker fail: %s, patterns %s', (type, patterns) => {
  test('is found and rejected; its neighbours and all others are delivered, in order', async () => {
    const { manager, connect } =
      patterns === 'off' ? shared() : await startBroker({ schemas, validationTimeout: 300 });
    const failed = manager.getMetrics().dispatch.failedChunks;
    const errors: unknown[] = [];
    manager.on('pool_error', ({ error }) => errors.push(error));
    const published = eventsOf('sluice:worker-failed');
    const subscriber = await (await connect()).subscribe();
    const [good, bad] = [await connect(), await connect()];

    const neighbour = (id: number) => (type === 'refined' ? line({ type, id }) : harmless(id));
    const before = Array.from({ length: 5 }, (_, id) => neighbour(id)).join('');
    const after = Array.from({ length: 6 }, (_, id) => neighbour(id + 5)).join('');
    bad.write(before + line({ type, id: -1 }) + after);
    good.write(line(VALID.heartbeat));

    expect((await bad.next('error')).data).toMatchObject({ code: 'VALIDATION_FAILED', line: 6 });
    await subscriber.count(13);
    const ids = subscriber.forwarded
      .filter((message) => message.type === 'harmless' || message.type === 'refined')
      .map(({ id }) => id);
    expect(ids).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(bad.errors).toEqual(['VALIDATION_FAILED']);
    expect(manager.getMetrics().dispatch.failedChunks).toBe(failed + 1);
    expect(errors.length).toBeGreaterThanOrEqual(2);
    expect(errors).toEqual(errors.map(() => expect.any(Error)));
    expect(published).toEqual(errors.map((error) => ({ error })));
    if (type === 'looping')
      expect(errors).toContainEqual(expect.objectContaining({ code: 'VALIDATION_TIMEOUT' }));
    // The message was known at once.
    if (type === 'refined') expect(errors).toHaveLength(2);

    // And it goes on as if nothing had been.
    await until(() => manager.isHealthy());
    bad.write(harmless(11));
    await subscriber.count(14);
    expect(manager.getMetrics().memory.heldBytes).toBe(0);
  });
});

test('a worker that throws outside of its batch is replaced: before its answer or after it, nothing is lost', async () => {
  const { manager, connect } = shared();
  const errors: string[] = [];
  // The text of what was thrown is not logged; the event has it, as the error or as its cause.
  manager.on('pool_error', ({ error }) => errors.push(String(error), String((error as Error).cause)));
  const subscriber = await (await connect()).subscribe();
  const crawler = await connect();
  for (let id = 0; id < 2; id++) {
    crawler.write(line({ type: 'throwing' }) + harmless(id));
    await subscriber.next((message) => message.id === id);
  }
  await crawler.settled();
  await until(() => manager.isHealthy());
  expect(errors.join()).toContain('thrown outside of the rule');
  // Each was either answered in time, or rejected after it had taken two workers down.
  const answered = subscriber.forwarded.filter(({ type }) => type === 'throwing').length;
  const rejected = crawler.errors.filter((code) => code === 'VALIDATION_FAILED').length;
  expect(answered + rejected).toBe(2);
  expect(subscriber.forwarded.filter(({ type }) => type === 'harmless')).toHaveLength(2);
});
test('a refinement whose promise is rejected later costs its message, and no worker', async () => {
  const { manager, connect } = shared();
  const before = manager.getMetrics().dispatch;
  const errors: unknown[] = [];
  manager.on('pool_error', ({ error }) => errors.push(error));
  const crawler = await connect();
  for (let round = 0; round < 3; round++) {
    crawler.write(line({ type: 'promising' }));
    await crawler.settled();
  }
  expect(new Set(crawler.errors)).toEqual(new Set(['VALIDATION_FAILED']));
  expect(errors).toEqual([]);
  const { failedChunks, retries } = manager.getMetrics().dispatch;
  expect({ failedChunks, retries }).toEqual({ failedChunks: before.failedChunks, retries: before.retries });
});

test('a connection that keeps hanging validators waits ever longer, after others in quarantine, and is closed', async () => {
  const { manager, connect } = shared();
  const subscriber = await (await connect()).subscribe();
  const [bad, unlucky] = [await connect(), await connect()];
  unlucky.write(line({ type: 'deadly' }));
  expect((await unlucky.next('error')).data).toMatchObject({ code: 'VALIDATION_FAILED', line: 1 });
  const { dispatch, protocol } = manager.getMetrics();
  for (const count of [1, 2]) {
    bad.write(line({ type: 'stuck' }));
    await until(() => bad.errors.length === count);
  }
  let failures = 0;
  manager.on('pool_error', () => failures++);
  // Both are suspect still. What the second says comes later, and is looked at first.
  bad.write(line({ type: 'stuck' }));
  unlucky.write(harmless(1));
  await subscriber.next('harmless');
  expect(failures).toBe(0);
  await until(() => bad.errors.length === 3);

  bad.write(line({ type: 'stuck' }).repeat(17));
  await bad.closed;
  expect(new Set(bad.errors)).toEqual(new Set(['VALIDATION_FAILED']));
  const after = manager.getMetrics();
  expect(growth(protocol.rejected, after.protocol.rejected)).toEqual({ VALIDATION_FAILED: 20 });
  expect(after.memory.heldBytes).toBe(0);
  expect(after.dispatch.failedChunks).toBe(dispatch.failedChunks + 6);
  // Only the first of them has taken a worker from the others.
  expect(after.dispatch.retries).toBe(dispatch.retries + 1);
});

describe('a broker that gives messages all the time they want', () => {
  const endless = shareBroker({
    ...withoutPatterns,
    validationTimeout: 3_600_000,
    drainTimeout: 3_600_000,
  });

  /** A message that hangs its validator until it is released, at the latest at the end of the test. */
  function held(): { message: string; release: () => void } {
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, '');
    return { message: line({ type: 'held', file }), release: () => rmSync(file) };
  }

  test('others are served while a message is in quarantine', async () => {
    const { manager, connect } = endless();
    const subscriber = await (await connect()).subscribe();
    const [good, bad] = [await connect(), await connect()];
    const { message, release } = held();
    const { retries } = manager.getMetrics().dispatch;
    bad.write(message);
    await until(() => manager.getMetrics().dispatch.retries === retries + 1);
    good.write(line(VALID.heartbeat));
    await subscriber.next('heartbeat');
    expect(bad.errors).toEqual([]);
    release();
    await bad.next('error');
  });

  test('connections that shared a batch with a message that hangs, or waited behind it, are not kept waiting for it', async () => {
    const { manager, connect } = endless();
    const subscriber = await (await connect()).subscribe();
    const bad = await connect();
    const good = await Promise.all(Array.from({ length: 10 }, connect));
    await Promise.all(good.map((peer) => peer.settled()));
    const [first, second] = [good.slice(0, 5), good.slice(5)];
    for (const [id, peer] of first.entries()) peer.write(harmless(id) + line(VALID.heartbeat));
    bad.write(harmless(100) + held().message + harmless(101));
    for (const [id, peer] of second.entries()) peer.write(harmless(id + 5) + line(VALID.heartbeat));
    await Promise.all(good.map((peer) => peer.settled()));
    await until(() => subscriber.lines.length === 1 + 20 + 1);
    const ids = subscriber.forwarded.filter(({ type }) => type === 'harmless').map(({ id }) => id);
    expect(ids.toSorted((a, b) => Number(a) - Number(b))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100]);
    // It still hangs, where nobody else is.
    expect(bad.errors).toEqual([]);
    expect(manager.isHealthy()).toBe(true);
  });

  test('a wave of messages that hang keeps no other connection waiting for what becomes of them', async () => {
    const { connect } = endless();
    const bad = await Promise.all(Array.from({ length: 2 }, connect));
    const good = await Promise.all(Array.from({ length: 10 }, connect));
    await Promise.all([...bad, ...good].map((peer) => peer.settled()));
    const { message } = held();
    for (const peer of bad) peer.write(message);
    for (const peer of good) peer.write(line(VALID.heartbeat));
    await Promise.all(good.map((peer) => peer.settled()));
    expect([...bad, ...good].flatMap(({ errors }) => errors)).toEqual([]);
  });

  // The last test of this broker: it stops it.
  test('its stop does not wait for messages that are delayed because of poison messages', async () => {
    const { manager, connect } = endless();
    const bad = await connect();
    bad.write(line({ type: 'deadly' }));
    await bad.next('error');
    // Delayed for 0.4 of validationTimeout.
    bad.write(line({ type: 'deadly' }) + line(VALID.heartbeat));
    await until(() => manager.getConnectionPool().all()[0]?.lane.pendingBytes !== 0);
    const stopped = once(manager, 'server_stopped');
    await manager.stop();
    expect((await stopped)[0]).toMatchObject({ unsettledBytes: 0 });
    await bad.closed;
    expect(bad.errors.toSorted()).toEqual([
      'SHUTTING_DOWN',
      'VALIDATION_FAILED',
      'VALIDATION_FAILED',
      'VALIDATION_FAILED',
    ]);
  });
});

test('while no worker can start, nothing is lost, and the broker is not healthy', async () => {
  const flag = join(temporaryFolder(), 'flag');
  writeFileSync(flag, '');
  process.env.SLUICE_TEST_FLAG = flag;
  onTestFinished(() => {
    delete process.env.SLUICE_TEST_FLAG;
  });
  const flaky = new URL('../support/flaky-schemas.mjs', import.meta.url);
  const { manager, connect } = await startBroker({ schemas: flaky, patterns: 'off' });
  const subscriber = await (await connect()).subscribe();
  const crawler = await connect();
  expect(manager.isHealthy()).toBe(true);
  rmSync(flag);
  crawler.write(line({ type: 'deadly' }));
  await until(() => !manager.isHealthy());
  crawler.write(line(VALID.heartbeat));
  await until(() => manager.getMetrics().dispatch.workerRestarts >= 2);
  expect(subscriber.forwarded).toEqual([]);
  writeFileSync(flag, '');
  await subscriber.next('heartbeat');
  expect(crawler.errors).toEqual(['VALIDATION_FAILED']);
  // The heartbeat of a suspect connection comes through quarantine, which may have its worker before the others have theirs.
  await until(() => manager.isHealthy());
});

test('a worker that starts after the schema module has changed fails, and names it', async () => {
  const path = join(temporaryFolder(), 'schemas.mjs');
  const write = (...types: string[]) =>
    writeFileSync(
      path,
      `import * as z from ${JSON.stringify(zod)};
      const type = (name) => [name, z.looseObject({ type: z.literal(name) })];
      export const schemas = Object.fromEntries(${JSON.stringify(types)}.map(type));
      export const rules = { a() { process.exit(1); } };`,
    );
  write('a', 'b');
  const { manager, connect } = await startBroker({ schemas: path, patterns: 'off' });
  const errors: string[] = [];
  manager.on('pool_error', ({ error }) => errors.push(String(error)));
  const subscriber = await (await connect()).subscribe();
  const [good, bad] = [await connect(), await connect()];
  write('a', 'x', 'b');
  bad.write(line({ type: 'a' }));
  await until(() => manager.getMetrics().dispatch.retries > 0);
  good.write(line({ type: 'b' }));
  await until(() => errors.some((error) => error.includes('schemas.mjs has changed')));
  expect(subscriber.forwarded).toEqual([]);
  write('a', 'b');
  await subscriber.next('b');
});

describe('Watchdog', () => {
  const worker = { threadId: 7 };

  test('finds a worker that is busy for longer than the timeout, and reports it once', () => {
    const watchdog = new Watchdog(1, 100);
    const watched = new WatchedWorker(watchdog.memory, 7);
    watched.run(() => {
      expect(watchdog.findHung([worker], 1000)).toEqual([]);
      expect(watchdog.findHung([worker], 1100)).toEqual([]);
      expect(watchdog.findHung([worker], 1101)).toEqual([worker]);
      expect(watchdog.findHung([worker], 1102)).toEqual([]);
    });
    expect(watchdog.findHung([worker], 5000)).toEqual([]);
    expect(watchdog.findHung([worker], 9000)).toEqual([]);
  });

  test('one that works through many short batches is not hung', () => {
    const watchdog = new Watchdog(1, 100);
    const watched = new WatchedWorker(watchdog.memory, 7);
    for (let now = 0; now < 1000; now += 50) {
      watched.run(() => expect(watchdog.findHung([worker], now)).toEqual([]));
    }
  });

  test('the time of a worker that has died at work is not held against the next one with its record', () => {
    for (const isSeenFree of [true, false]) {
      const watchdog = new Watchdog(1, 100);
      new WatchedWorker(watchdog.memory, 7).run(() => {
        expect(watchdog.findHung([worker], 1000)).toEqual([]);
        // Dies in there: its record is freed, and its counter is not raised again.
        watchdog.findHung([], 1010);
        if (isSeenFree) watchdog.findHung([], 1020);
        const next = { threadId: 8 };
        new WatchedWorker(watchdog.memory, 8).run(() => {
          expect(watchdog.findHung([next], 5000)).toEqual([]);
          expect(watchdog.findHung([next], 5101)).toEqual([next]);
        });
      });
    }
  });

  test('records of workers that have ended are used again', () => {
    const watchdog = new Watchdog(1, 100);
    for (let threadId = 1; threadId < 100; threadId++) {
      new WatchedWorker(watchdog.memory, threadId);
      watchdog.findHung([], threadId);
    }
  });
});
