// The table of message types that one broker knows: the protocol's own and those a schema module
// adds. Main thread and workers build it from the same sources, so an index means the same type in both.

import { pathToFileURL } from 'node:url';
import * as z from 'zod';
import { describeError, SluiceError } from '../errors.js';
import { type DeclarativeRules, ruleOf } from './declarative-rules.js';
import type { Rule } from './issues.js';
import { appSchemas, brokerSchemas, controlSchemas, crawlerSchemas } from './messages.js';
import { conditions as builtinConditions, rules as builtinRules } from './rules.js';
import { inspectSchema, isAsyncFunction } from './schema-walk.js';

/** `crawler`: to subscribers. `app`: to crawlers. `control`: to the broker. `broker`: from the broker only. */
export type MessageDirection = 'crawler' | 'app' | 'control' | 'broker';

export interface MessageType {
  readonly name: string;
  /** Position in the registry; 0 stands for "unknown". */
  readonly index: number;
  readonly direction: MessageDirection;
  /** The schema as it was written. */
  readonly definition: z.ZodType;
  /** The schema, compiled when it is first used: 1 to 2 ms, which most types never need, since patterns match them. */
  readonly schema: z.ZodType;
  readonly rule: Rule | undefined;
  /** What the rule checks, where it is said rather than programmed. */
  readonly conditions: DeclarativeRules | undefined;
  /** Whether parsing fills in or changes something, so that `JSON.parse` alone is not the parsed message. */
  readonly transformsInput: boolean;
}

/** What a schema module exports. Each schema is of the whole message, envelope included. */
export interface SchemaModule {
  /** zod schemas by message type; one of the protocol's own names replaces that schema. */
  readonly schemas: Readonly<Record<string, z.ZodType>>;
  /** Business rules by message type, run after the schema has accepted the message. */
  readonly rules?: Readonly<Record<string, Rule>>;
  /** Who sends each type; default `crawler`. */
  readonly directions?: Readonly<Record<string, 'crawler' | 'app'>>;
}

/** Types that the broker itself handles or gives a meaning; a schema module cannot replace them. */
const RESERVED = new Set([...Object.keys(controlSchemas), ...Object.keys(brokerSchemas), 'rejected']);

export class MessageRegistry {
  readonly types: readonly MessageType[];
  /** Every object key that some schema names. */
  readonly knownKeys: ReadonlySet<string>;
  readonly #byName = new Map<string, MessageType>();
  static #builtin: MessageRegistry | undefined;

  /**
   * @param source where the module comes from, for errors
   * @throws SluiceError `SCHEMA_MODULE_INVALID` where a schema cannot be read, or a rule or a schema needs promises
   */
  constructor(module: SchemaModule = { schemas: {} }, source = 'the schema module') {
    const knownKeys = new Set<string>();
    const types: MessageType[] = [unknownType];
    const add = (
      direction: MessageDirection,
      schemas: Readonly<Record<string, z.ZodType>>,
      rules: RuleTable,
      conditions: Readonly<Record<string, DeclarativeRules>> = {},
    ) => {
      for (const [name, schema] of Object.entries(schemas)) {
        const facts = inspect(schema, name, source);
        if (facts.isAsync || isAsyncFunction(own(rules, name))) {
          const part = facts.isAsync ? 'its schema' : 'its rule';
          throw invalid(
            source,
            `has a type ${name} that must be checked at once, but ${part} needs promises`,
          );
        }
        for (const key of facts.keys) knownKeys.add(key);
        const known = this.#byName.get(name);
        const said = own(conditions, name);
        let compiled: z.ZodType | undefined;
        const type: MessageType = {
          name,
          index: known?.index ?? types.length,
          direction,
          definition: schema,
          get schema() {
            // zod compiles definitions: what else a schema means, only the schema itself knows.
            compiled ??= facts.isForeign ? schema : compile(schema);
            return compiled;
          },
          rule: own(rules, name) ?? (said && ruleOf(said)),
          conditions: said,
          transformsInput: facts.transformsInput,
        };
        types[type.index] = type;
        this.#byName.set(name, type);
      }
    };
    add('crawler', crawlerSchemas, {}, builtinConditions);
    add('app', appSchemas, builtinRules as RuleTable);
    add('control', controlSchemas, {});
    add('broker', brokerSchemas, {});
    for (const [name, schema] of Object.entries(module.schemas)) {
      const direction = own(module.directions ?? {}, name) ?? 'crawler';
      add(direction, { [name]: schema }, (module.rules ?? {}) as RuleTable);
    }
    this.types = types;
    this.knownKeys = knownKeys;
  }

  get(name: string): MessageType | undefined {
    return this.#byName.get(name);
  }

  /** The protocol's own types. Made once: compiling the schemas takes some milliseconds. */
  static builtin(): MessageRegistry {
    MessageRegistry.#builtin ??= new MessageRegistry();
    return MessageRegistry.#builtin;
  }

  /**
   * The protocol's types and those of a schema module.
   * @param source URL or path of an ES module with the exports of {@link SchemaModule}; none: the protocol alone
   * @throws SluiceError `SCHEMA_MODULE_INVALID`
   */
  static async load(source?: string | URL): Promise<MessageRegistry> {
    if (source === undefined) return MessageRegistry.builtin();
    const url = moduleUrl(source);
    let exported: unknown;
    try {
      exported = await import(url);
    } catch (cause) {
      throw new SluiceError('SCHEMA_MODULE_INVALID', `${url}: ${describeError(cause)}`, { cause });
    }
    return new MessageRegistry(checkModule(exported, url), url);
  }
}

/** What a table has of its own under a name: every object has a `constructor` and the like beside. */
function own<V>(table: Readonly<Record<string, V>>, name: string): V | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

/** A rule by type name. The registry pairs each with the schema whose output it takes. */
type RuleTable = Readonly<Record<string, Rule>>;

const unknownType: MessageType = {
  name: 'unknown',
  index: 0,
  direction: 'broker',
  definition: z.never(),
  schema: z.never(),
  rule: undefined,
  conditions: undefined,
  transformsInput: false,
};

/** The URL text of a schema module that was given as URL, `file:` text or path. */
export function moduleUrl(source: string | URL): string {
  return /^[a-z]{2,}:/i.test(String(source)) ? String(source) : pathToFileURL(String(source)).href;
}

function checkModule(exported: unknown, url: string): SchemaModule {
  const fail = (detail: string): never => {
    throw invalid(url, detail);
  };
  const { schemas, rules, directions } = exported as Record<string, unknown>;
  if (!isRecord(schemas)) return fail('must export `schemas`, an object of zod schemas by message type');
  for (const [name, schema] of Object.entries(schemas)) {
    if (!isRecord(schema) || !('_zod' in schema)) fail(`exports no zod 4 schema for type ${name}`);
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
      if (!allowed(value)) fail(`has a rule that is no function, or an unknown direction, for type ${name}`);
    }
  }
  return exported as SchemaModule;
}

function invalid(source: string, detail: string, cause?: unknown): SluiceError {
  return new SluiceError('SCHEMA_MODULE_INVALID', `${source} ${detail}`, { cause });
}

/** A schema may compute parts of itself, a default for one, and fail. */
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

/** The ahead-of-time compiled form: the same answers, measured 2 to 3 times as fast. Some schemas have none. */
function compile(schema: z.ZodType): z.ZodType {
  try {
    return z.compile(schema);
  } catch {
    return schema;
  }
}
