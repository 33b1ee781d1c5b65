// The jobs whose latest message is kept, for operators. Only the messages of the jobs that are returned are parsed.

import type { JobSeed } from '../messages/job-key.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { NO_TRAITS } from '../messages/message-traits.js';
import { jobIdIn, quickJobIdIn } from './job-id.js';
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
/** Longest message that is parsed, in bytes. */
const MAX_PARSED = 64 * 1024;

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

  list({ search, offset, limit }: JobQuery): JobList {
    const now = performance.now();
    const rows: JobRow[] = [];
    let total = 0;
    let scanned = 0;
    for (const value of this.#lastValues.newestFirst()) {
      if (++scanned > MAX_SCANNED) break;
      if (this.#isHeartbeat(value) || !this.#matches(value, search)) continue;
      if (total >= offset && rows.length < limit) rows.push(this.#rowOf(value, now));
      total++;
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

  #rowOf(value: LatestMessage, now: number): JobRow {
    const { jobLow, jobHigh, unknownType, typeIndex, receivedAt } = value;
    const message = value.bytes.subarray(0, value.length);
    const hasEnded = unknownType === undefined && this.#traitsOf(value).endsJob;
    return {
      jobId: jobIdIn(message, jobLow, jobHigh, this.#jobSeed) ?? null,
      state: hasEnded ? 'ended' : 'open',
      type: unknownType ?? this.#registry.types[typeIndex]?.name ?? '',
      owner: this.#ownerOf(value) ?? null,
      ...progressOf(message),
      age: Math.max(0, now - receivedAt),
    };
  }

  #ownerOf({ jobLow: low, jobHigh: high }: LatestMessage): string | undefined {
    const owner = this.#owners.get({ low, high });
    return owner?.crawlerId ?? owner?.connectionId;
  }

  #traitsOf({ typeIndex }: LatestMessage) {
    return this.#registry.types[typeIndex]?.traits ?? NO_TRAITS;
  }
}

function progressOf(message: Buffer): Pick<JobRow, 'processed' | 'total'> {
  const { data } =
    message.length > MAX_PARSED ? {} : (JSON.parse(message.toString()) as { readonly data?: unknown });
  const { processed, total } = (data ?? {}) as { readonly processed?: unknown; readonly total?: unknown };
  return { processed: numberOf(processed), total: numberOf(total) };
}

function numberOf(value: unknown): number | null {
  return typeof value === 'number' ? value : null;
}
