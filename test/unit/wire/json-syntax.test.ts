import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { isJson, jsonErrorOffset } from '#src/wire/json-syntax.js';

/** What `JSON.parse` says. */
function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Where `JSON.parse` says that a text is invalid, in bytes; `undefined` if it does not. */
function errorPositionOf(text: string): number | undefined {
  try {
    JSON.parse(text);
  } catch (error) {
    const { message } = error as Error;
    const units = /at position (\d+)/.exec(message)?.[1];
    if (units !== undefined) return Buffer.byteLength(text.slice(0, Number(units)));
    if (message.startsWith('Unexpected end')) return Buffer.byteLength(text);
  }
  return undefined;
}

const agrees = (text: string) => {
  const bytes = Buffer.from(`x${text}x`);
  expect([text, isJson(bytes, 1, bytes.length - 1)]).toEqual([text, parses(text)]);
  const position = errorPositionOf(text);
  const offset = jsonErrorOffset(bytes, 1, bytes.length - 1);
  if (position !== undefined) expect([text, (offset ?? 0) - 1]).toEqual([text, position]);
};

test.each([
  ...[
    '',
    ' ',
    '{',
    '}',
    '{}',
    '[]',
    '[',
    ']',
    '{]',
    '[}',
    '1',
    '-',
    '-1',
    '01',
    '1.',
    '.1',
    '1.5',
    '1e',
    '1e+',
    '1e5',
    '1E-5',
  ],
  ...[
    '"',
    '"a',
    '"a"',
    '"\\',
    '"\\"',
    '"\\x"',
    '"\\u12"',
    '"\\u12fG"',
    '"\\u12fF"',
    '"\t"',
    '"\u007f"',
    'true',
    'tru',
    'nul',
    'null',
  ],
  ...[
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    '{"a":1',
    '{a:1}',
    '{,}',
    '[1,]',
    '[1 2]',
    '[1,[2,{}]]',
    ' { "a" : [ ] } ',
    '{}{}',
    '\uFEFF{}',
    'NaN',
  ],
])('agrees with JSON.parse on %j', agrees);

test.each([
  ['', 0],
  [' ', 1],
  ['junk', 0],
  ['{"a":1', 6],
  ['{"a":1,}', 7],
  ['{"a":tru}', 8],
  ['{"é":"李",x}', 12],
  ['{"a":"\\x"}', 7],
  ['{"a":"\\u12G4"}', 10],
  ['{"a":"\n"}', 6],
  ['{"a":"', 6],
  ['{"a":01}', 6],
  ['{"a":1.}', 7],
  ['{"a":-}', 6],
  ['{"a":1e+}', 8],
  ['{"a":[1,2}', 9],
  ['{"a":1}}', 7],
  ['{"a":1} {}', 8],
  ['{"a" 1}', 5],
  ["{'a':1}", 1],
  ['{a:1}', 1],
  ['{"a":NaN}', 5],
  ['{"a":undefined}', 5],
])('%j stops being JSON at byte %d', (text, offset) => {
  const bytes = Buffer.from(text);
  expect(jsonErrorOffset(bytes, 0, bytes.length)).toBe(offset);
});

test('finds the end of text that is nested as deep as it is long', () => {
  const depth = 1024 * 1024;
  const bytes = Buffer.alloc(depth, '[');
  expect(jsonErrorOffset(bytes, 0, depth)).toBe(depth);
  expect(isJson(Buffer.concat([bytes, Buffer.alloc(depth, ']')]), 0, 2 * depth)).toBe(true);
});

test('agrees with JSON.parse on JSON and on JSON with one change', () => {
  fc.assert(
    fc.property(
      fc.json(),
      fc.nat(),
      fc.constantFrom('', '"', '{', ']', ',', ':', '\\', '0', 'e', ' ', 'é'),
      (text, at, put) => {
        agrees(text);
        const place = at % (text.length + 1);
        agrees(text.slice(0, place) + put + text.slice(place + 1));
      },
    ),
    { numRuns: 2000 },
  );
});
