import { MessageRegistry, MessageValidator } from 'sluice';
import { describe, expect, test } from 'vitest';
import { parseTimestamp, TIMESTAMP } from '#src/messages/timestamps.js';
import { BothPaths } from '../../support/law.js';
import { createPatterns, matchFirst } from '../../support/patterns.js';
import { SPELLINGS } from '../../support/spellings.js';

const heartbeat = (timestamp: string) =>
  `{"type":"heartbeat","timestamp":"${timestamp}","data":{"activeJobs":1,"totalProcessed":7,"systemStatus":"idle"}}`;

const REJECTED = [
  '',
  '2026',
  '2026-01-01',
  '2026-01-01T12',
  '2026-01-01 12:00:00Z',
  '20260101T120000Z',
  '2026-W01-4T12:00:00Z',
  '26-01-01T12:00:00Z',
  '2026-1-1T12:00:00Z',
  '+002026-01-01T12:00:00Z',
  '2026-01-01T24:00:00Z',
  '2026-01-01T12:60:00Z',
  '2026-01-01T12:00:61Z',
  '2026-01-01T12:00:00.Z',
  '2026-01-01T12:00:00,Z',
  '2026-01-01T12:00.5Z',
  '2026-01-01T12:00:00+24:00',
  '2026-01-01T12:00:00+01:60',
  '2026-01-01T12:00:00+1',
  '2026-01-01T12:00:00+1:00',
  '2026-01-01T12:00:00+010',
  '2026-01-01T12:00:00+01:',
  '2026-01-01T12:00:00Z+01:00',
  '2026-01-01T12:00:00ZZ',
  '2026-01-01T12:00:00Z ',
  ' 2026-01-01T12:00:00Z',
  '2026-01-01T12:00:00 Z',
  '2026-02-30T12:00:00Z',
  '2026-02-29T12:00:00Z',
  '1900-02-29T12:00:00Z',
  '2026-04-31t12:00:00z',
  '2026-00-01T12:00:00Z',
  '2026-01-00T12:00:00Z',
];

describe('a timestamp', () => {
  const validator = new MessageValidator();
  const patterns = createPatterns(MessageRegistry.builtin());

  test.each(SPELLINGS)('may be %s', (text, time, isMatched) => {
    expect(parseTimestamp(text)).toBe(time);
    expect(validator.validate(Buffer.from(heartbeat(text)))).toMatchObject({ ok: true });
    expect(matchFirst(patterns, heartbeat(text)) !== undefined).toBe(isMatched);
  });

  test.each(REJECTED)('must not be %j', (text) => {
    expect(validator.validate(Buffer.from(heartbeat(text)))).toMatchObject({
      code: 'SCHEMA_VIOLATION',
      issues: [{ path: 'timestamp', code: 'invalid_format' }],
    });
    expect(matchFirst(patterns, heartbeat(text))).toBeUndefined();
  });

  test('has a day that exists in its year', () => {
    for (let year = 0; year <= 9999; year++) {
      const name = String(year).padStart(4, '0');
      const isLeapYear = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
      expect([name, TIMESTAMP.test(`${name}-02-29T12:00Z`)]).toEqual([name, isLeapYear]);
    }
    for (let month = 0; month <= 13; month++) {
      for (let day = 0; day <= 32; day++) {
        const date = `2023-${String(month).padStart(2, '0')}-${String(day).padStart(2, '0')}`;
        const exists = new Date(Date.UTC(2023, month - 1, day)).toISOString().startsWith(date);
        expect([date, TIMESTAMP.test(`${date}T12:00:00Z`)]).toEqual([date, exists]);
      }
    }
  });

  test('is as old as it says in each spelling, by pattern and on the slow path', () => {
    let now = 0;
    const options = { maxMessageAge: 1000, maxClockSkew: 1000, now: () => now };
    const paths = new BothPaths({}, options);
    const aged = new MessageValidator(options);
    const codeAt = (time: number, text: string) => {
      now = time;
      const bytes = Buffer.from(heartbeat(text));
      paths.check(bytes);
      const result = aged.validate(bytes);
      return result.ok ? undefined : result.issues[0]?.code;
    };
    for (const [text, time] of SPELLINGS) {
      const offsets = [-1001, -1000, 0, 1000, 1001];
      const codes = offsets.map((offset) => codeAt(time + offset, text));
      expect([text, ...codes]).toEqual([text, 'in_future', undefined, undefined, undefined, 'too_old']);
    }
  });
});

test('another text denotes what Date.parse reads in it', () => {
  expect(parseTimestamp('2026-01-01')).toBe(Date.UTC(2026, 0, 1));
  expect(parseTimestamp('tomorrow')).toBeNaN();
});
