// Malicious or malformed messages, each with the error code with which it is rejected.

import type { WireErrorCode } from 'sluice';
import { changed, VALID, type ValidType } from './messages.js';

export interface Hostile {
  readonly name: string;
  readonly bytes: Buffer;
  /** The error code; `undefined` if the message is accepted and harmless. */
  readonly code: WireErrorCode | undefined;
}

const hostile: Hostile[] = [];
const add = (code: Hostile['code'], name: string, bytes: string | Buffer): void => {
  hostile.push({ name: `${code ?? 'taken'}: ${name}`, bytes: Buffer.from(bytes), code });
};
const json = (value: unknown): string => JSON.stringify(value);
/** A heartbeat with a JSON text as the value of an extra key. */
const extra = (text: string, key = '"x"'): string => `${json(VALID.heartbeat).slice(0, -1)},${key}:${text}}`;

for (const text of [
  '}',
  ']',
  '{"a"}',
  '{"a":}',
  '{a:1}',
  "{'a':1}",
  '{"a":1,}',
  '{,}',
  '{"a":1 "b":2}',
  '{"a" 1}',
  '{"a"::1}',
  '[1,]',
  '[,]',
  '[1 2]',
  '{"a":1]',
  '{]',
  'GET / HTTP/1.1',
  '<xml/>',
  '--- yaml',
  'null x',
  '"a" "b"',
  'tru',
  'nul',
  'NaN',
  'undefined',
  'Infinity',
  '-',
  '+1',
  '0x1',
  '"',
  '"a',
  "'a'",
  '\\',
  '/* c */',
  '// c',
  '#c',
  ':',
  ',',
  '\u0000',
  'a=1&b=2',
  '%7B%7D',
  '$(id)',
  '`id`',
  '\u2028',
])
  add('INVALID_JSON', json(text), text);
for (const text of [
  '01',
  '.5',
  '1.',
  '1e',
  '1e+',
  '--1',
  '+1',
  '0x1',
  '1_000',
  'NaN',
  'Infinity',
  '-Infinity',
  'True',
  'None',
  'undefined',
  '"\\x"',
  '"\\u12"',
  '"\\u12G4"',
  '"\\',
  "'a'",
  '"\\8"',
  '[1,]',
  '{"a"}',
  '{a:1}',
  '{"a":1,}',
  '[1',
  '{"a":1',
  '"a',
  '/**/1',
  '1//',
  '<1>',
  '(1)',
  '"a"+"b"',
  '`a`',
])
  add('INVALID_JSON', `a value ${text}`, extra(text));
for (let code = 0; code < 0x20; code++) {
  if (code === 0x0a) continue;
  add('INVALID_JSON', `control character ${code} in a string`, extra(`"${String.fromCharCode(code)}"`));
}
for (const text of ['1', '-1.5', '"text"', 'null', 'true', 'false', '[]', '[{}]', '[[]]', '""'])
  add('SCHEMA_VIOLATION', `no object: ${text}`, text);

for (const [name, bytes] of Object.entries({
  'a lone continuation': [0x80],
  'two of them': [0xbf, 0xbf],
  'an overlong slash': [0xc0, 0xaf],
  'an overlong NUL': [0xc0, 0x80],
  'an overlong of three': [0xe0, 0x80, 0xaf],
  'a surrogate': [0xed, 0xa0, 0x80],
  'a pair of surrogates': [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80],
  'beyond Unicode': [0xf4, 0x90, 0x80, 0x80],
  'five bytes': [0xf8, 0x88, 0x80, 0x80, 0x80],
  FE: [0xfe],
  FF: [0xff],
  'a cut of two': [0xc3],
  'a cut of three': [0xe2, 0x82],
  'a cut of four': [0xf0, 0x9f, 0x98],
  'Latin-1': [0xe9, 0x74, 0xe9],
})) {
  const [head, tail] = extra('"@"').split('@') as [string, string];
  add(
    'INVALID_UTF8',
    `${name} in a string`,
    Buffer.concat([Buffer.from(head), Buffer.from(bytes), Buffer.from(tail)]),
  );
  const [start, end] = extra('1', '"@"').split('@') as [string, string];
  add(
    'INVALID_UTF8',
    `${name} in a key`,
    Buffer.concat([Buffer.from(start), Buffer.from(bytes), Buffer.from(end)]),
  );
  add('INVALID_UTF8', `${name} alone`, Buffer.from(bytes));
}
add('INVALID_UTF8', 'the mark of UTF-16', Buffer.from([0xff, 0xfe, 0x7b, 0x00]));

for (const depth of [64, 65, 1000, 100_000]) {
  add('MESSAGE_TOO_DEEP', `${depth} lists`, extra('['.repeat(depth) + ']'.repeat(depth)));
  add('MESSAGE_TOO_DEEP', `${depth} objects`, extra(`${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`));
}
add(undefined, '63 levels within the message', extra('['.repeat(63) + ']'.repeat(63)));

for (const key of [
  '"__proto__"',
  '"\\u005f_proto__"',
  '"__pr\\u006fto__"',
  '"\\u005f\\u005fproto\\u005f\\u005f"',
]) {
  add('FORBIDDEN_KEY', `${key} at the top`, extra('{"polluted":true}', key));
  add('FORBIDDEN_KEY', `${key} within`, extra(`{"a":[{${key}:1}]}`));
  add('FORBIDDEN_KEY', `${key} among counts`, json(VALID.job_completed).replace('"issues"', key));
}
for (const key of [
  'constructor',
  'prototype',
  'toString',
  'valueOf',
  'hasOwnProperty',
  '__defineGetter__',
  'then',
  '',
]) {
  add(undefined, `a key ${json(key)}`, extra('{"prototype":{"polluted":true}}', json(key)));
  add('UNKNOWN_TYPE', `a type ${json(key)}`, json({ ...VALID.heartbeat, type: key }));
}
for (const type of [
  '__proto__',
  'Heartbeat',
  'HEARTBEAT',
  'heartbeat ',
  ' heartbeat',
  'heart',
  'heartbeat\u0000',
  'rejected',
  'unknown',
  'x'.repeat(10_000),
  '*',
  'job_*',
  '../etc',
  'é',
  '💣',
])
  add('UNKNOWN_TYPE', `a type ${json(type.slice(0, 20))}`, json({ ...VALID.heartbeat, type }));
for (const type of [1, 0, null, true, [], ['heartbeat'], {}, { type: 'heartbeat' }, undefined])
  add('SCHEMA_VIOLATION', `a type that is ${json(type)}`, json({ ...VALID.heartbeat, type }));

for (const text of ['1e999', '-1e999', '9'.repeat(400), '1e400', `-${'9'.repeat(310)}`])
  add(
    'SCHEMA_VIOLATION',
    `a number ${text.slice(0, 9)}`,
    json(VALID.heartbeat).replace('"uptime":3', `"uptime":${text}`),
  );
for (const text of [
  '"\\ud800"',
  '"\\udfff"',
  '"\\ud83d"',
  '"\\u0000"',
  '"\\u2028"',
  '"\\/"',
  '1e-999',
  '-0',
  '123456789012345678901234567890',
])
  add(undefined, `a value ${text}`, extra(text));
add('SCHEMA_VIOLATION', 'no type, after a byte order mark', '\ufeff{}');
add(undefined, 'a key twice', extra('1', '"x":2,"x"'));
add('UNKNOWN_TYPE', 'two types', extra('"other"', '"type"'));
add('SCHEMA_VIOLATION', 'two data, the last one wrong', extra('1', '"data"'));

/** Every member of every message, replaced by a value that no schema accepts there. */
const FREE = new Set(['memoryUsage', 'context']);
for (const [type, message] of Object.entries(VALID) as [ValidType, (typeof VALID)[ValidType]][]) {
  for (const wrong of [null, 1, 'text', []])
    add('SCHEMA_VIOLATION', `${type} with data ${json(wrong)}`, json({ ...message, data: wrong }));
  for (const time of ['', 'now', '2026-02-30T00:00:00Z', 1, null])
    add('SCHEMA_VIOLATION', `${type} at ${json(time)}`, json({ ...message, timestamp: time }));
  for (const key of Object.keys(message.data)) {
    if (!FREE.has(key))
      add('SCHEMA_VIOLATION', `${type} with a strange ${key}`, json(changed(type, { [key]: [[null]] })));
  }
}

for (const [type, data, envelope] of [
  ['heartbeat', { activeJobs: -1 }],
  ['heartbeat', { activeJobs: 0.5 }],
  ['heartbeat', { totalProcessed: -1 }],
  ['heartbeat', { totalProcessed: 1.5 }],
  ['job_progress', { processed: 11 }],
  ['job_progress', { processed: -1 }],
  ['job_progress', { total: -1 }],
  ['job_progress', { itemCounts: { a: -1 } }],
  ['job_completed', { finalCounts: { a: -1 } }],
  ['job_started', {}, { jobId: undefined }],
  ['job_progress', {}, { jobId: 'ab' }],
  ['job_completed', {}, { jobId: '' }],
  ['job_failed', {}, { jobId: undefined }],
  ['jobs_discovered', {}, { job_id: 'ab' }],
  ['token_refresh_request', {}, { jobId: undefined }],
  ['job_assignment', { job_id: 'ab' }],
  ['job_assignment', { access_token: 'short' }],
  ['job_assignment', { gitlab_host: 'ftp://x' }],
  ['job_assignment', { gitlab_host: 'javascript:alert(1)' }],
  ['token_refresh_response', { accessToken: '' }],
  ['shutdown', { timeout_seconds: -1 }],
] as [ValidType, object, object?][])
  add('RULE_VIOLATION', `${type} ${json(data)} ${json(envelope ?? {})}`, json(changed(type, data, envelope)));

for (const [type, data] of [
  ['hello', {}],
  ['hello', { role: 'admin' }],
  ['hello', { role: 1 }],
  ['hello', { role: 'app', token: 1 }],
  ['hello', { role: 'crawler', capabilities: 'all' }],
  ['subscribe', {}],
  ['subscribe', { id: 1 }],
  ['subscribe', { id: 'a', types: 'all' }],
  ['subscribe', { id: 'a', types: [1] }],
  ['subscribe', { id: 'a', overflow: 'explode' }],
  ['subscribe', { id: 'a', meta: 'yes' }],
  ['subscribe', { id: 'a', jobIds: {} }],
  ['unsubscribe', {}],
  ['unsubscribe', { id: null }],
] as const)
  add('SCHEMA_VIOLATION', `${type} ${json(data)}`, json({ type, data }));
for (const type of ['welcome', 'subscribed', 'unsubscribed', 'error'])
  add('UNKNOWN_TYPE', `a broker's own ${type}`, json({ type, data: { id: 'x' } }));
add('MESSAGE_TOO_LARGE', 'a long string', extra(`"${'x'.repeat(1 << 20)}"`));
add('MESSAGE_TOO_LARGE', 'a long number', extra('1'.repeat(1 << 20)));

export const HOSTILE: readonly Hostile[] = hostile;
