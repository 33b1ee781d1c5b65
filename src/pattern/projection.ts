// Which parts of a message are delivered as spans of its text, so that the main thread reads fields without parsing the
// message. Computed from the schemas, so that all threads and all layouts of a type agree.

import { type FieldPaths, segmentsOf } from '../messages/field-paths.js';
import type { MessageRegistry, MessageType } from '../messages/message-registry.js';
import { inspectSchema, isOfKnownClass, isThisVersion } from '../messages/schema-walk.js';
import { type Check, type Definition, definitionOf, isModelled, type Schema } from './zod-allow-list.js';
import { isInherited, shapeOf, unwrap } from './zod-introspection.js';

/** A field to deliver. */
export interface ProjectedField {
  /** Position among the fields of its type. */
  readonly index: number;
  readonly segments: readonly string[];
  /** Index of the span that contains the value. */
  readonly span: number;
  /** Number of segments that lead to that span. The others lead from its value to the field's. */
  readonly depth: number;
  /** Whether the value is a URL as received, which the schema trims. */
  readonly isUrl: boolean;
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
  const delivered = paths.filter(
    (path) => !type.transformsInput || untouchedPart(type.definition, segmentsOf(path)) !== undefined,
  );
  if (delivered.length === 0) return undefined;
  const spans = new Map<string, { readonly index: number; readonly keys: readonly string[] }>();
  const fields = delivered.map((path, index) => {
    const segments = segmentsOf(path);
    const keys = segments.slice(0, plainDepth(type.definition, segments));
    const id = JSON.stringify(keys);
    const span = spans.get(id) ?? { index: spans.size, keys };
    spans.set(id, span);
    const part = type.transformsInput ? untouchedPart(type.definition, segments) : undefined;
    return {
      index,
      segments,
      span: span.index,
      depth: keys.length,
      isUrl: part !== undefined && isUrl(part),
    };
  });
  return {
    fields,
    byPath: new Map(delivered.map((path, index) => [path, fields[index] as ProjectedField])),
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

/** Types whose values are copied as they are, and the checks of objects that leave their members as they are. */
const PLAIN_TYPES = new Set(['string', 'number', 'boolean', 'null', 'enum', 'literal', 'any', 'unknown']);
const PURE_CHECKS = new Set(['min_length', 'max_length', 'length_equals', 'greater_than', 'less_than']);

/**
 * The part for the value at this path, if a schema that transforms its input leaves it as it is, or only trims it as a URL:
 * a part without transformation, or that for the keys that an object does not name, within objects that are not transformed
 * as a whole.
 */
function untouchedPart(definition: Schema, segments: readonly string[]): Schema | undefined {
  let schema = definition;
  for (const key of segments) {
    schema = withoutOptional(schema);
    if (isKept(schema)) return schema;
    const def = definitionOf(schema);
    if (def.type !== 'object' || !isModelled(schema) || isInherited(key) || !hasPureChecks(def)) return;
    const member = Object.hasOwn(shapeOf(schema) ?? {}, key) ? shapeOf(schema)?.[key] : undefined;
    if (member === undefined) {
      const catchall = def.catchall as Schema | undefined;
      return catchall !== undefined && isKept(catchall) ? catchall : undefined;
    }
    schema = member;
  }
  schema = withoutOptional(schema);
  return isKept(schema) || isUrl(schema) ? schema : undefined;
}

function isKept(schema: Schema): boolean {
  return isPlain(schema) && !inspectSchema(schema).transformsInput;
}

/** Whether the values of a schema are copied with all that is in them. Objects may lose keys. */
function isPlain(schema: Schema): boolean {
  const inner = withoutOptional(schema);
  const { type, element, keyType, valueType } = definitionOf(inner);
  if (!isModelled(inner)) return false;
  if (type === 'array') return isPlain(element as Schema);
  // Other keys may be missing, and are then added.
  if (type === 'record')
    return definitionOf(keyType as Schema).type === 'string' && isPlain(valueType as Schema);
  return PLAIN_TYPES.has(type);
}

/** Whether zod trims the values, and does nothing else with them. */
function isUrl(schema: Schema): boolean {
  const { type, format, normalize, coerce, checks } = definitionOf(schema);
  const isTrimmed = type === 'string' && format === 'url' && normalize !== true && coerce !== true;
  const { version, traits } = schema._zod;
  return isTrimmed && hasPureChecks({ type, checks }) && isThisVersion(version) && isOfKnownClass(traits);
}

/** Removes the wrappers that do not change a value. */
function withoutOptional(schema: Schema): Schema {
  const def = definitionOf(schema);
  const isWrapper = def.type === 'optional' || def.type === 'nullable' || def.type === 'readonly';
  return isWrapper && isModelled(schema) && hasPureChecks(def)
    ? withoutOptional(def.innerType as Schema)
    : schema;
}

function hasPureChecks({ checks = [] }: Definition): boolean {
  return (checks as readonly Check[]).every(
    ({ _zod: { def } }) => PURE_CHECKS.has(def.check) || (def.check === 'custom' && def.fn !== undefined),
  );
}
