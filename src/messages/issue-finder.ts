// Finds the validation issues of a value, up to a limit. zod itself collects every issue: for a message of 1 MB with
// 349,000 invalid objects it built a million of them (1.4 GB, 3.5 s). So the schema and the value are walked side by
// side first, and zod produces the exact list only if the walk shows that it is short.
//
// The walk does not enter some schemas, such as custom types and codecs. There, zod validates the value and reports its
// first issue.

import * as z from 'zod';

type Schema = z.core.$ZodType;
type Def = z.core.$ZodTypes['_zod']['def'];
type Path = PropertyKey[];

/** Makes zod stop at the first issue in arrays and objects, unless it is of a check, such as a refinement. */
export const FIRST_ISSUE: z.core.ParseContextInternal<z.core.$ZodIssue> = { abortEarly: true };

/** Number of members in a value, at all levels, for which zod's own list is short enough, whatever the schema. */
const MAX_SMALL_SIZE = 128;

/** Members are not counted any further: messages may be larger, and values that are given as objects have cycles. */
const MAX_SIZE = 1_000_000;

/** How many schemas the walk visits for a value, and in addition for each member of it. Most members need 2 to 5. */
const FREE_VISITS = 256;
const VISITS_PER_MEMBER = 8;

/** Number of visits, for each member of a container, that zod's validation of it counts as. */
const VISITS_PER_VALIDATION = 2;

/**
 * The first issues of a value that the schema rejects.
 * @param limit maximum number of issues; at least 1
 * @returns at least one issue if zod finds any; zod's own list if that is shorter than the limit and was cheap to get;
 *   else what the walk found, or the first one if that is nothing
 */
export function findIssues(schema: Schema, value: unknown, limit: number): z.core.$ZodIssue[] {
  const budget = new Budget(value);
  const walk = new IssueWalk(limit, budget);
  walk.visit(schema, value, []);
  const { isFull, issues } = walk;
  if (isFull || (budget.isSpent && issues.length > 0 && !isSmall(value))) return issues;
  const isShort = issues.length > 0 || isSmall(value);
  return z.safeParse(schema, value, isShort ? undefined : FIRST_ISSUE).error?.issues.slice(0, limit) ?? [];
}

/** Whether the walk finds an issue: then zod rejects the value. */
export function hasIssue(schema: Schema, value: unknown): boolean {
  const walk = new IssueWalk(1, new Budget(value));
  walk.visit(schema, value, []);
  return walk.issues.length > 0;
}

/** Whether zod's list of all issues of a value is short enough, whatever the schema. */
export function isSmall(value: unknown): boolean {
  return sizeOf(value, MAX_SMALL_SIZE) <= MAX_SMALL_SIZE;
}

/** Number of members in a value, at all levels; more than `max` if there are more. */
function sizeOf(value: unknown, max: number): number {
  let size = 0;
  const pending = [value];
  while (pending.length > 0 && size <= max) {
    const part = pending.pop();
    if (Array.isArray(part)) {
      size += part.length;
      if (size > max) break;
      for (const member of part) if (isContainer(member)) pending.push(member);
    } else if (isContainer(part)) {
      // Without an array of the values: measured twice as fast.
      for (const key in part) {
        const member = part[key];
        if (isContainer(member)) pending.push(member);
        size++;
      }
    }
  }
  return size;
}

function isContainer(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/**
 * How many schemas a walk may still visit, with the walks that it starts. With recursive unions, the number of ways to
 * reach a value grows exponentially with its depth.
 */
class Budget {
  #visits = FREE_VISITS;
  #value: unknown;
  #isCounted = false;

  constructor(value: unknown) {
    this.#value = value;
  }

  get isSpent(): boolean {
    return this.#visits <= 0;
  }

  spend(visits: number): void {
    this.#visits -= visits;
    // Most walks end before the members have to be counted.
    if (!this.isSpent || this.#isCounted) return;
    this.#isCounted = true;
    this.#visits += VISITS_PER_MEMBER * sizeOf(this.#value, MAX_SIZE);
  }
}

/** Stands for the issues that are only counted. */
const COUNTED: z.core.$ZodIssue = { code: 'custom', path: [], message: '' };

class IssueWalk {
  readonly issues: z.core.$ZodIssue[] = [];
  readonly #limit: number;
  readonly #budget: Budget;
  readonly #onlyCounts: boolean;
  /** zod may have more issues than the limit: in the options of a union, or where it looked for the first only. */
  #mayExceedLimit = false;

  constructor(limit: number, budget: Budget, onlyCounts = false) {
    this.#limit = limit;
    this.#budget = budget;
    this.#onlyCounts = onlyCounts;
  }

  get isFull(): boolean {
    return this.issues.length >= this.#limit || (this.#mayExceedLimit && this.issues.length > 0);
  }

  get #isDone(): boolean {
    return this.issues.length >= this.#limit || this.#budget.isSpent;
  }

  visit(schema: Schema, value: unknown, path: Path): void {
    if (this.#isDone) return;
    this.#budget.spend(1);
    const { def } = schema._zod as { def: Def };
    const before = this.issues.length;
    this.#visitParts(schema, def, value, path);
    // Checks get what the parts have accepted.
    if (hasChecks(def) && !isLeaf(schema) && this.issues.length === before) this.#runZod(schema, value, path);
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
        return this.#visitIntersection(schema, def, value, path);
      case 'pipe':
        return this.#visitPipe(schema, def, value, path);
      default:
        return this.#runZod(schema, value, path);
    }
  }

  #visitIntersection(schema: Schema, def: z.core.$ZodIntersectionDef, value: unknown, path: Path): void {
    if (!this.#rejects(schema, value)) return;
    const before = this.issues.length;
    this.visit(def.left, value, path);
    this.visit(def.right, value, path);
    // A key that only one side knows is no issue.
    const found = this.issues.splice(before).filter((issue) => {
      const depth = issue.path.length - path.length;
      return issue.code === 'unrecognized_keys' ? depth > 0 : issue.code !== 'invalid_key' || depth > 1;
    });
    if (found.length === 0) this.#runZod(schema, value, path);
    else this.issues.push(...found);
  }

  /** The output side gets what the input side returns for a value that it accepts. */
  #visitPipe(schema: Schema, def: z.core.$ZodPipeDef, value: unknown, path: Path): void {
    const before = this.issues.length;
    this.visit(def.in, value, path);
    if (this.issues.length > before || !this.#canValidate(def.in, value)) return;
    // A codec has a transform between its sides.
    const input = 'transform' in def ? undefined : z.safeParse(def.in, value, FIRST_ISSUE);
    if (input?.success) this.visit(def.out, input.data, path);
    else this.#runZod(schema, value, path);
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
    const unknown = this.#keysOf(value).filter((key) => !Object.hasOwn(def.shape, key));
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
    const keys = this.#keysOf(value);
    if (isListed && !keys.every(accepts)) return this.#runZod(schema, value, path);
    for (const key of keys) {
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
      const count = this.#countIssues(option, value);
      if (count === 0) return;
      issueCount += count;
    }
    if (issueCount >= this.#limit) this.#mayExceedLimit = true;
    this.issues.push({ code: 'invalid_union', errors: [], path, message: '' });
  }

  /** How many issues an option has, up to the limit, which also stands for an unknown number. */
  #countIssues(option: Schema, value: unknown): number {
    if (isLeaf(option)) return this.#rejects(option, value) ? 1 : 0;
    const walk = new IssueWalk(this.#limit, this.#budget, true);
    walk.visit(option, value, []);
    if (walk.isFull) return this.#limit;
    if (walk.issues.length > 0 || isTransparent(option)) return walk.issues.length;
    if (!this.#rejects(option, value)) return 0;
    return isSmall(value) ? 1 : this.#limit;
  }

  #keysOf(value: Record<string, unknown>): string[] {
    const keys = Object.keys(value);
    this.#budget.spend(keys.length);
    return keys;
  }

  /** Whether the budget allows zod to validate this value. */
  #canValidate(schema: Schema, value: unknown): boolean {
    if (this.#budget.isSpent) return false;
    if (!isLeaf(schema)) this.#budget.spend(VISITS_PER_VALIDATION * sizeOf(value, MAX_SIZE));
    return !this.#budget.isSpent;
  }

  /** Whether zod is known to reject this value. */
  #rejects(schema: Schema, value: unknown): boolean {
    return this.#canValidate(schema, value) && !z.validate(schema, value);
  }

  /** Validates this value with zod, up to its first issue. */
  #runZod(schema: Schema, value: unknown, path: Path): void {
    if (!this.#canValidate(schema, value)) return;
    const result = z.safeParse(schema, value, FIRST_ISSUE);
    if (result.success) return;
    if (!isLeaf(schema) && !isSmall(value)) this.#mayExceedLimit = true;
    const found = this.#onlyCounts ? [COUNTED] : result.error.issues;
    for (const issue of found.slice(0, this.#limit - this.issues.length)) {
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

function isLeaf({ _zod: { def } }: Schema): boolean {
  return LEAVES.has(def.type);
}

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
  if (isLeaf(schema)) return true;
  const { def } = schema._zod as { def: Def };
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
