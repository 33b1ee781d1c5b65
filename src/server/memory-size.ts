// Estimates the memory of a JSON value: one message of 1 MB can become 22 MB of objects.

/** Sizes in 64-bit V8, in bytes: an object with backing stores, a property or element, a number, a string header. */
const SIZE = { OBJECT: 56, PROPERTY: 16, NUMBER: 16, STRING: 24, CHARACTER: 2 } as const;

/** Estimated memory of a value, in bytes. A part that occurs twice counts twice. */
export function memoryOf(value: unknown): number {
  let bytes = 0;
  const pending: unknown[] = [value];
  while (pending.length > 0) {
    const next = pending.pop();
    if (typeof next === 'string') bytes += SIZE.STRING + next.length * SIZE.CHARACTER;
    else if (typeof next === 'object' && next !== null) {
      bytes += SIZE.OBJECT;
      const isArray = Array.isArray(next);
      for (const [key, part] of Object.entries(next)) {
        bytes += SIZE.PROPERTY + (isArray ? 0 : key.length);
        pending.push(part);
      }
    } else bytes += SIZE.NUMBER;
  }
  return bytes;
}
