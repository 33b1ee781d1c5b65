import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { MessageParser, MessageRegistry, MessageValidator } from 'sluice';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import * as z from 'zod';
import { FRAME, NO_HEARTBEAT, RANGE, RUN, RunKind, type Verdict } from '#src/dispatch/verdict.js';
import { VerdictReader } from '#src/dispatch/verdict-reader.js';
import { type JobKey, jobKey, NO_JOB, NO_SEED } from '#src/messages/job-key.js';
import type { MessageType } from '#src/messages/message-registry.js';
import { MAX_JOBS } from '#src/pattern/memory-layout.js';
import { Traffic } from '#src/traffic/traffic.js';
import { BatchValidator } from '#src/worker/batch-validator.js';
import { DriftDetector } from '#src/worker/drift-detector.js';
import { changed, line, VALID } from '../../support/messages.js';
import { createPatterns } from '../../support/patterns.js';
import { timeRatio } from '../../support/timing.js';

const NEWLINE = 0x0a;
const kinds = Object.fromEntries(Object.entries(RunKind).map(([name, kind]) => [kind, name]));

/** Like `toEqual`, but much faster if they are equal. */
function expectEqual(actual: unknown, expected: unknown): void {
  if (!isDeepStrictEqual(actual, expected)) expect(actual).toEqual(expected);
}

/** Validates texts, each as a range of its own, in one arena. */
function validate(...texts: string[]): { verdict: Verdict; bytes: Buffer } {
  return validateWith(new BatchValidator(new MessageParser(), NEWLINE), texts);
}

function validateWith(
  batches: BatchValidator,
  texts: readonly string[],
): { verdict: Verdict; bytes: Buffer } {
  const memory = new SharedArrayBuffer(texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0));
  const bytes = Buffer.from(memory);
  const ranges: number[] = [];
  let at = 0;
  for (const text of texts) {
    const end = at + bytes.write(text, at);
    ranges.push(0, at, end);
    at = end;
  }
  return {
    verdict: batches.validate({ id: 0, arenas: [memory], ranges, maxDetailedRejections: 1000 }),
    bytes,
  };
}

function runsOf(verdict: Verdict): string[] {
  const reader = new VerdictReader(verdict);
  return Array.from({ length: verdict.runs.length / RUN.SIZE }, (_, run) => {
    return `${kinds[reader.runKind(run)]} ${reader.firstFrame(run)}+${reader.frameCount(run)}`;
  });
}

/** The jobs of each run, with the last message about each. */
function jobsOf(verdict: Verdict): [JobKey, number][][] {
  const reader = new VerdictReader(verdict);
  return Array.from({ length: verdict.runs.length / RUN.SIZE }, (_, run) =>
    Array.from({ length: reader.jobsEnd(run) - reader.firstJob(run) }, (_, at) => {
      const job = reader.firstJob(run) + at;
      return [{ low: reader.jobLow(job), high: reader.jobHigh(job) }, reader.latestFrame(job)];
    }),
  );
}

const field = ({ ranges }: Verdict, range: number, name: keyof typeof RANGE) =>
  ranges[range * RANGE.SIZE + RANGE[name]];
const progress = (jobId: string) => line({ ...VALID.job_progress, jobId });

describe('the workload of a schema that users bring is the same on both paths', () => {
  const data = z.looseObject({ activeJobs: z.number().nullish() });
  const schema = z.looseObject({ type: z.literal('heartbeat'), data: data.optional() });
  const registry = new MessageRegistry({ schemas: { heartbeat: schema } });
  const beat = (value: string) => `{"type":"heartbeat","data":{"activeJobs":${value}}}\n`;
  const most = 2 ** 32 - 2;

  /** The workload that a range of messages ends with, and how many of them patterns took. */
  function workload(hasPatterns: boolean, text: string) {
    const patterns = hasPatterns ? createPatterns(registry) : undefined;
    const parser = new MessageParser({ validator: new MessageValidator({ registry }), patterns });
    const { verdict } = validateWith(new BatchValidator(parser, NEWLINE), [text]);
    expect(verdict.rejections).toEqual([]);
    return { activeJobs: field(verdict, 0, 'ACTIVE_JOBS'), matched: verdict.matched };
  }

  test.each([
    ['a number', beat('5'), 5],
    ['none', beat('0'), 0],
    ['less than none', beat('-3'), 0],
    ['a little less than none', beat('-0.5'), 0],
    ['minus zero', beat('-0'), 0],
    ['a part', beat('2.9'), 2],
    ['the most', beat(String(most)), most],
    ['one more than that', beat(String(most + 1)), most],
    ['two more than that', beat(String(most + 2)), most],
    ['far too many', beat('999999999999999'), most],
    ['null', beat('null'), NO_HEARTBEAT],
    ['null after a number', beat('7') + beat('null'), 7],
    ['nothing', '{"type":"heartbeat","data":{}}\n', NO_HEARTBEAT],
    ['nothing after a number', `${beat('7')}{"type":"heartbeat","data":{}}\n`, 7],
    ['no data after a number', `${beat('7')}{"type":"heartbeat"}\n`, 7],
    ['a number after nothing', `{"type":"heartbeat"}\n${beat('7')}`, 7],
  ])('%s', (_, text, activeJobs) => {
    const matched = text.trim().split('\n').length;
    expect(workload(false, text)).toEqual({ activeJobs, matched: 0 });
    expect(workload(true, text)).toEqual({ activeJobs, matched });
  });

  test.each([
    ['more than a number can be', beat('1e999'), most],
    ['a number and a string', beat('7') + beat('"9"'), 7],
    ['a number and other data', `${beat('7')}{"type":"heartbeat","data":"9"}\n`, 7],
  ])('%s, where the schema allows anything', (_, text, activeJobs) => {
    const anything = z.object({ type: z.literal('heartbeat'), data: z.any() });
    const parser = (patterns: boolean) => {
      const types = new MessageRegistry({ schemas: { heartbeat: anything } });
      const validator = new MessageValidator({ registry: types });
      return new MessageParser({ validator, patterns: patterns ? createPatterns(types) : undefined });
    };
    for (const patterns of [false, true]) {
      const { verdict } = validateWith(new BatchValidator(parser(patterns), NEWLINE), [text]);
      expect(field(verdict, 0, 'ACTIVE_JOBS')).toBe(activeJobs);
    }
  });
});

describe('runs', () => {
  test('plain lines are one run', () => {
    const { verdict } = validate(new Traffic({ seed: 1 }).block(50).toString());
    expect(runsOf(verdict)).toEqual(['DELIMITED 0+50']);
  });

  test('a run ends with its range', () => {
    const { verdict } = validate(progress('job-1'), progress('job-2') + progress('job-2'));
    expect(runsOf(verdict)).toEqual(['DELIMITED 0+1', 'DELIMITED 1+2']);
    expect([field(verdict, 0, 'RUN_END'), field(verdict, 1, 'RUN_END')]).toEqual([1, 2]);
  });

  test('messages with no newline right behind them are bare', () => {
    const beat = JSON.stringify(VALID.heartbeat);
    expect(runsOf(validate(beat + beat).verdict)).toEqual(['UNDELIMITED 0+2']);
    expect(runsOf(validate(`${beat}\r\n${beat}\n${beat}`).verdict)).toEqual([
      'UNDELIMITED 0+1',
      'DELIMITED 1+1',
      'UNDELIMITED 2+1',
    ]);
  });

  test('an empty line between two messages parts their runs', () => {
    expect(runsOf(validate(`${progress('abc')}\n${progress('abc')}`).verdict)).toEqual([
      'DELIMITED 0+1',
      'DELIMITED 1+1',
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
      'DELIMITED 0+1',
      'REJECTED 1+1',
      'REQUEST 2+1',
      'ADDRESSED 3+1',
      'CONTROL 4+1',
      'CONTROL 5+1',
      'DELIMITED 6+1',
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

  test('jobs are there once for each run, by either spelling, with the last message about each', () => {
    const { verdict } = validate(
      progress('job-a') + progress('job-b') + progress('job-a') + line(VALID.heartbeat),
      line({ ...VALID.job_started, jobId: undefined, job_id: 'job-a' }),
    );
    const [a, b] = ['job-a', 'job-b'].map((jobId) => jobKey(jobId, NO_SEED));
    // The third row is that of the heartbeat.
    expect(jobsOf(verdict)).toEqual([
      [
        [a, 2],
        [b, 1],
        [NO_JOB, 3],
      ],
      [[a, 4]],
    ]);
    const jobs = Array.from({ length: 5 }, (_, frame) => verdict.frames[frame * FRAME.SIZE + FRAME.JOB]);
    expect(jobs).toEqual([1, 2, 1, 0, 4]);
  });

  test('rejections come with code, type, issues and line, and no value', () => {
    const { verdict } = validate(`\n${line(changed('job_progress', { processed: -7777 }))}{"type":"nope"}\n`);
    expect([0, 1].map((frame) => new VerdictReader(verdict).rejectedFrame(frame))).toMatchObject([
      { code: 'RULE_VIOLATION', type: 'job_progress', line: 1, issues: [{ path: 'data.processed' }] },
      { code: 'UNKNOWN_TYPE', type: undefined, line: 2 },
    ]);
    expect(JSON.stringify(verdict.rejections)).not.toContain('7777');
    expect(field(verdict, 0, 'LINES')).toBe(3);
  });

  test('the last heartbeat of a range sets the workload of the crawler', () => {
    const beat = (activeJobs: number) => line(changed('heartbeat', { activeJobs }));
    const { verdict } = validate(beat(3) + beat(5), progress('abc'), beat(0));
    expect([0, 1, 2].map((chunk) => field(verdict, chunk, 'ACTIVE_JOBS'))).toEqual([5, NO_HEARTBEAT, 0]);
  });
});

test('no parsed message is in a verdict: flat arrays, and details of the rejected', () => {
  const { verdict } = validate(new Traffic({ seed: 3 }).block(2000).toString());
  const {
    rejections,
    addresses,
    matched,
    mismatches,
    slowRanges,
    drift,
    layoutsLearned,
    layoutsEvicted,
    duration,
    values,
    ...arrays
  } = verdict;
  expect([matched, mismatches, layoutsLearned, layoutsEvicted]).toEqual([0, [], 0, 0]);
  expect(slowRanges.every(Number.isInteger)).toBe(true);
  expect(duration).toBeGreaterThan(0);
  for (const array of Object.values(arrays)) expect(array).toBeInstanceOf(Uint32Array);
  expect([rejections, addresses, drift, values]).toEqual([[], [], [], []]);
  expect([...verdict.accepted].reduce((sum, count) => sum + count)).toBe(2000);
});

describe('the tables are the same, whether patterns match the messages or not', () => {
  const registry = MessageRegistry.builtin();
  const withPatterns = { patterns: createPatterns(registry, { maxLearnedLayouts: 0 }) };
  const parsing = new BatchValidator(new MessageParser(), NEWLINE);
  const matching = new BatchValidator(new MessageParser(withPatterns), NEWLINE);
  const verifying = new BatchValidator(new MessageParser({ ...withPatterns, verify: true }), NEWLINE);

  const aboutJob = (type: 'job_progress' | 'job_completed' | 'heartbeat') => (jobId: string) =>
    JSON.stringify({ ...VALID[type], jobId });
  const always = (message: object | string) => () =>
    typeof message === 'string' ? message : JSON.stringify(message);
  const messages: readonly ((jobId: string) => string)[] = [
    aboutJob('job_progress'),
    aboutJob('job_completed'),
    aboutJob('heartbeat'),
    always(VALID.heartbeat),
    (jobId) => JSON.stringify({ extra: 1, ...VALID.job_started, jobId }),
    always(VALID.job_request),
    always(VALID.shutdown),
    always({ type: 'ping' }),
    always(changed('job_progress', { processed: -1 })),
    always('junk'),
  ];
  const message = fc
    .tuple(fc.constantFrom(...messages), fc.nat(3), fc.constantFrom('\n', '\n', '\n', '\r\n', '', '\n\n'))
    .map(([write, job, end]) => write(`job-${job}`) + end);
  const range = fc.array(message, { maxLength: 12 }).map((parts) => parts.join(''));

  /** What the main thread reads, but for the order of the jobs of a run, which has no meaning. */
  function contentOf(batches: BatchValidator, texts: readonly string[]) {
    const { verdict } = validateWith(batches, texts);
    const reader = new VerdictReader(verdict);
    const { frames, accepted, addresses, rejections } = verdict;
    return {
      runs: runsOf(verdict),
      ranges: texts.map((_, index) => [reader.runsEnd(index), reader.lines(index), reader.activeJobs(index)]),
      messages: runsOf(verdict).flatMap((text, run) => {
        const hasJob = /^(DELIMITED|UNDELIMITED|REQUEST)/.test(text);
        return Array.from({ length: reader.frameCount(run) }, (_, index) => {
          const frame = reader.firstFrame(run) + index;
          const [start, end, type] = frames.slice(frame * FRAME.SIZE, (frame + 1) * FRAME.SIZE);
          const job = hasJob ? reader.job(frame) : -1;
          return [start, end, type, reader.jobLow(job), reader.jobHigh(job)];
        });
      }),
      latest: jobsOf(verdict).map((jobs) =>
        Object.fromEntries(jobs.map(([{ low, high }, latest]) => [`${low} ${high}`, latest])),
      ),
      accepted: [...accepted],
      addresses,
      rejections,
    };
  }

  /** With `verify`, each scan has runs of its own. */
  const withoutRuns = ({ messages, accepted, addresses, rejections }: ReturnType<typeof contentOf>) => ({
    messages,
    accepted,
    addresses,
    rejections,
  });

  test('of any messages', () => {
    let matched = 0;
    fc.assert(
      fc.property(fc.array(range, { minLength: 1, maxLength: 3 }), (texts) => {
        const expected = contentOf(parsing, texts);
        expectEqual(contentOf(matching, texts), expected);
        matched += validateWith(matching, texts).verdict.matched;
        expect(expected).toMatchObject(withoutRuns(contentOf(verifying, texts)));
      }),
      { numRuns: 200 },
    );
    expect(matched).toBeGreaterThan(500);
  });

  test('of more jobs than there is room for', () => {
    const ids = Array.from({ length: 3 * MAX_JOBS }, (_, index) => `job-${(index * 7) % (2 * MAX_JOBS)}`);
    const text = ids.map((jobId) => line({ ...VALID.job_started, jobId })).join('');
    const expected = contentOf(parsing, [text]);
    expectEqual(contentOf(matching, [text]), expected);
    expect(Object.keys(expected.latest[0] ?? {})).toHaveLength(2 * MAX_JOBS);
  });

  test('of a pattern that disagrees with the slow path', () => {
    const lying = createPatterns(
      new MessageRegistry({ schemas: { job_started: z.looseObject({ type: z.literal('job_started') }) } }),
      { maxLearnedLayouts: 0 },
    );
    const validator = new MessageValidator({ registry });
    const parser = new MessageParser({ patterns: lying, validator, verify: true });
    const valid = (jobId: string) => line({ ...VALID.job_started, jobId });
    const invalid = line({ type: 'job_started', jobId: 'job-1' });
    const texts = [valid('job-1') + valid('job-2') + invalid + valid('job-3'), invalid];
    const expected = contentOf(parsing, texts);
    const actual = contentOf(new BatchValidator(parser, NEWLINE), texts);
    expect(actual).toMatchObject(withoutRuns(expected));
    expect(actual.latest.flatMap(Object.values)).toEqual([0, 1, 3]);
    const beat = (activeJobs: number) => line(changed('heartbeat', { activeJobs }));
    const lie = line({ type: 'job_started' });
    const spaced = beat(1).replace('{', '{ ');
    const { verdict } = validateWith(new BatchValidator(parser, NEWLINE), [
      [beat(3), lie, beat(9), 'junk\n', spaced, line(VALID.job_request)].join(''),
    ]);
    expect(field(verdict, 0, 'ACTIVE_JOBS')).toBe(1);
  });
});

test('differences from the contract are found by range, and their number is limited', () => {
  const unknown = Object.fromEntries(Array.from({ length: 9 }, (_, key) => [`key_${key}`, key]));
  const texts = Array.from({ length: 200 }, (_, index) =>
    index === 1 ? line(VALID.heartbeat) : line(changed('heartbeat', unknown)),
  );
  const { verdict } = validate(...texts);
  const reader = new VerdictReader(verdict);
  expect(verdict.drift).toHaveLength(1024);
  const counts = texts.map((_, range) => reader.drift(range).length);
  expect(counts).toEqual(
    texts.map((_, range) => verdict.drift.filter((fact) => fact.range === range).length),
  );
  expect(counts.slice(0, 3)).toEqual([9, 0, 9]);
});

test('a long key takes linear time, whatever it consists of', () => {
  const heartbeat = MessageRegistry.builtin().get('heartbeat') as MessageType;
  const detect = (length: number) => () => {
    const detector = new DriftDetector();
    detector.reset();
    const key = `"${'\\"'.repeat(length)}`;
    expect(detector.unknownKeysOf(heartbeat, { type: 'heartbeat', [key]: 1 })).toHaveLength(1);
  };
  expect(timeRatio(detect(8000), detect(1000), 24)).toBeLessThan(24);
});

test('a type named "undefined" keeps its name where messages of unknown types are only reported', () => {
  const batches = new BatchValidator(new MessageParser(), NEWLINE, { validation: 'report' });
  const { verdict } = validateWith(batches, [line({ type: 'welcome' }) + line({ type: 'undefined' })]);
  expect(verdict.rejections.map(({ unknownType }) => unknownType)).toEqual([undefined, 'undefined']);
});

test('ranges with a slow message are reported, those with many fast ones are not', () => {
  const clock = vi.spyOn(performance, 'now').mockReturnValue(1);
  onTestFinished(() => clock.mockRestore());
  const timed = z.looseObject({ type: z.literal('timed'), ms: z.number() });
  const rule = ({ ms }: z.infer<typeof timed>) => void clock.mockReturnValue(performance.now() + ms);
  const registry = new MessageRegistry({ schemas: { timed }, rules: { timed: rule } });
  const validator = new MessageValidator({ registry });
  const batches = new BatchValidator(new MessageParser({ validator }), NEWLINE);
  const message = (ms: number) => line({ type: 'timed', ms });
  const many = message(40).repeat(10);
  const { verdict } = validateWith(batches, [
    many,
    message(1) + message(60) + message(1),
    '{}\n',
    message(60),
  ]);
  expect(verdict.slowRanges).toEqual([1, 3]);
  expect(validateWith(batches, [many]).verdict.slowRanges).toEqual([]);
});

test('the numbers of a few messages are plain arrays of integers, those of many views of one buffer', () => {
  const numbersOf = ({ ranges, runs, frames, jobs, accepted }: Verdict) =>
    [ranges, runs, frames, jobs, accepted] as const;
  const message = progress('abc');
  const few = numbersOf(validate(message.repeat(16)).verdict);
  const many = numbersOf(validate(message.repeat(17)).verdict);
  expect(few.every((numbers) => Array.isArray(numbers) && numbers.every(Number.isInteger))).toBe(true);
  const buffers = many.map((numbers) => (numbers instanceof Uint32Array ? numbers.buffer : undefined));
  expect(new Set(buffers).size).toBe(1);
  expect(buffers[0]).toBeInstanceOf(ArrayBuffer);
  expect([...few[2]]).toEqual([...many[2]].slice(0, 16 * FRAME.SIZE));
});

test('messages rejected without issues share what is sent of them, each with its line', () => {
  const { verdict } = validate('{"type":"nope"}\nnot JSON\n'.repeat(1000), 'not JSON\n');
  expect(verdict.rejections).toEqual([
    { code: 'UNKNOWN_TYPE', type: undefined, issues: [] },
    { code: 'INVALID_JSON', type: undefined, issues: [], offset: 1 },
    // Beyond the limit of detailed rejections.
    { code: 'INVALID_JSON', type: undefined, issues: [] },
  ]);
  expect(runsOf(verdict)).toEqual(['REJECTED 0+2000', 'REJECTED 2000+1']);
  const last = [1998, 1999, 2000].map((frame) => new VerdictReader(verdict).rejectedFrame(frame));
  expect(last).toMatchObject([
    { code: 'UNKNOWN_TYPE', line: 1998 },
    { code: 'INVALID_JSON', line: 1999 },
    { code: 'INVALID_JSON', line: 0 },
  ]);
});

test('issues come with as many rejected messages of each range as are asked for', () => {
  const batches = new BatchValidator(new MessageParser(), NEWLINE);
  const memory = new SharedArrayBuffer(4096);
  const end = Buffer.from(memory).write('{"type":"heartbeat"}\n'.repeat(5));
  const told = (maxDetailedRejections: number) => {
    const ranges = [0, 0, end, 0, 0, end];
    const verdict = batches.validate({ id: 0, arenas: [memory], ranges, maxDetailedRejections });
    const rejections = Array.from({ length: 10 }, (_, frame) =>
      new VerdictReader(verdict).rejectedFrame(frame),
    );
    expect(rejections.map((rejection) => rejection?.code)).toEqual(new Array(10).fill('SCHEMA_VIOLATION'));
    return rejections.map((rejection) => (rejection?.issues.length ?? 0) > 0);
  };
  const some = [true, true, false, false, false];
  expect(told(2)).toEqual([...some, ...some]);
  expect(told(5)).toEqual(new Array(10).fill(true));
});

test('keeps nothing from one batch to the next', () => {
  const batches = new BatchValidator(new MessageParser(), NEWLINE);
  const memory = new SharedArrayBuffer(4096);
  const end = Buffer.from(memory).write(`${progress('abc')}junk\n`);
  const task = { id: 0, arenas: [memory], ranges: [0, 0, end], maxDetailedRejections: 8 };
  // How long a message takes depends on the machine.
  const { slowRanges: _, duration: __, ...first } = batches.validate(task);
  expect(batches.validate(task)).toMatchObject(first);
});

describe('with patterns', () => {
  const heartbeat = (activeJobs: number) =>
    JSON.stringify({ ...VALID.heartbeat, data: { ...VALID.heartbeat.data, activeJobs } });
  const validator = (maxMessageSize: number, framing: 'auto' | 'ndjson', hasPatterns: boolean) => {
    const messages = new MessageValidator({ maxMessageSize });
    const patterns = hasPatterns ? createPatterns(messages.registry, { framing, maxMessageSize }) : undefined;
    return new BatchValidator(
      new MessageParser({ validator: messages, framing, ...(patterns && { patterns }) }),
      NEWLINE,
    );
  };

  test.each([
    ['cut off by something else in its line', 'ndjson', 1 << 20, `${heartbeat(7)}junk\n`],
    ['too long', 'auto', heartbeat(7).length - 1, `${heartbeat(7)}\n`],
  ] as const)('a heartbeat that is %s tells nothing', (_, framing, maxMessageSize, text) => {
    const batches = validator(maxMessageSize, framing, true);
    const rejected = validateWith(batches, [text]).verdict;
    expect([rejected.frames.length, field(rejected, 0, 'ACTIVE_JOBS')]).toEqual([FRAME.SIZE, NO_HEARTBEAT]);
    const next = validateWith(batches, [line({ type: 'ping' }), progress('abc')]).verdict;
    expect([field(next, 0, 'ACTIVE_JOBS'), field(next, 1, 'ACTIVE_JOBS')]).toEqual([
      NO_HEARTBEAT,
      NO_HEARTBEAT,
    ]);
  });

  test('verdicts are those of the slow path, batch after batch', () => {
    const traffic = new Traffic({ seed: 3 });
    const lines = Array.from({ length: 200 }, () => traffic.nextLine());
    const piece = fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom(...lines) },
      fc.integer({ min: 0, max: 8 }).map(heartbeat),
      fc.nat(6000).map((id) => JSON.stringify({ ...VALID.job_started, jobId: `job-${id}` })),
      fc.constantFrom(
        'junk',
        '{',
        '"',
        '{"type":"ping"}',
        JSON.stringify(VALID.job_request),
        JSON.stringify({ ...VALID.job_started, z: 1 }),
        JSON.stringify({ ...VALID.job_started, jobId: 'ab' }),
        '[1]',
        '\u00e9',
      ),
      fc.tuple(fc.constantFrom(...lines), fc.nat(200)).map(([text, at]) => text.slice(0, at)),
    );
    const range = fc
      .array(fc.tuple(piece, fc.constantFrom('\n', '\n', '\n', '\r\n', '\n\n', ' \n')), { maxLength: 60 })
      .map((parts) => parts.flat().join(''));
    const batches = fc.array(fc.array(range, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 8 });
    let matched = 0;
    fc.assert(
      fc.property(
        batches,
        fc.constantFrom('auto' as const, 'ndjson' as const),
        fc.constantFrom(1 << 20, 128, 300),
        (all, framing, maxMessageSize) => {
          const [fast, slow] = [true, false].map((has) => validator(maxMessageSize, framing, has));
          if (fast === undefined || slow === undefined) return;
          for (const texts of all) {
            const verdict = validateWith(fast, texts).verdict;
            matched += verdict.matched;
            // How long a message took is not the same twice.
            const { layoutsLearned, layoutsEvicted, slowRanges, duration } = verdict;
            const expected = validateWith(slow, texts).verdict;
            expectEqual(verdict, {
              ...expected,
              matched: verdict.matched,
              layoutsLearned,
              layoutsEvicted,
              slowRanges,
              duration,
            });
          }
        },
      ),
      { numRuns: 40, seed: 1 },
    );
    expect(matched).toBeGreaterThan(400);
  });
});

describe('a long message that patterns read', () => {
  const maxMessageSize = 16 * 1024 * 1024;
  const registry = new MessageRegistry({ schemas: { t: z.object({ type: z.literal('t'), a: z.string() }) } });
  const validator = new MessageValidator({ registry, maxMessageSize });
  const parser = new MessageParser({ validator, patterns: createPatterns(registry, { maxMessageSize }) });
  const [short, long] = ['x', 'x'.repeat(8 * 1024 * 1024)].map((a) => line({ type: 't', a })) as [
    string,
    string,
  ];

  test('has a position meanwhile', () => {
    const positions: [range: number, start: number, end: number][] = [];
    const onProgress = (...position: (typeof positions)[number]) => void positions.push(position);
    const batches = new BatchValidator(parser, NEWLINE, { onProgress });
    expect(validateWith(batches, [short + long + short, long]).verdict.matched).toBe(4);
    const [start, end] = [short.length, (short + long).length];
    expect(positions).toEqual([
      [0, 0, 0],
      [0, start, end],
      [1, 0, 0],
      [1, end + short.length, end + short.length + long.length],
    ]);
  });

  test('is not a slow message, and neither is the one before it', () => {
    const clock = vi.spyOn(performance, 'now').mockReturnValue(1);
    onTestFinished(() => clock.mockRestore());
    const onProgress = (_: number, start: number, end: number) => {
      if (end - start > short.length) clock.mockReturnValue(performance.now() + 60);
    };
    const batches = new BatchValidator(parser, NEWLINE, { onProgress });
    const rejected = line({ type: 't', a: 1 });
    const { verdict } = validateWith(batches, [long, rejected + long]);
    expect([verdict.matched, verdict.slowRanges]).toEqual([2, []]);
  });
});

describe('user code', () => {
  const refine = vi.fn<(value: unknown) => boolean>();
  const onProgress = vi.fn();

  /** @param patterns of the parser */
  function withCode(verify = false): BatchValidator {
    refine.mockReset().mockReturnValue(true);
    onProgress.mockReset();
    const type = z.literal('t');
    const registry = new MessageRegistry({
      schemas: { t: z.object({ type, a: z.string().refine(refine) }) },
    });
    const validator = new MessageValidator({ registry });
    const parser = new MessageParser({ validator, patterns: createPatterns(registry), verify });
    return new BatchValidator(parser, NEWLINE, { onProgress });
  }

  function taskOf(text: string) {
    const memory = new SharedArrayBuffer(text.length);
    Buffer.from(memory).write(text);
    return { id: 0, arenas: [memory], ranges: [0, 0, text.length], maxDetailedRejections: 0 };
  }

  test('runs in workers, which say for which message', () => {
    const text = line(VALID.heartbeat) + line({ type: 't', a: 'x' });
    expect(runsOf(withCode().validate(taskOf(text)))).toEqual(['DELIMITED 0+2']);
    expect(refine.mock.calls).toEqual([['x']]);
    expect(onProgress.mock.calls.slice(1)).toEqual([[0, line(VALID.heartbeat).length, text.length - 1]]);
  });

  test('also when the slow path is to verify it', () => {
    const message = line({ type: 't', a: 'x' });
    withCode(true).validate(taskOf(message.repeat(3)));
    const positions = [0, 1, 2].map((index) => [0, index * message.length, (index + 1) * message.length - 1]);
    expect(onProgress.mock.calls.slice(1)).toEqual([...positions, ...positions]);
    expect(refine).toHaveBeenCalledTimes(6);
  });

  test.each([
    line(VALID.heartbeat) + line({ type: 't', a: 'x' }),
    '{"type":"ping"}{"type":"t","a":"x"}\n',
    '{"type":"ping","type":"t","a":"x"}\n',
    '{"type":"ping"} {"type":"t","a":"x"}',
  ])('does not run where a batch is validated by patterns alone: %j', (text) => {
    expect(withCode().validateByPatterns(taskOf(text))).toBeUndefined();
    expect(refine).not.toHaveBeenCalled();
  });

  test('keeps nobody from getting a pong where a batch is validated by patterns alone', () => {
    for (const text of ['{"type":"ping"}\r\n', '{"type":"ping","data":{}} \n'])
      expect(withCode().validateByPatterns(taskOf(text))).toBeDefined();
  });
});
