// Compiles a zod schema to a regular expression that matches a family of its valid messages: keys in the
// schema's order, no white space, strings and numbers of the plain kind. Absolute law: what a pattern
// accepts, JSON.parse, schema and rules accept too. What it cannot say, it declines by name.

import type * as z from 'zod';
import { type Conditions, MIN_JOB_ID_LENGTH } from '../protocol/conditions.js';
import type { MessageType } from '../protocol/message-registry.js';
import {
  asciiContent,
  BOOLEAN,
  FLAT_JSON,
  list,
  literal,
  numberFragment,
  record,
  STRING,
  UTC_DATETIME,
} from './fragments.js';

/** A compiled schema. */
export interface CompiledPattern {
  /** Source of the regular expression, without anchors. */
  readonly source: string;
  /** Number of the capture, from 1, of each path whose value somebody needs. */
  readonly captures: ReadonlyMap<string, number>;
  /** Fields that the pattern leaves out, with the reason: messages that have one take the slow path. */
  readonly omitted: readonly string[];
}

export type CompileResult = CompiledPattern | { readonly declined: string };

/** Why a schema, or a part of it, cannot be a pattern. */
class Declined extends Error {}

/** A zod schema's own description, and that of a check. Their fields depend on the kind. */
type Definition = { readonly type: string; readonly [key: string]: unknown };
type Check = { readonly check: string; readonly [key: string]: unknown };
type Schema = z.core.$ZodType;

/**
 * Compiles the pattern of a message type, or says why there is none.
 * @param captured dotted paths of strings and numbers to capture, beside job ids and the operands of rules
 */
export function compilePattern(type: MessageType, captured: readonly string[] = []): CompileResult {
  if (type.rule !== undefined && type.conditions === undefined) return { declined: 'its rule is a function' };
  try {
    return new PatternCompiler(type.conditions ?? {}, captured).compile(type.schema);
  } catch (error) {
    if (error instanceof Declined) return { declined: error.message };
    throw error;
  }
}

class PatternCompiler {
  readonly #conditions: Conditions;
  /** Paths to capture. */
  readonly #wanted: ReadonlySet<string>;
  readonly #captures = new Map<string, number>();
  readonly #omitted = new Map<string, string>();
  /** Conditions that the pattern checks, as `integer data.activeJobs`. */
  readonly #applied = new Set<string>();

  constructor(conditions: Conditions, captured: readonly string[]) {
    this.#conditions = conditions;
    // Where jobId is needed, its older spelling is never the one that counts.
    const jobIds = conditions.needsJobId ? ['jobId'] : ['jobId', 'job_id'];
    this.#wanted = new Set([...jobIds, ...captured, ...(conditions.notGreater ?? []).flat()]);
  }

  compile(schema: Schema): CompiledPattern {
    const source = this.#fragment(schema, '');
    this.#checkConditions();
    const omitted = [...this.#omitted].map(([field, reason]) => `${field}: ${reason}`);
    return { source, captures: this.#captures, omitted };
  }

  /** Every condition must be in the pattern, or speak of a field that the pattern leaves out. */
  #checkConditions(): void {
    const { integer = [], notNegative = [], notGreater = [], needsJobId } = this.#conditions;
    const needed = [
      ...integer.map((path) => ({ path, isMet: this.#applied.has(`integer ${path}`) })),
      ...notNegative.map((path) => ({ path, isMet: this.#applied.has(`notNegative ${path}`) })),
      ...notGreater.flat().map((path) => ({ path, isMet: this.#captures.has(path) })),
      ...(needsJobId ? [{ path: 'jobId', isMet: this.#captures.has('jobId') }] : []),
    ];
    for (const { path, isMet } of needed) {
      if (!isMet && !this.#omitted.has(path)) throw new Declined(`a rule on ${path}, which it cannot check`);
    }
  }

  /** @param path of the value in the message, dotted; `undefined` where it can be there more than once */
  #fragment(schema: Schema, path: string | undefined): string {
    const def = definitionOf(schema);
    switch (def.type) {
      case 'object':
        return this.#object(def, path);
      case 'string':
        return this.#string(def, path);
      case 'number':
        return this.#number(def, path);
      case 'array':
        return this.#array(def);
      case 'record':
        return this.#record(def, path);
      case 'union':
        return this.#union(def);
      case 'nullable':
        return plain(def, `(?:${this.#fragment(def.innerType as Schema, path)}|null)`);
      case 'optional':
      case 'default':
      case 'readonly':
        return plain(def, this.#fragment(def.innerType as Schema, path));
      case 'boolean':
        return plain(def, BOOLEAN);
      case 'null':
        return plain(def, 'null');
      case 'any':
      case 'unknown':
        return plain(def, FLAT_JSON);
      case 'enum':
      case 'literal':
        return plain(def, anyOf(valuesOf(def)));
      default:
        throw new Declined(`${def.type} cannot be a pattern`);
    }
  }

  #object(def: Definition, path: string | undefined): string {
    let text = '';
    let needsComma = false;
    for (const [key, schema] of Object.entries(def.shape as Record<string, Schema>)) {
      const field = path === undefined ? undefined : path === '' ? key : `${path}.${key}`;
      const isNeeded = field === 'jobId' && this.#conditions.needsJobId === true;
      // zod says `optional` or `defaulted` where the key may be missing.
      const isOptional = schema._zod.optin !== undefined && !isNeeded;
      const member = isOptional ? this.#optionalMember(key, schema, field) : this.#member(key, schema, field);
      if (member === undefined) continue;
      if (needsComma) text += isOptional ? `(?:,${member})?` : `,${member}`;
      else if (isOptional) text += String.raw`(?:${member}(?:,(?=")|(?=\})))?`;
      else text += member;
      // A member that may not be there brings its own comma; once one must be there, all others lead with it.
      needsComma ||= !isOptional;
    }
    return plain(def, String.raw`\{${text}\}`);
  }

  /** What cannot be a pattern is left out where it is optional. */
  #optionalMember(key: string, schema: Schema, field: string | undefined): string | undefined {
    const captures = new Map(this.#captures);
    try {
      return this.#member(key, schema, field);
    } catch (error) {
      if (!(error instanceof Declined)) throw error;
      this.#captures.clear();
      for (const [path, number] of captures) this.#captures.set(path, number);
      this.#omitted.set(field ?? 'a field of a list', error.message);
      return undefined;
    }
  }

  /** A key with its value. */
  #member(key: string, schema: Schema, field: string | undefined): string {
    return `${keyFragment(key)}:${this.#captured(this.#fragment(schema, field), schema, field)}`;
  }

  #captured(fragment: string, schema: Schema, field: string | undefined): string {
    if (field === undefined || !this.#wanted.has(field)) return fragment;
    const { type } = definitionOf(unwrap(schema));
    if ((field === 'jobId' || field === 'job_id') && type !== 'string') {
      throw new Declined('a job id that is no string');
    }
    if (type !== 'string' && type !== 'number') return fragment;
    this.#captures.set(field, this.#captures.size + 1);
    return type === 'number' ? `(${fragment})` : `"(${fragment.slice(1, -1)})"`;
  }

  #string(def: Definition, path: string | undefined): string {
    if (def.format === 'datetime' && def.precision === null) return plain(def, `"${UTC_DATETIME}"`);
    if (def.format !== undefined) throw new Declined(`the format ${String(def.format)}`);
    const isJobId = path === 'jobId' || path === 'job_id';
    const least = path === 'jobId' && this.#conditions.needsJobId ? MIN_JOB_ID_LENGTH : 0;
    const { min, max } = boundsOf(def, least);
    // A job id is read from the text as it is, so it may have no escapes.
    return min > 0 || max !== undefined || isJobId ? `"${asciiContent(min, max)}"` : STRING;
  }

  #number(def: Definition, path: string | undefined): string {
    let isInteger = this.#apply('integer', path);
    let isNotNegative = this.#apply('notNegative', path);
    const checks = checksOf(def);
    for (const check of def.format === undefined ? checks : [{ ...def, check: 'number_format' }, ...checks]) {
      if (check.check === 'number_format' && check.format === 'safeint') isInteger = true;
      else if (check.check === 'greater_than' && check.value === 0 && check.inclusive === true)
        isNotNegative = true;
      else throw new Declined(`the check ${nameOf(check)}`);
    }
    refuseCoercion(def);
    return numberFragment(isInteger, isNotNegative);
  }

  #array(def: Definition): string {
    const { min, max } = boundsOf(def, 0);
    return list(this.#fragment(def.element as Schema, undefined), min, max);
  }

  #record(def: Definition, path: string | undefined): string {
    const key = definitionOf(def.keyType as Schema);
    if (key.type !== 'string' || key.format !== undefined || checksOf(key).length > 0) {
      throw new Declined('a record whose keys are limited');
    }
    const isNotNegative = this.#apply('notNegative', path);
    const value = this.#fragment(def.valueType as Schema, undefined);
    if (isNotNegative && value !== numberFragment(false, false))
      throw new Declined('a rule on a record of others than numbers');
    return plain(def, record(isNotNegative ? numberFragment(false, true) : value));
  }

  #union(def: Definition): string {
    const options = def.options as Schema[];
    const fragments = options.map((option) => this.#fragment(option, undefined));
    if (!options.every((option) => beginsWithTag(option, def.discriminator))) {
      const starts = options.flatMap((option) => [...startsOf(option)]);
      if (new Set(starts).size < starts.length) throw new Declined('a union whose options begin alike');
    }
    return plain(def, `(?:${fragments.join('|')})`);
  }

  /** Whether a condition speaks of this path; then it is met by the pattern. */
  #apply(condition: 'integer' | 'notNegative', path: string | undefined): boolean {
    if (path === undefined || !this.#conditions[condition]?.includes(path)) return false;
    this.#applied.add(`${condition} ${path}`);
    return true;
  }
}

function definitionOf(schema: Schema): Definition {
  // zod types each definition by its kind; here they are told apart by `type` at run time.
  return schema._zod.def as unknown as Definition;
}

function checksOf(def: Definition): readonly Check[] {
  const checks = (def.checks ?? []) as readonly { readonly _zod: { readonly def: Check } }[];
  return checks.map((check) => check._zod.def);
}

function nameOf(check: Check): string {
  if (check.check === 'custom') return 'of a refinement';
  return check.check.endsWith('_format') ? String(check.format) : check.check;
}

/** The fragment of a definition that nothing more is asked of. */
function plain(def: Definition, fragment: string): string {
  const [check] = checksOf(def);
  if (check !== undefined) throw new Declined(`the check ${nameOf(check)}`);
  refuseCoercion(def);
  return fragment;
}

function refuseCoercion(def: Definition): void {
  if (def.coerce === true) throw new Declined('coercion');
}

/** How long a string or list may be. */
function boundsOf(def: Definition, least: number): { min: number; max: number | undefined } {
  let min = least;
  let max = Number.POSITIVE_INFINITY;
  for (const check of checksOf(def)) {
    if (check.check === 'min_length') min = Math.max(min, Number(check.minimum));
    else if (check.check === 'max_length') max = Math.min(max, Number(check.maximum));
    else if (check.check === 'length_equals') {
      min = Math.max(min, Number(check.length));
      max = Math.min(max, Number(check.length));
    } else throw new Declined(`the check ${nameOf(check)}`);
  }
  refuseCoercion(def);
  if (max < min) throw new Declined('bounds that exclude each other');
  return { min, max: max === Number.POSITIVE_INFINITY ? undefined : max };
}

function valuesOf(def: Definition): readonly unknown[] {
  return def.type === 'enum' ? Object.values(def.entries as object) : (def.values as readonly unknown[]);
}

function anyOf(values: readonly unknown[]): string {
  const texts = values.map((value) => {
    const text = typeof value === 'bigint' ? undefined : JSON.stringify(value);
    if (text === undefined || !isAscii(text)) throw new Declined('a value that is not ASCII');
    return literal(text);
  });
  return `(?:${texts.join('|')})`;
}

function keyFragment(key: string): string {
  if (!isAscii(key) || key === '__proto__') throw new Declined('a key that is not plain ASCII');
  return literal(JSON.stringify(key));
}

function isAscii(text: string): boolean {
  return /^[\x20-\x7e]*$/.test(text);
}

function unwrap(schema: Schema): Schema {
  const def = definitionOf(schema);
  return ['optional', 'default', 'readonly'].includes(def.type) ? unwrap(def.innerType as Schema) : schema;
}

/** An option of a discriminated union whose first key is the discriminator: the options differ there. */
function beginsWithTag(option: Schema, discriminator: unknown): boolean {
  const def = definitionOf(option);
  if (typeof discriminator !== 'string' || def.type !== 'object') return false;
  const [first] = Object.entries(def.shape as Record<string, Schema>);
  return first?.[0] === discriminator && definitionOf(first[1]).type === 'literal';
}

/** What the JSON of a schema can begin with: `0` stands for any number. */
function startsOf(schema: Schema): Set<string> {
  const def = definitionOf(schema);
  switch (def.type) {
    case 'string':
      return new Set('"');
    case 'number':
      return new Set('0');
    case 'boolean':
      return new Set('tf');
    case 'null':
      return new Set('n');
    case 'object':
    case 'record':
      return new Set('{');
    case 'array':
      return new Set('[');
    case 'enum':
    case 'literal':
      return new Set(
        valuesOf(def).map((value) => (typeof value === 'number' ? '0' : (JSON.stringify(value)?.[0] ?? ''))),
      );
    case 'nullable':
      return new Set([...startsOf(def.innerType as Schema), 'n']);
    case 'union':
      return new Set((def.options as Schema[]).flatMap((option) => [...startsOf(option)]));
    case 'optional':
    case 'default':
    case 'readonly':
      return startsOf(def.innerType as Schema);
    default:
      return new Set('"0tfn{[');
  }
}
