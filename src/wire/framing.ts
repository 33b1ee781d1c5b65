// Finds the ends of messages in a stream of bytes. A message ends at the delimiter; with `auto` framing, it also ends
// where its top-level object or array closes. Pure state machines: no buffers, no I/O.
//
// A seam is `}{"` followed by a byte that cannot follow a string in JSON. It never occurs within valid JSON, not even
// in a string, so it always separates two messages, whatever is still open. It can be searched backwards from the
// latest byte, so a stream without delimiters need not be scanned byte by byte.
//
//            '{' or '['                     closing bracket, depth 0
//   START ──────────────▶ VALUE ⇄ STRING ⇄ ESCAPE ─────────────▶ message ends
//    │ ▲                                                           ▲
//    │ └── MARK_1, MARK_2: within a byte order mark                │
//    │ other                                                       │
//    └──────▶ TEXT (not JSON) ── next '{', or the delimiter ───────┘
//
// Whitespace and byte order marks before a message are ignored, and are not part of it.

export type Framing = 'auto' | 'ndjson';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

const START = 0;
const VALUE = 1;
const STRING = 2;
const ESCAPE = 3;
const TEXT = 4;
const MARK_1 = 5;
const MARK_2 = 6;

/** The byte order mark U+FEFF, which some programs write at the beginning of a file or stream, in UTF-8. */
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf] as const;
/** Size of a byte order mark. */
export const MARK_SIZE = BYTE_ORDER_MARK.length;
/** A byte order mark before a message and a carriage return after it do not count towards the message's size. */
export const SIZE_SLACK = MARK_SIZE + 1;

const SEAM = Buffer.from('}{"');
/** Whether a byte may follow a string in JSON: `,` `:` `}` `]` and whitespace. */
const FOLLOWS_STRING: readonly boolean[] = Array.from({ length: 256 }, (_, byte) =>
  ',:}] \n\r\t'.includes(String.fromCharCode(byte)),
);
/** Shorter regions, in bytes, are only scanned byte by byte, which is faster than searching for a seam. */
const MIN_SEAM_SEARCH = 256;
/** Size of the first region in which the last seam is searched, in bytes, and the growth factor of the next ones. */
const MIN_SEAM_REGION = 1024;
const SEAM_REGION_GROWTH = 4;
/** Defers scanning only between 4 and 256 KiB: fewer bytes are cheap, and more would block for over 0.3 ms. */
const MIN_DEFERRED_SCAN = 4 * 1024;
const MAX_DEFERRED_SCAN = 256 * 1024;

/** Whether a byte is JSON whitespace. Whitespace around a message is not part of it. */
export function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** Number of delimiters in these bytes. */
export function countDelimiters(bytes: Buffer, delimiter: number): number {
  let count = 0;
  for (let at = bytes.indexOf(delimiter); at !== -1; at = bytes.indexOf(delimiter, at + 1)) count++;
  return count;
}

/**
 * Finds the lines in `bytes[from, to)` that are not blank. Reads byte by byte: a search for each delimiter would take ten
 * times as long where lines are short.
 * @param onLine called with the number of each, from 0
 * @returns the number of delimiters
 */
export function forEachLine(
  bytes: Uint8Array,
  from: number,
  to: number,
  delimiter: number,
  onLine: (line: number) => void,
): number {
  let line = 0;
  let isBlankLine = true;
  for (let at = from; at < to; at++) {
    const byte = bytes[at];
    if (byte === delimiter) {
      if (!isBlankLine) onLine(line);
      line++;
      isBlankLine = true;
    } else if (isBlankLine) isBlankLine = isBlank(byte);
  }
  if (!isBlankLine) onLine(line);
  return line;
}

/** Offset after a byte order mark at `from`; `from` if there is none. */
export function skipMark(bytes: Uint8Array, from: number, to: number): number {
  const [first, second, third] = BYTE_ORDER_MARK;
  const end = from + MARK_SIZE;
  if (bytes[from] !== first || end > to) return from;
  return bytes[from + 1] === second && bytes[from + 2] === third ? end : from;
}

/**
 * Offset at which a message in `bytes[from, to)` begins: of the first byte that is neither whitespace nor part of a byte
 * order mark; `to` if there is none.
 */
export function messageStart(bytes: Uint8Array, from: number, to: number): number {
  for (let at = from; ; ) {
    const next = at < to && isBlank(bytes[at]) ? at + 1 : skipMark(bytes, at, to);
    if (next === at) return at;
    at = next;
  }
}

/** End of `bytes[from, to)` without its trailing whitespace. */
export function trimBlanks(bytes: Buffer, from: number, to: number): number {
  let at = to;
  while (at > from && isBlank(bytes[at - 1])) at--;
  return at;
}

/**
 * Scans one stream byte by byte and finds where top-level objects and arrays close. Keeps its state between calls, so a
 * message may arrive in any number of parts. Counts only the kind of bracket that opened the value: in a malformed
 * message, the other kind may not be balanced.
 */
export class ValueScanner {
  #state = START;
  #depth = 0;
  #open = 0;
  #close = 0;
  /** Bytes of the current message that earlier calls have scanned. */
  #before = 0;

  /** Resets the state: the next byte begins a message. */
  reset(): void {
    this.#state = START;
    this.#depth = 0;
    this.#before = 0;
  }

  get before(): number {
    return this.#before;
  }

  /**
   * Scans `bytes[from, to)` up to the end of a message.
   * @param firstByte offset of the message's first byte that is still in `bytes`. If omitted, the whole message is.
   * @returns the offset after the end, or -1 if the message does not end here
   */
  scan(bytes: Uint8Array, from: number, to: number, firstByte = from - this.#before): number {
    let at = from;
    while (at < to) {
      // Checks whether this byte and the three before it are a seam. After each quote, control returns to this loop.
      if (at - SEAM.length >= firstByte && bytes[at - 1] === QUOTE && isSeam(bytes, at - SEAM.length)) {
        this.reset();
        return at - SEAM.length + 1;
      }
      if (this.#state === STRING) at = this.#scanString(bytes, at, to);
      else if (this.#state === VALUE) {
        at = this.#scanValue(bytes, at, to);
        if (this.#depth === 0) return at;
      } else if (this.#state === ESCAPE) {
        this.#state = STRING;
        at++;
      } else if (this.#state >= TEXT && bytes[at] === OPEN_BRACE) {
        this.reset();
        return at;
      } else this.#scanStart(bytes[at++]);
    }
    this.#before += to - from;
    return -1;
  }

  /** Scans up to the closing quote or a backslash. Most bytes of a message go through this loop. */
  #scanString(bytes: Uint8Array, from: number, to: number): number {
    for (let at = from; at < to; at++) {
      const byte = bytes[at];
      if (byte === QUOTE || byte === BACKSLASH) {
        this.#state = byte === QUOTE ? VALUE : ESCAPE;
        return at + 1;
      }
    }
    return to;
  }

  /** Scans up to the next string, or to the end of the value. */
  #scanValue(bytes: Uint8Array, from: number, to: number): number {
    const open = this.#open;
    const close = this.#close;
    for (let at = from; at < to; at++) {
      const byte = bytes[at];
      if (byte === QUOTE) {
        this.#state = STRING;
        return at + 1;
      }
      if (byte === open) this.#depth++;
      else if (byte === close && --this.#depth === 0) {
        this.reset();
        return at + 1;
      }
    }
    return to;
  }

  #scanStart(byte: number | undefined): void {
    if (byte === OPEN_BRACE || (this.#state === START && byte === OPEN_BRACKET)) {
      this.#state = VALUE;
      this.#depth = 1;
      this.#open = byte;
      this.#close = byte === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET;
    } else if (this.#state === START && byte === BYTE_ORDER_MARK[0]) this.#state = MARK_1;
    else if (this.#state === MARK_1 && byte === BYTE_ORDER_MARK[1]) this.#state = MARK_2;
    else if (this.#state === MARK_2 && byte === BYTE_ORDER_MARK[2]) this.#state = START;
    else if (this.#state !== START || !isBlank(byte)) this.#state = TEXT;
  }
}

/** Whether this byte may be the last one of a message, or of the whitespace after it. */
function mayEndMessage(byte: number | undefined): boolean {
  return byte === CLOSE_BRACE || byte === CLOSE_BRACKET || isBlank(byte);
}

function isSeam(bytes: Uint8Array, at: number): boolean {
  return (
    bytes[at] === CLOSE_BRACE &&
    bytes[at + 1] === OPEN_BRACE &&
    bytes[at + 2] === QUOTE &&
    !FOLLOWS_STRING[bytes[at + 3] ?? 0]
  );
}

/**
 * Offset at which the last seam in `bytes[from, to)` separates two messages; -1 if there is none. Searches ever larger
 * regions from the end, each of them forwards, since `lastIndexOf` takes ten times as long (1.3 ns per byte, measured).
 */
export function lastSeam(bytes: Buffer, from: number, to: number): number {
  let size = MIN_SEAM_REGION;
  for (let end = to; end > from; size *= SEAM_REGION_GROWTH) {
    const start = Math.max(from, end - size);
    // With the bytes that a seam at its end consists of, and the one that follows it.
    const region = bytes.subarray(start, Math.min(to, end + SEAM.length));
    let last = -1;
    for (let at = region.indexOf(SEAM); at !== -1; at = region.indexOf(SEAM, at + 1)) {
      if (at + SEAM.length < region.length && isSeam(region, at)) last = at;
    }
    if (last !== -1) return start + last + 1;
    end = start;
  }
  return -1;
}

/**
 * The ends of the messages in `bytes[from, to)`, delimiters included.
 * @param limit maximum number of messages. Default: all.
 */
export function messageEnds(
  bytes: Buffer,
  from: number,
  to: number,
  framing: Framing,
  delimiter: number,
  limit: number = Number.POSITIVE_INFINITY,
): number[] {
  const boundary = new FrameBoundary(framing, delimiter);
  const ends: number[] = [];
  let next = -1;
  for (let at = from; at < to && ends.length < limit; ) {
    // Reused for all messages before it: without delimiters, each search would scan all remaining bytes.
    if (next < at) next = boundary.nextDelimiter(bytes, at, to);
    const end = boundary.first(bytes, at, to, next);
    if (end === -1) break;
    at = bytes[end] === delimiter && end < to ? end + 1 : end;
    ends.push(at);
  }
  return ends;
}

/** Finds the ends of messages in one stream as its bytes arrive. */
export class FrameBoundary {
  readonly #scanner: ValueScanner | undefined;
  readonly #delimiter: number;
  /** Number of bytes at the end of the current message whose byte-by-byte scan is deferred. */
  #deferred = 0;

  /** @param delimiter the byte that ends a message */
  constructor(framing: Framing, delimiter: number) {
    this.#scanner = framing === 'auto' ? new ValueScanner() : undefined;
    this.#delimiter = delimiter;
  }

  /** Resets the state: the next byte begins a message. */
  reset(): void {
    this.#deferred = 0;
    this.#scanner?.reset();
  }

  /** Whether the end of a message may lie in deferred bytes. {@link scanDeferred} or the next {@link last} finds it. */
  get hasDeferred(): boolean {
    return this.#deferred > 0;
  }

  /**
   * The end of the last message that is complete in the new bytes `bytes[from, to)`; -1 if none is. Bytes of the
   * message that earlier calls have received must directly precede them. Only the bytes after the last delimiter and
   * the last seam are scanned one by one (about 1 ns each). If they are many, and the last one cannot end a message,
   * this scan is deferred: most likely, all of them are the beginning of one message.
   */
  last(bytes: Buffer, from: number, to: number): number {
    const delimiter = bytes.subarray(from, to).lastIndexOf(this.#delimiter);
    let boundary = -1;
    if (delimiter !== -1) {
      boundary = from + delimiter + 1;
      this.reset();
    }
    if (this.#scanner === undefined) return boundary;
    let at = boundary === -1 ? from : boundary;
    const seam = this.#lastSeam(bytes, at, to, this.#scanner.before);
    if (seam !== -1) {
      boundary = seam;
      at = seam;
      this.reset();
    }
    at -= this.#deferred;
    const length = to - at;
    const isDeferred =
      length >= MIN_DEFERRED_SCAN && length <= MAX_DEFERRED_SCAN && !mayEndMessage(bytes[to - 1]);
    this.#deferred = isDeferred ? length : 0;
    if (isDeferred) return boundary;
    return Math.max(boundary, this.#lastValue(bytes, at, to));
  }

  /** As {@link last}, for the deferred bytes, which end at `to`. */
  scanDeferred(bytes: Buffer, to: number): number {
    const from = to - this.#deferred;
    this.#deferred = 0;
    return this.#lastValue(bytes, from, to);
  }

  /** End of the last top-level value that closes in `bytes[from, to)`, scanned byte by byte. */
  #lastValue(bytes: Buffer, from: number, to: number): number {
    let boundary = -1;
    let at = from;
    while (at < to && this.#scanner !== undefined) {
      const end = this.#scanner.scan(bytes, at, to);
      if (end === -1) break;
      boundary = end;
      at = end;
    }
    return boundary;
  }

  /** @param scanned bytes of the current message that earlier calls have scanned: a seam may begin in them */
  #lastSeam(bytes: Buffer, from: number, to: number, scanned: number): number {
    if (to - from < MIN_SEAM_SEARCH && this.#deferred === 0) return -1;
    return lastSeam(bytes, from - Math.min(scanned + this.#deferred, SEAM.length), to);
  }

  /** Offset of the first delimiter in `bytes[from, to)`; `to` if there is none. */
  nextDelimiter(bytes: Buffer, from: number, to: number): number {
    const at = bytes.subarray(from, to).indexOf(this.#delimiter);
    return at === -1 ? to : from + at;
  }

  /**
   * The end of the first message that ends in `bytes[from, to)`, its delimiter excluded; -1 if none does.
   * @param next the result of {@link nextDelimiter}, if the caller already has it
   */
  first(bytes: Buffer, from: number, to: number, next: number = this.nextDelimiter(bytes, from, to)): number {
    const end = this.#scanner?.scan(bytes, from, next, from) ?? -1;
    if (end !== -1) return end;
    if (next === to) return -1;
    this.#scanner?.reset();
    return next;
  }
}
