// What a pattern is made of: the shapes of JSON text that it takes. Each takes only what JSON.parse takes too,
// and of several options at most one can go on beyond its first bytes, so that matching is linear.

import type { NumberRange } from './definitions.js';

export type Fragment =
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
  /** A date and time, as ISO 8601 writes it: in UTC, or with an offset where that is allowed. No February 29th. */
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
      readonly element: Fragment;
      readonly min: number;
      readonly max: number | undefined;
    }
  /** Any keys but `__proto__`, spelled without escapes. */
  | { readonly kind: 'record'; readonly value: Fragment }
  | { readonly kind: 'choice'; readonly options: readonly Fragment[] };

export interface Member {
  readonly key: string;
  readonly value: Fragment;
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

export const text = (characters: string): Fragment => ({ kind: 'text', text: characters });
export const choice = (options: readonly Fragment[]): Fragment =>
  options.length === 1 && options[0] !== undefined ? options[0] : { kind: 'choice', options };
export const BOOLEAN: Fragment = choice([text('true'), text('false')]);
export const STRING: Fragment = { kind: 'string', prefix: '' };
export const SCALAR: Fragment = choice([
  STRING,
  { kind: 'number' },
  text('true'),
  text('false'),
  text('null'),
]);
