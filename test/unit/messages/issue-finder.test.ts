import * as fc from 'fast-check';
import { MessageRegistry, MessageValidator } from 'sluice';
import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { findIssues, hasIssue } from '#src/messages/issue-finder.js';
import { MAX_ISSUE_BYTES } from '#src/messages/issues.js';
import { shortestTime } from '../../support/timing.js';

const LIMIT = 8;

const point = z.looseObject({
  x: z.number(),
  y: z.number().optional(),
  tags: z.array(z.string()).optional(),
});
const tree: z.ZodType = z.lazy(() => z.looseObject({ name: z.string(), children: z.array(tree).optional() }));
const shape = z.discriminatedUnion('kind', [
  z.looseObject({ kind: z.literal('circle'), radius: z.number() }),
  z.strictObject({ kind: z.literal('square'), side: z.number().min(1) }),
]);
const schema = z.strictObject({
  points: z.array(point),
  counts: z.record(z.string(), z.number()),
  coded: z.record(z.string().regex(/^[a-z]+$/), z.string().nullable()).optional(),
  pair: z.tuple([z.string(), z.number()], z.boolean()).optional(),
  shapes: z.array(shape).default([]),
  tree: tree.optional(),
  either: z.union([z.string(), z.array(z.number()), point]).optional(),
  rest: z.object({ a: z.string() }).catchall(z.number()).readonly().optional(),
  refined: z
    .array(point.refine(({ x, y }) => x !== y))
    .refine((list) => list.length !== 2)
    .optional(),
  listed: z.record(z.literal([1, 2]), z.number()).optional(),
  prepared: z.preprocess((value) => (value === null ? [] : value), z.array(point)).optional(),
  both: z.intersection(z.strictObject({ x: z.number() }), z.strictObject({ y: z.number() })).optional(),
  mixed: z.union([z.string(), z.array(z.tuple([z.string()])), z.looseObject({ a: z.date() })]).optional(),
});

const leaf = fc.oneof(fc.string({ maxLength: 3 }), fc.integer(), fc.boolean(), fc.constant(null));
const name = fc.constantFrom(
  'x',
  'y',
  'tags',
  'kind',
  'radius',
  'side',
  'name',
  'children',
  'a',
  'B',
  '1',
  '2',
  'constructor',
);
const { anything } = fc.letrec((tie) => ({
  anything: fc.oneof(
    { maxDepth: 3 },
    leaf,
    fc.array(tie('anything'), { maxLength: 5 }),
    fc.dictionary(name, tie('anything'), { maxKeys: 5 }),
    fc.constantFrom(
      { kind: 'circle', radius: 1 },
      { kind: 'square', side: 0 },
      { name: 'n', children: [] },
      { x: 1 },
    ),
  ),
}));
const message = fc.record(
  Object.fromEntries(Object.keys(schema.shape).map((key) => [key, anything])) as Record<
    string,
    fc.Arbitrary<unknown>
  >,
  { requiredKeys: ['points', 'counts'] },
);

/** Whether the options of a union have at least as many issues. */
function hasMany(issue: z.core.$ZodIssue, limit: number): boolean {
  const inOptions = issue.code === 'invalid_union' ? issue.errors.flat() : [];
  return inOptions.length >= limit || inOptions.some((inner) => hasMany(inner, limit));
}

const placeOf = ({ path, code }: { path: PropertyKey[]; code: string }) => `${path.join('.')} ${code}`;

/** The options of the union have as many issues as the limit. */
const MANY_IN_UNION = {
  points: null,
  counts: 0,
  pair: [],
  either: { tags: [null, false, [], null, []] },
};

describe('findIssues', () => {
  test('finds what zod finds: all of it below the limit, as much as the limit above', () => {
    fc.assert(
      fc.property(message, fc.constantFrom(1, 2, LIMIT, 100), (value, limit) => {
        // As messages are: no undefined, no holes, no prototypes.
        const parsed: unknown = JSON.parse(JSON.stringify(value));
        const all = z.safeParse(schema, parsed).error?.issues ?? [];
        const found = findIssues(schema, parsed, limit);
        expect(all.map(placeOf)).toEqual(expect.arrayContaining(found.map(placeOf)));
        expect(found.length).toBeGreaterThanOrEqual(Math.min(all.length, 1));
        if (all.some((issue) => hasMany(issue, limit))) return;
        expect(found).toHaveLength(Math.min(all.length, limit));
        if (all.length < limit) expect(found.map(placeOf)).toEqual(all.map(placeOf));
      }),
      { numRuns: 500, examples: [[MANY_IN_UNION, LIMIT]] },
    );
  });

  test('finds issues of containers’ rules, where zod runs them', () => {
    const ruled = z.array(z.number()).refine((list) => list.length < 2, { path: ['length'] });
    expect(findIssues(z.object({ list: ruled }), { list: [1, 2] }, LIMIT).map(placeOf)).toEqual([
      'list.length custom',
    ]);
    expect(findIssues(z.union([ruled, z.string()]), [1, 2], LIMIT)).toHaveLength(1);
    expect(findIssues(z.union([ruled, z.string()]), [1], LIMIT)).toEqual([]);
    const piped = z.string().transform(Number).pipe(z.number().max(5));
    expect(findIssues(z.object({ piped }), { piped: '7' }, LIMIT).map(placeOf)).toEqual(['piped too_big']);
  });
});

test('takes few of the ways through a recursive union', () => {
  let calls = 0;
  const operation = (op: string) => z.object({ arg: expression, op: z.literal(op) });
  const expression: z.ZodType = z.lazy(() =>
    z.union([
      operation('and'),
      operation('or'),
      operation('not'),
      z.object({
        eq: z.string().refine(
          () => {
            calls++;
            return false;
          },
          { abort: true },
        ),
      }),
    ]),
  );
  const schema = z.object({ where: expression, n: z.number() });
  const more = Array.from({ length: 200 }, () => ({}));
  for (const leaf of [{ eq: 'x' }, { eq: 'x', more }]) {
    const where = Array.from({ length: 8 }).reduce<object>((arg) => ({ arg, op: 'not' }), leaf);
    expect(findIssues(schema, { where }, LIMIT).map(placeOf)).toContain('where invalid_union');
    hasIssue(schema, { where });
  }
  expect(calls).toBeLessThan(1000);
});

describe('issues of the elements of a long list', () => {
  let built = 0;
  const text = z.string({
    error: () => {
      built++;
      return '';
    },
  });
  const either = z.union([z.object({ a: text }), z.object({ b: text })]);

  test.each<[name: string, list: z.ZodType]>([
    ['what is preprocessed', z.preprocess((value) => value, z.array(z.object({ a: text })))],
    ['the output of a pipe', z.unknown().pipe(z.array(z.object({ a: text })))],
    [
      'a codec',
      z.codec(z.array(z.unknown()), z.array(z.object({ a: text })), {
        decode: (list) => list as { a: string }[],
        encode: (list) => list,
      }),
    ],
    ['an option with tuples', z.union([z.string(), z.array(z.tuple([text]).or(z.object({ a: text })))])],
    ['an option with transforms', z.union([z.string(), z.array(z.object({ a: text.transform(Number) }))])],
    [
      'an option with intersections',
      z.union([z.string(), z.array(z.intersection(either, z.object({ c: text })))]),
    ],
    ['what a class checks', z.custom((list) => z.array(text).safeParse(list).success)],
  ])('%s: few are built', (_, list) => {
    const schema = z.object({ list, n: z.number() });
    built = 0;
    const found = findIssues(schema, { list: Array.from({ length: 10_000 }, () => ({})) }, LIMIT);
    expect(found.length).toBeGreaterThan(0);
    expect(built).toBeLessThan(100);
  });
});

describe('refinements of the elements of a long array', () => {
  let calls = 0;
  const either = z
    .looseObject({ id: z.string().optional(), url: z.string().optional() })
    .refine(({ id, url }) => {
      calls++;
      return (id ?? url) !== undefined;
    });
  const list = z.array(either);
  const objects = (count: number) => Array.from({ length: count }, () => ({}));

  test.each<[name: string, list: z.ZodType, value: unknown]>([
    ['objects', list, objects(200_000)],
    ['objects of one option', z.union([z.string(), list]), objects(200_000)],
    ['objects in what is refined', z.object({ list }).refine(() => true), { list: objects(200_000) }],
    [
      'objects in what many are around that are refined',
      z
        .object({
          a: z
            .object({
              a: z
                .object({ a: z.object({ a: z.object({ list }).refine(() => true) }).refine(() => true) })
                .refine(() => true),
            })
            .refine(() => true),
        })
        .refine(() => true),
      { a: { a: { a: { a: { list: objects(200_000) } } } } },
    ],
    ['objects in what is preprocessed', z.preprocess((value) => value, list), objects(200_000)],
    [
      'objects of one option that is preprocessed',
      z.union([z.string(), z.preprocess((value) => value, list)]),
      objects(200_000),
    ],
    [
      'texts beside a refinement',
      z.object({ texts: z.array(z.string().min(1)), a: either.optional() }),
      { texts: Array.from({ length: 200_000 }, () => '') },
    ],
  ])('%s: few are called before the message is rejected', (_, a, value) => {
    const registry = new MessageRegistry({ schemas: { t: z.object({ type: z.literal('t'), a }) } });
    calls = 0;
    const result = new MessageValidator({ registry }).check({ type: 't', a: value });
    expect(result).toMatchObject({ ok: false, code: 'SCHEMA_VIOLATION', type: 't' });
    expect(result.ok ? 0 : result.issues.length).toBeGreaterThan(0);
    expect(result.ok ? 0 : result.issues.length).toBeLessThanOrEqual(LIMIT);
    expect(calls).toBeLessThan(100);
  });

  test('are called a few times for what many other refinements are around', () => {
    calls = 0;
    let [schema, value]: [z.ZodType, unknown] = [list, Array.from({ length: 100 }, () => ({ id: 'x' }))];
    for (let level = 0; level < 12; level++)
      [schema, value] = [z.object({ inner: schema }).refine(() => true), { inner: value }];
    expect(findIssues(z.object({ schema, n: z.number() }), { schema: value }, LIMIT)).toHaveLength(1);
    expect(calls).toBeLessThan(1000);
  });
});

test.each<[name: string, a: z.ZodType, value: unknown]>([
  [
    'keys that one side of an intersection knows',
    z.intersection(z.strictObject({ x: z.number() }), z.strictObject({ y: z.number() })),
    { x: 1, y: 2 },
  ],
  ['all keys of a list of numbers', z.record(z.literal([1, 2]), z.number()), { 1: 1, 2: 2 }],
  [
    'a key beside those of a loose list',
    z.looseRecord(z.enum(['a', 'b']), z.number()),
    { a: 1, b: 2, c: '' },
  ],
  [
    'keys that a refined loose record does not name',
    z.looseRecord(z.string().regex(/^a/), z.number()).refine((record) => Object.keys(record).length > 1),
    { a: 1, b: '' },
  ],
  [
    'the numeric keys of a refined record',
    z.record(z.number(), z.number()).refine((record) => Object.keys(record).length > 1),
    { 1: 1, 2: 2 },
  ],
])('%s: a valid message is accepted beside a refinement', (_, a, value) => {
  const type = z.literal('t');
  const refined = z.number().refine((id) => id > 0);
  const registry = new MessageRegistry({ schemas: { t: z.object({ type, a, refined }) } });
  const check = (id: number) =>
    new MessageValidator({ registry }).check({ type: 't', a: value, refined: id });
  expect(hasIssue(a, value)).toBe(false);
  expect(check(1)).toMatchObject({ ok: true });
  expect(check(0)).toMatchObject({ code: 'SCHEMA_VIOLATION', issues: [{ path: 'refined' }] });
});

describe('a message of 150 KB with something wrong in every place', () => {
  const SIZE = 150_000;
  const json: z.ZodType = z.lazy(() => z.union([z.string(), z.number(), z.array(json)]));
  const schemas = {
    objects: z.looseObject({
      type: z.literal('objects'),
      list: z.array(z.looseObject({ x: z.string(), y: z.number() })),
    }),
    ruled: z
      .looseObject({ type: z.literal('ruled'), list: z.array(z.looseObject({ x: z.string() })) })
      .refine(() => true),
    short: z.looseObject({ type: z.literal('short'), list: z.array(z.string().min(3)) }),
    unions: z.looseObject({
      type: z.literal('unions'),
      list: z.union([z.array(z.number()), z.array(z.boolean())]),
    }),
    tagged: z.looseObject({ type: z.literal('tagged'), list: z.array(shape) }),
    record: z.looseObject({
      type: z.literal('record'),
      values: z.record(
        z.string(),
        z
          .string()
          .min(3)
          .refine(() => true),
      ),
    }),
    keys: z.looseObject({ type: z.literal('keys'), values: z.record(z.string().regex(/^x/), z.number()) }),
    strict: z.strictObject({ type: z.literal('strict') }),
    deep: z.looseObject({ type: z.literal('deep'), list: json }),
  };
  const validator = new MessageValidator({ registry: new MessageRegistry({ schemas }) });
  const items = (item: string) => Array.from({ length: SIZE / (item.length + 1) }, () => item).join(',');
  const members = (value: string) =>
    Array.from(
      { length: SIZE / (value.length + 10) },
      (_, index) => `"k${String(index).padStart(5, '0')}":${value}`,
    ).join(',');
  const deep = (text: string) => `{"type":"deep","list":${'['.repeat(50)}${text}${']'.repeat(50)}}`;
  const timestamp = '"timestamp":"2026-01-01T00:00:00.000Z"';

  test.each([
    [
      'discovery',
      `{"type":"discovery",${timestamp},"data":{"entityType":"issue","entities":[${items('{}')}]}}`,
    ],
    [
      'jobs_discovered',
      `{"type":"jobs_discovered",${timestamp},"jobId":"abc","data":{"discovered_jobs":[${items('{}')}]}}`,
    ],
    ['objects', `{"type":"objects","list":[${items('{}')}]}`],
    ['ruled', `{"type":"ruled","list":[${items('{}')}]}`],
    ['short', `{"type":"short","list":[${items('""')}]}`],
    ['unions', `{"type":"unions","list":[${items('null')}]}`],
    ['tagged', `{"type":"tagged","list":[${items('{"kind":"circle"}')}]}`],
    ['record', `{"type":"record","values":{${members('""')}}}`],
    ['keys', `{"type":"keys","values":{${members('1')}}}`],
    ['strict', `{"type":"strict",${members('1')}}`],
    ['deep', deep(`${items('1')},null`), deep(items('1'))],
  ])(
    '%s: is a SCHEMA_VIOLATION with few issues, and costs a small factor of what is valid',
    (type, text, valid = '') => {
      const bytes = Buffer.from(text);
      const result = validator.validate(bytes);
      expect(result).toMatchObject({ ok: false, code: 'SCHEMA_VIOLATION', type });
      expect(result.ok ? 0 : result.issues.length).toBeGreaterThan(0);
      // The cheapest that a message of this size can be, or a valid one where its schema alone makes it dear.
      const accepting =
        shortestTime(() => JSON.parse(text)) + shortestTime(() => validator.validate(Buffer.from(valid)));
      // 1 to 15 times as long, measured; without the walk, up to 90 times.
      const limit = 40 * accepting + 10;
      expect(shortestTime(() => validator.validate(bytes), limit)).toBeLessThan(limit);
    },
  );

  test('texts of issues are bounded, whatever the schema', () => {
    const values = Array.from({ length: 1000 }, (_, index) => `value "${index}" é`) as [string, ...string[]];
    const long = { [`key-${'k'.repeat(1000)}`]: z.number() };
    const wide = { wide: z.looseObject({ type: z.literal('wide'), v: z.enum(values), ...long }) };
    const rules = {
      wide: (_: unknown, report: (...texts: [string, string, string]) => void) =>
        report('p'.repeat(999), 'c'.repeat(999), '"'.repeat(999)),
    };
    const narrow = new MessageValidator({ registry: new MessageRegistry({ schemas: wide, rules }) });
    const valid = { type: 'wide', v: values[0], [Object.keys(long)[0] ?? '']: 1 };
    for (const wrong of [{ type: 'wide', v: 1 }, valid]) {
      const result = narrow.validate(wrong);
      const issues = result.ok ? [] : result.issues;
      expect(issues.length).toBeGreaterThan(0);
      for (const { path, code, message } of issues) {
        const bytes = [path, code, message].map((part) => Buffer.byteLength(JSON.stringify(part)) - 2);
        expect(bytes.reduce((sum, count) => sum + count)).toBeLessThanOrEqual(MAX_ISSUE_BYTES);
      }
    }
  });
});
