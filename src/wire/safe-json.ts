// JSON.parse with two additional checks: a limit on the nesting depth, and no key named `__proto__`. Each has a cheap
// test, which runs first, and an exact check, which runs only on texts that may fail it.

import { isJson } from './json-syntax.js';

/** Longest text, in bytes, whose syntax is checked before it is parsed: for invalid JSON, that is far cheaper. */
const MAX_PRECHECK_BYTES = 256;
/** Short texts that are checked this way after an invalid one. While all are valid, the check would be overhead. */
const PRECHECKS_AFTER_INVALID = 64;
let prechecksLeft = 0;

/** Maximum nesting depth of objects and arrays in a message. */
export const MAX_DEPTH = 64;

export type DecodedJson =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly code: 'INVALID_JSON' | 'MESSAGE_TOO_DEEP' | 'FORBIDDEN_KEY' };

const INVALID: DecodedJson = { ok: false, code: 'INVALID_JSON' };
const TOO_DEEP: DecodedJson = { ok: false, code: 'MESSAGE_TOO_DEEP' };
const FORBIDDEN: DecodedJson = { ok: false, code: 'FORBIDDEN_KEY' };

/** Parses the JSON text in `bytes[start, end)`, which must be valid UTF-8. */
export function decodeJson(bytes: Buffer, start: number, end: number, maxDepth: number): DecodedJson {
  if (prechecksLeft > 0 && end - start <= MAX_PRECHECK_BYTES) {
    if (!isJson(bytes, start, end)) {
      prechecksLeft = PRECHECKS_AFTER_INVALID;
      return INVALID;
    }
    prechecksLeft--;
  }
  const decoded = decodeJsonText(bytes.toString('utf8', start, end), maxDepth);
  if (decoded === INVALID) prechecksLeft = PRECHECKS_AFTER_INVALID;
  return decoded;
}

/** Parses one JSON text. */
export function decodeJsonText(text: string, maxDepth: number): DecodedJson {
  if (mayNestDeeper(text, maxDepth) && depthOf(text) > maxDepth) return TOO_DEEP;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return INVALID;
  }
  if (mayNameProto(text) && hasProtoKey(value)) return FORBIDDEN;
  return { ok: true, value };
}

/** Whether the text has more than `maxDepth` opening brackets. The native `indexOf` jumps from one to the next. */
function mayNestDeeper(text: string, maxDepth: number): boolean {
  let openers = 0;
  for (let at = text.indexOf('{'); at !== -1; at = text.indexOf('{', at + 1)) {
    if (++openers > maxDepth) return true;
  }
  for (let at = text.indexOf('['); at !== -1; at = text.indexOf('[', at + 1)) {
    if (++openers > maxDepth) return true;
  }
  return false;
}

function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '\\') at++;
    else if (char === '"') inString = !inString;
    else if (inString) continue;
    else if (char === '{' || char === '[') deepest = Math.max(deepest, ++depth);
    else if (char === '}' || char === ']') depth--;
  }
  return deepest;
}

/** A key `__proto__` is spelled literally, or with at least one character as a `\u00..` escape. */
function mayNameProto(text: string): boolean {
  return text.includes('__proto__') || text.includes('\\u00');
}

function hasProtoKey(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (Object.hasOwn(value, '__proto__')) return true;
  return Object.values(value).some(hasProtoKey);
}
