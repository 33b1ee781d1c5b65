// A text with its escapes resolved, however deeply it was quoted: JSON in a string of JSON, percent-encoding in a URL,
// entities in XML. What searches it needs to know no notation for quotes, slashes or letters, and each character knows
// its place in the source.

export interface UnescapedText {
  readonly text: string;
  /** The start of each character's source, and at the end the length of the source. */
  readonly offsets: Int32Array;
  /** How deeply each character was escaped; 0: it was not. A string ends with a quote that is not deeper than its first. */
  readonly depths: Uint8Array;
}

/** Notations inside each other that are resolved, such as an entity in JSON in a URL. */
const ROUNDS = 3;
/**
 * Any number of backslashes and a character, a percent-encoded one, or an entity; the latter two also if they were
 * encoded repeatedly (`%2522`, `&amp;quot;`). No part can match in two ways, so that the time is linear.
 */
const ESCAPE =
  /(?<slashes>\\+)(?:u(?<u>[\da-f]{4})|u\{0*(?<braced>[\da-f]{1,4})\}|x(?<x>[\da-f]{2})|(?<octal>[0-3][0-7]{2})|(?<char>[^\\]))?|%(?:25)*(?<percent>[\da-f]{2})|&(?:(?:amp;)*(?:#(?<decimal>\d{1,5})|#x(?<hex>[\da-f]{1,4})|(?<entity>quot|apos|lt|gt|nbsp));|amp;)/gi;
const LETTERS: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', b: '\b', f: '\f' };
const ENTITIES: Readonly<Record<string, string>> = { quot: '"', apos: "'", lt: '<', gt: '>', nbsp: ' ' };
const MAX_DEPTH = 255;
/** Would hide the words that they are in: control characters, such as NUL in UTF-16, and characters without width. */
const INVISIBLE = /[^\P{Cc}\t-\r]|[\p{Cf}\p{DI}]/u;

export function unescapeText(source: string): UnescapedText {
  const offsets = new Int32Array(source.length + 1);
  for (let at = 0; at < offsets.length; at++) offsets[at] = at;
  let result: UnescapedText = { text: source, offsets, depths: new Uint8Array(source.length) };
  for (let round = 0; round < ROUNDS && /[\\%&]/.test(result.text); round++) result = unescapeOnce(result);
  return INVISIBLE.test(result.text) ? withoutInvisible(result) : result;
}

function withoutInvisible({ text, offsets, depths }: UnescapedText): UnescapedText {
  const visible: number[] = [];
  let at = 0;
  for (const character of text) {
    if (!INVISIBLE.test(character))
      for (let unit = 0; unit < character.length; unit++) visible.push(at + unit);
    at += character.length;
  }
  const places = Int32Array.from([...visible, text.length], (at) => offsets[at] ?? 0);
  // Those at the start are left to the first character, and all others to the one before.
  places[0] = 0;
  return {
    text: visible.map((at) => text[at]).join(''),
    offsets: places,
    depths: Uint8Array.from(visible, (at) => depths[at] ?? 0),
  };
}

function unescapeOnce({ text, offsets, depths }: UnescapedText): UnescapedText {
  const parts: string[] = [];
  const newOffsets = new Int32Array(offsets.length);
  const newDepths = new Uint8Array(depths.length);
  let length = 0;
  let from = 0;
  const copyUpTo = (to: number): void => {
    parts.push(text.slice(from, to));
    newOffsets.set(offsets.subarray(from, to), length);
    newDepths.set(depths.subarray(from, to), length);
    length += to - from;
  };
  for (const { 0: found, index, groups = {} } of text.matchAll(ESCAPE)) {
    copyUpTo(index);
    from = index + found.length;
    const character = decode(groups);
    parts.push(character);
    newOffsets[length] = offsets[index] ?? 0;
    const depth = (depths[from - 1] ?? 0) + depthOf(character, groups.slashes);
    newDepths[length] = Math.min(MAX_DEPTH, depth);
    length++;
  }
  copyUpTo(text.length);
  newOffsets[length] = offsets[text.length] ?? 0;
  return {
    text: parts.join(''),
    offsets: newOffsets.subarray(0, length + 1),
    depths: newDepths.subarray(0, length),
  };
}

function decode(groups: Record<string, string>): string {
  const { slashes, u, braced, x, octal, char, percent, decimal, hex, entity } = groups;
  const code = u ?? braced ?? x ?? percent ?? hex;
  if (code !== undefined) return String.fromCharCode(Number.parseInt(code, 16));
  if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
  if (decimal !== undefined) return String.fromCharCode(Number(decimal));
  if (entity !== undefined) return ENTITIES[entity.toLowerCase()] ?? entity;
  if (char !== undefined) return LETTERS[char] ?? char;
  return slashes === undefined ? '&' : '\\';
}

/**
 * Of a `"` in JSON, backslashes in pairs stand for themselves: the depth is how often an odd number is left when the
 * pairs are resolved. Strings in single quotes have escapes of their own inside those of JSON: any backslash counts.
 */
function depthOf(character: string, slashes: string | undefined): number {
  if (slashes === undefined) return 1;
  if (character !== '"') return slashes.length;
  let depth = 0;
  for (let count = slashes.length; count % 2 === 1; count = (count - 1) / 2) depth++;
  return depth;
}
