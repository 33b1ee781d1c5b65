// The law of patterns, for schemas that users bring. FUZZ_CASES and FUZZ_SEED change the run.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { BothPaths } from '../../support/law.js';

const CASES = Number(process.env.FUZZ_CASES ?? 8000);
const SEED = Number(process.env.FUZZ_SEED ?? 20_260_101);
/** Schemas that share a run, since building the paths takes longer than to check a schema. */
const SCHEMAS = 30;
const TYPE = z.literal('t');

/** An enumeration as TypeScript compiles one of numbers: with the names by value, too. */
const Level = { 0: 'LOW', LOW: 0 } as const;
const nested = (levels: number): z.ZodType => (levels === 0 ? z.number() : z.array(nested(levels - 1)));
const Tree = z.object({
  type: TYPE,
  get children() {
    return z.array(Tree).optional();
  },
});
const of = (a: z.ZodType) => z.object({ type: TYPE, a });
const has = (value: string) => `{"type":"t","a":${value}}`;
const NONE = '{"type":"t"}';
/** zod takes it; its types do not say so. */
const OWN: object = { pattern: /^x/ };
const fromJsonSchema = (schema: object) => z.fromJSONSchema(schema as z.core.JSONSchema.JSONSchema);
const OBJECT = { a: 1 } as unknown as string;
const BOUND = { check: 'greater_than', value: 1 } as z.core.$ZodCheckGreaterThanDef;
const UUID = '"0197a1b2-0000-7000-8000-000000000000"';

describe('what zod checks beyond its definition', () => {
  test.each<[name: string, schema: z.ZodType, ...texts: string[]]>([
    ['numbers that JSON has not', of(z.literal([1, Number.POSITIVE_INFINITY])), has('null'), has('1')],
    ['an enumeration of numbers', of(z.enum(Level)), has('"LOW"'), has('0'), has('"0"')],
    ['no values', of(z.enum([])), has(''), has('""')],
    ['no options', of(z.union([])), has('')],
    ['a type that may be missing', z.object({ type: TYPE.default('t'), a: z.number() }), '{"a":1}', has('1')],
    ['a type that may be null', z.object({ type: TYPE.nullable() }), '{"type":null}', NONE],
    [
      'a type of any kind',
      z.object({ a: z.number(), type: z.any() }),
      '{"a":1,"type":"heartbeat"}',
      '{"a":1,"type":5}',
      '{"a":1,"type":"t"}',
    ],
    [
      'a default that is refined',
      of(
        z
          .number()
          .default(0)
          .refine((value) => value > 0),
      ),
      NONE,
      has('1'),
    ],
    ['a prefault', of(z.string().min(5).prefault('x')), NONE, has('"abcde"')],
    ['a pipe from what may be missing', of(z.string().optional().pipe(z.string())), NONE, has('"x"')],
    ['preprocessing', of(z.preprocess((value) => value, z.string())), NONE, has('"x"')],
    ['an optional value that is required again', of(z.string().optional().nonoptional()), NONE, has('"x"')],
    ['a date of its own', of(z.stringFormat('date', /^\d{8}$/)), has('"2026-01-01"'), has('"20260101"')],
    ['a UUID of its own', of(z.uuid(OWN)), has(UUID), has('"x"')],
    ['a time of its own', of(z.iso.datetime(OWN)), has('"2026-01-01T00:00:00Z"')],
    ['half a character', of(z.string().min(2.5)), has('"ab"'), has('"abc"')],
    ['no length at all', of(z.string().min(Number.NaN)), has('"ab"')],
    ['a length beyond all', of(z.string().min(2 ** 32)), has('"ab"')],
    ['no number at all', of(z.number().min(Number.NaN)), has('1')],
    [
      'keys that read as paths',
      z.object({ type: TYPE, '': z.object({ jobId: z.string() }), 'a.b': z.number() }),
      '{"type":"t","":{"jobId":"abc"},"a.b":1}',
    ],
    ['more levels than there may be', of(nested(70)), has(`${'['.repeat(70)}1${']'.repeat(70)}`)],
    ['recursion', Tree, NONE, '{"type":"t","children":[{"type":"t"}]}', '{"type":"t","children":[1]}'],
    [
      'very many values',
      of(z.enum(Array.from({ length: 5000 }, (_, index) => `a-value-of-some-length-${index}`))),
      has('"a-value-of-some-length-7"'),
      has('"a"'),
    ],
    ['a number of no sign', of(z.literal(-0)), has('0'), has('-0')],
    ['a value of a JSON schema', of(fromJsonSchema({ const: { a: 1 } })), has('{"a":1}'), has('{}')],
    ['values of a JSON schema', of(fromJsonSchema({ enum: [[1], 2] })), has('[1]'), has('2')],
    ['a literal that is an object', of(z.literal(OBJECT)), has('{"a":1}'), has('"a"')],
    ['an enumeration of objects', of(z.enum({ A: OBJECT })), has('{"a":1}'), has('"A"')],
    [
      'literals that JSON has not',
      of(z.literal([1n, undefined, Number.NaN, 'a'])),
      has('1'),
      has('null'),
      NONE,
    ],
    ['a key that is a symbol', z.object({ type: TYPE, [Symbol('a')]: z.string() }), NONE],
    [
      'tags that two options share',
      of(z.discriminatedUnion('k', [z.object({ k: TYPE, n: z.number() }), z.object({ k: TYPE })])),
      has('{"k":"t","n":1}'),
      has('{"k":"t"}'),
    ],
    [
      'a tag that could be anything',
      of(z.discriminatedUnion('k', [z.object({ k: z.string() as unknown as z.ZodLiteral<string> })])),
      has('{"k":"t"}'),
    ],
    [
      'a bound without whether it is included',
      of(z.number().check(new z.core.$ZodCheckGreaterThan(BOUND))),
      has('1'),
      has('2'),
    ],
    [
      'a key that may be missing, not undefined',
      of(z.string().exactOptional()),
      NONE,
      has('"x"'),
      has('null'),
    ],
    [
      'a record of some keys',
      of(z.partialRecord(z.enum(['a', 'b']), z.number())),
      has('{"a":1}'),
      has('{"c":1}'),
    ],
    [
      'a record of loose keys',
      of(z.looseRecord(z.string().min(2), z.number())),
      has('{"a":"x"}'),
      has('{"ab":1}'),
    ],
  ])('%s', (_, schema, ...texts) => {
    const paths = new BothPaths({ t: schema });
    for (const text of texts) paths.check(Buffer.from(`${text}\n`));
  });

  test.each<[name: string, a: z.ZodType, ...values: string[]]>([
    ['a tuple', z.tuple([z.number()]).nullable(), 'null', '[1]'],
    ['a tuple, twice', z.tuple([z.number()]).nullable().nullable(), 'null', '[1]'],
    [
      'a record of some keys',
      z.union([z.record(z.string().min(2), z.number()).nullable(), z.string()]),
      '"x"',
      'null',
    ],
  ])('what is not %s, but may be in its place, is matched', (_, a, ...values) => {
    const paths = new BothPaths({ t: of(a) });
    for (const value of values) expect(paths.check(Buffer.from(`${has(value)}\n`)).matched).toBe(1);
  });

  test('what a catch-all refines, in a learned layout', () => {
    const catchall = z.unknown().refine((value) => typeof value === 'number');
    const paths = new BothPaths({ t: z.object({ type: TYPE, a: z.number() }).catchall(catchall) });
    paths.check(Buffer.from('{"a":1,"type":"t","x":1}\n'.repeat(500)));
    paths.check(Buffer.from('{"a":1,"type":"t","x":"no"}\n'));
  });

  test.each(Object.getOwnPropertyNames(Object.prototype))('the key %s, which every object has', (key) => {
    const inner = (value: z.ZodType) => z.object({ [key]: value });
    const schemas: z.ZodType[] = [
      ...[z.string().optional(), z.string().exactOptional(), z.string().default('x'), z.any().optional()],
      ...[
        z.never().optional(),
        z.unknown(),
        z.string().optional().readonly(),
        z.string().nullish(),
        z.string(),
      ],
    ];
    const all: Record<string, z.ZodType> = {};
    for (const [index, value] of schemas.entries()) {
      all[`o${index}`] = z.looseObject({ type: z.literal(`o${index}`), [key]: value });
      all[`n${index}`] = z.object({ type: z.literal(`n${index}`), a: inner(value) });
      all[`l${index}`] = z.object({ type: z.literal(`l${index}`), a: z.array(inner(value)).optional() });
      all[`r${index}`] = z.object({ type: z.literal(`r${index}`), a: z.record(z.string(), inner(value)) });
      all[`c${index}`] = z.object({ type: z.literal(`c${index}`), a: z.object({}).catchall(value) });
    }
    const options = [z.object({ [key]: z.literal('x') }), z.object({ [key]: z.literal('y'), n: z.number() })];
    all.d = z.object({ type: z.literal('d'), a: z.discriminatedUnion(key, options as never) });
    const paths = new BothPaths(all);
    for (const name of Object.keys(all)) {
      const texts = new Set<string>();
      for (const value of ['"x"', '"y"', '1', 'null', '{}']) {
        const member = `{${JSON.stringify(key)}:${value}}`;
        for (const a of ['{}', '[]', '[{}]', '{"k":{}}', member, `[${member}]`, `{"k":${member}}`]) {
          texts
            .add(`{"type":"${name}","a":${a}}`)
            .add(`{"type":"${name}",${member.slice(1, -1)},"a":${a}}`)
            .add(`{"a":${a},"type":"${name}"}`)
            .add(`{"type":"${name}"}`);
        }
      }
      paths.check(Buffer.from(`${[...texts].join('\n')}\n`));
    }
  });

  test('a type whose name every object has', () => {
    const names = Object.getOwnPropertyNames(Object.prototype).filter((name) => name !== '__proto__');
    const schemas = Object.fromEntries(names.map((name) => [name, z.object({ type: z.literal(name) })]));
    const paths = new BothPaths(schemas);
    for (const name of names) {
      expect(paths.check(Buffer.from(`{"type":"${name}"}\n`))).toEqual({ matched: 1, isValid: true });
    }
  });

  test('a default that is computed anew each time, and so might fail', () => {
    let calls = 0;
    const compute = () => {
      calls++;
      return calls;
    };
    const paths = new BothPaths({ t: of(z.number().default(compute)) });
    for (let message = 0; message < 100; message++) {
      expect(paths.check(Buffer.from(`${NONE}\n`)).matched).toBe(0);
    }
  });

  test.each<[name: string, timestamp: z.ZodType]>([
    ['may be null', z.iso.datetime().nullable()],
    ['is a string of limited length', z.string().max(40)],
    ['is refined', z.iso.datetime().refine(() => true)],
    ['is transformed', z.string().transform((time) => new Date(time))],
    ['is a number or a string', z.union([z.number(), z.string().min(1)])],
  ])('a timestamp that %s, and is old', (_, timestamp) => {
    const schema = z.object({ type: TYPE, timestamp });
    const paths = new BothPaths({ t: schema }, { maxMessageAge: 1000 });
    for (const time of ['"2020-01-01T00:00:00Z"', 'null', '0', `"${new Date().toISOString()}"`]) {
      paths.check(Buffer.from(`{"type":"t","timestamp":${time}}\n`));
    }
  });
});

/** Values as JSON text, with those at edges. */
const VALUES = [
  ...['""', '"a"', '"ab"', '"abc"', '"abcdefghij"', '"é"', '"李"', '"\\ud83d\\ude00"', '"\\n"', '"\\u0061"'],
  ...['"gid://x"', '"2026-02-30"', '"2024-02-29"', '"2026-01-01T00:00:00Z"', '"2026-01-01T00:00:00"'],
  ...[
    '"2026-01-01T00:00:00.5Z"',
    '"2026-01-01T00:00:00+02:00"',
    UUID,
    '"ffffffff-ffff-ffff-ffff-ffffffffffff"',
  ],
  ...['"x@y.zz"', '"http://a.b"', '"\u007f"', '"__proto__"', '"A"', '"1"', '"true"'],
  ...['0', '-0', '1', '-1', '1.0', '1.5', '2', '3', '5', '10', '0.1', '-0.5', '2147483647', '2147483648'],
  ...['-2147483649', '4294967295', '4294967296', '999999999999999', '9007199254740992', '1e3', '1e999'],
  ...['0.000000000000001', '01', '1.', 'null', 'true', 'false', '', '[]', '{}', '[1]', '[1,2]', '["a"]'],
  ...['[null]', '[[1]]', '{"a":1}', '{"a":"x"}', '{"__proto__":1}', '{"a":1,"a":2}', '{"é":1}', '{"k":"x"}'],
  ...['{"k":"y","n":1}', '{"a":{"b":1}}', '{"\\u0061":1}', '{"b":1,"a":1}', '{"a":1,"b":null}'],
  ...['{"a":1,"constructor":1}', '{"a":1,"constructor":"a"}', '{"a":"a","valueOf":1}', '{"valueOf":1}'],
];

const leaves: (() => z.ZodType)[] = [
  ...[() => z.string(), () => z.string().min(2), () => z.string().max(3), () => z.string().length(2)],
  ...[
    () => z.string().startsWith('gid://'),
    () => z.string().startsWith('é'),
    () => z.string().endsWith('b'),
  ],
  ...[() => z.string().regex(/^a/), () => z.string().trim(), () => z.string().toUpperCase(), () => z.email()],
  ...[() => z.iso.datetime(), () => z.iso.datetime({ offset: true }), () => z.iso.datetime({ local: true })],
  ...[
    () => z.iso.datetime({ precision: 0 }),
    () => z.iso.date(),
    () => z.iso.date().min(3),
    () => z.iso.time(),
  ],
  ...[() => z.uuid(), () => z.uuidv4(), () => z.uuid().startsWith('f'), () => z.guid(), () => z.url()],
  ...[
    () => z.number(),
    () => z.int(),
    () => z.int32(),
    () => z.uint32(),
    () => z.float32(),
    () => z.float64(),
  ],
  ...[() => z.number().min(1), () => z.number().max(2).gt(-0), () => z.number().positive().lt(5)],
  ...[() => z.number().multipleOf(0.5), () => z.number().refine((value) => value > 1), () => z.nan()],
  ...[() => z.coerce.number(), () => z.coerce.string(), () => z.coerce.boolean(), () => z.bigint()],
  ...[
    () => z.boolean(),
    () => z.null(),
    () => z.any(),
    () => z.unknown(),
    () => z.undefined(),
    () => z.never(),
  ],
  ...[
    () => z.date(),
    () => z.json(),
    () => z.custom((value) => value === 'a'),
    () => z.literal([1, 10, 'a', null]),
  ],
  ...[
    () => fromJsonSchema({ const: { a: 1 } }),
    () => fromJsonSchema({ enum: [[1], 'a', null] }),
    () => z.literal([OBJECT, 'a']),
  ],
  ...[
    () => z.enum(['a', 'ab', 'A']),
    () => z.enum({ A: 1, B: 'x' }),
    () => z.literal(1.5),
    () => z.stringbool(),
  ],
];

/** A schema of one level around others. */
const wrappers: ((a: z.ZodType, b: z.ZodType) => z.ZodType)[] = [
  (a) => a.optional(),
  (a) => a.exactOptional(),
  (a) => a.nullable(),
  (a) => a.nullish(),
  (a) => a.readonly(),
  (a) => a.brand('x'),
  (a) => a.default(1),
  (a) => a.prefault(1),
  (a) => a.catch('z'),
  (a) => a.optional().nonoptional(),
  (a) => z.array(a),
  (a) => z.array(a).min(1),
  (a) => z.array(a).length(2),
  (a) => z.tuple([a]),

  (a) => z.record(z.string(), a),
  (a) => z.record(z.enum(['a', 'b']), a),
  (a) => z.record(z.string().min(2), a),
  (a) => z.record(z.string(), a).refine((value) => Object.keys(value).length < 1),
  (a) => z.looseRecord(z.string(), a),
  (a, b) => z.object({ a, b: b.optional() }),
  (a, b) => z.object({ a, constructor: b.optional() }),
  (a, b) => z.looseObject({ a, valueOf: b.default(1) }),
  (a) => z.strictObject({ a }),
  (a) => z.looseObject({ a }),
  (a, b) => z.object({ a }).catchall(b),
  (a) => z.object({ a }).partial(),
  (a) => z.object({ k: a }),

  (a) => z.object({ a: a.optional() }).required(),
  (a) => z.object({ a }).refine((value) => value.a !== 1),

  (a, b) => z.union([a, b]),
  (a, b) => z.xor([a, b]),
  (a, b) => z.intersection(a, b),
  (a) => z.lazy(() => a),
  (a) =>
    z.discriminatedUnion('k', [
      z.object({ k: z.literal('x'), n: a }),
      z.object({ k: z.literal(['y', 'z']) }),
    ]),
  (a) => a.transform((value) => value),
  (a, b) => a.pipe(b),
  (a) => z.preprocess((value) => value, a),

  (a) => a.refine((value) => value !== 1 && value !== 'a'),
  (a) => a.check(z.overwrite((value) => value)),
];

const { schema: anySchema } = fc.letrec<{ schema: z.ZodType }>((tie) => ({
  schema: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(...leaves).map((make) => make()),
    fc.tuple(fc.constantFrom(...wrappers), tie('schema'), tie('schema')).map(([wrap, a, b]) => wrap(a, b)),
    fc.tuple(fc.constantFrom(...wrappers), tie('schema'), tie('schema')).map(([wrap, a, b]) => wrap(a, b)),
  ),
}));

const objects = [z.object, z.looseObject, z.strictObject];
/** How a sender may write a message that has the member `a`. */
const writings = [
  (name: string, value: string) => `{"a":${value},"type":"${name}"}`,
  (name: string, value: string) => `{"type": "${name}", "a": ${value}}`,
  (name: string, value: string) => `{"type":"${name}","x":1,"a":${value}}`,
];

test('both paths agree on messages of schemas of every kind, in layouts that are learned too', () => {
  const rounds = Math.ceil(CASES / SCHEMAS / VALUES.length / 4);
  const seen = { matched: 0, compiled: 0 };
  const round = fc.tuple(
    fc.array(anySchema, { minLength: SCHEMAS, maxLength: SCHEMAS }),
    fc.constantFrom(...objects),
    fc.constantFrom(...writings),
  );
  fc.assert(
    fc.property(round, ([schemas, object, write]) => {
      const names = schemas.map((_, index) => `q${String(index).padStart(2, '0')}`);
      const paths = new BothPaths(
        Object.fromEntries(
          names.map((name, index) => [
            name,
            object({ type: z.literal(name), a: schemas[index] as z.ZodType }),
          ]),
        ),
      );
      for (const name of names) {
        const check = (text: string) => {
          const { matched, isValid } = paths.check(Buffer.from(`${text}\n`));
          seen.matched += matched;
          return isValid;
        };
        if ('declined' in (paths.patterns.results.get(name) ?? {})) continue;
        seen.compiled++;
        check(`{"type":"${name}"}`);
        const valid = VALUES.filter((value) => check(`{"type":"${name}","a":${value}}`));
        const [first] = valid;
        if (first === undefined) continue;
        // As many as it takes to be learned for certain.
        for (let sighting = 0; sighting < 130; sighting++) check(write(name, first));
        for (const value of VALUES) check(write(name, value));
      }
    }),
    { numRuns: rounds, seed: SEED },
  );
  // Agreement proves nothing where no pattern ever matches.
  expect(seen.compiled).toBeGreaterThan(rounds * 5);
  expect(seen.matched).toBeGreaterThan(rounds * 100);
}, 300_000);
