// Where messages end in a stream of bytes. A message ends at the delimiter; with `auto` framing it
// also ends where its top-level object or array closes. Pure state machines: no buffers, no I/O.
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

/** JSON's white space: never part of a message. */
export function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
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

  /** Starts anew: the next byte begins a message. */
  reset(): void {
    this.#state = START;
    this.#depth = 0;
  }

  /**
   * Reads `bytes[from, to)` up to the end of a message.
   * @returns the offset just after it, or -1 when it does not end here
   */
  scan(bytes: Uint8Array, from: number, to: number): number {
    let at = from;
    while (at < to) {
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

/** Finds the message ends in one stream, as its bytes arrive. */
export class FrameBoundary {
  readonly #scanner: ValueScanner | undefined;
  readonly #delimiter: number;

  /** @param delimiter the byte that ends a message */
  constructor(framing: Framing, delimiter: number) {
    this.#scanner = framing === 'auto' ? new ValueScanner() : undefined;
    this.#delimiter = delimiter;
  }

  /** Starts anew: the next byte begins a message. */
  reset(): void {
    this.#scanner?.reset();
  }

  /**
   * The end of the last message that is complete in the new bytes `bytes[from, to)`; -1: none is.
   * Only what follows the last delimiter is looked at byte by byte (about 1 ns each).
   */
  last(bytes: Buffer, from: number, to: number): number {
    const delimiter = bytes.subarray(from, to).lastIndexOf(this.#delimiter);
    let boundary = -1;
    if (delimiter !== -1) {
      boundary = from + delimiter + 1;
      this.#scanner?.reset();
    }
    if (this.#scanner === undefined) return boundary;
    let at = boundary === -1 ? from : boundary;
    while (at < to) {
      const end = this.#scanner.scan(bytes, at, to);
      if (end === -1) break;
      boundary = end;
      at = end;
    }
    return boundary;
  }

  /** The end of the first message that ends in `bytes[from, to)`, its delimiter excluded; -1: none does. */
  first(bytes: Buffer, from: number, to: number): number {
    const delimiter = bytes.subarray(from, to).indexOf(this.#delimiter);
    const limit = delimiter === -1 ? to : from + delimiter;
    const end = this.#scanner?.scan(bytes, from, limit) ?? -1;
    if (end !== -1) return end;
    if (delimiter === -1) return -1;
    this.#scanner?.reset();
    return limit;
  }
}
