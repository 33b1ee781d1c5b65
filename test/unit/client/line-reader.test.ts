import { describe, expect, test } from 'vitest';
import { LineReader } from '#src/client/line-reader.js';

function reader(maxLength: number) {
  const lines: string[] = [];
  return { lines, reader: new LineReader(maxLength, (line) => lines.push(line.toString())) };
}

describe('LineReader', () => {
  test.each([1, 2, 7, 100, 5000])('puts lines together from pieces of %d bytes', (size) => {
    const { lines, reader: lineReader } = reader(10_000);
    const sent = ['a', '', 'b'.repeat(3000), 'c'.repeat(9999), 'd'];
    const bytes = Buffer.from(sent.map((line) => `${line}\n`).join(''));
    for (let at = 0; at < bytes.length; at += size) {
      expect(lineReader.push(Buffer.from(bytes.subarray(at, at + size)))).toBe(true);
    }
    expect(lines).toEqual(sent);
  });

  test.each([1, 2, 100])(
    'removes a byte order mark before a line, and no other (pieces of %d bytes)',
    (size) => {
      const { lines, reader: lineReader } = reader(100);
      const bytes = Buffer.from('\ufeff{"a":1}\n\ufeff{"b":"\ufeff"}\n\ufeff\n');
      for (let at = 0; at < bytes.length; at += size) {
        lineReader.push(Buffer.from(bytes.subarray(at, at + size)));
      }
      expect(lines).toEqual(['{"a":1}', '{"b":"\ufeff"}', '']);
    },
  );

  test('gives each line bytes of its own: what comes later changes none of them', () => {
    const lines: Buffer[] = [];
    const lineReader = new LineReader(100, (line) => lines.push(line));
    for (const text of ['a', 'b\nc', 'd\n', 'e', 'f\n']) lineReader.push(Buffer.from(text));
    expect(lines.map(String)).toEqual(['ab', 'cd', 'ef']);
  });

  test('takes no more than a line may have, in one piece or in many', () => {
    const { lines, reader: lineReader } = reader(10);
    expect(lineReader.push(Buffer.from('a\n0123456789'))).toBe(true);
    expect(lineReader.push(Buffer.from('0'))).toBe(false);
    expect(lines).toEqual(['a']);
    expect(reader(10).reader.push(Buffer.alloc(11))).toBe(false);
  });
});
