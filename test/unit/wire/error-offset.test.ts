import { isUtf8 } from 'node:buffer';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { errorOffset } from '#src/wire/error-offset.js';

test('counts from the beginning of the message', () => {
  const bytes = Buffer.from('xxx{"a":}xxx');
  expect(errorOffset('INVALID_JSON', bytes, 3, 9)).toBe(5);
  expect(errorOffset('INVALID_JSON', bytes, 3, 8)).toBe(5);
});

test('is unknown for other codes, and where nothing is invalid', () => {
  const bytes = Buffer.from('{}');
  expect(errorOffset('MESSAGE_TOO_DEEP', bytes, 0, 1)).toBeUndefined();
  expect(errorOffset('INVALID_JSON', bytes, 0, 2)).toBeUndefined();
  expect(errorOffset('INVALID_UTF8', bytes, 0, 2)).toBeUndefined();
});

/** The first offset at which no valid text continues, by the definition of Node.js. */
function expected(bytes: Buffer): number | undefined {
  if (isUtf8(bytes)) return undefined;
  let valid = 0;
  for (let end = 0; end <= bytes.length; end++) if (isUtf8(bytes.subarray(0, end))) valid = end;
  return valid;
}

test('finds the first byte that is no UTF-8', () => {
  const byte = fc.oneof(
    fc.integer({ min: 0, max: 255 }),
    fc.constantFrom(0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf),
    fc.constantFrom(0xe0, 0xe1, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff),
  );
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.array(byte, { maxLength: 5 }), (text, end) => {
      const bytes = Buffer.concat([Buffer.from(text), Buffer.from(end), Buffer.from(text)]);
      expect([bytes, errorOffset('INVALID_UTF8', bytes, 0, bytes.length)]).toEqual([bytes, expected(bytes)]);
    }),
    { numRuns: 1500 },
  );
});
