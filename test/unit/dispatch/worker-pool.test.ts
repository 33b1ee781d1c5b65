import { Piscina } from 'piscina';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { WorkerSettings } from '#src/dispatch/verdict.js';
import { WorkerPool, type WorkerPoolOptions } from '#src/dispatch/worker-pool.js';

/** What a runtime does whose workers do not start or do not terminate. */
const never = () => new Promise<never>(() => {});

const options = {
  threads: 1,
  concurrentTasksPerWorker: 1,
  validationTimeout: 0,
  settings: { maxMessageSize: 1024 },
  onError: () => {},
} as unknown as WorkerPoolOptions;

beforeEach(
  () => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] }),
);
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe('on a runtime whose workers neither start nor terminate', () => {
  test('start fails within 30 s', async () => {
    vi.spyOn(Piscina.prototype, 'run').mockImplementation(never);
    const destroy = vi.spyOn(Piscina.prototype, 'destroy').mockImplementation(never);
    const failed = expect(new WorkerPool(options).start()).rejects.toMatchObject({
      code: 'WORKERS_FAILED',
      message: expect.stringContaining('no response from the workers'),
    });
    await vi.advanceTimersByTimeAsync(30_000);
    await failed;
    expect(destroy).toHaveBeenCalledOnce();
    await terminateWorkers(destroy.mock.contexts);
  });

  test('close takes at most 5 s', async () => {
    vi.spyOn(Piscina.prototype, 'run').mockResolvedValue({});
    const destroy = vi.spyOn(Piscina.prototype, 'destroy').mockImplementation(never);
    const pool = new WorkerPool(options);
    await pool.start();
    const closed = pool.close();
    await vi.advanceTimersByTimeAsync(5000);
    await closed;
    await terminateWorkers(destroy.mock.contexts);
  });
});

describe('the first worker loads the schemas', () => {
  /** Starts a pool. Returns the number of tasks that its worker has got, and whether workers load what they need. */
  async function startPool(settings: object) {
    const run = vi.spyOn(Piscina.prototype, 'run').mockResolvedValue({});
    const pool = new WorkerPool({ ...options, settings } as unknown as WorkerPoolOptions);
    await pool.start();
    onTestFinished(() => pool.close());
    const { options: used } = run.mock.contexts[0] as Piscina;
    const { loadRequested } = used.workerData as WorkerSettings;
    return () => ({ tasks: run.mock.calls.length, loadRequested: new Int32Array(loadRequested)[0] });
  }

  test('a second after the start, if they are those of the protocol', async () => {
    const state = await startPool({ maxMessageSize: 1024 });
    expect(state()).toEqual({ tasks: 1, loadRequested: 0 });
    await vi.advanceTimersByTimeAsync(1000);
    expect(state()).toEqual({ tasks: 2, loadRequested: 1 });
  });

  test('at the start, if they are in a module, which may fail to load', async () => {
    const state = await startPool({ maxMessageSize: 1024, schemas: 'file:///schemas.mjs' });
    expect(state()).toEqual({ tasks: 1, loadRequested: 1 });
  });
});

/** Terminates the workers of the pools that a mocked function was called on. */
async function terminateWorkers(pools: readonly unknown[]): Promise<void> {
  vi.restoreAllMocks();
  for (const pool of pools as Piscina[]) {
    await Promise.all(pool.threads.map((worker) => worker.terminate()));
  }
}
