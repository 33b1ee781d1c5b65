import { join } from 'node:path';
import { MessageRegistry } from 'sluice';
import { describe, expect, test } from 'vitest';
import wabt from 'wabt';
import * as z from 'zod';
import { dumpPattern, dumpScanLoop } from '#scripts/pattern-dump.js';
import type { MessageType } from '#src/messages/message-registry.js';
import { type Code, f64, i8x16, i32, i64 } from '#src/pattern/wasm/expressions.js';
import { ModuleWriter } from '#src/pattern/wasm/module-writer.js';
import { packageRoot, shareSluice } from '../../support/cli.js';

const FEATURES = { simd: true, sat_float_to_int: true };

function typeOf(name: string, registry = MessageRegistry.builtin()): MessageType {
  const type = registry.get(name);
  if (type === undefined) throw new Error(`there is no type ${name}`);
  return type;
}

const wasmOf = (dump: string): string => dump.slice(dump.indexOf('(module'));

describe('the dump of a pattern', () => {
  test('contains the keys and the names of functions, locals and globals', async () => {
    const dump = await dumpPattern(typeOf('heartbeat'));
    expect(dump).toContain('"activeJobs": decimal, integer, >= 0, captured as data.activeJobs\n');
    expect(dump).toContain('"memoryUsage"?: flat\n');
    expect(dump).toMatch(/^\(module \$heartbeat$/m);
    expect(dump).toContain(';; {"type":\n');
    expect(dump).toContain(';; ,"jobId"\n');
    for (const name of ['$match (export "match")', '$dateTime', '$decimal', '$flat']) {
      expect(dump).toContain(`  (func ${name} `);
    }
    expect(dump).toContain('(local.set $data.activeJobs (global.get $value))');
  });

  test.each(
    MessageRegistry.builtin()
      .types.filter(({ direction, index }) => index > 0 && direction === 'crawler')
      .map(({ name }) => name),
  )('of %s is valid WebAssembly text', async (name) => {
    const { parseWat } = await wabt();
    const module = parseWat(name, wasmOf(await dumpPattern(typeOf(name))), FEATURES);
    module.validate();
    module.destroy();
  });

  test('shows every kind of node', async () => {
    const shape = {
      ascii: z.string().min(1).max(4),
      longer: z.string().min(2),
      prefixed: z.string().startsWith('a'),
      number: z.number(),
      decimal: z.number().gt(1).lte(2.5),
      time: z.iso.datetime(),
      date: z.iso.date(),
      uuid: z.uuid(),
      uuid4: z.uuidv4(),
      list: z.array(z.null()).max(3),
      record: z.record(z.string(), z.boolean()),
      choice: z.union([z.number(), z.string()]),
      url: z.url().optional(),
      clé: z.string().optional(),
    };
    const schemas = { t: z.object({ type: z.literal('t'), ...shape }) };
    const dump = await dumpPattern(typeOf('t', new MessageRegistry({ schemas })));
    expect(dump.split('\n\n(module')[0]).toBe(`t: partial
  omitted: clé: a key that is not plain ASCII
  checked: url: the format url

object
  "type": text "t"
  "ascii": choice
    ascii, length 1 to 4
    string, checked
  "longer": choice
    ascii, length >= 2
    string, checked
  "prefixed": string, begins with "a"
  "number": number
  "decimal": decimal, > 1, <= 2.5
  "time": dateTime
  "date": date
  "uuid": uuid
  "uuid4": uuid, version 4
  "list": list, length 0 to 3
    text null
  "record": record
    text true | false
  "choice": choice
    number
    string
  "url"?: string, checked`);
  });

  test('of the scan loop is valid WebAssembly text with names', async () => {
    const dump = await dumpScanLoop();
    const { parseWat } = await wabt();
    parseWat('scan-loop', dump, FEATURES).validate();
    expect(dump).toContain('(func $scan (export "scan")');
    expect(dump).toMatch(/\(call \$hash\s/);
    expect(dump).toContain('(local $matchEnd i32)');
  });

  test('gives the reason why there is no pattern', async () => {
    const registry = new MessageRegistry({
      schemas: { t: z.object({ type: z.literal('t') }).refine(() => true) },
    });
    expect(await dumpPattern(typeOf('t', registry))).toBe('t: declined: a refinement\n');
    expect(await dumpPattern(typeOf('hello'))).toBe(
      'hello: no pattern, since the broker uses these messages itself\n',
    );
  });
});

describe('npm run pattern:dump', () => {
  const run = shareSluice(join(packageRoot, 'dist/scripts/pattern-dump.js'));

  test('prints the dump of a type, also of a schema module', async () => {
    const builtin = await run(['job_request']);
    expect(builtin.code).toBe(0);
    expect(builtin.stdout).toBe(await dumpPattern(typeOf('job_request')));
    const schemas = join(packageRoot, 'test/support/custom-schemas.mjs');
    const custom = await run(['page_fetched', '--schemas', schemas]);
    expect(custom.code).toBe(0);
    expect(custom.stdout).toBe('page_fetched: declined: its rule is a function\n');
  });

  test('an unknown type is an error that lists the names', async () => {
    const unknown = await run(['no_such_type']);
    expect(unknown.code).toBe(64);
    expect(unknown.stdout).toBe('');
    expect(unknown.stderr).toContain("Unknown message type 'no_such_type'");
    for (const { name } of MessageRegistry.builtin().types.slice(1)) {
      expect(unknown.stderr).toContain(`\n  ${name}\n`);
    }
  });

  test('no type is an error with the usage', async () => {
    const none = await run([]);
    expect(none.code).toBe(64);
    expect(none.stderr).toContain('npm run pattern:dump TYPE');
  });
});

test('instructions have the names of the specification', async () => {
  const groups = Object.entries({ i32, i64, f64, i8x16 });
  const instructions = groups.flatMap(([type, group]) =>
    Object.entries(group)
      .filter(([name]) => !['const', 'splat'].includes(name))
      .map(([name, emit]) => [`${type}.${name}`, emit as (...operands: readonly Code[]) => Code] as const),
  );
  const module = new ModuleWriter('instructions');
  module.add('all', [], (writer) => {
    // Without operands: the function is not valid, but can be printed.
    for (const [, emit] of instructions) writer.emit(emit(...new Array<Code>(emit.length).fill([])));
    return [];
  });
  const { readWasm } = await wabt();
  const text = readWasm(module.bytes().slice(), { check: false, ...FEATURES }).toText({});
  const printed = [...text.matchAll(/^ {4}([\w.]+)/gm)].map(([, name]) => name);
  // Vectors have no lanes in loads and in bitwise operations.
  const expected = instructions.map(([name]) => name.replace(/^i8x16\.(load|or)$/, 'v128.$1'));
  expect(printed).toEqual(expected);
});
