// Reads a zod schema's structure: which keys it names, and whether parsing changes the value.

import type * as z from 'zod';

interface SchemaFacts {
  /** Every object key that the schema names: safe to repeat in an error's path. */
  readonly keys: ReadonlySet<string>;
  /** Whether parsing can give another value than it was given (a default, a transform, coercion). */
  readonly rewrites: boolean;
}

/** zod's own names of the definitions whose output differs from their input. */
const REWRITING = new Set(['default', 'prefault', 'catch', 'transform', 'pipe', 'codec']);

/** Walks the whole schema once, through every schema its definition refers to. */
export function inspectSchema(schema: z.core.$ZodType): SchemaFacts {
  const keys = new Set<string>();
  const seen = new Set<unknown>();
  let rewrites = false;

  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null || seen.has(node)) return;
    seen.add(node);
    if ('_zod' in node) {
      const { def } = (node as z.core.$ZodType)._zod;
      if (REWRITING.has(def.type) || 'coerce' in def) rewrites = true;
      for (const part of Object.values(def)) visit(part);
      if ('shape' in def) {
        const shape = def.shape as z.core.$ZodShape;
        for (const key of Object.keys(shape)) keys.add(key);
        visit(shape);
      }
      if (def.type === 'lazy') visit((node as z.core.$ZodLazy)._zod.innerType);
    } else {
      for (const part of Object.values(node)) visit(part);
    }
  };
  visit(schema);
  return { keys, rewrites };
}
