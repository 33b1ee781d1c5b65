// FUZZ_CASES and FUZZ_SEED change the run of random values.

import fc from 'fast-check';
import { MessageParser, MessageRegistry, MessageValidator } from 'sluice';
import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { jobKey, NO_JOB, NO_SEED } from '#src/messages/job-key.js';
import { VALID } from '../../support/messages.js';
import { createPatterns, eachMatch, matchFirst, onlyTypes } from '../../support/patterns.js';
import { timeRatio } from '../../support/timing.js';

/** Fewer than in pattern-law.test.ts, since these values are slow to generate. */
const RUNS = Math.ceil(Number(process.env.FUZZ_CASES ?? 8000) / 4);
const SEED = Number(process.env.FUZZ_SEED ?? 7);

type Shape = Record<string, z.ZodType>;

interface CompileOptions {
  rule?: () => void;
  object?: (shape: Shape) => z.ZodType;
}

/** The patterns of a schema module with one type, `t`. */
function compile(shape: Shape, options: CompileOptions = {}) {
  const schema = (options.object ?? z.object)({ type: z.literal('t'), ...shape });
  const registry = new MessageRegistry({
    schemas: { t: schema },
    ...(options.rule && { rules: { t: options.rule } }),
  });
  const patterns = createPatterns(onlyTypes(registry, ['t']));
  const validator = new MessageValidator({ registry });
  return { result: patterns.results.get('t'), patterns, registry, validator };
}

const latin1 = (text: string) => Buffer.from(text).toString('latin1');

/** Whether a pattern takes the JSON of `{ type: 't', ...members }`; fails when the slow path does not. */
function takes({ patterns, validator }: ReturnType<typeof compile>, members: string): boolean {
  const text = `{"type":"t"${members === '' ? '' : `,${members}`}}`;
  const isMatch = matchFirst(patterns, latin1(text))?.end === Buffer.byteLength(text);
  if (isMatch) expect(validator.validate(Buffer.from(text))).toMatchObject({ ok: true, type: { name: 't' } });
  return isMatch;
}

describe('compiles', () => {
  test.each<[string, Shape, string[], string[]]>([
    ['strings', { a: z.string() }, ['"a":""', '"a":"x\\n\\u00e9"'], ['"a":1', '"a":"\\x"', '"a":"x', '']],
    [
      'short strings',
      { a: z.string().min(2).max(3) },
      ['"a":"ab"', '"a":"abc"', '"a":"\\n\\n"', '"a":"éé"', '"a":"\\u0061\\u0062\\u0063"'],
      ['"a":"a"', '"a":"abcd"', '"a":"\\n"', '"a":"é"', '"a":"éééé"', '"a":"\\x"'],
    ],
    ['exact strings', { a: z.string().length(2) }, ['"a":"ab"'], ['"a":"a"', '"a":"abc"']],
    ['numbers', { a: z.number() }, ['"a":0', '"a":-1.5'], ['"a":01', '"a":1e3', '"a":"1"', '"a":-']],
    ['integers', { a: z.int() }, ['"a":0', '"a":-15', '"a":1.0'], ['"a":1.5', '"a":1e0']],
    ['numbers from 0 on', { a: z.number().min(0) }, ['"a":0.5', '"a":-0'], ['"a":-1', '"a":-0.1']],
    [
      'numbers between bounds',
      { a: z.number().gt(0).max(10.5), b: z.int32(), c: z.int().min(-5).lt(17) },
      ['"a":0.05,"b":-2147483648,"c":-5', '"a":10,"b":2147483647,"c":16', '"a":10.4,"b":0,"c":0'],
      ['"a":0,"b":0,"c":0', '"a":10.6,"b":0,"c":0', '"a":1,"b":2147483648,"c":0', '"a":1,"b":0,"c":17'],
    ],
    [
      'dates and times',
      { a: z.iso.date(), b: z.iso.datetime({ offset: true }) },
      [
        '"a":"2026-12-31","b":"2026-01-31T23:59:59.123456+00:00"',
        '"a":"2026-01-01","b":"2026-01-31T23:59:59Z"',
      ],
      ['"a":"2026-02-30","b":"2026-01-31T23:59:59Z"', '"a":"2026-01-01","b":"2026-01-31T23:59:59+24:00"'],
    ],
    [
      'UUIDs',
      { a: z.uuid(), b: z.uuidv4() },
      ['"a":"0197a1b2-0000-7000-8000-000000000000","b":"0197a1b2-0000-4000-bfff-000000000000"'],
      ['"a":"0197a1b2-0000-9000-8000-000000000000","b":"0197a1b2-0000-4000-bfff-000000000000"'],
    ],
    ['strings that begin so', { a: z.string().startsWith('gid://') }, ['"a":"gid://x\\n"'], ['"a":"gid:/"']],
    ['booleans and null', { a: z.boolean(), b: z.null() }, ['"a":true,"b":null'], ['"a":1,"b":null']],
    ['enums', { a: z.enum(['x', 'y.']) }, ['"a":"x"', '"a":"y."'], ['"a":"yz"', '"a":"z"']],
    ['literals', { a: z.literal([1, 'x', null]) }, ['"a":1', '"a":"x"', '"a":null'], ['"a":2']],
    [
      'optional keys',
      { a: z.string().optional(), b: z.number() },
      ['"b":1', '"a":"","b":1'],
      ['"a":""', '"b":1,"a":""'],
    ],
    [
      'only optional keys',
      { o: z.object({ a: z.number().optional(), b: z.number().optional() }) },
      ['"o":{}', '"o":{"a":1}', '"o":{"b":1}', '"o":{"a":1,"b":1}'],
      ['"o":{"a":1,}', '"o":{,"b":1}', '"o":{"b":1,"a":1}', '"o":{"a":1"b":1}'],
    ],
    ['nullable values', { a: z.string().nullable() }, ['"a":null', '"a":""'], ['"a":1']],
    ['defaults', { a: z.number().default(1) }, ['', '"a":2'], ['"a":null']],
    ['lists', { a: z.array(z.number()) }, ['"a":[]', '"a":[1,2]'], ['"a":[1,]', '"a":[,1]', '"a":["x"]']],
    [
      'bounded lists',
      { a: z.array(z.number()).min(1).max(2) },
      ['"a":[1]', '"a":[1,2]'],
      ['"a":[]', '"a":[1,2,3]'],
    ],
    [
      'records',
      { a: z.record(z.string(), z.boolean()) },
      ['"a":{}', '"a":{"x":true,"é":false}'],
      ['"a":{"__proto__":true}', '"a":{"x":1}', '"a":{"x\\n":true}'],
    ],
    [
      'anything, when it is flat',
      { a: z.unknown() },
      ['"a":{"x":[1]}'.replace('[1]', '1'), '"a":[1,"x",null]', '"a":null'],
      ['"a":{"x":{}}', '"a":{"__proto__":1}'],
    ],
    [
      'unions',
      { a: z.union([z.string(), z.number(), z.object({ b: z.null() })]) },
      ['"a":""', '"a":1', '"a":{"b":null}'],
      ['"a":true'],
    ],
    [
      'discriminated unions',
      {
        a: z.discriminatedUnion('k', [
          z.object({ k: z.literal('x'), n: z.number() }),
          z.object({ k: z.literal('xy') }),
        ]),
      },
      ['"a":{"k":"x","n":1}', '"a":{"k":"xy"}'],
      ['"a":{"k":"x"}', '"a":{"k":"z"}'],
    ],
    ['keys that need escapes', { 'a"b.c$': z.number() }, ['"a\\"b.c$":1'], ['"a\\"bxc$":1']],
  ])('%s', (_, shape, good, bad) => {
    const compiled = compile(shape);
    expect(compiled.result).toMatchObject({ module: expect.any(WebAssembly.Module), omitted: [] });
    expect(good.filter((members) => !takes(compiled, members))).toEqual([]);
    expect(bad.filter((members) => takes(compiled, members))).toEqual([]);
  });

  test.each([
    ['loose', z.looseObject],
    ['strict', z.strictObject],
  ] as const)('%s objects', (_, object) => {
    expect(compile({ a: z.string() }, { object }).result).toHaveProperty('module');
  });

  test('a type whose first key is another', () => {
    const schema = z.object({ id: z.number(), type: z.literal('t') });
    const registry = new MessageRegistry({ schemas: { t: schema } });
    const patterns = createPatterns(onlyTypes(registry, ['t']));
    expect(matchFirst(patterns, '{"id":1,"type":"t"}')).toBeDefined();
    expect(matchFirst(patterns, '{"id":1,"type":"u"}')).toBeUndefined();
  });

  test('job ids under both spellings, as the slow path reads them', () => {
    const { patterns } = compile({ jobId: z.string().optional(), job_id: z.string().optional() });
    const jobOf = (text: string) => {
      const match = matchFirst(patterns, text);
      return match === undefined ? 'no match' : match.job;
    };
    expect(jobOf('{"type":"t","jobId":"a","job_id":"b"}')).toEqual(jobKey('a', NO_SEED));
    expect(jobOf('{"type":"t","job_id":"b"}')).toEqual(jobKey('b', NO_SEED));
    expect(jobOf('{"type":"t"}')).toEqual(NO_JOB);
    expect(jobOf('{"type":"t","jobId":"\\u0061"}')).toBe('no match');
  });

  test('a job id with a format, which its schema checks', () => {
    const { patterns, result } = compile({ jobId: z.uuid() });
    expect(result).toMatchObject({ checked: ['jobId: the format uuid of a job id'] });
    const id = '0197a1b2-0000-7000-8000-000000000000';
    expect(matchFirst(patterns, `{"type":"t","jobId":"${id}"}`)?.job).toEqual(jobKey(id, NO_SEED));
    expect(matchFirst(patterns, '{"type":"t","jobId":"a"}')).toBeUndefined();
  });
});

/** zod keeps what it is given; its types allow less. */
const UNKNOWN: object = { pace: 1 };
const CONDITION: object = { when: () => true };
const fromJsonSchema = (schema: object) => z.fromJSONSchema(schema as z.core.JSONSchema.JSONSchema);
const OwnString = z.core.$constructor<z.core.$ZodString>('OwnString', (inst, def) => {
  z.core.$ZodString.init(inst, def);
});

function handmade(def: z.core.$ZodCheckDef & Record<string, unknown>): z.core.$ZodCheck<string> {
  return { _zod: { def, onattach: [], check() {} } };
}

function otherVersion(schema: z.ZodType): z.ZodType {
  Object.assign(schema._zod, { version: { ...z.core.version, minor: z.core.version.minor + 1 } });
  return schema;
}

describe('has the schema check, and gives the reason', () => {
  test.each<[schema: z.ZodType, reason: string, good: string[], bad: string[]]>([
    [z.string().regex(/x/), 'the check regex', ['"ax"', '"\\u0078"'], ['"a"']],
    [z.email(), 'the format email', ['"a@b.cc"'], ['"a"', '1']],
    [z.string().refine((value) => value === 'é"'), 'a refinement', ['"é\\""', '"\\u00e9\\""'], ['"é"']],
    [z.string().transform(Number), 'the schema type pipe', ['"1"'], ['1']],
    [z.string().trim().min(1), 'the check overwrite', ['" a"'], ['" "']],
    [z.number().multipleOf(5), 'the check multiple_of', ['10'], ['11', '"10"']],
    [z.float32(), 'the check float32', ['1.5'], ['999999999999999'.repeat(3)]],
    [
      z.string().startsWith('é'),
      'the check starts_with with a length, or with a prefix that is not plain ASCII',
      ['"éa"'],
      ['"e"'],
    ],
    [z.guid(), 'the format guid', ['"ffffffff-ffff-0fff-0fff-ffffffffffff"'], ['"f"']],
    [z.coerce.number(), 'coercion', ['1', '"1"', 'true'], ['"x"']],
    [z.coerce.string(), 'coercion', ['1', '"1"'], []],
    [z.coerce.boolean(), 'coercion', ['1', 'null'], []],
    [z.array(z.string()).refine(({ length }) => length === 1), 'a refinement', ['["a"]'], ['[]', '[1]']],
    [z.object({ n: z.number() }).refine(({ n }) => n > 1), 'a refinement', ['{"n":2}'], ['{"n":1}', '{}']],
    [
      z.object({ n: z.object({ m: z.email() }).refine(({ m }) => m < 'b') }).refine(() => true),
      'a refinement',
      ['{"n":{"m":"a@b.cc"}}'],
      ['{"n":{"m":"c@b.cc"}}', '{"n":{"m":"a"}}'],
    ],
    [
      z.record(z.enum(['x']), z.number()),
      'a record with restricted keys',
      ['{"x":1}'],
      ['{"y":1}', '{"x":""}'],
    ],
    [
      z.union([z.object({ x: z.string() }), z.object({ y: z.string() })]),
      'a union whose options begin alike',
      ['{"x":""}', '{"y":""}'],
      ['{}', '{"x":1}'],
    ],
    [z.enum(['é']), 'a value that is not plain ASCII', ['"é"'], ['"e"']],
    [z.tuple([z.string()]), 'the schema type tuple', ['["a"]'], ['[]', '[1]']],
    [z.lazy(() => z.string()), 'the schema type lazy', ['""'], ['1']],
    [
      z.iso.datetime({ precision: 3 }),
      'a date and time with a fixed precision',
      ['"2026-01-01T00:00:00.123Z"'],
      ['"2026-01-01T00:00:00Z"'],
    ],
    [z.string().min(5).max(2), 'contradictory bounds', [], ['"abc"']],
    [fromJsonSchema({ const: { b: 1 } }), 'a value of type object', [], ['1']],
    [z.literal(['x', [1] as never]), 'a value of type array', ['"x"'], ['[1]']],
    [z.literal(['x', undefined]), 'the value undefined', ['"x"'], ['null']],
    [z.literal(Number.NaN), 'the value NaN', [], ['1', 'null']],
    [z.literal(-0), 'the value -0', [], ['1']],
    [z.object({ [Symbol('b')]: z.string() }), 'a key that is a symbol', [], ['{"b":""}']],
    [z.string(UNKNOWN), 'the property pace of the schema type string', ['"a"'], ['1']],
    [z.object({}, UNKNOWN), 'the property pace of the schema type object', ['{}'], ['1']],
    [z.string().min(1, UNKNOWN), 'the property pace of the check min_length', ['"a"'], ['""']],
    [z.string().min(1, CONDITION), 'a custom condition of the check min_length', ['"a"'], ['""']],
    [z.number().min(1, CONDITION), 'a custom condition of the check greater_than', ['1'], ['0']],
    [
      z.string().check(handmade({ check: 'min_length', minimum: 1 })),
      'a custom class of the check min_length',
      ['"a"'],
      ['1'],
    ],
    [
      z.array(z.string()).check(z.startsWith('x') as never),
      'the check starts_with of an array',
      [],
      ['["a"]'],
    ],
    [new OwnString({ type: 'string' }) as never, 'a custom schema class', ['"a"'], ['1']],
    [
      z.discriminatedUnion('k', [z.object({ k: z.literal('x') }), z.object({ k: z.literal('x') })]),
      'a union whose options share a tag',
      [],
      ['{"k":"x"}'],
    ],
    [
      z.discriminatedUnion('k', [
        z.object({ k: z.literal('x'), é: z.null() }),
        z.object({ k: z.literal('y') }),
      ]),
      'a union with an option of any form',
      ['{"k":"x","é":null}', '{"k":"y"}'],
      ['{"k":"z"}'],
    ],
  ])('%#: %j', (schema, reason, good, bad) => {
    const compiled = compile({ a: schema });
    expect(compiled.result).toMatchObject({ checked: expect.arrayContaining([`a: ${reason}`]), omitted: [] });
    expect(good.filter((value) => !takes(compiled, `"a":${value}`))).toEqual([]);
    expect(bad.filter((value) => takes(compiled, `"a":${value}`))).toEqual([]);
    // Also where there are none, or many.
    const list = compile({ a: z.array(schema).optional() });
    expect(takes(list, '')).toBe(true);
    expect(good.filter((value) => !takes(list, `"a":[${value},${value}]`))).toEqual([]);
    expect(bad.filter((value) => takes(list, `"a":[${[...good.slice(0, 1), value].join()}]`))).toEqual([]);
  });

  test('recursion', () => {
    const Tree = z.object({
      name: z.string(),
      get children() {
        return z.array(Tree).optional();
      },
    });
    const compiled = compile({ a: Tree });
    expect(compiled.result).toMatchObject({ checked: ['a.children[]: recursion'] });
    expect(takes(compiled, '"a":{"name":"","children":[{"name":""},{"name":""}]}')).toBe(true);
    expect(takes(compiled, '"a":{"name":"","children":[{"name":1}]}')).toBe(false);
  });

  test('up to 256 values of a message', () => {
    const compiled = compile({ a: z.array(z.email()) });
    const emails = (count: number) => `"a":[${Array(count).fill('"a@b.cc"').join()}]`;
    expect(takes(compiled, emails(256))).toBe(true);
    expect(takes(compiled, emails(257))).toBe(false);
    expect(takes(compiled, emails(2))).toBe(true);
  });

  test('what throws, or is not known in time, is left to the slow path', () => {
    const throws = () => {
      throw new Error('no');
    };
    for (const code of [
      throws,
      () =>
        Promise.reject(new Error('later'))
          .catch(throws)
          .catch(() => true),
    ]) {
      const { patterns, result } = compile({ a: z.string().refine(code) });
      expect(result).toMatchObject({ checked: ['a: a refinement'] });
      expect(matchFirst(patterns, '{"type":"t","a":""}')).toBeUndefined();
    }
  });

  test('no value where nothing may take long', () => {
    const { patterns } = compile({ a: z.email(), b: z.number().optional() });
    const bytes = Buffer.from('{"type":"t","a":"a@b.cc"}\n');
    patterns.load(bytes, 0, bytes.length);
    expect(patterns.scan(0).count).toBe(0);
    const seen: number[][] = [];
    expect(patterns.scan(0, (...offsets) => seen.push(offsets)).count).toBe(1);
    expect(seen).toEqual([[0, 25]]);
  });

  test('beyond 1,000 parts, as mutually recursive types have', () => {
    const types: z.ZodType[] = Array.from({ length: 12 }, () =>
      z.object({
        get lists() {
          return z.object(
            Object.fromEntries(types.map((type, index) => [`a${index}`, z.array(type).optional()])),
          );
        },
      }),
    );
    const compiled = compile({ a: types[0] as z.ZodType });
    expect(compiled.result).toHaveProperty('module');
    expect(takes(compiled, '"a":{"lists":{"a1":[{"lists":{}}]}}')).toBe(true);
    expect(takes(compiled, '"a":{"lists":{"a1":[{"lists":{"a2":1}}]}}')).toBe(false);
  });

  test('of a union, the values of the option that matches', () => {
    const option = (name: string, pattern: RegExp) =>
      z.object({ [name]: z.string().regex(pattern), k: z.literal(name) });
    const compiled = compile({ a: z.discriminatedUnion('k', [option('x', /^x/), option('y', /^y/)]) });
    expect(takes(compiled, '"a":{"x":"x1","k":"x"}')).toBe(true);
    expect(takes(compiled, '"a":{"y":"y1","k":"y"}')).toBe(true);
    expect(takes(compiled, '"a":{"y":"x1","k":"y"}')).toBe(false);
    const alike = (name: string) => z.object({ v: z.string().regex(/^x/), k: z.literal(name), w: z.email() });
    const same = compile({ a: z.discriminatedUnion('k', [alike('x'), alike('y')]) });
    expect(takes(same, '"a":{"v":"x","k":"y","w":"a@b.cc"}')).toBe(true);
  });

  test('once per value, even if parts of it are refined too', () => {
    const seen: unknown[] = [];
    const see = (value: unknown) => seen.push(value) > 0;
    const compiled = compile({ a: z.object({ b: z.string().refine(see) }).refine(see), c: z.email() });
    expect(compiled.result).toMatchObject({ checked: ['a: a refinement', 'c: the format email'] });
    expect(matchFirst(compiled.patterns, '{"type":"t","a":{"b":"x"},"c":"a@b.cc"}')).toBeDefined();
    expect(seen).toEqual(['x', { b: 'x' }]);
  });
});

describe('declines by name', () => {
  test.each<[Shape, string]>([
    [{ é: z.string() }, 'a key that is not plain ASCII'],
    [{ jobId: z.enum(['a', 'b']) }, 'a job id that is not a string'],
    [{ a: otherVersion(z.string()) }, 'a schema from another zod version'],
  ])('%#: %j', (shape, declined) => {
    expect(compile(shape).result).toEqual({ declined });
    // Where it is optional, only messages that have it take the slow path.
    const [[key = '', schema] = []] = Object.entries(shape);
    const optional = compile({ [key]: z.optional(schema as z.ZodType) });
    expect(optional.result).toMatchObject({ omitted: [`${key}: ${declined}`] });
    expect(takes(optional, '')).toBe(true);
  });

  test('a key that every object has, where it is missing: zod finds it anyway', () => {
    const compiled = compile({ constructor: z.string().optional() });
    expect(compiled.result).toHaveProperty('module');
    expect(takes(compiled, '')).toBe(false);
    expect(takes(compiled, '"constructor":"x"')).toBe(true);
    const checked = compile({ valueOf: z.date().optional() });
    expect(takes(checked, '')).toBe(false);
  });

  test('a schema of another version of zod, as a whole', () => {
    const { result } = compile({}, { object: (shape) => otherVersion(z.object(shape)) });
    expect(result).toEqual({ declined: 'a schema from another zod version' });
  });

  test('a part of another version of zod that may be missing: whether it may, is not known', () => {
    const { result } = compile({ a: otherVersion(z.string().optional()) });
    expect(result).toEqual({ declined: 'a schema from another zod version' });
  });

  test('a rule that is a function', () => {
    expect(compile({}, { rule: () => {} }).result).toEqual({ declined: 'its rule is a function' });
  });

  test('a refinement of the whole message', () => {
    const object = (shape: Shape) => z.object(shape).refine(() => true);
    expect(compile({}, { object }).result).toEqual({ declined: 'a refinement' });
  });

  test('a schema without its type, or of another', () => {
    const results = (schema: z.ZodType) =>
      createPatterns(onlyTypes(new MessageRegistry({ schemas: { t: schema } }), ['t'])).results;
    expect(results(z.object({ id: z.string() })).get('t')).toEqual({
      declined: 'a schema without a type key',
    });
    expect(results(z.object({ type: z.literal('x') })).get('t')).toEqual({
      declined: 'a schema for another type',
    });
    expect(results(z.object({ type: z.string() })).get('t')).toEqual({
      declined: 'a type key that is not a literal or enum',
    });
  });
});

test('schemas that users bring obey the law too', () => {
  const shapes: Shape[] = [
    {
      a: z.string().min(1).max(4),
      b: z.array(z.union([z.number(), z.string().nullable()])).optional(),
      c: z.boolean().default(true),
    },
    {
      jobId: z.string().optional(),
      n: z.int().min(0),
      o: z.looseObject({ x: z.unknown().optional(), y: z.record(z.string(), z.number()) }).optional(),
    },
  ];
  // As `fc.string({ unit: 'binary' })`, which takes a second to create.
  const character = fc.integer({ min: 0, max: 0x10ffff }).map((code) => String.fromCodePoint(code));
  const members = fc.record(
    {
      jobId: fc.string({ unit: 'grapheme', maxLength: 5 }),
      a: fc.oneof(
        fc.string({ minLength: 1, maxLength: 5 }),
        fc.array(character, { maxLength: 5 }).map((characters) => characters.join('')),
        fc.integer(),
      ),
      b: fc.array(fc.oneof(fc.integer(), fc.double(), fc.string(), fc.constant(null), fc.boolean()), {
        maxLength: 2,
      }),
      c: fc.oneof(fc.boolean(), fc.constant(null)),
      n: fc.oneof(fc.nat(), fc.integer(), fc.double(), fc.constant(-0)),
      o: fc.record(
        { x: fc.jsonValue({ maxDepth: 2 }), y: fc.dictionary(fc.string({ maxLength: 3 }), fc.integer()) },
        { requiredKeys: ['y'] },
      ),
    },
    { requiredKeys: ['a', 'n'] },
  );
  for (const shape of shapes) {
    const { patterns, validator } = compile(shape);
    const keys = Object.keys(shape);
    let matched = 0;
    fc.assert(
      fc.property(members, (values) => {
        // Now and then, a key that the schema does not have.
        const known = Object.fromEntries(Object.entries(values).filter(([key]) => keys.includes(key)));
        const text = JSON.stringify({ type: 't', ...(values.a === 1 ? values : known) });
        const bytes = Buffer.from(text);
        const match = matchFirst(patterns, bytes.toString('latin1'));
        if (match?.end !== bytes.length) return;
        matched++;
        const result = validator.validate(bytes);
        if (!result.ok || result.type.name !== 't')
          expect(result).toMatchObject({ ok: true, type: { name: 't' } });
        if ('jobId' in shape) {
          const job = typeof values.jobId === 'string' ? jobKey(values.jobId, NO_SEED) : NO_JOB;
          if (match.job.low !== job.low || match.job.high !== job.high) expect(match.job).toEqual(job);
        }
      }),
      { numRuns: RUNS, seed: SEED },
    );
    expect(matched).toBeGreaterThan(RUNS / 20);
  }
});

describe('patterns in the parser', () => {
  const beat = JSON.stringify(VALID.heartbeat);

  function run(parser: MessageParser, text: string): string[] {
    const log: string[] = [];
    const bytes = Buffer.from(text);
    parser.parse(bytes, 0, bytes.length, {
      onMatches: eachMatch(({ typeIndex }) =>
        log.push(`match ${parser.validator.registry.types[typeIndex]?.name}`),
      ),
      onMessage: ({ name }) => log.push(`parsed ${name}`),
      onMismatch: ({ name }) => log.push(`mismatch ${name}`),
      onRejection: ({ code }, _start, _end, line) => log.push(`${code} ${line}`),
    });
    return log;
  }

  test('ndjson takes a match only when its line ends there', () => {
    const patterns = createPatterns(MessageRegistry.builtin(), { framing: 'ndjson' });
    const parser = new MessageParser({ patterns, framing: 'ndjson' });
    expect(run(parser, `${beat}\n${beat}${beat}\n${beat}`)).toEqual([
      'match heartbeat',
      'INVALID_JSON 1',
      'match heartbeat',
    ]);
    const long = `${beat}${' '.repeat(70_000)}x\n${beat}`;
    expect(run(parser, long)).toEqual(['INVALID_JSON 0', 'match heartbeat']);
  });

  test('undelimited messages that no pattern knows take linear time', () => {
    const patterns = createPatterns(MessageRegistry.builtin(), { maxLearnedLayouts: 0 });
    const parser = new MessageParser({ patterns });
    const unknownLayout = JSON.stringify({ ...VALID.heartbeat, extra: 'x'.repeat(1000) });
    const count = 3000;
    /** As many messages in calls of so many. */
    const parsing = (perCall: number) => {
      const bytes = Buffer.from(unknownLayout.repeat(perCall));
      return () => {
        let parsed = 0;
        while (parsed < count) {
          parser.parse(bytes, 0, bytes.length, {
            onMatches() {},
            onMessage: () => parsed++,
            onRejection() {},
          });
        }
        expect(parsed).toBe(count);
      };
    };
    expect(timeRatio(parsing(count), parsing(count / 24), 3)).toBeLessThan(3);
  });

  test('a match that is too long is rejected', () => {
    const validator = new MessageValidator({ maxMessageSize: beat.length - 1 });
    const patterns = createPatterns(validator.registry, { maxMessageSize: validator.maxMessageSize });
    const parser = new MessageParser({ patterns, validator });
    expect(run(parser, `${beat}\n`)).toEqual(['MESSAGE_TOO_LARGE 0']);
  });

  test('the age of a message counts', () => {
    const now = () => Date.parse('2026-01-01T00:01:00Z');
    const validator = new MessageValidator({ maxMessageAge: 30_000, now });
    const patterns = createPatterns(validator.registry, { isTimely: validator.isTimely });
    const parser = new MessageParser({ patterns, validator });
    const recent = beat.replace('00:00:00.000Z', '00:00:45.000Z');
    expect(run(parser, `${recent}\n${beat}\n`)).toEqual(['match heartbeat', 'RULE_VIOLATION 1']);
  });

  test('verify finds a pattern that breaks the law, and trusts the slow path', () => {
    const registryWith = (x: z.ZodType) =>
      new MessageRegistry({ schemas: { t: z.object({ type: z.literal('t'), x }) } });
    const validator = new MessageValidator({ registry: registryWith(z.number().max(5)) });
    const lying = createPatterns(registryWith(z.number()));
    const parser = new MessageParser({ patterns: lying, validator, verify: true });
    const text = [1, 7, 2].map((x) => `${JSON.stringify({ type: 't', x })}\n`).join('');
    expect(run(parser, text)).toEqual(['mismatch t', 'parsed t', 'SCHEMA_VIOLATION 1', 'parsed t']);
    const patterns = createPatterns(MessageRegistry.builtin());
    expect(run(new MessageParser({ patterns, verify: true }), `${beat}\n`)).toEqual(['match heartbeat']);
  });
});
