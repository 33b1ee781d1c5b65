import { Writable } from 'node:stream';
import { type Slab, SlabPool } from 'sluice';
import { describe, expect, test } from 'vitest';
import { ENTRY_OVERHEAD, Outbox, type Piece, type QueueMemory } from '#src/delivery/outbox.js';
import type { OverflowPolicy } from '#src/messages/messages.js';
import { shortestTime } from '../../support/timing.js';

/** A socket whose writes finish when the test says so. */
class SlowSocket extends Writable {
  readonly written: string[] = [];
  writes = 0;
  #finish: (() => void)[] = [];

  constructor() {
    super({ highWaterMark: 1 << 30 });
  }

  override _write(bytes: Buffer, _encoding: string, done: () => void): void {
    this.#take([bytes], done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.#take(
      chunks.map(({ chunk }) => chunk),
      done,
    );
  }

  #take(chunks: Buffer[], done: () => void): void {
    this.writes++;
    this.written.push(...chunks.map(String));
    this.#finish.push(done);
  }

  /** Finishes the present write, and lets the stream's callbacks run. */
  async finish(): Promise<void> {
    for (const done of this.#finish.splice(0)) done();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A limit that is reached by this many bytes in so many pieces. */
const limit = (bytes: number, pieces: number): number => bytes + pieces * ENTRY_OVERHEAD;

function createOutbox(policy: OverflowPolicy, maxPendingBytes = limit(100, 2), memory?: QueueMemory) {
  const socket = new SlowSocket();
  const log: string[] = [];
  const events = {
    onSlow: (messages: number) => log.push(`slow ${messages}`),
    onUnread: (isUnread: boolean) => log.push(isUnread ? 'unread' : 'read'),
    onDropped: (messages: number) => log.push(`dropped ${messages}`),
    onBlocked: (isBlocked: boolean) => log.push(isBlocked ? 'blocked' : 'caught up'),
    onWritten: (bytes: number, messages: number) => log.push(`written ${bytes}/${messages}`),
  };
  const outbox = new Outbox(socket, maxPendingBytes, events, memory);
  outbox.policy = policy;
  return { socket, outbox, log };
}

const piece = (text: string, messages = 1): Piece => ({
  bytes: Buffer.from(text),
  slab: undefined,
  messages,
});

/** The first bytes of a slab. */
const pieceOf = (slab: Slab, length: number): Piece => ({
  bytes: slab.arena.bytes.subarray(slab.base, slab.base + length),
  slab,
  messages: 1,
});

describe('writing', () => {
  test('what is queued in one turn goes out in one write', async () => {
    const { socket, outbox, log } = createOutbox('disconnect', 1000);
    outbox.deliver(piece('aa', 2));
    outbox.send(Buffer.from('b'));
    outbox.deliver(piece('ccc', 3));
    outbox.flush(0);
    expect(socket.writes).toBe(1);
    expect(socket.written).toEqual(['aa', 'b', 'ccc']);
    await socket.finish();
    expect(log).toEqual(['written 6/6']);
    expect(outbox.pendingBytes).toBe(0);
  });

  test('what comes during a write goes with the next one', async () => {
    const { socket, outbox } = createOutbox('disconnect');
    outbox.deliver(piece('a'));
    outbox.flush(0);
    outbox.deliver(piece('b'));
    outbox.flush(0);
    expect(socket.written).toEqual(['a']);
    await socket.finish();
    expect(socket.written).toEqual(['a', 'b']);
  });

  test('holds a slab until its bytes are written', async () => {
    const { socket, outbox } = createOutbox('disconnect');
    const pool = new SlabPool(64 * 1024);
    const slab = pool.acquire(1);
    outbox.deliver({ bytes: slab.arena.bytes.subarray(0, 10), slab, messages: 1 });
    slab.close();
    outbox.flush(0);
    expect(pool.heldBytes).toBe(slab.size);
    await socket.finish();
    expect(pool.heldBytes).toBe(0);
  });

  test('reports the duration of a pending write', async () => {
    const { socket, outbox } = createOutbox('disconnect');
    expect(outbox.stalledFor(500)).toBe(0);
    outbox.deliver(piece('a'));
    outbox.flush(100);
    expect(outbox.stalledFor(500)).toBe(400);
    await socket.finish();
    expect(outbox.stalledFor(500)).toBe(0);
  });

  test('drained resolves when all is written', async () => {
    const { socket, outbox } = createOutbox('disconnect');
    await outbox.drained();
    outbox.deliver(piece('a'));
    outbox.flush(0);
    const drained = outbox.drained();
    await socket.finish();
    await drained;
  });

  test('copies what has to wait and is a small share of its slab; what is more of it holds the slab', async () => {
    const pool = new SlabPool(64 * 1024);
    const { socket, outbox } = createOutbox('block', 100_000);
    outbox.deliver(piece('first'));
    outbox.flush(0);
    const [small, large] = [pool.acquire(64 * 1024), pool.acquire(64 * 1024)];
    const length = small.size / 4 - 1;
    small.arena.bytes.fill('s', small.base, small.base + length);
    outbox.deliver(pieceOf(small, length));
    outbox.deliver(pieceOf(large, length + 1));
    for (const slab of [small, large]) slab.close();
    expect(pool.heldBytes).toBe(large.size);
    outbox.flush(0);
    await socket.finish();
    expect(socket.written[1]).toBe('s'.repeat(length));
    await socket.finish();
    expect(pool.heldBytes).toBe(0);
  });

  test('copies nothing that can be written at once', () => {
    const pool = new SlabPool(64 * 1024);
    const { outbox } = createOutbox('block');
    const slab = pool.acquire(1);
    const small = pieceOf(slab, 10);
    outbox.deliver(small);
    expect(small.copy).toBeUndefined();
    expect(pool.heldBytes).toBe(slab.size);
  });

  test('a peer that does not read has few times as much memory as its limit, whatever its messages are cut from', () => {
    const pool = new SlabPool(512 * 1024);
    const memory: QueueMemory = { bytes: 0 };
    const maxPendingBytes = 1024 * 1024;
    const { outbox, log } = createOutbox('disconnect', maxPendingBytes, memory);
    outbox.deliver(piece('first'));
    outbox.flush(0);
    // The sizes of a small message, and of what is too large to be copied for being small alone.
    for (let count = 0; log.length === 0; count++) {
      const slab = pool.acquire(512 * 1024);
      outbox.deliver(pieceOf(slab, [72, 3200, 100_000][count % 3] ?? 0));
      slab.close();
      expect(pool.heldBytes + memory.bytes).toBeLessThan(4 * maxPendingBytes);
    }
    expect(log).toEqual(['slow 1']);
  });

  test('a small buffer that has to wait does not keep the others in its pool from being freed', () => {
    const { socket, outbox } = createOutbox('disconnect', 100_000);
    const others = [1, 2].map(() => createOutbox('disconnect', 100_000));
    const pooled: Piece = { bytes: Buffer.allocUnsafe(100).fill('x'), slab: undefined, messages: 1 };
    expect(pooled.bytes.buffer.byteLength).toBeGreaterThan(1000);
    for (const each of [{ socket, outbox }, ...others]) {
      each.outbox.deliver(piece('first'));
      each.outbox.flush(0);
      each.outbox.deliver(pooled);
    }
    expect(pooled.copy?.bytes.buffer.byteLength).toBe(100);
    // One copy for all of them.
    expect(pooled.copy?.holders).toBe(3);
  });
});

describe('overflow', () => {
  test('disconnect: the peer is given up', () => {
    const { outbox, log } = createOutbox('disconnect');
    outbox.deliver(piece('x'.repeat(99)));
    outbox.deliver(piece('y'));
    expect(log).toEqual([]);
    outbox.deliver(piece('z'));
    expect(log).toEqual(['slow 1']);
    expect(outbox.pendingBytes).toBe(100);
  });

  test('each piece counts as more than its bytes, so that small ones do not fill the memory', () => {
    const memory: QueueMemory = { bytes: 0 };
    const { outbox, log } = createOutbox('drop-newest', 100_000, memory);
    const short = piece('x');
    for (let count = 0; count < 100_000; count++) outbox.deliver(short);
    expect(outbox.pendingBytes).toBe(Math.floor(100_000 / (1 + ENTRY_OVERHEAD)));
    expect(outbox.fill).toBeGreaterThan(0.99);
    expect(memory.bytes).toBeGreaterThan(outbox.pendingBytes * ENTRY_OVERHEAD);
    expect(log).toHaveLength(100_000 - outbox.pendingBytes);
    outbox.close();
    expect([outbox.fill, memory.bytes]).toEqual([0, 0]);
  });

  test('drop-newest: what comes is dropped and counted', () => {
    const { outbox, log } = createOutbox('drop-newest');
    outbox.deliver(piece('x'.repeat(90)));
    outbox.deliver(piece('y'.repeat(20), 7));
    outbox.deliver(piece('z'.repeat(10)));
    expect(log).toEqual(['dropped 7']);
    expect(outbox.pendingBytes).toBe(100);
  });

  test('drop-oldest: what waits longest is dropped and counted, but not the broker’s own words', async () => {
    const { socket, outbox, log } = createOutbox('drop-oldest', limit(100, 4));
    outbox.deliver(piece('w'.repeat(10)));
    outbox.flush(0);
    outbox.send(Buffer.from('reply'));
    outbox.deliver(piece('x'.repeat(40), 4));
    outbox.deliver(piece('y'.repeat(40), 5));
    outbox.deliver(piece('z'.repeat(30), 6));
    expect(log).toEqual(['dropped 4']);
    await socket.finish();
    expect(socket.written.map((text) => text[0])).toEqual(['w', 'r', 'y', 'z']);
  });

  test('drop-oldest: when all is in the socket, the newest goes', () => {
    const { outbox, log } = createOutbox('drop-oldest');
    outbox.deliver(piece('w'.repeat(90)));
    outbox.flush(0);
    outbox.deliver(piece('x'.repeat(20), 3));
    expect(log).toEqual(['dropped 3']);
  });

  test('block: nothing is dropped; the high and the low watermark are reported', async () => {
    const { socket, outbox, log } = createOutbox('block');
    outbox.deliver(piece('x'.repeat(100)));
    outbox.flush(0);
    outbox.deliver(piece('y'.repeat(60)));
    expect(log).toEqual(['blocked']);
    await socket.finish();
    expect(log).toEqual(['blocked', 'written 100/1']);
    await socket.finish();
    expect(log.at(-1)).toBe('caught up');
    expect(socket.written.join('')).toHaveLength(160);
  });

  test('one piece larger than the limit reaches a peer that is not behind, whatever the policy', async () => {
    for (const policy of ['disconnect', 'drop-newest', 'drop-oldest', 'block'] as const) {
      const { socket, outbox, log } = createOutbox(policy);
      outbox.deliver(piece('x'.repeat(500)));
      outbox.flush(0);
      await socket.finish();
      expect(socket.written).toHaveLength(1);
      expect(log.filter((entry) => /slow|dropped/.test(entry))).toEqual([]);
    }
  });

  test('drop-oldest keeps its pace with a long queue', () => {
    const small = piece('x'.repeat(40));
    const time = (length: number) => {
      const { outbox } = createOutbox('drop-oldest', limit(length * small.bytes.length, length));
      const deliver = (count: number) => {
        for (let index = 0; index < count; index++) outbox.deliver(small);
      };
      deliver(length);
      return shortestTime(() => deliver(20_000));
    };
    time(100);
    // A queue a thousand times as long, and not even fifty times the time: its length does not matter.
    expect(time(100_000)).toBeLessThan(50 * time(100));
  });

  test('drop-oldest keeps its pace with many of the broker’s own messages in the queue, and drops none', () => {
    const own = Buffer.from('x');
    const small = piece('x'.repeat(40));
    const time = (count: number) => {
      const { outbox } = createOutbox('drop-oldest', limit(count + 100, count + 2));
      for (let index = 0; index < count; index++) outbox.send(own);
      const taken = shortestTime(() => {
        for (let index = 0; index < 200; index++) outbox.deliver(small);
      });
      expect(outbox.pendingBytes).toBe(count + 80);
      return taken;
    };
    time(100);
    expect(time(200_000)).toBeLessThan(50 * time(100) + 5);
  });

  test('reports when the broker’s own messages are not read, and when they are again', async () => {
    const { socket, outbox, log } = createOutbox('block', 1 << 30);
    outbox.send(Buffer.alloc(200_000));
    outbox.deliver(piece('x'.repeat(200_000)));
    outbox.flush(0);
    expect(log).toEqual([]);
    outbox.send(Buffer.alloc(100_000));
    expect(log).toEqual(['unread']);
    await socket.finish();
    expect(log).toEqual(['unread', 'written 400000/2', 'read']);
  });

  test('a blocked peer has caught up when half of the limit is left, and not before', async () => {
    const { socket, outbox, log } = createOutbox('block', 1000);
    const half = 500 - ENTRY_OVERHEAD;
    outbox.deliver(piece('x'.repeat(half)));
    outbox.flush(0);
    outbox.deliver(piece('y'.repeat(half + 1)));
    await socket.finish();
    expect(log).toEqual(['blocked', `written ${half}/1`]);
    outbox.deliver(piece('z'.repeat(half)));
    await socket.finish();
    expect(log.slice(2)).toEqual([`written ${half + 1}/1`, 'caught up']);
  });

  test('the broker’s own words count as read when half of the limit is left, and not before', async () => {
    const { socket, outbox, log } = createOutbox('block', 1 << 30);
    const half = 128 * 1024 - ENTRY_OVERHEAD;
    outbox.send(Buffer.alloc(half));
    outbox.flush(0);
    outbox.send(Buffer.alloc(half + 1));
    await socket.finish();
    expect(log).toEqual(['unread', `written ${half}/1`]);
    outbox.send(Buffer.alloc(half));
    await socket.finish();
    expect(log.slice(2)).toEqual([`written ${half + 1}/1`, 'read']);
  });

  test('leaving block lets go of it', () => {
    const { outbox, log } = createOutbox('block', limit(100, 1));
    outbox.deliver(piece('x'.repeat(101)));
    outbox.policy = 'drop-newest';
    expect(log).toEqual(['blocked', 'caught up']);
  });
});

describe('closing', () => {
  test('returns the number of lost messages, releases slabs, and fails pending sends', async () => {
    const { outbox, log } = createOutbox('block', limit(200, 2));
    const pool = new SlabPool(64 * 1024);
    const slab = pool.acquire(1);
    outbox.deliver({ bytes: slab.arena.bytes.subarray(0, 200), slab, messages: 3 });
    outbox.flush(0);
    outbox.deliver(piece('x', 2));
    const errors: unknown[] = [];
    outbox.send(Buffer.from('reply'), (error) => errors.push(error));
    const drained = outbox.drained();
    expect(outbox.close()).toBe(5);
    await drained;
    expect(outbox.close()).toBe(0);
    expect(pool.heldBytes).toBe(0);
    expect(outbox.pendingBytes).toBe(0);
    expect(errors).toMatchObject([{ code: 'CONNECTION_CLOSED' }]);
    expect(log.at(-1)).toBe('caught up');
  });

  test('fails all pending sends with the same error', () => {
    const errors: unknown[] = [];
    const { outbox } = createOutbox('block');
    for (let count = 0; count < 10; count++) outbox.send(Buffer.from('x'), (error) => errors.push(error));
    outbox.flush(0);
    for (let count = 0; count < 10; count++) outbox.send(Buffer.from('x'), (error) => errors.push(error));
    outbox.close();
    expect(errors).toHaveLength(20);
    expect(new Set(errors).size).toBe(1);
  });

  test('a write that the socket’s end has cut off is not taken for done', async () => {
    const { socket, outbox, log } = createOutbox('disconnect');
    outbox.deliver(piece('a', 3));
    outbox.flush(0);
    socket.destroy();
    await socket.finish();
    expect(log).toEqual([]);
    expect(outbox.close()).toBe(3);
  });

  test('afterwards, nothing is taken any more', () => {
    const { socket, outbox } = createOutbox('disconnect');
    outbox.close();
    outbox.deliver(piece('x'));
    const errors: unknown[] = [];
    outbox.send(Buffer.from('y'), (error) => errors.push(error));
    outbox.flush(0);
    expect(socket.written).toEqual([]);
    expect(errors).toHaveLength(1);
  });
});
