// Sources of options other than code: the environment, a file, the command line. Names and kinds are derived from the
// schema in config.ts.

import * as z from 'zod';
import { closestName } from '../closest-name.js';
import { describeJsonError, SluiceError } from '../errors.js';
import { innerSchema, OPTION_GROUPS, optionsSchema, type SluiceOptions } from './config.js';
import { requirePrivate } from './private-file.js';
import { readText } from './text-file.js';

/** One option, for the environment, the command line and the docs. */
export interface OptionSpec {
  /** Name in code: `maxConnections`, `workers.threads`. */
  readonly name: string;
  /** `SLUICE_MAX_CONNECTIONS`. */
  readonly environment: string;
  /** Other names of the environment variable, in the order in which they are read: `SOCKET_MAX_CONNECTIONS`. */
  readonly olderEnvironment: readonly string[];
  /** `--max-connections`. */
  readonly flag: string;
  /** `size`, `time`: a number of bytes or ms, or text with a unit. `path`: a string that is the path of a file. */
  readonly kind: 'string' | 'number' | 'size' | 'time' | 'boolean' | 'list' | 'path';
  /** Whether the option has no flag, because other users can read command lines. */
  readonly isSecret: boolean;
  /** The allowed values of an enumeration. */
  readonly choices: readonly string[] | undefined;
  readonly default: unknown;
  readonly description: string;
  /** Heading of the group that the option belongs to: `Listening`. */
  readonly group: string;
  readonly schema: z.ZodType;
}

/** The prefix of environment variables. */
const PREFIX = 'SLUICE_';

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
  const inner = innerSchema(schema);
  if (inner instanceof z.ZodObject) {
    return Object.entries(inner.shape).flatMap(([key, nested]) =>
      specsOf(`${name}.${key}`, nested as z.ZodType, group),
    );
  }
  const { description = '', secret, path } = schema.meta() ?? {};
  const [environment = '', ...olderEnvironment] = variablesOf(name);
  return [
    {
      name,
      environment,
      olderEnvironment,
      flag: FLAGS[name] ?? `--${snakeCase(name).toLowerCase().replaceAll('_', '-')}`,
      kind: path === true ? 'path' : kindOf(inner),
      isSecret: secret === true,
      choices: inner.type === 'enum' ? (inner as z.ZodEnum).options.map(String) : undefined,
      default: 'defaultValue' in schema.def ? schema.def.defaultValue : undefined,
      description,
      group,
      schema,
    },
  ];
}

function kindOf(inner: z.ZodType): OptionSpec['kind'] {
  const { kind } = inner.meta() ?? {};
  return kind === 'size' || kind === 'time' ? kind : (KINDS[inner.type] ?? 'string');
}

/** The names of an option's environment variable; the first is the documented one. */
function variablesOf(name: string): string[] {
  // SOCKET_PATH, because SOCKET_SOCKET_PATH would be clumsy. Who only replaces the prefix in it gets SLUICE_PATH.
  const short = snakeCase(name.replace(/^socket(?=[A-Z])/, ''));
  return [...new Set([`${PREFIX}${snakeCase(name)}`, `${PREFIX}${short}`, `SOCKET_${short}`])];
}

function snakeCase(name: string): string {
  return name
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .replaceAll('.', '_')
    .toUpperCase();
}

/**
 * The options set in the environment.
 * @param specs the options to read; variables of other options may have any value
 * @param onIgnored called with a warning if the value of a variable is not meant for Sluice
 * @throws SluiceError `INVALID_OPTION`
 */
export function optionsFromEnvironment(
  environment: NodeJS.ProcessEnv,
  specs: readonly OptionSpec[] = OPTION_SPECS,
  onIgnored: (warning: string) => void = () => {},
): SluiceOptions {
  const options: NestedOptions = {};
  for (const spec of specs) {
    const variable = findVariable(environment, spec, onIgnored);
    if (variable !== undefined) setOption(options, spec, environment[variable] ?? '', variable);
  }
  return options as SluiceOptions;
}

/**
 * The name of the variable that sets an option, if any. An empty variable is not set.
 * @param onIgnored as in {@link optionsFromEnvironment}
 */
export function findVariable(
  environment: NodeJS.ProcessEnv,
  { environment: name, olderEnvironment }: OptionSpec,
  onIgnored: (warning: string) => void,
): string | undefined {
  return [name, ...olderEnvironment].find((variable) => {
    const text = environment[variable] ?? '';
    if (!isServiceVariable(variable, text)) return text !== '';
    onIgnored(`${variable}: ignored, because it is the address of a Kubernetes service`);
    return false;
  });
}

/** `NAME_SERVICE_HOST`, `NAME_PORT_80_TCP_ADDR` and so on. */
const SERVICE_VARIABLE =
  /_SERVICE_(?:HOST|PORT(?:_\w+)?)$|_PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?$/;
const SERVICE_ADDRESS = /^(?:tcp|udp|sctp):\/\//;

/** Whether Kubernetes has set the variable in a pod beside a Service named, for example, `sluice` or `socket`. */
function isServiceVariable(variable: string, text: string): boolean {
  return SERVICE_VARIABLE.test(variable) || (variable.endsWith('_PORT') && SERVICE_ADDRESS.test(text));
}

/** Variables of the client commands. */
const CLIENT_VARIABLES = [`${PREFIX}TOKEN`, `${PREFIX}CRAWLER_TOKEN`];

const KNOWN_VARIABLES: ReadonlySet<string> = new Set([
  ...OPTION_SPECS.flatMap(({ environment, olderEnvironment }) => [environment, ...olderEnvironment]),
  ...CLIENT_VARIABLES,
]);

/** Variables to suggest, by their names, the names of their options and their flags, all without the prefix. */
const SUGGESTIONS: ReadonlyMap<string, string> = new Map([
  ...OPTION_SPECS.flatMap(({ name, flag, environment }) => [
    [flag, environment] as const,
    [name, environment] as const,
  ]),
  ...CLIENT_VARIABLES.map((name) => [name.slice(PREFIX.length), name] as const),
]);

/** An error for each variable that begins with `SLUICE_` and is not known, so that no misspelt option is ignored. */
export function unknownVariables(environment: NodeJS.ProcessEnv): Map<string, SluiceError> {
  const unknown = Object.entries(environment).filter(
    ([name, text = '']) =>
      name.startsWith(PREFIX) && text !== '' && !KNOWN_VARIABLES.has(name) && !isServiceVariable(name, text),
  );
  return new Map(
    unknown.map(([name]) => {
      const closest = closestName(name.slice(PREFIX.length), SUGGESTIONS);
      const hint = closest === undefined ? '' : `; did you mean ${closest}?`;
      return [name, new SluiceError('INVALID_OPTION', `${name}: unknown environment variable${hint}`)];
    }),
  );
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
    const options: unknown = JSON.parse(readText(path));
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
 * @throws SluiceError `INVALID_OPTION` if the text is not a valid value of the option
 */
export function setOption(options: NestedOptions, spec: OptionSpec, text: string, source: string): void {
  const result = spec.schema.safeParse(convert(spec, text, source));
  if (!result.success) {
    throw new SluiceError('INVALID_OPTION', `${source}: ${result.error.issues[0]?.message}`);
  }
  storeOption(options, spec, result.data);
}

/** Sets an option to a value, without validating it. */
export function storeOption(options: NestedOptions, { name }: OptionSpec, value: unknown): void {
  const path = name.split('.');
  const key = path.pop() as string;
  let target = options;
  for (const step of path) {
    target[step] ??= {};
    target = target[step] as NestedOptions;
  }
  target[key] = value;
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
