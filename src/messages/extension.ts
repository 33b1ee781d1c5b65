// Widens the lists of names in the protocol's schemas: the `extend` of a schema module.

import * as z from 'zod';
import { entityType, jobType } from './messages.js';

/** More names for lists of the protocol. */
export interface Extension {
  readonly EntityType?: readonly string[];
  readonly JobType?: readonly string[];
}

const LISTS: Readonly<Record<string, z.ZodEnum>> = { EntityType: entityType, JobType: jobType };
/** Limits on the names of one list, since a message is compared with each of them. */
const MAX_NAMES = 256;
const MAX_NAME_LENGTH = 256;

/** Replacements for parts of a schema. */
export type Replacements = ReadonlyMap<z.ZodType, z.ZodType>;

/**
 * The wider lists, by the lists that they replace.
 * @param extension the export of a schema module, unchecked
 * @param fail throws an error with a description of what is wrong
 */
export function replacementsOf(extension: unknown, fail: (detail: string) => never): Replacements {
  const replacements = new Map<z.ZodType, z.ZodType>();
  if (extension === undefined) return replacements;
  if (typeof extension !== 'object' || extension === null || Array.isArray(extension)) {
    return fail('must export `extend` as an object');
  }
  for (const [list, names] of Object.entries(extension)) {
    const known = Object.hasOwn(LISTS, list) ? LISTS[list] : undefined;
    if (known === undefined) {
      return fail(
        `extends ${JSON.stringify(list)}; only ${Object.keys(LISTS).join(' and ')} can be extended`,
      );
    }
    if (!isListOfNames(names)) {
      return fail(
        `must extend ${list} by an array of at most ${MAX_NAMES} strings of 1 to ${MAX_NAME_LENGTH} characters`,
      );
    }
    replacements.set(known, z.enum([...new Set([...known.options.map(String), ...names])]));
  }
  return replacements;
}

function isListOfNames(value: unknown): value is readonly string[] {
  // Array.from, because `every` skips holes.
  return (
    Array.isArray(value) &&
    value.length <= MAX_NAMES &&
    Array.from(value).every(
      (name) => typeof name === 'string' && name.length > 0 && name.length <= MAX_NAME_LENGTH,
    )
  );
}

/** A schema of the protocol with some of its parts replaced. Returns the same schema if it has none of them. */
export function replaceParts(schema: z.ZodType, replacements: Replacements): z.ZodType {
  const replacement = replacements.get(schema);
  if (replacement !== undefined) return replacement;
  if (schema instanceof z.ZodOptional) {
    const inner = replaceParts(schema.unwrap() as z.ZodType, replacements);
    return inner === schema.unwrap() ? schema : z.optional(inner);
  }
  if (schema instanceof z.ZodArray) {
    const element = replaceParts(schema.element as z.ZodType, replacements);
    return element === schema.element ? schema : z.array(element);
  }
  if (!(schema instanceof z.ZodObject)) return schema;
  const changed: Record<string, z.ZodType> = {};
  for (const [key, member] of Object.entries(schema.shape as Record<string, z.ZodType>)) {
    const part = replaceParts(member, replacements);
    if (part !== member) changed[key] = part;
  }
  return Object.keys(changed).length === 0 ? schema : schema.extend(changed);
}
