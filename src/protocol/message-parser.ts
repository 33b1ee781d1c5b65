// Turns bytes into validated messages: splits lines and undelimited objects, parses and validates them, and passes each
// message to a sink. Used in the workers on a batch's ranges, and on its own for any stream.

import { isUtf8 } from 'node:buffer';
import { requireKnownOptions } from '../known-options.js';
import { type JobKey, type JobSeed, jobKey, NO_JOB, NO_SEED } from '../messages/job-key.js';
import type { Matches } from '../pattern/matches.js';
import type { PatternSet } from '../pattern/pattern-set.js';
import { errorOffset } from '../wire/error-offset.js';
import {
  FrameBoundary,
  type Framing,
  lastSeam,
  messageStart,
  SIZE_SLACK,
  skipMark,
  trimBlanks,
  ValueScanner,
} from '../wire/framing.js';
import { type DecodedJson, decodeJson } from '../wire/safe-json.js';
import type { FrameSink } from './frame-sink.js';
import { MessageValidator, type Rejection, reject } from './message-validator.js';

export interface ParserOptions {
  /** Default: a {@link MessageValidator} for the protocol's own messages. */
  validator?: MessageValidator;
  /** Default: `auto`. */
  framing?: Framing;
  /** The byte that ends a message. Default: 10, `\n`. */
  delimiter?: number;
  /** Tried before a message is parsed, if the sink has `onMatches`. If omitted, every message is parsed. */
  patterns?: PatternSet | undefined;
  /** Whether to also parse messages that a pattern has matched, and compare the results. Default: false. */
  verify?: boolean;
  /** @internal Seed of job keys; must be the seed of the patterns. */
  jobSeed?: JobSeed;
}

const OPTIONS: Readonly<Record<keyof ParserOptions, true>> = {
  validator: true,
  framing: true,
  delimiter: true,
  patterns: true,
  verify: true,
  jobSeed: true,
};

export interface ParsedMessage {
  readonly ok: true;
  readonly type: string;
  /** As returned by `JSON.parse`: defaults are not filled in. */
  readonly message: { readonly type: string; readonly [key: string]: unknown };
}

const NEWLINE = 0x0a;
const NO_BYTES = Buffer.alloc(0);
/** Number of bytes that the patterns scan at a time. */
const BLOCK_SIZE = 64 * 1024;
/** Longer blocks, in bytes, are reported to the sink before patterns read them. */
const LONG_BLOCK = 1024 * 1024;
/** If a message is longer, in bytes, a block may be up to twice as long. */
const SHORT_MESSAGE = 8 * 1024;
const CARRIAGE_RETURN = 0x0d;
/** How clients write a ping, and the size in bytes up to which a line with one is short. */
const PING_START = Buffer.from('{"type":"ping"');
const SHORT_PING = 128;
/** Short pings in one call that are taken although only patterns are allowed. */
const MAX_PINGS = 16;
/** Lines up to this many bytes are first parsed as one message. Longer ones, which may contain many, are split. */
const LONG_LINE = 16 * 1024;

export class MessageParser {
  readonly validator: MessageValidator;
  readonly #framing: Framing;
  readonly #delimiter: number;
  readonly #scanner = new ValueScanner();
  readonly #boundary: FrameBoundary;
  /** Tried before a message is parsed. */
  readonly patterns: PatternSet | undefined;
  readonly #verify: boolean;
  readonly #jobSeed: JobSeed;
  /** The partial message of a stream, with room for more. */
  #partial: Buffer = NO_BYTES;
  #partialLength = 0;
  #skipping = false;
  /** Number of delimiters before the current line. */
  #line = 0;
  /** Cached end of that line. */
  #lineEnd = -1;

  /** @throws SluiceError `INVALID_OPTION` if there is no such option */
  constructor(options: ParserOptions = {}) {
    requireKnownOptions(options, OPTIONS);
    this.validator = options.validator ?? new MessageValidator();
    this.#framing = options.framing ?? 'auto';
    this.#delimiter = options.delimiter ?? NEWLINE;
    this.#boundary = new FrameBoundary(this.#framing, this.#delimiter);
    this.patterns = options.patterns;
    this.#verify = options.verify ?? false;
    this.#jobSeed = options.jobSeed ?? NO_SEED;
  }

  /**
   * Streaming use: parses the next bytes of a stream. Returns the messages that are now complete, valid or rejected, in
   * order. A partial message is kept until its end arrives; one that exceeds `maxMessageSize` is rejected, and skipped
   * up to its end.
   */
  push(bytes: Buffer): (ParsedMessage | Rejection)[] {
    let fresh = bytes;
    if (this.#skipping) {
      const end = this.#boundary.first(bytes, 0, bytes.length);
      if (end === -1) return [];
      this.#skipping = false;
      fresh = bytes.subarray(end);
    }
    const from = this.#partialLength;
    const all = from === 0 ? fresh : this.#append(fresh);
    let end = Math.max(0, this.#boundary.last(all, from, all.length));
    if (this.#boundary.hasDeferred) end = Math.max(end, this.#boundary.scanDeferred(all, all.length));
    const results = this.#collect(all, end);
    if (end > 0 || from === 0) {
      this.#partialLength = 0;
      if (end < all.length) this.#append(all.subarray(end));
    }
    if (this.#partialLength > this.validator.maxMessageSize + SIZE_SLACK) {
      this.#skipping = true;
      this.#takePartial();
      results.push(this.validator.count(reject('MESSAGE_TOO_LARGE')));
    }
    return results;
  }

  /** Adds bytes to the partial message. Its memory doubles, so that each byte is copied a few times at most. */
  #append(bytes: Buffer): Buffer {
    const length = this.#partialLength + bytes.length;
    if (length > this.#partial.length) {
      const larger = Buffer.allocUnsafe(2 * length);
      larger.set(this.#partial.subarray(0, this.#partialLength));
      larger.set(bytes, this.#partialLength);
      this.#partial = larger;
    } else this.#partial.set(bytes, this.#partialLength);
    this.#partialLength = length;
    return this.#partial.subarray(0, length);
  }

  /** Returns the partial message, and forgets it. */
  #takePartial(): Buffer {
    const partial = this.#partial.subarray(0, this.#partialLength);
    this.#partial = NO_BYTES;
    this.#partialLength = 0;
    return partial;
  }

  /** Streaming use: parses the rest of the stream as its last message. Further bytes begin another stream. */
  end(): (ParsedMessage | Rejection)[] {
    const rest = this.#takePartial();
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
   * Batch use: parses the complete messages in `bytes[from, to)`, in order. Keeps no state between calls.
   * @returns the number of delimiters
   */
  parse(bytes: Buffer, from: number, to: number, sink: FrameSink): number {
    this.#line = 0;
    if (this.patterns !== undefined && sink.onMatches !== undefined) {
      this.#parseWithPatterns(bytes, from, to, this.patterns, false, sink);
    } else this.#parseLines(bytes, from, to, isUtf8(bytes.subarray(from, to)), sink);
    return this.#line;
  }

  /**
   * Batch use if nothing may take long: like {@link parse}, but only with patterns, except for a few short pings, whose
   * senders wait for the answer.
   * @returns the number of delimiters; `undefined` if another message matches no pattern, or there are no patterns: then
   *   the results that the sink has received must be discarded
   */
  parseByPatterns(bytes: Buffer, from: number, to: number, sink: FrameSink): number | undefined {
    this.#line = 0;
    if (this.patterns === undefined) return undefined;
    return this.#parseWithPatterns(bytes, from, to, this.patterns, true, sink) ? this.#line : undefined;
  }

  /**
   * Scans the range with the patterns, block by block. Messages that match no pattern take the slow path or, with
   * `patternsOnly`, end the scan, except for a few short pings; the result is then false.
   */
  #parseWithPatterns(
    bytes: Buffer,
    from: number,
    to: number,
    patterns: PatternSet,
    patternsOnly: boolean,
    sink: FrameSink,
  ): boolean {
    let pings = MAX_PINGS;
    for (let base = from; base < to; ) {
      const blockEnd = this.#blockEnd(bytes, base, to);
      if (blockEnd - base > LONG_BLOCK) sink.onLongBlock?.(base, blockEnd);
      if (!patterns.load(bytes, base, blockEnd)) {
        if (patternsOnly) return false;
        this.#parseLines(bytes, base, blockEnd, false, sink);
        base = blockEnd;
        continue;
      }
      this.#lineEnd = -1;
      /** Up to here, the slow path takes all messages, since patterns disagree with it. */
      let distrustedEnd = base;
      while (base < blockEnd) {
        if (base >= distrustedEnd) {
          const matches = this.#scan(patterns, base, patternsOnly ? undefined : sink);
          if (this.#verify && !this.#agreesWithAll(bytes, matches, sink)) {
            patterns.tables.discardScan();
            distrustedEnd = matches.scanEnd;
          } else {
            if (matches.count > 0) sink.onMatches?.(matches);
            this.#line += matches.lines;
            base = matches.scanEnd;
            if (base === blockEnd || matches.isInterrupted) continue;
          }
        }
        if (patternsOnly && pings-- === 0) return false;
        const end = patternsOnly
          ? this.#takeShortPing(bytes, base, blockEnd, sink)
          : this.#parseNext(bytes, base, blockEnd, sink);
        if (end === undefined) return false;
        base = end;
        if (base < blockEnd && bytes[base] === this.#delimiter) {
          this.#line++;
          base++;
        }
      }
    }
    return true;
  }

  /**
   * Takes the next line if it is a short ping, and nothing else: that takes some microseconds, and no user code.
   * @returns its end; `undefined` if it is none
   */
  #takeShortPing(bytes: Buffer, from: number, to: number, sink: FrameSink): number | undefined {
    const startEnd = Math.min(from + PING_START.length, to);
    if (bytes.compare(PING_START, 0, PING_START.length, from, startEnd) !== 0) return undefined;
    const lineEnd = this.#nextDelimiter(bytes, from, to);
    if (lineEnd - from > SHORT_PING) return undefined;
    const end = trimBlanks(bytes, from, lineEnd);
    const frame = decodeJson(bytes, from, end, this.validator.maxDepth);
    // The last of several types counts.
    if (!frame.ok || (frame.value as { readonly type: unknown }).type !== 'ping') return undefined;
    this.#deliver(bytes, from, end, frame, sink);
    return lineEnd;
  }

  /** End of the next block to scan: it fits the cache and ends with a message, unless no message ends early enough. */
  #blockEnd(bytes: Buffer, from: number, to: number): number {
    const limit = from + BLOCK_SIZE;
    if (to <= limit) return to;
    const near = limit - SHORT_MESSAGE;
    const nearest = bytes.subarray(near, limit).lastIndexOf(this.#delimiter);
    if (nearest !== -1) return near + nearest + 1;
    // A longer message: searching for its end takes less time than searching backwards for its start.
    const end = bytes.subarray(limit, Math.min(to, limit + BLOCK_SIZE)).indexOf(this.#delimiter);
    if (end !== -1) return limit + end + 1;
    const newline = bytes.subarray(from, near).lastIndexOf(this.#delimiter);
    if (newline !== -1) return from + newline + 1;
    const seam = this.#framing === 'auto' ? lastSeam(bytes, from, limit) : -1;
    if (seam !== -1) return seam;
    const next = bytes.subarray(limit, to).indexOf(this.#delimiter);
    return next === -1 ? to : limit + next + 1;
  }

  /** Slow path for every line of the range. */
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

  /** @param sink if omitted, no code of the schema is run */
  #scan(patterns: PatternSet, from: number, sink: FrameSink | undefined): Matches {
    // A scan that may be discarded must not extend a run.
    if (this.#verify) patterns.tables.closeRun();
    return patterns.scan(from, sink && ((start, end) => sink.onUserCode?.(start, end)));
  }

  /** Whether the slow path has the same result for all matches. Reports those for which it has another. */
  #agreesWithAll(bytes: Buffer, matches: Matches, sink: FrameSink): boolean {
    let agrees = true;
    for (let index = 0; index < matches.count; index++) {
      const typeIndex = matches.typeIndex(index);
      const [start, end] = [matches.start(index), matches.end(index)];
      const message = bytes.subarray(start, end);
      sink.onUserCode?.(start, end);
      const job = { low: matches.jobLow(index), high: matches.jobHigh(index) };
      if (this.#agrees(message, typeIndex, job)) continue;
      agrees = false;
      const type = this.validator.registry.types[typeIndex];
      if (type !== undefined) sink.onMismatch?.(type);
    }
    return agrees;
  }

  #agrees(message: Buffer, typeIndex: number, { low, high }: JobKey): boolean {
    const frame = decodeJson(message, 0, message.length, this.validator.maxDepth);
    if (!frame.ok) return false;
    const result = this.validator.check(frame.value);
    if (!result.ok || result.type.index !== typeIndex) return false;
    const job = this.jobOf(frame.value as object);
    return job.low === low && job.high === high;
  }

  /** @internal Key of the job that a message refers to; `NO_JOB` if there is none. */
  jobOf(message: { jobId?: unknown; job_id?: unknown }): JobKey {
    const jobId = message.jobId ?? message.job_id;
    return typeof jobId === 'string' ? jobKey(jobId, this.#jobSeed) : NO_JOB;
  }

  /** Slow path for the next line, or for the next object of a long line. Returns its end. */
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

  /** End of the line that contains `from`. Searched once per line, which may contain thousands of messages. */
  #nextDelimiter(bytes: Buffer, from: number, to: number): number {
    if (this.#lineEnd < from) {
      const found = bytes.subarray(from, to).indexOf(this.#delimiter);
      this.#lineEnd = found === -1 ? to : from + found;
    }
    return this.#lineEnd;
  }

  /** A line is one message or, with `auto` framing, one message per object. */
  #parseLine(bytes: Buffer, from: number, to: number, isUtf8Line: boolean, sink: FrameSink): void {
    const start = messageStart(bytes, from, to);
    const end = trimBlanks(bytes, start, to);
    if (start === end) return;
    if (this.#framing === 'ndjson') {
      const size = to - skipMark(bytes, from, to) - (bytes[to - 1] === CARRIAGE_RETURN ? 1 : 0);
      sink.onUserCode?.(start, end);
      return this.#deliver(bytes, start, end, this.#decode(bytes, start, end, size, isUtf8Line), sink);
    }
    if (end - start > LONG_LINE) return this.#splitLine(bytes, from, end, isUtf8Line, undefined, sink);
    sink.onUserCode?.(start, end);
    const wholeLine = this.#decode(bytes, start, end, end - skipMark(bytes, from, end), isUtf8Line);
    if (wholeLine.ok) return this.#deliver(bytes, start, end, wholeLine, sink);
    this.#splitLine(bytes, from, end, isUtf8Line, wholeLine, sink);
  }

  /** @param wholeLine the result of decoding the line as one message, if that was tried */
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

  /** Parses the single message in `bytes[from, to)`; skips what may surround it. */
  #parseFrame(
    bytes: Buffer,
    from: number,
    to: number,
    isUtf8Frame: boolean,
    sink: FrameSink,
    decoded?: DecodedFrame,
  ): void {
    const start = messageStart(bytes, from, to);
    const end = trimBlanks(bytes, start, to);
    if (start === end) return;
    sink.onUserCode?.(start, end);
    const frame = decoded ?? this.#decode(bytes, start, end, end - skipMark(bytes, from, end), isUtf8Frame);
    this.#deliver(bytes, start, end, frame, sink);
  }

  /** @param size of the message and of the whitespace before it, which counts towards the limit */
  #decode(bytes: Buffer, start: number, end: number, size: number, isUtf8Frame: boolean): DecodedFrame {
    if (size > this.validator.maxMessageSize) return { ok: false, code: 'MESSAGE_TOO_LARGE' };
    if (!isUtf8Frame && !isUtf8(bytes.subarray(start, end))) return { ok: false, code: 'INVALID_UTF8' };
    return decodeJson(bytes, start, end, this.validator.maxDepth);
  }

  /** Passes a decoded message, or the reason why it is rejected, to the sink. */
  #deliver(bytes: Buffer, start: number, end: number, frame: DecodedFrame, sink: FrameSink): void {
    if (!frame.ok) {
      const offset = sink.wantsIssues === false ? undefined : errorOffset(frame.code, bytes, start, end);
      const rejection = reject(frame.code, undefined, [], offset);
      sink.onRejection(this.validator.count(rejection), start, end, this.#line);
      return;
    }
    const result = this.validator.validate(frame.value, sink.wantsIssues);
    if (!result.ok) {
      sink.onRejection(result, start, end, this.#line, frame.value);
      return;
    }
    // The validator accepts only objects.
    const message = frame.value as object;
    sink.onMessage(result.type, message, start, end, this.#line);
    this.patterns?.learn(result.type, message, bytes, start, end);
  }
}

/** A decoded message, or the error code of one that could not be decoded. */
type DecodedFrame = DecodedJson | { readonly ok: false; readonly code: 'MESSAGE_TOO_LARGE' | 'INVALID_UTF8' };
