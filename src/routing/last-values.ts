// The latest message of each job, and the latest heartbeat of each crawler, for subscribers that begin with them. Copies
// the message of a job once per run, however many messages of it the run contains. A copy out of shared memory takes
// 0.3 µs for 390 bytes, so the bytes copied per second are limited: with one message per job, a full load would otherwise
// double the time that the main thread spends on it. Beyond the limit, nothing is done per message: a message is only the
// latest one if the owners know of no later run about its job. Only messages of jobs without an owner have to be found.

import { type FrameRun, metaPrefix, metaSequence, WITH_META } from '../delivery/frame-run.js';
import { copyBytes } from '../memory/copy-bytes.js';
import type { Filter } from './filter.js';
import type { JobOwners } from './job-owners.js';
import { JobTable } from './job-table.js';

/** A copied message, and what filters and `meta` need to know about it. */
interface LastValue {
  /** Memory for the message, which may be longer than it. */
  bytes: Buffer;
  /** 0 if a later message of the job could not be kept: then this one is not the latest. */
  length: number;
  /** Number of the run that contained it; `undefined` if its job has no owner, or it is kept under its crawler. */
  run: number | undefined;
  /** Whether it is kept under its job, which has no owner. */
  isOwnerless: boolean;
  typeIndex: number;
  /** Name of its type, if that has no schema. */
  unknownType: string | undefined;
  /** Key of its job, in signed integers; 0 if it has none. */
  jobLow: number;
  jobHigh: number;
  /** Connection ID and crawlerId of its sender. */
  from: string;
  crawlerId: string | undefined;
  sequence: number;
  /** Monotonic time in ms. */
  receivedAt: number;
}

interface HeadedValue {
  /** What precedes it; empty without `meta`. */
  readonly head: string;
  readonly value: LastValue;
}

/** A kept message. */
export type LatestMessage = Readonly<
  Pick<LastValue, 'bytes' | 'length' | 'typeIndex' | 'unknownType' | 'jobLow' | 'jobHigh' | 'receivedAt'>
>;

/** Whole messages, each with its delimiter. */
export interface LastMessages {
  readonly bytes: Buffer;
  readonly count: number;
}

/** Messages that are not copied yet. They must be copied before the next one is set. */
export interface SelectedMessages {
  /** Size of the copies. */
  readonly bytes: number;
  /** Number of bytes that take as long as selecting and copying them. */
  readonly cost: number;
  copy(): LastMessages[];
}

interface Part {
  readonly values: HeadedValue[];
  size: number;
}

const NO_BYTES = Buffer.alloc(0);
/** Memory of a message is a multiple of this, since the next message of the job may be a bit longer. In bytes. */
const BYTES_STEP = 128;
/** Memory that is more than this many times as long as the message is replaced. */
const MAX_SLACK = 4;
/** Bytes copied per second, and the number of bytes that take as long to copy as a copy takes in addition to its bytes. */
const MAX_BYTES_PER_SECOND = 16 * 1024 * 1024;
const COPY_OVERHEAD = 256;
const SECOND = 1000;
/** Size of the parts in which messages are sent, in bytes. */
const PART_BYTES = 256 * 1024;

export class LastValues {
  readonly #owners: JobOwners;
  readonly #table: JobTable;
  readonly #values: LastValue[] = [];
  readonly #maxBytes: number;
  readonly #maxBytesPerSecond: number;
  #bytes = 0;
  #ownerless = 0;
  /** Start of the current second, in ms of the monotonic clock, and the bytes copied in it. */
  #secondStart = 0;
  #copiedBytes = 0;

  /**
   * @param owners know the latest run about each job
   * @param capacity maximum number of messages, 1 or more
   * @param maxBytes maximum memory of their text. A longer message is not kept, nor is the previous one of its job.
   * @param maxBytesPerSecond limit on the bytes copied per second, in which each message counts as 256 bytes longer than
   *   it is. Beyond it, messages are not kept, nor are the previous ones of their jobs. Default: 16 MiB.
   */
  constructor(
    owners: JobOwners,
    capacity: number,
    maxBytes: number,
    maxBytesPerSecond: number = MAX_BYTES_PER_SECOND,
  ) {
    this.#owners = owners;
    this.#table = new JobTable(capacity);
    this.#maxBytes = maxBytes;
    this.#maxBytesPerSecond = maxBytesPerSecond;
  }

  get size(): number {
    return this.#table.size;
  }

  /** Memory of the messages, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Keeps a message of a run.
   * @param low lower half of the key that it is kept under, of its job or its crawler, as a signed integer
   * @param high upper half of that key
   * @param number of the run, if the owners record it for the job
   */
  set(low: number, high: number, run: FrameRun, index: number, number?: number): void {
    const start = run.start(index);
    const length = run.end(index) - start;
    if (length > this.#maxBytes || !this.#takeTime(length, run.chunk.receivedAt)) {
      this.invalidate(low, high);
      return;
    }
    const entry = this.#table.set(low, high);
    let value = this.#values[entry];
    if (value === undefined) {
      value = {
        bytes: NO_BYTES,
        length: 0,
        run: undefined,
        isOwnerless: false,
        typeIndex: 0,
        unknownType: undefined,
        jobLow: 0,
        jobHigh: 0,
        from: '',
        crawlerId: undefined,
        sequence: 0,
        receivedAt: 0,
      };
      this.#values[entry] = value;
    }
    const { sender } = run;
    if (length > value.bytes.length || length * MAX_SLACK + BYTES_STEP < value.bytes.length)
      this.#resize(value, length);
    copyBytes(run.memory, start, start + length, value.bytes, 0);
    const job = run.job(index);
    value.length = length;
    value.run = number;
    value.typeIndex = run.typeIndex(index);
    value.unknownType = run.unknownType;
    value.jobLow = job === -1 ? 0 : run.verdict.jobLow(job) | 0;
    value.jobHigh = job === -1 ? 0 : run.verdict.jobHigh(job) | 0;
    this.#setOwnerless(value, number === undefined && value.jobLow === low && value.jobHigh === high);
    value.from = sender.id;
    value.crawlerId = sender.crawlerId;
    value.sequence = run.firstSequence + index;
    value.receivedAt = run.chunk.receivedAt;
    while (this.#bytes > this.#maxBytes) this.#remove(this.#table.oldest);
  }

  /**
   * The messages that a filter matches, in the order of receipt, in parts.
   * @param delimiter the byte after each message
   * @param host name of this host, for `meta`. Default: none.
   * @param partBytes maximum bytes of a part, unless a single message is longer. Default: 256 KiB.
   */
  select(filter: Filter, delimiter: number, host?: string, partBytes = PART_BYTES): SelectedMessages {
    const parts: Part[] = [];
    let part: Part | undefined;
    let [total, count] = [0, 0];
    const prefixes = new Prefixes(host);
    for (let entry = this.#table.oldest; entry !== -1; entry = this.#table.newer(entry)) {
      const value = this.#values[entry];
      if (value === undefined || !matches(filter, value) || !this.#isLatest(value)) continue;
      const head = filter.mark === WITH_META ? prefixes.of(value) + metaSequence(value.sequence) : '';
      const bytes = head.length + value.length + (head === '' ? 1 : 2);
      if (part === undefined || part.size + bytes > partBytes) {
        part = { values: [], size: 0 };
        parts.push(part);
      }
      part.values.push({ head, value });
      part.size += bytes;
      total += bytes;
      count++;
    }
    return {
      bytes: total,
      cost: total + count * COPY_OVERHEAD,
      copy: () => parts.map((each) => join(each, delimiter)),
    };
  }

  /** The messages that are the latest ones, the newest first. They must be used before the next one is set. */
  *newestFirst(): Generator<LatestMessage> {
    for (let entry = this.#table.newest; entry !== -1; entry = this.#table.older(entry)) {
      const value = this.#values[entry];
      if (value !== undefined && value.length > 0 && this.#isLatest(value)) yield value;
    }
  }

  /** Whether no later message about the job was received without being kept. */
  #isLatest({ run, jobLow, jobHigh }: LastValue): boolean {
    return run === undefined || this.#owners.runOf(jobLow, jobHigh) === run;
  }

  /** Whether {@link invalidate} has to be called for a message of a crawler that is not kept. */
  get hasOwnerless(): boolean {
    return this.#ownerless > 0;
  }

  /** A later message about the job was received without being kept. */
  invalidate(low: number, high: number): void {
    const entry = this.#table.find(low, high);
    const value = entry === -1 ? undefined : this.#values[entry];
    if (value !== undefined) this.#clear(value);
  }

  #clear(value: LastValue): void {
    value.length = 0;
    this.#setOwnerless(value, false);
  }

  #setOwnerless(value: LastValue, isOwnerless: boolean): void {
    if (value.isOwnerless === isOwnerless) return;
    value.isOwnerless = isOwnerless;
    this.#ownerless += isOwnerless ? 1 : -1;
  }

  /** Whether there is time to copy another message in this second. @param now in ms of the monotonic clock */
  hasTime(now: number): boolean {
    if (now - this.#secondStart >= SECOND) {
      this.#secondStart = now;
      this.#copiedBytes = 0;
    }
    return this.#copiedBytes < this.#maxBytesPerSecond;
  }

  #takeTime(length: number, now: number): boolean {
    if (!this.hasTime(now)) return false;
    this.#copiedBytes += length + COPY_OVERHEAD;
    return this.#copiedBytes <= this.#maxBytesPerSecond;
  }

  #resize(value: LastValue, length: number): void {
    this.#bytes -= value.bytes.length;
    const size = Math.min(Math.ceil(length / BYTES_STEP) * BYTES_STEP, this.#maxBytes);
    value.bytes = Buffer.allocUnsafeSlow(size);
    this.#bytes += size;
  }

  #remove(entry: number): void {
    const value = this.#values[entry];
    if (value !== undefined) {
      this.#bytes -= value.bytes.length;
      value.bytes = NO_BYTES;
      this.#clear(value);
    }
    this.#table.remove(entry);
  }
}

function matches(filter: Filter, value: LastValue): boolean {
  const { length, typeIndex, unknownType, crawlerId, jobLow, jobHigh } = value;
  if (length === 0) return false;
  if (!filter.matchesType(typeIndex, unknownType)) return false;
  return filter.matchesCrawler(crawlerId) && filter.matchesJob(jobLow, jobHigh >>> 0);
}

/** What precedes messages with `meta`: kept while the sender stays the same. */
class Prefixes {
  readonly #host: string | undefined;
  #sender: { readonly id: string; readonly crawlerId: string | undefined } | undefined;
  #prefix = '';

  constructor(host: string | undefined) {
    this.#host = host;
  }

  of({ from: id, crawlerId }: LastValue): string {
    if (this.#sender?.id === id && this.#sender.crawlerId === crawlerId) return this.#prefix;
    this.#sender = { id, crawlerId };
    this.#prefix = metaPrefix({ id, crawlerId, host: this.#host });
    return this.#prefix;
  }
}

function join({ values, size }: Part, delimiter: number): LastMessages {
  const bytes = Buffer.allocUnsafeSlow(size);
  let end = 0;
  for (const { head, value } of values) {
    end += bytes.write(head, end, 'latin1');
    end += value.bytes.copy(bytes, end, 0, value.length);
    if (head !== '') end += bytes.write('}', end, 'latin1');
    bytes[end++] = delimiter;
  }
  return { bytes, count: values.length };
}
