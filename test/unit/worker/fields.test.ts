// The law of projected fields: what `event.get` returns is what walking the parsed message gives. FUZZ_CASES and FUZZ_SEED
// change the run.

import fc from 'fast-check';
import { type MessageEvent, MessageRegistry } from 'sluice';
import { describe, expect, test, vi } from 'vitest';
import * as z from 'zod';
import { goMarshal, pythonDumps } from '#bench/layouts.js';
import { createProjection } from '#src/pattern/projection.js';
import { Traffic } from '#src/traffic/traffic.js';
import { line, VALID } from '../../support/messages.js';
import { ProjectedEvents } from '../../support/projected.js';

const CASES = Number(process.env.FUZZ_CASES ?? 2000);
const SEED = Number(process.env.FUZZ_SEED ?? 20_260_101);
const builtin = MessageRegistry.builtin();
const crawlerTypes = builtin.types.filter(({ direction }) => direction === 'crawler').map(({ name }) => name);

/** Walks a parsed message, independently of the implementation. */
function walk(message: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((value, segment) => {
    if (Array.isArray(value)) return /^(0|[1-9]\d*)$/.test(segment) ? value[Number(segment)] : undefined;
    if (typeof value !== 'object' || value === null) return undefined;
    return Object.hasOwn(value, segment) ? (value as Record<string, unknown>)[segment] : undefined;
  }, message);
}

/** Fails unless each path gives what the parsed message has. Reads the projected fields first. */
function expectSame(events: readonly MessageEvent[], paths: readonly string[]): void {
  for (const event of events) {
    const got = paths.map((path) => event.get(path));
    const expected = paths.map((path) => walk(event.message, path));
    if (!got.every((value, index) => Object.is(value, expected[index]))) expect(got).toStrictEqual(expected);
  }
}

/** The calls of JSON.parse for whole messages while a function runs. */
function wholeParses(events: readonly MessageEvent[], read: () => void): number {
  const texts = new Set(events.map(({ raw }) => raw.toString()));
  const parse = vi.spyOn(JSON, 'parse');
  read();
  const count = parse.mock.calls.filter(([text]) => texts.has(text)).length;
  parse.mockRestore();
  return count;
}

const PATHS = [
  'type',
  'timestamp',
  'jobId',
  'data',
  'data.processed',
  'data.total',
  'data.message',
  'data.stage',
  'data.itemCounts.issues',
  'data.entities.0.name',
  'data.discovered_jobs.1',
  'data.context',
  'data.memoryUsage.rss',
  'meta',
  'meta.host',
  'data.nothing',
];
const fieldsOf = (paths: readonly string[]) => Object.fromEntries(crawlerTypes.map((type) => [type, paths]));
const traffic = new Traffic({ seed: 11 });
const messages = Array.from({ length: 3000 }, () => traffic.next());
const lines = (write: (message: object) => string) => messages.map((message) => `${write(message)}\n`);

describe.each([
  ['JSON.stringify', JSON.stringify],
  ["Python's json.dumps", pythonDumps],
  ["Go's encoding/json", goMarshal],
  ['extra keys', (message: object) => JSON.stringify({ v: 1, ...message, meta: { host: 'ä"' } })],
  [
    'keys in two orders',
    (message: object) => JSON.stringify(Object.fromEntries(Object.entries(message).toReversed())),
  ],
])('messages of %s', (_, write) => {
  const all = lines(write);
  test.each(['on', 'off', 'verify'] as const)('with patterns %s', (patterns) => {
    const projected = new ProjectedEvents(builtin, fieldsOf(PATHS), { patterns });
    for (let from = 0; from < 900; from += 300) {
      const part = all.slice(from, from + 300);
      const { events } = projected.events([part.slice(0, 100).join(''), part.slice(100).join('')]);
      expect(events).toHaveLength(part.length);
      expectSame(events, PATHS);
    }
  });

  test('are not parsed as a whole to read projected fields', () => {
    const projected = new ProjectedEvents(builtin, fieldsOf(PATHS));
    projected.events([all.join('')]);
    const { events: received, verdict } = projected.events([all.join('')]);
    expect(verdict.matched).toBeGreaterThan(received.length * 0.9);
    const events = received.filter(({ type }) => builtin.get(type)?.transformsInput === false);
    expect(events.length).toBeGreaterThan(received.length * 0.9);
    const read = () => {
      for (const event of events) for (const path of PATHS) event.get(path);
    };
    expect(wholeParses(events, read)).toBe(0);
  });
});

test('messages validated inline', () => {
  const projected = new ProjectedEvents(builtin, fieldsOf(PATHS));
  const { events } = projected.events(
    ['heartbeat', 'job_progress'].map((type) =>
      line(Object.entries(VALID).find(([name]) => name === type)?.[1] ?? {}),
    ),
    true,
  );
  expect(events).toHaveLength(2);
  expectSame(events, PATHS);
});

test('messages without delimiters', () => {
  const projected = new ProjectedEvents(builtin, fieldsOf(PATHS));
  const { events } = projected.events([
    messages
      .slice(0, 200)
      .map((message) => JSON.stringify(message))
      .join(''),
  ]);
  expect(events).toHaveLength(200);
  expectSame(events, PATHS);
});

test('paths that are not projected, and messages that handlers have parsed', () => {
  const projected = new ProjectedEvents(builtin, { job_progress: ['jobId'] });
  const { events } = projected.events([line(VALID.job_progress) + line(VALID.heartbeat)]);
  const [progress] = events;
  expect(progress?.get('jobId')).toBe('job-1');
  expectSame(events, PATHS);
  expect(progress?.message).toEqual(VALID.job_progress);
  expectSame(events, [
    'jobId',
    'jobId.length',
    'constructor',
    'data.constructor',
    '__proto__',
    '',
    '.',
    'data.',
  ]);
});

describe('values of all kinds', () => {
  const Flag = z.union([z.number(), z.boolean(), z.null(), z.string()]);
  const schema = z.looseObject({
    type: z.literal('t'),
    first: z.string().optional(),
    n: z.number().optional(),
    s: z.string().optional(),
    flag: Flag.optional(),
    maybe: z.object({ deep: z.string() }).nullable().optional(),
    box: z.object({ a: z.object({ b: z.number().optional(), c: z.boolean() }).optional() }).optional(),
    counts: z.record(z.string(), z.number()).optional(),
    list: z.array(z.object({ id: z.string() })).optional(),
    any: z.unknown().optional(),
    shape: z
      .discriminatedUnion('k', [
        z.object({ k: z.literal('x'), v: z.number() }),
        z.object({ k: z.literal('y'), v: z.string() }),
      ])
      .optional(),
  });
  const registry = new MessageRegistry({ schemas: { t: schema } });
  const paths = [
    'first',
    'n',
    's',
    'flag',
    'maybe',
    'maybe.deep',
    'box.a.b',
    'box.a.c',
    'counts.x',
    'counts',
    'list.0.id',
    'list.length',
    'any.0',
    'shape.v',
    'extra',
    'extra.k',
  ];
  const number = fc.oneof(
    fc.constantFrom(
      '0',
      '-0',
      '12.50',
      '1e5',
      '1E-7',
      '123456789012345',
      '1234567890123456789',
      '-1',
      '0.1',
      '-1.5',
    ),
    fc.integer().map(String),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
  );
  const string = fc.oneof(
    fc.string({ unit: 'binary' }).map((text) => JSON.stringify(text)),
    fc.constantFrom(
      '""',
      '"\\u0041\\n"',
      '"\\ud83d\\ude80"',
      '"Zoë"',
      '"日本"',
      '"\\\\"',
      '"\\/"',
      '"ab\\"c"',
      '"🚀x"',
    ),
  );
  const scalar = fc.oneof(number, string, fc.constantFrom('true', 'false', 'null'));
  const text = fc.oneof({ weight: 4, arbitrary: string }, { weight: 1, arbitrary: scalar });
  const oneOf = (...texts: string[]) => fc.constantFrom(...texts);
  const any = fc.oneof(
    scalar,
    oneOf('{}', '[]', '[5,"x"]', '{"k":"x","k":2}', '[{"k":1}]', '{"k":{"k":1}}', '[[1]]'),
  );
  /** Mostly valid values, by key in the schema's order. */
  const VALUES: Readonly<Record<string, fc.Arbitrary<string>>> = {
    first: text,
    n: fc.oneof({ weight: 9, arbitrary: number }, { weight: 1, arbitrary: scalar }),
    s: text,
    flag: scalar,
    maybe: oneOf(
      'null',
      '{"deep":"x"}',
      '{"deep":"\\u00e9"}',
      '{"deep":"a","deep":"b"}',
      '{"deep":"x","more":{"a":1}}',
      '{}',
    ),
    box: oneOf(
      '{}',
      '{"a":{"c":true}}',
      '{"a":{"b":1.0,"c":false}}',
      '{"a":{"c":true,"b":2}}',
      '{"a":{"c":true,"c":false}}',
      '{"a":1}',
    ),
    counts: oneOf('{}', '{"x":1}', '{"y":2,"x":-0}', '{"x":1,"x":2}', '{"\\u0078":3}', '{"x":"1"}'),
    list: oneOf('[]', '[{"id":"1"},{"id":"2"}]', '[{"id":"a","more":1}]', '[{"id":"a","id":"b"}]', '[1]'),
    any,
    shape: oneOf(
      '{"k":"x","v":1}',
      '{"k":"y","v":"\\n"}',
      '{"v":1,"k":"x"}',
      '{"k":"x","k":"y","v":"z"}',
      '{"k":"x"}',
    ),
    extra: any,
  };
  const members = Object.entries(VALUES).map(([key, value]) => value.map((inner) => `"${key}":${inner}`));
  const ordered = fc
    .tuple(...members.map((member) => fc.option(member, { freq: 1, nil: undefined })))
    .map((all) => all.filter((member) => member !== undefined));
  const disordered = fc.array(
    fc.oneof(...members, oneOf('"f\\u0069rst":"a"', '"__proto__":{}', '"more":1')),
    { maxLength: 4 },
  );
  const message = fc
    .oneof({ weight: 4, arbitrary: ordered }, { weight: 1, arbitrary: disordered })
    .map((all) => `{${['"type":"t"', ...all].join()}}`);

  test.each(['on', 'off'] as const)('with patterns %s', (patterns) => {
    const projected = new ProjectedEvents(registry, { t: paths }, { patterns });
    let [accepted, matched] = [0, 0];
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 20 }), (texts) => {
        const { events, verdict } = projected.events([`${texts.join('\n')}\n`]);
        accepted += events.length;
        matched += verdict.matched;
        expectSame(events, paths);
      }),
      { numRuns: Math.ceil(CASES / 10), seed: SEED },
    );
    expect(accepted).toBeGreaterThan(CASES / 5);
    if (patterns === 'on') expect(matched).toBeGreaterThan(accepted / 5);
  });

  test.each(paths)('the field %s alone', (path) => {
    const projected = new ProjectedEvents(registry, { t: [path] });
    const texts = [
      '{"type":"t"}',
      '{"type":"t","n":1,"s":"a\\"b","box":{"a":{"c":true}},"shape":{"k":"y","v":"v"}}',
      '{"type":"t","first":"é","box":{"a":{"b":2,"c":true}},"counts":{"x":3},"list":[{"id":"i"}],"any":[5]}',
      '{"type":"t","maybe":null,"box":{},"list":[]}',
      '{"type":"t","flag":false,"maybe":{"deep":"d"}}',
    ];
    const { events, verdict } = projected.events([texts.join('')]);
    expect(verdict.matched).toBe(texts.length);
    const read = () => expect(events.map((event) => event.get(path)).length).toBe(texts.length);
    expect(wholeParses(events, read)).toBe(0);
    expectSame(events, [path]);
  });
});

test('no span is left of a member that is absent, whatever the text that follows', () => {
  const box = z.object({ kind: z.literal('abc'), a: z.string() }).optional();
  const schema = z.object({
    type: z.literal('t'),
    x: z.boolean().optional(),
    box,
    y: z.literal('w').optional(),
  });
  const registry = new MessageRegistry({ schemas: { t: schema } });
  const paths = ['x', 'box', 'box.kind', 'box.a', 'y'];
  const { events } = new ProjectedEvents(registry, { t: paths }).events([
    '{"type":"t","x":true,"box":{"kind":"abc","a":"1"},"y":"w"}\n{"type":"t"}\n{"type":"t","y":"w"}\n',
    '{"type":"t","x":false}\n{"type":"t","box":{"kind":"abc","a":""}}\n',
  ]);
  expect(events).toHaveLength(5);
  expectSame(events, paths);
});

test('the fields of a type with a URL are delivered, the URL as its schema trims it', () => {
  const schema = z.object({
    type: z.literal('t'),
    url: z.url(),
    n: z.number().refine((n) => n > 0),
    tags: z.array(z.email()).optional(),
    headers: z.record(z.string(), z.any()).optional(),
  });
  const registry = new MessageRegistry({ schemas: { t: schema } });
  const paths = ['url', 'n', 'tags', 'tags.0', 'headers', 'headers.a.b'];
  const messages = ['https://a.example/', ' https://a.exa\tmple/\n'].map((url) =>
    line({ type: 't', url, n: 1, tags: ['a@b.cc'], headers: { a: { b: 1 } } }),
  );
  for (const patterns of ['on', 'off'] as const) {
    const { events, verdict } = new ProjectedEvents(registry, { t: paths }, { patterns }).events(messages);
    expect(verdict.matched).toBe(patterns === 'on' ? 2 : 0);
    expect(wholeParses(events, () => void events.map((event) => paths.map((path) => event.get(path))))).toBe(
      0,
    );
    for (const event of events) expect(event.get('url')).toBe('https://a.example/');
    expectSame(events, paths);
    for (const event of events) expect(event.message.url).toBe('https://a.example/');
  }
});

describe('messages whose fields are not delivered', () => {
  test('those that the schema of a type may change', () => {
    const inner = z.looseObject({ d: z.number().default(1), n: z.number().min(0).nullable().optional() });
    const schema = z.looseObject({
      type: z.literal('t'),
      a: z.string().default('none'),
      trimmed: z.string().trim(),
      url: z.url().optional(),
      inner,
      kept: z.object({ s: z.string() }).optional(),
      refined: z
        .looseObject({ s: z.string() })
        .transform(({ s }) => ({ s: `${s}!` }))
        .optional(),
      own: z.object({ s: z.string().optional() }).optional(),
      checked: z
        .looseObject({ s: z.string() })
        .check(({ value }) => {
          value.s = 'changed';
        })
        .optional(),
    });
    const registry = new MessageRegistry({ schemas: { t: schema } });
    const paths = [
      'a',
      'trimmed',
      'url',
      'inner',
      'inner.d',
      'inner.n',
      'inner.x.y',
      'kept',
      'kept.s',
      'kept.x',
    ];
    const more = ['refined.s', 'own.s', 'checked.s', 'x', 'constructor', 'type'];
    const texts = [
      '{"type":"t","trimmed":" x ","inner":{}}',
      '{"type":"t","a":"b","trimmed":"x","url":" https://EXAMPLE.com ","inner":{"d":2,"n":-0},"x":{"a":1}}',
      '{"type":"t","trimmed":"","inner":{"n":null,"x":{"y":[1]}},"kept":{"s":"1","x":2},"refined":{"s":"r"}}',
      '{"type":"t","trimmed":"","inner":{"n":5},"checked":{"s":"r"},"own":{},"x":"\\n","kept":{"s":"k"}}',
    ];
    for (const patterns of ['on', 'off'] as const) {
      const projected = new ProjectedEvents(registry, { t: [...paths, ...more] }, { patterns });
      const { events } = projected.events([`${texts.join('\n')}\n`]);
      expect(events).toHaveLength(texts.length);
      for (const event of events) {
        const got = [...paths, ...more].map((path) => event.get(path));
        expect(got).toStrictEqual([...paths, ...more].map((path) => walk(event.message, path)));
      }
    }
    const delivered = createProjection(registry, new Map([['t', [...paths, ...more]]]));
    const type = registry.get('t');
    expect([...(delivered?.types[type?.index ?? 0]?.byPath.keys() ?? [])].sort()).toEqual([
      'inner.n',
      'inner.x.y',
      'kept.s',
      'own.s',
      'type',
      'url',
      'x',
    ]);
  });

  test('those that break the contract and are reported', () => {
    const projected = new ProjectedEvents(builtin, fieldsOf(['data.activeJobs', 'jobId']), {
      validation: 'report',
    });
    const broken = { ...VALID.heartbeat, data: { activeJobs: 'many' } };
    const { events } = projected.events([
      line(VALID.heartbeat) + line(broken) + line({ type: 'unknown_one' }),
    ]);
    expect(events.map((event) => event.get('data.activeJobs'))).toEqual([1, 'many', undefined]);
    expect(events.map(({ isValid }) => isValid)).toEqual([true, false, false]);
  });

  test('those with large values on the slow path', () => {
    const projected = new ProjectedEvents(
      builtin,
      { job_failed: ['data', 'data.error'] },
      { patterns: 'off' },
    );
    const failed = (error: string) =>
      line({ ...VALID.job_failed, data: { ...VALID.job_failed.data, error } });
    const { events, verdict } = projected.events([failed('x'.repeat(70_000)) + failed('small')]);
    expect(verdict.values).toHaveLength(1);
    expectSame(events, ['data', 'data.error']);
  });
});

test('messages of applications, from values', () => {
  const { type } = VALID.token_refresh_response;
  const { events, verdict } = new ProjectedEvents(builtin, { [type]: ['type', 'data'] }).events([
    line(VALID.token_refresh_response),
  ]);
  expect(events).toHaveLength(1);
  expectSame(events, ['type', 'data']);
  expect(verdict.values).toHaveLength(1);
});

test('an event stays valid after others have come', () => {
  const projected = new ProjectedEvents(builtin, fieldsOf(['jobId']));
  const { events } = projected.events([line(VALID.job_progress)]);
  for (let round = 0; round < 20; round++)
    projected.events([line({ ...VALID.job_progress, jobId: `${round}` })]);
  expect(events[0]?.get('jobId')).toBe('job-1');
});
