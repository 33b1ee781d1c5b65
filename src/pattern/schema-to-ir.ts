// Compiles a zod schema to a pattern (an IR tree) that matches a subset of its valid messages: keys in the order of a
// layout, whitespace only where the layout has it, strings and numbers in their common forms. The law of patterns:
// JSON.parse, the schema and the rules accept every text that a pattern matches. Where this cannot be guaranteed for a
// part of a schema, the pattern matches the text of its values, and the part itself checks each value (value-checks.ts).
// A schema for which this is not possible either is declined, with the reason.

import { type DeclarativeRules, MIN_JOB_ID_LENGTH } from '../messages/declarative-rules.js';
import type { MessageType } from '../messages/message-registry.js';
import { MAX_DEPTH } from '../wire/safe-json.js';
import {
  anyOf,
  BOOLEAN,
  choice,
  depthOf,
  FLAT,
  formatted,
  isPlainAscii,
  MAX_UNORDERED,
  type Member,
  numberIn,
  type PatternNode,
  type Spacing,
  STRING,
  text,
  uncheckedNode,
} from './ir.js';
import {
  COMPACT,
  elementPath,
  isJobId,
  isSingular,
  JOB_IDS,
  type Layout,
  memberPath,
  valuePath,
} from './layout.js';
import {
  Declined,
  type Definition,
  definitionOf,
  isModelled,
  modelledDefinition,
  type Schema,
} from './zod-allow-list.js';
import {
  beginsWithTag,
  boundsOf,
  declineAmbiguousTags,
  declineChecks,
  firstCharactersOf,
  hasChecks,
  intersect,
  isAnyString,
  isInherited,
  isLiteralOrEnum,
  isOmittable,
  numberRangeOf,
  shapeOf,
  valuesOf,
} from './zod-introspection.js';

/** A compiled schema. */
export interface CompiledPattern {
  /** Matches the whole message. */
  readonly node: PatternNode;
  readonly spacing: Spacing;
  /** The text before the first value, with which all matching messages begin; `{` if the first key is optional. */
  readonly head: string;
  /** Paths whose values the pattern captures. */
  readonly captures: ReadonlySet<string>;
  /** Optional fields that the pattern omits, with the reason. Messages with such a field take the slow path. */
  readonly omitted: readonly string[];
  /** Fields whose values their part of the schema checks, with the reason. */
  readonly checked: readonly string[];
}

export type CompileResult = CompiledPattern | { readonly declined: string };

/**
 * Compiles the pattern of a message type, or returns the reason why there is none.
 * @param captured dotted paths to capture in addition to job ids and the operands of rules: numbers, and the timestamp
 *   if its age is checked. Default: none.
 * @param layout key order and spacing of the messages. Default: as `JSON.stringify` writes them, in the schema's order.
 * @param spans the keys that lead to each member whose text is captured. Default: none.
 */
export function compilePattern(
  type: MessageType,
  captured: readonly string[] = [],
  layout: Layout = COMPACT,
  spans: readonly (readonly string[])[] = [],
): CompileResult {
  if (type.rule !== undefined && type.declarativeRules === undefined)
    return { declined: 'its rule is a function' };
  try {
    return new PatternCompiler(type, captured, layout, spans).compile();
  } catch (error) {
    if (error instanceof Declined) return { declined: error.message };
    throw error;
  }
}

/** Nodes of a pattern beyond which parts of the schema are not compiled: mutually recursive types have very many. */
const MAX_NODES = 1000;
/** Types of which some checks have a node of their own. */
const TYPES_WITH_CHECKS = new Set(['string', 'number', 'array']);
const NOT_NEGATIVE = { min: 0 };
const INTEGER = { isInteger: true };
export const TIMESTAMP = 'timestamp';

class PatternCompiler {
  readonly #type: MessageType;
  readonly #rules: DeclarativeRules;
  readonly #layout: Layout;
  /** Paths to capture if the schema has them. */
  readonly #pathsToCapture: ReadonlySet<string>;
  /** The job id key that messages must have; `undefined` if the type does not require a job id. */
  readonly #requiredJobIdKey: string | undefined;
  /** Path of the timestamp whose age is checked. */
  readonly #checkedTime: string | undefined;
  /** Indices of spans, by the path of their member. */
  readonly #spans = new Map<string, number>();
  /** Paths of the objects around those members. */
  readonly #spanParents = new Set<string>();
  /** Schemas being compiled, to detect recursion. */
  readonly #inProgress = new Set<Schema>();
  readonly #captures: string[] = [];
  readonly #omitted: Note[] = [];
  readonly #checked: Note[] = [];
  #nodes = 0;
  /** Number of parts around the current one that check its value together with their own. */
  #covers = 0;
  #head = '{';
  /** Rules that the pattern checks, in the form `integer data.activeJobs`. */
  readonly #appliedRules = new Set<string>();

  constructor(
    type: MessageType,
    captured: readonly string[],
    layout: Layout,
    spans: readonly (readonly string[])[],
  ) {
    this.#type = type;
    this.#rules = type.declarativeRules ?? {};
    this.#layout = layout;
    // If a job id is required, the pattern requires the key that the layout uses.
    this.#requiredJobIdKey = this.#rules.needsJobId ? (layout.jobIdKey ?? JOB_IDS[0]) : undefined;
    const jobIds: readonly string[] =
      this.#requiredJobIdKey === undefined ? JOB_IDS : [this.#requiredJobIdKey];
    this.#checkedTime = captured.find((path) => path === TIMESTAMP);
    this.#pathsToCapture = new Set([...jobIds, ...captured, ...(this.#rules.withinTotal ?? []).flat()]);
    for (const [index, keys] of spans.entries()) {
      const paths = keys.map((_, last) => keys.slice(0, last + 1).reduce(memberPath, ''));
      this.#spans.set(paths.pop() ?? '', index);
      for (const path of paths) this.#spanParents.add(path);
    }
  }

  compile(): CompiledPattern {
    const { definition: schema } = this.#type;
    const typeKey = shapeOf(schema)?.type;
    if (typeKey === undefined) throw new Declined('a schema without a type key');
    if (!isLiteralOrEnum(typeKey)) throw new Declined('a type key that is not a literal or enum');
    const node = this.#node(schema, '');
    if (depthOf(node) > MAX_DEPTH) throw new Declined(`nesting deeper than ${MAX_DEPTH} levels`);
    this.#requireAllRules();
    const { spacing } = this.#layout;
    const [omitted, checked] = [linesOf(this.#omitted), linesOf(this.#checked)];
    return { node, spacing, head: this.#head, captures: new Set(this.#captures), omitted, checked };
  }

  /** Declines unless each rule is checked by the pattern, or concerns only fields that the pattern omits. */
  #requireAllRules(): void {
    const { integer = [], notNegative = [], withinTotal = [] } = this.#rules;
    const required = [
      ...integer.map((path) => ({ path, isChecked: this.#appliedRules.has(`integer ${path}`) })),
      ...notNegative.map((path) => ({ path, isChecked: this.#appliedRules.has(`notNegative ${path}`) })),
      ...withinTotal.flat().map((path) => ({ path, isChecked: this.#captures.includes(path) })),
    ];
    for (const { path, isChecked } of required) {
      if (!isChecked && !this.#omitted.some((note) => note.path === path))
        throw new Declined(`a rule on ${path} that a pattern cannot check`);
    }
    if (this.#requiredJobIdKey !== undefined && !this.#captures.includes(this.#requiredJobIdKey)) {
      throw new Declined('a schema without the job id that its rule requires');
    }
  }

  /** @param path path of the value in the message; see layout.ts */
  #node(schema: Schema, path: string): PatternNode {
    const isRecursive = this.#inProgress.has(schema);
    if (isRecursive || ++this.#nodes > MAX_NODES) {
      const reason = isRecursive ? 'recursion' : 'a schema with very many parts';
      return this.#checkedNode(schema, path, new Declined(reason), () => FLAT);
    }
    this.#inProgress.add(schema);
    try {
      const node = this.#attempt(() => this.#nodeOf(modelledDefinition(schema), path));
      return node.kind === 'ascii' ? this.#boundedString(schema, path, node) : node;
    } catch (error) {
      if (!(error instanceof Declined)) throw error;
      return this.#checkedNode(schema, path, error, () => this.#textOf(schema, path));
    } finally {
      this.#inProgress.delete(schema);
    }
  }

  /** A string whose length matters. One that is not ASCII, or has escapes, is decoded for its schema to check it. */
  #boundedString(schema: Schema, path: string, node: PatternNode & { kind: 'ascii' }): PatternNode {
    if (node.capture !== undefined || isJobId(path)) return node;
    if (this.#covers > 0) return STRING;
    const part = this.#partAt(schema, path);
    return part === undefined ? node : choice([node, { kind: 'checked', node: STRING, part }]);
  }

  /** The index of a part that can check values on its own; `undefined` if it cannot, or not in the same way. */
  #partAt(schema: Schema, path: string): number | undefined {
    const part = this.#type.parts.indexOf(schema);
    return part === -1 || path === '' || path === 'type' || this.#type.isOtherVersion ? undefined : part;
  }

  /** Compiles a part of the schema. If it is declined, what was noted about it is discarded. */
  #attempt<T>(compile: () => T): T {
    const notes = [this.#captures, this.#omitted, this.#checked];
    const lengths = notes.map(({ length }) => length);
    try {
      return compile();
    } catch (error) {
      for (const [index, list] of notes.entries()) list.length = lengths[index] ?? 0;
      throw error;
    }
  }

  /**
   * Matches the text of a part's values, and has the part check each of them: alone, unless a part around it does so.
   * @param reason why no node matches exactly the values that the part accepts
   * @param textOf the node that matches their text
   * @throws Declined if the part cannot check its values on its own
   */
  #checkedNode(schema: Schema, path: string, reason: Declined, textOf: () => PatternNode): PatternNode {
    const part = this.#partAt(schema, path);
    if (part === undefined && this.#covers === 0) throw reason;
    this.#covers++;
    try {
      const node = uncheckedNode(this.#attempt(textOf));
      if (part === undefined || this.#covers > 1) return node;
      this.#checked.push({ path, reason: reason.message });
      return { kind: 'checked', node, part };
    } finally {
      this.#covers--;
    }
  }

  /** Matches the usual text of the values that a part accepts, whatever it checks beyond its type. */
  #textOf(schema: Schema, path: string): PatternNode {
    const def = definitionOf(schema);
    if (def.coerce === true) return FLAT;
    // What else was declined would be declined again.
    if (hasChecks(def) || !isModelled(schema)) {
      try {
        // Not a copy, since a definition may compute its properties.
        return this.#attempt(() => this.#nodeOf(Object.create(def, { checks: { value: undefined } }), path));
      } catch (error) {
        if (!(error instanceof Declined)) throw error;
      }
    }
    switch (def.type) {
      case 'string':
        return this.#string({ type: 'string' }, path);
      case 'number':
        return this.#number({ type: 'number' }, path);
      case 'pipe':
        return this.#node(def.in as Schema, path);
      default:
        return FLAT;
    }
  }

  #nodeOf(def: Definition, path: string): PatternNode {
    if (!TYPES_WITH_CHECKS.has(def.type)) declineChecks(def);
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
        return nullable(this.#node(def.innerType as Schema, path));
      case 'optional':
      case 'default':
      case 'readonly':
        return this.#node(def.innerType as Schema, path);
      case 'boolean':
        return BOOLEAN;
      case 'null':
        return text('null');
      case 'any':
      case 'unknown':
        return FLAT;
      case 'enum':
      case 'literal':
        return path === 'type' ? this.#typeName(def) : anyOf(valuesOf(def));
      default:
        throw new Declined(`the schema type ${def.type}`);
    }
  }

  /** The schema only validates messages of this type, so the pattern matches only this type's name. */
  #typeName(def: Definition): PatternNode {
    const { name } = this.#type;
    if (!valuesOf(def).includes(name)) throw new Declined('a schema for another type');
    return anyOf([name]);
  }

  #object(def: Definition, path: string): PatternNode {
    const members: Member[] = [];
    for (const [key, schema] of this.#members(def, path)) {
      const field = memberPath(path, key);
      const isRequired = field === this.#checkedTime || field === this.#requiredJobIdKey;
      const isOptional = schema === undefined || (isOmittable(schema) && !isRequired && !isInherited(key));
      const member = isOptional ? this.#optionalMember(key, schema, field) : this.#member(key, schema, field);
      if (member !== undefined) members.push({ ...member, isOptional });
    }
    const { isUnordered, spacing } = this.#layout;
    if (isUnordered && members.length > MAX_UNORDERED) throw new Declined('too many keys for any order');
    const [first] = members;
    if (path === '' && first?.isOptional === false && !isUnordered)
      this.#head += JSON.stringify(first.key) + spacing.colon;
    return { kind: 'object', members, isUnordered };
  }

  /** The members of an object in the layout's order. Keys that the object schema does not define have no schema. */
  #members(def: Definition, path: string): [key: string, schema: Schema | undefined][] {
    const shape = def.shape as Readonly<Record<string, Schema>>;
    if (Object.getOwnPropertySymbols(shape).length > 0) throw new Declined('a key that is a symbol');
    const order = this.#layout.keys.get(path);
    if (order === undefined) return this.#membersInAnyPlace(shape, path);
    for (const [key, schema] of Object.entries(shape)) {
      if (order.includes(key)) continue;
      if (!isOmittable(schema) || isInherited(key)) throw new Declined(`a layout without ${key}`);
      this.#omitted.push({ path: memberPath(path, key), reason: 'not in this layout' });
    }
    // Keys that the schema does not define are allowed if zod ignores them or passes them through unvalidated. Job ids
    // are not, since they affect routing.
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

  /** All members, but the newer key of a job id where the older one is required: the newer one would take precedence. */
  #membersInAnyPlace(shape: Readonly<Record<string, Schema>>, path: string): [string, Schema][] {
    const [newer, older] = JOB_IDS;
    const members = Object.entries(shape);
    const schema = Object.hasOwn(shape, newer) ? shape[newer] : undefined;
    if (path !== '' || this.#requiredJobIdKey !== older || schema === undefined) return members;
    if (!isOmittable(schema)) throw new Declined(`a layout without ${newer}`);
    this.#omitted.push({ path: newer, reason: 'not in this layout' });
    return members.filter(([key]) => key !== newer);
  }

  /** Compiles an optional member, or omits it if it has to be declined. */
  #optionalMember(
    key: string,
    schema: Schema | undefined,
    field: string,
  ): Omit<Member, 'isOptional'> | undefined {
    try {
      return this.#attempt(() => this.#member(key, schema, field));
    } catch (error) {
      if (!(error instanceof Declined)) throw error;
      this.#omitted.push({ path: field, reason: error.message });
      return undefined;
    }
  }

  #member(key: string, schema: Schema | undefined, field: string): Omit<Member, 'isOptional'> {
    if (!isPlainAscii(key) || key === '__proto__') throw new Declined('a key that is not plain ASCII');
    if (schema !== undefined && !key) throw new Declined('an empty key');
    const value = schema === undefined ? FLAT : this.#node(schema, field);
    const { kind } = uncheckedNode(value);
    if (isJobId(field) && kind !== 'ascii') throw new Declined('a job id that is not a string');
    if (this.#spanParents.has(field) && kind !== 'object') throw new Declined('a span within a value');
    return { key, value, span: this.#spans.get(field) };
  }

  /** Captures the value at this path if that is requested and a message has at most one. @returns whether it does */
  #capture(path: string): boolean {
    if (!isSingular(path) || !this.#pathsToCapture.has(path)) return false;
    this.#captures.push(path);
    return true;
  }

  #string(def: Definition, path: string): PatternNode {
    if (def.format !== undefined) {
      // Job ids are captured, which other nodes than those of plain strings do not do.
      if (isJobId(path)) throw new Declined(`the format ${String(def.format)} of a job id`);
      const node = formatted(def, path === this.#checkedTime);
      declineChecks(def);
      if (node.kind === 'dateTime' && node.isChecked) this.#captures.push(path);
      return node;
    }
    const minLength = path === this.#requiredJobIdKey ? MIN_JOB_ID_LENGTH : 0;
    const { min, max, prefix } = boundsOf(def, minLength);
    // Job ids are hashed from the raw text, so they must not contain escapes.
    const isAscii = min > 0 || max !== undefined || isJobId(path);
    if (prefix === undefined) {
      if (!isAscii) return STRING;
      // Not a timestamp: its age would not be checked.
      return { kind: 'ascii', min, max, capture: isJobId(path) && this.#capture(path) ? path : undefined };
    }
    if (isAscii || JSON.stringify(prefix) !== `"${prefix}"` || !isPlainAscii(prefix)) {
      throw new Declined('the check starts_with with a length, or with a prefix that is not plain ASCII');
    }
    return { kind: 'string', prefix };
  }

  #number(def: Definition, path: string): PatternNode {
    let range = numberRangeOf(def);
    if (this.#applyRule('integer', path)) range = intersect(range, INTEGER);
    if (this.#applyRule('notNegative', path)) range = intersect(range, NOT_NEGATIVE);
    return numberIn(range, this.#capture(path) ? path : undefined);
  }

  #array(def: Definition, path: string): PatternNode {
    const { min, max, prefix } = boundsOf(def, 0);
    if (prefix !== undefined) throw new Declined('the check starts_with of an array');
    return { kind: 'list', element: this.#node(def.element as Schema, elementPath(path)), min, max };
  }

  #record(def: Definition, path: string): PatternNode {
    if (!isAnyString(def.keyType as Schema)) throw new Declined('a record with restricted keys');
    const value = def.valueType as Schema;
    if (!this.#applyRule('notNegative', path)) {
      return { kind: 'record', value: this.#node(value, valuePath(path)) };
    }
    const inner = modelledDefinition(value);
    if (inner.type !== 'number') throw new Declined('a rule on a record whose values are not numbers');
    return {
      kind: 'record',
      value: numberIn(intersect(numberRangeOf(inner), NOT_NEGATIVE), undefined),
    };
  }

  #union(def: Definition, path: string): PatternNode {
    const options = def.options as Schema[];
    if (options.length === 0) throw new Declined('an empty union');
    if (def.discriminator !== undefined) declineAmbiguousTags(options, def.discriminator);
    const nodes = options.map((option, index) => this.#node(option, `${path}|${index}`));
    if (!options.every((option) => beginsWithTag(option, def.discriminator))) {
      const starts = options.flatMap((option) => [...firstCharactersOf(option)]);
      if (new Set(starts).size < starts.length) throw new Declined('a union whose options begin alike');
    }
    // Its node also matches the text of the others.
    if (nodes.length > 1 && nodes.some(hasAnyForm)) {
      throw new Declined('a union with an option of any form');
    }
    return choice(nodes);
  }

  /** Whether a rule applies to this path. Records that the pattern checks it. */
  #applyRule(rule: 'integer' | 'notNegative', path: string): boolean {
    if (!isSingular(path) || !this.#rules[rule]?.includes(path)) return false;
    this.#appliedRules.add(`${rule} ${path}`);
    return true;
  }
}

/** Whether the node matches the text of any value, of which a check may then reject some. */
function hasAnyForm(node: PatternNode): boolean {
  return node.kind === 'choice' ? node.options.some(hasAnyForm) : uncheckedNode(node).kind === 'flat';
}

function nullable(node: PatternNode): PatternNode {
  const isNull = text('null');
  return choice(hasAnyForm(node) ? [isNull, node] : [node, isNull]);
}

/** A field, and the reason why a pattern omits it, or leaves it to its schema. */
interface Note {
  readonly path: string;
  readonly reason: string;
}

function linesOf(notes: readonly Note[]): string[] {
  return notes.map(({ path, reason }) => `${path}: ${reason}`);
}
