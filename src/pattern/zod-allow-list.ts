// What the pattern compiler has modelled of zod: its version, its classes, and the properties of each kind of
// definition and check. Whatever is not listed here may change what a schema accepts, so it is declined.

import * as z from 'zod';
import { isOfKnownClass, isThisVersion } from '../messages/schema-walk.js';

/** Why a schema, or a part of it, cannot be a pattern. */
export class Declined extends Error {}

export type Schema = z.core.$ZodType;

/** A zod schema's own description. Its properties depend on the kind. */
export type Definition = { readonly type: string; readonly [key: string]: unknown };

/** What zod says of a check: its definition, and the names of its classes. */
export interface Check {
  readonly _zod: {
    readonly def: { readonly check: string; readonly [key: string]: unknown };
    readonly traits?: ReadonlySet<string>;
  };
}

export function definitionOf(schema: Schema): Definition {
  // zod types each definition by its kind; here they are told apart by `type` at run time.
  return schema._zod.def as unknown as Definition;
}

/** Properties that never change what is accepted. */
const ALWAYS = ['type', 'checks', 'error', 'description'];
/** Properties of a schema that is a check of itself: a format of strings or numbers. */
const FORMAT = ['check', 'format', 'abort'];

/** By kind of definition: its properties. Values that are undefined do not count. */
const DEFINITIONS: Readonly<Record<string, readonly string[]>> = {
  string: ['coerce', ...FORMAT, 'pattern', 'version', 'precision', 'offset', 'local', 'fn'],
  number: ['coerce', ...FORMAT],
  boolean: ['coerce'],
  null: [],
  any: [],
  unknown: [],
  never: [],
  object: ['shape', 'catchall'],
  array: ['element'],
  // Neither `mode` nor `partial` matters where every string is a key; other records are declined.
  record: ['keyType', 'valueType', 'mode', 'partial'],
  // Options that exclude each other mean the same with `inclusive` or without, and with `unionFallback` or without.
  union: ['options', 'discriminator', 'inclusive', 'unionFallback'],
  enum: ['entries'],
  literal: ['values'],
  nullable: ['innerType'],
  optional: ['innerType'],
  default: ['innerType', 'defaultValue'],
  readonly: ['innerType'],
};

const CHECK_ALWAYS = ['check', 'error', 'description', 'abort', 'when'];

/** By kind of check: its class, and its properties. */
const CHECKS: Readonly<Record<string, { readonly trait: string; readonly properties: readonly string[] }>> = {
  min_length: { trait: '$ZodCheckMinLength', properties: ['minimum'] },
  max_length: { trait: '$ZodCheckMaxLength', properties: ['maximum'] },
  length_equals: { trait: '$ZodCheckLengthEquals', properties: ['length'] },
  starts_with: { trait: '$ZodCheckStartsWith', properties: ['format', 'prefix', 'pattern'] },
  number_format: { trait: '$ZodCheckNumberFormat', properties: ['format', 'type'] },
  greater_than: { trait: '$ZodCheckGreaterThan', properties: ['value', 'inclusive'] },
  less_than: { trait: '$ZodCheckLessThan', properties: ['value', 'inclusive'] },
};

/** zod gives each check of a length a condition of its own, which is always true for strings and lists. */
const LENGTH_CONDITION = String(
  new z.core.$ZodCheckMinLength({ check: 'min_length', minimum: 0 })._zod.def.when,
);

/**
 * The definition of a schema of which everything is modelled.
 * @throws Declined
 */
export function modelledDefinition(schema: Schema): Definition {
  const def = definitionOf(schema);
  const { version, traits } = schema._zod;
  if (!isThisVersion(version)) throw new Declined('a schema of another version of zod');
  const allowed = Object.hasOwn(DEFINITIONS, def.type) ? DEFINITIONS[def.type] : undefined;
  if (allowed === undefined) throw new Declined(`${def.type} cannot be a pattern`);
  if (!isOfKnownClass(traits)) throw new Declined('a schema of a class of its own');
  const unknown = unknownProperty(def, [...ALWAYS, ...allowed]);
  if (unknown !== undefined) throw new Declined(`the property ${unknown} of a schema of kind ${def.type}`);
  return def;
}

/** Whether everything of a schema, apart from the schemas in it, is modelled. */
export function isModelled(schema: Schema): boolean {
  try {
    modelledDefinition(schema);
    return true;
  } catch (error) {
    if (error instanceof Declined) return false;
    throw error;
  }
}

/** Declines a check of a kind that is modelled, where something else of it is not. */
export function declineUnknownParts({ _zod: { def, traits } }: Check): void {
  const kind = def.check === 'string_format' ? String(def.format) : def.check;
  const known = Object.hasOwn(CHECKS, kind) ? CHECKS[kind] : undefined;
  if (known === undefined) return;
  if (!traits?.has(known.trait) || !isOfKnownClass(traits)) {
    throw new Declined(`a check ${kind} of a class of its own`);
  }
  const unknown = unknownProperty(def, [...CHECK_ALWAYS, ...known.properties]);
  if (unknown !== undefined) throw new Declined(`the property ${unknown} of the check ${kind}`);
  const { when } = def;
  if (when !== undefined && (!kind.includes('length') || String(when) !== LENGTH_CONDITION)) {
    throw new Declined(`a condition of the check ${kind}`);
  }
}

function unknownProperty(def: Readonly<Record<string, unknown>>, allowed: readonly string[]) {
  return Object.keys(def).find((key) => !allowed.includes(key) && def[key] !== undefined);
}
