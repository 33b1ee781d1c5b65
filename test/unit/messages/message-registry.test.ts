import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MessageRegistry, MessageValidator } from 'sluice';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import * as z from 'zod';
import { inspectSchema } from '#src/messages/schema-walk.js';
import { temporaryFolder } from '../../support/broker.js';
import { VALID } from '../../support/messages.js';

const zod = pathToFileURL(createRequire(import.meta.url).resolve('zod')).href;

function writeModule(source: string): string {
  const path = join(temporaryFolder(), 'schemas.mjs');
  writeFileSync(path, `import * as z from ${JSON.stringify(zod)};\n${source}`);
  return path;
}

describe('a schema module', () => {
  test('adds types with rules and directions', async () => {
    const path = writeModule(`
      export const schemas = {
        page_fetched: z.object({ type: z.literal('page_fetched'), url: z.url(), bytes: z.number().default(0) }),
        stop: z.object({ type: z.literal('stop') }),
      };
      export const rules = { page_fetched(message, report) { if (message.bytes < 0) report('bytes', 'negative', 'is negative'); } };
      export const directions = { stop: 'app' };
    `);
    for (const source of [path, pathToFileURL(path), pathToFileURL(path).href]) {
      const registry = await MessageRegistry.load(source);
      const validator = new MessageValidator({ registry });
      const page = { type: 'page_fetched', url: 'https://example.com' };
      expect(validator.validate(page)).toMatchObject({
        ok: true,
        type: { direction: 'crawler', transformsInput: true },
      });
      expect(validator.validate({ ...page, bytes: -1 })).toMatchObject({ code: 'RULE_VIOLATION' });
      expect(validator.validate({ ...page, url: 'no' })).toMatchObject({ code: 'SCHEMA_VIOLATION' });
      expect(validator.validate({ type: 'stop' })).toMatchObject({ ok: true, type: { direction: 'app' } });
      expect(validator.validate(VALID.heartbeat).ok).toBe(true);
    }
  });

  test('with defaults and transformations: its rules get the message as it was sent', () => {
    const type = z.literal('t');
    const schemas = { t: z.object({ type, a: z.string().default('x'), b: z.string().transform(Number) }) };
    const rule = vi.fn();
    const validator = new MessageValidator({
      registry: new MessageRegistry({ schemas, rules: { t: rule } }),
    });
    expect(validator.validate({ type: 't', b: '1' })).toMatchObject({ ok: true });
    expect(rule).toHaveBeenCalledWith({ type: 't', b: '1' }, expect.any(Function));
  });

  test('may replace a type of the protocol, which keeps its index', async () => {
    const path = writeModule(
      `export const schemas = { heartbeat: z.object({ type: z.literal('heartbeat'), n: z.number() }) };`,
    );
    const registry = await MessageRegistry.load(path);
    expect(registry.get('heartbeat')?.index).toBe(MessageRegistry.builtin().get('heartbeat')?.index);
    const validator = new MessageValidator({ registry });
    expect(validator.validate({ type: 'heartbeat', n: 1 }).ok).toBe(true);
    expect(validator.validate(VALID.heartbeat).ok).toBe(false);
  });

  test('inherits the direction of a type that it replaces, which must stay so where the broker depends on it', () => {
    const schemas = {
      heartbeat: z.looseObject({ type: z.literal('heartbeat') }),
      job_assignment: z.looseObject({ type: z.literal('job_assignment') }),
      shutdown: z.looseObject({ type: z.literal('shutdown') }),
    };
    const directions = { heartbeat: 'crawler', job_assignment: 'app' } as const;
    for (const stated of [{}, directions]) {
      const registry = new MessageRegistry({ schemas, directions: stated });
      expect(registry.get('heartbeat')?.direction).toBe('crawler');
      expect(registry.get('job_assignment')?.direction).toBe('app');
      expect(registry.get('shutdown')?.direction).toBe('app');
      expect(new MessageValidator({ registry }).validate({ type: 'job_assignment' }).ok).toBe(true);
    }
    const other = { job_assignment: 'crawler' } as const;
    expect(() => new MessageRegistry({ schemas, directions: other })).toThrow(
      'has the direction crawler for type job_assignment, which has to be app',
    );
  });

  test('may name a type like a member of every object: it has no rule and no direction from there', async () => {
    const names = Object.getOwnPropertyNames(Object.prototype).filter((name) => name !== '__proto__');
    const path = writeModule(`
      export const schemas = Object.fromEntries(${JSON.stringify(names)}.map((name) => [name, z.object({ type: z.literal(name) })]));
      export const rules = {};
      export const directions = {};
    `);
    const registry = await MessageRegistry.load(path);
    const validator = new MessageValidator({ registry });
    for (const name of names) {
      expect(registry.get(name)).toMatchObject({
        direction: 'crawler',
        rule: undefined,
        declarativeRules: undefined,
      });
      expect(validator.validate({ type: name })).toMatchObject({ ok: true });
    }
    expect(validator.statistics.byType).toEqual(Object.fromEntries(names.map((name) => [name, 1])));
  });

  test('with a rule that throws rejects the message, and does not quote the error', async () => {
    const path = writeModule(`
      export const schemas = { odd: z.object({ type: z.literal('odd') }).loose() };
      export const rules = { odd(message) { throw new Error(message.secret); } };
    `);
    const validator = new MessageValidator({ registry: await MessageRegistry.load(path) });
    const result = validator.validate({ type: 'odd', secret: 'CANARY' });
    expect(result).toMatchObject({ code: 'VALIDATION_FAILED', type: 'odd' });
    expect(JSON.stringify(result)).not.toContain('CANARY');
  });

  test.each([
    ['a refinement', 'z.string().refine(async () => true)'],
    [
      'a refinement of the message',
      "z.string() }).refine(async () => true), b: z.object({ type: z.literal('b')",
    ],
    ['a check', 'z.string().check(async () => {})'],
    ['a transform', 'z.string().transform(async (value) => value)'],
    ['a preprocessor', 'z.preprocess(async (value) => value, z.string())'],
    ['an overwrite', 'z.string().overwrite(async (value) => value)'],
    ['a catch', 'z.string().catch(async () => "x")'],
    ['a format', "z.stringFormat('x', async () => true)"],
    ['a custom schema', 'z.custom(async () => true)'],
    ['a part', 'z.array(z.union([z.lazy(() => z.record(z.string(), z.number().refine(async () => true)))]))'],
    ['a promise', 'z.promise(z.string())'],
  ])('with %s that needs promises is rejected when it is loaded', async (_, part) => {
    const path = writeModule(
      `export const schemas = { slow: z.object({ type: z.literal('slow'), a: ${part} }) };`,
    );
    await expect(MessageRegistry.load(path)).rejects.toMatchObject({
      code: 'SCHEMA_MODULE_INVALID',
      message: expect.stringMatching(/schemas\.mjs has an asynchronous schema for type slow/),
    });
  });

  test('with an async rule is rejected when it is loaded, and when it is given as an object', async () => {
    const path = writeModule(`
      export const schemas = { slow: z.object({ type: z.literal('slow') }) };
      export const rules = { async slow() {} };
    `);
    await expect(MessageRegistry.load(path)).rejects.toMatchObject({
      code: 'SCHEMA_MODULE_INVALID',
      message: expect.stringContaining(
        'has an asynchronous rule for type slow; schemas and rules must be synchronous',
      ),
    });
    const schemas = { slow: z.object({ type: z.literal('slow') }) };
    expect(() => new MessageRegistry({ schemas, rules: { slow: async () => {} } })).toThrow(
      'an asynchronous rule for type slow',
    );
  });

  test('with a schema that cannot be read is rejected, by the name of its type', async () => {
    const path = writeModule(
      `export const schemas = { odd: z.object({ a: z.string().default(() => { throw new Error('no'); }) }) };`,
    );
    await expect(MessageRegistry.load(path)).rejects.toMatchObject({
      code: 'SCHEMA_MODULE_INVALID',
      message: expect.stringContaining('a schema for type odd that cannot be read'),
    });
  });

  test.each([
    ['refine', '.refine(() => Promise.resolve(true))'],
    ['superRefine', '.superRefine(async () => {})'],
    ['transform', '.transform((value) => Promise.resolve(value))'],
  ])('whose %s gives a promise that nobody could see is rejected by message', async (_, step) => {
    const path = writeModule(
      `export const schemas = { slow: z.object({ type: z.literal('slow') })${step} };`,
    );
    const validator = new MessageValidator({ registry: await MessageRegistry.load(path) });
    expect(validator.validate({ type: 'slow' })).toMatchObject({ code: 'VALIDATION_FAILED' });
  });

  test.each([
    ['is kept', 'Promise.resolve()'],
    ['is broken', 'Promise.reject(new Error(message.secret))'],
    ['is no real one', '({ then(done, failed) { failed(new Error(message.secret)); } })'],
    ['cannot be read', '({ get then() { throw new Error(message.secret); } })'],
  ])(
    'with a rule that gives a promise, which %s, rejects the message, and nothing is left over',
    async (_, promise) => {
      const path = writeModule(`
      export const schemas = { slow: z.looseObject({ type: z.literal('slow') }) };
      export const rules = { slow: (message) => ${promise} };
    `);
      const unhandled = vi.fn();
      process.on('unhandledRejection', unhandled);
      onTestFinished(() => void process.off('unhandledRejection', unhandled));
      const validator = new MessageValidator({ registry: await MessageRegistry.load(path) });
      const result = validator.validate({ type: 'slow', secret: 'CANARY' });
      expect(result).toMatchObject({ code: 'VALIDATION_FAILED' });
      expect(JSON.stringify(result)).not.toContain('CANARY');
      await new Promise((resolve) => setImmediate(resolve));
      expect(unhandled).not.toHaveBeenCalled();
    },
  );

  test.each([
    ['no schemas', 'export const rules = {};', 'must export `schemas`'],
    ['something that is no schema', 'export const schemas = { a: 5 };', 'no zod 4 schema for type a'],
    ['a reserved type', 'export const schemas = { hello: z.any() };', 'reserved type hello'],
    ['the reserved type rejected', 'export const schemas = { rejected: z.any() };', 'reserved type rejected'],
    [
      'a rule without schema',
      'export const schemas = {}; export const rules = { b() {} };',
      'no schema, for type b',
    ],
    [
      'a rule whose schema would be a member of every object',
      'export const schemas = {}; export const rules = { toString() {} };',
      'no schema, for type toString',
    ],
    [
      'a rule that is no function',
      'export const schemas = { b: z.any() }; export const rules = { b: 1 };',
      'for type b',
    ],
    [
      'an unknown direction',
      "export const schemas = { b: z.any() }; export const directions = { b: 'up' };",
      'for type b',
    ],
    ['schemas that are no object', 'export const schemas = 5;', 'must export `schemas`'],
    ['an extension of an unknown list', "export const extend = { Stage: ['x'] };", 'extends "Stage"; only'],
    [
      'an extension named like a member of every object',
      "export const extend = { constructor: ['x'] };",
      'extends "constructor"',
    ],
    ['an extension that is no object', "export const extend = ['wiki'];", '`extend` as an object'],
    ['an extension that is null', 'export const extend = null;', '`extend` as an object'],
    ['a list that is no array', "export const extend = { EntityType: 'wiki' };", 'EntityType by an array'],
    ['a name that is no string', "export const extend = { JobType: ['a', 1] };", 'JobType by an array'],
    ['an empty name', "export const extend = { EntityType: [''] };", 'EntityType by an array'],
    ['a list with a hole', "export const extend = { EntityType: ['a', , 'b'] };", 'EntityType by an array'],
    [
      'too many names',
      'export const extend = { EntityType: Array.from({ length: 257 }, String) };',
      'at most 256 strings',
    ],
    [
      'a name that is too long',
      "export const extend = { EntityType: ['x'.repeat(257)] };",
      '1 to 256 characters',
    ],
    ['a syntax error', 'export const', 'schemas.mjs'],
  ])('with %s is rejected clearly', async (_, source, detail) => {
    await expect(MessageRegistry.load(writeModule(source))).rejects.toMatchObject({
      code: 'SCHEMA_MODULE_INVALID',
      message: expect.stringContaining(detail),
    });
  });

  test('may extend lists and replace schemas at once; its own schemas stay as they are', async () => {
    const path = writeModule(`
      export const schemas = { discovery: z.object({ type: z.literal('discovery'), entityType: z.enum(['user']) }) };
      export const extend = { EntityType: ['wiki', 'wiki', 'user'] };
    `);
    const validator = new MessageValidator({ registry: await MessageRegistry.load(path) });
    const progress = { ...VALID.job_progress, data: { ...VALID.job_progress.data, entityType: 'wiki' } };
    expect(validator.validate(progress)).toMatchObject({ ok: true });
    expect(validator.validate({ type: 'discovery', entityType: 'wiki' })).toMatchObject({ ok: false });
    expect(() => new MessageRegistry({ extend: { EntityType: [''] } })).toThrow('must extend EntityType');
  });

  test('has another fingerprint after each change of its file, once it is loaded again', async () => {
    const source = (value: string) =>
      `export const schemas = { t: z.object({ type: z.literal('${value}') }) };`;
    const url = pathToFileURL(writeModule(source('a'))).href;
    const load = async (from: string) => (await MessageRegistry.load(from)).fingerprint;
    const fingerprint = await load(url);
    expect(await load(`${url}?same`)).toBe(fingerprint);
    writeFileSync(new URL(url), `import * as z from ${JSON.stringify(zod)};\n${source('b')}`);
    expect(await load(`${url}?changed`)).not.toBe(fingerprint);
    expect(await load(url)).toBe(fingerprint);
  });

  test('has a fingerprint even if it is no file', async () => {
    const code = `export const extend = { EntityType: ['wiki'] };`;
    const registry = await MessageRegistry.load(`data:text/javascript,${encodeURIComponent(code)}`);
    expect(registry.fingerprint).toBeTypeOf('string');
  });

  test('that is not there is rejected clearly', async () => {
    await expect(MessageRegistry.load('/nowhere/schemas.mjs')).rejects.toMatchObject({
      code: 'SCHEMA_MODULE_INVALID',
    });
  });
});

test('a schema of a class of its own behaves as that class, not as its definition', () => {
  const Odd = z.core.$constructor<z.core.$ZodString>('Odd', (inst, def) => {
    z.core.$ZodString.init(inst, def);
    inst._zod.parse = (payload) => {
      payload.issues.push({ code: 'custom', input: payload.value, inst });
      return payload;
    };
  });
  const schema = z.object({ type: z.literal('odd'), a: new Odd({ type: 'string' }) });
  const validator = new MessageValidator({ registry: new MessageRegistry({ schemas: { odd: schema } }) });
  expect(validator.validate({ type: 'odd', a: 'x' })).toMatchObject({ code: 'SCHEMA_VIOLATION' });
});

describe('inspectSchema', () => {
  test('names every key, however nested', () => {
    const schema = z.object({
      a: z.array(z.object({ b: z.string() })),
      c: z.union([z.object({ d: z.number() }), z.null()]).optional(),
      e: z.record(z.string(), z.object({ f: z.boolean() })),
      g: z.lazy(() => z.object({ h: z.string() })),
    });
    expect([...inspectSchema(schema).keys].sort()).toEqual(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']);
  });

  test.each([
    [z.object({ a: z.string() }), false],
    [z.object({ a: z.string().default('x') }), true],
    [z.array(z.object({ a: z.number().optional() })), false],
    [z.object({ a: z.array(z.string().transform(Number)) }), true],
    [z.object({ a: z.coerce.number() }), true],
    [z.object({ a: z.string().catch('x') }), true],
    [z.string().trim(), true],
    [z.array(z.string().toLowerCase()), true],
    [z.url({ normalize: true }), true],
    [z.url(), true],
    [z.object({ a: z.string().url().optional() }), true],
    [z.string().superRefine(() => {}), true],
    [z.object({}).check(() => {}), true],
    [z.string().refine(() => true), false],
    [z.custom(() => true), false],
    [z.success(z.string()), true],
  ])('tells whether parsing transformsInput (%#)', (schema, transformsInput) => {
    expect(inspectSchema(schema).transformsInput).toBe(transformsInput);
  });
});
