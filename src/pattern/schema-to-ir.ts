// Compiles a zod schema to a pattern, which takes a family of its valid messages: keys in a layout's order,
// white space only where the layout has it, strings and numbers of the plain kind. Absolute law: what a
// pattern accepts, JSON.parse, schema and rules accept too. What it cannot say, it declines by name.

import { type DeclarativeRules, MIN_JOB_ID_LENGTH } from '../messages/declarative-rules.js';
import type { MessageType } from '../messages/message-registry.js';
import { MAX_DEPTH } from '../wire/safe-json.js';
import {
  anyOf,
  BOOLEAN,
  choice,
  depthOf,
  formatted,
  isPlainAscii,
  type Member,
  numberIn,
  type PatternNode,
  type Spacing,
  STRING,
  text,
} from './ir.js';
import {
  COMPACT,
  elementPath,
  isJobId,
  isSingular,
  JOB_IDS,
  jobIdKeyOf,
  type Layout,
  memberPath,
  valuePath,
} from './layout.js';
import { Declined, type Definition, modelledDefinition, type Schema } from './zod-allow-list.js';
import {
  beginsWithTag,
  boundsOf,
  declineAmbiguousTags,
  declineChecks,
  intersect,
  isAnyString,
  isInherited,
  isNaming,
  isOmittable,
  numberRangeOf,
  shapeOf,
  startsOf,
  valuesOf,
} from './zod-introspection.js';

/** A compiled schema. */
export interface CompiledPattern {
  /** The whole message. */
  readonly node: PatternNode;
  readonly spacing: Spacing;
  /** What every message that it takes begins with: the first key, up to its value. */
  readonly head: string;
  /** Paths whose values the pattern captures, of those that somebody needs. */
  readonly captures: ReadonlySet<string>;
  /** Fields that the pattern leaves out, with the reason: messages that have one take the slow path. */
  readonly omitted: readonly string[];
}

export type CompileResult = CompiledPattern | { readonly declined: string };

/**
 * Compiles the pattern of a message type, or says why there is none.
 * @param captured dotted paths to capture, beside job ids and the operands of rules: numbers, and the timestamp
 *   where its age counts
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
export const TIMESTAMP = 'timestamp';

class PatternCompiler {
  readonly #type: MessageType;
  readonly #conditions: DeclarativeRules;
  readonly #layout: Layout;
  /** Paths to capture. */
  readonly #wanted: ReadonlySet<string>;
  /** The key that must name a job, where the message type needs one. */
  readonly #neededJobId: string | undefined;
  /** Path of the timestamp whose age counts. */
  readonly #checkedTime: string | undefined;
  /** Schemas that are being compiled: one that is met again has no end. */
  readonly #open = new Set<Schema>();
  readonly #captures = new Set<string>();
  readonly #omitted = new Map<string, string>();
  #head = '{';
  /** Rules that the pattern checks, as `integer data.activeJobs`. */
  readonly #applied = new Set<string>();

  constructor(type: MessageType, captured: readonly string[], layout: Layout) {
    this.#type = type;
    this.#conditions = type.conditions ?? {};
    this.#layout = layout;
    // Where it is needed, the one that counts must be there.
    this.#neededJobId = this.#conditions.needsJobId ? (jobIdKeyOf(layout) ?? JOB_IDS[0]) : undefined;
    const jobIds: readonly string[] = this.#neededJobId === undefined ? JOB_IDS : [this.#neededJobId];
    this.#checkedTime = captured.find((path) => path === TIMESTAMP);
    this.#wanted = new Set([...jobIds, ...captured, ...(this.#conditions.lessOrEqual ?? []).flat()]);
  }

  compile(): CompiledPattern {
    const { definition: schema } = this.#type;
    const typeKey = shapeOf(schema)?.type;
    if (typeKey === undefined) throw new Declined('it has no key that names its type');
    if (!isNaming(typeKey)) throw new Declined('its schema does not name its type');
    const node = this.#node(schema, '');
    if (depthOf(node) > MAX_DEPTH) throw new Declined('more levels than a message may have');
    this.#checkConditions();
    const omitted = [...this.#omitted].map(([field, reason]) => `${field}: ${reason}`);
    const { spacing } = this.#layout;
    return { node, spacing, head: this.#head, captures: this.#captures, omitted };
  }

  /** Every condition must be in the pattern, or speak of a field that the pattern leaves out. */
  #checkConditions(): void {
    const { integer = [], notNegative = [], lessOrEqual = [] } = this.#conditions;
    const needed = [
      ...integer.map((path) => ({ path, isMet: this.#applied.has(`integer ${path}`) })),
      ...notNegative.map((path) => ({ path, isMet: this.#applied.has(`notNegative ${path}`) })),
      ...lessOrEqual.flat().map((path) => ({ path, isMet: this.#captures.has(path) })),
    ];
    for (const { path, isMet } of needed) {
      if (!isMet && !this.#omitted.has(path)) throw new Declined(`a rule on ${path}, which it cannot check`);
    }
    if (this.#neededJobId !== undefined && !this.#captures.has(this.#neededJobId)) {
      throw new Declined('a message without the job id that it needs');
    }
  }

  /** @param path of the value in the message; see layout.ts */
  #node(schema: Schema, path: string): PatternNode {
    if (this.#open.has(schema)) throw new Declined('recursion');
    this.#open.add(schema);
    try {
      return this.#nodeOf(modelledDefinition(schema), path);
    } finally {
      this.#open.delete(schema);
    }
  }

  #nodeOf(def: Definition, path: string): PatternNode {
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
        return plain(def, choice([this.#node(def.innerType as Schema, path), text('null')]));
      case 'optional':
      case 'default':
      case 'readonly':
        return plain(def, this.#node(def.innerType as Schema, path));
      case 'boolean':
        return plain(def, BOOLEAN);
      case 'null':
        return plain(def, text('null'));
      case 'any':
      case 'unknown':
        return plain(def, { kind: 'flat' });
      case 'enum':
      case 'literal':
        return plain(def, path === 'type' ? this.#typeName(def) : anyOf(valuesOf(def)));
      default:
        throw new Declined(`${def.type} cannot be a pattern`);
    }
  }

  /** Only messages that name this type are checked by its schema. */
  #typeName(def: Definition): PatternNode {
    const { name } = this.#type;
    if (!valuesOf(def).includes(name)) throw new Declined('its schema wants another type');
    return anyOf([name]);
  }

  #object(def: Definition, path: string): PatternNode {
    const members: Member[] = [];
    for (const [key, schema] of this.#members(def, path)) {
      const field = memberPath(path, key);
      const isNeeded = field === this.#checkedTime || field === this.#neededJobId;
      const isOptional = schema === undefined || (isOmittable(schema) && !isNeeded && !isInherited(key));
      const member = isOptional ? this.#optionalMember(key, schema, field) : this.#member(key, schema, field);
      if (member !== undefined) members.push({ ...member, isOptional });
    }
    const [first] = members;
    if (path === '' && first?.isOptional === false)
      this.#head += JSON.stringify(first.key) + this.#layout.spacing.colon;
    return plain(def, { kind: 'object', members });
  }

  /** The members of an object in the layout's order; no schema: a key that the schema does not name. */
  #members(def: Definition, path: string): [key: string, schema: Schema | undefined][] {
    const shape = def.shape as Readonly<Record<string, Schema>>;
    if (Object.getOwnPropertySymbols(shape).length > 0) throw new Declined('a key that is a symbol');
    const order = this.#layout.keys.get(path);
    if (order === undefined) return Object.entries(shape);
    for (const [key, schema] of Object.entries(shape)) {
      if (order.includes(key)) continue;
      if (!isOmittable(schema) || isInherited(key)) throw new Declined(`a layout without ${key}`);
      this.#omitted.set(memberPath(path, key), 'not in this layout');
    }
    // Other keys are free where zod ignores them or keeps them unseen; what routes a message is never free.
    const catchall = def.catchall === undefined ? undefined : modelledDefinition(def.catchall as Schema);
    for (const key of order) {
      if (Object.hasOwn(shape, key)) continue;
      if ((catchall !== undefined && catchall.type !== 'unknown') || (path === '' && isJobId(key))) {
        throw new Declined(`a layout with ${key}`);
      }
      if (catchall !== undefined) declineChecks(catchall);
    }
    return order.map((key) => [key, Object.hasOwn(shape, key) ? shape[key] : undefined]);
  }

  /** What cannot be a pattern is left out where it is optional. */
  #optionalMember(
    key: string,
    schema: Schema | undefined,
    field: string,
  ): Omit<Member, 'isOptional'> | undefined {
    const captures = [...this.#captures];
    try {
      return this.#member(key, schema, field);
    } catch (error) {
      if (!(error instanceof Declined)) throw error;
      this.#captures.clear();
      for (const path of captures) this.#captures.add(path);
      this.#omitted.set(field, error.message);
      return undefined;
    }
  }

  #member(key: string, schema: Schema | undefined, field: string): Omit<Member, 'isOptional'> {
    if (!isPlainAscii(key) || key === '__proto__') throw new Declined('a key that is not plain ASCII');
    if (schema !== undefined && !key) throw new Declined('a key that reads as a path');
    const value: PatternNode = schema === undefined ? { kind: 'flat' } : this.#node(schema, field);
    if (isJobId(field) && value.kind !== 'ascii') throw new Declined('a job id that is no string');
    return { key, value };
  }

  /** Whether somebody needs the value at this path, of which a message has one at most. */
  #isCaptured(path: string): boolean {
    if (!isSingular(path) || !this.#wanted.has(path)) return false;
    this.#captures.add(path);
    return true;
  }

  #string(def: Definition, path: string): PatternNode {
    if (def.format !== undefined) {
      const node = formatted(def, path === this.#checkedTime);
      if (node.kind === 'dateTime' && node.isChecked) this.#captures.add(path);
      return plain(def, node);
    }
    const least = path === this.#neededJobId ? MIN_JOB_ID_LENGTH : 0;
    const { min, max, prefix } = boundsOf(def, least);
    // A job id is read from the text as it is, so it may have no escapes.
    const isAscii = min > 0 || max !== undefined || isJobId(path);
    if (prefix === undefined) {
      if (!isAscii) return STRING;
      return { kind: 'ascii', min, max, capture: this.#isCaptured(path) ? path : undefined };
    }
    if (isAscii || JSON.stringify(prefix) !== `"${prefix}"` || !isPlainAscii(prefix)) {
      throw new Declined('the check starts_with, beside a length or with more than plain ASCII');
    }
    return { kind: 'string', prefix };
  }

  #number(def: Definition, path: string): PatternNode {
    let range = numberRangeOf(def);
    if (this.#apply('integer', path)) range = intersect(range, INTEGER);
    if (this.#apply('notNegative', path)) range = intersect(range, NOT_NEGATIVE);
    return numberIn(range, this.#isCaptured(path) ? path : undefined);
  }

  #array(def: Definition, path: string): PatternNode {
    const { min, max, prefix } = boundsOf(def, 0);
    if (prefix !== undefined) throw new Declined('the check starts_with of a list');
    return { kind: 'list', element: this.#node(def.element as Schema, elementPath(path)), min, max };
  }

  #record(def: Definition, path: string): PatternNode {
    if (!isAnyString(def.keyType as Schema)) throw new Declined('a record whose keys are limited');
    const value = def.valueType as Schema;
    if (!this.#apply('notNegative', path)) {
      return plain(def, { kind: 'record', value: this.#node(value, valuePath(path)) });
    }
    const inner = modelledDefinition(value);
    if (inner.type !== 'number') throw new Declined('a rule on a record of others than numbers');
    return plain(def, {
      kind: 'record',
      value: numberIn(intersect(numberRangeOf(inner), NOT_NEGATIVE), undefined),
    });
  }

  #union(def: Definition, path: string): PatternNode {
    const options = def.options as Schema[];
    if (options.length === 0) throw new Declined('a union of nothing');
    if (def.discriminator !== undefined) declineAmbiguousTags(options, def.discriminator);
    const nodes = options.map((option, index) => this.#node(option, `${path}|${index}`));
    if (!options.every((option) => beginsWithTag(option, def.discriminator))) {
      const starts = options.flatMap((option) => [...startsOf(option)]);
      if (new Set(starts).size < starts.length) throw new Declined('a union whose options begin alike');
    }
    return plain(def, choice(nodes));
  }

  /** Whether a condition speaks of this path; then it is met by the pattern. */
  #apply(condition: 'integer' | 'notNegative', path: string): boolean {
    if (!isSingular(path) || !this.#conditions[condition]?.includes(path)) return false;
    this.#applied.add(`${condition} ${path}`);
    return true;
  }
}

/** The node of a definition that nothing more is asked of. */
function plain(def: Definition, node: PatternNode): PatternNode {
  declineChecks(def);
  return node;
}
