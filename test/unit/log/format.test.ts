// What is on disks of users must stay readable: the bytes of version 1. If this test fails, the format needs a new version,
// and the reader has to know both. The index of a record has the layout of verdicts.

import { readFileSync } from 'node:fs';
import { MessageRegistry } from 'sluice';
import { expect, test } from 'vitest';
import {
  createHead,
  encodeRecordHeader,
  encodeSegmentHeader,
  RECORD_HEADER,
  RecordKind,
  SEGMENT_HEADER,
} from '#src/log/format.js';
import { isGap, type LoggedRun, readLog } from '#src/log/log-reader.js';
import { StoredMessageFilter } from '#src/log/stored-messages.js';
import { jobKey } from '#src/messages/job-key.js';
import { Filter } from '#src/routing/filter.js';
import { SimulatedDisk } from '../../support/simulated-disk.js';

const JOB_SEED = [0x01020304, 0x05060708] as const;
const ID = 0x0a0b0c0d;
const MESSAGES = [
  '{"type":"job_started","timestamp":"2026-01-01T00:00:00Z","jobId":"job 1","data":{}}',
  '{"type":"heartbeat","timestamp":"2026-01-01T00:00:00Z","data":{}}',
];
const TYPES = ['unknown', 'heartbeat', 'job_started'];
const fixture = Buffer.from(readFileSync(new URL('segment-v1.base64', import.meta.url), 'utf8'), 'base64');

function segment(): Buffer {
  const header = {
    id: ID,
    delimiter: 10,
    epoch: 0x0123456789abcdefn,
    first: 1000,
    created: 1_767_225_600_000,
    jobSeed: JOB_SEED,
  };
  const [first = '', second = ''] = MESSAGES;
  const body = Buffer.from(`${first}\n${second}\n`);
  const { low, high } = jobKey('job 1', JOB_SEED);
  const start = 7000;
  const words = [
    ...[start, 3],
    ...[start, start + first.length, 2, 4],
    ...[start + first.length + 1, start + body.length - 1, 1, 0],
    ...[low, high, 0],
  ];
  const fields = {
    first: 1000,
    durable: SEGMENT_HEADER,
    sender: 1,
    time: 1_767_225_601_000,
    sequence: 0,
    decidedBefore: 0,
  };
  const definition = (kind: number, value: unknown) =>
    record(
      { head: Buffer.alloc(RECORD_HEADER), body: Buffer.from(JSON.stringify(value)) },
      { kind, count: 0 },
    );
  const record = (content: { head: Buffer; body: Buffer }, own: object) => {
    encodeRecordHeader(content, { ...fields, kind: 0, count: 0, ...own }, ID);
    const size = content.head.length + content.body.length;
    return Buffer.concat([content.head, content.body, Buffer.alloc((8 - (size % 8)) % 8)]);
  };
  return Buffer.concat([
    encodeSegmentHeader(header),
    definition(RecordKind.OPENING, { types: TYPES, sessions: { s: 5 } }),
    definition(RecordKind.SENDER, { id: 'c-1', crawlerId: 'alpha', session: 's' }),
    record(
      { head: createHead(words.length, (index) => index.set(words)), body },
      { kind: RecordKind.RUN, count: 2, sequence: 17, decidedBefore: 5 },
    ),
  ]);
}

test('a segment is written as it always was', () => {
  expect(segment().toString('base64')).toBe(fixture.toString('base64'));
});

test('a segment of version 1 is read, and its messages are selected by type, crawler and job', async () => {
  const disk = new SimulatedDisk();
  disk.setContent('00000000000000001000.seg', fixture);
  const parts: LoggedRun[] = [];
  for await (const part of readLog(disk)) if (!isGap(part)) parts.push(part);
  const [run] = parts;
  expect(parts).toHaveLength(1);
  expect(run?.sender).toEqual({ id: 'c-1', crawlerId: 'alpha', session: 's' });
  expect(run?.header).toMatchObject({
    first: 1000,
    count: 2,
    sequence: 17,
    decidedBefore: 5,
    time: 1_767_225_601_000,
  });
  const registry = MessageRegistry.builtin();
  const selected = (data: object): string | undefined => {
    const filter = new Filter(registry, { id: 'f', types: ['*'], ...data }, JOB_SEED);
    return new StoredMessageFilter(registry, filter, 10).select(run as LoggedRun, 0)?.bytes.toString();
  };
  const [first, second] = MESSAGES;
  expect(selected({})).toBe(`${first}\n${second}\n`);
  expect(selected({ types: ['heartbeat'] })).toBe(`${second}\n`);
  expect(selected({ jobIds: ['job 1'] })).toBe(`${first}\n`);
  expect(selected({ jobIds: ['job 2'] })).toBeUndefined();
  expect(selected({ crawlerIds: ['beta'] })).toBeUndefined();
});
