import { MessageParser, MessageRegistry, MessageValidator } from 'sluice';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import * as z from 'zod';
import { goMarshal, pythonDumps, withShuffledKeys } from '#bench/layouts.js';
import { layoutOf, mergeLayouts } from '#src/pattern/layout.js';
import { randomNumbers, Traffic } from '#src/traffic/traffic.js';
import { VALID } from '../../support/messages.js';
import { createPatterns, onlyTypes } from '../../support/patterns.js';
import { timeRatio } from '../../support/timing.js';

interface LearnerOptions {
  /** Default: 16. */
  readonly maxLearnedLayouts?: number;
  /** Default: that of the protocol. */
  readonly registry?: MessageRegistry;
  /** The types that can have patterns. Default: heartbeats. */
  readonly types?: readonly string[];
  /** Default: 0. */
  readonly firstScan?: number;
}

/** A parser with patterns of its own, and what it makes of some lines. */
function learner({
  maxLearnedLayouts = 16,
  registry = MessageRegistry.builtin(),
  types = ['heartbeat'],
  firstScan = 0,
}: LearnerOptions = {}) {
  const patterns = createPatterns(onlyTypes(registry, types), { maxLearnedLayouts, firstScan });
  const parser = new MessageParser({ patterns, validator: new MessageValidator({ registry }) });
  const parse = (lines: readonly string[]) => {
    const bytes = Buffer.from(`${lines.join('\n')}\n`);
    const counts = { matched: 0, parsed: 0, rejected: 0 };
    parser.parse(bytes, 0, bytes.length, {
      onMatches: ({ count }) => {
        counts.matched += count;
      },
      onMessage: () => counts.parsed++,
      onRejection: () => counts.rejected++,
    });
    return counts;
  };
  return { patterns, parse };
}

const random = randomNumbers(5);
const traffic = new Traffic({ seed: 5 });
const messages = Array.from({ length: 6000 }, () => traffic.next());
const TRAFFIC = [...new Set(messages.map(({ type }) => type))];
const PYTHON = pythonDumps(VALID.heartbeat);
/** Not flat: no pattern takes it. */
const ODD = JSON.stringify({ ...VALID.heartbeat, odd: { a: { b: { c: 1 } } } });
const repeat = (line: string, count: number): string[] => new Array<string>(count).fill(line);

describe.each([
  ["Python's json.dumps", pythonDumps],
  ["Go's encoding/json", goMarshal],
  ['extra keys', (message: object) => JSON.stringify({ v: 1, ...message, meta: { host: 'a' } })],
  ['keys in another order each time', (message: object) => JSON.stringify(withShuffledKeys(message, random))],
])('the layout of %s', (_, write) => {
  test('takes the slow path at first, and a pattern once it has been learned', () => {
    const { patterns, parse } = learner({ types: TRAFFIC });
    const lines = messages.map(write);
    expect(parse(lines.slice(0, 100))).toMatchObject({ rejected: 0 });
    for (let round = 0; round < 3; round++) parse(lines);
    const { matched, parsed, rejected } = parse(lines.slice(0, 3000));
    expect(rejected).toBe(0);
    expect(matched / (matched + parsed)).toBeGreaterThan(0.97);
    expect(patterns.layoutsLearned).toBeGreaterThanOrEqual(7);
  });

  test('is not learned where none are wanted', () => {
    const { patterns, parse } = learner({ maxLearnedLayouts: 0, types: TRAFFIC });
    expect(parse(messages.slice(0, 500).map(write))).toMatchObject({ matched: 0 });
    expect(patterns.layoutsLearned).toBe(0);
  });
});

/** A message with a key that the schema does not name. */
const withKey = (index: number | string) => `${HEARTBEAT.slice(0, -1)},"k${index}":1}`;
const HEARTBEAT = JSON.stringify(VALID.heartbeat);

/** Samples come at random distances: the same ones in each run. */
beforeEach(() => {
  let state = 12_345;
  vi.spyOn(Math, 'random').mockImplementation(() => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  });
});
afterEach(() => void vi.restoreAllMocks());

describe('a layout that keeps coming gets its pattern after 200 of its messages', () => {
  /** How many messages of the layout it takes. @param between gives what comes between them */
  const messagesUntilMatched = (parse: (lines: string[]) => { matched: number }, between: () => string[]) => {
    for (let sent = 0; sent < 1000; sent++) {
      if (parse([PYTHON]).matched > 0) return sent;
      parse(between());
    }
    return Number.POSITIVE_INFINITY;
  };

  test.each([0, 1000, 10_000])('after %i messages of other layouts', (before) => {
    const { parse } = learner();
    for (let sent = 0; sent < before; sent += 1000) {
      parse(Array.from({ length: 1000 }, (_, index) => withKey(sent + index)));
    }
    expect(messagesUntilMatched(parse, () => [])).toBeLessThanOrEqual(200);
  });

  test.each([1, 3, 10])('while another sender has a new layout each time, %i messages for one', (others) => {
    const { parse } = learner();
    let next = 0;
    const between = () => Array.from({ length: others }, () => withKey(next++));
    for (let round = 0; round < 1000; round++) parse(between());
    expect(messagesUntilMatched(parse, between)).toBeLessThanOrEqual(200);
  });

  test('after others of the type have failed', () => {
    const { parse } = learner();
    for (let layout = 0; layout < 20; layout++) parse(repeat(ODD.replace('"odd"', `"k${layout}"`), 400));
    expect(messagesUntilMatched(parse, () => [])).toBeLessThanOrEqual(200);
  });
});

describe('bounds', () => {
  /** Heartbeats whose keys come in one of many orders. */
  const turned = (turn: number): string => {
    const { data, ...envelope } = VALID.heartbeat;
    const names = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => `x-${name}`);
    const order = names.map((_, index) => names[(index * (1 + (turn % 5)) + turn) % names.length] as string);
    const extra = Object.fromEntries([...new Set(order)].map((name) => [name, 1]));
    return JSON.stringify(turn % 2 ? { ...extra, ...envelope, data } : { ...envelope, ...extra, data });
  };

  test('no more layouts of a type than allowed: the one that matched longest ago goes', () => {
    const { patterns, parse } = learner({ maxLearnedLayouts: 2 });
    for (let turn = 0; turn < 8; turn++) parse(repeat(turned(turn), 400));
    expect(patterns.layoutsLearned).toBeGreaterThan(3);
    expect(patterns.layoutsLearned - patterns.layoutsEvicted).toBeLessThanOrEqual(2);
  });

  test('senders of several layouts are all learned, beside one whose messages no pattern takes', () => {
    const { parse } = learner({ types: TRAFFIC });
    const odd = (message: object) => JSON.stringify({ id: 1, ...message, extra: { a: [1] } });
    const older = (message: object) => JSON.stringify(message).replace('"jobId":', '"job_id":');
    const both = (message: object) => JSON.stringify(message).replace('"jobId":', '"job_id":"x","jobId":');
    const writers = [pythonDumps, goMarshal, older, both];
    const byMessage = messages.slice(0, 1500).map((message) => writers.map((write) => write(message)));
    const lines = byMessage.flatMap((written, index) => [...written, odd(messages[index] ?? {})]);
    for (let round = 0; round < 3; round++) parse(lines);
    const { matched, parsed, rejected } = parse(byMessage.flat());
    expect(rejected).toBe(0);
    expect(matched / (matched + parsed)).toBeGreaterThan(0.9);
  });

  test('a sender with a new layout each time makes few be learned', () => {
    const { patterns, parse } = learner({ types: ['job_failed'] });
    const keys = Object.keys(VALID.job_failed.data);
    let seed = 1;
    const shuffled = (): string => {
      const order = keys
        .map((key) => {
          seed = (seed * 48_271) % 2_147_483_647;
          return [seed, key] as const;
        })
        .sort(([a], [b]) => a - b);
      const data = VALID.job_failed.data as Record<string, unknown>;
      return JSON.stringify({
        ...VALID.job_failed,
        data: Object.fromEntries(order.map(([, key]) => [key, data[key]])),
      });
    };
    parse(Array.from({ length: 10_000 }, shuffled));
    expect(patterns.layoutsLearned).toBeLessThanOrEqual(45);
  });

  test('a layout that no pattern takes is tried ever more rarely', () => {
    const { parse } = learner();
    const compiled = vi.spyOn(WebAssembly, 'Module');
    onTestFinished(() => void compiled.mockRestore());
    parse(repeat(ODD, 8000));
    expect(compiled.mock.calls.length).toBeGreaterThan(0);
    expect(compiled.mock.calls.length).toBeLessThan(7);
  });

  test('a sender who changes its layout as soon as it is learned makes few patterns be compiled', () => {
    const { parse } = learner();
    const compiled = vi.spyOn(WebAssembly, 'Module');
    onTestFinished(() => void compiled.mockRestore());
    const count = 24_000;
    parse(Array.from({ length: count }, (_, index) => withKey(Math.floor(index / 130))));
    expect(compiled.mock.calls.length).toBeGreaterThan(32);
    expect(compiled.mock.calls.length).toBeLessThanOrEqual(32 + count / 1024 + count / 256);
    // Whoever comes when the patterns that may be compiled are spent waits for 300 messages at most.
    parse(repeat(PYTHON, 300));
    expect(parse([PYTHON])).toMatchObject({ matched: 1 });
  });

  test('learning costs little beside the slow path, where nothing can be learned', () => {
    let next = 0;
    const parsing = (maxLearnedLayouts: number) => {
      const { parse } = learner({ maxLearnedLayouts });
      return () => parse(Array.from({ length: 1500 }, () => withKey(next++)));
    };
    expect(timeRatio(parsing(16), parsing(0), 1.5)).toBeLessThan(1.5);
  });

  test('a sender with another long key each time costs no more with each message, and ends nothing', () => {
    const { patterns, parse } = learner();
    const long = 'k'.repeat(100_000);
    expect(parse(Array.from({ length: 200 }, (_, index) => withKey(index + long)))).toEqual({
      matched: 0,
      parsed: 200,
      rejected: 0,
    });
    parse(Array.from({ length: 8000 }, (_, index) => withKey(index)));
    expect(patterns.layoutsLearned).toBeLessThan(10);
    // Whoever writes as usual is learned beside him.
    parse(repeat(PYTHON, 4000));
    expect(parse([PYTHON])).toMatchObject({ matched: 1 });
  });

  test('evicts a layout that no longer occurs', () => {
    const { patterns, parse } = learner();
    parse(repeat(PYTHON, 200));
    expect(patterns.layoutsLearned).toBe(1);
    parse(repeat(ODD, 9000));
    expect(patterns.layoutsEvicted).toBe(1);
  });

  test('a layout that is used stays', () => {
    const { patterns, parse } = learner();
    parse(repeat(PYTHON, 200));
    parse(Array.from({ length: 9000 }, (_, index) => (index % 100 === 0 ? PYTHON : ODD)));
    expect(patterns.layoutsEvicted).toBe(0);
  });
});

describe('when the number of scans no longer fits 32 bits', () => {
  const go = goMarshal(VALID.heartbeat);

  test.each([-12_000, -5000, -1000, -300, -1, 0])('counted from 2^32 - 1 %i, layouts in use stay', (from) => {
    const { patterns, parse } = learner({ firstScan: 2 ** 32 - 1 + from });
    parse(repeat(PYTHON, 250));
    // Past the end, and longer than a layout that no longer comes is kept.
    const rounds = Math.max(8500, -from);
    const { matched } = parse(Array.from({ length: 2 * rounds }, (_, index) => (index % 2 ? ODD : PYTHON)));
    expect(matched).toBe(rounds);
    expect(patterns.scans).toBeLessThan(2 * rounds + 500);
    expect(patterns.layoutsEvicted).toBe(0);
  });

  test.each([-1500, -600, -100])(
    'counted from 2^32 - 1 %i, the layout that matched longest ago goes',
    (from) => {
      const { patterns, parse } = learner({ maxLearnedLayouts: 2, firstScan: 2 ** 32 - 1 + from });
      parse(repeat(PYTHON, 250));
      parse(repeat(go, 250));
      for (let round = 0; round < 1000; round++) parse([PYTHON]);
      parse(repeat(withKey(0), 250));
      expect(patterns.layoutsEvicted).toBe(1);
      expect(parse([PYTHON])).toMatchObject({ matched: 1 });
      expect(parse([go])).toMatchObject({ matched: 0 });
    },
  );

  test('counted from 2^32 - 1000, a layout that no longer comes is dropped', () => {
    const { patterns, parse } = learner({ firstScan: 2 ** 32 - 1000 });
    parse(repeat(PYTHON, 250));
    parse(repeat(ODD, 9000));
    expect(patterns.layoutsEvicted).toBe(1);
  });
});

describe('the law, where layouts could break it', () => {
  test('strict objects take no extra key, in no layout', () => {
    const schema = z.strictObject({ type: z.literal('t'), a: z.number() });
    const { parse } = learner({ registry: new MessageRegistry({ schemas: { t: schema } }), types: ['t'] });
    parse(repeat('{"a":1,"type":"t"}', 500));
    expect(parse(['{"a":1,"type":"t"}'])).toMatchObject({ matched: 1 });
    expect(parse(['{"a":1,"type":"t","b":1}', '{"b":1,"a":1,"type":"t"}'])).toMatchObject({ rejected: 2 });
  });

  test('a job id that the schema does not name is not learned', () => {
    const registry = new MessageRegistry({ schemas: { t: z.looseObject({ type: z.literal('t') }) } });
    const { parse } = learner({ registry, types: ['t'] });
    const line = '{"type":"t","jobId":"job-1"}';
    expect(parse(repeat(line, 500))).toEqual({ matched: 0, parsed: 500, rejected: 0 });
  });

  test('a job id is needed in the layouts of its older spelling too', () => {
    const { patterns, parse } = learner({ types: ['job_started'] });
    const started = (id: string) => JSON.stringify(VALID.job_started).replace('"jobId":"job-1",', id);
    parse(repeat(started('"job_id":"abc",'), 500));
    expect(patterns.layoutsLearned).toBe(1);
    expect(parse([started('"job_id":"xyz",')])).toEqual({ matched: 1, parsed: 0, rejected: 0 });
    for (const id of ['"job_id":"ab",', '"job_id":"",', '', '"jobId":"ab",']) {
      expect([id, parse([started(id)])]).toEqual([id, { matched: 0, parsed: 0, rejected: 1 }]);
    }
  });

  test('keys in any order: each at most once, all that are required, and no others', () => {
    const { parse } = learner({ types: ['job_progress'] });
    const members = Object.entries(VALID.job_progress).map(
      ([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`,
    );
    const write = (...parts: string[]) => `{${parts.join(',')}}`;
    for (let round = 0; round < 1000; round++)
      parse([JSON.stringify(withShuffledKeys(VALID.job_progress, random))]);
    const reversed = [...members].reverse();
    expect(parse([write(...members), write(...reversed)])).toEqual({ matched: 2, parsed: 0, rejected: 0 });
    expect(parse([write(...reversed, '"x":1'), write(...reversed, '"x":1,"x":2')])).toMatchObject({
      matched: 0,
    });
    for (const at of members.keys()) {
      // The last of two counts, and does not match an order of its own.
      expect(parse([write(...reversed, reversed[at] ?? '')])).toMatchObject({ matched: 0, rejected: 0 });
      expect(parse([write(...reversed.toSpliced(at, 1))])).toMatchObject({ matched: 0, rejected: 1 });
    }
  });

  test.each(['jobId', 'job_id'])('keys in any order, with the job id as %s', (key) => {
    const { parse } = learner({ types: ['job_progress'] });
    const { jobId, ...rest } = VALID.job_progress;
    const shuffled = () => JSON.stringify(withShuffledKeys({ ...rest, [key]: jobId }, random));
    for (let round = 0; round < 1500; round++) parse([shuffled()]);
    expect(parse(Array.from({ length: 10 }, shuffled))).toEqual({ matched: 10, parsed: 0, rejected: 0 });
    // The newer key takes precedence.
    const both = (newer: string) => JSON.stringify({ ...rest, job_id: 'older', jobId: newer });
    expect(parse([both(''), both('x')])).toEqual({ matched: 0, parsed: 0, rejected: 2 });
    expect(parse([both('newer')])).toMatchObject({ rejected: 0, matched: key === 'jobId' ? 1 : 0 });
  });

  test('keys in any order, where a pattern does not match the first messages', () => {
    const schema = z.object({
      type: z.literal('odd'),
      ...Object.fromEntries(['a', 'b', 'c', 'd', 'e', 'f'].map((name) => [name, z.number()])),
      meta: z.unknown(),
    });
    const { parse } = learner({
      registry: new MessageRegistry({ schemas: { odd: schema } }),
      types: ['odd'],
    });
    const shuffled = (meta: unknown) =>
      JSON.stringify(withShuffledKeys({ type: 'odd', a: 1, b: 2, c: 3, d: 4, e: 5, f: 6, meta }, random));
    for (let round = 0; round < 800; round++) parse([shuffled({ not: { flat: 1 } })]);
    for (let round = 0; round < 4000; round++) parse([shuffled(1)]);
    expect(parse(Array.from({ length: 10 }, () => shuffled(1)))).toMatchObject({ matched: 10 });
  });

  test('a layout of its own where keys in any order match no pattern', () => {
    const names = Array.from({ length: 40 }, (_, index) => `k${index}`);
    const schema = z.object({
      type: z.literal('many'),
      ...Object.fromEntries(names.map((name) => [name, z.number()])),
    });
    const { parse } = learner({
      registry: new MessageRegistry({ schemas: { many: schema } }),
      types: ['many'],
    });
    const message = { type: 'many', ...Object.fromEntries(names.map((name, index) => [name, index])) };
    for (let round = 0; round < 1500; round++) parse([JSON.stringify(withShuffledKeys(message, random))]);
    const stable = JSON.stringify(withShuffledKeys(message, random));
    parse(repeat(stable, 500));
    expect(parse([stable])).toEqual({ matched: 1, parsed: 0, rejected: 0 });
  });

  test('rules hold in learned layouts', () => {
    const { parse } = learner({ types: ['job_progress'] });
    const progress = (processed: number, total: number) =>
      pythonDumps({ ...VALID.job_progress, data: { ...VALID.job_progress.data, processed, total } });
    parse(repeat(progress(1, 2), 500));
    expect(parse([progress(2, 2)])).toEqual({ matched: 1, parsed: 0, rejected: 0 });
    expect(parse([progress(3, 2)])).toEqual({ matched: 0, parsed: 0, rejected: 1 });
  });
});

describe('layouts', () => {
  const schema = z.object({ a: z.array(z.object({ x: z.number().optional(), y: z.number().optional() })) });
  const read = (text: string) => layoutOf(schema, JSON.parse(text) as object, text);

  test('record the spacing, and the order of keys in every object', () => {
    expect(read('{"b": "1", "a": [{"y": 1, "x": 2}, {"x": 1}]}')).toEqual({
      spacing: { comma: ', ', colon: ': ' },
      keys: new Map([
        ['', ['b', 'a']],
        ['a[]', ['y', 'x']],
      ]),
      extra: new Set(['b']),
      isUnordered: false,
    });
  });

  test('are unordered where one message has two orders, unless it has keys that the schema does not define', () => {
    const twoOrders = '{"a":[{"y":1,"x":2},{"x":1,"y":2}]';
    expect(read(`${twoOrders}}`)).toMatchObject({ keys: new Map(), isUnordered: true });
    expect(read(`${twoOrders},"b":1}`)).toBeUndefined();
  });

  test('two become one where their orders agree', () => {
    const [first, second, other] = ['{"p":1,"a":[],"r":1}', '{"p":1,"q":1,"r":1}', '{"r":1,"p":1}'].map(read);
    if (!first || !second || !other) throw new Error('no layout');
    expect(mergeLayouts(first, second)?.keys.get('')).toEqual(['p', 'a', 'q', 'r']);
    expect(mergeLayouts(first, other)).toBeUndefined();
  });

  test('two stay two where they begin with another key, or where another key names the job', () => {
    const [plain, before, newer, older] = [
      '{"p":1}',
      '{"o":1,"p":1}',
      '{"p":1,"jobId":1}',
      '{"p":1,"job_id":1}',
    ].map(read);
    if (!plain || !before || !newer || !older) throw new Error('no layout');
    expect(mergeLayouts(plain, before)).toBeUndefined();
    expect(mergeLayouts(newer, older)).toBeUndefined();
    expect(mergeLayouts(plain, newer)).toBeDefined();
  });

  test('they have few keys that the schema does not name, and none that is very long, however many are merged', () => {
    const extra = (names: readonly string[]) => read(`{"a":[],${names.map((name) => `"${name}":1`).join()}}`);
    const names = Array.from({ length: 17 }, (_, index) => `x${index}`);
    expect(extra(names)).toBeUndefined();
    expect(extra(['x'.repeat(257)])).toBeUndefined();
    const [most, one] = [extra(names.slice(0, 16)), extra(['y'])];
    if (!most || !one) throw new Error('no layout');
    expect(most.extra.size).toBe(16);
    expect(mergeLayouts(most, one)).toBeUndefined();
    expect(mergeLayouts(most, extra(['x3']) ?? one)?.extra.size).toBe(16);
  });
});
