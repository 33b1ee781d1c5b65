import { describe, expect, test } from 'vitest';
import { redactedSample, SAMPLE_BYTES } from '#src/protocol/redaction.js';

const sample = (text: string) => redactedSample(Buffer.from(text));

describe('redactedSample', () => {
  test.each([
    ['a token', '{"access_token":"CANARY","a":1}', '{"access_token":"***","a":1}'],
    ['camel case', '{"accessToken": "CANARY"}', '{"accessToken": "***"}'],
    ['escapes', '{"token":"CA\\"NARY","a":"b"}', '{"token":"***","a":"b"}'],
    ['a cut value', '{"token":"CANARY', '{"token":"***"'],
    ['a number', '{"secret":123,"a":1}', '{"secret":"***","a":1}'],
    ['a list', '{"tokens":["CANARY","CANARY"],"a":1}', '{"tokens":"***","a":1}'],
    ['an object', '{"credentials":{"user":"CANARY"},"a":1}', '{"credentials":"***","a":1}'],
    ['a header', '{"headers":{"authorization":"Bearer CANARY"}}', '{"headers":{"authorization":"***"}}'],
    [
      'a URL',
      '{"url":"https://x/?private_token=CANARY&page=2"}',
      '{"url":"https://x/?private_token=***&page=2"}',
    ],
    ['a bearer in text', '{"error":"sent Bearer CANARY to x"}', '{"error":"sent Bearer *** to x"}'],
    ['a GitLab token in text', '{"error":"glpat-CANARY_x-1 failed"}', '{"error":"*** failed"}'],
    ['no JSON', 'token=CANARY rest', 'token=*** rest'],
  ])('blanks %s', (_, text, expected) => {
    expect(sample(text)).toBe(expected);
  });

  test('leaves the rest as it is', () => {
    const text = '{"type":"heartbeat","data":{"activeJobs":-1}}';
    expect(sample(text)).toBe(text);
  });

  test('is cut at 256 bytes', () => {
    expect(sample('x'.repeat(1000))).toHaveLength(SAMPLE_BYTES);
  });
});
