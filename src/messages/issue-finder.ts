// Finds the validation issues of a value, up to a limit. zod itself collects every issue: for a message of 1 MB with
// 349,000 invalid objects it built a million of them (1.4 GB, 3.5 s). So the schema and the value are walked side by
// side first, and zod produces the exact list only if the walk finds fewer issues than the limit.
//
// The walk does not enter some schemas (custom types, the output side of a transform). There, zod validates the value
// and reports its first issue.

import * as z from 'zod';

type Schema = z.core.$ZodType;
type Def = z.core.$ZodTypes['_zod']['def'];
type Path = PropertyKey[];

/** Makes zod stop at the first issue in arrays and objects, unless it is of a check, such as a refinement. */
const FIRST_ISSUE: z.core.ParseContextInternal<z.core.$ZodIssue> = { abortEarly: true };

/**
 * The first issues of a value that the schema rejects.
 * @param limit maximum number of issues; at least 1
 * @returns at least one issue if zod finds any; zod's own list if it is shorter than the limit, unless the options of a
 *   union have as many issues as the limit: then not all of those around it
 */
export function findIssues(schema: Schema, value: unknown, limit: number): z.core.$ZodIssue[] {
  const walk = new IssueWalk(limit);
  walk.visit(schema, value, []);
  if (walk.isFull) return walk.issues;
  return z.safeParse(schema, value).error?.issues.slice(0, limit) ?? [];
}

/** Whether the walk finds an issue: then zod rejects the value. */
export function hasIssue(schema: Schema, value: unknown): boolean {
  const walk = new IssueWalk(1);
  walk.visit(schema, value, []);
  return walk.issues.length > 0;
}

/** For each of them, zod validates again all that is in it. */
const MAX_NESTED_CHECKS = 4;

class IssueWalk {
  readonly issues: z.core.$ZodIssue[] = [];
  readonly #limit: number;
  /** The options of some union have more issues than the limit, so zod must not collect all of them. */
  #unionExceedsLimit = false;
  /** Number of containers with checks, or pipes, around the current value. */
  #checked: number;

  constructor(limit: number, checked = 0) {
    this.#limit = limit;
    this.#checked = checked;
  }

  get isFull(): boolean {
    return this.issues.length >= this.#limit || (this.#unionExceedsLimit && this.issues.length > 0);
  }

  get #isDone(): boolean {
    return this.issues.length >= this.#limit;
  }

  visit(schema: Schema, value: unknown, path: Path): void {
    const { def } = schema._zod as { def: Def };
    const runsMore = def.type === 'pipe' || (hasChecks(def) && !LEAVES.has(def.type));
    if (!runsMore) return this.#visitParts(schema, def, value, path);
    const before = this.issues.length;
    this.#checked++;
    this.#visitParts(schema, def, value, path);
    this.#checked--;
    // Checks, and the output side of a pipe, get what the parts have accepted.
    if (this.issues.length === before && this.#checked < MAX_NESTED_CHECKS) this.#runZod(schema, value, path);
  }

  #visitParts(schema: Schema, def: Def, value: unknown, path: Path): void {
    switch (def.type) {
      case 'optional':
      case 'default':
      case 'prefault':
        if (value !== undefined) this.visit(def.innerType, value, path);
        return;
      case 'nullable':
        if (value !== null) this.visit(def.innerType, value, path);
        return;
      case 'nonoptional':
        if (value === undefined) return this.#runZod(schema, value, path);
        return this.visit(def.innerType, value, path);
      case 'readonly':
        return this.visit(def.innerType, value, path);
      case 'lazy':
        return this.visit((schema as z.core.$ZodLazy)._zod.innerType, value, path);
      case 'catch':
        return;
      case 'object':
        if (!isRecord(value)) return this.#runZod(schema, value, path);
        return this.#visitObject(def, value, path);
      case 'array':
        if (!Array.isArray(value)) return this.#runZod(schema, value, path);
        return this.#visitItems(value, path, () => def.element);
      case 'tuple':
        if (!Array.isArray(value)) return this.#runZod(schema, value, path);
        return this.#visitItems(value, path, (index) => def.items[index] ?? def.rest ?? undefined);
      case 'record':
        if (!isRecord(value)) return this.#runZod(schema, value, path);
        return this.#visitRecord(schema, def, value, path);
      case 'union':
        return this.#visitUnion(schema, def, value, path);
      case 'intersection':
        // An issue of one side may be none of both: a key that only the other side knows.
        if (z.validate(schema, value)) return;
        this.visit(def.left, value, path);
        if (!this.#isDone) this.visit(def.right, value, path);
        return;
      case 'pipe':
        return this.visit(def.in, value, path);
      default:
        return this.#runZod(schema, value, path);
    }
  }

  #visitObject(def: z.core.$ZodObjectDef, value: Record<string, unknown>, path: Path): void {
    for (const key of Object.keys(def.shape)) {
      const member = def.shape[key] as Schema;
      const isMissing = value[key] === undefined && !Object.hasOwn(value, key);
      if (isMissing && member._zod.optin !== undefined) continue;
      this.visit(member, value[key], [...path, key]);
      if (this.#isDone) return;
    }
    const rest = def.catchall;
    if (rest === undefined || rest._zod.def.type === 'unknown') return;
    const unknown = Object.keys(value).filter((key) => !Object.hasOwn(def.shape, key));
    if (rest._zod.def.type === 'never') {
      if (unknown.length > 0)
        this.issues.push({ code: 'unrecognized_keys', keys: unknown, path, message: '' });
      return;
    }
    for (const key of unknown) {
      this.visit(rest, value[key], [...path, key]);
      if (this.#isDone) return;
    }
  }

  #visitItems(items: readonly unknown[], path: Path, schemaOf: (index: number) => Schema | undefined): void {
    for (let index = 0; index < items.length; index++) {
      const schema = schemaOf(index);
      if (schema === undefined) return;
      this.visit(schema, items[index], [...path, index]);
      if (this.#isDone) return;
    }
  }

  #visitRecord(
    schema: Schema,
    { keyType, valueType, mode }: z.core.$ZodRecordDef,
    value: Record<string, unknown>,
    path: Path,
  ): void {
    // Whether zod rejects a key, and which issue it reports, depends on more than the key's schema. So zod validates a
    // record with only this key.
    const { type, checks, format } = keyType._zod.def as Partial<z.core.$ZodStringFormatDef>;
    const hasAnyKey = type === 'string' && format === undefined && (checks?.length ?? 0) === 0;
    const accepts = (key: string): boolean =>
      hasAnyKey ||
      z.validate(keyType, key) ||
      (z.core.regexes.number.test(key) && z.validate(keyType, Number(key)));
    // Of a record whose keys are listed, zod requires all of them.
    const isListed = keyType._zod.values !== undefined;
    if (isListed && !Object.keys(value).every(accepts)) return this.#runZod(schema, value, path);
    for (const key of Object.keys(value)) {
      if (accepts(key)) this.visit(valueType, value[key], [...path, key]);
      else if (mode !== 'loose') this.#runZod(schema, { [key]: value[key] }, path);
      if (this.#isDone) return;
    }
  }

  /** Adds a single issue if no option accepts the value: the option that the sender meant is unknown. */
  #visitUnion(schema: Schema, def: z.core.$ZodUnionDef, value: unknown, path: Path): void {
    const options = optionsFor(def, value);
    const [first] = options;
    if (first === undefined) return this.#runZod(schema, value, path);
    if (options.length === 1) return this.visit(first, value, path);
    let issueCount = 0;
    for (const option of options) {
      const isContainer = isTransparent(option) && !LEAVES.has(option._zod.def.type);
      if (!isContainer) {
        if (z.validate(option, value)) return;
        issueCount++;
        continue;
      }
      const walk = new IssueWalk(this.#limit, this.#checked);
      walk.visit(option, value, path);
      if (walk.issues.length === 0) return;
      issueCount += walk.isFull ? this.#limit : walk.issues.length;
    }
    if (issueCount >= this.#limit) this.#unionExceedsLimit = true;
    this.issues.push({ code: 'invalid_union', errors: [], path, message: '' });
  }

  /** Validates this value with zod, up to its first issue. */
  #runZod(schema: Schema, value: unknown, path: Path): void {
    const { error } = z.safeParse(schema, value, FIRST_ISSUE);
    for (const issue of error?.issues.slice(0, this.#limit - this.issues.length) ?? []) {
      this.issues.push({ ...issue, path: [...path, ...issue.path] });
    }
  }
}

/** The union options that a value may match: exactly one if a discriminator selects it. */
function optionsFor(def: z.core.$ZodUnionDef, value: unknown): readonly Schema[] {
  const { discriminator } = def as Partial<z.core.$ZodDiscriminatedUnionDef>;
  if (discriminator === undefined) return def.options;
  // If the value is not an object or its tag is unknown, zod reports a single issue.
  if (!isRecord(value)) return [];
  const tag = value[discriminator] as z.core.util.Primitive;
  const option = def.options.find(({ _zod }) => _zod.propValues?.[discriminator]?.has(tag));
  if (option !== undefined) return [option];
  return (def as Partial<z.core.$ZodDiscriminatedUnionDef>).unionFallback ? def.options : [];
}

/** Schema types without inner schemas: zod validates such a value as a whole, including its checks. */
const LEAVES: ReadonlySet<string> = new Set([
  'string',
  'number',
  'int',
  'boolean',
  'bigint',
  'null',
  'undefined',
  'any',
  'unknown',
  'never',
  'nan',
  'enum',
  'literal',
  'template_literal',
]);

const transparent = new WeakMap<Schema, boolean>();

/** Whether the walk covers everything that the schema checks: no transforms. */
function isTransparent(schema: Schema): boolean {
  let result = transparent.get(schema);
  if (result === undefined) {
    result = computeTransparency(schema, new Set());
    transparent.set(schema, result);
  }
  return result;
}

function computeTransparency(schema: Schema, seen: Set<Schema>): boolean {
  // A recursive schema is transparent if all its other parts are.
  if (seen.has(schema)) return true;
  seen.add(schema);
  const { def } = schema._zod as { def: Def };
  if (LEAVES.has(def.type)) return true;
  return partsOf(schema, def)?.every((part) => computeTransparency(part, seen)) ?? false;
}

function hasChecks({ checks }: Def): boolean {
  return checks !== undefined && checks.length > 0;
}

/** The inner schemas of a container schema, or `undefined` if the walk does not support its type. */
function partsOf(schema: Schema, def: Def): readonly Schema[] | undefined {
  switch (def.type) {
    case 'optional':
    case 'default':
    case 'nullable':
    case 'readonly':
      return [def.innerType];
    case 'lazy':
      return [(schema as z.core.$ZodLazy)._zod.innerType];
    case 'object':
      return [...Object.values(def.shape), ...(def.catchall === undefined ? [] : [def.catchall])];
    case 'array':
      return [def.element];
    case 'record':
      return [def.keyType, def.valueType];
    case 'union':
      return def.options;
    default:
      return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
