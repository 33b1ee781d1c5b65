// Checks whether a text is JSON, and finds where it stops being JSON, without the exception that `JSON.parse` throws for
// invalid input. Creating an exception costs 5 to 10 µs: a peer that sends lines of two bytes would cause half a million
// of them per megabyte. Besides, its message quotes the text, and counts UTF-16 units instead of bytes.

const QUOTE = 0x22;
const PLUS = 0x2b;
const COMMA = 0x2c;
const MINUS = 0x2d;
const DOT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

const SMALL_E = 0x65;
const LARGE_E = 0x45;

const LITERALS: ReadonlyMap<number, Buffer> = new Map(
  ['true', 'false', 'null'].map((text) => [text.charCodeAt(0), Buffer.from(text)]),
);
const ESCAPES: ReadonlySet<number> = new Set(Buffer.from('"\\/bfnrt'));
const UNICODE_ESCAPE = 0x75;
/** Stands for the byte at the end of the text. */
const END = -1;

/** Whether `bytes[from, to)` is one JSON text (RFC 8259), optionally surrounded by whitespace. Expects UTF-8. */
export function isJson(bytes: Uint8Array, from: number, to: number): boolean {
  return readText(bytes, from, to) >= 0;
}

/**
 * Offset of the first byte in `bytes[from, to)` that cannot continue a JSON text; `to` if the text ends too early;
 * `undefined` if it is one JSON text.
 */
export function jsonErrorOffset(bytes: Uint8Array, from: number, to: number): number | undefined {
  const end = readText(bytes, from, to);
  return end >= 0 ? undefined : ~end;
}

// Each function below reads one element of the text, which ends at `to`. It receives the offset of the element and
// returns the offset after it or, if the element is invalid at some offset, the complement of that offset: a negative
// number. Without recursion, since a text may be nested as deep as it is long.

function readText(bytes: Uint8Array, from: number, to: number): number {
  /** Closing brackets of the open objects and arrays, outermost first. */
  const closers: number[] = [];
  let at = skipBlanks(bytes, from, to);
  for (;;) {
    const first = byteAt(bytes, at, to);
    if (first === OPEN_BRACE || first === OPEN_BRACKET) {
      const closer = first === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET;
      closers.push(closer);
      at = skipBlanks(bytes, at + 1, to);
      if (byteAt(bytes, at, to) !== closer) {
        if (closer === CLOSE_BRACE) at = readKey(bytes, at, to);
        if (at < 0) return at;
        continue;
      }
    } else {
      at = skipBlanks(bytes, readScalar(bytes, at, to), to);
      if (at < 0) return at;
    }
    while (closers.length > 0 && byteAt(bytes, at, to) === closers[closers.length - 1]) {
      closers.pop();
      at = skipBlanks(bytes, at + 1, to);
    }
    if (closers.length === 0) return at === to ? to : ~at;
    if (byteAt(bytes, at, to) !== COMMA) return ~at;
    at = skipBlanks(bytes, at + 1, to);
    if (closers[closers.length - 1] === CLOSE_BRACE) at = readKey(bytes, at, to);
    if (at < 0) return at;
  }
}

/** A key and its colon, with the whitespace behind it. */
function readKey(bytes: Uint8Array, from: number, to: number): number {
  if (byteAt(bytes, from, to) !== QUOTE) return ~from;
  const at = skipBlanks(bytes, readString(bytes, from, to), to);
  if (at < 0) return at;
  return byteAt(bytes, at, to) === COLON ? skipBlanks(bytes, at + 1, to) : ~at;
}

function readScalar(bytes: Uint8Array, from: number, to: number): number {
  const first = byteAt(bytes, from, to);
  if (first === QUOTE) return readString(bytes, from, to);
  const literal = LITERALS.get(first);
  if (literal === undefined) return readNumber(bytes, from, to);
  for (let index = 0; index < literal.length; index++) {
    if (byteAt(bytes, from + index, to) !== literal[index]) return ~(from + index);
  }
  return from + literal.length;
}

function readString(bytes: Uint8Array, from: number, to: number): number {
  for (let at = from + 1; at < to; at++) {
    const byte = bytes[at] as number;
    if (byte === QUOTE) return at + 1;
    if (byte < 0x20) return ~at;
    if (byte !== BACKSLASH) continue;
    const letter = byteAt(bytes, ++at, to);
    if (letter === UNICODE_ESCAPE) {
      for (let digit = 0; digit < 4; digit++) if (!isHexDigit(byteAt(bytes, ++at, to))) return ~at;
    } else if (!ESCAPES.has(letter)) return ~at;
  }
  return ~to;
}

function readNumber(bytes: Uint8Array, from: number, to: number): number {
  let at = byteAt(bytes, from, to) === MINUS ? from + 1 : from;
  if (byteAt(bytes, at, to) === ZERO) at++;
  else at = readDigits(bytes, at, to);
  if (at >= 0 && byteAt(bytes, at, to) === DOT) at = readDigits(bytes, at + 1, to);
  const exponent = at < 0 ? END : byteAt(bytes, at, to);
  if (exponent !== SMALL_E && exponent !== LARGE_E) return at;
  const sign = byteAt(bytes, at + 1, to);
  return readDigits(bytes, sign === PLUS || sign === MINUS ? at + 2 : at + 1, to);
}

/** One digit or more. */
function readDigits(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  while (isDigit(byteAt(bytes, at, to))) at++;
  return at > from ? at : ~at;
}

/** Passes on the result of an invalid element. */
function skipBlanks(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  if (at >= 0) while (isBlank(byteAt(bytes, at, to))) at++;
  return at;
}

function byteAt(bytes: Uint8Array, at: number, to: number): number {
  return at < to ? (bytes[at] as number) : END;
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function isDigit(byte: number): boolean {
  return byte >= ZERO && byte <= NINE;
}

function isHexDigit(byte: number): boolean {
  return isDigit(byte) || ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66);
}
