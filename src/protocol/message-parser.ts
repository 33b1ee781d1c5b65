// Bytes to checked messages: splits lines and undelimited objects, parses, validates, and pushes each
// message into a sink. Runs in the workers over a batch's ranges, and alone over any stream.

import { isUtf8 } from 'node:buffer';
import { type JobKey, type JobSeed, jobKey, NO_JOB, NO_SEED } from '../messages/job-key.js';
import { MATCH } from '../pattern/memory-layout.js';
import type { Matches, PatternSet } from '../pattern/pattern-set.js';
import {
  CARRIAGE_RETURN_SLACK,
  FrameBoundary,
  type Framing,
  lastSeam,
  skipBlanks,
  trimBlanks,
  ValueScanner,
} from '../wire/framing.js';
import { type DecodedJson, decodeJson } from '../wire/safe-json.js';
import type { FrameSink } from './frame-sink.js';
import { MessageValidator, type Rejection, reject } from './message-validator.js';

export interface ParserOptions {
  /** Default: a {@link MessageValidator} of the protocol's own messages. */
  validator?: MessageValidator;
  /** Default `auto`. */
  framing?: Framing;
  /** The byte that ends a message; default 10, `\n`. */
  delimiter?: number;
  /** Tried before a message is parsed, where the sink has `onMatches`; default none. */
  patterns?: PatternSet | undefined;
  /** Parse what a pattern has matched too, and compare; default false. */
  verify?: boolean;
  /** @internal Of the job ids' keys, the same as that of the patterns. */
  jobSeed?: JobSeed;
}

export interface ParsedMessage {
  readonly ok: true;
  readonly type: string;
  /** As `JSON.parse` gives it: defaults are not filled in. */
  readonly message: { readonly type: string; readonly [key: string]: unknown };
}

const NEWLINE = 0x0a;
/** Patterns are given this many bytes at a time. */
const PIECE = 64 * 1024;
const CARRIAGE_RETURN = 0x0d;
/** A line is tried as one message first. One this long, in bytes, may well be many: it is split first. */
const LONG_LINE = 16 * 1024;

export class MessageParser {
  readonly validator: MessageValidator;
  readonly #framing: Framing;
  readonly #delimiter: number;
  readonly #scanner = new ValueScanner();
  readonly #boundary: FrameBoundary;
  /** What is tried before a message is parsed. */
  readonly patterns: PatternSet | undefined;
  readonly #verify: boolean;
  readonly #jobSeed: JobSeed;
  #partial: Buffer = Buffer.alloc(0);
  #skipping = false;
  /** Delimiters before the line that is being parsed. */
  #line = 0;
  /** Where that line ends, once somebody has looked. */
  #lineEnd = -1;

  constructor(options: ParserOptions = {}) {
    this.validator = options.validator ?? new MessageValidator();
    this.#framing = options.framing ?? 'auto';
    this.#delimiter = options.delimiter ?? NEWLINE;
    this.#boundary = new FrameBoundary(this.#framing, this.#delimiter);
    this.patterns = options.patterns;
    this.#verify = options.verify ?? false;
    this.#jobSeed = options.jobSeed ?? NO_SEED;
  }

  /**
   * Streaming use: takes the next bytes of a stream, and answers with the messages that are now whole,
   * good and bad, in order. A partial message is kept until its end arrives; one that grows over
   * `maxMessageSize` is rejected, and skipped up to its end.
   */
  push(bytes: Buffer): (ParsedMessage | Rejection)[] {
    let fresh = bytes;
    if (this.#skipping) {
      const end = this.#boundary.first(bytes, 0, bytes.length);
      if (end === -1) return [];
      this.#skipping = false;
      fresh = bytes.subarray(end);
    }
    const from = this.#partial.length;
    const all = from === 0 ? fresh : Buffer.concat([this.#partial, fresh]);
    const end = Math.max(0, this.#boundary.last(all, from, all.length));
    const results = this.#collect(all, end);
    this.#partial = Buffer.from(all.subarray(end));
    if (this.#partial.length > this.validator.maxMessageSize + CARRIAGE_RETURN_SLACK) {
      this.#skipping = true;
      this.#partial = Buffer.alloc(0);
      results.push(this.validator.count(reject('MESSAGE_TOO_LARGE')));
    }
    return results;
  }

  /** Streaming use: the stream has ended; what is left is its last message. The next one begins anew. */
  end(): (ParsedMessage | Rejection)[] {
    const rest = this.#partial;
    this.#partial = Buffer.alloc(0);
    this.#skipping = false;
    this.#boundary.reset();
    return this.#collect(rest, rest.length);
  }

  #collect(bytes: Buffer, end: number): (ParsedMessage | Rejection)[] {
    const results: (ParsedMessage | Rejection)[] = [];
    this.parse(bytes, 0, end, {
      onMessage(type, value) {
        results.push({ ok: true, type: type.name, message: value as ParsedMessage['message'] });
      },
      onRejection(rejection) {
        results.push(rejection);
      },
    });
    return results;
  }

  /**
   * Batch use: checks the whole messages in `bytes[from, to)`, in order. Keeps no state between calls.
   * @returns how many delimiters there are
   */
  parse(bytes: Buffer, from: number, to: number, sink: FrameSink): number {
    this.#line = 0;
    if (this.patterns !== undefined && sink.onMatches !== undefined) {
      this.#parseWithPatterns(bytes, from, to, this.patterns, false, sink);
    } else this.#parseLines(bytes, from, to, isUtf8(bytes.subarray(from, to)), sink);
    return this.#line;
  }

  /**
   * Batch use, where nothing may take long: like {@link parse}, by patterns only. Needs them.
   * @returns how many delimiters there are; `undefined` when there is something that no pattern knows: then
   *   what the sink was told counts for nothing
   */
  parseByPatterns(bytes: Buffer, from: number, to: number, sink: FrameSink): number | undefined {
    this.#line = 0;
    if (this.patterns === undefined) return undefined;
    return this.#parseWithPatterns(bytes, from, to, this.patterns, true, sink) ? this.#line : undefined;
  }

  /**
   * Tries the patterns on pieces of the range; what they do not know takes the slow path, or, with
   * `patternsOnly`, ends it: then the answer is false.
   */
  #parseWithPatterns(
    bytes: Buffer,
    from: number,
    to: number,
    patterns: PatternSet,
    patternsOnly: boolean,
    sink: FrameSink,
  ): boolean {
    for (let base = from; base < to; ) {
      const pieceEnd = this.#pieceEnd(bytes, base, to);
      if (!patterns.load(bytes, base, pieceEnd)) {
        if (patternsOnly) return false;
        this.#parseLines(bytes, base, pieceEnd, false, sink);
        base = pieceEnd;
        continue;
      }
      this.#lineEnd = -1;
      while (base < pieceEnd) {
        const matches = patterns.scan(base);
        base = this.#verify ? this.#reportVerified(bytes, matches, sink) : this.#report(matches, sink);
        if (base === pieceEnd || (base === matches.end && matches.isInterrupted)) continue;
        if (patternsOnly) return false;
        base = this.#parseNext(bytes, base, pieceEnd, sink);
        if (base < pieceEnd && bytes[base] === this.#delimiter) {
          this.#line++;
          base++;
        }
      }
    }
    return true;
  }

  /** A piece fits the cache and ends where a message does; it is longer only where no end is known. */
  #pieceEnd(bytes: Buffer, from: number, to: number): number {
    const limit = from + PIECE;
    if (to <= limit) return to;
    const newline = bytes.subarray(from, limit).lastIndexOf(this.#delimiter);
    if (newline !== -1) return from + newline + 1;
    const seam = this.#framing === 'auto' ? lastSeam(bytes, from, limit) : -1;
    if (seam !== -1) return seam;
    const next = bytes.subarray(limit, to).indexOf(this.#delimiter);
    return next === -1 ? to : limit + next + 1;
  }

  /** The slow path for every line of the range. */
  #parseLines(bytes: Buffer, from: number, to: number, allUtf8: boolean, sink: FrameSink): void {
    const range = bytes.subarray(from, to);
    for (let start = from; start < to; this.#line++) {
      const found = range.indexOf(this.#delimiter, start - from);
      const end = found === -1 ? to : from + found;
      this.#parseLine(bytes, start, end, allUtf8, sink);
      if (found === -1) break;
      start = end + 1;
    }
  }

  /** Passes matches on. Returns where they end. */
  #report(matches: Matches, sink: FrameSink): number {
    const { records, count } = matches;
    if (count > 0) {
      for (let at = MATCH.TYPE; at < records.length; at += MATCH.SIZE) {
        this.validator.countAccepted(records[at] ?? 0);
      }
      sink.onMatches?.(matches, 0, count);
    }
    this.#line += matches.lines;
    return matches.end;
  }

  /** Passes matches on up to one with which the slow path does not agree. Returns where that begins. */
  #reportVerified(bytes: Buffer, matches: Matches, sink: FrameSink): number {
    const { records, count, shift } = matches;
    for (let index = 0; index < count; index++) {
      const at = index * MATCH.SIZE;
      const [start, end] = [(records[at] ?? 0) - shift, (records[at + MATCH.END] ?? 0) - shift];
      const next = index + 1 < count ? (records[at + MATCH.SIZE] ?? 0) - shift : matches.end;
      const typeIndex = records[at + MATCH.TYPE] ?? 0;
      const job = { low: records[at + MATCH.JOB_LOW] ?? 0, high: records[at + MATCH.JOB_HIGH] ?? 0 };
      if (!this.#agrees(bytes.subarray(start, end), typeIndex, job)) {
        const type = this.validator.registry.types[typeIndex];
        if (type !== undefined) sink.onMismatch?.(type);
        return start;
      }
      this.validator.countAccepted(typeIndex);
      sink.onMatches?.(matches, index, index + 1);
      if (next > end) this.#line++;
    }
    return matches.end;
  }

  #agrees(message: Buffer, typeIndex: number, { low, high }: JobKey): boolean {
    const frame = decodeJson(message, 0, message.length, this.validator.maxDepth);
    if (!frame.ok) return false;
    const result = this.validator.check(frame.value);
    if (!result.ok || result.type.index !== typeIndex) return false;
    const job = this.jobOf(frame.value as object);
    return job.low === low && job.high === high;
  }

  /** @internal The key of the job that a message names; `NO_JOB` for none. */
  jobOf(message: { jobId?: unknown; job_id?: unknown }): JobKey {
    const jobId = message.jobId ?? message.job_id;
    return typeof jobId === 'string' ? jobKey(jobId, this.#jobSeed) : NO_JOB;
  }

  /** The slow path for what comes next: a line, or one object of a long line. Returns where it ends. */
  #parseNext(bytes: Buffer, from: number, to: number, sink: FrameSink): number {
    const lineEnd = this.#nextDelimiter(bytes, from, to);
    if (this.#framing === 'ndjson' || lineEnd - from <= LONG_LINE) {
      this.#parseLine(bytes, from, lineEnd, true, sink);
      return lineEnd;
    }
    this.#scanner.reset();
    const end = this.#scanner.scan(bytes, from, lineEnd);
    const next = end === -1 ? lineEnd : end;
    this.#parseFrame(bytes, from, next, true, sink);
    return next;
  }

  /** Where the line that `from` is in ends. Looked for once a line: it may hold thousands of messages. */
  #nextDelimiter(bytes: Buffer, from: number, to: number): number {
    if (this.#lineEnd < from) {
      const found = bytes.subarray(from, to).indexOf(this.#delimiter);
      this.#lineEnd = found === -1 ? to : from + found;
    }
    return this.#lineEnd;
  }

  /** A line is one message, or, with `auto` framing, as many as there are objects on it. */
  #parseLine(bytes: Buffer, from: number, to: number, isUtf8Line: boolean, sink: FrameSink): void {
    const start = skipBlanks(bytes, from, to);
    const end = trimBlanks(bytes, start, to);
    if (start === end) return;
    if (this.#framing === 'ndjson') {
      const size = to - from - (bytes[to - 1] === CARRIAGE_RETURN ? 1 : 0);
      sink.onSlowPath?.(start, end);
      return this.#take(bytes, start, end, this.#decode(bytes, start, end, size, isUtf8Line), sink);
    }
    if (end - start > LONG_LINE) return this.#splitLine(bytes, from, end, isUtf8Line, undefined, sink);
    sink.onSlowPath?.(start, end);
    const wholeLine = this.#decode(bytes, start, end, end - from, isUtf8Line);
    if (wholeLine.ok) return this.#take(bytes, start, end, wholeLine, sink);
    this.#splitLine(bytes, from, end, isUtf8Line, wholeLine, sink);
  }

  /** @param wholeLine what decoding the line as one message has given, where that was tried */
  #splitLine(
    bytes: Buffer,
    from: number,
    to: number,
    isUtf8Line: boolean,
    wholeLine: DecodedFrame | undefined,
    sink: FrameSink,
  ): void {
    this.#scanner.reset();
    for (let at = from; at < to; ) {
      const found = this.#scanner.scan(bytes, at, to);
      const next = found === -1 ? to : found;
      const isWholeLine = at === from && next === to;
      this.#parseFrame(bytes, at, next, isUtf8Line, sink, isWholeLine ? wholeLine : undefined);
      at = next;
    }
  }

  /** The one message in `bytes[from, to)`; nothing, where all is blank. */
  #parseFrame(
    bytes: Buffer,
    from: number,
    to: number,
    isUtf8Frame: boolean,
    sink: FrameSink,
    decoded?: DecodedFrame,
  ): void {
    const start = skipBlanks(bytes, from, to);
    const end = trimBlanks(bytes, start, to);
    if (start === end) return;
    sink.onSlowPath?.(start, end);
    const frame = decoded ?? this.#decode(bytes, start, end, end - from, isUtf8Frame);
    this.#take(bytes, start, end, frame, sink);
  }

  /** @param size of the message with the blanks before it, as the limit counts it */
  #decode(bytes: Buffer, start: number, end: number, size: number, isUtf8Frame: boolean): DecodedFrame {
    if (size > this.validator.maxMessageSize) return { ok: false, code: 'MESSAGE_TOO_LARGE' };
    if (!isUtf8Frame && !isUtf8(bytes.subarray(start, end))) return { ok: false, code: 'INVALID_UTF8' };
    return decodeJson(bytes, start, end, this.validator.maxDepth);
  }

  #take(bytes: Buffer, start: number, end: number, frame: DecodedFrame, sink: FrameSink): void {
    if (!frame.ok) {
      sink.onRejection(this.validator.count(reject(frame.code)), start, end, this.#line);
      return;
    }
    const result = this.validator.validate(frame.value, sink.wantsIssues);
    if (!result.ok) {
      sink.onRejection(result, start, end, this.#line);
      return;
    }
    // What the validator has accepted is an object.
    const message = frame.value as object;
    sink.onMessage(result.type, message, start, end, this.#line);
    this.patterns?.learn(result.type, message, bytes, start, end);
  }
}

/** The job that a message is about: `jobId`, or its older spelling. */
type DecodedFrame = DecodedJson | { readonly ok: false; readonly code: 'MESSAGE_TOO_LARGE' | 'INVALID_UTF8' };
