import { describe, expect, test } from 'vitest';
import { JobTable } from '#src/routing/job-table.js';

describe('JobTable', () => {
  test('is a map of the jobs that were set last, also while others are removed', () => {
    const capacity = 50;
    const table = new JobTable(capacity);
    /** Entries by key, the oldest first. */
    const model = new Map<number, number>();
    const differences: unknown[] = [];
    const compare = (step: number, name: string, actual: unknown, expected: unknown) => {
      if (actual !== expected) differences.push({ step, name, actual, expected });
    };
    let random = 1;
    for (let step = 0; step < 50_000; step++) {
      random = (random * 48271) % 0x7fffffff;
      // Few lower halves, so that many keys share a slot.
      const key = random % (capacity * 2);
      const [low, high] = [key % 7, key];
      if (random % 5 === 0) {
        const entry = table.find(low, high);
        compare(step, 'found', entry, model.get(key) ?? -1);
        if (entry !== -1) table.remove(entry);
        model.delete(key);
      } else {
        const entry = table.set(low, high);
        compare(step, 'isNew', table.isNew, !model.has(key));
        if (!table.isNew) compare(step, 'set', entry, model.get(key));
        model.delete(key);
        if (model.size === capacity) model.delete(model.keys().next().value ?? -1);
        model.set(key, entry);
      }
      compare(step, 'size', table.size, model.size);
      compare(step, 'oldest', table.oldest, model.values().next().value ?? -1);
    }
    expect(differences).toEqual([]);
    const entries: number[] = [];
    for (let entry = table.oldest; entry !== -1; entry = table.newer(entry)) entries.push(entry);
    expect(entries).toEqual([...model.values()]);
    expect(new Set(entries).size).toBe(model.size);
    for (const [key, entry] of model) expect(table.find(key % 7, key)).toBe(entry);
  });

  test('can be emptied and used again', () => {
    const table = new JobTable(2);
    for (let round = 0; round < 3; round++) {
      for (const high of [1, 3]) table.set(5, high);
      while (table.oldest !== -1) table.remove(table.oldest);
      expect([table.size, table.find(5, 1), table.find(5, 3)]).toEqual([0, -1, -1]);
    }
  });
});
