// Copies of bytes that may be in shared memory. `copy`, `set` and `Buffer.from` copy that byte by byte, unless source and
// target happen to be aligned alike: 0.7 ns per byte, measured with V8 11.3, where `fill` takes 0.04. But `fill` takes
// longer to start.

/** Smallest number of bytes for which `fill` is faster. */
const MIN_FILL = 1024;

/**
 * Copies `source[start, end)` to `target` from `at` on. They must not overlap. Takes 0.05 µs if both are the same buffer,
 * and 0.2 to 0.5 µs otherwise.
 * @returns the number of bytes
 */
export function copyBytes(
  source: Uint8Array,
  start: number,
  end: number,
  target: Buffer,
  at: number,
): number {
  const length = end - start;
  if (length === 0) return 0;
  if (source === target) target.copyWithin(at, start, end);
  else {
    const part = new Uint8Array(source.buffer, source.byteOffset + start, length);
    if (length < MIN_FILL) target.set(part, at);
    else target.fill(part, at, at + length);
  }
  return length;
}

/** The same bytes in memory of their own. */
export function cloneBytes(bytes: Buffer): Buffer {
  const clone = Buffer.allocUnsafe(bytes.length);
  copyBytes(bytes, 0, bytes.length, clone, 0);
  return clone;
}
