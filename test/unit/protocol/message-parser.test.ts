import {
  MessageParser,
  MessageRegistry,
  MessageValidator,
  type ParsedMessage,
  type ParserOptions,
  type Rejection,
} from 'sluice';
import { describe, expect, test } from 'vitest';
import { Traffic } from '#src/traffic/traffic.js';
import { VALID } from '../../support/messages.js';
import { createPatterns, eachMatch, onlyTypes } from '../../support/patterns.js';
import { timeRatio } from '../../support/timing.js';

type Result = ParsedMessage | Rejection;
const summary = (results: Result[]) => results.map((result) => (result.ok ? result.type : result.code));

function parse(text: string | Buffer, options: ParserOptions = {}): string[] {
  const parser = new MessageParser(options);
  return summary([...parser.push(Buffer.from(text)), ...parser.end()]);
}

const beat = JSON.stringify(VALID.heartbeat);
const request = JSON.stringify(VALID.job_request);

test('a misspelt option is an error', () => {
  const options: object = { delimeter: 10 };
  expect(() => new MessageParser(options)).toThrow('delimeter: unknown option; did you mean delimiter?');
});

describe('framing', () => {
  test.each([
    ['lines', `${beat}\n${request}\n`],
    ['a last line without newline', `${beat}\n${request}`],
    ['carriage returns', `${beat}\r\n${request}\r\n`],
    ['empty lines', `\n\n${beat}\n \n\r\n${request}\n\n`],
    ['no delimiter', `${beat}${request}`],
    ['spaces between', `${beat}  ${request}`],
    ['some of each', `${beat}${request}\n`],
    ['a byte order mark', `\ufeff${beat}\n${request}\n`],
    ['a byte order mark before each', `\ufeff${beat}\ufeff${request}`],
    ['byte order marks and blanks', ` \ufeff\n\ufeff \ufeff${beat}\ufeff\r\n \ufeff${request}\n\ufeff`],
  ])('takes %s', (_, text) => {
    expect(parse(text)).toEqual(['heartbeat', 'job_request']);
  });

  test('ndjson takes one message a line only', () => {
    expect(parse(`${beat}${request}\n${beat}\n`, { framing: 'ndjson' })).toEqual([
      'INVALID_JSON',
      'heartbeat',
    ]);
  });

  test('what is no JSON ends where the next object begins', () => {
    expect(parse(`nonsense${beat}`)).toEqual(['INVALID_JSON', 'heartbeat']);
    expect(parse(`${beat}}}}${request}\n${beat}`)).toEqual([
      'heartbeat',
      'INVALID_JSON',
      'job_request',
      'heartbeat',
    ]);
  });

  test('an array is one message, and a wrong one', () => {
    expect(parse(`[${beat}]${request}`)).toEqual(['SCHEMA_VIOLATION', 'job_request']);
  });

  test('an object that does not close ends with its line', () => {
    expect(parse(`{"type":"heartbeat\n${request}\n`)).toEqual(['INVALID_JSON', 'job_request']);
  });

  test('gives the same messages however the stream is cut', () => {
    const traffic = new Traffic({ seed: 5 });
    const texts = Array.from({ length: 3 }, () => traffic.nextLine());
    for (const text of [
      texts.join('\n'),
      texts.join(''),
      texts.join('\r\n'),
      `junk\n${texts.join('\n[1,{}]\n')} {}`,
    ]) {
      const bytes = Buffer.from(text);
      const whole = parse(bytes);
      const validator = new MessageValidator();
      for (let cut = 0; cut <= bytes.length; cut++) {
        const parser = new MessageParser({ validator });
        const results = summary([
          ...parser.push(bytes.subarray(0, cut)),
          ...parser.push(bytes.subarray(cut)),
          ...parser.end(),
        ]);
        if (results.join() !== whole.join()) expect({ cut, results }).toEqual({ cut, results: whole });
      }
    }
  });

  test('gives the same messages byte by byte', () => {
    const bytes = new Traffic({ seed: 6 }).block(10);
    const parser = new MessageParser();
    const results = [...bytes].flatMap((byte) => parser.push(Buffer.of(byte)));
    expect(summary(results)).toEqual(parse(bytes));
    expect(parser.validator.statistics.accepted).toBe(10);
  });

  test('takes undelimited messages by the thousand, in linear time', () => {
    const traffic = new Traffic({ seed: 7 });
    const text = Array.from({ length: 3000 }, () => traffic.nextLine()).join('');
    expect(parse(text)).toHaveLength(3000);
  });

  test.each(['auto', 'ndjson'] as const)(
    '%s: takes a long message in small parts in linear time',
    (framing) => {
      const receive = (size: number) => () => {
        const parser = new MessageParser({ framing });
        const bytes = Buffer.from(`{"type":"ping","x":"${'a'.repeat(size)}"}\n`);
        let results = 0;
        for (let at = 0; at < bytes.length; at += 100)
          results += parser.push(bytes.subarray(at, at + 100)).length;
        expect(results).toBe(1);
      };
      expect(timeRatio(receive(320_000), receive(40_000), 20)).toBeLessThan(20);
    },
  );

  test('returns a message when it is complete, although a long part of it came with the next one', () => {
    const long = JSON.stringify({ ...VALID.heartbeat, note: 'x'.repeat(10_000) });
    expect(summary(new MessageParser().push(Buffer.from(`${long} {"type":"he`)))).toEqual(['heartbeat']);
  });

  test('does not keep the bytes that it was given', () => {
    const parser = new MessageParser();
    const half = Buffer.from(beat.slice(0, 40));
    parser.push(half);
    half.fill(0);
    expect(summary(parser.push(Buffer.from(`${beat.slice(40)}\n`)))).toEqual(['heartbeat']);
  });
});

describe.each(['auto', 'ndjson'] as const)('a byte order mark (%s framing)', (framing) => {
  const patterns = createPatterns(MessageRegistry.builtin(), { framing });

  /** The offsets, line and code of each message in a range, as a worker sees them. */
  function outcomes(text: string, withPatterns: boolean): string[] {
    const bytes = Buffer.from(text);
    const all: string[] = [];
    const parser = new MessageParser({ framing, ...(withPatterns && { patterns }) });
    const lines = parser.parse(bytes, 0, bytes.length, {
      onMessage: (type, _, start, end) => void all.push(`${type.name} ${bytes.toString('utf8', start, end)}`),
      onRejection: ({ code }, start, end, line) => void all.push(`${code} ${start}-${end} line ${line}`),
      ...(withPatterns && {
        onMatches: eachMatch(
          ({ start, end }) => void all.push(`heartbeat ${bytes.toString('utf8', start, end)}`),
        ),
      }),
    });
    return [...all, `${lines} lines`];
  }

  test.each([false, true])('is no part of the message (patterns: %j)', (withPatterns) => {
    const text = `\ufeff${beat}\n\ufeff\n${beat}\n\ufeffjunk\n \ufeff[1]\n\ufeff${beat}\n`;
    const junk = 3 + beat.length + 1 + 4 + beat.length + 1 + 3;
    expect(outcomes(text, withPatterns)).toEqual([
      `heartbeat ${beat}`,
      `heartbeat ${beat}`,
      `INVALID_JSON ${junk}-${junk + 4} line 3`,
      `SCHEMA_VIOLATION ${junk + 9}-${junk + 12} line 4`,
      `heartbeat ${beat}`,
      '6 lines',
    ]);
  });

  test('within or behind a message makes it invalid', () => {
    expect(parse(`{\ufeff"type":"heartbeat"}\n`, { framing })).toEqual(['INVALID_JSON']);
    expect(parse(`{"type":"\ufeffheartbeat"}\n`, { framing })).toEqual(['UNKNOWN_TYPE']);
    if (framing === 'ndjson') expect(parse(`${beat}\ufeff\n`, { framing })).toEqual(['INVALID_JSON']);
  });

  test('gives the same messages however the stream is cut', () => {
    const text = `\ufeff${beat}\n\ufeff${request}\r\n\ufeff\n \ufeff${beat}\n`;
    const bytes = Buffer.from(framing === 'auto' ? `${text}\ufeff${beat}\ufeff${request}` : text);
    const whole = parse(bytes, { framing });
    expect(whole.filter((code) => code === 'heartbeat' || code === 'job_request')).toEqual(whole);
    const validator = new MessageValidator();
    for (let cut = 0; cut <= bytes.length; cut++) {
      const parser = new MessageParser({ framing, validator });
      const results = [bytes.subarray(0, cut), bytes.subarray(cut)].flatMap((part) => parser.push(part));
      expect(summary([...results, ...parser.end()])).toEqual(whole);
    }
    const parser = new MessageParser({ framing });
    const bytewise = [...bytes].flatMap((byte) => parser.push(Buffer.of(byte)));
    expect(summary([...bytewise, ...parser.end()])).toEqual(whole);
  });

  test('does not count towards the size', () => {
    const validator = new MessageValidator({ maxMessageSize: request.length });
    for (const size of [1, 7, 1000]) {
      const parser = new MessageParser({ framing, validator });
      const bytes = Buffer.from(`\ufeff${request}\n\ufeff${request}\r\n`);
      const results: Result[] = [];
      for (let at = 0; at < bytes.length; at += size)
        results.push(...parser.push(bytes.subarray(at, at + size)));
      expect(summary(results)).toEqual(['job_request', 'job_request']);
    }
  });
});

test('a validator ignores a byte order mark at the beginning of bytes', () => {
  expect(new MessageValidator().validate(Buffer.from(`\ufeff${beat}`))).toMatchObject({ ok: true });
  expect(new MessageValidator().validate(Buffer.from('\ufeff'))).toMatchObject({ code: 'INVALID_JSON' });
});

describe('size', () => {
  test('counts the blanks before a message, so that it is the same however the stream is cut', () => {
    for (const framing of ['auto', 'ndjson'] as const) {
      const limited = () =>
        new MessageParser({
          framing,
          validator: new MessageValidator({ maxMessageSize: request.length + 2 }),
        });
      const text = Buffer.from(`  ${request}\n   ${request}\n${request}\r\n`);
      const whole = summary(limited().push(text));
      const parser = limited();
      const bytewise = [...text].flatMap((byte) => parser.push(Buffer.of(byte)));
      expect(whole).toEqual(['job_request', 'MESSAGE_TOO_LARGE', 'job_request']);
      expect(summary(bytewise)).toEqual(whole);
    }
  });

  test('a stream that never ends its message is not kept', () => {
    const parser = new MessageParser({ validator: new MessageValidator({ maxMessageSize: 1000 }) });
    parser.push(Buffer.from('{"a":"'));
    const results = Array.from({ length: 100 }, () => parser.push(Buffer.alloc(500, 'x'))).flat();
    expect(summary(results)).toEqual(['MESSAGE_TOO_LARGE']);
    expect(summary(parser.push(Buffer.from(`"}${request}\n`)))).toEqual(['job_request']);
  });

  test('after the end, the next stream begins anew', () => {
    const parser = new MessageParser();
    expect(summary([...parser.push(Buffer.from('{"a":"')), ...parser.end()])).toEqual(['INVALID_JSON']);
    expect(summary(parser.push(Buffer.from(request)))).toEqual(['job_request']);
  });
});

describe('offsets', () => {
  test('point at each message without what surrounds it', () => {
    const text = ` ${beat} \r\n${request}${beat}\n`;
    const bytes = Buffer.from(text);
    const found: string[] = [];
    new MessageParser().parse(bytes, 0, bytes.length, {
      onMessage: (_type, _value, start, end) => found.push(bytes.toString('utf8', start, end)),
      onRejection: ({ code }) => found.push(code),
    });
    expect(found).toEqual([beat, request, beat]);
  });

  test('a rejection has its line', () => {
    const bytes = Buffer.from(`${beat}\n\njunk\n${beat}{}\n`);
    const lines: number[] = [];
    const total = new MessageParser().parse(bytes, 0, bytes.length, {
      onMessage() {},
      onRejection: (_rejection, _start, _end, at) => lines.push(at),
    });
    expect(lines).toEqual([2, 3]);
    expect(total).toBe(4);
  });
});

describe('bad bytes', () => {
  test.each([
    ['not JSON', 'hello', 'INVALID_JSON'],
    ['half a message', beat.slice(0, 30), 'INVALID_JSON'],
    ['a NUL', beat.replace('crawling', 'craw\0ing'), 'INVALID_JSON'],
    ['not UTF-8', Buffer.from(beat.replace('crawling', 'craw\xe9ing'), 'latin1'), 'INVALID_UTF8'],
    ['a number', '12', 'SCHEMA_VIOLATION'],
    ['null', 'null', 'SCHEMA_VIOLATION'],
    ['an array', '[1]', 'SCHEMA_VIOLATION'],
    ['no type', '{}', 'SCHEMA_VIOLATION'],
    ['a type that is no string', '{"type":5}', 'SCHEMA_VIOLATION'],
    ['an unknown type', '{"type":"gossip"}', 'UNKNOWN_TYPE'],
    ['a type from the prototype', '{"type":"constructor"}', 'UNKNOWN_TYPE'],
    ['65 levels', `{"type":"job_request","x":${'['.repeat(64)}${']'.repeat(64)}}`, 'MESSAGE_TOO_DEEP'],
    [
      '1,000 levels',
      `{"type":"job_request","x":${'[{"a":'.repeat(500)}1${'}]'.repeat(500)}}`,
      'MESSAGE_TOO_DEEP',
    ],
    ['__proto__', beat.replace('{"activeJobs"', '{"__proto__":{},"activeJobs"'), 'FORBIDDEN_KEY'],
    ['__proto__ in escapes', beat.replace('"rss"', '"\\u005f_pr\\u006Fto__"'), 'FORBIDDEN_KEY'],
    ['1e999', beat.replace(':10,', ':1e999,'), 'SCHEMA_VIOLATION'],
  ])('%s', (_, text, code) => {
    const bytes = Buffer.concat([Buffer.from(text), Buffer.from(`\n${request}\n`)]);
    const last = parse(bytes);
    expect(last.at(-1)).toBe('job_request');
    expect(last[0]).toBe(code);
  });

  test('64 levels are not too deep, and __proto__ as a value is no key', () => {
    const deep = `{"x":${'['.repeat(63)}${']'.repeat(63)},${request.slice(1)}`;
    expect(parse(`${deep}\n`)).toEqual(['job_request']);
    const named = request.replace('{}', '{"a":"__proto__","b":"\\u0041","c":"[[[[{{{{"}');
    expect(parse(`${named}\n`)).toEqual(['job_request']);
  });

  test('brackets in strings are no levels', () => {
    const text = request.replace('{}', `{"a":"${'['.repeat(200)}"}`);
    expect(parse(text)).toEqual(['job_request']);
  });
});

describe('parts that the patterns scan', () => {
  const patterns = createPatterns(onlyTypes(MessageRegistry.builtin(), ['job_failed', 'heartbeat']));
  const failed = (length: number) =>
    JSON.stringify({
      ...VALID.job_failed,
      data: { ...VALID.job_failed.data, stackTrace: 'x'.repeat(length) },
    });
  const lengths = [10, 5000, 9000, 30_000, 64_000, 66_000, 70_000, 140_000, 200_000];

  test.each(['\n', ''])(
    'messages of any length are found where they are, with %j between them',
    (delimiter) => {
      for (const first of lengths)
        for (const second of lengths) {
          const texts = [first, second, 10, second, first, 10].flatMap((length) => [failed(length), beat]);
          const bytes = Buffer.from(texts.map((text) => text + delimiter).join(''));
          const found: string[] = [];
          new MessageParser({ patterns }).parse(bytes, 0, bytes.length, {
            onMessage: (_type, _value, start, end) => void found.push(bytes.toString('latin1', start, end)),
            onRejection: ({ code }) => void found.push(code),
            onMatches: eachMatch(({ start, end }) => void found.push(bytes.toString('latin1', start, end))),
          });
          // As a comparison of booleans, since a difference would be printed for minutes.
          expect(found.length === texts.length && found.every((text, index) => text === texts[index])).toBe(
            true,
          );
        }
    },
  );
});
