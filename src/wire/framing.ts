// Where messages end in a stream of bytes. A message ends at the delimiter; with `auto` framing it
// also ends where its top-level object or array closes. Pure state machines: no buffers, no I/O.
//
// A seam ends a message whatever is open: `}{"` and a byte that no JSON has after a string. Within valid JSON
// there is none, in strings neither, so it can be looked for from the end of what has come: a stream without
// delimiters need not be read byte by byte.
//
//            '{' or '['                     closing bracket, depth 0
//   START ──────────────▶ VALUE ⇄ STRING ⇄ ESCAPE ─────────────▶ message ends
//     │ other                                                      ▲
//     └──────▶ TEXT (not JSON) ── next '{', or the delimiter ──────┘

export type Framing = 'auto' | 'ndjson';

/** A message may be followed by one carriage return, which does not count towards its size. */
export const CARRIAGE_RETURN_SLACK = 1;

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

const SEAM = Buffer.from('}{"');
/** What may follow a string in JSON: `,` `:` `}` `]` and white space. */
const FOLLOWS_STRING: readonly boolean[] = Array.from({ length: 256 }, (_, byte) =>
  ',:}] \n\r\t'.includes(String.fromCharCode(byte)),
);
/** A region shorter than this, in bytes, is read byte by byte: that takes less than looking for a seam. */
const MIN_SEAM_SEARCH = 256;
/** Defers scanning only between 4 and 256 KiB: fewer bytes are cheap, and more would block for over 0.3 ms. */
const MIN_DEFERRED_SCAN = 4 * 1024;
const MAX_DEFERRED_SCAN = 256 * 1024;

/** JSON's white space: never part of a message. */
export function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** The first byte of `bytes[from, to)` that is not blank. */
export function skipBlanks(bytes: Buffer, from: number, to: number): number {
  let at = from;
  while (at < to && isBlank(bytes[at])) at++;
  return at;
}

/** Where `bytes[from, to)` ends without the blanks at its end. */
export function trimBlanks(bytes: Buffer, from: number, to: number): number {
  let at = to;
  while (at > from && isBlank(bytes[at - 1])) at--;
  return at;
}

/**
 * Follows one stream byte by byte and finds where top-level objects and arrays close. Keeps its
 * state between calls, so a message may arrive in any number of pieces. Counts only the bracket
 * that opened the value: in a broken message the other kind may not balance.
 */
export class ValueScanner {
  #state = START;
  #depth = 0;
  #open = 0;
  #close = 0;
  /** Bytes of the present message that earlier calls have read. */
  #before = 0;

  /** Starts anew: the next byte begins a message. */
  reset(): void {
    this.#state = START;
    this.#depth = 0;
    this.#before = 0;
  }

  get before(): number {
    return this.#before;
  }

  /**
   * Reads `bytes[from, to)` up to the end of a message.
   * @param seen where the bytes of the message begin that are still there; default: all of them are
   * @returns the offset just after it, or -1 when it does not end here
   */
  scan(bytes: Uint8Array, from: number, to: number, seen = from - this.#before): number {
    let at = from;
    while (at < to) {
      // Whether this byte shows that a seam has gone by. Each quote is followed by a turn of this loop.
      if (at - SEAM.length >= seen && bytes[at - 1] === QUOTE && isSeam(bytes, at - SEAM.length)) {
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
      } else if (this.#state === TEXT && bytes[at] === OPEN_BRACE) {
        this.reset();
        return at;
      } else this.#scanStart(bytes[at++]);
    }
    this.#before += to - from;
    return -1;
  }

  /** Up to what ends the string or escapes a character. Most bytes of a message go through this loop. */
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

  /** Up to the next string, or the end of the value. */
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
    } else if (this.#state === START && !isBlank(byte)) {
      this.#state = TEXT;
    }
  }
}

/** Whether a message may end with this byte, or with blanks up to it. */
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

/** Where the last seam in `bytes[from, to)` parts two messages; -1: there is none. */
export function lastSeam(bytes: Buffer, from: number, to: number): number {
  const region = bytes.subarray(from, to);
  let at = region.lastIndexOf(SEAM, region.length - SEAM.length - 1);
  while (at !== -1 && !isSeam(region, at)) at = at === 0 ? -1 : region.lastIndexOf(SEAM, at - 1);
  return at === -1 ? -1 : from + at + 1;
}

/**
 * Where the messages in `bytes[from, to)` end, each with its delimiter.
 * @param most how many to look for; default: all
 */
export function messageEnds(
  bytes: Buffer,
  from: number,
  to: number,
  framing: Framing,
  delimiter: number,
  most: number = Number.POSITIVE_INFINITY,
): number[] {
  const boundary = new FrameBoundary(framing, delimiter);
  const ends: number[] = [];
  let next = -1;
  for (let at = from; at < to && ends.length < most; ) {
    // Good for all messages before it: without delimiters, looking for one goes through all that is left.
    if (next < at) next = boundary.nextDelimiter(bytes, at, to);
    const end = boundary.first(bytes, at, to, next);
    if (end === -1) break;
    at = bytes[end] === delimiter && end < to ? end + 1 : end;
    ends.push(at);
  }
  return ends;
}

/** Finds the message ends in one stream, as its bytes arrive. */
export class FrameBoundary {
  readonly #scanner: ValueScanner | undefined;
  readonly #delimiter: number;
  /** The latest bytes of the present message: so many have not been read one by one. */
  #deferred = 0;

  /** @param delimiter the byte that ends a message */
  constructor(framing: Framing, delimiter: number) {
    this.#scanner = framing === 'auto' ? new ValueScanner() : undefined;
    this.#delimiter = delimiter;
  }

  /** Starts anew: the next byte begins a message. */
  reset(): void {
    this.#deferred = 0;
    this.#scanner?.reset();
  }

  /** Whether a message may have ended unseen: {@link scanDeferred} tells, and so does what comes next. */
  get hasPutOff(): boolean {
    return this.#deferred > 0;
  }

  /**
   * The end of the last message that is complete in the new bytes `bytes[from, to)`; -1: none is. Bytes of a
   * message that earlier calls have seen must lie right before them. Only what follows the last delimiter
   * and the last seam is looked at byte by byte (about 1 ns each); where that is much, and its last byte ends no
   * message, it is put off: in all likelihood all of it is the beginning of one message.
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
    const isPutOff =
      length >= MIN_DEFERRED_SCAN && length <= MAX_DEFERRED_SCAN && !mayEndMessage(bytes[to - 1]);
    this.#deferred = isPutOff ? length : 0;
    if (isPutOff) return boundary;
    return Math.max(boundary, this.#lastValue(bytes, at, to));
  }

  /** As {@link last}, of what was put off, which ends at `to`. */
  scanDeferred(bytes: Buffer, to: number): number {
    const from = to - this.#deferred;
    this.#deferred = 0;
    return this.#lastValue(bytes, from, to);
  }

  /** Where the last top-level value in `bytes[from, to)` closes, read byte by byte. */
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

  /** @param read bytes of the present message that earlier calls have read: a seam may begin there */
  #lastSeam(bytes: Buffer, from: number, to: number, read: number): number {
    if (to - from < MIN_SEAM_SEARCH && this.#deferred === 0) return -1;
    return lastSeam(bytes, from - Math.min(read + this.#deferred, SEAM.length), to);
  }

  /** Where the first delimiter in `bytes[from, to)` is; `to` when there is none. */
  nextDelimiter(bytes: Buffer, from: number, to: number): number {
    const at = bytes.subarray(from, to).indexOf(this.#delimiter);
    return at === -1 ? to : from + at;
  }

  /**
   * The end of the first message that ends in `bytes[from, to)`, its delimiter excluded; -1: none does.
   * @param next what {@link nextDelimiter} says, where that is known
   */
  first(bytes: Buffer, from: number, to: number, next: number = this.nextDelimiter(bytes, from, to)): number {
    const end = this.#scanner?.scan(bytes, from, next, from) ?? -1;
    if (end !== -1) return end;
    if (next === to) return -1;
    this.#scanner?.reset();
    return next;
  }
}
