// The publishers' messages: blocks of a deterministic stream, generated from a seed in each process that needs them.

import { randomNumbers, Traffic } from '../../src/traffic/traffic.js';
import { goMarshal, pythonDumps, withExtraKeys, withShuffledKeys } from '../layouts.js';
import { UserTraffic } from './user-traffic.js';

export const SIZES = ['mix', '120 B', '4 KB', '64 KB', 'fixed'] as const;
export const LAYOUTS = ['stringify', 'python', 'go', 'extra keys', 'key orders'] as const;

/** What the messages are like. */
export interface Content {
  /**
   * `mix`: crawler traffic, 394 bytes a message on average. `120 B`: heartbeats. `4 KB`, `64 KB`: discoveries. `fixed`:
   * progress messages of one size, so that the number of bytes gives the number of messages. Default: `mix`.
   */
  readonly size?: (typeof SIZES)[number] | undefined;
  /**
   * Number of job IDs, used in turn; each belongs to one publisher. `each`: a new one for each message. Heartbeats and
   * discoveries have none. Default: 40, but at least one per publisher.
   */
  readonly jobs?: number | 'each' | undefined;
  /** Percentage of free texts that need JSON escapes or are not ASCII. Default: as {@link Traffic} makes them. */
  readonly escaped?: number | undefined;
  /**
   * `stringify`: as JSON.stringify writes. `python`: json.dumps. `go`: encoding/json. `extra keys`: with keys that no
   * schema knows. `key orders`: the order of keys differs from message to message. Default: `stringify`.
   */
  readonly layout?: (typeof LAYOUTS)[number] | undefined;
  /** Percentage of invalid messages: in the mix, they violate a rule, otherwise the schema. Default: 0. */
  readonly invalid?: number | undefined;
  /** Messages per second of all publishers together. Default: as fast as possible. */
  readonly cadence?: number | undefined;
  /** Largest number of messages in a block. Default: 2000 in the mix, fewer if they are large or publishers many. */
  readonly block?: number | undefined;
  /** `users`: the types of user-schemas.ts, in the size `mix` only. Default: `builtin`. */
  readonly schema?: 'builtin' | 'users' | undefined;
}

/** One message of a block. */
export interface Message {
  /** JSON text, without delimiter. */
  readonly line: string;
  readonly type: string;
  readonly jobId: string | undefined;
  /** Whether a validating broker forwards it. */
  readonly isValid: boolean;
}

interface Draft {
  type: string;
  timestamp: string;
  jobId?: string;
  data: Record<string, unknown>;
}

/** Of a block, if few publishers share the memory: messages, and about the bytes of each. */
const BLOCKS = {
  mix: { messages: 2000, bytes: 400 },
  fixed: { messages: 2000, bytes: 400 },
  '120 B': { messages: 2000, bytes: 130 },
  '4 KB': { messages: 200, bytes: 4096 },
  '64 KB': { messages: 12, bytes: 65_536 },
} as const;
/** Memory for the blocks of all publishers, in bytes; each may have a second copy. */
const BLOCK_MEMORY = 16 * 1024 * 1024;
const DEFAULT_JOBS = 40;
/** Digits of a job number in a job ID. */
export const JOB_DIGITS = 8;

/** Messages in the block of each publisher, which sends it repeatedly: at most 800 KB, or those of one second. */
export function blockLength(
  { block = Infinity, size = 'mix', cadence = Infinity }: Content,
  publishers: number,
): number {
  const { messages, bytes } = BLOCKS[size];
  const fitting = Math.floor(BLOCK_MEMORY / publishers / bytes);
  return Math.max(1, Math.min(messages, fitting, block, Math.ceil(cadence / publishers)));
}

/** Number of blocks per publisher for about this many messages in total. */
export function blocksFor(content: Content, publishers: number, messages: number): number {
  return Math.max(1, Math.round(messages / publishers / blockLength(content, publishers)));
}

/** Number of job IDs of one publisher. */
export function jobsOf({ jobs = DEFAULT_JOBS }: Content, publisher: number, publishers: number): number {
  if (jobs === 'each') return 10 ** JOB_DIGITS;
  return Math.max(1, Math.floor(jobs / publishers) + (publisher < jobs % publishers ? 1 : 0));
}

/** A job ID. All of a run have one length. */
export function jobIdOf(publisher: number, publishers: number, number: number): string {
  const width = publishers > 1000 ? 4 : 3;
  return `c${String(publisher).padStart(width, '0')}-${String(number).padStart(JOB_DIGITS, '0')}`;
}

/** The block of one publisher, as sent first. */
export function blockOf(content: Content, publisher: number, publishers: number): Message[] {
  const { invalid = 0, layout = 'stringify' } = content;
  const next = sourceOf(content, publisher);
  const random = randomNumbers(publisher);
  const length = blockLength(content, publishers);
  const jobs = jobsOf(content, publisher, publishers);
  let withJob = 0;
  return Array.from({ length }, (_, index) => {
    const isValid = !isInvalid(publisher * length + index, invalid);
    const message = isValid ? next(index) : invalidated(content, () => next(index));
    if (message.jobId !== undefined) message.jobId = jobIdOf(publisher, publishers, withJob++ % jobs);
    return { line: write(message, layout, random), type: message.type, jobId: message.jobId, isValid };
  });
}

/** Whether the message with this number is one of the invalid ones, which are evenly distributed. */
function isInvalid(number: number, percentage: number): boolean {
  return Math.floor(((number + 1) * percentage) / 100) > Math.floor((number * percentage) / 100);
}

function write(message: Draft, layout: NonNullable<Content['layout']>, random: () => number): string {
  switch (layout) {
    case 'stringify':
      return JSON.stringify(message);
    case 'python':
      return pythonDumps(message);
    case 'go':
      return goMarshal(message);
    case 'extra keys':
      return JSON.stringify(withExtraKeys(message));
    case 'key orders':
      return JSON.stringify(withShuffledKeys(message, random));
  }
}

/** @returns a function that makes the message with a given index */
function sourceOf(content: Content, publisher: number): (index: number) => Draft {
  const { size = 'mix', escaped, schema } = content;
  if (schema === 'users') {
    const traffic = new UserTraffic(publisher, escaped ?? 8);
    return () => traffic.next();
  }
  if (size === '120 B') return () => heartbeat(publisher);
  if (size === 'fixed') return (index) => progress(publisher, index);
  if (size === '4 KB') return (index) => discovery(publisher, index, 4096, escaped);
  if (size === '64 KB') return (index) => discovery(publisher, index, 65_536, escaped);
  const traffic = new Traffic({ seed: publisher, escaped });
  return () => traffic.next();
}

function invalidated({ size = 'mix', schema }: Content, next: () => Draft): Draft {
  if (size !== 'mix' || schema === 'users') return { ...next(), timestamp: 'yesterday' };
  for (;;) {
    const message = next();
    if (message.type !== 'job_progress') continue;
    return { ...message, data: { ...message.data, processed: 2, total: 1 } };
  }
}

const TIMESTAMP = '2026-01-01T00:00:00.000Z';

function heartbeat(seed: number): Draft {
  const data = { activeJobs: seed % 8, totalProcessed: 1234, systemStatus: 'crawling' };
  return { type: 'heartbeat', timestamp: TIMESTAMP, data };
}

function progress(seed: number, index: number): Draft {
  const data = {
    stage: 'fetching',
    entityType: 'merge_request',
    processed: 1000 + (index % 1000),
    total: 5000,
    message: `Fetching page ${10 + (index % 90)} of platform/gateway-${10 + (seed % 90)}`,
    resumeState: { lastEntityId: '1234567', currentPage: 42 },
    itemCounts: { issues: 100, commits: 1000 },
    processingRate: 12.5,
    estimatedTimeRemaining: 3600,
  };
  return { type: 'job_progress', timestamp: TIMESTAMP, jobId: 'job', data };
}

/** @param escaped percentage of names that are not ASCII */
function discovery(seed: number, index: number, size: number, escaped = 100): Draft {
  const entities: { id: string; name: string; path: string }[] = [];
  const message = { type: 'discovery', timestamp: TIMESTAMP, data: { entityType: 'project', entities } };
  const entity = (number: number) => ({
    id: `${1_000_000 + number}`,
    // 61 and 100 have no common factor, so 100 entities have all remainders.
    name: `gateway-${number % 100} ${(number * 61) % 100 < escaped ? 'Zoë' : 'Zora'}`,
    path: `platform/gateway-${number % 100}`,
  });
  const room = size - Buffer.byteLength(JSON.stringify(message));
  const count = Math.floor(room / (Buffer.byteLength(JSON.stringify(entity(0))) + 1));
  for (let number = 0; number < count; number++) entities.push(entity(seed * 1000 + index * count + number));
  return message;
}
