// Validates with a type's schema. Schemas from another zod version are validated by that version's own functions: the
// functions of this one rely on internals that change between versions.

import * as z from 'zod';
import { FIRST_ISSUE, findIssues, hasIssue, isSmall } from './issue-finder.js';
import type { MessageType } from './message-registry.js';

type Issue = z.core.$ZodIssue;

/** Whether a type's schema accepts a value. Throws what a part of the schema throws. */
export function isAccepted(type: MessageType, value: object): boolean {
  if (type.isOtherVersion) return ownIssues(type.schema, value, FIRST_ISSUE).length === 0;
  try {
    return z.validate(type.schema, value);
  } catch (error) {
    // zod passes all issues of a record as arguments of one call. With more than about 100,000, V8 throws this error.
    if (error instanceof RangeError && hasIssue(type.schema, value)) return false;
    throw error;
  }
}

/** The first issues of a value that a type's schema rejects, up to a limit. */
export function issuesOf(type: MessageType, value: object, limit: number): readonly Issue[] {
  return type.isOtherVersion
    ? ownIssues(type.schema, value, isSmall(value) ? undefined : FIRST_ISSUE).slice(0, limit)
    : findIssues(type.schema, value, limit);
}

/** Parses a value that a type's schema accepts: fills in defaults and applies transforms. */
export function parseAs({ schema }: MessageType, value: unknown): unknown {
  // Schemas of zod/v4/core have no methods.
  return 'parse' in schema ? schema.parse(value) : z.parse(schema, value);
}

/** @param context older versions ignore `abortEarly`, and collect all issues */
function ownIssues(
  schema: z.ZodType,
  value: object,
  context: typeof FIRST_ISSUE | undefined,
): readonly Issue[] {
  if ('safeParse' in schema) return schema.safeParse(value, context).error?.issues ?? [];
  return z.safeParse(schema, value, context).error?.issues ?? [];
}

/**
 * Those of a value's issues that are about a `null` where its key could be left out instead, whatever the schema: they
 * do not occur without these keys.
 * @param issuesWithout finds the issues of a changed copy of the value
 */
export function omittableNulls(
  value: object,
  issues: readonly Issue[],
  issuesWithout: (copy: object) => readonly Issue[],
): ReadonlySet<Issue> {
  const nulls = issues.filter(({ path }) => isNullMember(value, path));
  if (nulls.length === 0) return NONE;
  const copy = nulls.reduce((changed, { path }) => withoutMember(changed, path), value);
  const left = new Set(issuesWithout(copy).map(({ path }) => keyOf(path)));
  return new Set(nulls.filter(({ path }) => !left.has(keyOf(path))));
}

const NONE: ReadonlySet<Issue> = new Set();

function keyOf(path: readonly PropertyKey[]): string {
  return JSON.stringify(path.map((step) => (typeof step === 'symbol' ? null : step)));
}

function isNullMember(value: object, path: readonly PropertyKey[]): boolean {
  let holder: unknown;
  let part: unknown = value;
  for (const step of path) {
    if (typeof part !== 'object' || part === null || !Object.hasOwn(part, step)) return false;
    holder = part;
    part = (part as Record<PropertyKey, unknown>)[step];
  }
  return part === null && !Array.isArray(holder);
}

/** A copy of an object or array without one member, which must exist. */
function withoutMember<T extends object>(value: T, [step = '', ...rest]: readonly PropertyKey[]): T {
  const copy = (Array.isArray(value) ? [...value] : { ...value }) as Record<PropertyKey, object>;
  const part = copy[step];
  if (rest.length === 0 || part === undefined) delete copy[step];
  else copy[step] = withoutMember(part, rest);
  return copy as T;
}
