// The table of a broker's message types: those of the protocol and those of a schema module. The main thread and the
// workers build it from the same sources, so an index denotes the same type on all threads. A worker that starts later
// checks this by the fingerprint.

import * as z from 'zod';
import { describeError, SluiceError } from '../errors.js';
import { compileSchema } from './compile-schema.js';
import { type DeclarativeRules, ruleOf } from './declarative-rules.js';
import { type Extension, replacementsOf, replaceParts } from './extension.js';
import type { Rule } from './issues.js';
import { type JobKey, jobKey, NO_SEED } from './job-key.js';
import { type MessageTraits, NO_TRAITS, traitsOf } from './message-traits.js';
import { appSchemas, brokerSchemas, controlSchemas, crawlerSchemas } from './messages.js';
import { moduleUrl } from './module-url.js';
import { declarativeRules as builtinDeclarativeRules, rules as builtinRules } from './rules.js';
import { inspectSchema, isAsyncFunction, isZod3 } from './schema-walk.js';
import { RESERVED_TYPES } from './type-patterns.js';

/** `crawler`: to subscribers. `app`: to crawlers. `control`: to the broker. `broker`: sent by the broker only. */
export type MessageDirection = 'crawler' | 'app' | 'control' | 'broker';

export interface MessageType {
  readonly name: string;
  /** Position in the registry; 0 means unknown. */
  readonly index: number;
  readonly direction: MessageDirection;
  /** The schema as defined by its author. */
  readonly definition: z.ZodType;
  /** The schema, compiled on first use (1 to 2 ms). Most types never need it, since patterns match their messages. */
  readonly schema: z.ZodType;
  /** The definition, and every schema in it, in the same order on all threads. */
  readonly parts: readonly z.core.$ZodType[];
  readonly rule: Rule | undefined;
  /** The declarative form of the rule, if it has one. */
  readonly declarativeRules: DeclarativeRules | undefined;
  /** What the broker does with its messages, besides forwarding them. */
  readonly traits: MessageTraits;
  /** Whether the schema adds or changes values (defaults, transforms), so that `JSON.parse` alone is not enough. */
  readonly transformsInput: boolean;
  /** Whether the schema, or a part of it, is from another version of zod than the broker's own. */
  readonly isOtherVersion: boolean;
}

/** The exports of a schema module, at least one of `schemas` and `extend`. */
export interface SchemaModule {
  /**
   * zod schemas by message type, each of the whole message, including its envelope. A type of the protocol replaces the
   * built-in schema, and loses its built-in rule.
   */
  readonly schemas?: Readonly<Record<string, z.ZodType>>;
  /**
   * Business rules by message type. They run after the schema has accepted the message, and get it as it was sent:
   * without its defaults, before its transformations.
   */
  readonly rules?: Readonly<Record<string, Rule>>;
  /** The sender of each type. Default: that of the type of the protocol that it replaces; `crawler` for all others. */
  readonly directions?: Readonly<Record<string, 'crawler' | 'app'>>;
  /** Names to accept in the built-in schemas, in addition to those of the protocol. */
  readonly extend?: Extension;
}

/** Types with a fixed meaning in the broker, which a schema module cannot replace. */
const RESERVED = new Set([...Object.keys(controlSchemas), ...Object.keys(brokerSchemas), ...RESERVED_TYPES]);

export class MessageRegistry {
  readonly #types: MessageType[] = [unknownType];
  readonly #knownKeys = new Set<string>();
  readonly #byName = new Map<string, MessageType>();
  readonly types: readonly MessageType[] = this.#types;
  /** All object keys that schemas define. */
  readonly knownKeys: ReadonlySet<string> = this.#knownKeys;
  static #builtin: MessageRegistry | undefined;
  /** Checksums of module files by URL, as of when this thread first loaded them: later, `import` returns the same. */
  static readonly #checksums = new Map<string, JobKey>();
  #checksum: JobKey | undefined;

  /**
   * @param source the module's origin, for error messages
   * @throws SluiceError `SCHEMA_MODULE_INVALID` if a schema cannot be read or contains one of zod 3, a rule or schema is
   *   asynchronous, `extend` is invalid, or a direction is not the one that the broker needs
   */
  constructor(module: SchemaModule = {}, source = 'the schema module') {
    const replacements = replacementsOf(module.extend, (detail) => {
      throw invalid(source, detail);
    });
    const extended = (schemas: Readonly<Record<string, z.ZodType>>) =>
      replacements.size === 0
        ? schemas
        : Object.fromEntries(
            Object.entries(schemas).map(([name, schema]) => [name, replaceParts(schema, replacements)]),
          );
    this.#add('crawler', extended(crawlerSchemas), source, {}, builtinDeclarativeRules);
    this.#add('app', extended(appSchemas), source, builtinRules as RuleTable);
    this.#add('control', controlSchemas, source);
    this.#add('broker', brokerSchemas, source);
    for (const [name, schema] of Object.entries(module.schemas ?? {})) {
      const direction = this.#directionOf(name, module, source);
      this.#add(direction, { [name]: schema }, source, (module.rules ?? {}) as RuleTable);
    }
  }

  #directionOf(name: string, { directions = {} }: SchemaModule, source: string): MessageDirection {
    const replaced = this.get(name)?.direction ?? 'crawler';
    const direction = ownProperty(directions, name) ?? replaced;
    // Traits hold for one direction only: an assignment that went to subscribers would show them its token.
    if (direction !== replaced && traitsOf(name) !== NO_TRAITS) {
      throw invalid(source, `has the direction ${direction} for type ${name}, which has to be ${replaced}`);
    }
    return direction;
  }

  /** Adds types, or replaces those of the same names. */
  #add(
    direction: MessageDirection,
    schemas: Readonly<Record<string, z.ZodType>>,
    source: string,
    rules: RuleTable = {},
    declarativeRules: Readonly<Record<string, DeclarativeRules>> = {},
  ): void {
    for (const [name, schema] of Object.entries(schemas)) {
      const facts = inspect(schema, name, source);
      if (facts.hasZod3Part) {
        throw invalid(
          source,
          `has a schema for type ${name} with a part of zod 3; all of it must be of zod 4`,
        );
      }
      if (facts.isAsync || isAsyncFunction(ownProperty(rules, name))) {
        const part = facts.isAsync ? 'schema' : 'rule';
        throw invalid(
          source,
          `has an asynchronous ${part} for type ${name}; schemas and rules must be synchronous`,
        );
      }
      for (const key of facts.keys) this.#knownKeys.add(key);
      const known = this.#byName.get(name);
      const declarative = ownProperty(declarativeRules, name);
      let compiled: z.ZodType | undefined;
      const type: MessageType = {
        name,
        index: known?.index ?? this.#types.length,
        direction,
        definition: schema,
        get schema() {
          compiled ??= compileSchema(schema, facts);
          return compiled;
        },
        parts: facts.parts,
        rule: ownProperty(rules, name) ?? (declarative && ruleOf(declarative)),
        declarativeRules: declarative,
        traits: traitsOf(name),
        transformsInput: facts.transformsInput,
        isOtherVersion: facts.isOtherVersion,
      };
      this.#types[type.index] = type;
      this.#byName.set(name, type);
    }
  }

  get(name: string): MessageType | undefined {
    return this.#byName.get(name);
  }

  /**
   * @internal A hash of the types, the structure of their schemas and the file of the schema module; `undefined` if they
   * are the protocol's own. The structure also shows changes of what the file imports.
   */
  get fingerprint(): string | undefined {
    if (this === MessageRegistry.#builtin) return undefined;
    const builtin = new Set(
      [appSchemas, brokerSchemas, controlSchemas, crawlerSchemas].flatMap(Object.values),
    );
    const types = this.types.map(({ name, direction, definition, rule, parts }) => {
      const outlines = builtin.has(definition) ? [] : parts.map(({ _zod }) => outlineOf(_zod.def));
      return [name, direction, rule !== undefined, ...outlines];
    });
    const { low, high } = jobKey(JSON.stringify([this.#checksum, types]), NO_SEED);
    return `${low}-${high}`;
  }

  /** The protocol's own types. Created once, since compiling its schemas takes some milliseconds. */
  static builtin(): MessageRegistry {
    MessageRegistry.#builtin ??= new MessageRegistry();
    return MessageRegistry.#builtin;
  }

  /**
   * Loads the types of a schema module, in addition to the protocol's.
   * @param source URL or path of an ES module with the exports of {@link SchemaModule}. If omitted, only the protocol's
   *   types are loaded.
   * @throws SluiceError `SCHEMA_MODULE_INVALID`
   */
  static async load(source?: string | URL): Promise<MessageRegistry> {
    if (source === undefined) return MessageRegistry.builtin();
    const url = moduleUrl(source);
    const checksum = MessageRegistry.#checksums.get(url) ?? (await checksumOf(url));
    let exported: unknown;
    try {
      exported = await import(/* webpackIgnore: true */ /* @vite-ignore */ url);
    } catch (cause) {
      throw new SluiceError('SCHEMA_MODULE_INVALID', `${url}: ${describeError(cause)}`, { cause });
    }
    const registry = new MessageRegistry(checkModule(exported, url), url);
    registry.#checksum = checksum;
    if (checksum !== undefined) MessageRegistry.#checksums.set(url, checksum);
    return registry;
  }
}

/** `undefined` if it is no file, or one that only a loader can read. */
async function checksumOf(url: string): Promise<JobKey | undefined> {
  try {
    const { readFile } = await import('node:fs/promises');
    return jobKey(await readFile(new URL(url), 'latin1'), NO_SEED);
  } catch {
    return undefined;
  }
}

/** What numbers and patterns depend on. Not the values in a definition, which may differ from load to load. */
function outlineOf(def: object): unknown {
  const { type, check, format, shape, checks } = def as Outlined;
  const keys = [Object.keys(def), shape && Object.keys(shape)];
  return [type, check, format, ...keys, checks?.map(({ _zod }) => outlineOf(_zod?.def ?? {}))];
}

interface Outlined {
  readonly type?: unknown;
  readonly check?: unknown;
  readonly format?: unknown;
  readonly shape?: object;
  readonly checks?: readonly { readonly _zod?: { readonly def: object } }[];
}

/** Looks up an own property, ignoring inherited ones such as `constructor`. */
function ownProperty<V>(table: Readonly<Record<string, V>>, name: string): V | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

/** Rules by type name. The registry pairs each with the schema whose input is also the rule's. */
type RuleTable = Readonly<Record<string, Rule>>;

const unknownType: MessageType = {
  name: 'unknown',
  index: 0,
  direction: 'broker',
  definition: z.never(),
  schema: z.never(),
  parts: [],
  rule: undefined,
  declarativeRules: undefined,
  traits: NO_TRAITS,
  transformsInput: false,
  isOtherVersion: false,
};

function checkModule(exported: unknown, url: string): SchemaModule {
  const fail = (detail: string): never => {
    throw invalid(url, detail);
  };
  const { schemas = {}, rules, directions, extend } = exported as Record<string, unknown>;
  const hasExport = Object.hasOwn(exported as object, 'schemas') || extend !== undefined;
  if (!hasExport || !isRecord(schemas)) {
    return fail('must export `schemas`, an object of zod schemas by message type, or `extend`');
  }
  for (const [name, schema] of Object.entries(schemas)) {
    if (!isRecord(schema) || !('_zod' in schema)) {
      const reason = isZod3(schema) ? ': the schema is of zod 3' : '';
      fail(`exports no zod 4 schema for type ${name}${reason}`);
    }
    if (RESERVED.has(name)) fail(`cannot replace the reserved type ${name}`);
  }
  for (const [table, allowed] of [
    [rules, (value: unknown) => typeof value === 'function'],
    [directions, (value: unknown) => value === 'crawler' || value === 'app'],
  ] as const) {
    if (table === undefined) continue;
    if (!isRecord(table)) return fail('must export `rules` and `directions` as objects');
    for (const [name, value] of Object.entries(table)) {
      if (!Object.hasOwn(schemas, name)) fail(`has a rule or direction, but no schema, for type ${name}`);
      if (!allowed(value))
        fail(`has a rule that is not a function, or an unknown direction, for type ${name}`);
    }
  }
  return exported as SchemaModule;
}

function invalid(source: string, detail: string, cause?: unknown): SluiceError {
  return new SluiceError('SCHEMA_MODULE_INVALID', `${source} ${detail}`, { cause });
}

/** Schemas may compute parts of themselves, such as a default, and throw while doing so. */
function inspect(schema: z.ZodType, name: string, source: string): ReturnType<typeof inspectSchema> {
  try {
    return inspectSchema(schema);
  } catch (cause) {
    throw invalid(
      source,
      `has a schema for type ${name} that cannot be read: ${describeError(cause)}`,
      cause,
    );
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
