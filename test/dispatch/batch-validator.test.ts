import { MessageParser } from 'sluice';
import { describe, expect, test } from 'vitest';
import { Traffic } from '#bench/traffic.js';
import { BatchValidator } from '#src/dispatch/batch-validator.js';
import { CHUNK, FRAME, NO_HEARTBEAT, RUN, RunKind, type Verdict } from '#src/dispatch/verdict.js';
import { changed, line, VALID } from '../support/messages.js';

const NEWLINE = 0x0a;
const kinds = Object.fromEntries(Object.entries(RunKind).map(([name, kind]) => [kind, name]));

/** Validates texts, each as a range of its own, in one arena. */
function validate(...texts: string[]): { verdict: Verdict; bytes: Buffer } {
  const memory = new SharedArrayBuffer(texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0));
  const bytes = Buffer.from(memory);
  const ranges: number[] = [];
  let at = 0;
  for (const text of texts) {
    const end = at + bytes.write(text, at);
    ranges.push(0, at, end);
    at = end;
  }
  const batches = new BatchValidator(new MessageParser(), NEWLINE);
  return {
    verdict: batches.validate({ arenas: [memory], ranges: Uint32Array.from(ranges), wantsAllIssues: true }),
    bytes,
  };
}

function runsOf({ runs }: Verdict): string[] {
  return Array.from({ length: runs.length / RUN.SIZE }, (_, index) => {
    const at = index * RUN.SIZE;
    return `${kinds[runs[at + RUN.KIND] ?? -1]} ${runs[at + RUN.FIRST]}+${runs[at + RUN.COUNT]}`;
  });
}

const field = ({ chunks }: Verdict, chunk: number, name: keyof typeof CHUNK) =>
  chunks[chunk * CHUNK.SIZE + CHUNK[name]];
const progress = (jobId: string) => line({ ...VALID.job_progress, jobId });

describe('runs', () => {
  test('plain lines are one run', () => {
    const { verdict } = validate(new Traffic({ seed: 1 }).block(50).toString());
    expect(runsOf(verdict)).toEqual(['PLAIN 0+50']);
  });

  test('a run ends with its range', () => {
    const { verdict } = validate(progress('job-1'), progress('job-2') + progress('job-2'));
    expect(runsOf(verdict)).toEqual(['PLAIN 0+1', 'PLAIN 1+2']);
    expect([field(verdict, 0, 'RUN_END'), field(verdict, 1, 'RUN_END')]).toEqual([1, 2]);
  });

  test('messages with no newline right behind them are bare', () => {
    const beat = JSON.stringify(VALID.heartbeat);
    expect(runsOf(validate(beat + beat).verdict)).toEqual(['BARE 0+2']);
    expect(runsOf(validate(`${beat}\r\n${beat}\n${beat}`).verdict)).toEqual([
      'BARE 0+1',
      'PLAIN 1+1',
      'BARE 2+1',
    ]);
  });

  test('an empty line between two messages parts their runs', () => {
    expect(runsOf(validate(`${progress('abc')}\n${progress('abc')}`).verdict)).toEqual([
      'PLAIN 0+1',
      'PLAIN 1+1',
    ]);
  });

  test('what the broker must look at stands alone', () => {
    const { verdict } = validate(
      progress('abc') +
        'junk\n' +
        line(VALID.job_request) +
        line(VALID.shutdown) +
        line({ type: 'ping' }) +
        line({ type: 'ping' }) +
        progress('abc'),
    );
    expect(runsOf(verdict)).toEqual([
      'PLAIN 0+1',
      'REFUSED 1+1',
      'REQUEST 2+1',
      'DIRECTED 3+1',
      'CONTROL 4+1',
      'CONTROL 5+1',
      'PLAIN 6+1',
    ]);
  });
});

describe('frames', () => {
  test('point at each message', () => {
    const texts = [progress('abc'), line(VALID.heartbeat)];
    const { verdict, bytes } = validate(texts.join(''));
    const found = texts.map((_, frame) => {
      const at = frame * FRAME.SIZE;
      return bytes.toString('utf8', verdict.frames[at + FRAME.START], verdict.frames[at + FRAME.END]);
    });
    expect(found).toEqual(texts.map((text) => text.trimEnd()));
  });

  test('jobs are named once, by either spelling, and told by range', () => {
    const { verdict } = validate(
      progress('job-a') + progress('job-b') + progress('job-a') + line(VALID.heartbeat),
      line({ ...VALID.job_started, jobId: undefined, job_id: 'job-a' }),
    );
    expect(verdict.jobIds).toEqual(['job-a', 'job-b']);
    const jobs = Array.from({ length: 5 }, (_, frame) => verdict.frames[frame * FRAME.SIZE + FRAME.JOB]);
    expect(jobs).toEqual([1, 2, 1, 0, 1]);
    expect([...verdict.chunkJobs]).toEqual([0, 1, 0]);
    expect([field(verdict, 0, 'JOB_END'), field(verdict, 1, 'JOB_END')]).toEqual([2, 3]);
  });

  test('refusals come with code, type, issues and line, and no value', () => {
    const { verdict } = validate(`\n${line(changed('job_progress', { processed: -7777 }))}{"type":"nope"}\n`);
    expect(verdict.refusals).toMatchObject([
      { code: 'RULE_VIOLATION', type: 'job_progress', line: 1, issues: [{ path: 'data.processed' }] },
      { code: 'UNKNOWN_TYPE', type: undefined, line: 2 },
    ]);
    expect(JSON.stringify(verdict.refusals)).not.toContain('7777');
    expect(field(verdict, 0, 'LINES')).toBe(3);
  });

  test('the last heartbeat of a range tells how busy the crawler is', () => {
    const beat = (activeJobs: number) => line(changed('heartbeat', { activeJobs }));
    const { verdict } = validate(beat(3) + beat(5), progress('abc'), beat(0));
    expect([0, 1, 2].map((chunk) => field(verdict, chunk, 'ACTIVE_JOBS'))).toEqual([5, NO_HEARTBEAT, 0]);
  });
});

test('no parsed message is in a verdict: flat arrays, job ids, and details of the refused', () => {
  const { verdict } = validate(new Traffic({ seed: 3 }).block(2000).toString());
  const { jobIds, refusals, matched, mismatches, layoutsLearned, layoutsDropped, ...arrays } = verdict;
  expect([matched, mismatches, layoutsLearned, layoutsDropped]).toEqual([0, [], 0, 0]);
  for (const array of Object.values(arrays)) expect(array).toBeInstanceOf(Uint32Array);
  expect(refusals).toEqual([]);
  expect(jobIds.every((jobId) => typeof jobId === 'string')).toBe(true);
  expect([...verdict.accepted].reduce((sum, count) => sum + count)).toBe(2000);
});

test('issues are told of the first refused messages of a range, or of all where somebody reads them', () => {
  const batches = new BatchValidator(new MessageParser(), NEWLINE, 2);
  const memory = new SharedArrayBuffer(4096);
  const end = Buffer.from(memory).write('{"type":"heartbeat"}\n'.repeat(5));
  const told = (wantsAllIssues: boolean) => {
    const ranges = Uint32Array.of(0, 0, end, 0, 0, end);
    const { refusals } = batches.validate({ arenas: [memory], ranges, wantsAllIssues });
    expect(refusals.map(({ code }) => code)).toEqual(new Array(10).fill('SCHEMA_VIOLATION'));
    return refusals.map(({ issues }) => issues.length > 0);
  };
  const some = [true, true, false, false, false];
  expect(told(false)).toEqual([...some, ...some]);
  expect(told(true)).toEqual(new Array(10).fill(true));
});

test('keeps nothing from one batch to the next', () => {
  const batches = new BatchValidator(new MessageParser(), NEWLINE);
  const memory = new SharedArrayBuffer(4096);
  const end = Buffer.from(memory).write(`${progress('abc')}junk\n`);
  const task = { arenas: [memory], ranges: Uint32Array.of(0, 0, end), wantsAllIssues: true };
  expect(batches.validate(task)).toEqual(batches.validate(task));
});
