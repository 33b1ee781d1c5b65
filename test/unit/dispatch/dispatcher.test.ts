import { readdirSync } from 'node:fs';
import { constants, getPriority } from 'node:os';
import { SlabPool } from 'sluice';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { pythonDumps } from '#bench/layouts.js';
import { Dispatcher, type DispatcherOptions } from '#src/dispatch/dispatcher.js';
import { type Chunk, Lane } from '#src/dispatch/lane.js';
import { FRAME } from '#src/dispatch/verdict.js';
import { MessageRegistry } from '#src/messages/message-registry.js';
import { BatchValidator } from '#src/worker/batch-validator.js';
import { createLocalValidation } from '#src/worker/local-validation.js';
import { shareBroker, startPlainBroker, until } from '../../support/broker.js';
import { changed, line, VALID } from '../../support/messages.js';
import { share, type WhenOver } from '../../support/share.js';
import { WORKER_SETTINGS } from '../../support/worker-settings.js';

/** How a batch is put together does not depend on how it is validated; without patterns, workers start sooner. */
const LIGHT_SETTINGS = { ...WORKER_SETTINGS, patterns: 'off' } as const;

/** Rules that make workers fail. */
const schemas = new URL('../../support/deadly-schemas.mjs', import.meta.url).href;

async function startDispatcher(
  options: Partial<DispatcherOptions> = {},
  whenOver: WhenOver = onTestFinished,
): Promise<Dispatcher> {
  const dispatcher = new Dispatcher({
    threads: 1,
    concurrentTasksPerWorker: 2,
    maxBatchBytes: 64 * 1024,
    maxBatchMessages: 16_384,
    validationTimeout: 5000,
    settings: LIGHT_SETTINGS,
    onVerdict: () => {},
    onSettled: () => {},
    onWorkerError: () => {},
    ...options,
  });
  whenOver(() => dispatcher.close());
  await dispatcher.start();
  return dispatcher;
}

/** What a connection is to a dispatcher. */
function connectTo(dispatcher: Dispatcher) {
  const settled: Chunk[] = [];
  const pool = new SlabPool(256 * 1024);
  const lane = new Lane(
    (chunk) => settled.push(chunk) > 0,
    () => {},
  );
  const submit = (text: string) => {
    const slab = pool.acquire(text.length);
    const end = slab.base + slab.arena.bytes.write(text, slab.base);
    dispatcher.submit(lane, { slab, start: slab.base, end }, 0);
    slab.close();
  };
  return { dispatcher, pool, lane, settled, submit };
}

async function createDispatcher(options: Partial<DispatcherOptions> = {}) {
  return connectTo(await startDispatcher(options));
}

/** One dispatcher for all tests of a describe block or file, each with a connection of its own. */
function shareDispatcher(options: Partial<DispatcherOptions> = {}) {
  const shared = share((whenOver) => startDispatcher(options, whenOver));
  return () => connectTo(shared());
}

const sharedDeadly = shareDispatcher({ settings: { ...LIGHT_SETTINGS, schemas } });
const sharedWithout = shareBroker({ inlineBytes: 0 });
const sharedVerifying = shareBroker({ patterns: 'verify' });

const beat = line(VALID.heartbeat);

/** Whether threads can have a lower priority than this one. */
const HAS_PRIORITIES = process.platform === 'linux' && getPriority() < constants.priority.PRIORITY_LOW;

/** The threads of this process that have. */
function backgroundThreads(): string[] {
  if (!HAS_PRIORITIES) return [];
  return readdirSync('/proc/self/task').filter((thread) => {
    try {
      return getPriority(Number(thread)) > getPriority();
    } catch {
      // It has just ended.
      return false;
    }
  });
}

describe('batches', () => {
  const shared = shareDispatcher();
  /** Messages of each batch of the dispatcher with few messages in a batch. */
  const frames: number[] = [];
  const few = shareDispatcher({
    maxBatchMessages: 500,
    onVerdict: (verdict) => frames.push(verdict.frames.length / FRAME.SIZE),
  });
  beforeEach(() => {
    frames.length = 0;
  });

  test('the first chunk goes at once, the others of its turn share a batch; all are settled in order, and their slabs let go', async () => {
    const { dispatcher, pool, lane, settled, submit } = shared();
    const { batches } = dispatcher.statistics;
    for (let index = 1; index <= 5; index++) submit(beat.repeat(index));
    expect(lane.pendingBytes).toBe(15 * beat.length);
    await dispatcher.idle();
    expect(settled.map(({ size }) => size / beat.length)).toEqual([1, 2, 3, 4, 5]);
    expect(dispatcher.statistics.batches).toBe(batches + 2);
    expect(lane.pendingBytes).toBe(0);
    expect(pool.heldBytes).toBe(0);
  });

  test('neighbours in one slab become one chunk', async () => {
    const { dispatcher, lane, settled, pool, submit } = shared();
    // While the broker is busy: an idle one would send the first on at once.
    submit(beat);
    const slab = pool.acquire(1);
    slab.arena.bytes.write(beat + beat, slab.base);
    const [start, middle, end] = [slab.base, slab.base + beat.length, slab.base + 2 * beat.length];
    dispatcher.submit(lane, { slab, start, end: middle }, 0);
    dispatcher.submit(lane, { slab, start: middle, end }, 0);
    await dispatcher.idle();
    expect(settled.map(({ size }) => size / beat.length)).toEqual([1, 2]);
  });

  test('get smaller while settling them keeps the main thread busy', async () => {
    const still = new Int32Array(new SharedArrayBuffer(4));
    const { dispatcher, settled, submit } = await createDispatcher({
      // Long for a whole batch, and still for one of half its size.
      onVerdict: () => void Atomics.wait(still, 0, 0, 40),
      maxBatchBytes: 64 * beat.length,
    });
    for (let index = 0; index < 96; index++) submit(beat);
    await dispatcher.idle();
    expect(settled).toHaveLength(96);
    // Three would do for 96 messages.
    expect(dispatcher.statistics.batches).toBeGreaterThan(5);
  });

  test('that take long to settle are settled in different turns of the event loop, although validated in the same one', async () => {
    const still = new Int32Array(new SharedArrayBuffer(4));
    const registry = MessageRegistry.builtin();
    let turn = 0;
    const turns: number[] = [];
    const { dispatcher, settled, submit } = await createDispatcher({
      onVerdict: () => {
        turns.push(turn);
        setImmediate(() => turn++);
        if (turns.length <= 2) Atomics.wait(still, 0, 0, 40);
      },
      maxBatchBytes: beat.length,
      maxBatchMessages: 50,
      createLocal: () => createLocalValidation(registry, LIGHT_SETTINGS, undefined, () => {}),
    });
    // Many more than in a batch: their number is estimated.
    submit(beat.repeat(1000));
    await dispatcher.idle();
    expect(turns.slice(0, 2)).toEqual([0, 1]);
    expect(settled).toHaveLength(turns.length);
  });

  test('that take long to settle are interrupted for others, and are settled before the dispatcher is idle', async () => {
    const registry = MessageRegistry.builtin();
    const turns: string[] = [];
    const { dispatcher, pool, submit } = await createDispatcher({
      createLocal: () => createLocalValidation(registry, LIGHT_SETTINGS, undefined, () => {}),
      onSettled: () => turns.push('end'),
    });
    const [long, short] = ['long', 'short'].map((name) => {
      let parts = name === 'long' ? 3 : 1;
      const lane = new Lane(
        (chunk, until) => {
          turns.push(name);
          expect(lane.pendingBytes).toBe(0);
          while (performance.now() < until) {}
          chunk.nextRun = 0;
          return --parts === 0;
        },
        (error) => expect.unreachable(String(error)),
      );
      return lane;
    });
    if (long === undefined || short === undefined) return expect.unreachable();
    submit(beat);
    for (const lane of [long, short]) {
      const slab = pool.acquire(beat.length);
      const end = slab.base + slab.arena.bytes.write(beat, slab.base);
      dispatcher.submit(lane, { slab, start: slab.base, end }, 0);
      slab.close();
    }
    await until(() => turns.includes('long'));
    // What comes later waits for the rest.
    long.after(() => turns.push('after'));
    expect(turns).not.toContain('after');
    await dispatcher.idle();
    expect(turns.filter((turn) => turn !== 'end')).toEqual(['long', 'short', 'long', 'long', 'after']);
    expect(turns.at(-1)).toBe('end');
    expect(pool.heldBytes).toBe(0);
  });

  test('keep their size while the main thread has other work, and the workers are not busy meanwhile', async () => {
    const still = new Int32Array(new SharedArrayBuffer(4));
    const { dispatcher, settled, submit } = await createDispatcher({ maxBatchBytes: 64 * beat.length });
    let isOver = false;
    let blocked = 0;
    const block = () => {
      if (isOver) return;
      // Longer than batches may take. Verdicts are read after it.
      Atomics.wait(still, 0, 0, 40);
      blocked++;
      setImmediate(block);
    };
    for (let index = 0; index < 640; index++) submit(beat);
    setImmediate(block);
    await dispatcher.idle();
    isOver = true;
    expect(settled).toHaveLength(640);
    // The first chunk goes alone, and a busy machine may make some smaller; with the smallest ones, it would be hundreds.
    expect(dispatcher.statistics.batches).toBeLessThan(40);
    expect(dispatcher.statistics.busyTime).toBeLessThan((blocked * 40) / 2);
  });

  test('a connection counts as slow once a single message of its took long', async () => {
    const { dispatcher, lane, submit } = sharedDeadly();
    // Together, they take as long. One of them may, too, if the machine has no time for the worker: not every time.
    await expect
      .poll(async () => {
        const harmless = sharedDeadly();
        harmless.submit(line({ type: 'harmless' }).repeat(1000));
        await dispatcher.idle();
        return harmless.lane.slowUntil;
      })
      .toBe(0);
    submit(line({ type: 'slow' }));
    await dispatcher.idle();
    expect(lane.slowUntil).toBeGreaterThan(performance.now());
  });

  test('one connection too many in quarantine is given up at once', async () => {
    const { dispatcher, lane, settled, submit } = await createDispatcher({
      settings: { ...LIGHT_SETTINGS, schemas },
      maxQuarantined: 0,
    });
    submit(line({ type: 'deadly' }));
    await dispatcher.idle();
    expect(settled.map(({ failed }) => failed)).toEqual([true]);
    expect(lane).toMatchObject({ mustClose: true, pendingBytes: 0, suspectUntil: 0 });
    expect(dispatcher.statistics).toMatchObject({ failedChunks: 1, retries: 1 });
  });

  test('while the workers are busy, batches grow up to their limit', async () => {
    // Batches that took long on a busy machine would make the next ones smaller. So the clock stands still, and batches are
    // validated on this thread, whose clock it is.
    const clock = vi.spyOn(performance, 'now').mockReturnValue(1);
    onTestFinished(() => clock.mockRestore());
    const registry = await MessageRegistry.load();
    const { dispatcher, settled, submit } = await createDispatcher({
      maxBatchBytes: 4 * beat.length,
      createLocal: () => createLocalValidation(registry, LIGHT_SETTINGS, undefined, () => {}),
    });
    for (let index = 0; index < 12; index++) submit(beat);
    await dispatcher.idle();
    expect(settled).toHaveLength(12);
    expect(dispatcher.statistics).toMatchObject({ batches: 4, queuedBytes: 0, batchesInFlight: 0 });
  });

  test('a batch has about maxBatchMessages at most; a chunk of more is cut, and all of it settled', async () => {
    const { dispatcher, submit, settled } = few();
    submit('{}'.repeat(20_000));
    submit('1\n'.repeat(20_000));
    await dispatcher.idle();
    expect(frames.reduce((sum, count) => sum + count, 0)).toBe(40_000);
    expect(Math.max(...frames)).toBeLessThanOrEqual(1000);
    expect(frames.length).toBeGreaterThanOrEqual(40);
    const ranges = settled.map(({ start, end }) => end - start);
    expect(ranges.reduce((sum, size) => sum + size, 0)).toBe(80_000);
  });

  test('a long message before very many short ones is no reason to send them all in one batch', async () => {
    const { dispatcher, submit } = few();
    submit(JSON.stringify({ type: 'x', pad: 'x'.repeat(200_000) }) + '{}'.repeat(20_000));
    await dispatcher.idle();
    expect(frames.reduce((sum, count) => sum + count, 0)).toBe(20_001);
    expect(Math.max(...frames)).toBeLessThanOrEqual(1000);
  });

  test('idle resolves when the last chunk comes out of quarantine, whose worker has a lower priority', async () => {
    const { dispatcher, settled, submit } = sharedDeadly();
    const { failedChunks } = dispatcher.statistics;
    // Other tests in this process may have some.
    const before = new Set(backgroundThreads());
    submit(line({ type: 'deadly' }) + beat);
    if (HAS_PRIORITIES) await until(() => backgroundThreads().some((thread) => !before.has(thread)));
    await dispatcher.idle();
    expect(settled.map(({ failed }) => failed)).toEqual([true, false]);
    expect(dispatcher.statistics.failedChunks).toBe(failedChunks + 1);
  });

  test('idle resolves at once when there is nothing to do', async () => {
    const { dispatcher } = shared();
    await dispatcher.idle();
  });
});

describe('checking on the main thread', () => {
  /** Without learned layouts, no pattern matches what none matched before. */
  const shared = shareBroker({ inlineBytes: 64 * 1024, maxLearnedLayouts: 0 });
  /** The broker, with its number of accepted heartbeats since now. */
  const sharedCounting = () => {
    const broker = shared();
    const total = () => broker.manager.getMetrics().protocol.accepted.heartbeat ?? 0;
    const before = total();
    return { ...broker, accepted: () => total() - before };
  };

  test('small batches of an idle broker go past the workers, all others through them, in order', async () => {
    const { manager, connect, accepted } = sharedCounting();
    const subscriber = await (await connect()).subscribe();
    const crawler = await connect();
    const dispatch = () => manager.getMetrics().dispatch;
    const before = dispatch();

    crawler.write(beat);
    await subscriber.next('heartbeat');
    expect(dispatch()).toMatchObject({
      inlineBatches: before.inlineBatches + 1,
      batches: before.batches,
    });

    // Bad, then good: no pattern knows the bad one, so the workers have a look at both.
    crawler.write(`{"type":"heartbeat"}\n${beat}`);
    expect((await crawler.next('error')).data).toMatchObject({ code: 'SCHEMA_VIOLATION', line: 2 });
    await subscriber.count(3);
    expect(dispatch().batches).toBe(before.batches + 1);

    crawler.write(beat.repeat(5000));
    await subscriber.count(5003);
    expect(dispatch().batches).toBeGreaterThan(before.batches + 1);
    expect(accepted()).toBe(5002);
    expect(manager.getMetrics().memory.heldBytes).toBe(0);
  });

  test('a few short pings go past the workers too, since their senders wait; others do not', async () => {
    const { manager, connect, accepted } = sharedCounting();
    const crawler = await connect();
    const dispatch = () => manager.getMetrics().dispatch;
    const { batches } = dispatch();
    for (let round = 1; round <= 10; round++) {
      crawler.write(`${beat}{"type":"ping","data":{}}\n${beat}`);
      await until(() => crawler.messages.filter(({ type }) => type === 'pong').length === round);
    }
    expect(accepted()).toBe(20);
    expect(dispatch().batches).toBe(batches);
    for (const pings of ['{"type":"ping"}\n'.repeat(17), line({ type: 'ping', pad: 'x'.repeat(120) })]) {
      const before = dispatch().batches;
      crawler.write(pings);
      await until(() => dispatch().batches > before);
    }
  });

  test('one message after another: delivered, counted and answered like all others, in order', async () => {
    const { manager, connect, accepted } = sharedCounting();
    const subscriber = await (await connect()).subscribe();
    const crawler = await connect();
    const dispatch = () => manager.getMetrics().dispatch;
    const before = dispatch();
    let sent = 0;
    /** One heartbeat, numbered, all the way. */
    const next = async () => {
      crawler.write(line(changed('heartbeat', { totalProcessed: ++sent })));
      await subscriber.count(sent + 1);
    };
    while (dispatch().inlineBatches < before.inlineBatches + 10) await next();
    // The workers get this, and then a stream of batches.
    crawler.write(`{"type":"heartbeat"}\n${beat}`);
    expect((await crawler.next('error')).data).toMatchObject({ code: 'SCHEMA_VIOLATION', line: sent + 1 });
    for (let round = 0; round < 50; round++) crawler.write(beat.repeat(round));
    crawler.write(line(changed('heartbeat', { totalProcessed: sent + 1 })));
    const total = sent + 1 + 1225 + 1;
    await subscriber.count(total + 1);
    const processed = subscriber.forwarded.map(
      ({ data }) => (data as { totalProcessed: number }).totalProcessed,
    );
    expect([...processed.slice(0, sent), processed.at(-1)]).toEqual(
      Array.from({ length: sent + 1 }, (_, index) => index + 1),
    );
    expect(accepted()).toBe(total);
    expect(manager.getMetrics().memory.heldBytes).toBe(0);
  });

  test('is rarely tried while no pattern matches, and again for each batch when one does', async () => {
    const { manager, connect } = shared();
    const inlineBatches = () => manager.getMetrics().dispatch.inlineBatches;
    const before = inlineBatches();
    const crawler = await connect();
    const scanned = vi.spyOn(BatchValidator.prototype, 'validateByPatterns');
    onTestFinished(() => scanned.mockRestore());
    for (let count = 0; count < 60; count++) {
      crawler.write(`{"timestamp":"","type":"heartbeat"}\n`);
      await crawler.settled();
    }
    expect(scanned.mock.calls.length).toBeLessThan(10);
    expect(inlineBatches()).toBe(before);
    const subscriber = await (await connect()).subscribe();
    for (let sent = 1; inlineBatches() < before + 2; sent++) {
      crawler.write(beat);
      await subscriber.count(sent + 1);
    }
    expect(scanned.mock.results.slice(-2).map(({ value }) => value)).toMatchObject([
      { matched: 1 },
      { matched: 1 },
    ]);
  });

  test('is off where it is switched off, and where patterns are off, or not to be trusted alone', async () => {
    for (const { manager, connect } of [sharedWithout(), await startPlainBroker(), sharedVerifying()]) {
      const subscriber = await (await connect()).subscribe();
      (await connect()).write(beat);
      await subscriber.next('heartbeat');
      expect(manager.getMetrics().dispatch.inlineBatches).toBe(0);
    }
  });
});

describe('workers', () => {
  /** Messages of a layout that come alone, after which it has its pattern for certain. */
  const MOST_UNTIL_LEARNED = 124;

  test('learn the layouts that crawlers write, and count them', async () => {
    const { manager, connect } = sharedWithout();
    const before = manager.getMetrics().protocol;
    const subscriber = await (await connect()).subscribe();
    const python = `${pythonDumps(VALID.heartbeat)}\n`;
    const crawler = await connect();
    for (let round = 1; round <= 2; round++) {
      crawler.write(python.repeat(MOST_UNTIL_LEARNED));
      await subscriber.count(1 + round * MOST_UNTIL_LEARNED);
    }
    const { matched, layoutsLearned, layoutsEvicted } = manager.getMetrics().protocol;
    expect(layoutsLearned).toBe(before.layoutsLearned + 1);
    expect(layoutsEvicted).toBe(before.layoutsEvicted);
    expect(matched - before.matched).toBeGreaterThanOrEqual(MOST_UNTIL_LEARNED);
  });

  test('start one by one, when messages wait although all have batches; all that exit are replaced', async () => {
    const dispatcher = await startDispatcher({ threads: 2, settings: { ...LIGHT_SETTINGS, schemas } });
    const [slow, good] = [connectTo(dispatcher), connectTo(dispatcher)];
    good.submit(beat);
    await dispatcher.idle();
    expect(dispatcher.statistics.threads).toBe(1);
    // After a slow message, each worker that is running has at most one batch.
    slow.submit(line({ type: 'slow' }));
    await dispatcher.idle();
    slow.submit(line({ type: 'slow' }).repeat(8));
    good.submit(beat);
    await until(() => dispatcher.statistics.threads === 2);
    await dispatcher.idle();
    expect(good.settled.reduce((sum, { size }) => sum + size, 0)).toBe(2 * beat.length);

    const { retries } = dispatcher.statistics;
    connectTo(dispatcher).submit(line({ type: 'deadly' }));
    await until(() => dispatcher.statistics.retries > retries);
    await dispatcher.idle();
    await until(() => dispatcher.statistics.threads === 2);
  });

  test('that cannot start fail the start', async () => {
    const failing = createDispatcher({ settings: { ...LIGHT_SETTINGS, schemas: 'file:///nowhere.mjs' } });
    await expect(failing).rejects.toMatchObject({ code: 'WORKERS_FAILED' });
  });
});
