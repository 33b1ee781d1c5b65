// Layouts: the order of keys and the spacing with which a sender writes messages of a type. A program always writes the
// same few layouts. Python's `json.dumps`, for example, puts a space after each comma and colon. Where keys come from a hash
// table, their order may differ from message to message.

import type { Spacing } from './ir.js';
import { definitionOf, type Schema } from './zod-allow-list.js';
import { unwrap } from './zod-introspection.js';

export interface Layout {
  readonly spacing: Spacing;
  /** Keys in order, by the path of their object. A path that is missing has the schema's order. */
  readonly keys: ReadonlyMap<string, readonly string[]>;
  /** Paths of the keys that the schema does not define. */
  readonly extra: ReadonlySet<string>;
  /** Whether the keys may be in any order. */
  readonly isUnordered: boolean;
  /**
   * The key of the job id, if there is one. If a pattern requires a job id, all its messages have it under the same key.
   */
  readonly jobIdKey: string | undefined;
}

/** The layout that `JSON.stringify` writes for an object whose keys are in the schema's order. */
export const COMPACT: Layout = {
  spacing: { comma: ',', colon: ':' },
  keys: new Map(),
  extra: new Set(),
  isUnordered: false,
  jobIdKey: undefined,
};

/** The same layout, but with its keys in any order. */
export function unordered({ spacing, jobIdKey }: Layout): Layout {
  return { ...COMPACT, spacing, isUnordered: true, jobIdKey };
}

/** The keys of a job id: the newer one, which takes precedence, and the older one. */
export const JOB_IDS = ['jobId', 'job_id'] as const;

/** Extra keys, which the schema does not define: maximum number in a layout, and maximum length of each. */
const MAX_EXTRA_KEYS = 16;
const MAX_KEY_LENGTH = 256;
/** Number of elements of an array, or values of a record, that are inspected. */
const MAX_ELEMENTS = 16;
/** Length of a message's beginning from which its spacing is detected, in characters. */
export const SPACING_SAMPLE = 512;

/** The path of a member. A key that contains path syntax is quoted. */
export function memberPath(path: string, key: string): string {
  const step = key === '' || /[.[\]{}|]/.test(key) ? JSON.stringify(key) : key;
  return path === '' ? step : `${path}.${step}`;
}

/** The path of all elements of an array. */
export function elementPath(path: string): string {
  return `${path}[]`;
}

/** The path of all values of a record. */
export function valuePath(path: string): string {
  return `${path}{}`;
}

/** Whether the value at this path is the message's job id. */
export function isJobId(path: string): boolean {
  return path === JOB_IDS[0] || path === JOB_IDS[1];
}

/** Whether a message has at most one value at this path: it is not within an array, a record or a union. */
export function isSingular(path: string): boolean {
  return !/[[{|]/.test(path);
}

/**
 * The layout of a message that the schema has accepted. If the key orders of its elements contradict each other, it is
 * unordered.
 * @param text the message's raw text, or its first {@link SPACING_SAMPLE} characters
 * @returns `undefined` if it has too many or too long extra keys, or any if it is unordered
 */
export function layoutOf(schema: Schema, message: object, text: string): Layout | undefined {
  const found = newKeys();
  if (!collectKeys(schema, message, '', found)) return undefined;
  // A guess from the first members. If it is wrong, the pattern does not match the message and is not learned.
  const colon = /^\{"[^"]*": /.test(text) ? ': ' : ':';
  const comma = /[^\\]", "/.test(text) || /[\d}\]el], "/.test(text) ? ', ' : ',';
  const jobIdKey = JOB_IDS.find((key) => Object.hasOwn(message, key));
  const layout: Layout = { spacing: { comma, colon }, ...found, jobIdKey };
  if (!layout.isUnordered) return layout;
  return layout.extra.size > 0 ? undefined : unordered(layout);
}

/** Paths of the first keys of a message, valid or not, that the schema does not define. */
export function extraKeysOf(schema: Schema, message: unknown): ReadonlySet<string> {
  const found = newKeys();
  collectKeys(schema, message, '', found);
  return found.extra;
}

/** A layout that covers both; `undefined` if they contradict each other or have too many extra keys. */
export function mergeLayouts(a: Layout, b: Layout): Layout | undefined {
  if (a.isUnordered || b.isUnordered) return undefined;
  if (a.spacing.comma !== b.spacing.comma || a.spacing.colon !== b.spacing.colon) return undefined;
  // Patterns are selected by the beginning of the message.
  if (a.keys.get('')?.[0] !== b.keys.get('')?.[0]) return undefined;
  const jobIdKey = a.jobIdKey ?? b.jobIdKey;
  if (b.jobIdKey !== undefined && b.jobIdKey !== jobIdKey) return undefined;
  const keys = new Map(a.keys);
  for (const [path, order] of b.keys) if (!mergeInto(keys, path, order)) return undefined;
  const extra = new Set([...a.extra, ...b.extra]);
  return extra.size > MAX_EXTRA_KEYS ? undefined : { ...a, keys, extra, jobIdKey };
}

/** Whether the extra keys of one layout are a subset of the other's. */
export function haveNestedExtras(a: Layout, b: Layout): boolean {
  const [fewer, more] = a.extra.size < b.extra.size ? [a.extra, b.extra] : [b.extra, a.extra];
  for (const field of fewer) if (!more.has(field)) return false;
  return true;
}

interface FoundKeys {
  readonly keys: Map<string, readonly string[]>;
  readonly extra: Set<string>;
  isUnordered: boolean;
}

function newKeys(): FoundKeys {
  return { keys: new Map(), extra: new Set(), isUnordered: false };
}

function collectKeys(schema: Schema, value: unknown, path: string, found: FoundKeys): boolean {
  if (typeof value !== 'object' || value === null) return true;
  const def = definitionOf(unwrap(schema));
  if (def.type === 'nullable') return collectKeys(def.innerType as Schema, value, path, found);
  if (Array.isArray(value)) {
    if (def.type !== 'array') return true;
    const elements = value.slice(0, MAX_ELEMENTS);
    return elements.every((item) => collectKeys(def.element as Schema, item, elementPath(path), found));
  }
  const members = value as Readonly<Record<string, unknown>>;
  if (def.type === 'record') {
    const values = Object.values(members).slice(0, MAX_ELEMENTS);
    return values.every((item) => collectKeys(def.valueType as Schema, item, valuePath(path), found));
  }
  if (def.type !== 'object') return true;
  const shape = def.shape as Readonly<Record<string, Schema>>;
  const order = Object.keys(members);
  // Otherwise there are too many extra keys, and merging would take quadratic time.
  const isBounded = order.length <= Object.keys(shape).length + MAX_EXTRA_KEYS;
  if (isBounded && !mergeInto(found.keys, path, order)) found.isUnordered = true;
  for (const key of order) {
    const member = Object.hasOwn(shape, key) ? shape[key] : undefined;
    if (member === undefined) {
      found.extra.add(memberPath(path, key));
      if (key.length > MAX_KEY_LENGTH || found.extra.size > MAX_EXTRA_KEYS) return false;
      continue;
    }
    const inner = members[key];
    if (typeof inner !== 'object' || inner === null) continue;
    if (!collectKeys(member, inner, memberPath(path, key), found)) return false;
  }
  return true;
}

function mergeInto(keys: Map<string, readonly string[]>, path: string, order: readonly string[]): boolean {
  const known = keys.get(path);
  const merged = known === undefined ? order : mergeOrders(known, order);
  if (merged === undefined) return false;
  keys.set(path, merged);
  return true;
}

/** The shortest order of which both are subsequences; `undefined` if they have two keys in opposite order. */
function mergeOrders(a: readonly string[], b: readonly string[]): readonly string[] | undefined {
  const merged: string[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    const [left, right] = [a[i], b[j]];
    if (left !== undefined && left === right) {
      merged.push(left);
      i++;
      j++;
    } else if (left !== undefined && !b.includes(left)) {
      merged.push(left);
      i++;
    } else if (right !== undefined && !a.includes(right)) {
      merged.push(right);
      j++;
    } else return undefined;
  }
  return merged;
}
