import { expect, test } from 'vitest';
import { Backoff } from '#src/backoff.js';

const options = { initialDelay: 100, maxDelay: 1000 };

test('the limit doubles up to the longest delay', () => {
  const backoff = new Backoff(options);
  expect([1, 2, 3, 4, 5, 6].map(() => backoff.next())).toEqual([100, 200, 400, 800, 1000, 1000]);
});

test('full jitter: any delay from 0 to the limit', () => {
  const values = [0, 0.25, 0.5];
  const backoff = new Backoff(options, () => values.shift() ?? 0);
  expect([1, 2, 3].map(() => backoff.next())).toEqual([0, 50, 200]);
  const random = new Backoff(options, Math.random);
  for (let attempt = 0; attempt < 2000; attempt++) {
    const delay = random.next();
    expect(delay >= 0 && delay < 1000).toBe(true);
  }
});

test('a good connection starts it over', () => {
  const backoff = new Backoff(options);
  backoff.next();
  backoff.next();
  backoff.reset();
  expect(backoff.next()).toBe(100);
});
