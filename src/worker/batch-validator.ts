// Validate: what a worker does with a batch. Runs the parser over each range and writes the verdict.
// Must keep nothing of a batch after it has answered.

import { NumberList, plainNumbers } from '../dispatch/number-list.js';
import {
  type BatchTask,
  JOB,
  type MessageAddress,
  NO_HEARTBEAT,
  RANGE_FIELDS,
  type RejectionReason,
  RUN,
  RunKind,
  SLOW_MESSAGE,
  type Verdict,
} from '../dispatch/verdict.js';
import type { WireErrorCode } from '../errors.js';
import type { Issue } from '../messages/issues.js';
import { NO_JOB } from '../messages/job-key.js';
import type { MessageType } from '../messages/message-registry.js';
import { MAX_CONTROL_BYTES } from '../messages/messages.js';
import { MATCH } from '../pattern/memory-layout.js';
import type { Matches } from '../pattern/pattern-set.js';
import type { FrameSink } from '../protocol/frame-sink.js';
import type { MessageParser } from '../protocol/message-parser.js';
import { type Rejection, reject } from '../protocol/message-validator.js';

/** The newest `activeJobs` a verdict can tell: larger numbers are cut to it. */
const MAX_ACTIVE_JOBS = NO_HEARTBEAT - 1;
const NO_BYTES = Buffer.alloc(0);
/** Places for jobs that were met lately. Where two share one, a chunk may have several rows of a job. */
const JOB_ROWS = 4096;
/** Messages of a batch up to which its numbers go as plain arrays. */
const FEW_MESSAGES = 16;

export class BatchValidator implements FrameSink {
  readonly #parser: MessageParser;
  readonly #delimiter: number;
  readonly #onProgress: (range: number, start: number, end: number) => void;
  readonly #chunks = new NumberList();
  readonly #runs = new NumberList();
  readonly #frames = new NumberList();
  readonly #jobs = new NumberList();
  /** By the lowest bits of a job's key: the row that it had last, which counts while the job is found there. */
  readonly #jobRows = new Uint32Array(JOB_ROWS);
  /** The present chunk's first row. */
  #firstJob = 0;
  readonly #jobRequest: number;
  #rejections: RejectionReason[] = [];
  /** Those without issues, by code and type: their index. */
  readonly #sharedRejections = new Map<string, number>();
  /** Messages of the present range that were rejected. */
  #rejected = 0;
  #maxDetailedRejections = 0;
  #addresses: MessageAddress[] = [];
  #matched = 0;
  #mismatches: string[] = [];
  #slowRanges: number[] = [];
  /** When the present message was reached that is looked at one by one, in ms of the monotonic clock; 0: none was. */
  #reachedAt = 0;
  /** What the patterns have counted up to the latest verdict. */
  #layoutsLearned = 0;
  #layoutsDropped = 0;
  readonly #accepted: Uint32Array;
  #bytes: Buffer = NO_BYTES;
  #rangeEnd = 0;
  #chunk = 0;
  #activeJobs = NO_HEARTBEAT;
  #frame = 0;
  #runKind = -1;
  #runFirst = 0;
  #lastEnd = 0;

  /** @param onProgress called with each message that is looked at one by one, and with the index of its range */
  constructor(
    parser: MessageParser,
    delimiter: number,
    onProgress: (range: number, start: number, end: number) => void = () => {},
  ) {
    this.#onProgress = onProgress;
    this.#parser = parser;
    this.#delimiter = delimiter;
    this.#jobRequest = parser.validator.registry.get('job_request')?.index ?? 0;
    this.#accepted = new Uint32Array(parser.validator.registry.types.length);
  }

  /** Validates every message of a batch. */
  validate(task: BatchTask): Verdict {
    this.#validateRanges(task, (bytes, start, end) => this.#parser.parse(bytes, start, end, this));
    return this.#takeVerdict();
  }

  /** Validates a batch by patterns alone; `undefined` when it has something that no pattern knows. */
  validateByPatterns(task: BatchTask): Verdict | undefined {
    const isDone = this.#validateRanges(task, (bytes, start, end) =>
      this.#parser.parseByPatterns(bytes, start, end, this),
    );
    return isDone ? this.#takeVerdict() : undefined;
  }

  onMessage(type: MessageType, value: object, start: number, end: number, line: number): void {
    const { name, index, direction } = type;
    if (direction === 'app') {
      const address = this.#addresses.push(this.#addressOf(type, value)) - 1;
      return this.#accept(index, RunKind.ADDRESSED, address, start, end);
    }
    if (direction !== 'crawler') {
      if (end - start > MAX_CONTROL_BYTES) {
        return this.onRejection(reject('MESSAGE_TOO_LARGE', name), start, end, line);
      }
      return this.#accept(index, RunKind.CONTROL, 0, start, end);
    }
    if (name === 'heartbeat') this.#activeJobs = activeJobsOf(value) ?? this.#activeJobs;
    const { low, high } = this.#parser.jobOf(value);
    const job = high === 0 ? 0 : this.#jobNumber(low, high);
    this.#accept(index, index === this.#jobRequest ? RunKind.REQUEST : RunKind.DELIMITED, job, start, end);
  }

  onMatches(matches: Matches, from: number, to: number): void {
    const { records, shift } = matches;
    this.#matched += to - from;
    const activeJobs = matches.takeActiveJobs();
    if (activeJobs !== NO_HEARTBEAT) this.#activeJobs = activeJobs;
    for (let at = from * MATCH.SIZE; at < to * MATCH.SIZE; at += MATCH.SIZE) {
      const start = (records[at] ?? 0) - shift;
      const end = (records[at + MATCH.END] ?? 0) - shift;
      const type = records[at + MATCH.TYPE] ?? 0;
      const jobHigh = records[at + MATCH.JOB_HIGH] ?? 0;
      const job = jobHigh === 0 ? 0 : this.#jobNumber(records[at + MATCH.JOB_LOW] ?? 0, jobHigh);
      this.#accept(type, type === this.#jobRequest ? RunKind.REQUEST : RunKind.DELIMITED, job, start, end);
    }
  }

  onSlowPath(start: number, end: number): void {
    const now = performance.now();
    this.#recordIfSlow(now);
    this.#reachedAt = now;
    this.#onProgress(this.#chunk, start, end);
  }

  #recordIfSlow(now: number): void {
    if (this.#reachedAt === 0 || now - this.#reachedAt <= SLOW_MESSAGE) return;
    if (this.#slowRanges.at(-1) !== this.#chunk) this.#slowRanges.push(this.#chunk);
  }

  get wantsIssues(): boolean {
    return this.#rejected < this.#maxDetailedRejections;
  }

  onMismatch({ name }: MessageType): void {
    this.#mismatches.push(name);
  }

  /** @param kind what the message is when its delimiter follows it */
  #accept(typeIndex: number, kind: number, job: number, start: number, end: number): void {
    this.#accepted[typeIndex] = (this.#accepted[typeIndex] ?? 0) + 1;
    const isDelimited = end < this.#rangeEnd && this.#bytes[end] === this.#delimiter;
    this.#extendRun(kind === RunKind.DELIMITED && !isDelimited ? RunKind.UNDELIMITED : kind, start, end);
    this.#frames.push4(start, end, typeIndex, job);
    this.#frame++;
  }

  onRejection({ code, type, issues }: Rejection, start: number, end: number, line: number): void {
    this.#extendRun(RunKind.REJECTED, start, end);
    this.#frames.push4(start, end, line, this.#rejectionIndex(code, type, issues));
    this.#frame++;
    this.#rejected++;
  }

  #rejectionIndex(code: WireErrorCode, type: string | undefined, issues: readonly Issue[]): number {
    if (issues.length > 0) return this.#rejections.push({ code, type, issues }) - 1;
    const key = `${code} ${type}`;
    let index = this.#sharedRejections.get(key);
    if (index === undefined) {
      index = this.#rejections.push({ code, type, issues }) - 1;
      this.#sharedRejections.set(key, index);
    }
    return index;
  }

  /** @param parse gives the delimiters of a range; `undefined` ends it, and the answer is false */
  #validateRanges(
    { arenas, ranges, maxDetailedRejections }: BatchTask,
    parse: (bytes: Buffer, start: number, end: number) => number | undefined,
  ): boolean {
    this.#reset();
    this.#maxDetailedRejections = maxDetailedRejections;
    const buffers = arenas.map((memory) => Buffer.from(memory));
    for (let at = 0; at < ranges.length; at += RANGE_FIELDS) {
      const end = ranges[at + 2] ?? 0;
      this.#bytes = buffers[ranges[at] ?? 0] as Buffer;
      this.#rangeEnd = end;
      this.#activeJobs = NO_HEARTBEAT;
      this.#rejected = 0;
      this.#reachedAt = 0;
      this.#onProgress(this.#chunk, 0, 0);
      const lines = parse(this.#bytes, ranges[at + 1] ?? 0, end);
      if (lines === undefined) return false;
      if (this.#reachedAt !== 0) this.#recordIfSlow(performance.now());
      this.#closeRun();
      this.#firstJob = this.#jobs.length / JOB.SIZE;
      this.#chunks.push4(this.#runs.length / RUN.SIZE, this.#firstJob, lines, this.#activeJobs);
      this.#chunk++;
    }
    return true;
  }

  /** Delimited messages that touch, undelimited and rejected ones share a run; all others stand alone. */
  #extendRun(kind: number, start: number, end: number): void {
    const joins =
      kind === this.#runKind &&
      (kind === RunKind.UNDELIMITED ||
        kind === RunKind.REJECTED ||
        (kind === RunKind.DELIMITED && start === this.#lastEnd + 1));
    if (!joins) {
      this.#closeRun();
      this.#runKind = kind;
      this.#runFirst = this.#frame;
    }
    this.#lastEnd = end;
  }

  #closeRun(): void {
    if (this.#runKind === -1) return;
    this.#runs.push3(this.#runFirst, this.#frame - this.#runFirst, this.#runKind);
    this.#runKind = -1;
  }

  /** The row of a job in {@link Verdict.jobs} among the present chunk's, plus one. */
  #jobNumber(low: number, high: number): number {
    const place = low % JOB_ROWS;
    const row = this.#jobRows[place] ?? 0;
    if (
      row >= this.#firstJob &&
      this.#jobs.at(row * JOB.SIZE) === low &&
      this.#jobs.at(row * JOB.SIZE + 1) === high
    ) {
      return row + 1;
    }
    const count = this.#jobs.push2(low, high) / JOB.SIZE;
    this.#jobRows[place] = count - 1;
    return count;
  }

  #addressOf({ name }: MessageType, message: AppEnvelope): MessageAddress {
    const { to, data } = message;
    // An assignment is about the job that it assigns, whatever its envelope says.
    const assigned = name === 'job_assignment' ? data?.job_id : undefined;
    const job = this.#parser.jobOf(typeof assigned === 'string' ? { jobId: assigned } : message);
    return {
      to: typeof to === 'string' ? to.slice(0, MAX_NAME_LENGTH + 1) : undefined,
      job: job === NO_JOB ? undefined : job,
    };
  }

  /** One literal, the same fields in the same order: an object put together by spreading costs V8 a hidden class each time. */
  #takeVerdict(): Verdict {
    const { layoutsLearned = 0, layoutsDropped = 0 } = this.#parser.patterns ?? {};
    const take = this.#frame <= FEW_MESSAGES ? plainNumbers : this.#copier();
    const verdict: Verdict = {
      chunks: take(this.#chunks.values),
      runs: take(this.#runs.values),
      frames: take(this.#frames.values),
      jobs: take(this.#jobs.values),
      accepted: take(this.#accepted),
      rejections: this.#rejections,
      addresses: this.#addresses,
      matched: this.#matched,
      mismatches: this.#mismatches,
      slowRanges: this.#slowRanges,
      layoutsLearned: layoutsLearned - this.#layoutsLearned,
      layoutsDropped: layoutsDropped - this.#layoutsDropped,
    };
    this.#layoutsLearned = layoutsLearned;
    this.#layoutsDropped = layoutsDropped;
    this.#bytes = NO_BYTES;
    return verdict;
  }

  /** Copies all numbers into one piece of memory, which can move to another thread as a whole. */
  #copier(): (values: Uint32Array) => Uint32Array {
    const lists = [this.#chunks, this.#runs, this.#frames, this.#jobs];
    const numbers = new Uint32Array(lists.reduce((sum, list) => sum + list.length, this.#accepted.length));
    let at = 0;
    return (values) => {
      numbers.set(values, at);
      at += values.length;
      return numbers.subarray(at - values.length, at);
    };
  }

  /** Before a batch: the one before may have ended in the middle. */
  #reset(): void {
    for (const list of [this.#chunks, this.#runs, this.#frames, this.#jobs]) list.clear();
    this.#firstJob = 0;
    this.#rejections = [];
    this.#sharedRejections.clear();
    this.#addresses = [];
    this.#matched = 0;
    this.#mismatches = [];
    this.#slowRanges = [];
    this.#accepted.fill(0);
    this.#chunk = 0;
    this.#frame = 0;
    this.#runKind = -1;
  }
}

/** What a heartbeat says of its crawler's work, as the patterns read it: a whole number, cut to what can be told. */
function activeJobsOf(heartbeat: { data?: { activeJobs?: unknown } }): number | undefined {
  const activeJobs = heartbeat.data?.activeJobs;
  if (typeof activeJobs !== 'number') return undefined;
  return Math.min(Math.max(0, Math.trunc(activeJobs)), MAX_ACTIVE_JOBS);
}

/** Longer names belong to nobody: no crawler and no connection has one. */
const MAX_NAME_LENGTH = 256;

/** The parts of an application's message that say whom it is for. */
interface AppEnvelope {
  readonly to?: unknown;
  readonly jobId?: unknown;
  readonly job_id?: unknown;
  readonly data?: { readonly job_id?: unknown };
}
