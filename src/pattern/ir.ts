// The intermediate representation of patterns: a tree of nodes, each of which matches a form of JSON text. A node
// matches only text that JSON.parse accepts. Of the options of a choice, at most one can match beyond its first bytes, apart
// from strings, which are read twice at most. So matching takes linear time.

import { Declined, type Definition } from './zod-allow-list.js';
import {
  ANY_NUMBER,
  declineUnsupportedFormat,
  type JsonScalar,
  type NumberRange,
} from './zod-introspection.js';

export type PatternNode =
  /** Literal text; printable ASCII. */
  | { readonly kind: 'text'; readonly text: string }
  /** A string that begins with `prefix`, the prefix being written without escapes. */
  | { readonly kind: 'string'; readonly prefix: string }
  /** An ASCII string without escapes, so that its length in bytes is its length in UTF-16 units. */
  | {
      readonly kind: 'ascii';
      readonly min: number;
      readonly max: number | undefined;
      /** Path under which the string is captured; `undefined` if it is not. */
      readonly capture: string | undefined;
    }
  /** A number with at most 15 digits before and after the point: always finite, and exact if it is an integer. */
  | { readonly kind: 'number' }
  /** A number with at most 15 digits in total, whose value is checked or captured. */
  | { readonly kind: 'decimal'; readonly range: NumberRange; readonly capture: string | undefined }
  /**
   * An ISO 8601 date and time with seconds, in UTC (`Z`) or, if allowed, with an offset (`+01:00`) or in local time
   * (neither). `isChecked`: its age is checked.
   */
  | {
      readonly kind: 'dateTime';
      readonly allowsOffset: boolean;
      readonly allowsLocal: boolean;
      readonly isChecked: boolean;
    }
  /** An ISO 8601 date. */
  | { readonly kind: 'date' }
  /** A UUID (RFC 9562), of one version or of any. */
  | { readonly kind: 'uuid'; readonly version: string | undefined }
  /** Any scalar, or a flat array or object of scalars: the part of arbitrary JSON that a pattern matches. */
  | { readonly kind: 'flat' }
  | {
      readonly kind: 'object';
      /** At most {@link MAX_UNORDERED} if they may be in any order. */
      readonly members: readonly Member[];
      readonly isUnordered: boolean;
    }
  | {
      readonly kind: 'list';
      readonly element: PatternNode;
      readonly min: number;
      readonly max: number | undefined;
    }
  /** An object with arbitrary keys, except `__proto__`, written without escapes. */
  | { readonly kind: 'record'; readonly value: PatternNode }
  | { readonly kind: 'choice'; readonly options: readonly PatternNode[] }
  /** Text that the node matches, and whose value a part of the schema accepts. */
  | {
      readonly kind: 'checked';
      readonly node: Exclude<PatternNode, { kind: 'checked' }>;
      /** Index of that part among those of the message type. */
      readonly part: number;
    };

/** Maximum number of members in any order: each has a bit. */
export const MAX_UNORDERED = 32;

export interface Member {
  readonly key: string;
  readonly value: PatternNode;
  /** Whether messages without the member match too. */
  readonly isOptional: boolean;
  /** Index of the span in which the text of the value is captured; `undefined` if it is not. Never within a choice. */
  readonly span: number | undefined;
}

/** The separators in objects and arrays. */
export interface Spacing {
  /** Between members or elements. */
  readonly comma: ',' | ', ';
  /** Between a key and its value. */
  readonly colon: ':' | ': ';
}

/** The maximum nesting depth of objects and arrays in the text that a node matches. */
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
    case 'checked':
      return depthOf(node.node);
    default:
      return 0;
  }
}

/** Whether the text of a member of the node is captured. */
export function hasSpans(node: PatternNode): boolean {
  const inner = uncheckedNode(node);
  return (
    inner.kind === 'object' && inner.members.some(({ value, span }) => span !== undefined || hasSpans(value))
  );
}

/** The node that matches the text, without the check of its value. */
export function uncheckedNode(node: PatternNode): Exclude<PatternNode, { kind: 'checked' }> {
  return node.kind === 'checked' ? node.node : node;
}

/** Whether the node contains one whose value is checked. */
export function hasChecks(node: PatternNode): boolean {
  switch (node.kind) {
    case 'object':
      return node.members.some(({ value }) => hasChecks(value));
    case 'list':
      return hasChecks(node.element);
    case 'record':
      return hasChecks(node.value);
    case 'choice':
      return node.options.some(hasChecks);
    default:
      return node.kind === 'checked';
  }
}

/** Whether the node contains a timestamp whose age is checked. */
export function hasCheckedTime(node: PatternNode): boolean {
  switch (node.kind) {
    case 'object':
      return node.members.some(({ value }) => hasCheckedTime(value));
    case 'choice':
      return node.options.some(hasCheckedTime);
    case 'checked':
      return hasCheckedTime(node.node);
    default:
      return node.kind === 'dateTime' && node.isChecked;
  }
}

export const text = (characters: string): PatternNode => ({ kind: 'text', text: characters });
export const choice = (options: readonly PatternNode[]): PatternNode =>
  options.length === 1 && options[0] !== undefined ? options[0] : { kind: 'choice', options };
export const BOOLEAN: PatternNode = choice([text('true'), text('false')]);
export const STRING = { kind: 'string', prefix: '' } as const;
export const FLAT: PatternNode = { kind: 'flat' };
export const SCALAR: PatternNode = choice([
  STRING,
  { kind: 'number' },
  text('true'),
  text('false'),
  text('null'),
]);

/** Maximum number of values of an enumeration. More would make the pattern too large. */
const MAX_VALUES = 1024;

/** The node for a zod string format. @param isChecked whether the age of a date and time is checked */
export function formatted(def: Definition, isChecked: boolean): PatternNode {
  declineUnsupportedFormat(def);
  if (def.format === 'date') return { kind: 'date' };
  if (def.format === 'uuid') {
    return { kind: 'uuid', version: typeof def.version === 'string' ? def.version.slice(1) : undefined };
  }
  if (def.precision !== null) throw new Declined('a date and time with a fixed precision');
  return {
    kind: 'dateTime',
    allowsOffset: def.offset === true,
    allowsLocal: def.local === true,
    isChecked,
  };
}

/** The node for a number. If its value is neither checked nor captured, the digits are only skipped. */
export function numberIn(range: NumberRange, capture: string | undefined): PatternNode {
  const isAny = Object.entries(ANY_NUMBER).every(
    ([bound, value]) => range[bound as keyof NumberRange] === value,
  );
  return isAny && capture === undefined ? { kind: 'number' } : { kind: 'decimal', range, capture };
}

/** The node for one of several values. Longest text first, since one text may be a prefix of another. */
export function anyOf(values: readonly JsonScalar[]): PatternNode {
  if (values.length === 0 || values.length > MAX_VALUES)
    throw new Declined(`no values, or more than ${MAX_VALUES}`);
  const texts = values.map((value) => {
    const json = JSON.stringify(value);
    if (!isPlainAscii(json)) throw new Declined('a value that is not plain ASCII');
    return json;
  });
  return choice(texts.sort((a, b) => b.length - a.length).map(text));
}

export function isPlainAscii(characters: string): boolean {
  return /^[\x20-\x7e]*$/.test(characters);
}
