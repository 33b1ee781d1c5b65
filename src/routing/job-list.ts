// The jobs whose latest message is kept, for operators. Only the messages of the jobs that are returned are parsed.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { JobSeed } from '../messages/job-key.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { NO_TRAITS } from '../messages/message-traits.js';
import { jobIdOf, type Message, quickJobIdIn } from './job-id.js';
import type { JobOwners } from './job-owners.js';
import type { LastValues, LatestMessage } from './last-values.js';

/** A job, by its latest message. */
export interface JobRow {
  /** Null if finding it would require parsing more than 64 KiB. */
  readonly jobId: string | null;
  /** `ended` by a message that says so, whatever its outcome. */
  readonly state: 'open' | 'ended';
  /** The type of its latest message. */
  readonly type: string;
  /** The crawler that works on it, or worked on it last: its crawlerId, else its connection. */
  readonly owner: string | null;
  /** Of the latest message, if it has these numbers. */
  readonly processed: number | null;
  readonly total: number | null;
  /** Time since the latest message, in ms. */
  readonly age: number;
}

/** Which jobs are wanted. */
export interface JobQuery {
  /** Part of the job ID or of the owner, in lower case; empty: all jobs. */
  readonly search: string;
  readonly offset: number;
  readonly limit: number;
}

export interface JobList {
  /** Number of jobs that match. */
  readonly total: number;
  /** Whether all jobs were examined: else `total` is a lower bound. */
  readonly isComplete: boolean;
  /** The latest first. */
  readonly rows: readonly JobRow[];
}

/** Maximum number of messages that a request examines. */
const MAX_SCANNED = 100_000;
/** Longest message that is parsed, in bytes; and number of bytes after which other work of the main thread gets its turn. */
const MAX_PARSED = 64 * 1024;

/** A message, which does not change when the next one is kept. */
type CopiedMessage = Omit<LatestMessage, 'length'>;

export class JobLister {
  readonly #registry: MessageRegistry;
  readonly #owners: JobOwners;
  readonly #lastValues: LastValues;
  readonly #jobSeed: JobSeed;

  constructor(registry: MessageRegistry, owners: JobOwners, lastValues: LastValues, jobSeed: JobSeed) {
    this.#registry = registry;
    this.#owners = owners;
    this.#lastValues = lastValues;
    this.#jobSeed = jobSeed;
  }

  async list({ search, offset, limit }: JobQuery): Promise<JobList> {
    const now = performance.now();
    const found: CopiedMessage[] = [];
    let total = 0;
    let scanned = 0;
    for (const value of this.#lastValues.newestFirst()) {
      if (++scanned > MAX_SCANNED) break;
      if (this.#isHeartbeat(value) || !this.#matches(value, search)) continue;
      if (total >= offset && found.length < limit) found.push(copyOf(value));
      total++;
    }
    const rows: JobRow[] = [];
    let size = 0;
    for (const value of found) {
      size += value.bytes.length;
      if (size > MAX_PARSED) {
        await nextTurn();
        size = value.bytes.length;
      }
      rows.push(this.#rowOf(value, now));
    }
    return { total, isComplete: scanned <= MAX_SCANNED, rows };
  }

  #isHeartbeat(value: LatestMessage): boolean {
    return value.unknownType === undefined && this.#traitsOf(value).reportsWorkload;
  }

  #matches(value: LatestMessage, search: string): boolean {
    if (search === '') return true;
    const owner = this.#ownerOf(value)?.toLowerCase() ?? '';
    if (owner.includes(search)) return true;
    const { jobLow, jobHigh } = value;
    const id = quickJobIdIn(value.bytes.subarray(0, value.length), jobLow, jobHigh, this.#jobSeed);
    return id?.toLowerCase().includes(search) ?? false;
  }

  #rowOf(value: CopiedMessage, now: number): JobRow {
    const { bytes, jobLow, jobHigh, unknownType, typeIndex, receivedAt } = value;
    const hasEnded = unknownType === undefined && this.#traitsOf(value).endsJob;
    const message = bytes.length > MAX_PARSED ? {} : (JSON.parse(bytes.toString()) as Message);
    return {
      jobId: quickJobIdIn(bytes, jobLow, jobHigh, this.#jobSeed) ?? jobIdOf(message) ?? null,
      state: hasEnded ? 'ended' : 'open',
      type: unknownType ?? this.#registry.types[typeIndex]?.name ?? '',
      owner: this.#ownerOf(value) ?? null,
      ...progressOf(message),
      age: Math.max(0, now - receivedAt),
    };
  }

  #ownerOf({ jobLow: low, jobHigh: high }: CopiedMessage): string | undefined {
    const owner = this.#owners.get({ low, high });
    return owner?.crawlerId ?? owner?.connectionId;
  }

  #traitsOf({ typeIndex }: CopiedMessage) {
    return this.#registry.types[typeIndex]?.traits ?? NO_TRAITS;
  }
}

function copyOf({ bytes, length, ...others }: LatestMessage): CopiedMessage {
  return { ...others, bytes: Buffer.from(bytes.subarray(0, length)) };
}

function progressOf({ data }: Message): Pick<JobRow, 'processed' | 'total'> {
  const { processed, total } = (data ?? {}) as { readonly processed?: unknown; readonly total?: unknown };
  return { processed: numberOf(processed), total: numberOf(total) };
}

function numberOf(value: unknown): number | null {
  return typeof value === 'number' ? value : null;
}
