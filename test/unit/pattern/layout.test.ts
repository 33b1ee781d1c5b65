import { expect, test } from 'vitest';
import * as z from 'zod';
import { extraKeysOf, layoutOf } from '#src/pattern/layout.js';
import { timeRatio } from '../../support/timing.js';

test('objects with very many keys are not compared with each other', () => {
  const schema = z.object({ list: z.array(z.looseObject({})) });
  const keys = (prefix: string) =>
    Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`${prefix}${index}`, 1]));
  const text = JSON.stringify({ list: [keys('a'), keys('b'), keys('c')] });
  const message: unknown = JSON.parse(text);
  expect(layoutOf(schema, message as object, text)).toBeUndefined();
  expect([...extraKeysOf(schema, message)].slice(0, 2)).toEqual(['list[].a0', 'list[].a1']);
  // Comparing them takes 100 times as long as parsing.
  expect(
    timeRatio(
      () => extraKeysOf(schema, message),
      () => JSON.parse(text),
      5,
    ),
  ).toBeLessThan(5);
});
