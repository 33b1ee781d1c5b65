// The pieces that patterns are put together from: regular expressions over the bytes of valid UTF-8, read
// as latin1. Each takes only what JSON.parse takes too, and each alternative differs at its first character,
// so that matching is linear.

/** What stands between the parts of objects and lists. */
export interface Spacing {
  /** Between members or elements. */
  readonly comma: ',' | ', ';
  /** Between a key and its value. */
  readonly colon: ':' | ': ';
}

/** Characters of a string that stand for themselves. DEL is left out: it is rare, and JSON allows it. */
const PLAIN = String.raw`[\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]`;
const ASCII = String.raw`[\x20\x21\x23-\x5b\x5d-\x7e]`;
const ESCAPE = String.raw`\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})`;

/** What follows the beginning of a string, the closing quote included. Unrolled: plain characters, broken by escapes. */
const REST_OF_STRING = `${PLAIN}*(?:${ESCAPE}${PLAIN}*)*"`;

/** Any JSON string. */
export const STRING = `"${REST_OF_STRING}`;

/** A string that begins with this text, spelled without escapes. */
export function stringThatStarts(text: string): string {
  return `"${literal(text)}${REST_OF_STRING}`;
}

/** The inside of a string of ASCII without escapes, whose length is therefore its length in UTF-16 units. */
export function asciiContent(min: number, max: number | undefined): string {
  return `${ASCII}{${min},${max ?? ''}}`;
}

export const BOOLEAN = '(?:true|false)';

/** Any number. Digits are limited to 15, so that it is finite, and a whole number exact. */
export const NUMBER = String.raw`-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?`;

/** The name of a record's member: never `__proto__`, in no spelling, since it has no escapes. */
const RECORD_KEY = `"(?!__proto__")${PLAIN}*"`;

const YEAR = String.raw`\d{4}`;
/** Without February 29th, which takes a calendar. */
const MONTH_AND_DAY = String.raw`(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)`;
const TIME = String.raw`(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?`;
const OFFSET = String.raw`[+-](?:[01]\d|2[0-3]):[0-5]\d`;

/** A day, as ISO 8601 writes it. */
export const DATE = `${YEAR}-${MONTH_AND_DAY}`;

/** A date and time, as ISO 8601 writes it: in UTC, or with an offset where that is allowed. */
export function dateTime(allowsOffset: boolean): string {
  return `${DATE}T${TIME}${allowsOffset ? `(?:Z|${OFFSET})` : 'Z'}`;
}

/** A UUID as RFC 9562 writes it. @param version one hexadecimal digit, or a class of them */
export function uuid(version: string): string {
  const hex = (count: number) => `[0-9a-fA-F]{${count}}`;
  return `${hex(8)}-${hex(4)}-${version}${hex(3)}-[89abAB]${hex(3)}-${hex(12)}`;
}

/** Some of what JSON can be: scalars, and flat lists and objects of them. Bounded, so that it can be a pattern. */
export function flatJson(spacing: Spacing): string {
  const scalars = `${STRING}|${NUMBER}|true|false|null`;
  const scalar = `(?:${scalars})`;
  return `(?:${scalars}|${list(scalar, spacing)}|${record(scalar, spacing)})`;
}

export function list(element: string, { comma }: Spacing, min = 0, max?: number): string {
  if (max !== undefined && max < min) return '(?!)';
  if (max === 0) return String.raw`\[\]`;
  const rest = `(?:${comma}${element}){${Math.max(0, min - 1)},${max === undefined ? '' : max - 1}}`;
  return min > 0 ? String.raw`\[${element}${rest}\]` : String.raw`\[(?:${element}${rest})?\]`;
}

export function record(value: string, { comma, colon }: Spacing): string {
  const member = `${RECORD_KEY}${colon}${value}`;
  return String.raw`\{(?:${member}(?:${comma}${member})*)?\}`;
}

/** JSON text to be matched as it is. */
export function literal(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`);
}
