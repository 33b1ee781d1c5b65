import { MessageBuffer, SlabPool } from 'sluice';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { MIN_SLAB_SIZE } from '#src/memory/slab-pool.js';
import { Traffic } from '#src/traffic/traffic.js';
import { ValueScanner } from '#src/wire/framing.js';
import { until } from '../../support/broker.js';

const NEWLINE = 0x0a;

interface Options {
  framing?: 'auto' | 'ndjson';
  maxMessageSize?: number;
  largest?: number;
  /** Whether the ranges stay held, as they are while a worker has them. */
  isHeld?: boolean;
  pool?: SlabPool;
}

function createBuffer({
  framing = 'auto',
  maxMessageSize = 1 << 20,
  largest = 256 * 1024,
  isHeld = false,
  pool = new SlabPool(largest),
}: Options = {}) {
  const ranges: string[] = [];
  let oversize = 0;
  let skipped = 0;
  const buffer = new MessageBuffer(
    pool,
    { framing, maxMessageSize, delimiter: NEWLINE },
    {
      onFrames({ slab, start, end }) {
        if (isHeld) slab.hold();
        ranges.push(slab.arena.bytes.toString('utf8', start, end));
      },
      onOversize() {
        oversize++;
      },
      onSkipped() {
        skipped++;
      },
    },
  );
  return {
    buffer,
    pool,
    ranges,
    received: () => ranges.join(''),
    oversize: () => oversize,
    skipped: () => skipped,
  };
}

describe('framing', () => {
  test.each(['auto', 'ndjson'] as const)(
    'a byte order mark between messages is no partial message, however it arrives (%s)',
    (framing) => {
      const bytes = Buffer.from('\ufeff{"a":1}\n\ufeff \ufeff{"b":2}\n\ufeff');
      for (const size of [1, 2, 3, 100]) {
        const { buffer, ranges, oversize } = createBuffer({ framing, maxMessageSize: 7 });
        for (let at = 0; at < bytes.length; at += size) buffer.write(bytes.subarray(at, at + size));
        expect(ranges.join('').replaceAll(/[\ufeff \n]/g, '')).toBe('{"a":1}{"b":2}');
        expect([buffer.hasPartial, oversize()]).toEqual([false, 0]);
        buffer.write(Buffer.of(0xef, 0xbb));
        expect(buffer.hasPartial).toBe(true);
        buffer.write(Buffer.of(0xbf));
        expect(buffer.hasPartial).toBe(false);
        buffer.close();
      }
    },
  );

  test('does not scan a long partial message again and again while more of it arrives', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const scan = vi.spyOn(ValueScanner.prototype, 'scan');
    onTestFinished(() => scan.mockRestore());
    const { buffer, ranges } = createBuffer();
    buffer.write(Buffer.from('{"a":"'));
    scan.mockClear();
    for (let part = 0; part < 10; part++) {
      buffer.write(Buffer.from('x'.repeat(8000)));
      vi.advanceTimersByTime(4);
    }
    expect(scan).not.toHaveBeenCalled();
    // No more bytes: a message may have ended in them.
    vi.advanceTimersByTime(5);
    expect(scan).toHaveBeenCalled();
    buffer.write(Buffer.from('"}'));
    expect(ranges).toHaveLength(1);
    buffer.close();
  });

  test('emits whole messages and keeps the partial one', () => {
    const { buffer, ranges } = createBuffer();
    buffer.write(Buffer.from('{"a":1}\n{"b":2}\n{"c":'));
    expect(ranges).toEqual(['{"a":1}\n{"b":2}\n']);
    expect(buffer.statistics.pendingBytes).toBe(5);
    buffer.write(Buffer.from('3}'));
    expect(ranges[1]).toBe('{"c":3}');
    expect(buffer.statistics.pendingBytes).toBe(0);
  });

  test('ndjson waits for the newline, or the end', () => {
    const { buffer, ranges } = createBuffer({ framing: 'ndjson' });
    buffer.write(Buffer.from('{"a":1}{"b":2}'));
    expect(ranges).toEqual([]);
    buffer.end();
    expect(ranges).toEqual(['{"a":1}{"b":2}']);
  });

  test.each(['auto', 'ndjson'] as const)('%s gives back every byte, however it is cut', (framing) => {
    const stream = new Traffic({ seed: 1 }).block(20);
    const text = stream.toString();
    const pool = new SlabPool(256 * 1024);
    for (let cut = 0; cut <= stream.length; cut++) {
      const { buffer, received } = createBuffer({ framing, pool });
      buffer.write(stream.subarray(0, cut));
      buffer.write(stream.subarray(cut));
      buffer.close();
      // To expect each of them takes longer than to receive it.
      if (received() !== text) expect({ cut, text: received() }).toEqual({ cut, text });
    }
  });

  test('blanks are no unfinished message; one that follows them is', () => {
    const { buffer, received, pool } = createBuffer();
    const blanks = Buffer.from(' \t\r'.repeat(1000));
    buffer.write(Buffer.from('{"a":1} '));
    expect(buffer.hasPartial).toBe(false);
    for (let index = 0; index < 10; index++) buffer.write(blanks);
    expect(buffer.hasPartial).toBe(false);
    expect(buffer.statistics.pendingBytes).toBe(0);
    buffer.write(Buffer.from('  {"b":'));
    expect(buffer.hasPartial).toBe(true);
    buffer.write(Buffer.from(' '));
    expect(buffer.hasPartial).toBe(true);
    buffer.write(Buffer.from('2}\r\n'));
    expect(buffer.hasPartial).toBe(false);
    expect(received()).toBe('{"a":1}  {"b": 2}\r\n');
    expect(pool.copiedBytes).toBe(0);
  });

  test('finds a deferred message end without further data', async () => {
    const long = `{"long":"${'x'.repeat(5000)}`;
    const { buffer, ranges } = createBuffer();
    buffer.write(Buffer.from(`{"a":1} ${long}`));
    expect(ranges).toEqual([]);
    await until(() => ranges.length > 0);
    expect(ranges).toEqual(['{"a":1}']);
    buffer.write(Buffer.from('"}'));
    expect(ranges[1]).toBe(` ${long}"}`);
    expect(buffer.hasPartial).toBe(false);

    // Nothing more is read: it is seen at once.
    buffer.write(Buffer.from(`{"c":1} ${long}`));
    buffer.scanDeferred();
    expect(ranges[2]).toBe('{"c":1}');
    buffer.write(Buffer.from('"}'));

    // Nor is it looked for where the buffer is closed by then.
    buffer.write(Buffer.from(`{"b":1} ${long}`));
    buffer.close();
    await new Promise((resolve) => setTimeout(resolve, 20));
    buffer.scanDeferred();
    expect(ranges).toHaveLength(4);
  });

  test('reads straight into the slab by writable and commit', () => {
    const { buffer, ranges } = createBuffer();
    const length = buffer.writable().write('{"a":1}\n');
    buffer.commit(length);
    expect(ranges).toEqual(['{"a":1}\n']);
  });
});

describe('slabs', () => {
  test('a partial message moves to the next slab, and nothing else is copied', () => {
    const { buffer, pool, received } = createBuffer({ isHeld: true });
    const stream = new Traffic({ seed: 2 }).block(5000);
    for (let at = 0; at < stream.length; ) {
      const target = buffer.writable();
      const length = Math.min(target.length, 64 * 1024, stream.length - at);
      stream.copy(target, 0, at, at + length);
      buffer.commit(length);
      at += length;
    }
    expect(received()).toBe(stream.toString());
    expect(pool.copiedBytes).toBeGreaterThan(0);
    expect(pool.copiedBytes / stream.length).toBeLessThan(0.02);
  });

  test('an idle connection keeps reusing the smallest slab', () => {
    const { buffer, pool } = createBuffer();
    for (let index = 0; index < 1000; index++) buffer.write(Buffer.from('{"type":"ping"}\n'));
    expect(buffer.statistics.capacity).toBe(MIN_SLAB_SIZE);
    expect(pool.copiedBytes).toBe(0);
    expect(pool.heldBytes).toBe(0);
  });

  test('grows with what is read, and shrinks again', () => {
    const { buffer } = createBuffer({ isHeld: true });
    const message = Buffer.from(`${JSON.stringify({ text: 'x'.repeat(1000) })}\n`);
    const fill = (size: number) => {
      const target = buffer.writable();
      const count = Math.max(1, Math.floor(Math.min(size, target.length) / message.length));
      for (let index = 0; index < count; index++) message.copy(target, index * message.length);
      buffer.commit(Math.min(target.length, count * message.length));
    };
    for (let index = 0; index < 100; index++) buffer.write(Buffer.concat(Array(200).fill(message)));
    expect(buffer.statistics.capacity).toBe(256 * 1024);
    for (let index = 0; index < 2000; index++) fill(message.length);
    expect(buffer.statistics.capacity).toBeLessThan(256 * 1024);
  });

  test('a slab is not used again while somebody holds it', () => {
    const pool = new SlabPool(64 * 1024);
    const slab = pool.acquire(1);
    slab.hold();
    slab.hold();
    slab.close();
    expect(pool.acquire(1)).not.toBe(slab);
    slab.release();
    expect(pool.heldBytes).toBe(slab.size);
    slab.release();
    expect(pool.heldBytes).toBe(0);
    expect(pool.acquire(1)).toBe(slab);
  });

  test('the buffers of 10,000 quiet connections take less than 100 MB of slabs, and give them back', () => {
    const pool = new SlabPool(256 * 1024);
    const options = { framing: 'auto', maxMessageSize: 1 << 20, delimiter: NEWLINE } as const;
    let frames = 0;
    const receiver = { onFrames: () => frames++, onOversize() {} };
    const buffers = Array.from({ length: 10_000 }, () => new MessageBuffer(pool, options, receiver));
    for (let round = 0; round < 3; round++) {
      for (const buffer of buffers) buffer.write(Buffer.from('{"type":"ping"}\n'));
    }
    expect(frames).toBe(30_000);
    expect(pool.allocatedBytes).toBeLessThan(100e6);
    for (const buffer of buffers) buffer.close();
    // What was in use before the first call is free between the two.
    pool.trim();
    pool.trim();
    expect(pool.allocatedBytes).toBe(0);
  });

  test('closing gives the slab back, once', () => {
    const { buffer, pool } = createBuffer();
    buffer.close();
    buffer.end();
    const slab = pool.acquire(1);
    expect(pool.acquire(1)).not.toBe(slab);
  });
});

describe('overflow', () => {
  const giant = `{"a":"${'x'.repeat(5000)}"}`;

  test.each([
    ['with newlines', '\n'],
    ['without', ''],
  ])('a message over the limit is skipped up to its end, %s', (_, delimiter) => {
    const { buffer, received, oversize } = createBuffer({ maxMessageSize: 1000 });
    for (const byte of Buffer.from(`{"b":1}${delimiter}${giant}${delimiter}{"c":2}${delimiter}`)) {
      buffer.write(Buffer.of(byte));
    }
    expect(oversize()).toBe(1);
    expect(received().replaceAll('\n', '')).toBe('{"b":1}{"c":2}');
    expect(buffer.statistics).toMatchObject({ oversize: 1, skippedBytes: giant.length });
  });

  test('a message that is skipped is unfinished until its end has come', () => {
    const { buffer, skipped } = createBuffer({ maxMessageSize: 1000 });
    buffer.write(Buffer.from(giant.slice(0, 3000)));
    buffer.write(Buffer.from('x'));
    expect([buffer.hasPartial, skipped()]).toEqual([true, 0]);
    buffer.write(Buffer.from('"}'));
    expect([buffer.hasPartial, skipped()]).toEqual([false, 1]);
  });

  test('nothing of it is kept', () => {
    const { buffer, pool } = createBuffer({ maxMessageSize: 100_000 });
    const piece = Buffer.alloc(64 * 1024, 'x');
    buffer.write(Buffer.from('{"a":"'));
    for (let index = 0; index < 1000; index++) buffer.write(piece);
    expect(buffer.statistics.pendingBytes).toBe(0);
    expect(pool.allocatedBytes).toBeLessThan(4e6);
  });

  test('messages that are too long together only are none: their ends are looked for first', () => {
    const { buffer, received, oversize } = createBuffer({ maxMessageSize: 6000 });
    const long = `{"long":"${'x'.repeat(5000)}`;
    buffer.write(Buffer.from(`${long}"} ${long}`));
    expect(received()).toBe(`${long}"}`);
    expect(oversize()).toBe(0);
    buffer.write(Buffer.from('x'.repeat(1000)));
    expect(oversize()).toBe(1);
  });

  test('a message of exactly the limit passes, with a carriage return too', () => {
    const { buffer, oversize, received } = createBuffer({ maxMessageSize: giant.length });
    for (const byte of Buffer.from(`${giant}\r\n`)) buffer.write(Buffer.of(byte));
    expect(oversize()).toBe(0);
    expect(received()).toContain(giant);
  });

  test('a message larger than the largest slab is put together', () => {
    const { buffer, received } = createBuffer({ largest: 16 * 1024 });
    const large = `{"a":"${'y'.repeat(300_000)}"}\n`;
    buffer.write(Buffer.from(large));
    expect(received()).toBe(large);
    buffer.write(Buffer.from('{}\n'.repeat(20_000)));
    expect(buffer.statistics.capacity).toBeLessThanOrEqual(16 * 1024);
  });
});
