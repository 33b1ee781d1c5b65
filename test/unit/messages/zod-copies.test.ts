// Schema modules whose zod is not the broker's own: another copy, another version, another flavour.

import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MessageRegistry, MessageValidator } from 'sluice';
import { describe, expect, onTestFinished, test } from 'vitest';
import { asyncApiDocument } from '#src/admin/asyncapi.js';
import { parseAs } from '#src/messages/schema-functions.js';
import { PatternSet } from '#src/pattern/pattern-set.js';
import { temporaryFolder } from '../../support/broker.js';
import { share } from '../../support/share.js';

const ownZod = dirname(createRequire(import.meta.url).resolve('zod/package.json'));

/** A folder with a copy of zod. @param version if given, the copy claims to be this version */
function copyZod(folder: string, version?: string): string {
  const copy = join(folder, 'node_modules/zod');
  mkdirSync(copy, { recursive: true });
  const isNeeded = (path: string) => !/\/src$|\.(ts|cts|cjs)$/.test(path);
  cpSync(ownZod, copy, { recursive: true, filter: isNeeded });
  if (version !== undefined) {
    const file = join(copy, 'v4/core/versions.js');
    const [major, minor, patch] = version.split('.');
    writeFileSync(
      file,
      readFileSync(file, 'utf8')
        .replace(/major: \d+/, `major: ${major}`)
        .replace(/minor: \d+/, `minor: ${minor}`)
        .replace(/patch: \d+/, `patch: ${patch}`),
    );
  }
  return folder;
}

const SCHEMAS = `
  const of = (type, shape) => z.object({ type: z.literal(type), ...shape });
  export const schemas = {
    formats: of('formats', { url: z.url().optional(), email: z.email().optional(), uuid: z.uuid().optional(), time: z.iso.datetime().optional() }),
    enums: of('enums', { name: z.enum(['a', 'b']), count: z.int().min(0).optional() }),
    refined: of('refined', { a: z.string().refine((a) => a !== 'bad') }).refine(({ a }) => a !== 'worse'),
    unions: of('unions', { part: z.discriminatedUnion('kind', [of('x', { kind: z.literal('x'), x: z.string() }), z.object({ kind: z.literal('y'), y: z.number() })]) }),
    records: of('records', { counts: z.record(z.string(), z.number()) }),
    transformed: of('transformed', { length: z.string().transform((text) => text.length).pipe(z.number().max(3)), n: z.number().default(5) }),
    strict: z.strictObject({ type: z.literal('strict'), list: z.array(z.string()).max(2).optional() }),
  };
`;
const MESSAGES = [
  { type: 'formats', url: 'https://example.com/' },
  { type: 'formats', url: 'no' },
  { type: 'formats', email: 'a@example.com' },
  { type: 'formats', email: 'no' },
  { type: 'formats', uuid: '123e4567-e89b-42d3-a456-426614174000' },
  { type: 'formats', uuid: 'no' },
  { type: 'formats', time: '2026-01-01T12:00:00Z' },
  { type: 'formats', time: 'no' },
  { type: 'formats', time: null },
  { type: 'enums', name: 'a', count: 1 },
  { type: 'enums', name: 'c', count: -1 },
  { type: 'enums' },
  { type: 'refined', a: 'good' },
  { type: 'refined', a: 'bad' },
  { type: 'refined', a: 'worse' },
  { type: 'unions', part: { type: 'x', kind: 'x', x: 'a' } },
  { type: 'unions', part: { type: 'x', kind: 'x', x: 1 } },
  { type: 'unions', part: { kind: 'z' } },
  { type: 'records', counts: { a: 1 } },
  { type: 'records', counts: { a: 'b' } },
  { type: 'transformed', length: 'abc' },
  { type: 'transformed', length: 'abcd' },
  { type: 'transformed', length: 1 },
  { type: 'strict', list: ['a'] },
  { type: 'strict', list: ['a', 'b', 'c'] },
  { type: 'strict', more: 1 },
];

async function registryOf(folder: string, source: string, name: string): Promise<MessageRegistry> {
  const file = join(folder, `${name}.mjs`);
  writeFileSync(file, source);
  return MessageRegistry.load(file);
}

const own = `import * as z from ${JSON.stringify(pathToFileURL(join(ownZod, 'index.js')).href)};`;
const folders = share(async (whenOver) => ({
  same: copyZod(temporaryFolder(whenOver)),
  other: copyZod(temporaryFolder(whenOver), '4.99.0'),
}));

describe.each(['same', 'other'] as const)('a copy of zod of the %s version', (version) => {
  test('gives the results of the own copy, and patterns only if it is the same version', async () => {
    const registry = await registryOf(folders()[version], `import * as z from 'zod';${SCHEMAS}`, 'all');
    const validator = new MessageValidator({ registry });
    const reference = new MessageValidator({
      registry: await registryOf(folders()[version], own + SCHEMAS, 'own'),
    });
    for (const message of MESSAGES) {
      const { ok, ...result } = validator.validate(message);
      const { ok: isValid, ...expected } = reference.validate(message);
      expect([message, ok, 'issues' in result && result.issues]).toEqual([
        message,
        isValid,
        'issues' in expected && expected.issues,
      ]);
    }
    const result = PatternSet.create(registry)?.results.get('records');
    if (version === 'same') expect(result).toHaveProperty('module');
    else expect(result).toEqual({ declined: 'a schema from another zod version' });
    const transformed = registry.get('transformed');
    expect(transformed && parseAs(transformed, { type: 'transformed', length: 'ab' })).toEqual({
      type: 'transformed',
      length: 2,
      n: 5,
    });
    expect(JSON.stringify(asyncApiDocument(registry, undefined, '1.0.0'))).toContain('"format":"uri"');
  });
});

test('a schema from another version builds few issues of a large message', async () => {
  const source = `import * as z from 'zod';
    const text = z.string({ error: () => { globalThis.builtIssues++; return ''; } });
    export const schemas = { list: z.object({ type: z.literal('list'), list: z.array(z.object({ text })) }) };`;
  const validator = new MessageValidator({ registry: await registryOf(folders().other, source, 'list') });
  const built = globalThis as { builtIssues?: number };
  onTestFinished(() => void delete built.builtIssues);
  const listOf = (length: number) => ({ type: 'list', list: Array.from({ length }, () => ({})) });
  const issuesOf = (length: number) => {
    built.builtIssues = 0;
    const result = validator.validate(listOf(length));
    return result.ok ? 0 : result.issues.length;
  };
  expect(issuesOf(3)).toBe(3);
  expect(issuesOf(10_000)).toBe(1);
  expect(built.builtIssues).toBeLessThan(10);
});

test('a schema from another version is judged by its own functions, not by what ours read in it', async () => {
  const source = `import * as z from 'zod';
    const schema = z.object({ type: z.literal('a'), text: z.string() });
    // As a version would do whose compiled validators have another protocol.
    schema._zod.bag.validator = () => 'not what this version returns';
    export const schemas = { a: schema };`;
  const registry = await registryOf(folders().other, source, 'compiled');
  const validator = new MessageValidator({ registry });
  expect(validator.validate({ type: 'a', text: 'x' })).toMatchObject({ ok: true });
  expect(validator.validate({ type: 'a', text: 1 })).toMatchObject({
    code: 'SCHEMA_VIOLATION',
    issues: [{ path: 'text', code: 'invalid_type' }],
  });
});

test.each(['same', 'other'] as const)(
  'schemas of zod/mini and zod/v4/core work (%s version)',
  async (version) => {
    const source = `import * as mini from 'zod/mini'; import * as core from 'zod/v4/core';
    const literal = new core.$ZodLiteral({ type: 'literal', values: ['core'] });
    const text = new core.$ZodDefault({ type: 'default', innerType: new core.$ZodString({ type: 'string' }), defaultValue: 'x' });
    export const schemas = {
      mini: mini.object({ type: mini.literal('mini'), text: mini._default(mini.string(), 'x') }),
      core: new core.$ZodObject({ type: 'object', shape: { type: literal, text } }),
    };`;
    const registry = await registryOf(folders()[version], source, 'flavours');
    const validator = new MessageValidator({ registry });
    for (const name of ['mini', 'core']) {
      expect(validator.validate({ type: name, text: 'y' })).toMatchObject({ ok: true });
      expect(validator.validate({ type: name, text: 1 })).toMatchObject({ issues: [{ path: 'text' }] });
      const type = registry.get(name);
      expect(type && parseAs(type, { type: name })).toEqual({ type: name, text: 'x' });
    }
  },
);

test.each<[string, string]>([
  ['as a whole', 'zod3.object({})'],
  ['in a part', "z.object({ type: z.literal('a'), part: zod3.object({}) })"],
  ['deep in a part', "z.object({ type: z.literal('a'), part: z.array(zod3.object({})).optional() })"],
])('a schema of zod 3, %s, is rejected when it is loaded', async (_, schema) => {
  // The shape of a schema of zod 3.
  const source = `${own}
    const zod3 = { object: (shape) => ({ _def: { typeName: 'ZodObject', shape: () => shape }, parse() {}, async parseAsync() {} }) };
    export const schemas = { a: ${schema} };`;
  await expect(registryOf(folders().same, source, `zod3-${Math.random()}`)).rejects.toMatchObject({
    code: 'SCHEMA_MODULE_INVALID',
    message: expect.stringMatching(/for type a.* of zod 3/),
  });
});
