import fc from 'fast-check';
import { MessageRegistry } from 'sluice';
import { expect, test } from 'vitest';
import * as z from 'zod';
import { ANY_NUMBER, intersect } from '#src/pattern/zod-introspection.js';
import { createPatterns, matchFirst, onlyTypes } from '../../support/patterns.js';

type Taker = (json: string) => boolean;

/**
 * Says of each schema whether a pattern takes `{"type":"t0","a":…}` with this JSON, given as latin1, for a value of the
 * schema, without the schema checking any value.
 */
function takers(schemas: readonly z.ZodType[]): Taker[] {
  const types = schemas.map(
    (a, index) => [`t${index}`, z.object({ type: z.literal(`t${index}`), a })] as const,
  );
  const registry = new MessageRegistry({ schemas: Object.fromEntries(types) });
  const names = types.map(([name]) => name);
  const patterns = createPatterns(onlyTypes(registry, names), { maxLearnedLayouts: 0 });
  return types.map(([name]) => (json) => {
    const text = `{"type":"${name}","a":${json}}`;
    return matchFirst(patterns, text, null)?.end === text.length;
  });
}

/** As `takers`, of one. */
const taker = (schema: z.ZodType): Taker => takers([schema])[0] as Taker;

const bound = fc.oneof(
  fc.integer({ min: -2000, max: 2000 }),
  fc.integer({ min: -200_000, max: 200_000 }).map((value) => value / 100),
  fc.constantFrom(0, 1e9, 2 ** 31 - 1, 999_999_999_999_999),
);
const digits = fc
  .tuple(
    fc.constantFrom('', '-'),
    fc.oneof(fc.nat(2100).map(String), fc.nat().map(String), fc.constant('999999999')),
    fc.constantFrom('', '.0', '.5', '.05', '.00001', '.99999', '.49999', '.25'),
  )
  .map((parts) => parts.join(''));
const boundsAndTexts = fc.tuple(
  bound,
  bound,
  fc.boolean(),
  fc.boolean(),
  fc.boolean(),
  fc.array(digits, { minLength: 40, maxLength: 40 }),
);

test('takes the numbers that a schema with bounds takes, and no other', () => {
  let taken = 0;
  fc.assert(
    fc.property(fc.array(boundsAndTexts, { minLength: 20, maxLength: 20 }), (cases) => {
      const schemas = cases.map(([a, b, isInteger, minExcluded, maxExcluded]) => {
        const [min, max] = [Math.min(a, b), Math.max(a, b)];
        const lower = isInteger ? z.int() : z.number();
        const upper = minExcluded ? lower.gt(min) : lower.min(min);
        return { min, max, schema: maxExcluded ? upper.lt(max) : upper.max(max) };
      });
      const all = takers(schemas.map(({ schema }) => schema));
      for (const [index, { min, max, schema }] of schemas.entries()) {
        const near = [min, max].flatMap((edge) => [edge - 1, edge, edge + 1, edge - 0.5, edge + 0.5]);
        for (const text of [...(cases[index]?.[5] ?? []), ...near.map(String)]) {
          const isTaken = all[index]?.(text);
          if (isTaken) taken++;
          // With more digits than 15, a number takes the slow path.
          const isValid = schema.safeParse(Number(text)).success && text.replace(/\D/g, '').length <= 15;
          if (isTaken !== isValid)
            expect({ text, min, max, isTaken }).toEqual({ text, min, max, isTaken: isValid });
        }
      }
    }),
    { numRuns: 5, seed: 3 },
  );
  expect(taken).toBeGreaterThan(500);
});

test.each([
  '0.123456789012345',
  '999999999999999',
  '-123456789.123456',
  '0.1',
  '0.000000000000001',
  '5e-324',
])('reads %s as JSON.parse reads it', (text) => {
  const value = Number(text);
  const isPlain = /^-?[\d.]+$/.test(text);
  for (const schema of [z.number().min(value), z.number().max(value)]) {
    expect(taker(schema)(text)).toBe(isPlain && text.replace(/\D/g, '').length <= 15);
  }
  expect(taker(z.number().gt(value))(text)).toBe(false);
  expect(taker(z.number().lt(value))(text)).toBe(false);
});

test('takes every day that there is, and no other', () => {
  const takesDate = taker(z.iso.date());
  const takesTime = taker(z.iso.datetime());
  const day = z.iso.date();
  const wrong: string[] = [];
  const check = (text: string) => {
    const isDay = day.safeParse(text).success;
    if (takesDate(`"${text}"`) !== isDay) wrong.push(text);
    if (takesTime(`"${text}T12:00:00Z"`) !== isDay) wrong.push(`${text}T12:00:00Z`);
  };
  for (let month = 0; month <= 13; month++) {
    for (let day = 0; day <= 32; day++) {
      for (const year of [2023, 2024]) {
        check(`${year}-${String(month).padStart(2, '0')}-${String(day).padStart(2, '0')}`);
      }
    }
  }
  for (let year = 0; year <= 9999; year += year % 100 === 0 ? 1 : 3) {
    check(`${String(year).padStart(4, '0')}-02-29`);
  }
  expect(wrong).toEqual([]);
});

test('takes every time of the day, and no other', () => {
  const schema = z.iso.datetime({ offset: true });
  const takes = taker(schema);
  const wrong: string[] = [];
  for (let number = 0; number < 100; number++) {
    const two = String(number).padStart(2, '0');
    for (const time of [
      `${two}:00:00Z`,
      `00:${two}:00Z`,
      `00:00:${two}Z`,
      `00:00:00+${two}:00`,
      `00:00:00-00:${two}`,
    ]) {
      const text = `2026-01-01T${time}`;
      if (takes(`"${text}"`) !== schema.safeParse(text).success) wrong.push(text);
    }
  }
  expect(wrong).toEqual([]);
  for (const fraction of [
    '.1',
    '.123456789',
    `.${'1'.repeat(15)}`,
    `.${'1'.repeat(16)}`,
    `.${'1'.repeat(40)}`,
  ]) {
    expect(takes(`"2026-01-01T00:00:00${fraction}Z"`)).toBe(true);
  }
  for (const bad of ['.Z', '.1', '', 'z', '.1+1:00', '+00', '+0:000']) {
    expect(takes(`"2026-01-01T00:00:00${bad}"`)).toBe(false);
  }
});

test('finds what is odd in a string, wherever it stands', () => {
  const takesAny = taker(z.string());
  const takesShort = taker(z.string().max(1000));
  const takesKey = taker(z.record(z.string(), z.number()));
  const wrong: string[] = [];
  const check = (takes: Taker, json: string, isGood: boolean) => {
    if (takes(json) !== isGood) wrong.push(json);
  };
  for (let length = 1; length < 50; length++) {
    for (let at = 0; at < length; at++) {
      const withOdd = (odd: string) => `"${'x'.repeat(at)}${odd}${'x'.repeat(length - at - 1)}"`;
      for (const good of ['\\n', '\\"', '\\\\', '\\/', '\\u00e9', '\u007f', '\xc3\xa9']) {
        check(takesAny, withOdd(good), true);
      }
      for (const bad of ['\n', '\0', '\u001f', '"', '\\x', '\\u00g0', '\\U0000']) {
        check(takesAny, withOdd(bad), false);
        check(takesShort, withOdd(bad), false);
        check(takesKey, `{${withOdd(bad)}:1}`, false);
      }
      check(takesShort, withOdd('\xc3\xa9'), false);
      check(takesKey, `{${withOdd('\xc3\xa9')}:1}`, true);
    }
  }
  expect(wrong).toEqual([]);
});

test('a text that ends in the middle is never taken', () => {
  const whole = '{"type":"t","a":{"b":["x\\n",1.5,true,null],"c":{"d":-1}}}';
  const schema = z.object({
    b: z.array(z.union([z.string(), z.number(), z.boolean(), z.null()])),
    c: z.record(z.string(), z.number()),
  });
  const registry = new MessageRegistry({ schemas: { t: z.object({ type: z.literal('t'), a: schema }) } });
  const patterns = createPatterns(onlyTypes(registry, ['t']));
  expect(matchFirst(patterns, whole)).toBeDefined();
  // What was loaded before lies behind it, were it not for the zeros.
  for (let end = whole.length - 1; end >= 0; end--) {
    expect(matchFirst(patterns, whole)).toBeDefined();
    expect(matchFirst(patterns, whole.slice(0, end))).toBeUndefined();
  }
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
