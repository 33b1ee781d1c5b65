// The messages as JSON Schema, converted from the zod schemas that validate them. The business rules compare values,
// which JSON Schema cannot express: a message that matches its JSON Schema may still violate a rule.

import * as z from 'zod';
import type { MessageRegistry, MessageType } from '../messages/message-registry.js';

export type JsonSchema = Readonly<Record<string, unknown>>;

/** One message type, as `/api/schemas` lists it. */
export interface SchemaEntry {
  /** The sender of the type. */
  readonly direction: MessageType['direction'];
  readonly schema: JsonSchema;
}

/** All message types that are sent over the wire. */
export function wireTypes(registry: MessageRegistry): MessageType[] {
  return registry.types.filter(({ index }) => index > 0);
}

/**
 * A type's schema, as sent over the wire: fields with a default are optional. Constraints that JSON Schema cannot
 * express are omitted.
 */
export function jsonSchemaOf({ schema }: MessageType, target: 'draft-2020-12' | 'draft-7'): JsonSchema {
  return z.toJSONSchema(schema, { target, io: 'input', unrepresentable: 'any' });
}

/** All types by name. */
export function schemaEntries(registry: MessageRegistry): Record<string, SchemaEntry> {
  return Object.fromEntries(
    wireTypes(registry).map((type) => [
      type.name,
      { direction: type.direction, schema: jsonSchemaOf(type, 'draft-2020-12') },
    ]),
  );
}

/** All messages that peers send, as one schema with a definition for each type. */
export function schemaDocument(registry: MessageRegistry): JsonSchema {
  const types = wireTypes(registry).filter(({ direction }) => direction !== 'broker');
  const definitions = types.map((type): [string, unknown] => {
    const { $schema: _, ...schema } = jsonSchemaOf(type, 'draft-2020-12');
    const description = DESCRIPTIONS[type.direction];
    return [type.name, rebaseRefs({ title: type.name, description, ...schema }, pointerOf(type))];
  });
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Message',
    oneOf: types.map((type) => ({ $ref: pointerOf(type) })),
    $defs: Object.fromEntries(definitions),
  };
}

const DESCRIPTIONS: Readonly<Record<MessageType['direction'], string>> = {
  crawler: 'Sent by crawlers to applications.',
  app: 'Sent by applications to crawlers.',
  control: 'Sent to the broker.',
  broker: 'Sent by the broker.',
};

function pointerOf({ name }: MessageType): string {
  return `#/$defs/${pointerPart(name)}`;
}

/** A name in a JSON pointer in a URI. Type names may contain any characters. */
export function pointerPart(name: string): string {
  return encodeURIComponent(name.replaceAll('~', '~0').replaceAll('/', '~1'));
}

/** Rewrites a schema's references to itself for its position in a document. */
export function rebaseRefs(schema: unknown, pointer: string): unknown {
  if (Array.isArray(schema)) return schema.map((part) => rebaseRefs(part, pointer));
  if (typeof schema !== 'object' || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [
      key,
      key === '$ref' && typeof value === 'string'
        ? value.replace(/^#/, () => pointer)
        : rebaseRefs(value, pointer),
    ]),
  );
}
