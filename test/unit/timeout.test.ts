import { beforeEach, describe, expect, test, vi } from 'vitest';
import { startTimeout, withTimeout } from '#src/timeout.js';

beforeEach(() => {
  vi.useFakeTimers();
  return () => void vi.useRealTimers();
});

const never = new Promise<string>(() => {});

function deferred() {
  let resolve: (value: string) => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<string>((...settle) => {
    [resolve, reject] = settle;
  });
  return { promise, resolve, reject };
}

function fail(): never {
  throw new Error('expired');
}

describe('withTimeout', () => {
  test('settles as the promise does, and clears its timer', async () => {
    expect(await withTimeout(Promise.resolve('done'), 1000, fail)).toBe('done');
    await expect(withTimeout(Promise.reject(new Error('failed')), 1000, fail)).rejects.toThrow('failed');
    expect(vi.getTimerCount()).toBe(0);
  });

  test('returns after the timeout what onTimeout returns', async () => {
    const waiting = withTimeout(never, 1000, () => 'expired');
    vi.advanceTimersByTime(999);
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(1);
    expect(await waiting).toBe('expired');
  });

  test('rejects after the timeout with what onTimeout throws', async () => {
    const waiting = withTimeout(never, 1000, fail);
    vi.advanceTimersByTime(1000);
    await expect(waiting).rejects.toThrow('expired');
  });

  test('leaves no unhandled rejection if the promise fails after the timeout', async () => {
    const onUnhandled = vi.fn();
    process.on('unhandledRejection', onUnhandled);
    const late = deferred();
    const waiting = withTimeout(late.promise, 1000, () => 'expired');
    vi.advanceTimersByTime(1000);
    expect(await waiting).toBe('expired');
    late.reject(new Error('late'));
    vi.useRealTimers();
    await new Promise((resolve) => setImmediate(resolve));
    process.off('unhandledRejection', onUnhandled);
    expect(onUnhandled).not.toHaveBeenCalled();
  });

  test('waits without a limit for Infinity', async () => {
    const late = deferred();
    const waiting = withTimeout(late.promise, Number.POSITIVE_INFINITY, fail);
    expect([vi.getTimerCount(), startTimeout(Number.POSITIVE_INFINITY, fail)]).toEqual([0, undefined]);
    late.resolve('done');
    expect(await waiting).toBe('done');
  });
});
