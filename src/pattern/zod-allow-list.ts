// The subset of zod that the pattern compiler models: its version, its classes, and the properties of each kind of
// definition and check. Anything that is not listed here could change what a schema accepts, so it is declined.

import * as z from 'zod';
import { isOfKnownClass, isThisVersion } from '../messages/schema-walk.js';

/** The reason why a schema, or a part of it, cannot be compiled to a pattern. */
export class Declined extends Error {}

export type Schema = z.core.$ZodType;

/** The definition of a zod schema. Its properties depend on its type. */
export type Definition = { readonly type: string; readonly [key: string]: unknown };

/** A zod check: its definition, and the names of its classes. */
export interface Check {
  readonly _zod: {
    readonly def: { readonly check: string; readonly [key: string]: unknown };
    readonly traits?: ReadonlySet<string>;
  };
}

export function definitionOf(schema: Schema): Definition {
  // zod has a static type for each kind of definition; here, `type` distinguishes them at run time.
  return schema._zod.def as unknown as Definition;
}

/** Properties that do not affect what a schema accepts. */
const COMMON_PROPERTIES = ['type', 'checks', 'error', 'description'];
/** Properties of schemas that are also checks: string and number formats. */
const FORMAT_PROPERTIES = ['check', 'format', 'abort'];

/** The modelled properties by type of definition. Properties with the value undefined are ignored. */
const DEFINITIONS: Readonly<Record<string, readonly string[]>> = {
  string: ['coerce', ...FORMAT_PROPERTIES, 'pattern', 'version', 'precision', 'offset', 'local', 'fn'],
  number: ['coerce', ...FORMAT_PROPERTIES],
  boolean: ['coerce'],
  null: [],
  any: [],
  unknown: [],
  never: [],
  object: ['shape', 'catchall'],
  array: ['element'],
  // `mode` and `partial` have no effect if all strings are valid keys. Other records are declined.
  record: ['keyType', 'valueType', 'mode', 'partial'],
  // Only unions with mutually exclusive options are compiled. For these, `inclusive` and `unionFallback` do nothing.
  union: ['options', 'discriminator', 'inclusive', 'unionFallback'],
  enum: ['entries'],
  literal: ['values'],
  nullable: ['innerType'],
  optional: ['innerType'],
  default: ['innerType', 'defaultValue'],
  readonly: ['innerType'],
};

const COMMON_CHECK_PROPERTIES = ['check', 'error', 'description', 'abort', 'when'];

/** The class and the modelled properties by kind of check. */
const CHECKS: Readonly<Record<string, { readonly trait: string; readonly properties: readonly string[] }>> = {
  min_length: { trait: '$ZodCheckMinLength', properties: ['minimum'] },
  max_length: { trait: '$ZodCheckMaxLength', properties: ['maximum'] },
  length_equals: { trait: '$ZodCheckLengthEquals', properties: ['length'] },
  starts_with: { trait: '$ZodCheckStartsWith', properties: ['format', 'prefix', 'pattern'] },
  number_format: { trait: '$ZodCheckNumberFormat', properties: ['format', 'type'] },
  greater_than: { trait: '$ZodCheckGreaterThan', properties: ['value', 'inclusive'] },
  less_than: { trait: '$ZodCheckLessThan', properties: ['value', 'inclusive'] },
};

/** The `when` condition that zod sets on length checks. It is always true for strings and arrays. */
const LENGTH_CONDITION = String(
  new z.core.$ZodCheckMinLength({ check: 'min_length', minimum: 0 })._zod.def.when,
);

/**
 * The definition of a schema whose version, class, type and properties are all modelled.
 * @throws Declined
 */
export function modelledDefinition(schema: Schema): Definition {
  const def = definitionOf(schema);
  const { version, traits } = schema._zod;
  if (!isThisVersion(version)) throw new Declined('a schema from another zod version');
  const allowed = Object.hasOwn(DEFINITIONS, def.type) ? DEFINITIONS[def.type] : undefined;
  if (allowed === undefined) throw new Declined(`the schema type ${def.type}`);
  if (!isOfKnownClass(traits)) throw new Declined('a custom schema class');
  const unknown = unknownProperty(def, [...COMMON_PROPERTIES, ...allowed]);
  if (unknown !== undefined) throw new Declined(`the property ${unknown} of the schema type ${def.type}`);
  return def;
}

/** Whether a schema is modelled, apart from the schemas in it. */
export function isModelled(schema: Schema): boolean {
  try {
    modelledDefinition(schema);
    return true;
  } catch (error) {
    if (error instanceof Declined) return false;
    throw error;
  }
}

/** Declines a check of a modelled kind if its class, a property or its condition is not modelled. */
export function declineUnknownParts({ _zod: { def, traits } }: Check): void {
  const kind = def.check === 'string_format' ? String(def.format) : def.check;
  const known = Object.hasOwn(CHECKS, kind) ? CHECKS[kind] : undefined;
  if (known === undefined) return;
  if (!traits?.has(known.trait) || !isOfKnownClass(traits)) {
    throw new Declined(`a custom class of the check ${kind}`);
  }
  const unknown = unknownProperty(def, [...COMMON_CHECK_PROPERTIES, ...known.properties]);
  if (unknown !== undefined) throw new Declined(`the property ${unknown} of the check ${kind}`);
  const { when } = def;
  if (when !== undefined && (!kind.includes('length') || String(when) !== LENGTH_CONDITION)) {
    throw new Declined(`a custom condition of the check ${kind}`);
  }
}

function unknownProperty(def: Readonly<Record<string, unknown>>, allowed: readonly string[]) {
  return Object.keys(def).find((key) => !allowed.includes(key) && def[key] !== undefined);
}
