// How much memory a value of JSON takes, estimated: one message of 1 MB can become 22 MB of objects.

/** Bytes of 64-bit V8: an object with its map and its lists, a property or an element, a number, a string's header. */
const SIZE = { OBJECT: 56, PROPERTY: 16, NUMBER: 16, STRING: 24, CHARACTER: 2 } as const;

/** The memory that a value keeps, in bytes: what is in it twice counts twice. */
export function memoryOf(value: unknown): number {
  let bytes = 0;
  const open: unknown[] = [value];
  while (open.length > 0) {
    const next = open.pop();
    if (typeof next === 'string') bytes += SIZE.STRING + next.length * SIZE.CHARACTER;
    else if (typeof next === 'object' && next !== null) {
      bytes += SIZE.OBJECT;
      const isArray = Array.isArray(next);
      for (const [key, part] of Object.entries(next)) {
        bytes += SIZE.PROPERTY + (isArray ? 0 : key.length);
        open.push(part);
      }
    } else bytes += SIZE.NUMBER;
  }
  return bytes;
}
