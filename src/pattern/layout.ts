// A layout: in which order a sender writes the keys of a message type, and with what between them. The same
// program writes the same layout again and again; `json.dumps`, for one, puts a space after each comma.

import type { Spacing } from './ir.js';
import { definitionOf, type Schema } from './zod-allow-list.js';
import { unwrap } from './zod-introspection.js';

export interface Layout {
  readonly spacing: Spacing;
  /** Keys in their order, by the path of their object; the schema's own where a path is missing. */
  readonly keys: ReadonlyMap<string, readonly string[]>;
  /** Paths of the keys that the schema does not name. */
  readonly extra: ReadonlySet<string>;
}

/** What `JSON.stringify` writes of an object whose keys are in the schema's order. */
export const COMPACT: Layout = { spacing: { comma: ',', colon: ':' }, keys: new Map(), extra: new Set() };

/** The keys of a job id: the newer one, which counts where both are there, and the older one. */
export const JOB_IDS = ['jobId', 'job_id'] as const;

/** Keys that the schema does not name: as many as a layout keeps, and how long one may be. */
const MAX_EXTRA_KEYS = 16;
const MAX_KEY_LENGTH = 256;
/** Elements of a list that are looked at. */
const MAX_ELEMENTS = 16;
/** How much of a message's text is looked at for its spacing. */
export const SPACING_SAMPLE = 512;

/** The path of a member. A key that could be read as a part of a path is quoted. */
export function memberPath(path: string, key: string): string {
  const step = key === '' || /[.[\]{}|]/.test(key) ? JSON.stringify(key) : key;
  return path === '' ? step : `${path}.${step}`;
}

/** The path of the elements of a list, all together. */
export function elementPath(path: string): string {
  return `${path}[]`;
}

/** The path of the values of a record, all together. */
export function valuePath(path: string): string {
  return `${path}{}`;
}

/** Whether a message's value at this path names its job. */
export function isJobId(path: string): boolean {
  return path === JOB_IDS[0] || path === JOB_IDS[1];
}

/** Whether a path names one value of a message, not many. */
export function isSingular(path: string): boolean {
  return !/[[{|]/.test(path);
}

/**
 * The layout of a message that the schema has accepted.
 * @param text the message as it was written, or its first {@link SPACING_SAMPLE} characters
 * @returns `undefined` where it has no layout that could come again
 */
export function layoutOf(schema: Schema, message: unknown, text: string): Layout | undefined {
  const found = { keys: new Map<string, readonly string[]>(), extra: new Set<string>() };
  if (!collectKeys(schema, message, '', found)) return undefined;
  // A guess from the first members: a pattern that does not take the message itself is not learned.
  const colon = /^\{"[^"]*": /.test(text) ? ': ' : ':';
  const comma = /[^\\]", "/.test(text) || /[\d}\]el], "/.test(text) ? ', ' : ',';
  return { spacing: { comma, colon }, ...found };
}

/** One layout that has the order of both; `undefined` where they contradict each other, or have too many keys. */
export function mergeLayouts(a: Layout, b: Layout): Layout | undefined {
  if (a.spacing.comma !== b.spacing.comma || a.spacing.colon !== b.spacing.colon) return undefined;
  // A pattern is looked for by what its messages begin with.
  if (a.keys.get('')?.[0] !== b.keys.get('')?.[0]) return undefined;
  const [jobId, other] = [jobIdKeyOf(a), jobIdKeyOf(b)];
  if (jobId !== other && jobId !== undefined && other !== undefined) return undefined;
  const keys = new Map(a.keys);
  for (const [path, order] of b.keys) if (!mergeInto(keys, path, order)) return undefined;
  const extra = new Set([...a.extra, ...b.extra]);
  return extra.size > MAX_EXTRA_KEYS ? undefined : { spacing: a.spacing, keys, extra };
}

/** Whether one of two layouts has all the keys of the other that the schema does not name. */
export function haveNestedExtras(a: Layout, b: Layout): boolean {
  const [fewer, more] = a.extra.size < b.extra.size ? [a.extra, b.extra] : [b.extra, a.extra];
  for (const field of fewer) if (!more.has(field)) return false;
  return true;
}

interface FoundKeys {
  readonly keys: Map<string, readonly string[]>;
  readonly extra: Set<string>;
}

/** The key that names the job: where a pattern needs one, it is the same in all messages that it takes. */
export function jobIdKeyOf({ keys }: Layout): string | undefined {
  return JOB_IDS.find((key) => keys.get('')?.includes(key));
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
  if (!mergeInto(found.keys, path, order)) return false;
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
