import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { FleetEngine } from '#src/fleet/engine.js';
import { Forwarder } from '#src/fleet/forwarder.js';
import type { MessageLog } from '#src/log/message-log.js';
import { MessageRegistry } from '#src/messages/message-registry.js';
import { temporaryFolder, until } from '../../support/broker.js';
import { FakeEngine } from '../../support/fake-engine.js';
import { appendNumbered, openMessageLog } from '../../support/message-log.js';
import { line, VALID } from '../../support/messages.js';
import { runOf } from '../../support/runs.js';
import { collectUncaught } from '../../support/uncaught.js';

const MINUTE = 60_000;
const CURSOR = '$fleet';

async function startForwarder(log: MessageLog, engine = new FakeEngine()) {
  const errors: unknown[] = [];
  const forwarder = new Forwarder(engine as Partial<FleetEngine> as FleetEngine, {
    log,
    registry: MessageRegistry.builtin(),
    delimiter: 10,
    host: 'a',
    batchInterval: () => 0,
    claimHostName: async () => {},
    onError: (error) => errors.push(error),
    onRecovered: () => {},
  });
  await forwarder.start();
  onTestFinished(async () => {
    await forwarder.stop();
    await log.close(1000);
  });
  return { forwarder, engine, errors };
}

/** Timers and clocks of the cursor, not those of the log. */
function fakeClock(): void {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
  onTestFinished(() => void vi.useRealTimers());
}

describe('what was forwarded', () => {
  test('is kept for 10 minutes, and no longer, although nothing more is forwarded', async () => {
    const log = await openMessageLog();
    fakeClock();
    const { forwarder } = await startForwarder(log);
    const end = appendNumbered(log, 0, 100);
    await until(() => forwarder.statistics.lag === 0 && log.durable === end);
    vi.advanceTimersByTime(9 * MINUTE);
    expect(log.cursors.get(CURSOR)?.offset).toBe(0);
    vi.advanceTimersByTime(2 * MINUTE);
    expect(log.cursors.get(CURSOR)?.offset).toBe(end);
  });

  test('is kept from anew if the engine was put back to an older state', async () => {
    const log = await openMessageLog();
    fakeClock();
    const { forwarder, engine } = await startForwarder(log);
    for (const from of [0, 100]) {
      const end = appendNumbered(log, from, from + 100);
      await until(() => forwarder.statistics.lag === 0 && log.durable === end);
      vi.advanceTimersByTime(MINUTE);
    }
    vi.advanceTimersByTime(8 * MINUTE);
    engine.batches.splice(1);
    engine.disconnect();
    engine.connect();
    await until(() => engine.batches.length > 1);
    await until(() => forwarder.statistics.lag === 0);
    vi.advanceTimersByTime(9 * MINUTE);
    expect(log.cursors.get(CURSOR)?.offset).toBe(100);
    vi.advanceTimersByTime(2 * MINUTE);
    expect(log.cursors.get(CURSOR)?.offset).toBe(200);
  });

  test.each([false, true])(
    'makes room in a log that is full (all of it is forwarded: %s)',
    async (isForwarded) => {
      const limits = { segmentBytes: 8192, maxBytes: 32_768 };
      const log = await openMessageLog({ ...limits, keepsUnread: true, onFull: 'reject' });
      log.moveCursor(CURSOR, 0);
      for (let from = 0; !log.mustReject; from += 30) {
        log.sync(appendNumbered(log, from, from + 30));
        await new Promise(setImmediate);
      }
      const engine = new FakeEngine();
      const start = { epoch: log.epoch, offset: 0 };
      // By an earlier process.
      if (isForwarded)
        engine.batches.push({ host: 'a', start, count: log.durable, runs: [], body: Buffer.alloc(0) });
      const { forwarder } = await startForwarder(log, engine);
      await log.whenDurable();
      await until(() => forwarder.statistics.lag === 0);
      expect(log.first).toBeGreaterThan(0);
      expect(engine.batches.reduce((sum, { count }) => sum + count, 0)).toBe(log.end);
    },
  );

  test('includes messages at the end that are too long for the engine', async () => {
    const log = await openMessageLog();
    const { forwarder } = await startForwarder(log);
    appendNumbered(log, 0, 1);
    await log.whenDurable();
    await until(() => forwarder.statistics.lag === 0);
    const note = 'x'.repeat(70_000);
    log.append(runOf(line({ ...VALID.job_progress, data: { ...VALID.job_progress.data, note } })));
    log.endChunk();
    await until(() => forwarder.statistics.tooLong === 1);
    await until(() => forwarder.statistics.lag === 0);
  });
});

test('a read of the log that fails while a batch is being stored is one error, and all is forwarded', async () => {
  const uncaught = collectUncaught();
  const log = await openMessageLog();
  for (let from = 0; from < 2000; from += 100) appendNumbered(log, from, from + 100);
  await log.whenDurable();
  const engine = new FakeEngine();
  let isStoring = false;
  let hasFailed = false;
  engine.beforePublish = async () => {
    if (engine.batches.length !== 1 || hasFailed) return;
    isStoring = true;
    await until(() => hasFailed);
    // An unhandled rejection is reported before the next turn of the event loop.
    await new Promise(setImmediate);
  };
  const { reader } = log;
  vi.spyOn(log, 'reader').mockImplementation((from) => {
    const opened = reader.call(log, from);
    const { next } = opened;
    opened.next = async () => {
      if (!isStoring || hasFailed) return next.call(opened);
      hasFailed = true;
      throw Object.assign(new Error('too many open files'), { code: 'EMFILE' });
    };
    return opened;
  });
  const { forwarder, errors } = await startForwarder(log, engine);
  await until(() => forwarder.statistics.lag === 0);
  expect(errors).toMatchObject([{ code: 'EMFILE' }]);
  expect(engine.batches.reduce((sum, { count }) => sum + count, 0)).toBe(2000);
  expect(uncaught).toEqual([]);
});

test('a log that was put back is forwarded from its cursor, although the engine has batches of another one', async () => {
  const log = await openMessageLog();
  for (const from of [0, 100]) appendNumbered(log, from, from + 100);
  await log.whenDurable();
  log.moveCursor(CURSOR, 150);
  const engine = new FakeEngine();
  const start = { epoch: 'ffffffffffffffff', offset: 0 };
  engine.batches.push({ host: 'a', start, count: 10, runs: [], body: Buffer.alloc(0) });
  const { forwarder } = await startForwarder(log, engine);
  await until(() => forwarder.statistics.lag === 0);
  const forwarded = engine.batches.slice(1).map(({ start: { offset }, count }) => [offset, count]);
  expect(forwarded).toEqual([[150, 50]]);
});

describe('a log that lacks messages which the engine has', () => {
  /** An engine that has more messages than the log of its host. */
  async function startOlderLog(isConnected: boolean) {
    const folder = join(temporaryFolder(), 'log');
    const log = await openMessageLog({ folder });
    appendNumbered(log, 0, 4);
    await log.whenDurable();
    const engine = new FakeEngine();
    const start = { epoch: log.epoch, offset: 0 };
    engine.batches.push({ host: 'a', start, count: 10, runs: [], body: Buffer.alloc(0) });
    if (!isConnected) engine.disconnect();
    return { folder, log, ...(await startForwarder(log, engine)) };
  }

  const batchesOf = ({ batches }: FakeEngine) =>
    batches.slice(1).map(({ start, count }) => [start.offset, count]);

  test('goes on after them, and tells its readers, also after a restart', async () => {
    const { folder, log, errors } = await startOlderLog(true);
    expect(log.end).toBe(10);
    expect(errors).toMatchObject([
      { code: 'LOG_OUTDATED', message: expect.stringContaining('6 messages; 0 that') },
    ]);
    const reader = log.reader(4);
    expect(await reader.next()).toEqual({ from: 4, to: 10, reason: 'damaged' });
    expect(await reader.next()).toBeUndefined();
    await reader.close();
    // Nothing was stored since.
    await log.close(1000);
    const again = await openMessageLog({ folder });
    expect(again.end).toBe(10);
    await again.close(1000);
  });

  test('forwards what it receives then', async () => {
    const { log, engine, forwarder } = await startOlderLog(true);
    appendNumbered(log, 4, 7);
    await until(() => forwarder.statistics.lag === 0 && engine.batches.length > 1);
    expect(batchesOf(engine)).toEqual([[10, 3]]);
  });

  test('reports how much of what it has received without the engine is not forwarded', async () => {
    const { log, engine, errors, forwarder } = await startOlderLog(false);
    appendNumbered(log, 4, 12);
    await log.whenDurable();
    engine.connect();
    await until(() => forwarder.statistics.lag === 0);
    expect(batchesOf(engine)).toEqual([[10, 2]]);
    expect(errors).toMatchObject([{ message: expect.stringContaining('6 messages; 6 that') }]);
    // Only what was lost before the start is missing.
    engine.disconnect();
    engine.connect();
    appendNumbered(log, 12, 13);
    await until(() => engine.batches.length > 2);
    expect(errors).toHaveLength(1);
  });
});
