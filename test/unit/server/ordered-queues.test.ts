import { describe, expect, test } from 'vitest';
import { OrderedQueues } from '#src/server/ordered-queues.js';

/** Items that end when the test says so. */
class Work {
  readonly started: string[] = [];
  readonly full: string[] = [];
  readonly #ends = new Map<string, () => void>();

  run(item: string): Promise<void> | undefined {
    this.started.push(item);
    if (item.endsWith('!')) return undefined;
    return new Promise((resolve) => this.#ends.set(item, resolve));
  }

  onFull(key: string, isFull: boolean): void {
    this.full.push(`${key} ${isFull}`);
  }

  async end(item: string): Promise<void> {
    this.#ends.get(item)?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function make(limits: { maxConcurrent?: number; maxQueued?: number } = {}) {
  const work = new Work();
  const queues = new OrderedQueues<string, string>({ maxConcurrent: 10, maxQueued: 100, ...limits }, work);
  return { work, queues };
}

describe('OrderedQueues', () => {
  test('does the items of one queue one after the other, and queues side by side', async () => {
    const { work, queues } = make();
    for (const item of ['a1', 'a2', 'a3!', 'a4']) queues.push('a', item, 1);
    queues.push('b', 'b1', 1);
    expect(work.started).toEqual(['a1', 'b1']);
    expect(queues).toMatchObject({ running: 2, queued: 3 });
    await work.end('a1');
    expect(work.started).toEqual(['a1', 'b1', 'a2']);
    await work.end('a2');
    expect(work.started).toEqual(['a1', 'b1', 'a2', 'a3!', 'a4']);
  });

  test('does at once what takes no time', () => {
    const { work, queues } = make();
    queues.push('a', 'a1!', 1);
    queues.push('a', 'a2!', 1);
    expect(work.started).toEqual(['a1!', 'a2!']);
    expect(queues).toMatchObject({ running: 0, queued: 0 });
  });

  test('has no more under way than allowed, and lets queues take turns', async () => {
    const { work, queues } = make({ maxConcurrent: 2 });
    for (const key of ['a', 'b', 'c']) {
      queues.push(key, `${key}1`, 1);
      queues.push(key, `${key}2`, 1);
    }
    expect(work.started).toEqual(['a1', 'b1']);
    await work.end('a1');
    expect(work.started.at(-1)).toBe('c1');
    await work.end('b1');
    expect(work.started.at(-1)).toBe('a2');
    expect(queues.running).toBe(2);
  });

  test('reports when a queue is full, and when half of it is done', async () => {
    const { work, queues } = make({ maxQueued: 4 });
    for (let number = 0; number <= 5; number++) queues.push('a', `a${number}`, 1);
    queues.push('b', 'b0', 1);
    expect(work.full).toEqual(['a true']);
    for (const item of ['a0', 'a1']) await work.end(item);
    expect(work.full).toEqual(['a true']);
    await work.end('a2');
    expect(work.full).toEqual(['a true', 'a false']);
  });

  test('is idle when nothing waits and nothing is under way', async () => {
    const { work, queues } = make();
    await queues.idle();
    queues.push('a', 'a1', 1);
    queues.push('a', 'a2', 1);
    let isIdle = false;
    const idle = queues.idle().then(() => {
      isIdle = true;
    });
    await work.end('a1');
    expect(isIdle).toBe(false);
    await work.end('a2');
    await idle;
  });

  test('takes what an item pushes while it is done', () => {
    const started: string[] = [];
    const queues: OrderedQueues<string, string> = new OrderedQueues(
      { maxConcurrent: 1, maxQueued: 100 },
      {
        run: (item) => {
          started.push(item);
          if (item === 'a') queues.push('y', 'b', 1);
          return undefined;
        },
        onFull: () => {},
      },
    );
    queues.push('x', 'a', 1);
    expect(started).toEqual(['a', 'b']);
    expect(queues.queued).toBe(0);
  });
});

describe('an item that runs at once', () => {
  test('is finished before those that it pushes, also if it has a promise', async () => {
    const { work, queues } = make();
    const run = work.run.bind(work);
    work.run = (item) => {
      if (item.startsWith('a1')) {
        queues.push('a', 'a2', 1);
        queues.push('b', 'b1!', 1);
      }
      return run(item);
    };
    queues.push('a', 'a1!', 1);
    expect(work.started).toEqual(['a1!', 'a2', 'b1!']);
    await work.end('a2');
    queues.push('a', 'a1', 1);
    expect(work.started.slice(3)).toEqual(['a1', 'b1!']);
    expect(queues).toMatchObject({ running: 1, queued: 1 });
    await work.end('a1');
    expect(work.started.slice(5)).toEqual(['a2']);
    await work.end('a2');
    await queues.idle();
  });

  test('is waited for by what it calls itself', async () => {
    const { work, queues } = make();
    const run = work.run.bind(work);
    const log: string[] = [];
    work.run = (item) => {
      void queues.idleOf('a').then(() => log.push(`idle after ${item}`));
      return run(item);
    };
    queues.push('a', 'a1', 1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(log).toEqual([]);
    await work.end('a1');
    expect(log).toEqual(['idle after a1']);
    queues.push('a', 'a2!', 1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(log).toEqual(['idle after a1', 'idle after a2!']);
  });
});

describe('a deferred item', () => {
  test('runs after the current function, and grows until then', async () => {
    const { work, queues } = make({ maxQueued: 10 });
    queues.pushDeferred('a', 'a1', 4);
    expect(queues.last('a')).toBe('a1');
    queues.grow('a', 4);
    queues.push('a', 'a2!', 1);
    queues.push('b', 'b1!', 1);
    expect(work.started).toEqual(['b1!']);
    expect(queues).toMatchObject({ running: 0, queued: 3 });
    await Promise.resolve();
    expect(work.started).toEqual(['b1!', 'a1']);
    expect(queues).toMatchObject({ running: 2, queued: 1 });
    queues.pushDeferred('a', 'a3!', 10);
    expect(work.full).toEqual(['a true']);
    await work.end('a1');
    expect(work.started).toEqual(['b1!', 'a1', 'a2!', 'a3!']);
    expect(work.full).toEqual(['a true', 'a false']);
    expect(queues.last('a')).toBeUndefined();
  });
});
