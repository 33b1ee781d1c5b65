import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Batch } from '#src/fleet/batch.js';
import type { FleetEngine } from '#src/fleet/engine.js';
import { Forwarder } from '#src/fleet/forwarder.js';
import type { MessageLog } from '#src/log/message-log.js';
import { MessageRegistry } from '#src/messages/message-registry.js';
import { until } from '../../support/broker.js';
import { appendNumbered, openMessageLog } from '../../support/message-log.js';
import { line, VALID } from '../../support/messages.js';
import { runOf } from '../../support/runs.js';

const MINUTE = 60_000;
const CURSOR = '$fleet';

/** An engine that stores batches in memory, as far as a forwarder uses it. */
class FakeEngine {
  readonly batches: Batch[] = [];
  readonly maxBatchBytes = 64 * 1024;
  readonly maxBatchMessages = Number.POSITIVE_INFINITY;
  readonly mayLoseBatches = false;
  #lost = new AbortController();

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async whenConnected(): Promise<void> {}

  async lastBatch() {
    return { batch: this.batches.at(-1), previous: this.batches.length };
  }

  async publish(batch: Batch): Promise<number> {
    return this.batches.push({ ...batch, body: Buffer.from(batch.body) });
  }

  /** Connects again. */
  reconnect(): void {
    const lost = this.#lost;
    this.#lost = new AbortController();
    lost.abort();
  }
}

function startForwarder(log: MessageLog, engine = new FakeEngine()) {
  const errors: unknown[] = [];
  const forwarder = new Forwarder(engine as Partial<FleetEngine> as FleetEngine, {
    log,
    registry: MessageRegistry.builtin(),
    delimiter: 10,
    host: 'a',
    batchInterval: () => 0,
    requireHost: async () => {},
    onError: (error) => errors.push(error),
    onRecovered: () => {},
  });
  forwarder.start();
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
    const { forwarder } = startForwarder(log);
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
    const { forwarder, engine } = startForwarder(log);
    for (const from of [0, 100]) {
      const end = appendNumbered(log, from, from + 100);
      await until(() => forwarder.statistics.lag === 0 && log.durable === end);
      vi.advanceTimersByTime(MINUTE);
    }
    vi.advanceTimersByTime(8 * MINUTE);
    engine.batches.splice(1);
    engine.reconnect();
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
      const { forwarder } = startForwarder(log, engine);
      await log.whenDurable();
      await until(() => forwarder.statistics.lag === 0);
      expect(log.first).toBeGreaterThan(0);
      expect(engine.batches.reduce((sum, { count }) => sum + count, 0)).toBe(log.end);
    },
  );

  test('includes messages at the end that are too long for the engine', async () => {
    const log = await openMessageLog();
    const { forwarder } = startForwarder(log);
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
