import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Piscina } from 'piscina';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { WorkerSettings } from '#src/dispatch/verdict.js';
import { WorkerPool, type WorkerPoolOptions } from '#src/dispatch/worker-pool.js';
import { temporaryFolder } from '../../support/broker.js';
import { WORKER_SETTINGS } from '../../support/worker-settings.js';

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

describe('workers whose schema module no longer loads', () => {
  /** A pool whose later workers do this while they load, as long as the file is there. */
  async function startPool(threads: number, code: string) {
    vi.useFakeTimers({
      toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'],
    });
    const file = join(temporaryFolder(), 'file');
    const module = join(temporaryFolder(), 'schemas.mjs');
    writeFileSync(
      module,
      `import { appendFileSync, existsSync } from 'node:fs';
      const file = ${JSON.stringify(file)};
      if (existsSync(file)) {
        appendFileSync(file, '.');
        ${code};
      }
      export const schemas = {};`,
    );
    const run = vi.spyOn(Piscina.prototype, 'run');
    const errors: string[] = [];
    const pool = new WorkerPool({
      ...options,
      threads,
      settings: { ...WORKER_SETTINGS, patterns: 'off', schemas: pathToFileURL(module).href },
      onError: (error) => errors.push(String(error)),
    });
    await pool.start();
    onTestFinished(() => pool.close());
    writeFileSync(file, '');
    const starts = () => readFileSync(file).length;
    return { pool, piscina: run.mock.contexts[0] as Piscina, errors, starts, repair: () => rmSync(file) };
  }

  test('are not started again and again, even while batches wait', async () => {
    const { pool, piscina, starts, repair } = await startPool(2, 'throw new Error()');
    pool.addWorker();
    // 600 ms: the delays are 100, 200 and 400 ms.
    for (let check = 0; check < 20; check++) {
      let answered = 0;
      const count = () => void answered++;
      for (let batch = 0; batch < 4; batch++) void pool.run([]).then(count, count);
      await vi.advanceTimersByTimeAsync(30);
      await until(() => answered === 4 && piscina.threads.length === 1);
    }
    expect(starts()).toBeGreaterThanOrEqual(1);
    expect(starts()).toBeLessThanOrEqual(4);
    repair();
    // A start that began before may still fail.
    while (pool.threads < 2) {
      await vi.advanceTimersByTimeAsync(5000);
      await until(() => pool.threads === piscina.threads.length);
    }
  });

  test('are terminated if they never start, and replaced', async () => {
    const { pool, piscina, errors, starts, repair } = await startPool(1, 'await new Promise(() => {})');
    await piscina.threads[0]?.terminate();
    await until(() => starts() === 1);
    const rejected = expect(pool.run([])).rejects.toThrow();
    repair();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(errors).toEqual([]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(errors).toEqual([expect.stringContaining('no response from the workers')]);
    await until(() => piscina.threads.length === 0);
    await vi.advanceTimersByTimeAsync(30);
    await rejected;
    await until(() => pool.threads === 1);
    await pool.run([]);
  });
});

test('workers that have died are replaced without delay while the others start', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] });
  const run = vi.spyOn(Piscina.prototype, 'run');
  const settings = { ...WORKER_SETTINGS, patterns: 'off' } as const;
  const pool = new WorkerPool({ ...options, threads: 4, settings });
  await pool.start();
  onTestFinished(() => pool.close());
  const piscina = run.mock.contexts[0] as Piscina;
  for (let count = 1; count < 4; count++) pool.addWorker();
  await until(() => pool.threads === 4);
  await Promise.all(piscina.threads.slice(1).map((worker) => worker.terminate()));
  await until(() => piscina.threads.length === 1);
  let checks = 0;
  for (; checks < 20 && pool.threads < 4; checks++) {
    await vi.advanceTimersByTimeAsync(30);
    await until(() => pool.threads === piscina.threads.length);
  }
  expect(pool.threads).toBe(4);
  expect(checks).toBeLessThanOrEqual(4);
});

/** Lets real time pass until the condition holds. */
async function until(condition: () => boolean) {
  while (!condition()) await new Promise(setImmediate);
}

/** Terminates the workers of the pools that a mocked function was called on. */
async function terminateWorkers(pools: readonly unknown[]): Promise<void> {
  vi.restoreAllMocks();
  for (const pool of pools as Piscina[]) {
    await Promise.all(pool.threads.map((worker) => worker.terminate()));
  }
}
