// The end-to-end bench: its traffic, the number of bytes that it expects, and its command line.

import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { BlockStream } from '#bench/end-to-end/block-stream.js';
import { blockOf, type Content } from '#bench/end-to-end/content.js';
import { type DeliverySettings, deliveriesOf } from '#bench/end-to-end/deliveries.js';
import {
  crawlerIdOf,
  EVERYTHING,
  type Filter,
  SHARED,
  type Subscription,
  subscriptionsOf,
  topicOf,
} from '#bench/end-to-end/filters.js';
import { parseFlags } from '#bench/end-to-end/flags.js';
import { measureThroughput } from '#bench/end-to-end/measure.js';
import {
  COMPARISONS,
  DEFAULT_SYSTEMS,
  LATENCY,
  ROWS,
  type Scenario,
  START_UP,
} from '#bench/end-to-end/scenarios.js';
import { SYSTEMS } from '#bench/end-to-end/systems.js';
import { schemas } from '#bench/end-to-end/user-schemas.js';
import { WIRES, type WireName } from '#bench/end-to-end/wires.js';
import { MessageValidator } from '#src/protocol/message-validator.js';
import { Traffic } from '#src/traffic/traffic.js';
import { shareBroker, until } from '../support/broker.js';
import type { Peer } from '../support/peer.js';

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);
const isPlain = (text: string) => /^[ -~]*$/.test(text) && !text.includes('\\');

/** The messages of a publisher's next writes. */
function linesOf(stream: BlockStream, writes: number): string[] {
  const text = Array.from({ length: writes }, () => stream.next().toString()).join('');
  return text.split('\n').slice(0, -1);
}

function jobIdsOf(lines: readonly string[]): string[] {
  return lines
    .map((line) => (JSON.parse(line) as { jobId?: string }).jobId)
    .filter((jobId) => jobId !== undefined);
}

describe('traffic', () => {
  test('without escapes is ASCII without a backslash, stack traces too', () => {
    const traffic = new Traffic({ seed: 3, escaped: 0 });
    const lines = Array.from({ length: 5000 }, () => traffic.nextLine());
    expect(lines.some((line) => line.includes('stackTrace'))).toBe(true);
    expect(lines.filter((line) => !isPlain(line))).toEqual([]);
  });

  test.each([8, 50, 100])('has %s percent of its free texts with escapes or other characters', (escaped) => {
    const traffic = new Traffic({ seed: 3, escaped });
    const texts = Array.from({ length: 10_000 }, () => traffic.next().data).flatMap((data) =>
      ['message', 'error', 'stackTrace'].map((key) => data[key]).filter((text) => typeof text === 'string'),
    );
    const share = texts.filter((text) => !isPlain(JSON.stringify(text).slice(1, -1))).length / texts.length;
    expect(Math.abs(share * 100 - escaped)).toBeLessThan(1.5);
  });

  test('is the same as ever without the option', () => {
    const digest = createHash('sha256')
      .update(new Traffic({ seed: 1 }).block(2000))
      .digest('hex');
    expect(digest.slice(0, 16)).toBe('6a9d042d616b491d');
  });
});

describe('content', () => {
  const validator = new MessageValidator();
  const isAccepted = ({ line }: { line: string }) => validator.validate(Buffer.from(line)).ok;

  test.each<Content>([
    {},
    { size: '120 B' },
    { size: '4 KB', escaped: 0 },
    { size: 'fixed' },
    { layout: 'python', escaped: 50 },
    { layout: 'go' },
    { layout: 'extra keys' },
    { layout: 'key orders' },
    { invalid: 50 },
    { invalid: 10, size: '120 B' },
  ])('%j is valid, but for the messages that are meant to be invalid', (content) => {
    const block = blockOf({ ...content, block: 200 }, 1, 4);
    expect(block.map(isAccepted)).toEqual(block.map(({ isValid }) => isValid));
  });

  test('of users matches their schemas, and uses every type', () => {
    const block = blockOf({ schema: 'users', invalid: 10, block: 300 }, 0, 1);
    const schemaOf = new Map(Object.entries(schemas));
    const accepted = block.map(({ line, type }) => schemaOf.get(type)?.safeParse(JSON.parse(line)).success);
    expect(accepted).toEqual(block.map(({ isValid }) => isValid));
    expect(new Set(block.map(({ type }) => type))).toEqual(new Set(schemaOf.keys()));
  });

  test.each([
    { invalid: 1, publishers: 4 },
    { invalid: 50, publishers: 4 },
    { invalid: 1, publishers: 1000 },
    { invalid: 0, publishers: 4 },
  ])('has exactly $invalid % invalid messages of $publishers publishers', ({ invalid, publishers }) => {
    // The first hundred publishers, so that the number of their messages is a multiple of 100.
    const blocks = Array.from({ length: Math.min(100, publishers) }, (_, publisher) =>
      blockOf({ invalid, size: '120 B' }, publisher, publishers),
    ).flat();
    expect(blocks.length % 100).toBe(0);
    expect(blocks.filter(({ isValid }) => !isValid)).toHaveLength((blocks.length * invalid) / 100);
  });

  test('keeps the keys and values of a message in another order, which differs from message to message', () => {
    const shuffled = blockOf({ layout: 'key orders', block: 50 }, 0, 1);
    const usual = blockOf({ block: 50 }, 0, 1);
    expect(shuffled.map(({ line }) => JSON.parse(line))).toEqual(usual.map(({ line }) => JSON.parse(line)));
    const orders = shuffled
      .filter(({ type }) => type === 'job_progress')
      .map(({ line }) => Object.keys((JSON.parse(line) as { data: object }).data).join());
    expect(new Set(orders).size).toBeGreaterThan(orders.length / 2);
  });
});

describe('job ids', () => {
  test.each([
    { jobs: 40, publishers: 4, distinct: 40 },
    { jobs: 10, publishers: 4, distinct: 10 },
    { jobs: 5000, publishers: 4, distinct: 5000 },
    { jobs: 40, publishers: 50, distinct: 50 },
  ])('are $distinct of one width for $jobs jobs of $publishers publishers, none shared', (expected) => {
    const { jobs, publishers, distinct } = expected;
    const owners = new Map<string, number>();
    for (let publisher = 0; publisher < publishers; publisher++) {
      const stream = new BlockStream({ content: { jobs, block: 300 }, publishers }, publisher, WIRES.lines);
      for (const jobId of jobIdsOf(linesOf(stream, publishers > 4 ? 1 : 8))) {
        if (owners.has(jobId) && owners.get(jobId) !== publisher) expect.unreachable(`${jobId} is shared`);
        owners.set(jobId, publisher);
      }
    }
    expect(owners.size).toBe(distinct);
    for (const jobId of owners.keys()) expect(jobId).toMatch(/^c\d{3}-\d{8}$/);
  });

  test.each<WireName>(['lines', 'nats', 'redis'])(
    'with %s are new ones in each message, in the topic too',
    (name) => {
      const settings = { content: { jobs: 'each', block: 100 }, publishers: 2, filter: 'job' } as const;
      const stream = new BlockStream(settings, 1, WIRES[name]);
      const text = Array.from({ length: 3 }, () => stream.next().toString()).join('');
      const inMessages = text.match(/(?<="jobId":")c001-\d{8}(?=")/g) ?? [];
      expect(inMessages.length).toBeGreaterThan(200);
      expect(inMessages).toEqual(inMessages.map((_, index) => `c001-${String(index).padStart(8, '0')}`));
      const topics = text.match(/(?<!")c001-\d{8}(?!")/g) ?? [];
      expect(topics).toEqual(name === 'lines' ? [] : inMessages);
    },
  );

  test('with key orders and other layouts are found, too', () => {
    for (const layout of ['python', 'go', 'key orders'] as const) {
      const settings = { content: { jobs: 'each', layout, block: 100 }, publishers: 1 } as const;
      const jobIds = jobIdsOf(linesOf(new BlockStream(settings, 0, WIRES.lines), 3));
      expect(new Set(jobIds).size).toBe(jobIds.length);
    }
  });
});

describe('subscriptions', () => {
  test.each(['job', 'crawler', 'type'] as const)(
    'by %s do not overlap, and match the topics of messages',
    (filter) => {
      const content: Content = { jobs: 1000 };
      const topics = subscriptionsOf(filter, 4, content, 4).map(({ topic }) => topic);
      expect(new Set(topics).size).toBe(4);
      const sent = new Set(
        [0, 1, 2, 3].flatMap((publisher) =>
          blockOf(content, publisher, 4).map((message) => topicOf(filter, message, publisher)),
        ),
      );
      expect(topics.filter((topic) => !sent.has(topic))).toEqual([]);
    },
  );

  test('cannot be more than there are jobs', () => {
    expect(() => subscriptionsOf('job', 41, { jobs: 40 }, 4)).toThrow('there are fewer than 41 jobs');
  });
});

describe('the expected deliveries are those of a broker', () => {
  const broker = shareBroker({ maxSubscriptions: 100 });
  const phases = [1, 2];
  const wire = WIRES.lines;

  test.each<{ content: Content; filter?: Filter; groups: Subscription[][]; subscriptions?: number }>([
    { content: {}, groups: [[EVERYTHING]] },
    { content: { invalid: 10 }, groups: [[EVERYTHING], [EVERYTHING]] },
    { content: { jobs: 'each', escaped: 50, layout: 'python' }, groups: [[EVERYTHING]] },
    { content: {}, groups: [[SHARED], [SHARED], [SHARED]] },
    ...(['job', 'crawler', 'type'] as const).map((filter) => {
      const content = { jobs: 200 };
      const all = subscriptionsOf(filter, 10, content, 2);
      return { content, filter, groups: [all.slice(0, 5), all.slice(5)], subscriptions: 10 };
    }),
  ])('$content of subscribers by $filter', async ({ content, filter, groups, subscriptions }) => {
    const settings: DeliverySettings = {
      content: { ...content, block: 100 },
      publishers: 2,
      wire: 'lines',
      validates: true,
      copies: groups[0]?.[0] === EVERYTHING ? groups.length : 1,
      filter,
      subscriptions,
    };
    const { connect } = broker();
    const subscribers: Peer[] = [];
    for (const group of groups) {
      const peer = await connect();
      peer.socket.write(wire.subscribe(group));
      await until(() => wire.isConfirmed(peer.lines.map((line) => `${line}\n`).join(''), group.length));
      subscribers.push(peer);
    }
    for (let publisher = 0; publisher < settings.publishers; publisher++) {
      const peer = await connect();
      const stream = new BlockStream(settings, publisher, wire);
      peer.socket.write(wire.greeting(filter === 'crawler' ? crawlerIdOf(publisher) : undefined));
      for (let write = 0; write < sum(phases); write++) peer.socket.write(Buffer.from(stream.next()));
      peer.socket.write(wire.ping);
      await peer.next(({ type }) => type === 'pong');
    }
    const received: string[] = [];
    for (const peer of subscribers) {
      peer.socket.write(wire.ping);
      await peer.next(({ type }) => type === 'pong');
      received.push(...peer.lines.filter((line) => !/^\{"type":"(?:subscribed|pong)"/.test(line)));
    }
    const expected = deliveriesOf(settings, phases);
    expect(received.length).toBeGreaterThan(0);
    expect(received.length).toBe(sum(expected.map(({ messages }) => messages)));
    expect(sum(received.map((line) => Buffer.byteLength(line) + 1))).toBe(
      sum(expected.map(({ bytes }) => bytes)),
    );
  });
});

describe('the command line', () => {
  test('describes a scenario', () => {
    const { custom } = parseFlags([
      '--publishers',
      '2',
      '--jobs',
      'each',
      '--escaped',
      '0',
      '--layout',
      'go',
    ]);
    expect(custom).toMatchObject({
      name: '2 → 1, a job per message, 0 % escapes, go',
      publishers: 2,
      subscribers: 1,
      messages: 1_000_000,
      content: { jobs: 'each', escaped: 0, layout: 'go' },
    });
    expect(parseFlags(['--cadence', '1000']).custom).toMatchObject({
      messages: 5000,
      content: { cadence: 1000 },
    });
    expect(parseFlags(['--only', '4 → 1', '--smoke'])).toMatchObject({ custom: undefined, rounds: 1 });
  });

  test.each([
    [['--publishers', '0'], "--publishers must be an integer from 1 to 1,000, not '0'"],
    [['--subscribers', '1.5'], "--subscribers must be an integer from 1 to 1,000, not '1.5'"],
    [['--jobs', 'many'], "--jobs must be an integer from 1 to 99,999,999, or 'each', not 'many'"],
    [['--jobs', '3'], '--jobs must be at least 4'],
    [['--jobs', '40', '--size', '4 KB'], "--jobs has no effect with --size '4 KB'"],
    [['--escaped', '101'], "--escaped must be a percentage from 0 to 100, not '101'"],
    [['--escaped', '8', '--size', 'fixed'], "--escaped has no effect with --size 'fixed'"],
    [
      ['--layout', 'yaml'],
      "--layout must be 'stringify', 'python', 'go', 'extra keys', 'key orders', not 'yaml'",
    ],
    [['--invalid', ''], "--invalid must be a percentage from 0 to 100, not ''"],
    [['--size', '1 KB'], "--size must be 'mix', '120 B', '4 KB', '64 KB', 'fixed', not '1 KB'"],
    [['--cadence', '0'], "--cadence must be a number above 0, not '0'"],
    [['--messages', '1e12'], '--messages must be an integer from 1 to 50,000,000'],
    [['--rounds', 'x'], "--rounds must be an integer from 1 to 1,000, not 'x'"],
    [['--scale', '-1'], '--scale'],
    [['--jobs', '40', '--only', '4 → 1'], '--only cannot be combined with a scenario of your own'],
    [['--nonsense'], "Unknown option '--nonsense'"],
    [['more'], "Unexpected argument 'more'"],
  ])('%j is an error', (args, message) => {
    expect(() => parseFlags(args)).toThrow(message);
  });
});

describe('a smoke run', () => {
  const all = [...COMPARISONS, START_UP, ...ROWS.flatMap(({ scenarios }) => scenarios)];
  const measured = all.filter(({ isVariant = false }) => !isVariant);
  /** What a scenario uses, without the values. */
  const settingsOf = ({ content, options = [], ...scenario }: Scenario): string[] => [
    ...Object.keys(scenario),
    ...Object.keys(content),
    ...options.filter((option) => option.startsWith('--')),
  ];

  test('uses every setting, every filter and every system that any scenario uses', () => {
    const used = (scenarios: readonly Scenario[]) =>
      new Set(
        scenarios.flatMap((scenario) => [
          ...settingsOf(scenario),
          ...(scenario.systems ?? DEFAULT_SYSTEMS),
          ...(scenario.filter === undefined ? [] : [`by ${scenario.filter}`]),
        ]),
      );
    const left = [...used(all)].filter((setting) => !used(measured).has(setting));
    expect(left).toEqual([]);
    expect(SYSTEMS.filter(({ name }) => !used(measured).has(name))).toEqual([]);
  });

  test('measures the latency with and without background load', () => {
    const latency = LATENCY.filter(({ isVariant }) => !isVariant);
    expect(latency.map(({ hasBackground }) => hasBackground)).toEqual([false, true]);
  });

  test('fills each table', () => {
    const names = ROWS.filter(({ scenarios }) => scenarios.some((row) => measured.includes(row)));
    expect(new Set(names.map(({ name }) => name))).toEqual(new Set(ROWS.map(({ name }) => name)));
  });

  test('has at most half of the scenarios', () => {
    expect(measured.length).toBeLessThanOrEqual(all.length / 2);
  });
});

describe('a measurement', () => {
  const { custom } = parseFlags([
    '--publishers',
    '2',
    '--jobs',
    'each',
    '--messages',
    '200',
    '--invalid',
    '10',
  ]);
  const [system] = SYSTEMS;
  if (custom === undefined || system === undefined) throw new Error('there is nothing to measure');

  test('reports the first messages and the steady state', async () => {
    const figures = await measureThroughput(system, { ...custom, options: ['--workers', '1'] }, 1);
    expect(figures).toMatchObject({ messages: 200, coldMessages: 200 });
    for (const figure of Object.values(figures)) expect(figure).toBeGreaterThanOrEqual(0);
    expect(figures.deliveriesPerSecond / figures.messagesPerSecond).toBeCloseTo(0.9);
  });

  test('of a system that does not start fails', async () => {
    const measured = measureThroughput(system, { ...custom, options: ['--nonsense'] }, 1);
    await expect(measured).rejects.toThrow('it exited');
  });
});
