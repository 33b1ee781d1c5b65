// Compiles schemas ahead of time.

import * as z from 'zod';
import { hasIssue } from './issue-finder.js';
import type { SchemaFacts } from './schema-walk.js';

/**
 * Compiles a schema ahead of time: same results, measured 2 to 3 times as fast. Returns it unchanged if zod cannot, or
 * would lose something: it compiles definitions only, not the behaviour of a custom class or of another version.
 */
export function compileSchema<S extends z.core.$ZodType>(
  schema: S,
  { isOtherVersion, hasCustomClass }: Pick<SchemaFacts, 'isOtherVersion' | 'hasCustomClass'>,
): S {
  if (isOtherVersion || hasCustomClass) return schema;
  try {
    const compiled = z.compile(schema);
    if (compiled !== schema) lookForFirstIssue(schema, compiled);
    return compiled;
  } catch {
    return schema;
  }
}

/**
 * Where a schema has code of users, `z.validate` repeats a rejection without compiled code, and collects the issues of all
 * checks: hundreds of thousands for an array of 1 MB. So it looks for one issue first. `fallbackRun` is internal to zod:
 * issue-finder.test.ts fails if it no longer has an effect.
 */
function lookForFirstIssue(schema: z.core.$ZodType, { _zod: { bag } }: z.core.$ZodType): void {
  const run = bag.fallbackRun as z.core.$ZodType['_zod']['run'] | undefined;
  if (run === undefined) return;
  bag.fallbackRun = ((payload, context) => {
    if (!hasIssue(schema, payload.value)) return run(payload, context);
    payload.issues.push({ code: 'custom', input: payload.value });
    return payload;
  }) satisfies z.core.$ZodType['_zod']['run'];
}
