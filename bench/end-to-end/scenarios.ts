// The scenarios of the end-to-end bench: publishers, subscribers, content and number of messages.

import { availableParallelism } from 'node:os';
import type { Content } from './content.js';
import type { Filter } from './filters.js';
import { type SystemName, USER_SCHEMAS } from './systems.js';

export interface Scenario {
  /** Name in the report. */
  readonly name: string;
  /** Whether it differs from another scenario only in numbers or in the text of messages. A smoke run omits it. */
  readonly isVariant?: boolean;
  readonly publishers: number;
  /** Number of subscribing connections. */
  readonly subscribers: number;
  readonly content: Content;
  /** Messages of all publishers together in the steady state, for a system with a share of 1. */
  readonly messages: number;
  /** What subscribers filter by. Default: they receive all messages. */
  readonly filter?: Filter;
  /** Number of subscriptions with a filter, on all connections together. */
  readonly subscriptions?: number;
  /** Whether the subscribers share the messages, as a group. */
  readonly isGroup?: boolean;
  /** Whether another subscriber receives the rejected messages. */
  readonly watchesRejected?: boolean;
  /** Whether messages are sent without delimiters, for systems that find message boundaries themselves. */
  readonly isUndelimited?: boolean;
  /** Whether the server runs in the application's process, with a handler that receives the messages. */
  readonly isInProcess?: boolean;
  /** What the handler reads: a name in drop-in.ts. */
  readonly handler?: '3 fields' | 'all fields' | '3 fields by name' | '3 fields by name, in batches';
  /** Options for Sluice. */
  readonly options?: readonly string[];
  /** Systems to measure. Default: {@link DEFAULT_SYSTEMS}. */
  readonly systems?: readonly SystemName[];
}

export interface LatencyScenario {
  /** Name in the report. */
  readonly name: string;
  /** As in {@link Scenario}. */
  readonly isVariant: boolean;
  /** Messages per second. */
  readonly rate: number;
  /** Whether other messages are sent meanwhile, which the measured subscriber does not receive. */
  readonly hasBackground: boolean;
  readonly systems: readonly SystemName[];
}

/** Scenarios that are the rows of one table. */
export interface Row {
  /** Name for `--only`. */
  readonly name: string;
  readonly scenarios: readonly Scenario[];
}

const BROKERS = ['NATS', 'Redis pub/sub'] as const;
const RELAY = 'bare relay in C';

/** Without variants of Sluice that concern latency or monitoring, and the relay, whose rate depends on little. */
export const DEFAULT_SYSTEMS: readonly SystemName[] = [
  'Sluice',
  'Sluice, patterns off',
  'plain Node server',
  ...BROKERS,
  'Mosquitto',
];
/** For scenarios about the content, on which Mosquitto depends little. */
const MAIN: readonly SystemName[] = ['Sluice', 'plain Node server', ...BROKERS];
const VALIDATING: readonly SystemName[] = ['Sluice', 'Sluice, patterns off', 'plain Node server'];
/** With filters: the plain server and the relay have none. */
const FILTERING: readonly SystemName[] = ['Sluice', ...BROKERS];

const mix = { content: {}, messages: 1_000_000 } as const;
const one = { ...mix, publishers: 4, subscribers: 1 } as const;
const inProcess = { ...one, subscribers: 0, messages: 500_000, isInProcess: true } as const;

/** Comparisons of whole systems. */
export const COMPARISONS: readonly Scenario[] = [
  { ...one, name: '4 → 1', messages: 3_000_000, systems: [...DEFAULT_SYSTEMS, RELAY] },
  {
    ...one,
    name: '1 → 1',
    isVariant: true,
    publishers: 1,
    systems: ['Sluice', 'plain Node server', ...BROKERS, 'Mosquitto', RELAY],
  },
  { ...one, name: '4 → 10', subscribers: 10, systems: [...DEFAULT_SYSTEMS, RELAY] },
  { ...one, name: '100 → 1', isVariant: true, publishers: 100 },
  { ...one, name: '1 → 100', isVariant: true, publishers: 1, subscribers: 100, messages: 60_000 },
  {
    ...one,
    name: '4 → 1, 5,000 jobs, 8 % escapes',
    content: { jobs: 5000, escaped: 8 },
    systems: MAIN,
  },
  { ...one, name: '4 → 1, a job per message', isVariant: true, content: { jobs: 'each' }, systems: MAIN },
  { ...one, name: '4 → 1, 50 % escapes', isVariant: true, content: { escaped: 50 }, systems: MAIN },
  { ...one, name: '4 → 1, 120 B', isVariant: true, content: { size: '120 B' }, messages: 2_000_000 },
  { ...one, name: '4 → 1, 4 KB', isVariant: true, content: { size: '4 KB' }, messages: 200_000 },
  { ...one, name: '4 → 1, 64 KB', content: { size: '64 KB' }, messages: 12_000 },
  { ...one, name: '4 → 1, 1 % invalid', isVariant: true, content: { invalid: 1 } },
  {
    ...one,
    name: '4 → 1, 1 % invalid, rejected watched',
    content: { invalid: 1 },
    watchesRejected: true,
    systems: ['Sluice'],
  },
  {
    ...one,
    name: '4 → 1, 50 % invalid, rejected watched',
    isVariant: true,
    content: { invalid: 50 },
    watchesRejected: true,
    systems: ['Sluice'],
  },
  { ...one, name: '4 → 1, Python layout', content: { layout: 'python' }, systems: VALIDATING },
  { ...one, name: '4 → 1, Go layout', isVariant: true, content: { layout: 'go' }, systems: MAIN },
  { ...one, name: '4 → 1, extra keys', isVariant: true, content: { layout: 'extra keys' }, systems: MAIN },
  { ...one, name: '4 → 1, key orders', isVariant: true, content: { layout: 'key orders' }, systems: MAIN },
  {
    ...one,
    name: "4 → 1, users' schemas",
    content: { schema: 'users' },
    options: ['--schemas', USER_SCHEMAS],
    systems: MAIN,
  },
  {
    ...one,
    name: '4 → 1, undelimited',
    isUndelimited: true,
    systems: ['Sluice', 'Sluice, patterns off'],
  },
  { ...one, name: '4 → group of 10', subscribers: 10, isGroup: true, systems: ['Sluice', 'NATS'] },
  { ...inProcess, name: '4 → handler in process, 3 fields', handler: '3 fields' },
  { ...inProcess, name: '4 → handler in process, all fields', isVariant: true, handler: 'all fields' },
  {
    ...inProcess,
    name: '4 → handler in process, 3 fields by name',
    isVariant: true,
    handler: '3 fields by name',
  },
  {
    ...inProcess,
    name: '4 → handler in process, 3 fields by name, in batches',
    handler: '3 fields by name, in batches',
  },
  {
    ...one,
    name: '4 → 1, with the durable log',
    messages: 3_000_000,
    systems: ['Sluice', 'Sluice, durable'],
  },
  {
    ...one,
    name: 'admin server: scraped every second, one dashboard open',
    messages: 10_000_000,
    systems: ['Sluice', 'Sluice, watched'],
  },
];

/** The first seconds after the start. */
export const START_UP: Scenario = { ...one, name: 'first 5 seconds', systems: FILTERING };

const LATENCY_SYSTEMS: readonly SystemName[] = ['Sluice', 'plain Node server', ...BROKERS, 'Mosquitto'];

export const LATENCY: readonly LatencyScenario[] = [
  ...[1000, 10_000, 100_000].map((rate, index) => ({
    name: `${rate.toLocaleString('en-US')} messages/s`,
    isVariant: index > 0,
    rate,
    hasBackground: false,
    systems: LATENCY_SYSTEMS,
  })),
  ...[1000, 10_000].map((rate, index) => ({
    name: `${rate.toLocaleString('en-US')} messages/s, with background load`,
    isVariant: index > 0,
    rate,
    hasBackground: true,
    // The plain server has no filter.
    systems: LATENCY_SYSTEMS.filter((name) => name !== 'plain Node server'),
  })),
];

/** Largest number of connections over which subscriptions are distributed. */
const MAX_CONNECTIONS = 100;
const SUBSCRIPTIONS = [1, 10, 100, 1000, 10_000];

function filtered(filter: Filter, subscriptions: number): Scenario {
  return {
    ...one,
    name: `${subscriptions.toLocaleString('en-US')} by ${filter}`,
    isVariant: subscriptions > 1,
    subscribers: Math.min(subscriptions, MAX_CONNECTIONS),
    filter,
    subscriptions,
    messages: subscriptions > 1000 ? 300_000 : 1_000_000,
    options: ['--max-subscriptions', String(MAX_CONNECTIONS)],
    systems: FILTERING,
  };
}

/** Number of crawlers of which subscribers select by crawler; further subscriptions concern crawlers that are absent. */
const CRAWLERS = 100;
const sluiceOnly = { systems: ['Sluice'] } as const;

/** Each of these is one table: subscribers with filters, and Sluice with more workers, connections and messages. */
export const ROWS: readonly Row[] = [
  {
    name: 'filtered by job',
    scenarios: SUBSCRIPTIONS.map((count) => ({
      ...filtered('job', count),
      content: { jobs: Math.max(1000, count) },
    })),
  },
  {
    name: 'filtered by crawler',
    scenarios: SUBSCRIPTIONS.map((count) => ({ ...filtered('crawler', count), publishers: CRAWLERS })),
  },
  { name: 'filtered by type', scenarios: [1, 10].map((count) => filtered('type', count)) },
  {
    name: 'scaling',
    scenarios: [1, 2, 4]
      .filter((workers) => workers <= Math.max(2, availableParallelism()))
      .map((workers) => ({
        ...one,
        ...sluiceOnly,
        name: `${workers} ${workers === 1 ? 'worker' : 'workers'}`,
        isVariant: workers > 1,
        options: ['--workers', String(workers)],
      })),
  },
  {
    name: 'scaling',
    scenarios: [10, 100, 1000].map((publishers) => ({
      ...one,
      ...sluiceOnly,
      name: `${publishers} connections`,
      isVariant: true,
      publishers,
      messages: 2_000_000,
    })),
  },
  {
    name: 'scaling',
    scenarios: [100_000, 1_000_000, 10_000_000].map((messages) => ({
      ...one,
      ...sluiceOnly,
      name: `${messages.toLocaleString('en-US')} messages`,
      isVariant: true,
      messages,
    })),
  },
];
