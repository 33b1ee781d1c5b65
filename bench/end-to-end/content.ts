// The publishers' messages: lines of a deterministic stream, generated from a seed in each process that needs them.

import { Traffic } from '../../src/traffic/traffic.js';
import { pythonDumps } from '../layouts.js';

/**
 * `mix`: crawler traffic, 394 bytes a message on average. `120 B`: heartbeats. `4 KB`, `64 KB`: discoveries.
 * `1 % invalid`: the mix, in which one message in a hundred violates a rule. `python`: the mix, as `json.dumps`
 * writes it. `fixed`: messages of one size, so that the number of bytes gives the number of messages.
 */
export type Content = 'mix' | '120 B' | '4 KB' | '64 KB' | '1 % invalid' | 'python' | 'fixed';

export interface Block {
  /** One message per line, without delimiter. */
  readonly lines: readonly string[];
  /** The lines that a validating broker forwards. */
  readonly valid: readonly string[];
}

/** Sizes of discoveries, in bytes. */
const SIZES: Readonly<Partial<Record<Content, number>>> = { '4 KB': 4096, '64 KB': 65_536 };
/** Number of distinct streams; with more publishers, the streams repeat. */
const SEEDS = 16;
/** Every hundredth message of `1 % invalid` violates a rule. */
const INVALID_EVERY = 100;

/** Messages in a block, about 800 KB. Publishers send their block repeatedly. */
export function blockLength(content: Content): number {
  return content === '64 KB' ? 12 : content === '4 KB' ? 200 : 2000;
}

/** Number of blocks per publisher for about this many messages in total. */
export function blocksFor(content: Content, publishers: number, messages: number): number {
  return Math.max(1, Math.round(messages / publishers / blockLength(content)));
}

const blocks = new Map<string, Block>();

/** The block of one publisher. */
export function blockOf(content: Content, publisher: number): Block {
  const seed = publisher % SEEDS;
  const key = `${content} ${seed}`;
  let block = blocks.get(key);
  if (block === undefined) {
    const lines = linesOf(content, seed);
    const valid = content === '1 % invalid' ? lines.filter((_, index) => !isInvalid(index)) : lines;
    block = { lines, valid };
    blocks.set(key, block);
  }
  return block;
}

function linesOf(content: Content, seed: number): string[] {
  const traffic = new Traffic({ seed });
  const size = SIZES[content];
  return Array.from({ length: blockLength(content) }, (_, index) => {
    if (content === 'python') return pythonDumps(traffic.next());
    if (content === '120 B') return heartbeat(seed);
    if (content === 'fixed') return progress(seed, index);
    if (size !== undefined) return discovery(seed, index, size);
    return content === '1 % invalid' && isInvalid(index) ? invalidProgress(traffic) : traffic.nextLine();
  });
}

function isInvalid(index: number): boolean {
  return index % INVALID_EVERY === INVALID_EVERY - 1;
}

/** A job_progress whose `processed` exceeds `total`. */
function invalidProgress(traffic: Traffic): string {
  for (;;) {
    const message = traffic.next();
    if (message.type !== 'job_progress') continue;
    return JSON.stringify({ ...message, data: { ...message.data, processed: 2, total: 1 } });
  }
}

const TIMESTAMP = '2026-01-01T00:00:00.000Z';

function heartbeat(seed: number): string {
  const data = { activeJobs: seed % 8, totalProcessed: 1234, systemStatus: 'crawling' };
  return JSON.stringify({ type: 'heartbeat', timestamp: TIMESTAMP, data });
}

function progress(seed: number, index: number): string {
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
  return JSON.stringify({
    type: 'job_progress',
    timestamp: TIMESTAMP,
    jobId: `job-${10 + (index % 16)}`,
    data,
  });
}

function discovery(seed: number, index: number, size: number): string {
  const entities: { id: string; name: string; path: string }[] = [];
  const message = { type: 'discovery', timestamp: TIMESTAMP, data: { entityType: 'project', entities } };
  const entity = (number: number) => ({
    id: `${1_000_000 + number}`,
    name: `gateway-${number % 100} Zoë`,
    path: `platform/gateway-${number % 100}`,
  });
  const room = size - Buffer.byteLength(JSON.stringify(message));
  const count = Math.floor(room / (Buffer.byteLength(JSON.stringify(entity(0))) + 1));
  for (let number = 0; number < count; number++) entities.push(entity(seed * 1000 + index * count + number));
  return JSON.stringify(message);
}
