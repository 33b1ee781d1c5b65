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
