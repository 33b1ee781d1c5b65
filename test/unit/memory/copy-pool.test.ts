import { expect, test } from 'vitest';
import { CopyPool } from '#src/memory/copy-pool.js';
import { startBroker } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';

const KiB = 1024;

test('a large copy lies in a slab, which is used again when nobody holds it', () => {
  const copies = new CopyPool(1024 * KiB);
  const first = copies.take(50 * KiB);
  expect(first.bytes).toHaveLength(50 * KiB);
  expect(copies.take(50 * KiB).slab).not.toBe(first.slab);
  copies.endTurn();
  expect(copies.slabs.heldBytes).toBe(0);
  const again = [copies.take(50 * KiB).slab, copies.take(50 * KiB).slab];
  expect(again).toContain(first.slab);
});

test('it stays while somebody holds it', () => {
  const copies = new CopyPool(1024 * KiB);
  const { slab } = copies.take(600 * KiB);
  slab?.hold();
  copies.endTurn();
  expect(copies.slabs.heldBytes).toBe(slab?.size);
  // Compared here: the matcher would print both megabytes.
  expect(copies.take(600 * KiB).slab === slab).toBe(false);
  slab?.release();
  copies.endTurn();
  expect(copies.slabs.heldBytes).toBe(0);
});

test('a small copy has a buffer of its own, and one that is too long memory of its own', () => {
  const copies = new CopyPool(1024 * KiB);
  expect(copies.take(10 * KiB)).toMatchObject({ slab: undefined });
  expect(copies.take(3000 * KiB).slab?.size).toBe(3 * 1024 * KiB);
  copies.endTurn();
  // What was in use before the first call is free between the two.
  copies.slabs.trim();
  copies.slabs.trim();
  expect(copies.slabs.allocatedBytes).toBe(0);
});

test('what subscribers get of undelimited messages is theirs until it is written, and then nothing is held', async () => {
  const { manager, connect } = await startBroker();
  const [one, other] = [await (await connect()).subscribe(), await (await connect()).subscribe()];
  const crawler = await connect();
  const messages = Array.from({ length: 20_000 }, (_, index) =>
    line({ ...VALID.job_progress, jobId: `job-${index}` }).trimEnd(),
  );
  crawler.write(messages.join(''));
  for (const subscriber of [one, other]) {
    // The first line says that it is subscribed.
    await subscriber.count(messages.length + 1);
    expect(subscriber.lines.slice(1)).toEqual(messages);
  }
  await expect.poll(() => manager.getMetrics().memory.heldBytes).toBe(0);
});
