// The scenarios of the end-to-end bench: publishers, subscribers, content and number of messages.

import { availableParallelism } from 'node:os';
import type { Content } from './content.js';
import type { SystemName } from './systems.js';

export interface Scenario {
  /** Name in the report. */
  readonly name: string;
  readonly publishers: number;
  readonly subscribers: number;
  readonly content: Content;
  /** Messages of all publishers together, for a system with a share of 1. */
  readonly messages: number;
  /** Whether messages are sent without delimiters, for systems that find message boundaries themselves. */
  readonly isUndelimited?: boolean;
  /** Whether the server runs in the application's process, with a handler that receives the messages. */
  readonly isInProcess?: boolean;
  /** Options for Sluice. */
  readonly options?: readonly string[];
  /** Systems to measure. Default: all except `Sluice, inlineBytes`, which concerns latency, and `Sluice, watched`. */
  readonly systems?: readonly SystemName[];
}

const mix = { content: 'mix', messages: 1_000_000 } as const;
const VALIDATING: readonly SystemName[] = ['Sluice', 'Sluice, patterns off', 'plain Node server'];

/** Comparisons of whole systems. */
export const COMPARISONS: readonly Scenario[] = [
  { ...mix, name: '4 → 1', publishers: 4, subscribers: 1, messages: 3_000_000 },
  { ...mix, name: '4 → 10', publishers: 4, subscribers: 10 },
  { ...mix, name: '100 → 1', publishers: 100, subscribers: 1 },
  { ...mix, name: '1 → 100', publishers: 1, subscribers: 100, messages: 60_000 },
  { name: '4 → 1, 120 B', publishers: 4, subscribers: 1, content: '120 B', messages: 2_000_000 },
  { name: '4 → 1, 4 KB', publishers: 4, subscribers: 1, content: '4 KB', messages: 200_000 },
  { name: '4 → 1, 64 KB', publishers: 4, subscribers: 1, content: '64 KB', messages: 12_000 },
  { ...mix, name: '4 → 1, 1 % invalid', publishers: 4, subscribers: 1, content: '1 % invalid' },
  {
    ...mix,
    name: '4 → 1, Python layout',
    publishers: 4,
    subscribers: 1,
    content: 'python',
    systems: VALIDATING,
  },
  {
    ...mix,
    name: '4 → 1, undelimited',
    publishers: 4,
    subscribers: 1,
    isUndelimited: true,
    systems: ['Sluice', 'Sluice, patterns off'],
  },
  {
    ...mix,
    name: '4 → handler in process',
    publishers: 4,
    subscribers: 0,
    messages: 500_000,
    isInProcess: true,
  },
  {
    ...mix,
    name: 'admin server: scraped every second, one dashboard open',
    publishers: 4,
    subscribers: 1,
    messages: 10_000_000,
    systems: ['Sluice', 'Sluice, watched'],
  },
];

/** Messages per second at which latency is measured. */
export const RATES: readonly number[] = [1000, 10_000, 100_000];

const sluiceOnly = { systems: ['Sluice'] } as const;

/** Scaling of Sluice with workers, connections and messages. */
export const SCALING: readonly (readonly Scenario[])[] = [
  [1, 2, 4]
    .filter((workers) => workers <= Math.max(2, availableParallelism()))
    .map((workers) => ({
      ...mix,
      ...sluiceOnly,
      name: `${workers} ${workers === 1 ? 'worker' : 'workers'}`,
      publishers: 4,
      subscribers: 1,
      options: ['--workers', String(workers)],
    })),
  [10, 100, 1000].map((publishers) => ({
    ...mix,
    ...sluiceOnly,
    name: `${publishers} connections`,
    publishers,
    subscribers: 1,
    messages: 2_000_000,
  })),
  [100_000, 1_000_000, 10_000_000].map((messages) => ({
    ...mix,
    ...sluiceOnly,
    name: `${messages.toLocaleString('en-US')} messages`,
    publishers: 4,
    subscribers: 1,
    messages,
  })),
];
