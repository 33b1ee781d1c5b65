// The types that a subscription names: whole names, beginnings of names, and the reserved one.

/** The reserved type whose subscribers get the rejected messages. */
export const REJECTED = 'rejected';

/** `*` is every type, `job_*` those that begin so, anything else the type itself. */
export function matchesType(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}
