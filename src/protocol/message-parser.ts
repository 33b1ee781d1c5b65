// Bytes to checked messages: splits lines and undelimited objects, parses, validates, and pushes each
// message into a sink. Runs in the workers over a batch's ranges, and alone over any stream.

import { isUtf8 } from 'node:buffer';
import { FrameBoundary, type Framing, isBlank, ValueScanner } from './framing.js';
import type { MessageType } from './message-registry.js';
import { MessageValidator, type Refusal, refuse } from './message-validator.js';
import { decodeJson } from './safe-json.js';

/** A checked message, as the sink sees it: valid only during the call. */
export interface FrameSink {
  /** A valid message at `[start, end)`. */
  onMessage(type: MessageType, value: object, start: number, end: number): void;
  /** A refused one. `line` counts the delimiters before it in what is parsed. */
  onRefusal(refusal: Refusal, start: number, end: number, line: number): void;
}

export interface ParserOptions {
  /** Default: a {@link MessageValidator} of the protocol's own messages. */
  validator?: MessageValidator;
  /** Default `auto`. */
  framing?: Framing;
  /** The byte that ends a message; default 10, `\n`. */
  delimiter?: number;
}

export interface ParsedMessage {
  readonly ok: true;
  readonly type: string;
  /** As `JSON.parse` gives it: defaults are not filled in. */
  readonly message: { readonly type: string; readonly [key: string]: unknown };
}

const NEWLINE = 0x0a;
/** A line is tried as one message first. One this long, in bytes, may well be many: it is split first. */
const LONG_LINE = 16 * 1024;

export class MessageParser {
  readonly validator: MessageValidator;
  readonly #framing: Framing;
  readonly #delimiter: number;
  readonly #scanner = new ValueScanner();
  readonly #boundary: FrameBoundary;
  #partial: Buffer = Buffer.alloc(0);
  /** Delimiters before the line that is being parsed. */
  #line = 0;

  constructor(options: ParserOptions = {}) {
    this.validator = options.validator ?? new MessageValidator();
    this.#framing = options.framing ?? 'auto';
    this.#delimiter = options.delimiter ?? NEWLINE;
    this.#boundary = new FrameBoundary(this.#framing, this.#delimiter);
  }

  /**
   * Streaming use: takes the next bytes of a stream, and answers with the messages that are now whole,
   * good and bad, in order. A partial message is kept until its end arrives.
   */
  push(bytes: Buffer): (ParsedMessage | Refusal)[] {
    const from = this.#partial.length;
    const all = from === 0 ? bytes : Buffer.concat([this.#partial, bytes]);
    const end = this.#boundary.last(all, from, all.length);
    if (end === -1) {
      this.#partial = from === 0 ? Buffer.from(bytes) : all;
      return [];
    }
    this.#partial = Buffer.from(all.subarray(end));
    return this.#collect(all, end);
  }

  /** Streaming use: the stream has ended; what is left is its last message. */
  end(): (ParsedMessage | Refusal)[] {
    const rest = this.#partial;
    this.#partial = Buffer.alloc(0);
    return this.#collect(rest, rest.length);
  }

  #collect(bytes: Buffer, end: number): (ParsedMessage | Refusal)[] {
    const results: (ParsedMessage | Refusal)[] = [];
    this.parse(bytes, 0, end, {
      onMessage(type, value) {
        results.push({ ok: true, type: type.name, message: value as ParsedMessage['message'] });
      },
      onRefusal(refusal) {
        results.push(refusal);
      },
    });
    return results;
  }

  /**
   * Batch use: checks the whole messages in `bytes[from, to)`, in order. Keeps no state between calls.
   * @returns how many delimiters there are
   */
  parse(bytes: Buffer, from: number, to: number, sink: FrameSink): number {
    const range = bytes.subarray(from, to);
    const allUtf8 = isUtf8(range);
    this.#line = 0;
    for (let start = from; start < to; this.#line++) {
      const found = range.indexOf(this.#delimiter, start - from);
      const end = found === -1 ? to : from + found;
      this.#parseLine(bytes, start, end, allUtf8, sink);
      if (found === -1) break;
      start = end + 1;
    }
    return this.#line;
  }

  /** A line is one message, or, with `auto` framing, as many as there are objects on it. */
  #parseLine(bytes: Buffer, from: number, to: number, isUtf8Line: boolean, sink: FrameSink): void {
    let start = from;
    let end = to;
    while (start < end && isBlank(bytes[start])) start++;
    while (start < end && isBlank(bytes[end - 1])) end--;
    if (start === end) return;
    if (this.#framing === 'auto' && end - start > LONG_LINE) {
      return this.#splitLine(bytes, start, end, isUtf8Line, undefined, sink);
    }
    const wholeLine = this.#parseFrame(bytes, start, end, isUtf8Line);
    if (wholeLine.ok) return this.#accept(wholeLine.value, start, end, sink);
    if (this.#framing === 'ndjson') return this.#refuse(wholeLine.refusal, start, end, sink);
    this.#splitLine(bytes, start, end, isUtf8Line, wholeLine.refusal, sink);
  }

  #splitLine(
    bytes: Buffer,
    from: number,
    to: number,
    isUtf8Line: boolean,
    lineRefusal: Refusal | undefined,
    sink: FrameSink,
  ): void {
    this.#scanner.reset();
    for (let start = from; start < to; ) {
      const found = this.#scanner.scan(bytes, start, to);
      let end = found === -1 ? to : found;
      const next = end;
      while (end > start && isBlank(bytes[end - 1])) end--;
      if (end > start) {
        const isWholeLine = start === from && end === to;
        const frame =
          isWholeLine && lineRefusal !== undefined
            ? ({ ok: false, refusal: lineRefusal } as const)
            : this.#parseFrame(bytes, start, end, isUtf8Line);
        if (frame.ok) this.#accept(frame.value, start, end, sink);
        else this.#refuse(frame.refusal, start, end, sink);
      }
      start = next;
      while (start < to && isBlank(bytes[start])) start++;
    }
  }

  #parseFrame(
    bytes: Buffer,
    start: number,
    end: number,
    isUtf8Frame: boolean,
  ): { ok: true; value: unknown } | { ok: false; refusal: Refusal } {
    if (end - start > this.validator.maxMessageSize)
      return { ok: false, refusal: refuse('MESSAGE_TOO_LARGE') };
    if (!isUtf8Frame && !isUtf8(bytes.subarray(start, end))) {
      return { ok: false, refusal: refuse('INVALID_UTF8') };
    }
    const decoded = decodeJson(bytes.toString('utf8', start, end), this.validator.maxDepth);
    return decoded.ok ? decoded : { ok: false, refusal: refuse(decoded.code) };
  }

  #accept(value: unknown, start: number, end: number, sink: FrameSink): void {
    const result = this.validator.validate(value);
    if (result.ok) sink.onMessage(result.type, value as object, start, end);
    else sink.onRefusal(result, start, end, this.#line);
  }

  #refuse(refusal: Refusal, start: number, end: number, sink: FrameSink): void {
    this.validator.count(refusal);
    sink.onRefusal(refusal, start, end, this.#line);
  }
}
