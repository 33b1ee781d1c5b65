import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { MessageParser, MessageRegistry, MessageValidator, SlabPool } from 'sluice';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Handoff } from '#src/dispatch/handoff.js';
import { batchTask, FRAME, type Verdict } from '#src/dispatch/verdict.js';
import { WorkerPool } from '#src/dispatch/worker-pool.js';
import type { FrameRange } from '#src/memory/slab-pool.js';
import { Traffic } from '#src/traffic/traffic.js';
import { BatchValidator } from '#src/worker/batch-validator.js';
import { until } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';
import { createPatterns } from '../../support/patterns.js';
import { share, type WhenOver } from '../../support/share.js';
import { WORKER_SETTINGS } from '../../support/worker-settings.js';

const NEWLINE = 10;
const slabs = new SlabPool(256 * 1024);

/** Each text in a slab of its own. */
function batchOf(...texts: string[]): FrameRange[] {
  return texts.map((text) => {
    const slab = slabs.acquire(text.length);
    // Not where the slab begins: where messages lie must not matter.
    const start = slab.base + 7;
    return { slab, start, end: start + slab.arena.bytes.write(text, start) };
  });
}

const beat = line(VALID.heartbeat);
const junk = '{"type":"nope"}\n';

describe('a pool', () => {
  async function startPool(threads: number, whenOver: WhenOver = onTestFinished) {
    const errors: unknown[] = [];
    const pool = new WorkerPool({
      threads,
      concurrentTasksPerWorker: 2,
      validationTimeout: 5000,
      handsOver: true,
      settings: WORKER_SETTINGS,
      onError: (error) => errors.push(error),
    });
    whenOver(() => pool.close());
    await pool.start();
    /** Sends small batches until a worker takes one directly. */
    const settle = async () => {
      for (const before = pool.handedOver; pool.handedOver === before; ) await pool.run(batchOf(beat));
    };
    return { pool, errors, settle };
  }

  const pools = {
    1: share((whenOver) => startPool(1, whenOver)),
    2: share((whenOver) => startPool(2, whenOver)),
  } as const;

  const matchedOf = ({ matched, frames }: Verdict) => [matched, frames.length / FRAME.SIZE];

  test('hands small batches over after a few, and no other', async () => {
    const { pool, settle } = await startPool(2);
    for (let count = 0; count < 16; count++) await pool.run(batchOf(beat));
    expect(pool.handedOver).toBe(0);
    await settle();
    const before = pool.handedOver;
    expect(matchedOf(await pool.run(batchOf(beat.repeat(1000))))).toEqual([1000, 1000]);
    expect(pool.handedOver).toBe(before);
    // A worker was free for that: the other one waits on.
    expect(matchedOf(await pool.run(batchOf(beat)))).toEqual([1, 1]);
    expect(pool.handedOver).toBe(before + 1);
  });

  test('gets the same verdicts both ways', async () => {
    const { pool, settle } = pools[2]();
    await settle();
    const registry = new MessageRegistry();
    const patterns = createPatterns(registry);
    const parser = new MessageParser({ validator: new MessageValidator({ registry }), patterns });
    const batches = new BatchValidator(parser, NEWLINE);
    const plain = (verdict: Verdict) => Object.entries(verdict).map(([name, list]) => [name, copyOf(list)]);
    const copyOf = (value: unknown) => (value instanceof Uint32Array ? [...value] : value);
    const traffic = new Traffic({ seed: 4 });
    for (let round = 0; round < 50; round++) {
      const batch = batchOf(
        ...Array.from({ length: 1 + (round % 4) }, () => traffic.block(1 + (round % 9)).toString()),
        beat.trimEnd() + beat,
      );
      const before = pool.handedOver;
      const verdict = await pool.run(batch);
      expect(pool.handedOver).toBe(before + 1);
      expect(plain(verdict)).toEqual(plain(batches.validate(batchTask(batch))));
    }
  });

  test.each([1, 2] as const)(
    '%s workers: what is declined is posted; after a few in a row, all is, until the next few',
    async (threads) => {
      const { pool, errors, settle } = pools[threads]();
      await settle();
      const before = pool.handedOver;
      for (let round = 0; round < 5; round++) {
        const verdict = await pool.run(batchOf(beat, junk));
        expect(verdict.rejections.map(({ code }) => code)).toEqual(['UNKNOWN_TYPE']);
      }
      for (let round = 0; round < 10; round++) await pool.run(batchOf(beat));
      expect(pool.handedOver).toBe(before);
      await settle();
      expect(errors).toEqual([]);
    },
  );

  test.each([1, 2] as const)('%s workers: answers all, whatever comes at once', async (threads) => {
    const { pool, settle } = pools[threads]();
    await settle();
    for (let round = 0; round < 30; round++) {
      const counts = Array.from({ length: 1 + (round % 7) }, (_, index) => (index % 3 === 2 ? 500 : 1));
      const verdicts = await Promise.all(counts.map((count) => pool.run(batchOf(beat.repeat(count)))));
      expect(verdicts.map(({ matched }) => matched)).toEqual(counts);
      await pool.run(batchOf(beat));
    }
  });

  test('closes while a worker waits', async () => {
    const { pool, settle } = await startPool(1);
    await settle();
    await pool.close();
    await expect(pool.run(batchOf(beat))).rejects.toMatchObject({ code: 'NOT_RUNNING' });
  });
});

describe('a handoff', () => {
  function startWorker(handoff: Handoff): Worker {
    const worker = new Worker(new URL('../../support/handoff-worker.mjs', import.meta.url), {
      workerData: handoff.memory,
    });
    onTestFinished(() => void worker.terminate());
    return worker;
  }

  async function start() {
    const handoff = new Handoff();
    const worker = startWorker(handoff);
    const sentAway = once(worker, 'message');
    await until(() => handoff.takes(batchOf('a')));
    return { handoff, worker, sentAway };
  }

  test('is for small batches, one at a time, while a worker waits', async () => {
    const { handoff } = await start();
    expect(new Handoff().takes(batchOf('a'))).toBe(false);
    expect(handoff.takes(batchOf('a'.repeat(16 * 1024)))).toBe(true);
    expect(handoff.takes(batchOf('a'.repeat(16 * 1024), 'a'))).toBe(false);
    expect(handoff.takes(batchOf(...'a'.repeat(65)))).toBe(false);
    // The worker takes a while to answer this one.
    const answer = handoff.run(batchOf(...'s'.repeat(64)));
    expect(handoff.takes(batchOf('a'))).toBe(false);
    expect((await answer)?.chunks).toEqual([64]);
    expect(handoff.takes(batchOf('a'))).toBe(true);
  });

  test('gives nothing where the worker declines, or its verdict has no room', async () => {
    const { handoff } = await start();
    expect(await handoff.run(batchOf('declined'))).toBeUndefined();
    expect(await handoff.run(batchOf('many'))).toBeUndefined();
    expect(await handoff.run(batchOf('answered'))).toMatchObject({ chunks: [8], jobs: [1, 3] });
  });

  test('sends the worker away: at once, after its answer, or before it has come', async () => {
    const first = await start();
    first.handoff.leave();
    await first.sentAway;
    expect(first.handoff.takes(batchOf('a'))).toBe(false);

    const second = await start();
    const answer = second.handoff.run(batchOf('a'));
    second.handoff.leave();
    expect((await answer)?.chunks).toEqual([1]);
    await second.sentAway;

    const third = new Handoff();
    third.leave();
    await once(startWorker(third), 'message');
  });

  test('fails when the worker ends with a batch', async () => {
    const { handoff, worker } = await start();
    const answer = handoff.run(batchOf('hangs'));
    worker.once('exit', () => handoff.close());
    void worker.terminate();
    await expect(answer).rejects.toMatchObject({ code: 'WORKERS_FAILED' });
    expect(handoff.takes(batchOf('a'))).toBe(false);
  });
});
