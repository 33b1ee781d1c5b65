// Compiles a zod schema to a regular expression that matches a family of its valid messages: keys in a
// layout's order, white space only where the layout has it, strings and numbers of the plain kind. Absolute
// law: what a pattern accepts, JSON.parse, schema and rules accept too. What it cannot say, it declines by name.

import { type Conditions, MIN_JOB_ID_LENGTH } from '../protocol/conditions.js';
import type { MessageType } from '../protocol/message-registry.js';
import {
  beginsWithTag,
  boundsOf,
  Declined,
  type Definition,
  definitionOf,
  numberRangeOf,
  refuseChecks,
  type Schema,
  startsOf,
  unwrap,
  valuesOf,
} from './definitions.js';
import {
  asciiContent,
  BOOLEAN,
  DATE,
  dateTime,
  flatJson,
  list,
  literal,
  record,
  STRING,
  stringThatStarts,
  uuid,
} from './fragments.js';
import { COMPACT, elementPath, isSingular, type Layout, memberPath, valuePath } from './layout.js';
import { intersect, numberFragment } from './number-range.js';

/** A compiled schema. */
export interface CompiledPattern {
  /** Source of the regular expression, without anchors. */
  readonly source: string;
  /** What every message that it takes begins with: the first key, up to its value. */
  readonly head: string;
  /** Number of the capture, from 1, of each path whose value somebody needs. */
  readonly captures: ReadonlyMap<string, number>;
  /** Fields that the pattern leaves out, with the reason: messages that have one take the slow path. */
  readonly omitted: readonly string[];
}

export type CompileResult = CompiledPattern | { readonly declined: string };

/**
 * Compiles the pattern of a message type, or says why there is none.
 * @param captured dotted paths of strings and numbers to capture, beside job ids and the operands of rules
 * @param layout how the messages are written; default: as `JSON.stringify` does, in the schema's order
 */
export function compilePattern(
  type: MessageType,
  captured: readonly string[] = [],
  layout: Layout = COMPACT,
): CompileResult {
  if (type.rule !== undefined && type.conditions === undefined) return { declined: 'its rule is a function' };
  try {
    return new PatternCompiler(type, captured, layout).compile();
  } catch (error) {
    if (error instanceof Declined) return { declined: error.message };
    throw error;
  }
}

const NOT_NEGATIVE = { min: 0 };
const INTEGER = { isInteger: true };
const JOB_IDS = ['jobId', 'job_id'];

class PatternCompiler {
  readonly #type: MessageType;
  readonly #conditions: Conditions;
  readonly #layout: Layout;
  /** Paths to capture. */
  readonly #wanted: ReadonlySet<string>;
  readonly #captures = new Map<string, number>();
  readonly #omitted = new Map<string, string>();
  #head = '{';
  /** Conditions that the pattern checks, as `integer data.activeJobs`. */
  readonly #applied = new Set<string>();

  constructor(type: MessageType, captured: readonly string[], layout: Layout) {
    this.#type = type;
    this.#conditions = type.conditions ?? {};
    this.#layout = layout;
    // Where jobId is needed, its older spelling is never the one that counts.
    const jobIds = this.#conditions.needsJobId ? ['jobId'] : JOB_IDS;
    this.#wanted = new Set([...jobIds, ...captured, ...(this.#conditions.notGreater ?? []).flat()]);
  }

  compile(): CompiledPattern {
    const { schema } = this.#type;
    if (shapeOf(schema)?.type === undefined) throw new Declined('it has no key that names its type');
    const source = this.#fragment(schema, '');
    this.#checkConditions();
    const omitted = [...this.#omitted].map(([field, reason]) => `${field}: ${reason}`);
    return { source, head: this.#head, captures: this.#captures, omitted };
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

  /** @param path of the value in the message; see layout.ts */
  #fragment(schema: Schema, path: string): string {
    const def = definitionOf(schema);
    switch (def.type) {
      case 'object':
        return this.#object(def, path);
      case 'string':
        return this.#string(def, path);
      case 'number':
        return this.#number(def, path);
      case 'array':
        return this.#array(def, path);
      case 'record':
        return this.#record(def, path);
      case 'union':
        return this.#union(def, path);
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
        return plain(def, flatJson(this.#layout.spacing));
      case 'enum':
      case 'literal':
        return plain(def, path === 'type' ? this.#typeName(def) : anyOf(valuesOf(def)));
      default:
        throw new Declined(`${def.type} cannot be a pattern`);
    }
  }

  /** Only messages that name this type are checked by its schema. */
  #typeName(def: Definition): string {
    const { name } = this.#type;
    if (!valuesOf(def).includes(name)) throw new Declined('its schema wants another type');
    return anyOf([name]);
  }

  #object(def: Definition, path: string): string {
    const { comma, colon } = this.#layout.spacing;
    let text = '';
    let needsComma = false;
    for (const [key, schema] of this.#members(def, path)) {
      const field = memberPath(path, key);
      const isNeeded = field === 'jobId' && this.#conditions.needsJobId === true;
      // zod says `optional` or `defaulted` where the key may be missing.
      const isOptional = schema === undefined || (schema._zod.optin !== undefined && !isNeeded);
      const member = isOptional ? this.#optionalMember(key, schema, field) : this.#member(key, schema, field);
      if (member === undefined) continue;
      if (needsComma) text += isOptional ? `(?:${comma}${member})?` : `${comma}${member}`;
      else if (isOptional) text += String.raw`(?:${member}(?:${comma}(?=")|(?=\})))?`;
      else text += member;
      if (text === member && path === '') this.#head += JSON.stringify(key) + colon;
      // A member that may not be there brings its own comma; once one must be there, all others lead with it.
      needsComma ||= !isOptional;
    }
    return plain(def, String.raw`\{${text}\}`);
  }

  /** The members of an object in the layout's order; no schema: a key that the schema does not name. */
  #members(def: Definition, path: string): [key: string, schema: Schema | undefined][] {
    const shape = def.shape as Readonly<Record<string, Schema>>;
    const order = this.#layout.keys.get(path);
    if (order === undefined) return Object.entries(shape);
    for (const [key, schema] of Object.entries(shape)) {
      if (order.includes(key)) continue;
      if (schema._zod.optin === undefined) throw new Declined(`a layout without ${key}`);
      this.#omitted.set(memberPath(path, key), 'not in this layout');
    }
    // Other keys are free where zod ignores them or keeps them unseen; what routes a message is never free.
    const catchall = def.catchall === undefined ? undefined : definitionOf(def.catchall as Schema).type;
    for (const key of order) {
      if (Object.hasOwn(shape, key)) continue;
      if ((catchall !== undefined && catchall !== 'unknown') || (path === '' && JOB_IDS.includes(key))) {
        throw new Declined(`a layout with ${key}`);
      }
    }
    return order.map((key) => [key, Object.hasOwn(shape, key) ? shape[key] : undefined]);
  }

  /** What cannot be a pattern is left out where it is optional. */
  #optionalMember(key: string, schema: Schema | undefined, field: string): string | undefined {
    const captures = new Map(this.#captures);
    try {
      return this.#member(key, schema, field);
    } catch (error) {
      if (!(error instanceof Declined)) throw error;
      this.#captures.clear();
      for (const [path, number] of captures) this.#captures.set(path, number);
      this.#omitted.set(field, error.message);
      return undefined;
    }
  }

  /** A key with its value. */
  #member(key: string, schema: Schema | undefined, field: string): string {
    const { spacing } = this.#layout;
    const value =
      schema === undefined ? flatJson(spacing) : this.#captured(this.#fragment(schema, field), schema, field);
    return keyFragment(key) + spacing.colon + value;
  }

  #captured(fragment: string, schema: Schema, field: string): string {
    if (!isSingular(field) || !this.#wanted.has(field)) return fragment;
    const { type } = definitionOf(unwrap(schema));
    if (JOB_IDS.includes(field) && type !== 'string') throw new Declined('a job id that is no string');
    if (type !== 'string' && type !== 'number') return fragment;
    this.#captures.set(field, this.#captures.size + 1);
    return type === 'number' ? `(${fragment})` : `"(${fragment.slice(1, -1)})"`;
  }

  #string(def: Definition, path: string): string {
    if (path === 'type') throw new Declined('its schema does not name its type');
    if (def.format !== undefined) return plain(def, `"${formatFragment(def)}"`);
    const least = path === 'jobId' && this.#conditions.needsJobId ? MIN_JOB_ID_LENGTH : 0;
    const { min, max, prefix } = boundsOf(def, least);
    // A job id is read from the text as it is, so it may have no escapes.
    const isAscii = min > 0 || max !== undefined || JOB_IDS.includes(path);
    if (prefix === undefined) return isAscii ? `"${asciiContent(min, max)}"` : STRING;
    if (isAscii || JSON.stringify(prefix) !== `"${prefix}"` || !isPlainAscii(prefix)) {
      throw new Declined('the check starts_with, beside a length or with more than plain ASCII');
    }
    return stringThatStarts(prefix);
  }

  #number(def: Definition, path: string): string {
    let range = numberRangeOf(def);
    if (this.#apply('integer', path)) range = intersect(range, INTEGER);
    if (this.#apply('notNegative', path)) range = intersect(range, NOT_NEGATIVE);
    const fragment = numberFragment(range);
    if (fragment === undefined) throw new Declined('bounds between which it knows no number');
    return fragment;
  }

  #array(def: Definition, path: string): string {
    const { min, max } = boundsOf(def, 0);
    return list(this.#fragment(def.element as Schema, elementPath(path)), this.#layout.spacing, min, max);
  }

  #record(def: Definition, path: string): string {
    const key = definitionOf(def.keyType as Schema);
    if (key.type !== 'string' || key.format !== undefined || (key.checks as unknown[] | undefined)?.length) {
      throw new Declined('a record whose keys are limited');
    }
    const value = def.valueType as Schema;
    if (!this.#apply('notNegative', path)) {
      return plain(def, record(this.#fragment(value, valuePath(path)), this.#layout.spacing));
    }
    const { type } = definitionOf(value);
    if (type !== 'number') throw new Declined('a rule on a record of others than numbers');
    const range = intersect(numberRangeOf(definitionOf(value)), NOT_NEGATIVE);
    return plain(def, record(numberFragment(range) ?? '(?!)', this.#layout.spacing));
  }

  #union(def: Definition, path: string): string {
    const options = def.options as Schema[];
    const fragments = options.map((option, index) => this.#fragment(option, `${path}|${index}`));
    if (!options.every((option) => beginsWithTag(option, def.discriminator))) {
      const starts = options.flatMap((option) => [...startsOf(option)]);
      if (new Set(starts).size < starts.length) throw new Declined('a union whose options begin alike');
    }
    return plain(def, `(?:${fragments.join('|')})`);
  }

  /** Whether a condition speaks of this path; then it is met by the pattern. */
  #apply(condition: 'integer' | 'notNegative', path: string): boolean {
    if (!isSingular(path) || !this.#conditions[condition]?.includes(path)) return false;
    this.#applied.add(`${condition} ${path}`);
    return true;
  }
}

/** The fragment of a definition that nothing more is asked of. */
function plain(def: Definition, fragment: string): string {
  refuseChecks(def);
  return fragment;
}

function shapeOf(schema: Schema): Readonly<Record<string, Schema>> | undefined {
  return definitionOf(schema).shape as Readonly<Record<string, Schema>> | undefined;
}

function formatFragment(def: Definition): string {
  if (def.format === 'datetime' && def.precision === null) return dateTime(def.offset === true);
  if (def.format === 'date') return DATE;
  if (def.format === 'uuid') return uuid(typeof def.version === 'string' ? def.version.slice(1) : '[1-8]');
  throw new Declined(`the format ${String(def.format)}`);
}

function anyOf(values: readonly unknown[]): string {
  const texts = values.map((value) => {
    const text = typeof value === 'bigint' ? undefined : JSON.stringify(value);
    if (text === undefined || !isPlainAscii(text)) throw new Declined('a value that is not ASCII');
    return literal(text);
  });
  return `(?:${texts.join('|')})`;
}

function keyFragment(key: string): string {
  if (!isPlainAscii(key) || key === '__proto__') throw new Declined('a key that is not plain ASCII');
  return literal(JSON.stringify(key));
}

function isPlainAscii(text: string): boolean {
  return /^[\x20-\x7e]*$/.test(text);
}
