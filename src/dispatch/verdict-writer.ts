// Writes a verdict, range by range and message by message. Keeps its memory from one verdict to the next.

import type { WireErrorCode } from '../errors.js';
import type { Issue } from '../messages/issues.js';
import { NumberList, plainNumbers } from './number-list.js';
import { JOB, type MessageAddress, type RejectionReason, RUN, RunKind, type Verdict } from './verdict.js';

/** Places for jobs that were met lately. Where two share one, a range may have several rows of a job. */
const JOB_ROWS = 4096;
/** Messages of a batch up to which its numbers go as plain arrays. */
const FEW_MESSAGES = 16;
const NO_RUN = -1;

export class VerdictWriter {
  readonly #chunks = new NumberList();
  readonly #runs = new NumberList();
  readonly #frames = new NumberList();
  readonly #jobs = new NumberList();
  /** By the lowest bits of a job's key: the row that it had last. It counts only if the job is still there. */
  readonly #jobRows = new Uint32Array(JOB_ROWS);
  readonly #accepted: Uint32Array;
  /** Rejections without issues, by code and type: their index. */
  readonly #sharedRejections = new Map<string, number>();
  #rejections: RejectionReason[] = [];
  #addresses: MessageAddress[] = [];
  #mismatches: string[] = [];
  #slowRanges: number[] = [];
  #matched = 0;
  /** Index of the present range. */
  #range = 0;
  /** The present range's first job. */
  #firstJob = 0;
  #frame = 0;
  #runKind = NO_RUN;
  #runFirst = 0;
  #lastEnd = 0;

  /** @param types how many message types there are */
  constructor(types: number) {
    this.#accepted = new Uint32Array(types);
  }

  /** Index of the present range. */
  get range(): number {
    return this.#range;
  }

  /** Starts over: the verdict before may not have been finished. */
  reset(): void {
    for (const list of [this.#chunks, this.#runs, this.#frames, this.#jobs]) list.clear();
    this.#firstJob = 0;
    this.#rejections = [];
    this.#sharedRejections.clear();
    this.#addresses = [];
    this.#matched = 0;
    this.#mismatches = [];
    this.#slowRanges = [];
    this.#accepted.fill(0);
    this.#range = 0;
    this.#frame = 0;
    this.#runKind = NO_RUN;
  }

  /**
   * Adds an accepted message.
   * @param kind one of `RunKind`
   * @param payload row of its job plus 1 or 0; index of the address of an `ADDRESSED` message
   */
  accept(typeIndex: number, kind: number, payload: number, start: number, end: number): void {
    this.#accepted[typeIndex] = (this.#accepted[typeIndex] ?? 0) + 1;
    this.#extendRun(kind, start, end);
    this.#frames.push4(start, end, typeIndex, payload);
    this.#frame++;
  }

  /** Adds a rejected message. @param line delimiters before it in its range */
  reject({ code, type, issues }: RejectionReason, start: number, end: number, line: number): void {
    this.#extendRun(RunKind.REJECTED, start, end);
    this.#frames.push4(start, end, line, this.#rejectionIndex(code, type, issues));
    this.#frame++;
  }

  /** Adds an address. @returns its index */
  addAddress(address: MessageAddress): number {
    return this.#addresses.push(address) - 1;
  }

  /** The row of a job among the present range's, plus 1. Adds it if it is not there. */
  jobRow(low: number, high: number): number {
    const place = low % JOB_ROWS;
    const row = this.#jobRows[place] ?? 0;
    if (
      row >= this.#firstJob &&
      this.#jobs.at(row * JOB.SIZE + JOB.LOW) === low &&
      this.#jobs.at(row * JOB.SIZE + JOB.HIGH) === high
    ) {
      return row + 1;
    }
    const count = this.#jobs.push2(low, high) / JOB.SIZE;
    this.#jobRows[place] = count - 1;
    return count;
  }

  /** Counts messages that patterns matched. */
  addMatched(count: number): void {
    this.#matched += count;
  }

  /** A pattern and the slow path disagree about a message of this type. */
  addMismatch(typeName: string): void {
    this.#mismatches.push(typeName);
  }

  /** The present range has a message that took long. */
  markSlow(): void {
    if (this.#slowRanges.at(-1) !== this.#range) this.#slowRanges.push(this.#range);
  }

  /**
   * Ends the present range.
   * @param lines its delimiters
   * @param activeJobs of its last heartbeat, or `NO_HEARTBEAT`
   */
  endRange(lines: number, activeJobs: number): void {
    this.#closeRun();
    this.#firstJob = this.#jobs.length / JOB.SIZE;
    this.#chunks.push4(this.#runs.length / RUN.SIZE, this.#firstJob, lines, activeJobs);
    this.#range++;
  }

  /** One literal, the same fields in the same order: an object put together by spreading costs V8 a hidden class each time. */
  finish(layoutsLearned: number, layoutsDropped: number): Verdict {
    const take = this.#frame <= FEW_MESSAGES ? plainNumbers : this.#copier();
    return {
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
      layoutsLearned,
      layoutsDropped,
    };
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
    if (this.#runKind === NO_RUN) return;
    this.#runs.push3(this.#runFirst, this.#frame - this.#runFirst, this.#runKind);
    this.#runKind = NO_RUN;
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
}
