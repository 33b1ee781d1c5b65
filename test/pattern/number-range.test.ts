import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ANY_NUMBER, intersect, type NumberRange, numberFragment } from '#src/pattern/number-range.js';

function isInside(value: number, { isInteger, min, max, minExcluded, maxExcluded }: NumberRange): boolean {
  if (isInteger && !Number.isInteger(value)) return false;
  return (minExcluded ? value > min : value >= min) && (maxExcluded ? value < max : value <= max);
}

const matcher = (range: NumberRange) => new RegExp(`^(?:${numberFragment(range) ?? '(?!)'})$`);

const bound = fc.oneof(
  fc.integer({ min: -2000, max: 2000 }),
  fc.integer({ min: -200_000, max: 200_000 }).map((value) => value / 100),
  fc.constantFrom(
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    0,
    1e9,
    2 ** 31 - 1,
    Number.MAX_SAFE_INTEGER,
  ),
);
const range = fc
  .tuple(bound, bound, fc.boolean(), fc.boolean(), fc.boolean())
  .map(([a, b, isInteger, minExcluded, maxExcluded]) => ({
    isInteger,
    min: Math.min(a, b),
    max: Math.max(a, b),
    minExcluded,
    maxExcluded,
  }));

test('takes no number outside the range, in whatever spelling', () => {
  const digits = fc
    .tuple(
      fc.constantFrom('', '-'),
      fc.oneof(fc.nat(2100).map(String), fc.nat().map(String), fc.constant('999999999')),
      fc.constantFrom('', '.0', '.5', '.05', '.000000000000001', '.999999999999999', '.49999', '.25'),
    )
    .map((parts) => parts.join(''));
  let taken = 0;
  fc.assert(
    fc.property(range, fc.array(digits, { minLength: 20, maxLength: 20 }), (limits, texts) => {
      const pattern = matcher(limits);
      const near = [limits.min, limits.max].flatMap((edge) => [
        edge - 1,
        edge,
        edge + 1,
        edge - 0.1,
        edge + 0.1,
      ]);
      for (const text of [...texts, ...near.map(String)]) {
        if (!pattern.test(text)) continue;
        taken++;
        expect({ text, ...limits, isInside: isInside(Number(text), limits) }).toEqual({
          text,
          ...limits,
          isInside: true,
        });
      }
    }),
    { numRuns: 5000, seed: 3 },
  );
  expect(taken).toBeGreaterThan(10_000);
});

test('takes every whole number of the range', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: -1200, max: 1200 }),
      fc.nat(1300),
      fc.boolean(),
      fc.boolean(),
      fc.boolean(),
      (min, length, isInteger, minExcluded, maxExcluded) => {
        const limits = { isInteger, min, max: min + length, minExcluded, maxExcluded };
        const pattern = matcher(limits);
        for (let value = min - 2; value <= min + length + 2; value++) {
          if (pattern.test(String(value)) !== isInside(value, limits))
            expect({ value, ...limits }).toBe('right');
        }
      },
    ),
    { numRuns: 300, seed: 4 },
  );
});

test('a range within a range keeps the narrower bounds', () => {
  const positive = intersect(ANY_NUMBER, { min: 0, minExcluded: true });
  expect(intersect(positive, { min: 0 })).toEqual(positive);
  expect(intersect(positive, { isInteger: true, max: 5 })).toEqual({
    isInteger: true,
    min: 0,
    max: 5,
    minExcluded: true,
    maxExcluded: false,
  });
});
