// The messages as JSON Schema, from the zod schemas that check them. The business rules compare values, which JSON
// Schema cannot say: a message that fits here may still be rejected for one.

import * as z from 'zod';
import type { MessageRegistry, MessageType } from '../messages/message-registry.js';

export type JsonSchema = Readonly<Record<string, unknown>>;

/** One message type, as `/api/schemas` lists it. */
export interface SchemaEntry {
  /** Who sends it. */
  readonly direction: MessageType['direction'];
  readonly schema: JsonSchema;
}

/** Every type that goes over the wire. */
export function wireTypes(registry: MessageRegistry): MessageType[] {
  return registry.types.filter(({ index }) => index > 0);
}

/**
 * A type's schema, as it is written on the wire: what has a default may be left out. What JSON Schema cannot say is
 * left open.
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
