import { MessageParser, MessageRegistry, MessageValidator } from 'sluice';
import { expect, onTestFinished, test, vi } from 'vitest';
import * as z from 'zod';
import { type JobKey, jobKey, NO_JOB, NO_SEED } from '#src/messages/job-key.js';
import { MAX_MATCHES } from '#src/pattern/memory-layout.js';
import { compileResults, PatternSet } from '#src/pattern/pattern-set.js';
import { createPatterns, matchAt, onlyTypes } from '../../support/patterns.js';

const schema = z.object({ type: z.literal('t'), jobId: z.string().optional() });
const registry = new MessageRegistry({ schemas: { t: schema } });
const types = onlyTypes(registry, ['t']);

/** Scans as often as it takes. Gives the key of each message's job, and how often the scan was interrupted. */
function scanAll(patterns: PatternSet, text: string) {
  const bytes = Buffer.from(text);
  const jobs: JobKey[] = [];
  let interruptions = 0;
  let lines = 0;
  patterns.load(bytes, 0, bytes.length);
  let at = 0;
  for (;;) {
    const matches = patterns.scan(at);
    for (let index = 0; index < matches.count; index++) jobs.push(matchAt(matches, index).job);
    lines += matches.lines;
    at = matches.scanEnd;
    if (!matches.isInterrupted) return { jobs, interruptions, lines, end: at };
    interruptions++;
  }
}

const keyOf = (jobId: string) => jobKey(jobId, NO_SEED);
const line = (jobId: string) => `{"type":"t","jobId":${JSON.stringify(jobId)}}\n`;

test('more messages than there is room for take more scans', () => {
  const patterns = createPatterns(types);
  const text = '{"type":"t"}\n'.repeat(MAX_MATCHES * 2 + 1);
  const { jobs, interruptions, lines, end } = scanAll(patterns, text);
  expect(jobs).toHaveLength(MAX_MATCHES * 2 + 1);
  expect(interruptions).toBe(2);
  expect(lines).toBe(jobs.length);
  expect(end).toBe(text.length);
});

test('as many jobs as messages take no more scans than one job', () => {
  const patterns = createPatterns(types);
  const ids = Array.from({ length: MAX_MATCHES * 2 + 1 }, (_, index) => `job-${index}`);
  const { jobs, interruptions, lines } = scanAll(patterns, ids.map(line).join(''));
  expect(jobs).toEqual(ids.map(keyOf));
  expect(lines).toBe(ids.length);
  expect(interruptions).toBe(2);
});

test('job ids may be as long as a message', () => {
  const patterns = createPatterns(types);
  const ids = Array.from({ length: 50 }, (_, index) => `${index}-${'x'.repeat(index * 1000)}`);
  expect(scanAll(patterns, ids.map(line).join('')).jobs).toEqual(ids.map(keyOf));
});

test('ids that share a beginning, an end or all but one byte are distinguished', () => {
  const patterns = createPatterns(types);
  const ids = [
    '',
    'a',
    'ab',
    'abcdefgh',
    'abcdefgi',
    'abcdefghi',
    'abcdefghj',
    'xbcdefghi',
    'abcdefghijklmnop',
    'abcdefghijklmnoq',
  ];
  const all = [...ids, ...ids.reverse()];
  expect(scanAll(patterns, all.map(line).join('')).jobs).toEqual(all.map(keyOf));
});

test('a carriage return before the delimiter is passed with it', () => {
  const patterns = createPatterns(types);
  expect(scanAll(patterns, '{"type":"t"}\r\n{"type":"t"}\n{"type":"t"}\r')).toMatchObject({
    jobs: [NO_JOB, NO_JOB, NO_JOB],
    lines: 2,
    end: 39,
  });
});

test('text that does not fit grows the memory, and nothing is forgotten', () => {
  const patterns = createPatterns(types, { maxMessageSize: 4 * 1024 * 1024 });
  expect(scanAll(patterns, line('before')).jobs).toEqual([keyOf('before')]);
  const text = line('a').repeat(100_000);
  expect(new Set(scanAll(patterns, text).jobs.map(({ low }) => low))).toEqual(new Set([keyOf('a').low]));
  expect(scanAll(patterns, line('before')).jobs).toEqual([keyOf('before')]);
});

test('bytes that are not UTF-8 are not looked at', () => {
  const patterns = createPatterns(types);
  expect(patterns.load(Buffer.from('{"type":"t","jobId":"\xff"}', 'latin1'), 0, 24)).toBe(false);
});

class RejectingModule {
  constructor() {
    throw new WebAssembly.CompileError('no SIMD');
  }
}

test.each([
  ['WebAssembly', () => vi.stubGlobal('WebAssembly', undefined)],
  ['128-bit instructions', () => vi.spyOn(WebAssembly, 'Module').mockImplementation(RejectingModule)],
])('without %s, every message takes the slow path', (_, take) => {
  onTestFinished(() => void vi.unstubAllGlobals());
  onTestFinished(() => void vi.restoreAllMocks());
  take();
  const patterns = PatternSet.create(registry);
  expect(patterns).toBeUndefined();
  expect(compileResults(registry, patterns).get('t')).toEqual({
    declined: 'this machine does not support WebAssembly with SIMD',
  });
  const parser = new MessageParser({ patterns, validator: new MessageValidator({ registry }) });
  const bytes = Buffer.from(line('abc').repeat(100));
  const counts = { parsed: 0, matched: 0 };
  const sink = {
    onMessage: () => counts.parsed++,
    onMatches: () => counts.matched++,
    onRejection() {},
  };
  parser.parse(bytes, 0, bytes.length, sink);
  expect(counts).toEqual({ parsed: 100, matched: 0 });
  expect(parser.parseByPatterns(bytes, 0, bytes.length, sink)).toBeUndefined();
});
