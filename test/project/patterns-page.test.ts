// docs/patterns.md quotes schemas, dumps and a match: they are compared with what the code does.

import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MessageRegistry } from 'sluice';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as z from 'zod';
import { dumpPattern } from '#scripts/pattern-dump.js';
import { compileType } from '#src/pattern/pattern-set.js';
import { temporaryFolder } from '../support/broker.js';
import { packageRoot } from '../support/cli.js';
import { createPatterns, matchAt } from '../support/patterns.js';

const page = readFileSync(join(packageRoot, 'docs/patterns.md'), 'utf8');

/** The code blocks in a language. */
const blocks = (language: string): string[] =>
  [...page.matchAll(/^```(\w+)\n(.*?)^```/gms)].flatMap(([, name, text = '']) =>
    name === language ? [text] : [],
  );

const [ir = '', wasm = '', match = ''] = blocks('text');

describe('docs/patterns.md', () => {
  const folder = temporaryFolder(afterAll);
  let registry: MessageRegistry;
  let dump: string;

  beforeAll(async () => {
    symlinkSync(join(packageRoot, 'node_modules'), join(folder, 'node_modules'));
    const file = join(folder, 'pages.mjs');
    writeFileSync(file, blocks('js').join(''));
    registry = await MessageRegistry.load(file);
    const type = registry.get('page_fetched');
    dump = type === undefined ? '' : await dumpPattern(type);
  });

  test('quotes the IR of its schema', () => {
    expect(dump.split('\n\n(module')[0]).toBe(ir.trimEnd());
  });

  test('quotes lines of the WebAssembly text, in order and without gaps other than the marked ones', () => {
    const parts = wasm.split('…\n');
    expect(parts.length).toBeGreaterThan(3);
    let at = 0;
    for (const part of parts) {
      const found = dump.indexOf(`\n${part}`, at);
      expect({ part, isFound: found !== -1 }).toEqual({ part, isFound: true });
      // The newline that ends a part also precedes the next one.
      at = found + part.length;
    }
  });

  test('states the match of its message', () => {
    const patterns = createPatterns(registry);
    const bytes = Buffer.from(blocks('json').join(''));
    patterns.load(bytes, 0, bytes.length);
    const { start, end, typeIndex, job } = matchAt(patterns.scan(0), 0);
    const type = registry.types[typeIndex]?.name;
    expect(match).toBe(`start ${start}, end ${end}, type ${type}, job ${job.low}\n`);
    const invalid = Buffer.from(String(bytes).replace('5120', '5120.5'));
    patterns.load(invalid, 0, invalid.length);
    expect(patterns.scan(0).count).toBe(0);
  });

  const checked = [...page.matchAll(/^\| `(z\..*)` \| (.*) \|$/gm)].map(
    ([, schema = '', reason = '']) => [schema, reason] as const,
  );

  test.each(checked)('gives the reason why %s is checked', (schema, reason) => {
    const value = new Function('z', `return ${schema}`)(z) as z.ZodType;
    const types = new MessageRegistry({ schemas: { t: z.object({ type: z.literal('t'), value }) } });
    const type = types.get('t');
    expect(type && compileType(type, false)).toMatchObject({ checked: [`value: ${reason}`] });
  });

  test('lists checked schemas', () => {
    expect(checked.length).toBeGreaterThan(8);
  });
});
