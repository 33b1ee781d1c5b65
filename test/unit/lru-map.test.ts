import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LruMap } from '#src/lru-map.js';
import { shortestTime } from '../support/timing.js';

describe('LruMap', () => {
  test('forgets the least recently set key first', () => {
    const map = new LruMap<string, number>(2);
    map.set('a', 1);
    map.set('b', 2);
    map.set('a', 3);
    map.set('c', 4);
    expect(['a', 'b', 'c'].map((key) => map.get(key))).toEqual([3, undefined, 4]);
    expect(map.values()).toEqual([3, 4]);
  });

  test('does what a Map does that is kept in order by hand', () => {
    const key = fc.integer({ min: 0, max: 6 });
    const step = fc.tuple(fc.constantFrom('set', 'replace', 'delete', 'get'), key, fc.integer());
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.array(step, { maxLength: 60 }), (capacity, steps) => {
        const map = new LruMap<number, number>(capacity);
        const model = new Map<number, number>();
        for (const [action, name, value] of steps) {
          if (action === 'set') {
            map.set(name, value);
            model.delete(name);
            model.set(name, value);
            const oldest = [...model.keys()][0];
            if (model.size > capacity && oldest !== undefined) model.delete(oldest);
          } else if (action === 'replace') {
            map.replace(name, value);
            if (model.has(name)) model.set(name, value);
          } else if (action === 'delete') expect(map.delete(name)).toBe(model.delete(name));
          else expect(map.get(name)).toBe(model.get(name));
          expect(map.values()).toEqual([...model.values()]);
          expect(map.size).toBe(model.size);
        }
      }),
    );
  });

  test('keeps a bounded weight, and the newest entry whatever it weighs', () => {
    const map = new LruMap<string, number>(10, 100);
    map.set('a', 1, 60);
    map.set('b', 2, 30);
    map.set('c', 3, 10);
    expect(map.values()).toEqual([1, 2, 3]);
    map.set('b', 4, 31);
    expect(map.values()).toEqual([3, 4]);
    map.set('d', 5, 500);
    expect(map.values()).toEqual([5]);
    map.set('e', 6, 100);
    map.delete('e');
    map.set('f', 7, 100);
    expect(map.values()).toEqual([7]);
  });

  test('weighs an entry that takes the place of another by itself', () => {
    const map = new LruMap<string, number>(2, 100);
    for (let round = 0; round < 10; round++) map.set(`key-${round}`, round, 50);
    expect(map.values()).toEqual([8, 9]);
  });

  test('a new key costs the same before the capacity is reached and long after it', () => {
    const capacity = 20_000;
    const map = new LruMap<string, number>(capacity);
    let next = 0;
    const addKeys = () => {
      for (let count = 0; count < capacity / 5; count++) map.set(`key-${next++}`, next);
    };
    // Five rounds of a fifth: just full afterwards.
    const filling = shortestTime(addKeys);
    while (next < 10 * capacity) addKeys();
    const full = shortestTime(addKeys);
    expect(map.size).toBe(capacity);
    expect(full).toBeLessThan(5 * filling + 1);
  });
});
