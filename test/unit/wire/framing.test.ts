import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FrameBoundary, lastSeam, messageEnds, ValueScanner } from '#src/wire/framing.js';
import { timeRatio } from '../../support/timing.js';

const NEWLINE = 0x0a;

/** The ends of messages that a boundary reports, with the bytes arriving in the given pieces. */
function boundaries(framing: 'auto' | 'ndjson', pieces: readonly string[]): number[] {
  const bytes = Buffer.from(pieces.join(''));
  const boundary = new FrameBoundary(framing, NEWLINE);
  const found: number[] = [];
  let from = 0;
  for (const piece of pieces) {
    const to = from + Buffer.byteLength(piece);
    const end = boundary.last(bytes, from, to);
    if (end !== -1) found.push(end);
    from = to;
  }
  return found;
}

describe('ValueScanner', () => {
  test.each([
    ['{}', 2],
    ['{"a":{"b":1}}', 13],
    ['{"a":"}"}', 9],
    ['{"a":"\\"}"}', 11],
    ['{"a":"\\\\"}', 10],
    ['  {}', 4],
    ['[1,{"a":2}]', 11],
    ['["]"]', 5],
    ['\ufeff{"a":1}', 10],
    [' \ufeff \ufeff[{"a":1}]', 17],
  ])('finds the end of %s', (text, end) => {
    const bytes = Buffer.from(`${text}{`);
    expect(new ValueScanner().scan(bytes, 0, bytes.length)).toBe(end);
    // Byte by byte, too.
    const scanner = new ValueScanner();
    const ends = [...bytes.keys()].filter((at) => scanner.scan(bytes, at, at + 1) !== -1);
    expect(ends).toEqual([end - 1]);
  });

  test.each(['', '   ', '{', '{"a":"}', '{"a":"\\"}', '[{}', 'text'])('finds no end in %j', (text) => {
    expect(new ValueScanner().scan(Buffer.from(text), 0, text.length)).toBe(-1);
  });

  test('ends text that is no JSON where an object begins', () => {
    const bytes = Buffer.from('junk {"a":1}');
    const scanner = new ValueScanner();
    expect(scanner.scan(bytes, 0, bytes.length)).toBe(5);
    expect(scanner.scan(bytes, 5, bytes.length)).toBe(12);
  });

  test.each([
    ['a part of a byte order mark', [0xef], 1],
    ['two parts of one', [0xef, 0xbb, 0x20], 3],
    ['one with another end', [0xef, 0xbb, 0xbe], 3],
  ])('takes %s for text', (_, part, end) => {
    const bytes = Buffer.concat([Buffer.from(part), Buffer.from('{}')]);
    const scanner = new ValueScanner();
    expect(scanner.scan(bytes, 0, bytes.length)).toBe(end);
    expect(scanner.scan(bytes, end, bytes.length)).toBe(end + 2);
  });

  test('counts only the kind of bracket that opened the value', () => {
    expect(new ValueScanner().scan(Buffer.from('{"a":[}'), 0, 7)).toBe(7);
  });

  test('finds the same end however the bytes are cut', () => {
    fc.assert(
      fc.property(fc.object({ maxDepth: 4 }), fc.nat(), (value, at) => {
        const bytes = Buffer.from(JSON.stringify(value));
        const cut = at % (bytes.length + 1);
        const scanner = new ValueScanner();
        const first = scanner.scan(bytes, 0, cut);
        const end = first === -1 ? scanner.scan(bytes, cut, bytes.length) : first;
        expect(end).toBe(bytes.length);
      }),
    );
  });
});

describe('a seam', () => {
  test.each([
    ['a broken string', '{"a":"x}{"type":1}', 8],
    ['a key that is never closed', '{"a":{"x}{"b":1}', 9],
    ['an object that is never closed', '{"a":{"x":{}{"b":1}', 12],
    ['text that is no JSON', 'x}{"b":1}', 2],
  ])('ends %s', (_, text, end) => {
    const bytes = Buffer.from(text);
    expect(new ValueScanner().scan(bytes, 0, bytes.length)).toBe(end);
  });

  test.each(['{"a":"}{"}', '{"a":"}{","b":1}', '{"}{":1}', '{"a":["}{"]}', '{"a":"}{" }', '{"a":"}{\\"x"}'])(
    'is none in %s',
    (text) => {
      JSON.parse(text);
      const bytes = Buffer.from(text);
      expect(new ValueScanner().scan(bytes, 0, bytes.length)).toBe(bytes.length);
    },
  );

  test('is the last one wherever it lies, also in long texts', () => {
    // None of these characters alone is rare, and all of them are in seams or prevent one.
    const texts = fc.array(fc.constantFrom('}{"', '}', '{"', 'a', ',', 'x'.repeat(700), 'y'.repeat(5000)), {
      maxLength: 40,
    });
    const bounds = fc.tuple(fc.nat(), fc.nat());
    fc.assert(
      fc.property(texts, bounds, (parts, [first, second]) => {
        const bytes = Buffer.from(parts.join(''));
        const from = first % (bytes.length + 1);
        const to = from + (second % (bytes.length - from + 1));
        const region = bytes.toString('latin1', from, to);
        const ends = [...region.matchAll(/\}(?=\{"[^,:}\] \n\r\t])/g)].map(({ index }) => from + index + 1);
        expect(lastSeam(bytes, from, to)).toBe(ends.at(-1) ?? -1);
      }),
      { numRuns: 500 },
    );
  });

  test('is found however the bytes are cut, and however long they are', () => {
    const parts = fc.array(
      fc.constantFrom(
        '{"type":"x","data":{"message":"a }{ b","n":[1,{}]}}',
        '{"a":"}{"}',
        '{"":1}',
        '{"a":"broken}',
        '{"a":{"b":1}',
        '{"a":"\\',
        '}{"',
        '}{"x',
        'text',
        '[1]',
        ' ',
        '\n',
        '{"long":"'.padEnd(300, 'x'),
        '{"longer":["'.padEnd(5000, 'x'),
        `{"longer":[${'{"a":[]},'.repeat(600)}1]}`,
      ),
      { maxLength: 40 },
    );
    fc.assert(
      fc.property(parts, fc.array(fc.nat(), { maxLength: 6 }), (texts, cuts) => {
        const bytes = Buffer.from(texts.join(''));
        const at = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
        const whole = new FrameBoundary('auto', NEWLINE);
        const cut = new FrameBoundary('auto', NEWLINE);
        const expected = Math.max(
          whole.last(bytes, 0, bytes.length),
          whole.scanDeferred(bytes, bytes.length),
        );
        let [from, found] = [0, -1];
        for (const to of at) {
          found = Math.max(found, cut.last(bytes, from, to));
          // Whether there is time for that between two reads is a matter of chance.
          if (to % 2 === 0) found = Math.max(found, cut.scanDeferred(bytes, to));
          from = to;
        }
        expect(Math.max(found, cut.scanDeferred(bytes, bytes.length))).toBe(expected);
        // Both go on in the same way.
        const more = Buffer.concat([bytes, Buffer.from('"}}{"y":1}')]);
        expect(cut.last(more, bytes.length, more.length)).toBe(whole.last(more, bytes.length, more.length));
      }),
      { numRuns: 1500, seed: 8 },
    );
  });
});

describe('FrameBoundary', () => {
  test('with ndjson, only a newline ends a message', () => {
    expect(boundaries('ndjson', ['{}{}'])).toEqual([]);
    expect(boundaries('ndjson', ['{}\n{}\n{'])).toEqual([6]);
  });

  test('with auto, a closing object ends a message too', () => {
    expect(boundaries('auto', ['{}{}'])).toEqual([4]);
    expect(boundaries('auto', ['{}\n{}{'])).toEqual([5]);
    expect(boundaries('auto', ['{"a":', '1}{', '}'])).toEqual([7, 9]);
  });

  test('a newline ends whatever was open', () => {
    expect(boundaries('auto', ['{"a":"\n', '{}'])).toEqual([7, 9]);
  });

  test('another delimiter leaves newlines alone', () => {
    const boundary = new FrameBoundary('ndjson', 0x1e);
    expect(boundary.last(Buffer.from('{\n}\u001e'), 0, 4)).toBe(4);
  });

  test('first finds the end of the message that is being skipped, and leaves its newline', () => {
    const boundary = new FrameBoundary('auto', NEWLINE);
    const bytes = Buffer.from('{"a":"xxxxxxxx"}{}\n');
    expect(boundary.last(bytes, 0, 8)).toBe(-1);
    expect(boundary.first(bytes, 8, bytes.length)).toBe(16);
    const lines = new FrameBoundary('ndjson', NEWLINE);
    expect(lines.first(bytes, 0, bytes.length)).toBe(18);
  });
});

describe('a long beginning of a message', () => {
  const long = `{"long":"${'x'.repeat(5000)}`;

  test('is put off, since it ends with no bracket: what comes next shows the end, or catching up', () => {
    const bytes = Buffer.from(`{"a":1} ${long}"} `);
    const end = bytes.length - 1;
    for (const caughtUp of [true, false]) {
      const boundary = new FrameBoundary('auto', NEWLINE);
      expect(boundary.last(bytes, 0, end - 1)).toBe(-1);
      expect(boundary.hasDeferred).toBe(true);
      if (caughtUp) {
        expect(boundary.scanDeferred(bytes, end - 1)).toBe(7);
        expect(boundary.hasDeferred).toBe(false);
        expect(boundary.scanDeferred(bytes, end - 1)).toBe(-1);
      }
      expect(boundary.last(bytes, end - 1, end)).toBe(end);
      expect(boundary.hasDeferred).toBe(false);
    }
  });

  test.each(['\n', '}{"b":1,'])('is no matter any more when %j comes', (next) => {
    const boundary = new FrameBoundary('auto', NEWLINE);
    const bytes = Buffer.from(`${long}${next}`);
    expect(boundary.last(bytes, 0, long.length)).toBe(-1);
    expect(boundary.last(bytes, long.length, bytes.length)).toBe(long.length + 1);
    expect(boundary.hasDeferred).toBe(false);
  });

  test('is read at once when it is short, or very long, or another framing does not care', () => {
    const putsOff = (text: string, framing: 'auto' | 'ndjson' = 'auto') => {
      const boundary = new FrameBoundary(framing, NEWLINE);
      expect(boundary.last(Buffer.from(text), 0, text.length)).toBe(-1);
      return boundary.hasDeferred;
    };
    expect(putsOff('{"a":"x')).toBe(false);
    expect(putsOff(`{"a":"${'x'.repeat(300 * 1024)}`)).toBe(false);
    expect(putsOff(long, 'ndjson')).toBe(false);
    expect(putsOff(long)).toBe(true);
  });
});

describe('messageEnds', () => {
  const endsOf = (text: string, most?: number): number[] =>
    messageEnds(Buffer.from(text), 0, text.length, 'auto', NEWLINE, most);

  test('finds the end of each message with its delimiter, or of the first ones', () => {
    const text = '{}{"a":1}\n\n[1]junk\n{"b":"\n{}{';
    const ends = endsOf(text);
    expect(ends.map((end, index) => text.slice(ends[index - 1] ?? 0, end))).toEqual([
      '{}',
      '{"a":1}\n',
      '\n',
      '[1]',
      'junk\n',
      '{"b":"\n',
      '{}',
    ]);
    expect(endsOf(text, 2)).toEqual(ends.slice(0, 2));
  });

  test('takes the same time for each message however many there are without delimiters', () => {
    const [few, many] = [10_000, 200_000];
    /** Finds `many` ends, `count` of them at a time. */
    const finding = (count: number) => {
      const text = '{}'.repeat(count);
      return () => {
        for (let found = 0; found < many; found += count) expect(endsOf(text)).toHaveLength(count);
      };
    };
    // Twenty times as many, and not even four times the time for each.
    expect(timeRatio(finding(many), finding(few), 4)).toBeLessThan(4);
  });
});
