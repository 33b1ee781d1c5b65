import { describe, expect, test } from 'vitest';
import { redactedSample, SAMPLE_BYTES } from '#src/protocol/redaction.js';

const sample = (text: string) => redactedSample(Buffer.from(text));

describe('redactedSample', () => {
  test.each([
    ['a token', '{"access_token":"CANARY","a":1}', '{"access_token":"***","a":1}'],
    ['camel case', '{"accessToken": "CANARY"}', '{"accessToken": "***"}'],
    ['escapes', '{"token":"CA\\"NARY","a":"b"}', '{"token":"***","a":"b"}'],
    ['a cut value', '{"token":"CANARY', '{"token":"***"'],
    ['a number', '{"secret":123,"a":1}', '{"secret":***,"a":1}'],
    ['a list, to the end', '{"tokens":["a]CANARY",["CANARY"]],"a":1}', '{"tokens":***'],
    ['an object, to the end', '{"credentials":{"a":{},"user":"CANARY"},"a":1}', '{"credentials":***'],
    ['Python’s quotes', "{'access_token': 'CANARY', 'a': 1}", "{'access_token': ***, 'a': 1}"],
    ['bare keys', '{token: CANARY, a: 1}', '{token: ***, a: 1}'],
    [
      'JSON in a string',
      '{"body":"{\\"token\\":\\"CANARY\\",\\"a\\":1}"}',
      '{"body":"{\\"token\\":***,\\"a\\":1}"}',
    ],
    [
      'a header in text',
      '{"error":"PRIVATE-TOKEN: CANARY was rejected"}',
      '{"error":"PRIVATE-TOKEN: *** was rejected"}',
    ],
    ['a scheme in text', '{"error":"Authorization: token CANARY, no"}', '{"error":"Authorization: ***, no"}'],
    [
      'an encoded URL',
      '{"url":"https://x/?private_token%3DCANARY&page=2"}',
      '{"url":"https://x/?private_token%3D***&page=2"}',
    ],
    ['a user in a URL', '{"url":"https://bot:CANARY@example.com/x"}', '{"url":"https://***@example.com/x"}'],
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
