// Finds where an invalid message stops being valid. Runs only for a rejected message whose details are reported, since
// it reads the message byte by byte up to there: 4 to 17 ms per MiB.

import { jsonErrorOffset } from './json-syntax.js';

/**
 * The offset at which the bytes of a message stop being JSON or UTF-8.
 * @param code the error code of the message
 * @returns bytes from `from`: of the first byte that cannot continue a valid message, or the size of a message that ends
 *   too early; `undefined` for other codes
 */
export function errorOffset(code: string, bytes: Uint8Array, from: number, to: number): number | undefined {
  if (code !== 'INVALID_JSON' && code !== 'INVALID_UTF8') return undefined;
  const at = code === 'INVALID_JSON' ? jsonErrorOffset(bytes, from, to) : utf8ErrorOffset(bytes, from, to);
  return at === undefined ? undefined : at - from;
}

/** Offset of the first byte of the first sequence in `bytes[from, to)` that is not UTF-8; `undefined` if there is none. */
function utf8ErrorOffset(bytes: Uint8Array, from: number, to: number): number | undefined {
  for (let at = from; at < to; ) {
    const size = sequenceSize(bytes, at, to);
    if (size === 0) return at;
    at += size;
  }
  return undefined;
}

/** Size of the UTF-8 sequence at an offset, by table 3-7 of the Unicode standard; 0 if there is none. */
function sequenceSize(bytes: Uint8Array, at: number, to: number): number {
  const lead = bytes[at] ?? 0;
  if (lead < 0x80) return 1;
  const size = lead < 0xc2 || lead > 0xf4 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (size === 0 || at + size > to) return 0;
  // The second byte excludes overlong sequences, surrogates, and code points above U+10FFFF.
  const lowest = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const highest = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  const second = bytes[at + 1] ?? 0;
  if (second < lowest || second > highest) return 0;
  for (let next = at + 2; next < at + size; next++) {
    if (((bytes[next] ?? 0) & 0xc0) !== 0x80) return 0;
  }
  return size;
}
