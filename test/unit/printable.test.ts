import { describe, expect, test } from 'vitest';
import { printable, printableLines } from '#src/printable.js';

describe('printable', () => {
  test.each([
    ['C0', 'a\u001b[2J\n', 'a\\u001b[2J\\u000a'],
    ['DEL and C1', '\u007f\u009b2J', '\\u007f\\u009b2J'],
    ['bidirectional overrides', 'a\u202eb\u2066', 'a\\u202eb\\u2066'],
    ['invisible characters', 'a\u200b\ufeff\u00ad', 'a\\u200b\\ufeff\\u00ad'],
    ['separators of lines', '\u2028\u2029', '\\u2028\\u2029'],
    ['tags beyond 16 bits', '\u{e0041}', '\\udb40\\udc41'],
  ])('escapes %s', (_, text, expected) => {
    expect(printable(text)).toBe(expected);
  });

  test('leaves everything else', () => {
    expect(printable('crawler-1 é 漢字 😀 \\u009b')).toBe('crawler-1 é 漢字 😀 \\u009b');
    expect(printable('a\u009bb', '?')).toBe('a?b');
  });
});

describe('printableLines', () => {
  test('keeps newlines and tabs, and the values of JSON', () => {
    const value = { text: 'a\u009b\u202e\u007f\u{e0041}' };
    const shown = printableLines(`\t${JSON.stringify(value)}\n`);
    expect(shown).toMatch(/^\t[\u0020-\u007e]*\n$/);
    expect(JSON.parse(shown)).toEqual(value);
  });

  test('escapes a carriage return, which would return to the start of the line', () => {
    expect(printableLines('a\rb')).toBe('a\\u000db');
  });

  test('keeps the escape when the JSON is decoded, with two backslashes', () => {
    expect(JSON.parse(printableLines('"\u009b"', '\\\\'))).toBe('\\u009b');
  });
});
