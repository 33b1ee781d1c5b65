// The pieces that patterns are put together from: regular expressions over the bytes of valid UTF-8, read
// as latin1. Each takes only what JSON.parse takes too, and each alternative differs at its first character,
// so that matching is linear.

/** Characters of a string that stand for themselves. DEL is left out: it is rare, and JSON allows it. */
const PLAIN = String.raw`[\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]`;
const ASCII = String.raw`[\x20\x21\x23-\x5b\x5d-\x7e]`;
const ESCAPE = String.raw`\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})`;

/** Any JSON string. Unrolled: one loop over plain characters, broken by escapes. */
export const STRING = `"${PLAIN}*(?:${ESCAPE}${PLAIN}*)*"`;

/** The inside of a string of ASCII without escapes, whose length is therefore its length in UTF-16 units. */
export function asciiContent(min: number, max: number | undefined): string {
  return `${ASCII}{${min},${max ?? ''}}`;
}

/** Digits are limited to 15, so that every number is finite and every integer exact. */
const NATURAL_NUMBER = String.raw`(?:0|[1-9]\d{0,14})`;
const FRACTION = String.raw`(?:\.\d{1,15})?`;

export function numberFragment(isInteger: boolean, isNotNegative: boolean): string {
  return (isNotNegative ? '' : '-?') + NATURAL_NUMBER + (isInteger ? '' : FRACTION);
}

export const BOOLEAN = '(?:true|false)';

/** The name of a record's member: never `__proto__`, in no spelling, since it has no escapes. */
export const RECORD_KEY = `"(?!__proto__")${PLAIN}*"`;

/** A date and time in UTC: ISO 8601 without February 29th, which takes a calendar. */
export const UTC_DATETIME =
  String.raw`\d{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)` +
  String.raw`T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?Z`;

/** Some of what JSON can be: scalars, and flat lists and objects of them. Bounded, so that it can be a pattern. */
export const FLAT_JSON = flatJson();

function flatJson(): string {
  const scalar = `(?:${STRING}|${numberFragment(false, false)}|true|false|null)`;
  return `(?:${STRING}|${numberFragment(false, false)}|true|false|null|${list(scalar)}|${record(scalar)})`;
}

export function list(element: string, min = 0, max?: number): string {
  if (max !== undefined && max < min) return '(?!)';
  if (max === 0) return String.raw`\[\]`;
  const rest = `(?:,${element}){${Math.max(0, min - 1)},${max === undefined ? '' : max - 1}}`;
  return min > 0 ? String.raw`\[${element}${rest}\]` : String.raw`\[(?:${element}${rest})?\]`;
}

export function record(value: string): string {
  const member = `${RECORD_KEY}:${value}`;
  return String.raw`\{(?:${member}(?:,${member})*)?\}`;
}

/** JSON text to be matched as it is. */
export function literal(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`);
}
