// Checks values of which a pattern has matched only the text: a part of the schema that no pattern can express, such as a
// refinement, has to accept each of them. A member of an object, an element or a value of a record is valid if and only if
// its own schema accepts it, so the result is that of the whole schema.

import * as z from 'zod';
import { compileSchema } from '../messages/compile-schema.js';
import type { MessageType } from '../messages/message-registry.js';
import { inspectSchema } from '../messages/schema-walk.js';
import type { Schema } from './zod-allow-list.js';

const QUOTE = 0x22;

export class ValueChecks {
  readonly #types: readonly Pick<MessageType, 'parts'>[];
  /** Compiled parts, by type index and index of the part. */
  readonly #compiled: (Schema | undefined)[][];

  constructor(types: readonly Pick<MessageType, 'parts'>[]) {
    this.#types = types;
    this.#compiled = types.map(() => []);
  }

  /**
   * Whether a part of a type's schema accepts a value. May take long, or not return: schemas contain user code.
   * @param text JSON text of the value, which is valid
   * @returns false also if the part throws: the slow path then reports what it throws
   */
  accepts(typeIndex: number, part: number, text: string): boolean {
    try {
      return z.validate(this.#schema(typeIndex, part), valueIn(text));
    } catch {
      return false;
    }
  }

  #schema(typeIndex: number, part: number): Schema {
    const known = this.#compiled[typeIndex]?.[part];
    if (known !== undefined) return known;
    const schema = this.#types[typeIndex]?.parts[part];
    if (schema === undefined) throw new Error(`type ${typeIndex} has no part ${part}`);
    const compiled = compileSchema(schema, inspectSchema(schema));
    (this.#compiled[typeIndex] as (Schema | undefined)[])[part] = compiled;
    return compiled;
  }
}

function valueIn(text: string): unknown {
  const isPlain = text.charCodeAt(0) === QUOTE && !text.includes('\\');
  return isPlain ? text.slice(1, -1) : JSON.parse(text);
}
