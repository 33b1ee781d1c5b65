// Type patterns of subscriptions: exact names, prefixes, and the reserved types.

/** A reserved type: its subscribers receive the rejected messages. */
export const REJECTED = 'rejected';
/** A reserved type: its subscribers learn which crawlers connect and disconnect. */
export const PRESENCE = 'presence';
/** Types that subscribers may name and that only the broker sends. */
export const RESERVED_TYPES: ReadonlySet<string> = new Set([REJECTED, PRESENCE]);

/** `*` matches all types, `job_*` all types with this prefix, any other pattern only the type itself. */
export function matchesType(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

/**
 * Several patterns. Matching takes about the same time for one as for hundreds, since peers choose the names of types
 * without a schema.
 */
export class TypePatterns {
  readonly #names: ReadonlySet<string>;
  /** Sorted. None begins with another one, so that only the last one before a name can be a prefix of it. */
  readonly #prefixes: readonly string[];

  constructor(patterns: readonly string[]) {
    const isPrefix = (pattern: string) => pattern.endsWith('*');
    this.#names = new Set(patterns.filter((pattern) => !isPrefix(pattern)));
    const sorted = patterns
      .filter(isPrefix)
      .map((pattern) => pattern.slice(0, -1))
      .sort();
    const prefixes: string[] = [];
    for (const prefix of sorted) {
      const shorter = prefixes.at(-1);
      if (shorter === undefined || !prefix.startsWith(shorter)) prefixes.push(prefix);
    }
    // Copied, since comparing slices of strings takes five times as long (measured: 1.7 µs instead of 0.3 with 128 of them).
    this.#prefixes = JSON.parse(JSON.stringify(prefixes)) as string[];
  }

  /** Whether one of the patterns matches, as in {@link matchesType}. */
  match(name: string): boolean {
    if (this.#names.has(name)) return true;
    let [from, to] = [0, this.#prefixes.length];
    while (from < to) {
      const middle = (from + to) >>> 1;
      if ((this.#prefixes[middle] ?? '') <= name) from = middle + 1;
      else to = middle;
    }
    const prefix = this.#prefixes[from - 1];
    return prefix !== undefined && name.startsWith(prefix);
  }
}
