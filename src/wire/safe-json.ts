// JSON.parse with the two bounds that it lacks: how deep a text nests, and no key `__proto__`.
// Both are looked for cheaply first, and exactly only in a text that could break them.

import { isJson } from './json-syntax.js';

/** Texts of up to this many bytes may be checked before they are parsed: where one is not JSON, that costs far less. */
const SHORT_TEXT = 256;
/** How many short texts are checked so after one that was not JSON: while all are, the check would only be work. */
const WARY_FOR = 64;
let wary = 0;

/** Deepest nesting of objects and arrays that a message may have. */
export const MAX_DEPTH = 64;

export type DecodedJson =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly code: 'INVALID_JSON' | 'MESSAGE_TOO_DEEP' | 'FORBIDDEN_KEY' };

const INVALID: DecodedJson = { ok: false, code: 'INVALID_JSON' };
const TOO_DEEP: DecodedJson = { ok: false, code: 'MESSAGE_TOO_DEEP' };
const FORBIDDEN: DecodedJson = { ok: false, code: 'FORBIDDEN_KEY' };

/** Parses the one JSON text in `bytes[start, end)`, which must be UTF-8. */
export function decodeJson(bytes: Buffer, start: number, end: number, maxDepth: number): DecodedJson {
  if (wary > 0 && end - start <= SHORT_TEXT) {
    if (!isJson(bytes, start, end)) {
      wary = WARY_FOR;
      return INVALID;
    }
    wary--;
  }
  const decoded = decodeJsonText(bytes.toString('utf8', start, end), maxDepth);
  if (decoded === INVALID) wary = WARY_FOR;
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

/** Whether the text has more opening brackets than `maxDepth`. Hops from one to the next natively. */
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

/** A key `__proto__` is written so, or with some letter as a `\u00..` escape. */
function mayNameProto(text: string): boolean {
  return text.includes('__proto__') || text.includes('\\u00');
}

function hasProtoKey(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (Object.hasOwn(value, '__proto__')) return true;
  return Object.values(value).some(hasProtoKey);
}
