// A layout: in which order a sender writes the keys of a message type, and with what between them. The same
// program writes the same layout again and again; `json.dumps`, for one, puts a space after each comma.

import { definitionOf, type Schema, unwrap } from './definitions.js';
import type { Spacing } from './fragment.js';

export interface Layout {
  readonly spacing: Spacing;
  /** Keys in their order, by the path of their object; the schema's own where a path is missing. */
  readonly keys: ReadonlyMap<string, readonly string[]>;
}

/** What `JSON.stringify` writes of an object whose keys are in the schema's order. */
export const COMPACT: Layout = { spacing: { comma: ',', colon: ':' }, keys: new Map() };

/** Keys of one object that its schema does not name: as many as a layout keeps. */
const MAX_EXTRA_KEYS = 16;
/** Elements of a list that are looked at. */
const MAX_ELEMENTS = 16;

/** The path of a member. */
export function memberPath(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}

/** The path of the elements of a list, all together. */
export function elementPath(path: string): string {
  return `${path}[]`;
}

/** The path of the values of a record, all together. */
export function valuePath(path: string): string {
  return `${path}{}`;
}

/** Whether a path names one value of a message, not many. */
export function isSingular(path: string): boolean {
  return !/[[{|]/.test(path);
}

/**
 * The layout of a message that the schema has accepted.
 * @param text the message as it was written
 * @returns `undefined` where it has no layout that could come again
 */
export function layoutOf(schema: Schema, message: unknown, text: string): Layout | undefined {
  const keys = new Map<string, readonly string[]>();
  if (!collectKeys(schema, message, '', keys)) return undefined;
  // A guess from the first members: a pattern that does not take the message itself is not learned.
  const colon = /^\{"[^"]*": /.test(text) ? ': ' : ':';
  const comma = /[^\\]", "/.test(text) || /[\d}\]el], "/.test(text) ? ', ' : ',';
  return { spacing: { comma, colon }, keys };
}

/** One layout that has the order of both; `undefined` where they contradict each other. */
export function mergeLayouts(a: Layout, b: Layout): Layout | undefined {
  if (a.spacing.comma !== b.spacing.comma || a.spacing.colon !== b.spacing.colon) return undefined;
  const keys = new Map(a.keys);
  for (const [path, order] of b.keys) if (!mergeInto(keys, path, order)) return undefined;
  return { spacing: a.spacing, keys };
}

function collectKeys(
  schema: Schema,
  value: unknown,
  path: string,
  keys: Map<string, readonly string[]>,
): boolean {
  const def = definitionOf(unwrap(schema));
  if (def.type === 'nullable') return collectKeys(def.innerType as Schema, value, path, keys);
  if (typeof value !== 'object' || value === null) return true;
  if (Array.isArray(value)) {
    if (def.type !== 'array') return true;
    const elements = value.slice(0, MAX_ELEMENTS);
    return elements.every((item) => collectKeys(def.element as Schema, item, elementPath(path), keys));
  }
  const members = value as Readonly<Record<string, unknown>>;
  if (def.type === 'record') {
    const values = Object.values(members).slice(0, MAX_ELEMENTS);
    return values.every((item) => collectKeys(def.valueType as Schema, item, valuePath(path), keys));
  }
  if (def.type !== 'object') return true;
  const shape = def.shape as Readonly<Record<string, Schema>>;
  const order = Object.keys(members);
  if (!mergeInto(keys, path, order)) return false;
  const extra = keys.get(path)?.filter((key) => !Object.hasOwn(shape, key)) ?? [];
  if (extra.length > MAX_EXTRA_KEYS) return false;
  return order.every((key) => {
    const member = Object.hasOwn(shape, key) ? shape[key] : undefined;
    return member === undefined || collectKeys(member, members[key], memberPath(path, key), keys);
  });
}

function mergeInto(keys: Map<string, readonly string[]>, path: string, order: readonly string[]): boolean {
  const known = keys.get(path);
  const merged = known === undefined ? order : mergeOrders(known, order);
  if (merged === undefined) return false;
  keys.set(path, merged);
  return true;
}

/** The shortest order that both are part of; `undefined` where two keys are the other way round. */
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
