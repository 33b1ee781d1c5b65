import { MessageRegistry, MessageValidator, type Rejection } from 'sluice';
import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { changed, VALID, type ValidType } from '../../support/messages.js';

const validator = new MessageValidator();
const types = Object.keys(VALID) as ValidType[];

function rejection(message: unknown): Rejection {
  const result = validator.validate(message);
  if (result.ok) throw new Error('was accepted');
  return result;
}

const issues = (message: unknown) => rejection(message).issues.map(({ path, code }) => `${path} ${code}`);

describe.each(types)('%s', (type) => {
  test('is accepted, as object and as bytes, with unknown keys too', () => {
    expect(validator.validate(VALID[type])).toMatchObject({ ok: true, type: { name: type } });
    expect(validator.validate(Buffer.from(JSON.stringify(VALID[type])))).toMatchObject({ ok: true });
    expect(validator.validate(changed(type, { extra: [1] }, { more: true }))).toMatchObject({ ok: true });
  });

  test('needs a timestamp in ISO 8601', () => {
    expect(issues({ ...VALID[type], timestamp: undefined })).toEqual(['timestamp invalid_type']);
    expect(issues({ ...VALID[type], timestamp: 'yesterday' })).toEqual(['timestamp invalid_format']);
    expect(issues({ ...VALID[type], timestamp: '2026-02-30T00:00:00Z' })).toEqual([
      'timestamp invalid_format',
    ]);
  });

  test('needs data', () => {
    expect(rejection({ ...VALID[type], data: undefined }).code).toBe('SCHEMA_VIOLATION');
    expect(rejection({ ...VALID[type], data: [] }).code).toBe('SCHEMA_VIOLATION');
  });
});

test.each(['2026-01-01T00:00:00Z', '2026-01-01T00:00:00.123456+02:00', '2026-01-01T00:00:00.123456'])(
  'takes the timestamp %s',
  (timestamp) => {
    expect(validator.validate({ ...VALID.job_request, timestamp })).toMatchObject({ ok: true });
  },
);

describe('required fields and types', () => {
  test.each([
    ['heartbeat', { activeJobs: '1' }, 'data.activeJobs invalid_type'],
    ['heartbeat', { systemStatus: 'asleep' }, 'data.systemStatus invalid_value'],
    ['job_progress', { stage: undefined }, 'data.stage invalid_value'],
    ['job_progress', { entityType: 'planet' }, 'data.entityType invalid_value'],
    ['job_progress', { itemCounts: { 'glpat-secret': 'x' } }, 'data.itemCounts.* invalid_type'],
    ['job_progress', { resumeState: { currentPage: null } }, 'data.resumeState.currentPage invalid_type'],
    ['job_completed', { success: 1 }, 'data.success invalid_type'],
    [
      'job_failed',
      { requestDetails: { status_code: '429' } },
      'data.requestDetails.status_code invalid_type',
    ],
    ['discovery', { entities: [{ id: '1', name: 'x' }] }, 'data.entities[0].path invalid_type'],
    ['jobs_discovered', { discovered_jobs: [{}] }, 'data.discovered_jobs[0].job_type invalid_value'],
    ['job_assignment', { job_type: 'rest' }, 'data.job_type invalid_value'],
    ['shutdown', { graceful: 'yes' }, 'data.graceful invalid_type'],
  ] as const)('%s %j', (type, data, issue) => {
    const result = rejection(changed(type, data));
    expect(result.code).toBe('SCHEMA_VIOLATION');
    expect(result.type).toBe(type);
    expect(issues(changed(type, data))).toContain(issue);
  });
});

describe('null in place of a field', () => {
  const NULL = 'null is not the same as a missing field: leave the key out';
  const textsOf = (message: object, by = validator) => {
    const result = by.validate(message);
    return result.ok ? [] : result.issues.map(({ path, message: text }) => `${path}: ${text}`);
  };

  test.each([
    [{ ...VALID.job_started, job_id: null }, [`job_id: ${NULL}`]],
    [changed('job_progress', { total: null }), [`data.total: ${NULL}`]],
    [changed('job_progress', { itemCounts: null, resumeState: { currentPage: null } }), 2],
    [changed('shutdown', { graceful: null }), [`data.graceful: ${NULL}`]],
    [changed('job_completed', { finalCounts: { a: null } }), [`data.finalCounts.*: ${NULL}`]],
    [changed('job_failed', { requestDetails: { url: null, status_code: '1' } }), undefined],
  ])('%j is rejected, with the advice to leave the key out', (message: object, expected) => {
    const texts = textsOf(message);
    if (expected === undefined) {
      expect(texts).toEqual([
        expect.stringContaining(NULL),
        'data.requestDetails.status_code: expected number',
      ]);
    } else if (typeof expected === 'number') {
      expect(texts.filter((text) => text.endsWith(NULL))).toHaveLength(expected);
    } else expect(texts).toEqual(expected);
  });

  test.each([
    [changed('job_progress', { processed: null }), 'data.processed: expected number'],
    [{ ...VALID.heartbeat, timestamp: null }, 'timestamp: expected string'],
    [changed('job_completed', { outputFiles: [null] }), 'data.outputFiles[0]: expected string'],
    [{ ...VALID.heartbeat, data: null }, 'data: expected object'],
  ])('%j gets no such advice: the field is required', (message, text) => {
    expect(textsOf(message)).toEqual([text]);
  });

  test('is explained for schemas of every kind, and the message stays as it was', () => {
    const schemas = {
      own: z.object({
        type: z.literal('own'),
        name: z.enum(['a', 'b']).optional(),
        either: z.union([z.string(), z.number()]).optional(),
        tagged: z.discriminatedUnion('kind', [z.object({ kind: z.literal('x') })]).optional(),
        count: z.number().default(1),
        parts: z.array(z.object({ text: z.string().min(2).optional() })),
        free: z.string().nullable().optional(),
        needed: z.string(),
      }),
    };
    const by = new MessageValidator({ registry: new MessageRegistry({ schemas }) });
    const message = {
      type: 'own',
      name: null,
      either: null,
      tagged: null,
      count: null,
      parts: [{ text: 'ab' }, { text: null }],
      free: null,
      needed: null,
    };
    const before = structuredClone(message);
    expect(textsOf(message, by).sort()).toEqual([
      `count: ${NULL}`,
      `either: ${NULL}`,
      `name: ${NULL}`,
      'needed: expected string',
      `parts[1].text: ${NULL}`,
      `tagged: ${NULL}`,
    ]);
    expect(message).toEqual(before);
  });
});

describe('business rules', () => {
  test.each([
    'job_started',
    'job_progress',
    'job_completed',
    'job_failed',
    'jobs_discovered',
    'token_refresh_request',
  ] as const)('%s needs a jobId of at least 3 characters, under either spelling', (type) => {
    const message = { ...VALID[type], jobId: undefined, job_id: undefined };
    expect(issues(message)).toEqual(['jobId job_id_missing']);
    expect(issues({ ...message, jobId: 'ab' })).toEqual(['jobId job_id_short']);
    expect(validator.validate({ ...message, jobId: 'abc' })).toMatchObject({ ok: true });
    expect(validator.validate({ ...message, job_id: 'abc' })).toMatchObject({ ok: true });
    expect(issues({ ...message, jobId: 'ab', job_id: 'abc' })).toEqual(['jobId job_id_short']);
  });

  test.each([
    ['heartbeat', { activeJobs: -1 }, 'data.activeJobs negative'],
    ['heartbeat', { activeJobs: 1.5 }, 'data.activeJobs not_integer'],
    ['heartbeat', { totalProcessed: 0.1 }, 'data.totalProcessed not_integer'],
    ['job_progress', { processed: -1 }, 'data.processed negative'],
    ['job_progress', { processed: 11 }, 'data.processed over_total'],
    ['job_progress', { itemCounts: { a: 1, b: -1 } }, 'data.itemCounts negative'],
    ['job_completed', { finalCounts: { a: -1 } }, 'data.finalCounts negative'],
    ['job_assignment', { job_id: 'ab' }, 'data.job_id job_id_short'],
    ['job_assignment', { access_token: 'too short' }, 'data.access_token token_short'],
    ['job_assignment', { gitlab_host: 'gitlab.example.com' }, 'data.gitlab_host not_http_url'],
    ['job_assignment', { gitlab_host: 'ftp://x' }, 'data.gitlab_host not_http_url'],
    ['token_refresh_response', { accessToken: '' }, 'data.accessToken token_empty'],
    ['shutdown', { timeout_seconds: -1 }, 'data.timeout_seconds negative'],
  ] as const)('%s %j breaks %s', (type, data, issue) => {
    expect(rejection(changed(type, data)).code).toBe('RULE_VIOLATION');
    expect(issues(changed(type, data))).toContain(issue);
  });

  test.each([
    ['heartbeat', { activeJobs: 0, totalProcessed: 0 }],
    ['job_progress', { processed: 10 }],
    ['job_progress', { processed: 0, total: 0 }],
    ['job_progress', { processed: 7, total: 0 }],
    ['job_progress', { entityType: 'groupMilestones' }],
    ['job_progress', { entityType: 'epics' }],
    ['discovery', { entityType: 'jobs' }],
    ['discovery', { entityType: 'mergeRequestNotes' }],
    ['job_progress', { processed: 99, total: undefined }],
    ['job_assignment', { gitlab_host: 'http://localhost:8080' }],
    ['job_assignment', { access_token: '0123456789' }],
    ['token_refresh_response', { accessToken: '', refreshSuccessful: false }],
    ['shutdown', { timeout_seconds: 0 }],
  ] as const)('%s %j is within them', (type, data) => {
    expect(validator.validate(changed(type, data))).toMatchObject({ ok: true });
  });
});

describe('age', () => {
  const now = () => Date.parse('2026-01-01T00:01:00Z');

  test('maxMessageAge rejects what is older', () => {
    const strict = new MessageValidator({ maxMessageAge: 30_000, now });
    expect(strict.validate(VALID.job_request)).toMatchObject({ code: 'RULE_VIOLATION' });
    const recent = { ...VALID.job_request, timestamp: '2026-01-01T00:00:30Z' };
    expect(strict.validate(recent)).toMatchObject({ ok: true });
  });

  test('maxClockSkew rejects what is further in the future', () => {
    const strict = new MessageValidator({ maxClockSkew: 1000, now });
    const at = (timestamp: string) => strict.validate({ ...VALID.job_request, timestamp }).ok;
    expect(at('2026-01-01T00:01:01Z')).toBe(true);
    expect(at('2026-01-01T00:01:01.001Z')).toBe(false);
  });

  test('both are off by default', () => {
    expect(new MessageValidator({ now: () => 0 }).validate(VALID.job_request).ok).toBe(true);
  });
});

test('a misspelt option is an error', () => {
  const options: object = { maxMesageSize: 10 };
  expect(() => new MessageValidator(options)).toThrow(
    'maxMesageSize: unknown option; did you mean maxMessageSize?',
  );
});

describe('limits and statistics', () => {
  test('bytes longer than maxMessageSize are rejected', () => {
    const bytes = Buffer.from(JSON.stringify(VALID.heartbeat));
    expect(new MessageValidator({ maxMessageSize: bytes.length }).validate(bytes).ok).toBe(true);
    const small = new MessageValidator({ maxMessageSize: bytes.length - 1 });
    expect(small.validate(bytes)).toMatchObject({ code: 'MESSAGE_TOO_LARGE' });
  });

  test('counts by type and by code', () => {
    const counting = new MessageValidator();
    counting.validate(VALID.heartbeat);
    counting.validate(VALID.heartbeat);
    counting.validate({ type: 'x' });
    counting.validate(Buffer.from('?'));
    expect(counting.statistics).toEqual({
      accepted: 2,
      rejected: 2,
      byType: { heartbeat: 2 },
      byCode: { UNKNOWN_TYPE: 1, INVALID_JSON: 1 },
    });
  });

  test.each([
    ['a value that is no object', 1, 'SCHEMA_VIOLATION'],
    ['an object without type', {}, 'SCHEMA_VIOLATION'],
    ['a broken schema', changed('heartbeat', { activeJobs: 'x' }), 'SCHEMA_VIOLATION'],
    ['a broken rule', changed('heartbeat', { activeJobs: -1 }), 'RULE_VIOLATION'],
    ['an unknown type', { type: 'x' }, 'UNKNOWN_TYPE'],
  ])('no issues of %s if none are wanted', (_, message, code) => {
    expect(validator.validate(message, false)).toMatchObject({ ok: false, code, issues: [] });
  });

  test('reports at most 8 issues', () => {
    const entities = Array.from({ length: 100 }, () => ({}));
    expect(rejection(changed('discovery', { entities })).issues).toHaveLength(8);
  });

  test('no issue repeats a value or a key that the sender chose', () => {
    const secret = 'glpat-CANARY';
    const everywhere = {
      type: 'job_failed',
      timestamp: secret,
      [secret]: secret,
      data: {
        error: { [secret]: secret },
        isRecoverable: secret,
        partialCounts: { [secret]: secret },
        resumeState: secret,
        requestDetails: { response_headers: { [secret]: 1 }, status_code: secret },
      },
    };
    const text = JSON.stringify(rejection(everywhere));
    expect(text).toContain('data.partialCounts.*');
    expect(text).not.toContain('CANARY');
  });
});
