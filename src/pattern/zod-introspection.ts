// Reads zod schemas: definitions, checks, bounds, values. Declines, with the reason, what no pattern can express.

import * as z from 'zod';
import { TIMESTAMP } from '../messages/timestamps.js';
import {
  type Check,
  Declined,
  type Definition,
  declineUnknownParts,
  definitionOf,
  isModelled,
  type Schema,
} from './zod-allow-list.js';

/** The members of an object schema; `undefined` for other schemas. */
export function shapeOf(schema: Schema): Readonly<Record<string, Schema>> | undefined {
  return definitionOf(schema).shape as Readonly<Record<string, Schema>> | undefined;
}

type CheckDefinition = Check['_zod']['def'];

/** Removes the wrappers `optional`, `default` and `readonly` from a schema. */
export function unwrap(schema: Schema): Schema {
  const def = definitionOf(schema);
  const { type } = def;
  const isWrapper = type === 'optional' || type === 'default' || type === 'readonly';
  return isWrapper ? unwrap(def.innerType as Schema) : schema;
}

/**
 * Whether an object is certainly valid without this member. zod's own `optin` is not enough: a refinement or a pipe
 * may still reject the missing member.
 */
export function isOmittable(schema: Schema): boolean {
  const def = definitionOf(schema);
  if (hasChecks(def) || !isModelled(schema)) return false;
  switch (def.type) {
    case 'default':
      return hasFixedDefault(def);
    case 'optional': {
      const inner = def.innerType as Schema;
      return inner._zod.optin === undefined || isOmittable(inner);
    }
    case 'nullable':
    case 'readonly':
      return isOmittable(def.innerType as Schema);
    default:
      return false;
  }
}

/** Whether every object inherits a property of this name. zod reads it like an own property, so it is never missing. */
export function isInherited(key: string): boolean {
  return key in Object.prototype;
}

export function hasChecks({ checks }: Definition): boolean {
  return Array.isArray(checks) && checks.length > 0;
}

/** Whether a default is constant. A computed one may throw, which rejects the message. */
function hasFixedDefault(def: Definition): boolean {
  try {
    // The property is a getter that computes the default on each access.
    const [first, second] = [def.defaultValue, def.defaultValue];
    return JSON.stringify(first) === JSON.stringify(second);
  } catch {
    return false;
  }
}

function checksOf(def: Definition): readonly CheckDefinition[] {
  const checks = (def.checks ?? []) as readonly Check[];
  for (const check of checks) declineUnknownParts(check);
  return checks.map((check) => check._zod.def);
}

function declineCheck(check: CheckDefinition): never {
  if (check.check === 'custom') throw new Declined('a refinement');
  throw new Declined(`the check ${check.check.endsWith('_format') ? String(check.format) : check.check}`);
}

/** Declines a definition with checks or coercion. */
export function declineChecks(def: Definition): void {
  const [check] = checksOf(def);
  if (check !== undefined) declineCheck(check);
  if (def.coerce === true) throw new Declined('coercion');
}

/** The greatest length that a pattern can check. */
const MAX_LENGTH = 2 ** 31 - 1;

/** Bounds on the length of a string or array. */
export interface LengthBounds {
  readonly min: number;
  readonly max: number | undefined;
  /** Required prefix; strings only. */
  readonly prefix: string | undefined;
}

/** The bounds of a string or array schema. @param minLength a minimum in addition to the schema's own */
export function boundsOf(def: Definition, minLength: number): LengthBounds {
  let min = minLength;
  let max = Number.POSITIVE_INFINITY;
  let prefix: string | undefined;
  for (const check of checksOf(def)) {
    if (check.check === 'min_length') min = Math.max(min, checkedLength(check.minimum));
    else if (check.check === 'max_length') max = Math.min(max, checkedLength(check.maximum));
    else if (check.check === 'length_equals') {
      min = Math.max(min, checkedLength(check.length));
      max = Math.min(max, checkedLength(check.length));
    } else if (check.format === 'starts_with' && prefix === undefined) prefix = String(check.prefix);
    else declineCheck(check);
  }
  if (def.coerce === true) throw new Declined('coercion');
  if (max < min) throw new Declined('contradictory bounds');
  return { min, max: max === Number.POSITIVE_INFINITY ? undefined : max, prefix };
}

function checkedLength(bound: unknown): number {
  if (Number.isInteger(bound) && Math.abs(Number(bound)) <= MAX_LENGTH) return Number(bound);
  throw new Declined('a length that is not a 31-bit integer');
}

/** A range of numbers. */
export interface NumberRange {
  readonly isInteger: boolean;
  readonly min: number;
  readonly max: number;
  /** Whether the bound itself is outside the range. */
  readonly minExcluded: boolean;
  readonly maxExcluded: boolean;
}

export const ANY_NUMBER: NumberRange = {
  isInteger: false,
  min: Number.NEGATIVE_INFINITY,
  max: Number.POSITIVE_INFINITY,
  minExcluded: false,
  maxExcluded: false,
};

/** The intersection of two ranges. */
export function intersect(a: NumberRange, b: Partial<NumberRange>): NumberRange {
  const { isInteger = false, min = a.min, max = a.max, minExcluded = false, maxExcluded = false } = b;
  return {
    isInteger: a.isInteger || isInteger,
    ...(min > a.min || (min === a.min && minExcluded)
      ? { min, minExcluded }
      : { min: a.min, minExcluded: a.minExcluded }),
    ...(max < a.max || (max === a.max && maxExcluded)
      ? { max, maxExcluded }
      : { max: a.max, maxExcluded: a.maxExcluded }),
  };
}

const INTEGER_FORMATS: Readonly<Record<string, Partial<NumberRange>>> = {
  safeint: { isInteger: true },
  int32: { isInteger: true, min: -(2 ** 31), max: 2 ** 31 - 1 },
  uint32: { isInteger: true, min: 0, max: 2 ** 32 - 1 },
  float64: {},
};

/** The numbers that a schema allows. */
export function numberRangeOf(def: Definition): NumberRange {
  if (def.coerce === true) throw new Declined('coercion');
  let range = ANY_NUMBER;
  const checks = checksOf(def);
  for (const check of def.format === undefined ? checks : [{ ...def, check: 'number_format' }, ...checks]) {
    const format = check.check === 'number_format' ? INTEGER_FORMATS[String(check.format)] : undefined;
    const isExcluded = check.inclusive !== true;
    if (format !== undefined) range = intersect(range, format);
    else if (typeof check.value !== 'number' || Number.isNaN(check.value)) declineCheck(check);
    else if (check.check === 'greater_than') {
      range = intersect(range, { min: check.value, minExcluded: isExcluded });
    } else if (check.check === 'less_than') {
      range = intersect(range, { max: check.value, maxExcluded: isExcluded });
    } else declineCheck(check);
  }
  return range;
}

/** A scalar that survives a round trip through JSON unchanged. */
export type JsonScalar = string | number | boolean | null;

/** The values of an enum or literal. Declines values that are not JSON scalars; zod compares objects by identity. */
export function valuesOf(def: Definition): readonly JsonScalar[] {
  // Not Object.values(entries): a numeric TypeScript enum also contains its names as values.
  const values: readonly unknown[] =
    def.type === 'enum'
      ? z.core.util.getEnumValues(def.entries as z.core.util.EnumLike)
      : (def.values as readonly unknown[]);
  return values.map((value) => {
    if (!isJsonScalar(value)) throw new Declined(describeValue(value));
    return value;
  });
}

function isJsonScalar(value: unknown): value is JsonScalar {
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0);
  return value === null || typeof value === 'string' || typeof value === 'boolean';
}

function describeValue(value: unknown): string {
  if (typeof value === 'number') return `the value ${Object.is(value, -0) ? '-0' : value}`;
  if (Array.isArray(value)) return 'a value of type array';
  return value === undefined ? 'the value undefined' : `a value of type ${typeof value}`;
}

/** Whether the schema is a literal or enum, so that the value is required and one of a known set. */
export function isLiteralOrEnum(schema: Schema): boolean {
  return ['literal', 'enum'].includes(definitionOf(schema).type);
}

/** Whether the schema accepts all strings. */
export function isAnyString(schema: Schema): boolean {
  const def = definitionOf(schema);
  return (
    isModelled(schema) &&
    def.type === 'string' &&
    def.format === undefined &&
    def.coerce !== true &&
    !hasChecks(def)
  );
}

/** Declines a format that no pattern can express, or whose regular expression is not known. */
export function declineUnsupportedFormat(def: Definition): void {
  const standard = standardPattern(def);
  if (standard === undefined) throw new Declined(`the format ${String(def.format)}`);
  if (def.fn !== undefined || String(def.pattern) !== String(standard)) {
    throw new Declined(`a custom regular expression for the format ${String(def.format)}`);
  }
}

/** The regular expression of a format whose meaning is known: zod's own, or that of the protocol's timestamps. */
function standardPattern(def: Definition): RegExp | undefined {
  const { regexes } = z.core;
  switch (def.format) {
    case 'date':
      return regexes.date;
    case 'datetime': {
      if (String(def.pattern) === String(TIMESTAMP)) return TIMESTAMP;
      // zod's definition of this format has these additional properties.
      const { precision, offset, local } = def as unknown as z.core.$ZodISODateTimeDef;
      return regexes.datetime({ precision, offset, local });
    }
    case 'uuid':
      return regexes.uuid(def.version === undefined ? undefined : Number(String(def.version).slice(1)));
    default:
      return undefined;
  }
}

/** Whether the first key of a union option is the discriminator, so that the options already differ there. */
export function beginsWithTag(option: Schema, discriminator: unknown): boolean {
  const def = definitionOf(option);
  if (typeof discriminator !== 'string' || def.type !== 'object') return false;
  const [first] = Object.entries(def.shape as Record<string, Schema>);
  return first?.[0] === discriminator && definitionOf(first[1]).type === 'literal';
}

/**
 * Declines a discriminated union with a missing or shared tag. zod detects this only at the first message, and then
 * rejects all messages.
 */
export function declineAmbiguousTags(options: readonly Schema[], discriminator: unknown): void {
  const tags = options.flatMap((option) => {
    const shape = shapeOf(option);
    const hasTag = typeof discriminator === 'string' && shape && Object.hasOwn(shape, discriminator);
    const tag = hasTag ? shape[discriminator] : undefined;
    if (tag === undefined || !isLiteralOrEnum(tag))
      throw new Declined('a union whose options do not all have a literal tag');
    return valuesOf(definitionOf(tag));
  });
  if (new Set(tags).size < tags.length) throw new Declined('a union whose options share a tag');
}

/** The characters that the JSON of a schema can begin with. `0` stands for all numbers. */
export function firstCharactersOf(schema: Schema): Set<string> {
  const def = definitionOf(schema);
  switch (def.type) {
    case 'string':
      return new Set('"');
    case 'number':
      return new Set('0');
    case 'boolean':
      return new Set('tf');
    case 'null':
      return new Set('n');
    case 'object':
    case 'record':
      return new Set('{');
    case 'array':
      return new Set('[');
    case 'enum':
    case 'literal':
      return new Set(
        valuesOf(def).map((value) => (typeof value === 'number' ? '0' : JSON.stringify(value).charAt(0))),
      );
    case 'nullable':
      return new Set([...firstCharactersOf(def.innerType as Schema), 'n']);
    case 'union':
      return new Set((def.options as Schema[]).flatMap((option) => [...firstCharactersOf(option)]));
    case 'optional':
    case 'default':
    case 'readonly':
      return firstCharactersOf(def.innerType as Schema);
    default:
      return new Set('"0tfn{[');
  }
}
