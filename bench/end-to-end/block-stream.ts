// What one publisher writes: its block, encoded once, again and again. If it has more jobs than its block has messages, the
// digits of the job numbers are changed before each write.

import { blockOf, type Content, JOB_DIGITS, jobIdOf, jobsOf, type Message } from './content.js';
import { type Filter, topicOf } from './filters.js';
import type { Wire } from './wires.js';

/** The settings of all streams of a run. */
export interface StreamSettings {
  readonly content: Content;
  /** Number of publishing connections. */
  readonly publishers: number;
  /** What subscribers filter by, if they do. */
  readonly filter?: Filter | undefined;
}

/** Half of a job number's digits are copied at once, from the text of all numbers that have so many. */
const HALF = JOB_DIGITS / 2;
const HALF_RANGE = 10 ** HALF;
const HALVES = Buffer.from(
  Array.from({ length: HALF_RANGE }, (_, number) => String(number).padStart(HALF, '0')).join(''),
);

/** The messages of a publisher's writes, without their bytes. */
export class BlockPlan {
  readonly messages: readonly Message[];
  /** Whether the job numbers differ from write to write. */
  readonly isChanging: boolean;
  /** Number of job IDs. */
  readonly jobs: number;
  /** Messages with a job. */
  readonly #withJob: number;
  readonly #publisher: number;
  readonly #settings: StreamSettings;

  constructor(settings: StreamSettings, publisher: number) {
    const { content, publishers } = settings;
    this.#settings = settings;
    this.#publisher = publisher;
    this.messages = blockOf(content, publisher, publishers);
    this.#withJob = this.messages.filter(({ jobId }) => jobId !== undefined).length;
    this.jobs = jobsOf(content, publisher, publishers);
    this.isChanging = this.#withJob > 0 && this.jobs > this.#withJob;
  }

  /**
   * @param write number of the write, from 0
   * @param position of the message among those with a job
   */
  jobNumber(write: number, position: number): number {
    return ((this.isChanging ? write * this.#withJob : 0) + position) % this.jobs;
  }

  /** Calls `visit` for each message of a write, in order. */
  visit(write: number, visit: (message: Message, topic: string) => void): void {
    const { filter, publishers } = this.#settings;
    let position = 0;
    for (const message of this.messages) {
      const { type } = message;
      let { jobId } = message;
      if (jobId !== undefined) {
        if (this.isChanging) jobId = jobIdOf(this.#publisher, publishers, this.jobNumber(write, position));
        position++;
      }
      visit(message, topicOf(filter, { type, jobId }, this.#publisher));
    }
  }
}

/** The bytes of a publisher's writes. */
export class BlockStream {
  /** Where each message ends, in bytes. */
  readonly ends: readonly number[];
  readonly #plan: BlockPlan;
  /** One is changed while the other one is being written. */
  readonly #buffers: readonly Buffer[];
  /** Where the digits of each job number begin. A message may contain its number twice: in its topic, too. */
  readonly #offsets: Int32Array;
  /** The position of its message among those with a job. */
  readonly #positions: Int32Array;
  #writes = 0;

  constructor(settings: StreamSettings, publisher: number, wire: Wire) {
    this.#plan = new BlockPlan(settings, publisher);
    const parts: Buffer[] = [];
    const ends: number[] = [];
    const offsets: number[] = [];
    const positions: number[] = [];
    let size = 0;
    let position = 0;
    this.#plan.visit(0, ({ line, jobId }, topic) => {
      const bytes = wire.encode(line, topic);
      if (jobId !== undefined) {
        for (let at = bytes.indexOf(jobId); at !== -1; at = bytes.indexOf(jobId, at + 1)) {
          offsets.push(size + at + jobId.length - JOB_DIGITS);
          positions.push(position);
        }
        position++;
      }
      parts.push(bytes);
      size += bytes.length;
      ends.push(size);
    });
    const block = Buffer.concat(parts);
    this.ends = ends;
    this.#offsets = Int32Array.from(offsets);
    this.#positions = Int32Array.from(positions);
    this.#buffers = this.#plan.isChanging ? [block, Buffer.from(block)] : [block, block];
  }

  /** The next block. Its bytes may change in the second call after this one. */
  next(): Buffer {
    const block = this.#buffers[this.#writes % 2] as Buffer;
    if (this.#plan.isChanging) this.#number(block);
    this.#writes++;
    return block;
  }

  /** Writes the job numbers of the next write. At several million messages per second, each nanosecond counts. */
  #number(block: Buffer): void {
    const { jobs } = this.#plan;
    const first = this.#plan.jobNumber(this.#writes, 0);
    const positions = this.#positions;
    for (let index = 0; index < positions.length; index++) {
      let number = first + (positions[index] as number);
      // A block has fewer messages than there are jobs.
      if (number >= jobs) number -= jobs;
      const offset = this.#offsets[index] as number;
      const high = Math.floor(number / HALF_RANGE) * HALF;
      const low = (number % HALF_RANGE) * HALF;
      for (let digit = 0; digit < HALF; digit++) {
        block[offset + digit] = HALVES[high + digit] as number;
        block[offset + HALF + digit] = HALVES[low + digit] as number;
      }
    }
  }
}
