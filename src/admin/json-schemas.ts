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
