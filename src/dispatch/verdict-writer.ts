// Writes a verdict, range by range and message by message. Reuses its memory for the next verdict.

import type { Matches } from '../pattern/matches.js';
import { NumberList, plainNumbers } from './number-list.js';
import {
  type DriftFact,
  JOB,
  type MessageAddress,
  NO_VALUES,
  NOT_A_SPAN,
  type RangeDrift,
  type RejectionReason,
  RUN,
  RunKind,
  SPAN,
  type Verdict,
} from './verdict.js';

/** Number of hash slots for recent jobs. If two jobs share a slot, a range may have several rows for one job. */
const JOB_SLOTS = 4096;
/** For up to this many messages, a verdict's numbers are plain arrays. */
const FEW_MESSAGES = 16;
const NO_RUN = -1;

export class VerdictWriter {
  readonly #chunks = new NumberList();
  readonly #runs = new NumberList();
  readonly #frames = new NumberList();
  readonly #jobs = new NumberList();
  readonly #spans = new NumberList();
  /** Numbers per message in `#spans`. */
  readonly #spanWords: number;
  #values: (readonly unknown[])[] = [];
  /** By the lowest bits of a job's key: the job's latest row. Valid only if that row still contains the job. */
  readonly #jobRows = new Uint32Array(JOB_SLOTS);
  readonly #accepted: Uint32Array;
  /** Indexes of rejections without issues, by code, type and offset. */
  readonly #sharedRejections = new Map<string, number>();
  #rejections: RejectionReason[] = [];
  #addresses: MessageAddress[] = [];
  #mismatches: string[] = [];
  #slowRanges: number[] = [];
  #drift: RangeDrift[] = [];
  #matched = 0;
  /** Index of the current range. */
  #range = 0;
  /** The current range's first job. */
  #firstJob = 0;
  #frame = 0;
  #runKind = NO_RUN;
  /** Whether the next message breaks the contract and is accepted all the same. */
  #isReported = false;
  #runFirst = 0;
  #lastEnd = 0;

  /**
   * @param types number of message types
   * @param maxSpans number of spans of each message. Default: 0.
   */
  constructor(types: number, maxSpans = 0) {
    this.#accepted = new Uint32Array(types);
    this.#spanWords = maxSpans * SPAN.SIZE;
  }

  /** Index of the current range. */
  get range(): number {
    return this.#range;
  }

  /** Starts a new verdict. The previous one may be unfinished. */
  reset(): void {
    for (const list of this.#lists) list.clear();
    this.#values = [];
    this.#firstJob = 0;
    this.#rejections = [];
    this.#sharedRejections.clear();
    this.#addresses = [];
    this.#matched = 0;
    this.#mismatches = [];
    this.#slowRanges = [];
    this.#drift = [];
    this.#accepted.fill(0);
    this.#range = 0;
    this.#frame = 0;
    this.#runKind = NO_RUN;
    this.#isReported = false;
  }

  get #lists(): readonly NumberList[] {
    return [this.#chunks, this.#runs, this.#frames, this.#jobs, this.#spans];
  }

  /**
   * Adds an accepted message. If messages have spans, its spans or values must be added next.
   * @param kind one of `RunKind`
   * @param payload the row of its job plus 1, or 0 if it has none; for an `ADDRESSED` message, the index of its address
   */
  accept(typeIndex: number, kind: number, payload: number, start: number, end: number): void {
    this.#accepted[typeIndex] = (this.#accepted[typeIndex] ?? 0) + 1;
    this.#extendRun(kind, start, end);
    this.#frames.push4(start, end, typeIndex, payload);
    this.#frame++;
    if (!this.#isReported) return;
    this.#isReported = false;
    this.#closeRun();
  }

  /** Adds a rejected message. @param line number of delimiters before it in its range */
  reject(reason: RejectionReason, start: number, end: number, line: number): void {
    this.#addReason(RunKind.REJECTED, reason, start, end, line);
  }

  /**
   * Adds the breach of a message that is accepted next, which gets its own run.
   * @param line number of delimiters before it in its range
   */
  report(reason: RejectionReason, start: number, end: number, line: number): void {
    this.#addReason(RunKind.REPORTED, reason, start, end, line);
    this.#isReported = true;
  }

  #addReason(kind: number, reason: RejectionReason, start: number, end: number, line: number): void {
    this.#extendRun(kind, start, end);
    this.#frames.push4(start, end, line, this.#rejectionIndex(reason));
    this.#frame++;
    this.addValues(undefined);
  }

  /** Adds the spans of the message that was added last. @param index of its match */
  addSpans(matches: Matches, index: number): void {
    const words = this.#spanWords;
    if (words === 0) return;
    const row = this.#spans.extend(words);
    for (let word = 0; word < words; word++) this.#spans.set(row + word, matches.spanWord(index, word));
  }

  /** Adds the fields of the message that was added last; `undefined` if they are not delivered. */
  addValues(values: readonly unknown[] | undefined): void {
    if (this.#spanWords === 0) return;
    const row = this.#spans.extend(this.#spanWords);
    this.#spans.set(row + SPAN.START, NOT_A_SPAN);
    this.#spans.set(row + SPAN.END, values === undefined ? NO_VALUES : this.#values.push(values) - 1);
  }

  /** Adds a difference between a message of the current range and the contract. */
  addDrift({ kind, messageType, path, value }: DriftFact): void {
    this.#drift.push({ range: this.#range, kind, messageType, path, value });
  }

  /** Adds an address. @returns its index */
  addAddress(address: MessageAddress): number {
    return this.#addresses.push(address) - 1;
  }

  /** The row of a job plus 1, within the rows of the current range. Adds the job if necessary. */
  jobRow(low: number, high: number): number {
    const slot = low % JOB_SLOTS;
    const row = this.#jobRows[slot] ?? 0;
    if (
      row >= this.#firstJob &&
      this.#jobs.at(row * JOB.SIZE + JOB.LOW) === low &&
      this.#jobs.at(row * JOB.SIZE + JOB.HIGH) === high
    ) {
      return row + 1;
    }
    const count = this.#jobs.push2(low, high) / JOB.SIZE;
    this.#jobRows[slot] = count - 1;
    return count;
  }

  /** Counts messages that patterns matched. */
  addMatched(count: number): void {
    this.#matched += count;
  }

  /** Records that a pattern and the slow path disagree on a message of this type. */
  addMismatch(typeName: string): void {
    this.#mismatches.push(typeName);
  }

  /** Marks the current range as containing a slow message. */
  markSlow(): void {
    if (this.#slowRanges.at(-1) !== this.#range) this.#slowRanges.push(this.#range);
  }

  /**
   * Ends the current range.
   * @param lines number of its delimiters
   * @param activeJobs the value in its last heartbeat, or `NO_HEARTBEAT`
   */
  endRange(lines: number, activeJobs: number): void {
    this.#closeRun();
    this.#firstJob = this.#jobs.length / JOB.SIZE;
    this.#chunks.push3(this.#runs.length / RUN.SIZE, lines, activeJobs);
    this.#range++;
  }

  /** Builds the verdict with one object literal: with object spread, V8 would create a new hidden class each time. */
  finish(layoutsLearned: number, layoutsEvicted: number): Verdict {
    const take = this.#frame <= FEW_MESSAGES ? plainNumbers : this.#copier();
    return {
      chunks: take(this.#chunks.values),
      runs: take(this.#runs.values),
      frames: take(this.#frames.values),
      jobs: take(this.#jobs.values),
      spans: take(this.#spans.values),
      values: this.#values,
      accepted: take(this.#accepted),
      rejections: this.#rejections,
      addresses: this.#addresses,
      matched: this.#matched,
      mismatches: this.#mismatches,
      drift: this.#drift,
      slowRanges: this.#slowRanges,
      layoutsLearned,
      layoutsEvicted,
    };
  }

  /** Adjacent delimited messages, undelimited messages and rejected messages share a run; others get their own. */
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

  #rejectionIndex({ code, type, issues, offset, unknownType }: RejectionReason): number {
    const reason = { code, type, issues, offset, unknownType };
    if (issues.length > 0) return this.#rejections.push(reason) - 1;
    const key = `${code} ${unknownType ?? type} ${offset}`;
    let index = this.#sharedRejections.get(key);
    if (index === undefined) {
      index = this.#rejections.push(reason) - 1;
      this.#sharedRejections.set(key, index);
    }
    return index;
  }

  /** Copies all numbers into one buffer, which can be transferred to another thread as a whole. */
  #copier(): (values: Uint32Array) => Uint32Array {
    const numbers = new Uint32Array(
      this.#lists.reduce((sum, list) => sum + list.length, this.#accepted.length),
    );
    let at = 0;
    return (values) => {
      numbers.set(values, at);
      at += values.length;
      return numbers.subarray(at - values.length, at);
    };
  }
}
