// The command line of the end-to-end bench.

import { parseArgs } from 'node:util';
import { type Content, LAYOUTS, SIZES } from './content.js';
import type { Scenario } from './scenarios.js';

export const USAGE = `Compares whole systems.

  npm run bench:e2e -- [--rounds N] [--scale N] [--only TEXT] [--smoke] [--out FOLDER]

  --rounds N     number of rounds; the report contains medians (default: 3)
  --scale N      factor for the number of messages and seconds (default: 1)
  --only TEXT    only scenarios whose name contains this text, e.g. '4 → 1', 'latency', 'filtered' or 'scaling'
  --smoke        a quick check that all of it works: every kind of scenario, every system once, no scenarios that
                 differ from another only in numbers or texts (unless --only selects them); 1 round, scale 0.002
  --out FOLDER   folder for end-to-end.json, end-to-end.md and throughput.svg (default: bench/results)

Any of the following measures one scenario of your own, and no others:

  --publishers N   publishing connections, at most 1000 (default: 4)
  --subscribers N  subscribing connections, at most 1000; each receives all messages (default: 1)
  --jobs N|each    number of job IDs; each belongs to one publisher. each: one per message (default: 40)
  --escaped P      percentage of free texts with JSON escapes or non-ASCII characters (default: about 18)
  --layout L       ${LAYOUTS.map((layout) => `'${layout}'`).join(', ')} (default: 'stringify')
  --invalid P      percentage of invalid messages (default: 0)
  --size S         ${SIZES.map((size) => `'${size}'`).join(', ')} (default: 'mix')
  --cadence N      messages per second of all publishers together (default: as fast as possible)
  --messages N     messages in the steady state, for fast systems (default: 400 MB of them, or 5 s with --cadence)
`;

/** A wrong command line. */
export class UsageError extends Error {}

export interface Flags {
  readonly isHelp: boolean;
  readonly rounds: number;
  readonly scale: number;
  readonly only: string;
  readonly isSmoke: boolean;
  readonly out: string;
  /** The only scenario to measure, if it is described by flags. */
  readonly custom: Scenario | undefined;
}

const MAX_CONNECTIONS = 1000;
/** A job number has eight digits. */
const MAX_JOBS = 99_999_999;
const MAX_MESSAGES = 50_000_000;
/** Default number of messages, by size. */
const MESSAGES = { mix: 1_000_000, fixed: 1_000_000, '120 B': 2_000_000, '4 KB': 100_000, '64 KB': 6000 };
/** Default duration of the steady state with a cadence, in s. */
const PACED_SECONDS = 5;

const text = { type: 'string' } as const;
const CUSTOM = {
  publishers: text,
  subscribers: text,
  jobs: text,
  escaped: text,
  layout: text,
  invalid: text,
  size: text,
  cadence: text,
  messages: text,
} as const;
type CustomValues = Partial<Record<keyof typeof CUSTOM, string>>;

/** @throws UsageError with a message for the user */
export function parseFlags(args: readonly string[]): Flags {
  const { help = false, smoke = false, only, out = 'bench/results', rounds, scale, ...custom } = parse(args);
  const isCustom = Object.keys(custom).length > 0;
  if (isCustom && only !== undefined)
    throw new UsageError('--only cannot be combined with a scenario of your own');
  return {
    isHelp: help,
    rounds: integer('rounds', rounds, 1, 1000) ?? (smoke ? 1 : 3),
    scale: positive('scale', scale) ?? (smoke ? 0.002 : 1),
    only: only ?? '',
    isSmoke: smoke,
    out,
    custom: isCustom ? scenarioOf(custom) : undefined,
  };
}

function parse(args: readonly string[]) {
  const options = {
    rounds: text,
    scale: text,
    smoke: { type: 'boolean' },
    only: text,
    out: text,
    help: { type: 'boolean', short: 'h' },
    ...CUSTOM,
  } as const;
  try {
    return parseArgs({ args: [...args], options }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function scenarioOf(values: CustomValues): Scenario {
  const publishers = integer('publishers', values.publishers, 1, MAX_CONNECTIONS) ?? 4;
  const subscribers = integer('subscribers', values.subscribers, 1, MAX_CONNECTIONS) ?? 1;
  const size = oneOf('size', values.size, SIZES);
  const content: Content = {
    size,
    jobs: values.jobs === 'each' ? 'each' : integer('jobs', values.jobs, 1, MAX_JOBS, ", or 'each'"),
    escaped: percentage('escaped', values.escaped),
    layout: oneOf('layout', values.layout, LAYOUTS),
    invalid: percentage('invalid', values.invalid),
    cadence: positive('cadence', values.cadence),
  };
  if (typeof content.jobs === 'number' && content.jobs < publishers) {
    throw new UsageError(`--jobs must be at least ${publishers}, because no publishers share a job`);
  }
  if (content.jobs !== undefined && size !== undefined && size !== 'mix' && size !== 'fixed') {
    throw new UsageError(`--jobs has no effect with --size '${size}', whose messages have no job`);
  }
  if (content.escaped !== undefined && (size === '120 B' || size === 'fixed')) {
    throw new UsageError(`--escaped has no effect with --size '${size}', whose messages have no free texts`);
  }
  const { cadence } = content;
  const messages = cadence === undefined ? MESSAGES[size ?? 'mix'] : Math.ceil(cadence * PACED_SECONDS);
  return {
    name: nameOf(publishers, subscribers, content),
    publishers,
    subscribers,
    content,
    messages: integer('messages', values.messages, 1, MAX_MESSAGES) ?? Math.min(messages, MAX_MESSAGES),
    options: ['--max-connections', String(2 * MAX_CONNECTIONS + 1)],
  };
}

/** The name in the report: everything that differs from the default. */
function nameOf(publishers: number, subscribers: number, content: Content): string {
  const { cadence, escaped, invalid, jobs, layout, size } = content;
  const parts = [
    `${publishers} → ${subscribers}`,
    size,
    jobs === undefined
      ? undefined
      : jobs === 'each'
        ? 'a job per message'
        : `${jobs.toLocaleString('en-US')} jobs`,
    escaped === undefined ? undefined : `${escaped} % escapes`,
    layout,
    invalid === undefined ? undefined : `${invalid} % invalid`,
    cadence === undefined ? undefined : `${cadence.toLocaleString('en-US')} messages/s`,
  ];
  return parts.filter((part) => part !== undefined).join(', ');
}

function integer(
  name: string,
  value: string | undefined,
  min: number,
  max: number,
  otherwise = '',
): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (value.trim() !== '' && Number.isInteger(number) && number >= min && number <= max) return number;
  const range = `${min} to ${max.toLocaleString('en-US')}`;
  throw new UsageError(`--${name} must be an integer from ${range}${otherwise}, not '${value}'`);
}

function positive(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (Number.isFinite(number) && number > 0) return number;
  throw new UsageError(`--${name} must be a number above 0, not '${value}'`);
}

function percentage(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (value.trim() !== '' && number >= 0 && number <= 100) return number;
  throw new UsageError(`--${name} must be a percentage from 0 to 100, not '${value}'`);
}

function oneOf<T extends string>(
  name: string,
  value: string | undefined,
  choices: readonly T[],
): T | undefined {
  if (value === undefined) return undefined;
  const choice = choices.find((choice) => choice === value);
  if (choice !== undefined) return choice;
  throw new UsageError(
    `--${name} must be ${choices.map((choice) => `'${choice}'`).join(', ')}, not '${value}'`,
  );
}
