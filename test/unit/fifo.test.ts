import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Fifo } from '#src/fifo.js';
import { shortestTime } from '../support/timing.js';

function fifoOf(count: number): Fifo<number> {
  const fifo = new Fifo<number>();
  for (let item = 0; item < count; item++) fifo.push(item);
  return fifo;
}

describe('Fifo', () => {
  test('returns items in the order in which they were pushed', () => {
    const fifo = fifoOf(3);
    expect([fifo.peek(), fifo.peekLast(), fifo.at(1), fifo.at(3)]).toEqual([0, 2, 1, undefined]);
    expect([fifo.shift(), fifo.shift(), fifo.shift(), fifo.shift()]).toEqual([0, 1, 2, undefined]);
    expect([fifo.peek(), fifo.peekLast(), fifo.length]).toEqual([undefined, undefined, 0]);
  });

  test('takes back more items than a call has room for arguments', () => {
    const fifo = fifoOf(1);
    fifo.unshift(Array.from({ length: 200_000 }, () => 1));
    expect([fifo.length, fifo.peek(), fifo.peekLast()]).toEqual([200_001, 1, 0]);
  });

  test('behaves like an array', () => {
    const step = fc.record({
      action: fc.constantFrom(
        'push',
        'push',
        'replaceLast',
        'replace',
        'shift',
        'unshift',
        'extract',
        'clear',
      ),
      count: fc.integer({ min: 0, max: 80 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const fifo = new Fifo<number>();
        let model: number[] = [];
        let next = 0;
        for (const { action, count } of steps) {
          const items = Array.from({ length: count }, () => next++);
          if (action === 'push') {
            for (const item of items) fifo.push(item);
            model.push(...items);
          } else if (action === 'replaceLast') {
            if (model.length === 0) continue;
            fifo.replaceLast(next);
            model[model.length - 1] = next++;
          } else if (action === 'replace') {
            const index = count % Math.max(1, model.length);
            const item = model[index];
            if (item === undefined) continue;
            fifo.replace(item, items);
            model.splice(index, 1, ...items);
          } else if (action === 'shift') {
            for (const _ of items) expect(fifo.shift()).toBe(model.shift());
          } else if (action === 'unshift') {
            fifo.unshift(items);
            model.unshift(...items);
          } else if (action === 'extract') {
            const matches = (item: number) => item % 3 === count % 3;
            expect(fifo.extract(matches)).toEqual(model.filter(matches));
            model = model.filter((item) => !matches(item));
          } else {
            fifo.clear();
            model = [];
          }
          expect([...fifo]).toEqual(model);
          expect([fifo.length, fifo.peek(), fifo.peekLast()]).toEqual([model.length, model[0], model.at(-1)]);
          expect(model.every((item, index) => fifo.at(index) === item)).toBe(true);
        }
      }),
    );
  });

  test('does not slow down with its length', () => {
    const timeWith = (length: number): number => {
      const fifo = fifoOf(length);
      return shortestTime(() => {
        for (let step = 0; step < 5000; step++) {
          fifo.push(step);
          fifo.shift();
          fifo.unshift([step, step]);
          fifo.shift();
          fifo.shift();
        }
      });
    };
    timeWith(100);
    expect(timeWith(100_000)).toBeLessThan(20 * timeWith(100) + 5);
  });
});
