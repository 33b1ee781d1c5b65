// Writes a verdict, range by range and message by message. Reuses its memory for the next verdict.

import { NumberList, plainNumbers } from '../memory/number-list.js';
import type { JobKey } from '../messages/job-key.js';
import type { Matches } from '../pattern/matches.js';
import type { VerdictTables } from '../pattern/verdict-tables.js';
import {
  type DriftFact,
  type MessageAddress,
  NO_VALUES,
  NOT_A_SPAN,
  type RangeDrift,
  type RejectionReason,
  RunKind,
  SPAN,
  type Verdict,
} from './verdict.js';

/** For up to this many messages, a verdict's numbers are plain arrays. */
const FEW_MESSAGES = 16;
/** Maximum number of differences in a verdict: the main thread records each of them. */
const MAX_DRIFT = 1024;

export class VerdictWriter {
  readonly #tables: VerdictTables;
  readonly #ranges = new NumberList();
  readonly #spans = new NumberList();
  /** Numbers per message in `#spans`. */
  readonly #spanWords: number;
  #values: (readonly unknown[])[] = [];
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
  /** Whether the next message breaks the contract and is accepted anyway. */
  #isReported = false;

  /**
   * @param tables those of the patterns, if there are patterns
   * @param maxSpans number of spans of each message. Default: 0.
   */
  constructor(tables: VerdictTables, maxSpans = 0) {
    this.#tables = tables;
    this.#spanWords = maxSpans * SPAN.SIZE;
  }

  /** Index of the current range. */
  get range(): number {
    return this.#range;
  }

  /** Starts a new verdict. The previous one may be unfinished. */
  reset(): void {
    this.#tables.reset();
    this.#ranges.clear();
    this.#spans.clear();
    this.#values = [];
    this.#rejections = [];
    this.#sharedRejections.clear();
    this.#addresses = [];
    this.#matched = 0;
    this.#mismatches = [];
    this.#slowRanges = [];
    this.#drift = [];
    this.#range = 0;
    this.#isReported = false;
  }

  /**
   * Adds an accepted message of a crawler. If messages have spans, its spans or values must be added next.
   * @param kind one of `RunKind`
   * @param job the key of its job; `NO_JOB` if it has none
   */
  accept(typeIndex: number, kind: number, job: JobKey, start: number, end: number): void {
    this.#tables.addOfCrawler(typeIndex, kind, job, start, end);
    this.#countAccepted(typeIndex);
  }

  /**
   * Adds an accepted message of another peer, in the same way.
   * @param payload the index of its address, if it has one
   */
  acceptOther(typeIndex: number, kind: number, payload: number, start: number, end: number): void {
    this.#tables.add(kind, start, end, typeIndex, payload);
    this.#countAccepted(typeIndex);
  }

  #countAccepted(typeIndex: number): void {
    this.#tables.countAccepted(typeIndex);
    if (!this.#isReported) return;
    this.#isReported = false;
    this.#tables.closeRun();
  }

  /** Adds the messages that the latest scan has matched, with their spans. */
  addMatches(matches: Matches): void {
    const { count } = matches;
    this.#tables.addScan();
    this.#matched += count;
    const words = this.#spanWords;
    if (words === 0) return;
    const row = this.#spans.extend(words * count);
    for (let index = 0; index < count; index++)
      for (let word = 0; word < words; word++)
        this.#spans.set(row + index * words + word, matches.spanWord(index, word));
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
    this.#tables.add(kind, start, end, line, this.#rejectionIndex(reason));
    this.addValues(undefined);
  }

  /** Adds the fields of the message that was added last; `undefined` if they are not delivered. */
  addValues(values: readonly unknown[] | undefined): void {
    if (this.#spanWords === 0) return;
    const row = this.#spans.extend(this.#spanWords);
    this.#spans.set(row + SPAN.START, NOT_A_SPAN);
    this.#spans.set(row + SPAN.END, values === undefined ? NO_VALUES : this.#values.push(values) - 1);
  }

  /** Adds a difference between a message of the current range and the contract, up to {@link MAX_DRIFT}. */
  addDrift({ kind, messageType, path, value }: DriftFact): void {
    if (this.#drift.length < MAX_DRIFT)
      this.#drift.push({ range: this.#range, kind, messageType, path, value });
  }

  /** Adds an address. @returns its index */
  addAddress(address: MessageAddress): number {
    return this.#addresses.push(address) - 1;
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
   * @param checksum of its bytes
   */
  endRange(lines: number, activeJobs: number, checksum: number): void {
    this.#tables.closeRun();
    this.#ranges.push4(this.#tables.runCount, lines, activeJobs, checksum);
    this.#range++;
  }

  /** Builds the verdict with one object literal: with object spread, V8 would create a new hidden class each time. */
  finish(layoutsLearned: number, layoutsEvicted: number, duration: number): Verdict {
    const { count, runs, frames, jobs, accepted } = this.#tables;
    const ranges = this.#ranges.values;
    const spans = this.#spans.values;
    const take = count <= FEW_MESSAGES ? plainNumbers : copier([ranges, runs, frames, jobs, spans, accepted]);
    return {
      ranges: take(ranges),
      runs: take(runs),
      frames: take(frames),
      jobs: take(jobs),
      spans: take(spans),
      values: this.#values,
      accepted: take(accepted),
      rejections: this.#rejections,
      addresses: this.#addresses,
      matched: this.#matched,
      mismatches: this.#mismatches,
      drift: this.#drift,
      slowRanges: this.#slowRanges,
      layoutsLearned,
      layoutsEvicted,
      duration,
    };
  }

  #rejectionIndex({ code, type, issues, offset, unknownType }: RejectionReason): number {
    const reason = { code, type, issues, offset, unknownType };
    if (issues.length > 0) return this.#rejections.push(reason) - 1;
    const key = JSON.stringify([code, unknownType, type, offset]);
    let index = this.#sharedRejections.get(key);
    if (index === undefined) {
      index = this.#rejections.push(reason) - 1;
      this.#sharedRejections.set(key, index);
    }
    return index;
  }
}

/** Copies all numbers, list by list, into one buffer, which can be transferred to another thread as a whole. */
function copier(lists: readonly Uint32Array[]): (values: Uint32Array) => Uint32Array {
  const numbers = new Uint32Array(lists.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  return (values) => {
    numbers.set(values, at);
    at += values.length;
    return numbers.subarray(at - values.length, at);
  };
}
