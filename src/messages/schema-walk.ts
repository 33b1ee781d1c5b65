// Inspects the structure of a zod schema: its keys, and whether parsing changes the value.

import * as z from 'zod';

export interface SchemaFacts {
  /** The schema, and every schema in it, in the order of its definition. */
  readonly parts: readonly z.core.$ZodType[];
  /** All object keys that the schema defines: safe to show in the path of an error. */
  readonly keys: ReadonlySet<string>;
  /** Whether the output of parsing can differ from its input (a default, a transform, coercion). */
  readonly transformsInput: boolean;
  /** Whether a part was created by another version of zod 4. */
  readonly isOtherVersion: boolean;
  /** Whether a part is of a custom class, and so may do more than its definition says. */
  readonly hasCustomClass: boolean;
  /** Whether a part is a schema of zod 3. */
  readonly hasZod3Part: boolean;
  /** Whether a part is recognizably asynchronous: an async function or `z.promise`. */
  readonly isAsync: boolean;
}

/** zod's names of the definitions whose output can differ from their input. */
const TRANSFORMING_TYPES = new Set(['default', 'prefault', 'catch', 'transform', 'pipe', 'codec', 'success']);

/** Visits the schema and every schema reachable from its definition, each once. */
export function inspectSchema(schema: z.core.$ZodType): SchemaFacts {
  const parts: z.core.$ZodType[] = [];
  const keys = new Set<string>();
  const seen = new Set<unknown>();
  let [transformsInput, isOtherVersion, hasCustomClass] = [false, false, false];
  let [isAsync, hasZod3Part] = [false, false];

  const visit = (node: unknown): void => {
    if (isAsyncFunction(node)) isAsync = true;
    if (typeof node !== 'object' || node === null || seen.has(node)) return;
    seen.add(node);
    if ('_zod' in node) {
      const part = node as z.core.$ZodType;
      const { def, version, traits } = part._zod;
      // `check` is the function that was passed to `.check()`.
      visit((node as Partial<z.core.$ZodCheck>)._zod?.check);
      if (def.type === 'promise') isAsync = true;
      // Only schemas have a version; checks do not.
      if ('type' in def) parts.push(part);
      if ('type' in def && !isThisVersion(version)) isOtherVersion = true;
      if ('type' in def && !isOfKnownClass(traits)) hasCustomClass = true;
      if (TRANSFORMING_TYPES.has(def.type) || 'coerce' in def || isOverwriting(def)) transformsInput = true;
      for (const inner of Object.values(def)) visit(inner);
      if ('shape' in def) {
        const shape = def.shape as z.core.$ZodShape;
        for (const key of Object.keys(shape)) keys.add(key);
        visit(shape);
      }
      if (def.type === 'lazy') visit((node as z.core.$ZodLazy)._zod.innerType);
    } else if (isZod3(node)) hasZod3Part = true;
    else {
      for (const part of Object.values(node)) visit(part);
    }
  };
  visit(schema);
  return { parts, keys, transformsInput, isOtherVersion, hasCustomClass, hasZod3Part, isAsync };
}

/**
 * Whether a check, or a format, may change the value: `trim()`, `toLowerCase()`, a URL, which zod trims, or a function of
 * `superRefine` or `check`, which can replace it. That of `refine`, in `fn`, cannot.
 */
function isOverwriting(def: object): boolean {
  const { check, format, fn } = def as { check?: unknown; format?: unknown; fn?: unknown };
  return check === 'overwrite' || format === 'url' || (check === 'custom' && fn === undefined);
}

/** Whether a value is a schema of zod 3. Those of zod 4 also have `_def`, without a `typeName`. */
export function isZod3(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || '_zod' in value || !('_def' in value)) return false;
  const { _def: def } = value;
  return typeof def === 'object' && def !== null && 'typeName' in def;
}

/** Whether a function is declared async. A plain function that may return a promise cannot be recognized. */
export function isAsyncFunction(value: unknown): boolean {
  return typeof value === 'function' && /^Async/.test(Object.prototype.toString.call(value).slice(8));
}

/**
 * Whether a schema was created by the same zod version as the one this module uses.
 * @param version the version that zod recorded in the schema
 */
export function isThisVersion(version: typeof z.core.version | undefined): boolean {
  const { major, minor, patch } = z.core.version;
  return version?.major === major && version.minor === minor && version.patch === patch;
}

/** Whether all classes of an object are zod's own: from its core, `zod` or `zod/mini`. `traits` has their names. */
export function isOfKnownClass(traits: ReadonlySet<string> | undefined): boolean {
  return traits !== undefined && [...traits].every((name) => isZodClass(name));
}

function isZodClass(name: string): boolean {
  if (name in z.core) return true;
  const mini = /^ZodMini(\w+)$/.exec(name)?.[1];
  return mini === undefined ? name.replace(/^_/, '') in z : `$Zod${mini}` in z.core;
}
