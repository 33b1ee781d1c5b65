// Reads a zod schema's structure: which keys it names, and whether parsing changes the value.

import * as z from 'zod';

interface SchemaFacts {
  /** Every object key that the schema names: safe to repeat in an error's path. */
  readonly keys: ReadonlySet<string>;
  /** Whether parsing can give another value than it was given (a default, a transform, coercion). */
  readonly transformsInput: boolean;
  /** Whether a part of it is of another version of zod, or of a class of its own: it may mean more than its definition. */
  readonly isForeign: boolean;
  /** Whether a part of it visibly needs promises: an async function, `z.promise`. */
  readonly isAsync: boolean;
}

/** zod's own names of the definitions whose output differs from their input. */
const REWRITING = new Set(['default', 'prefault', 'catch', 'transform', 'pipe', 'codec']);

/** Walks the whole schema once, through every schema its definition refers to. */
export function inspectSchema(schema: z.core.$ZodType): SchemaFacts {
  const keys = new Set<string>();
  const seen = new Set<unknown>();
  let [transformsInput, isForeign, isAsync] = [false, false, false];

  const visit = (node: unknown): void => {
    if (isAsyncFunction(node)) isAsync = true;
    if (typeof node !== 'object' || node === null || seen.has(node)) return;
    seen.add(node);
    if ('_zod' in node) {
      const { def, version, traits } = (node as z.core.$ZodType)._zod;
      // `check` is the function that a check was made from, where it was given to `.check()`.
      visit((node as Partial<z.core.$ZodCheck>)._zod?.check);
      if (def.type === 'promise') isAsync = true;
      // Checks have no version, only schemas.
      if ('type' in def && !(isThisVersion(version) && isOfKnownClass(traits))) isForeign = true;
      if (REWRITING.has(def.type) || 'coerce' in def) transformsInput = true;
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
  return { keys, transformsInput, isForeign, isAsync };
}

/** Whether a function always gives a promise. One that only sometimes does, nobody can see. */
export function isAsyncFunction(value: unknown): boolean {
  return typeof value === 'function' && /^Async/.test(Object.prototype.toString.call(value).slice(8));
}

/** Whether a schema, of which `version` is zod's own, was made by the zod that this module uses. */
export function isThisVersion(version: typeof z.core.version | undefined): boolean {
  const { major, minor, patch } = z.core.version;
  return version?.major === major && version.minor === minor && version.patch === patch;
}

/** zod names every class of an object in its traits: those of zod itself, of `zod`, and of `zod/mini`. */
export function isOfKnownClass(traits: ReadonlySet<string> | undefined): boolean {
  return traits !== undefined && [...traits].every((name) => isClassOfZod(name));
}

function isClassOfZod(name: string): boolean {
  if (name in z.core) return true;
  const mini = /^ZodMini(\w+)$/.exec(name)?.[1];
  return mini === undefined ? name.replace(/^_/, '') in z : `$Zod${mini}` in z.core;
}
