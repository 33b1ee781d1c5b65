import { SlabPool } from 'sluice';
import { describe, expect, test } from 'vitest';

const KiB = 1024;
const MiB = 1024 * KiB;

/** Gives up memory that is free. */
function trim(pool: SlabPool): void {
  // What was in use before the first call is free between the two.
  for (let calls = 0; calls < 2; calls++) pool.trim();
}

describe('SlabPool', () => {
  test('gives the smallest size that has room', () => {
    const pool = new SlabPool(512 * KiB);
    expect([1, 8 * KiB, 8 * KiB + 1, 64 * KiB + 1, 2 * MiB].map((bytes) => pool.sizeFor(bytes))).toEqual([
      8 * KiB,
      8 * KiB,
      64 * KiB,
      512 * KiB,
      512 * KiB,
    ]);
    expect(pool.acquire(2 * MiB).size).toBe(2 * MiB);
  });

  test('offers a smaller size while very many of one are in use', () => {
    const pool = new SlabPool(512 * KiB);
    const slabs = Array.from({ length: 256 }, () => pool.acquire(512 * KiB));
    expect(pool.sizeFor(512 * KiB)).toBe(64 * KiB);
    slabs[0]?.close();
    expect(pool.sizeFor(512 * KiB)).toBe(512 * KiB);
  });

  test('uses the memory of large slabs again, for content of similar size', () => {
    const pool = new SlabPool(512 * KiB);
    for (let bytes = 513; bytes <= 1024; bytes++) {
      const slab = pool.acquire(bytes * KiB);
      expect(slab.size).toBeGreaterThanOrEqual(bytes * KiB);
      slab.close();
    }
    expect(pool.allocatedBytes).toBe(1 * MiB);
    // Not for much smaller content, and not while it is in use.
    const held = pool.acquire(8 * MiB);
    // Compared here: the matcher would print megabytes.
    const others = [pool.acquire(2 * MiB), pool.acquire(8 * MiB)];
    expect(others.map(({ arena }) => arena === held.arena)).toEqual([false, false]);
    expect(pool.allocatedBytes).toBe(19 * MiB);
  });

  test('keeps the latest free large slabs: 32 MiB, or 1.5 times the largest one; none when it is trimmed', () => {
    const pool = new SlabPool(512 * KiB);
    const freeAll = (...sizes: number[]): number => {
      const slabs = sizes.map((size) => pool.acquire(size * MiB));
      for (const slab of slabs) slab.close();
      return pool.allocatedBytes / MiB;
    };
    expect(freeAll(16, 12, 12)).toBe(24);
    expect(freeAll(64)).toBe(88);
    expect(freeAll(64)).toBe(88);
    expect(freeAll(30)).toBe(94);
    trim(pool);
    expect(pool.allocatedBytes).toBe(0);
  });

  test('gives free memory up when it is trimmed, and what is in use when it is free', () => {
    const pool = new SlabPool(512 * KiB);
    const slabs = Array.from({ length: 5 }, () => pool.acquire(512 * KiB));
    expect(pool.allocatedBytes).toBe(3 * MiB);
    for (const slab of slabs.slice(1)) slab.close();
    trim(pool);
    // The first arena has a slab in use, the last one had room for one more.
    expect(pool.allocatedBytes).toBe(1 * MiB);
    slabs[0]?.close();
    trim(pool);
    expect(pool.allocatedBytes).toBe(0);
    expect(pool.acquire(512 * KiB).size).toBe(512 * KiB);
    expect(pool.allocatedBytes).toBe(1 * MiB);
  });

  test('what is used again and again stays, however often it is trimmed', () => {
    const pool = new SlabPool(512 * KiB);
    const peak = Array.from({ length: 64 }, () => pool.acquire(512 * KiB));
    for (const slab of peak) slab.close();
    const sizes = [8 * KiB, 64 * KiB, 512 * KiB, 4 * MiB];
    const arenas = new Set<unknown>();
    for (let round = 0; round < 20; round++) {
      const slabs = sizes.map((size) => pool.acquire(size));
      for (const slab of slabs) arenas.add(slab.arena);
      for (const slab of slabs) slab.close();
      pool.trim();
    }
    expect(arenas.size).toBe(sizes.length);
    // Of the peak, nothing is left.
    expect(pool.allocatedBytes).toBe(7 * MiB);
  });

  test('an arena that is all given up counts once, however much of it was carved', () => {
    for (let slabs = 1; slabs <= 130; slabs++) {
      const pool = new SlabPool(512 * KiB);
      const taken = Array.from({ length: slabs }, () => pool.acquire(8 * KiB));
      for (const slab of taken) slab.close();
      trim(pool);
      expect(pool.allocatedBytes).toBe(0);
    }
  });
});
