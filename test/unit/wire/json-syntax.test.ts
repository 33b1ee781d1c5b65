import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { isJson } from '#src/wire/json-syntax.js';

/** What `JSON.parse` says. */
function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const agrees = (text: string) => {
  const bytes = Buffer.from(`x${text}x`);
  expect([text, isJson(bytes, 1, bytes.length - 1)]).toEqual([text, parses(text)]);
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
