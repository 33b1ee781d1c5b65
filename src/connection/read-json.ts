// Reads a single JSON value of which most are short strings and integers, faster than JSON.parse.

const [QUOTE, MINUS, ZERO, NINE] = [0x22, 0x2d, 0x30, 0x39];
/** Integers of up to this many digits are exact. */
const MAX_DIGITS = 15;

/** The value of the JSON text in `bytes[start, end)`, which must be valid and without surrounding white space. */
export function readJson(bytes: Buffer, start: number, end: number): unknown {
  const first = bytes[start] ?? 0;
  if (first === QUOTE) {
    const text = bytes.toString('utf8', start + 1, end - 1);
    return text.includes('\\') ? JSON.parse(`"${text}"`) : text;
  }
  if (first >= ZERO && first <= NINE && end - start <= MAX_DIGITS) return readNumber(bytes, start, end);
  if (first === MINUS) return Number(bytes.toString('latin1', start, end));
  return JSON.parse(bytes.toString('utf8', start, end));
}

function readNumber(bytes: Buffer, start: number, end: number): number {
  let value = 0;
  for (let at = start; at < end; at++) {
    const digit = (bytes[at] ?? 0) - ZERO;
    if (digit < 0 || digit > 9) return Number(bytes.toString('latin1', start, end));
    value = value * 10 + digit;
  }
  return value;
}
