import { SlabPool } from 'sluice';
import { expect, test } from 'vitest';
import { Chunk, Lane } from '#src/dispatch/lane.js';

const SIZE = 10;

/** A lane with two chunks that have failed, and so can be settled. */
function createLane(settle: (name: string, until: number) => boolean) {
  const events: string[] = [];
  const pool = new SlabPool(1024);
  const names = new Map<Chunk, string>();
  const lane = new Lane(
    (chunk, until) => {
      const name = names.get(chunk) ?? '';
      events.push(`${name} ${lane.pendingBytes}`);
      return settle(name, until);
    },
    (error) => events.push(String(error)),
  );
  for (const name of ['first', 'second']) {
    const slab = pool.acquire(SIZE);
    const chunk = new Chunk(lane, { slab, start: slab.base, end: slab.base + SIZE }, 0);
    slab.close();
    names.set(chunk, name);
    chunk.failed = true;
    lane.push(chunk);
    lane.pendingBytes += SIZE;
  }
  return { lane, events, pool };
}

test('what is interrupted goes on where it was, before everything that came later', () => {
  let parts = 2;
  const { lane, events, pool } = createLane((name) => name === 'second' || --parts === 0);
  const held = pool.heldBytes;
  expect(lane.advance(Number.MAX_VALUE)).toBe(false);
  expect(lane.pendingBytes).toBe(2 * SIZE);
  expect(pool.heldBytes).toBe(held);
  lane.after(() => events.push('after'));
  lane.abandon();
  expect(events).toEqual(['first 10']);
  expect(lane.advance(Number.MAX_VALUE)).toBe(true);
  expect(events).toEqual(['first 10', 'first 10', 'second 0', 'after']);
  expect(pool.heldBytes).toBe(0);
});

test('the time is looked at between chunks, too; a lane that waits for its turn only queues', () => {
  const { lane, events } = createLane(() => true);
  lane.interrupt();
  lane.after(() => events.push('after'));
  expect(events).toEqual([]);
  expect(lane.advance(0)).toBe(false);
  expect(events).toEqual(['first 10']);
  expect(lane.advance(0)).toBe(false);
  expect(lane.advance(0)).toBe(true);
  expect(events).toEqual(['first 10', 'second 0', 'after']);
});

test('an error ends its chunk alone', () => {
  const { lane, events } = createLane((name) => {
    if (name === 'first') throw new Error('unexpected');
    return true;
  });
  expect(lane.advance()).toBe(true);
  expect(events).toEqual(['first 10', 'Error: unexpected', 'second 0']);
  expect(lane.pendingBytes).toBe(0);
});
