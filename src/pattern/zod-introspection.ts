// Reads what zod tells of its schemas: definitions, checks, bounds. Says by name what no pattern can express.

import * as z from 'zod';
import {
  type Check,
  Declined,
  type Definition,
  declineUnknownParts,
  definitionOf,
  isModelled,
  type Schema,
} from './zod-allow-list.js';

/** The members that an object's schema names; `undefined` where a schema is of something else. */
export function shapeOf(schema: Schema): Readonly<Record<string, Schema>> | undefined {
  return definitionOf(schema).shape as Readonly<Record<string, Schema>> | undefined;
}

type CheckDefinition = Check['_zod']['def'];

/** The schema inside those that only say that a value may be missing. */
export function unwrap(schema: Schema): Schema {
  const def = definitionOf(schema);
  const { type } = def;
  const isWrapper = type === 'optional' || type === 'default' || type === 'readonly';
  return isWrapper ? unwrap(def.innerType as Schema) : schema;
}

/**
 * Whether an object may certainly lack the member. zod's own `optin` says only that it may be missing before whatever
 * else the schema asks: a refinement, a pipe.
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

/** Whether every object has a member of this name: zod, which reads it as any other, takes it to be there always. */
export function isInherited(key: string): boolean {
  return key in Object.prototype;
}

function hasChecks({ checks }: Definition): boolean {
  return Array.isArray(checks) && checks.length > 0;
}

/** Whether a default is the same each time. One that a function computes may fail, and with it the message. */
function hasFixedDefault(def: Definition): boolean {
  try {
    // zod computes it each time it is read.
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

function decline(check: CheckDefinition): never {
  if (check.check === 'custom') throw new Declined('the check of a refinement');
  throw new Declined(`the check ${check.check.endsWith('_format') ? String(check.format) : check.check}`);
}

/** Declines a definition of which more is asked than its kind. */
export function declineChecks(def: Definition): void {
  const [check] = checksOf(def);
  if (check !== undefined) decline(check);
  if (def.coerce === true) throw new Declined('coercion');
}

/** The greatest length that a pattern can compare with. */
const MAX_LENGTH = 2 ** 31 - 1;

/** What a string or list must be like. */
export interface TextBounds {
  readonly min: number;
  readonly max: number | undefined;
  /** What it must begin with; strings only. */
  readonly prefix: string | undefined;
}

/** How long a string or list may be. */
export function boundsOf(def: Definition, least: number): TextBounds {
  let min = least;
  let max = Number.POSITIVE_INFINITY;
  let prefix: string | undefined;
  for (const check of checksOf(def)) {
    if (check.check === 'min_length') min = Math.max(min, lengthIn(check.minimum));
    else if (check.check === 'max_length') max = Math.min(max, lengthIn(check.maximum));
    else if (check.check === 'length_equals') {
      min = Math.max(min, lengthIn(check.length));
      max = Math.min(max, lengthIn(check.length));
    } else if (check.format === 'starts_with' && prefix === undefined) prefix = String(check.prefix);
    else decline(check);
  }
  if (def.coerce === true) throw new Declined('coercion');
  if (max < min) throw new Declined('bounds that exclude each other');
  return { min, max: max === Number.POSITIVE_INFINITY ? undefined : max, prefix };
}

function lengthIn(bound: unknown): number {
  if (Number.isInteger(bound) && Math.abs(Number(bound)) <= MAX_LENGTH) return Number(bound);
  throw new Declined('a length that is no integer of 31 bits');
}

/** Which numbers a definition allows. */
export interface NumberRange {
  readonly isInteger: boolean;
  readonly min: number;
  readonly max: number;
  /** Whether the bound itself is outside. */
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

/** A range that allows what both allow. */
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

/** The numbers that a definition allows. */
export function numberRangeOf(def: Definition): NumberRange {
  if (def.coerce === true) throw new Declined('coercion');
  let range = ANY_NUMBER;
  const checks = checksOf(def);
  for (const check of def.format === undefined ? checks : [{ ...def, check: 'number_format' }, ...checks]) {
    const format = check.check === 'number_format' ? INTEGER_FORMATS[String(check.format)] : undefined;
    const isExcluded = check.inclusive !== true;
    if (format !== undefined) range = intersect(range, format);
    else if (typeof check.value !== 'number' || Number.isNaN(check.value)) decline(check);
    else if (check.check === 'greater_than') {
      range = intersect(range, { min: check.value, minExcluded: isExcluded });
    } else if (check.check === 'less_than') {
      range = intersect(range, { max: check.value, maxExcluded: isExcluded });
    } else decline(check);
  }
  return range;
}

/** A value that JSON writes in one way and reads as equal to itself. */
export type JsonScalar = string | number | boolean | null;

/** The values of an enumeration or literal. Others than scalars are declined: zod compares objects by identity. */
export function valuesOf(def: Definition): readonly JsonScalar[] {
  // Not all values of `entries`: those of a TypeScript enumeration of numbers have its names among them.
  const values: readonly unknown[] =
    def.type === 'enum'
      ? z.core.util.getEnumValues(def.entries as z.core.util.EnumLike)
      : (def.values as readonly unknown[]);
  return values.map((value) => {
    if (!isJsonScalar(value)) throw new Declined(`a value that is ${nameOf(value)}`);
    return value;
  });
}

function isJsonScalar(value: unknown): value is JsonScalar {
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0);
  return value === null || typeof value === 'string' || typeof value === 'boolean';
}

function nameOf(value: unknown): string {
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value);
  if (Array.isArray(value)) return 'a list';
  return value === undefined ? 'undefined' : `of type ${typeof value}`;
}

/** Whether a value is always there, and one of a few that are known. */
export function isNaming(schema: Schema): boolean {
  return ['literal', 'enum'].includes(definitionOf(schema).type);
}

/** Whether every string is as the schema wants it. */
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

/** Declines a format that no pattern can express, or that the schema has another regular expression for than zod. */
export function declineOtherFormats(def: Definition): void {
  const standard = standardPattern(def);
  if (standard === undefined) throw new Declined(`the format ${String(def.format)}`);
  if (def.fn !== undefined || String(def.pattern) !== String(standard)) {
    throw new Declined(`a pattern of its own for the format ${String(def.format)}`);
  }
}

/** zod's own regular expression for a format. */
function standardPattern(def: Definition): RegExp | undefined {
  const { regexes } = z.core;
  switch (def.format) {
    case 'date':
      return regexes.date;
    case 'datetime': {
      // That is what zod's definition of this format has beside.
      const { precision, offset, local } = def as unknown as z.core.$ZodISODateTimeDef;
      return regexes.datetime({ precision, offset, local });
    }
    case 'uuid':
      return regexes.uuid(def.version === undefined ? undefined : Number(String(def.version).slice(1)));
    default:
      return undefined;
  }
}

/** An option of a discriminated union whose first key is the discriminator: the options differ there. */
export function beginsWithTag(option: Schema, discriminator: unknown): boolean {
  const def = definitionOf(option);
  if (typeof discriminator !== 'string' || def.type !== 'object') return false;
  const [first] = Object.entries(def.shape as Record<string, Schema>);
  return first?.[0] === discriminator && definitionOf(first[1]).type === 'literal';
}

/**
 * Declines a discriminated union that zod could not use, or whose options its discriminator does not tell apart: zod
 * finds that out with the first message, and then rejects every one.
 */
export function declineAmbiguousTags(options: readonly Schema[], discriminator: unknown): void {
  const tags = options.flatMap((option) => {
    const shape = shapeOf(option);
    const isThere = typeof discriminator === 'string' && shape && Object.hasOwn(shape, discriminator);
    const tag = isThere ? shape[discriminator] : undefined;
    if (tag === undefined || !isNaming(tag))
      throw new Declined('a union whose options do not all name a tag');
    return valuesOf(definitionOf(tag));
  });
  if (new Set(tags).size < tags.length) throw new Declined('a union whose options share a tag');
}

/** What the JSON of a schema can begin with: `0` stands for any number. */
export function startsOf(schema: Schema): Set<string> {
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
      return new Set([...startsOf(def.innerType as Schema), 'n']);
    case 'union':
      return new Set((def.options as Schema[]).flatMap((option) => [...startsOf(option)]));
    case 'optional':
    case 'default':
    case 'readonly':
      return startsOf(def.innerType as Schema);
    default:
      return new Set('"0tfn{[');
  }
}
