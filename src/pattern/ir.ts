// What a pattern is made of: the shapes of JSON text that it takes. Each takes only what JSON.parse takes too,
// and of several options at most one can go on beyond its first bytes, so that matching is linear.

import { Declined, type Definition } from './zod-allow-list.js';
import { ANY_NUMBER, declineOtherFormats, type JsonScalar, type NumberRange } from './zod-introspection.js';

export type PatternNode =
  /** These very characters; printable ASCII. */
  | { readonly kind: 'text'; readonly text: string }
  /** Any string, its content beginning with `prefix`, spelled without escapes. */
  | { readonly kind: 'string'; readonly prefix: string }
  /** A string of ASCII without escapes, whose length is therefore its length in UTF-16 units. */
  | {
      readonly kind: 'ascii';
      readonly min: number;
      readonly max: number | undefined;
      /** Path under which it is captured. */
      readonly capture: string | undefined;
    }
  /** A number of at most 15 digits before and after the point, so that it is finite, and exact where it is whole. */
  | { readonly kind: 'number' }
  /** A number of at most 15 digits in all, whose value matters. */
  | { readonly kind: 'value'; readonly range: NumberRange; readonly capture: string | undefined }
  /** A date and time, as ISO 8601 writes it: in UTC, or with an offset where that is allowed. */
  | { readonly kind: 'dateTime'; readonly allowsOffset: boolean; readonly isChecked: boolean }
  /** A day, as ISO 8601 writes it. */
  | { readonly kind: 'date' }
  /** A UUID as RFC 9562 writes it, of one version or of any. */
  | { readonly kind: 'uuid'; readonly version: string | undefined }
  /** Scalars, and flat lists and objects of them: some of what JSON can be, and bounded. */
  | { readonly kind: 'flat' }
  | { readonly kind: 'object'; readonly members: readonly Member[] }
  | {
      readonly kind: 'list';
      readonly element: PatternNode;
      readonly min: number;
      readonly max: number | undefined;
    }
  /** Any keys but `__proto__`, spelled without escapes. */
  | { readonly kind: 'record'; readonly value: PatternNode }
  | { readonly kind: 'choice'; readonly options: readonly PatternNode[] };

export interface Member {
  readonly key: string;
  readonly value: PatternNode;
  /** Whether the member may be missing. */
  readonly isOptional: boolean;
}

/** What stands between the parts of objects and lists. */
export interface Spacing {
  /** Between members or elements. */
  readonly comma: ',' | ', ';
  /** Between a key and its value. */
  readonly colon: ':' | ': ';
}

/** How many objects and lists lie within each other, at most, in what a node takes. */
export function depthOf(node: PatternNode): number {
  switch (node.kind) {
    case 'object':
      return 1 + Math.max(0, ...node.members.map(({ value }) => depthOf(value)));
    case 'list':
      return 1 + depthOf(node.element);
    case 'record':
      return 1 + depthOf(node.value);
    case 'choice':
      return Math.max(...node.options.map(depthOf));
    case 'flat':
      return 1;
    default:
      return 0;
  }
}

/** Whether a timestamp's age is to be checked somewhere in the node. */
export function hasCheckedTime(node: PatternNode): boolean {
  switch (node.kind) {
    case 'object':
      return node.members.some(({ value }) => hasCheckedTime(value));
    case 'choice':
      return node.options.some(hasCheckedTime);
    default:
      return node.kind === 'dateTime' && node.isChecked;
  }
}

export const text = (characters: string): PatternNode => ({ kind: 'text', text: characters });
export const choice = (options: readonly PatternNode[]): PatternNode =>
  options.length === 1 && options[0] !== undefined ? options[0] : { kind: 'choice', options };
export const BOOLEAN: PatternNode = choice([text('true'), text('false')]);
export const STRING: PatternNode = { kind: 'string', prefix: '' };
export const SCALAR: PatternNode = choice([
  STRING,
  { kind: 'number' },
  text('true'),
  text('false'),
  text('null'),
]);

/** An enumeration of more values would make a large pattern. */
const MAX_VALUES = 1024;

/** Strings of a format that zod knows. @param isChecked whether the age of a date and time counts */
export function formatted(def: Definition, isChecked: boolean): PatternNode {
  declineOtherFormats(def);
  if (def.format === 'date') return { kind: 'date' };
  if (def.format === 'uuid') {
    return { kind: 'uuid', version: typeof def.version === 'string' ? def.version.slice(1) : undefined };
  }
  if (def.precision !== null) throw new Declined('a date and time of limited precision');
  return { kind: 'dateTime', allowsOffset: def.offset === true, isChecked };
}

/** Numbers whose value nobody needs are only looked at. */
export function numberIn(range: NumberRange, capture: string | undefined): PatternNode {
  const isAny = Object.entries(ANY_NUMBER).every(
    ([bound, value]) => range[bound as keyof NumberRange] === value,
  );
  return isAny && capture === undefined ? { kind: 'number' } : { kind: 'value', range, capture };
}

/** The longest first: where one begins another, that is the one to try first. */
export function anyOf(values: readonly JsonScalar[]): PatternNode {
  if (values.length === 0 || values.length > MAX_VALUES) throw new Declined('no values, or very many');
  const texts = values.map((value) => {
    const json = JSON.stringify(value);
    if (!isPlainAscii(json)) throw new Declined('a value that is no plain ASCII');
    return json;
  });
  return choice(texts.sort((a, b) => b.length - a.length).map(text));
}

export function isPlainAscii(characters: string): boolean {
  return /^[\x20-\x7e]*$/.test(characters);
}
