import { SlabPool } from 'sluice';
import { describe, expect, test } from 'vitest';
import { Backlog } from '#src/dispatch/backlog.js';
import { Lane } from '#src/dispatch/lane.js';
import { WORKER_SETTINGS } from '../../support/worker-settings.js';

const MESSAGE = '{"a":1}\n';

/** A backlog of 2 workers, with a connection that is slow from the start and one that is not. */
function createBacklog({ threads = 2, otherSaidAt = 0 } = {}) {
  const limits = { maxBatchBytes: 64 * 1024, maxBatchMessages: 1000 };
  const backlog = new Backlog({ threads, ...limits, settings: WORKER_SETTINGS });
  const pool = new SlabPool(64 * 1024);
  const lane = () =>
    new Lane(
      () => true,
      () => {},
    );
  const [slow, other] = [lane(), lane()];
  backlog.markSlow(slow, 0);
  const add = (to: Lane, now: number, text = MESSAGE) => {
    const slab = pool.acquire(text.length);
    const end = slab.base + slab.arena.bytes.write(text, slab.base);
    backlog.add(to, { slab, start: slab.base, end }, now);
    slab.close();
  };
  /** The batch whose turn it is. */
  const take = (now: number) => {
    const batch = backlog.take(1, now);
    const whose = batch && (batch.chunks[0]?.lane === slow ? 'slow' : 'other');
    return { whose, messages: sum(batch?.chunks.map(({ size }) => size)) / MESSAGE.length, batch };
  };
  add(other, otherSaidAt);
  expect(take(0).whose).toBe('other');
  return { backlog, slow, other, add, take };
}

function sum(values: readonly number[] = []): number {
  return values.reduce((total, value) => total + value, 0);
}

describe('a slow connection', () => {
  test('leaves a worker to the others while those have messages', () => {
    const { slow, other, add, take } = createBacklog();
    for (let count = 0; count < 3; count++) add(slow, 10, MESSAGE.repeat(100));
    expect(take(10).whose).toBe('slow');
    expect(take(10).whose).toBeUndefined();
    add(other, 20);
    expect(take(20).whose).toBe('other');
    expect(take(1020).whose).toBeUndefined();
    // A second after that, it may have both.
    expect(take(1021).whose).toBe('slow');
  });

  test('has the only worker in its turn', () => {
    const { slow, add, take } = createBacklog({ threads: 1 });
    add(slow, 10);
    expect(take(10).whose).toBe('slow');
  });

  test('has a quarter of a worker for which others wait', () => {
    const { backlog, slow, other, add, take } = createBacklog();
    add(slow, 100, MESSAGE.repeat(100));
    const { whose, batch } = take(100);
    expect(whose).toBe('slow');
    if (batch !== undefined) backlog.done(batch, 200);
    add(other, 200);
    expect(take(499).whose).toBe('other');
    add(other, 499);
    expect(take(500).whose).toBe('slow');
    expect(take(500).whose).toBe('other');
  });

  test('need not wait where nobody else does', () => {
    const { backlog, slow, add, take } = createBacklog();
    add(slow, 100, MESSAGE.repeat(100));
    const { batch } = take(100);
    if (batch !== undefined) backlog.done(batch, 200);
    expect(take(200).whose).toBe('slow');
  });

  test('has a few messages checked at a time, and never shares a batch', () => {
    const { slow, other, add, take } = createBacklog();
    add(slow, 10, MESSAGE.repeat(100));
    add(other, 10, MESSAGE.repeat(100));
    const batches = [take(10), take(10)];
    expect(batches.map(({ whose }) => whose)).toEqual(['slow', 'other']);
    expect(batches[0]?.messages).toBeLessThanOrEqual(8);
    expect(batches[1]?.messages).toBe(100);
    expect(new Set(batches[1]?.batch?.chunks.map(({ lane }) => lane))).toEqual(new Set([other]));
  });

  test('is as good as all others five seconds after its latest slow message', () => {
    const { backlog, slow, add, take } = createBacklog();
    backlog.markSlow(slow, 1000);
    add(slow, 5999);
    expect(take(5999).batch?.isSlow).toBe(true);
    add(slow, 6000);
    expect(take(6000).batch?.isSlow).toBe(false);
  });
});

describe('after batches that took long', () => {
  const share = 1 / 64;

  test('a chunk is divided, however few messages it seems to have', () => {
    const { backlog, other, add } = createBacklog();
    const text = '{},'.repeat(20_000);
    add(other, 10, text);
    const sizes: number[] = [];
    for (let batch = backlog.take(share, 10); batch !== undefined; batch = backlog.take(share, 10)) {
      sizes.push(sum(batch.chunks.map(({ size }) => size)));
    }
    expect(sum(sizes)).toBe(text.length);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(1024);
  });

  test('a message is not divided, and leaves what follows to the next batch', () => {
    const { backlog, other, add } = createBacklog();
    const long = `{"a":"${'x'.repeat(5000)}"}\n`;
    add(other, 10, long + MESSAGE);
    const sizes = [backlog.take(share, 10), backlog.take(share, 10)].map((batch) => batch?.chunks[0]?.size);
    expect(sizes).toEqual([long.length, MESSAGE.length]);
  });

  test.each([
    ['few messages', 1],
    ['many messages', 100_000],
  ])('a message of 3 MB leaves %s behind its delimiter to the next batch', (_, count) => {
    const { backlog, other, add } = createBacklog();
    const long = `{"a":"${'x'.repeat(3_000_000)}"}`;
    add(other, 10, `${long}{}\n${MESSAGE.repeat(count)}`);
    expect(backlog.take(share, 10)?.chunks[0]?.size).toBe(long.length + 3);
    expect(backlog.take(share, 10)?.chunks[0]?.size).toBeLessThanOrEqual(1024);
  });

  test('a message of 3 MB takes what follows along if there are no delimiters', () => {
    const { backlog, other, add } = createBacklog();
    const text = `{"a":"${'x'.repeat(3_000_000)}"}{}`;
    add(other, 10, text);
    expect(backlog.take(share, 10)?.chunks[0]?.size).toBe(text.length);
  });

  test('before them, a chunk is taken whole', () => {
    const { backlog, other, add } = createBacklog();
    const text = '{},'.repeat(20_000);
    add(other, 10, text);
    expect(backlog.take(1, 10)?.chunks[0]?.size).toBe(text.length);
  });
});

test('counts the bytes of all that waits, and gives everything of a connection back', () => {
  const { backlog, slow, other, add } = createBacklog();
  add(slow, 10);
  add(other, 10);
  add(slow, 6000);
  expect(backlog.bytes).toBe(3 * MESSAGE.length);
  expect(backlog.takeAllOf(slow)).toHaveLength(2);
  expect(backlog.bytes).toBe(MESSAGE.length);
  expect(backlog.takeSmall(MESSAGE.length - 1)).toBeUndefined();
  expect(backlog.takeSmall(MESSAGE.length)).toHaveLength(1);
  expect(backlog.isEmpty).toBe(true);
  expect(backlog.takeSmall(MESSAGE.length)).toBeUndefined();
});
