// How many messages there are in some bytes, roughly and at once: by a few looks at places that no sender can
// foresee. To count them would cost more than to validate them.

const CLOSE_BRACE = 0x7d;
/** What follows a `}` that ends no message. */
const INNER: ReadonlySet<number | undefined> = new Set([...',]}'].map((text) => text.charCodeAt(0)));

/** A look is at so many bytes, and there is one for each so many, up to so many looks: 1 to 3 µs in all, measured. */
const LOOK = { BYTES: 16, EVERY: 512, MOST: 32 } as const;

/** About how many messages end in `bytes[start, end)`. */
export function estimateMessages(bytes: Buffer, start: number, end: number, delimiter: number): number {
  const size = end - start;
  if (size <= LOOK.BYTES) return 1;
  const looks = Math.min(LOOK.MOST, Math.ceil(size / LOOK.EVERY));
  // One in each part of the bytes: many ends in one corner are not missed by chance.
  const part = (size - LOOK.BYTES + 1) / looks;
  let ends = 0;
  for (let look = 0; look < looks; look++) {
    const from = start + Math.floor((look + Math.random()) * part);
    for (let at = from; at < from + LOOK.BYTES; at++) {
      const byte = bytes[at];
      if (byte === delimiter || (byte === CLOSE_BRACE && isLast(bytes[at + 1], delimiter))) ends++;
    }
  }
  return Math.max(1, Math.round((ends / (looks * LOOK.BYTES)) * size));
}

/** Whether a `}` before this byte ends a message that no delimiter follows: the delimiter counts by itself. */
function isLast(next: number | undefined, delimiter: number): boolean {
  return next !== delimiter && !INNER.has(next);
}
