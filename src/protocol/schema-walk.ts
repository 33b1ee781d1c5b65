// Reads a zod schema's structure: which keys it names, and whether parsing changes the value.

import * as z from 'zod';

interface SchemaFacts {
  /** Every object key that the schema names: safe to repeat in an error's path. */
  readonly keys: ReadonlySet<string>;
  /** Whether parsing can give another value than it was given (a default, a transform, coercion). */
  readonly rewrites: boolean;
  /** Whether a part of it comes from another version of zod, which may mean something else by the same definition. */
  readonly isForeign: boolean;
}

/** zod's own names of the definitions whose output differs from their input. */
const REWRITING = new Set(['default', 'prefault', 'catch', 'transform', 'pipe', 'codec']);

/** Walks the whole schema once, through every schema its definition refers to. */
export function inspectSchema(schema: z.core.$ZodType): SchemaFacts {
  const keys = new Set<string>();
  const seen = new Set<unknown>();
  let [rewrites, isForeign] = [false, false];

  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null || seen.has(node)) return;
    seen.add(node);
    if ('_zod' in node) {
      const { def, version } = (node as z.core.$ZodType)._zod;
      // Checks have no version, only schemas.
      if ('type' in def && !isThisVersion(version)) isForeign = true;
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
  return { keys, rewrites, isForeign };
}

/** Whether a schema, of which `version` is zod's own, was made by the zod that this module uses. */
export function isThisVersion(version: typeof z.core.version | undefined): boolean {
  const { major, minor, patch } = z.core.version;
  return version?.major === major && version.minor === minor && version.patch === patch;
}
