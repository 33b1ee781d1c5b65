// Sources of options other than code: the environment, a file, the command line. Names and kinds are derived from the
// schema in config.ts.

import { readFileSync } from 'node:fs';
import type * as z from 'zod';
import { describeJsonError, SluiceError } from '../errors.js';
import { OPTION_GROUPS, optionsSchema, type SluiceOptions } from './config.js';
import { requirePrivate } from './private-file.js';

/** One option, for the environment, the command line and the docs. */
export interface OptionSpec {
  /** Name in code: `maxConnections`, `workers.threads`. */
  readonly name: string;
  /** `SOCKET_MAX_CONNECTIONS`. */
  readonly environment: string;
  /** `--max-connections`. */
  readonly flag: string;
  /** `path`: a string that is the path of a file. */
  readonly kind: 'string' | 'number' | 'boolean' | 'list' | 'path';
  /** Whether the option has no flag, because other users can read command lines. */
  readonly isSecret: boolean;
  /** The allowed values of an enumeration. */
  readonly choices: readonly string[] | undefined;
  readonly default: unknown;
  readonly description: string;
  /** Heading of the group that the option belongs to: `Listening`. */
  readonly group: string;
}

/** Flags that are not derived from the option's name, which would make them clumsy. */
const FLAGS: Readonly<Record<string, string>> = { socketPath: '--socket', 'workers.threads': '--workers' };

const KINDS: Readonly<Record<string, OptionSpec['kind']>> = {
  number: 'number',
  boolean: 'boolean',
  array: 'list',
};

/** Every option, in the order of the schema, which is that of the groups. */
export const OPTION_SPECS: readonly OptionSpec[] = Object.freeze(
  Object.entries(optionsSchema.shape).flatMap(([name, schema]) => specsOf(name, schema, groupOf(name))),
);

function groupOf(name: string): string {
  return Object.keys(OPTION_GROUPS).find((heading) => OPTION_GROUPS[heading]?.includes(name)) ?? '';
}

/** The specification of an option, or those of all options of a nested object. */
function specsOf(name: string, schema: z.ZodType, group: string): OptionSpec[] {
  const { inner, defaultValue } = unwrap(schema);
  if (inner.type === 'object') {
    const { shape } = inner as z.ZodObject<Record<string, z.ZodType>>;
    return Object.entries(shape).flatMap(([key, nested]) => specsOf(`${name}.${key}`, nested, group));
  }
  const { description = '', secret, path } = schema.meta() ?? {};
  return [
    {
      name,
      environment: `SOCKET_${snakeCase(name.replace(/^socket(?=[A-Z])/, ''))}`,
      flag: FLAGS[name] ?? `--${snakeCase(name).toLowerCase().replaceAll('_', '-')}`,
      kind: path === true ? 'path' : (KINDS[inner.type] ?? 'string'),
      isSecret: secret === true,
      choices: inner.type === 'enum' ? (inner as z.ZodEnum).options.map(String) : undefined,
      default: defaultValue,
      description,
      group,
    },
  ];
}

function unwrap(schema: z.ZodType): { inner: z.ZodType; defaultValue: unknown } {
  let inner = schema;
  let defaultValue: unknown;
  while ('innerType' in inner.def) {
    if ('defaultValue' in inner.def) defaultValue = inner.def.defaultValue;
    inner = inner.def.innerType as z.ZodType;
  }
  return { inner, defaultValue };
}

function snakeCase(name: string): string {
  return name
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .replaceAll('.', '_')
    .toUpperCase();
}

/** The options set in the environment. */
export function optionsFromEnvironment(environment: NodeJS.ProcessEnv): SluiceOptions {
  const options: NestedOptions = {};
  for (const spec of OPTION_SPECS) {
    const text = environment[spec.environment];
    if (text !== undefined && text !== '') setOption(options, spec, text, spec.environment);
  }
  return options as SluiceOptions;
}

/**
 * Reads options from a JSON file.
 * @throws SluiceError `CONFIG_UNREADABLE` if the file is missing, is not a JSON object, or contains tokens and is
 *   accessible to users other than its owner
 */
export function optionsFromFile(path: string): SluiceOptions {
  const options = readObject(path);
  if (options.auth?.tokens !== undefined) requirePrivate(path);
  return options;
}

/** The object's contents are validated later, when all sources are merged. */
function readObject(path: string): SluiceOptions {
  try {
    const options: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (typeof options === 'object' && options !== null && !Array.isArray(options)) return options;
  } catch (error) {
    throw new SluiceError('CONFIG_UNREADABLE', `${path}: ${describeJsonError(error)}`);
  }
  throw new SluiceError('CONFIG_UNREADABLE', `${path}: not a JSON object of options`);
}

/**
 * Merges sources: later ones win, option by option. A `port` in a later source replaces a `socketPath`, and vice versa.
 * @throws SluiceError `INVALID_OPTION` if one source has both
 */
export function mergeOptions(...sources: readonly SluiceOptions[]): SluiceOptions {
  const merged: SluiceOptions = {};
  for (const source of sources) {
    if (source.port !== undefined && source.socketPath !== undefined) {
      throw new SluiceError('INVALID_OPTION', 'port: cannot be combined with socketPath');
    }
    if (source.port !== undefined) delete merged.socketPath;
    else if (source.socketPath !== undefined) delete merged.port;
    mergeInto(merged as NestedOptions, source as NestedOptions);
  }
  return merged;
}

function mergeInto(target: NestedOptions, source: NestedOptions): void {
  for (const [key, value] of Object.entries(source)) {
    const isGroup =
      typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
    if (!isGroup) target[key] = value;
    else {
      const group = { ...(target[key] as NestedOptions | undefined) };
      mergeInto(group, value as NestedOptions);
      target[key] = group;
    }
  }
}

export type NestedOptions = Record<string, unknown>;

/**
 * Sets an option from text.
 * @param source the name that the user set it by, for error messages: its flag or environment variable
 * @throws SluiceError `INVALID_OPTION` if the text is not a value of the option's kind
 */
export function setOption(options: NestedOptions, spec: OptionSpec, text: string, source: string): void {
  const path = spec.name.split('.');
  const key = path.pop() as string;
  let target = options;
  for (const step of path) {
    target[step] ??= {};
    target = target[step] as NestedOptions;
  }
  target[key] = convert(spec, text, source);
}

function convert(spec: OptionSpec, text: string, source: string): unknown {
  const fail = (expected: string): never => {
    throw new SluiceError('INVALID_OPTION', `${source}: expected ${expected}`);
  };
  if (spec.kind === 'number') {
    return text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : fail('a number');
  }
  if (spec.kind === 'boolean') {
    if (text === 'true' || text === '1') return true;
    return text === 'false' || text === '0' ? false : fail('true or false');
  }
  if (spec.kind === 'list') return text.split(',').map((part) => part.trim());
  if (spec.choices !== undefined && !spec.choices.includes(text)) fail(`one of ${spec.choices.join(', ')}`);
  return text;
}
