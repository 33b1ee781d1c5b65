// Which parts of a message are delivered as spans of its text, so that the main thread reads fields without parsing the
// message. Computed from the schemas, so that all threads and all layouts of a type agree.

import { type FieldPaths, segmentsOf } from '../messages/field-paths.js';
import type { MessageRegistry, MessageType } from '../messages/message-registry.js';
import { definitionOf, type Schema } from './zod-allow-list.js';
import { shapeOf, unwrap } from './zod-introspection.js';

/** A field to deliver. */
export interface ProjectedField {
  /** Position among the fields of its type. */
  readonly index: number;
  readonly segments: readonly string[];
  /** Index of the span that contains the value. */
  readonly span: number;
  /** Number of segments that lead to that span. The others lead from its value to the field's. */
  readonly depth: number;
}

/** The fields to deliver of a message type. */
export interface TypeProjection {
  readonly fields: readonly ProjectedField[];
  readonly byPath: ReadonlyMap<string, ProjectedField>;
  /** The keys that lead to the member of each span. */
  readonly spans: readonly (readonly string[])[];
}

/** The fields to deliver of all types. */
export interface Projection {
  /** By type index; `undefined` for types without fields to deliver. */
  readonly types: readonly (TypeProjection | undefined)[];
  /** The largest number of spans of a type. */
  readonly maxSpans: number;
}

/** @returns `undefined` if there is nothing to deliver */
export function createProjection(registry: MessageRegistry, fields?: FieldPaths): Projection | undefined {
  if (fields === undefined || fields.size === 0) return undefined;
  const types = registry.types.map((type) => projectType(type, fields.get(type.name) ?? []));
  const maxSpans = Math.max(...types.map((projected) => projected?.spans.length ?? 0));
  return maxSpans === 0 ? undefined : { types, maxSpans };
}

function projectType(type: MessageType, paths: readonly string[]): TypeProjection | undefined {
  // The workers see the message before the schema has transformed it.
  if (paths.length === 0 || type.transformsInput) return undefined;
  const spans = new Map<string, { readonly index: number; readonly keys: readonly string[] }>();
  const fields = paths.map((path, index) => {
    const segments = segmentsOf(path);
    const keys = segments.slice(0, plainDepth(type.definition, segments));
    const id = JSON.stringify(keys);
    const span = spans.get(id) ?? { index: spans.size, keys };
    spans.set(id, span);
    return { index, segments, span: span.index, depth: keys.length };
  });
  return {
    fields,
    byPath: new Map(paths.map((path, index) => [path, fields[index] as ProjectedField])),
    spans: [...spans.values()].map(({ keys }) => keys),
  };
}

/**
 * The number of segments that lead to a member of plain objects: it has one place in a message, at which a pattern can
 * capture it. A key that the schema does not name is such a member too, since learned layouts may have it.
 */
function plainDepth(definition: Schema, segments: readonly string[]): number {
  let schema: Schema | undefined = definition;
  let depth = 0;
  while (depth < segments.length && schema !== undefined) {
    const key = segments[depth] ?? '';
    const object = unwrap(schema);
    const isObject = definitionOf(object).type === 'object';
    if (!isObject && depth > 0) break;
    const shape = isObject ? shapeOf(object) : undefined;
    schema = shape !== undefined && Object.hasOwn(shape, key) ? shape[key] : undefined;
    depth++;
  }
  return depth;
}
