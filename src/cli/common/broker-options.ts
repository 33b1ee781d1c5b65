// Broker options on the command line: one flag per option, generated from the options schema.

import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { type ResolvedOptions, resolveOptions, type SluiceOptions } from '../../config/config.js';
import {
  mergeOptions,
  type NestedOptions,
  OPTION_SPECS,
  type OptionSpec,
  optionsFromEnvironment,
  optionsFromFile,
  setOption,
} from '../../config/sources.js';
import { SluiceError } from '../../errors.js';
import { warn } from './output.js';

/** The flags of a command that has broker options, as parsed by commander. */
export type BrokerFlags = Readonly<Record<string, unknown>>;

const PLACEHOLDERS: Readonly<Record<OptionSpec['kind'], string>> = {
  string: '<text>',
  number: '<n>',
  size: '<size>',
  time: '<time>',
  boolean: '[true|false]',
  list: '<a,b>',
  path: '<path>',
};

/** The flag of a broker option. Its value is validated by the options schema, not by commander. */
export class BrokerOption extends Option {
  readonly spec: OptionSpec;

  constructor(spec: OptionSpec) {
    const notes = [
      spec.choices === undefined ? [] : [spec.choices.join('|')],
      spec.default === undefined || spec.description.includes('default:')
        ? []
        : [`default: ${JSON.stringify(spec.default)}`],
      [`env: ${spec.environment}`],
    ].flat();
    super(`${spec.flag} ${PLACEHOLDERS[spec.kind]}`, `${spec.description} (${notes.join('; ')})`);
    this.spec = spec;
  }
}

/**
 * Adds a flag for each option that is not secret.
 * @param names the options to add; if these are all, the help shows them in their groups
 */
export function addBrokerOptions(command: Command, names: 'all' | readonly string[]): void {
  for (const spec of OPTION_SPECS) {
    if (spec.isSecret || (names !== 'all' && !names.includes(spec.name))) continue;
    const option = new BrokerOption(spec);
    if (names === 'all') option.helpGroup(`${spec.group}:`);
    command.addOption(option);
  }
}

/**
 * Resolves the options. Flags override the environment, which overrides the file, which overrides the defaults. The
 * environment variables of options that flags set may have any value.
 * @param folder that relative paths are relative to. Default: the current working directory.
 * @throws SluiceError `INVALID_OPTION`, `CONFIG_UNREADABLE`
 */
export function resolveFlags(flags: BrokerFlags, folder: string = process.cwd()): ResolvedOptions {
  const fromFlags: NestedOptions = {};
  const given: OptionSpec[] = [];
  for (const spec of OPTION_SPECS) {
    const value = flags[new BrokerOption(spec).attributeName()];
    // A flag without a value.
    const text = value === true ? 'true' : value;
    if (typeof text !== 'string') continue;
    setOption(fromFlags, spec, text, spec.flag);
    given.push(spec);
  }
  const fromFile = typeof flags.config === 'string' ? optionsFromFile(resolve(folder, flags.config)) : {};
  const fromEnvironment = optionsFromEnvironment(process.env, withoutGiven(OPTION_SPECS, given), warn);
  try {
    const options = resolveOptions(
      mergeOptions(fromFile, fromEnvironment, fromFlags as SluiceOptions),
      folder,
    );
    if (fromFlags.host !== undefined && options.socketPath !== undefined)
      throw new SluiceError('INVALID_OPTION', '--host: needs --port');
    return options;
  } catch (error) {
    throw namedByFlag(error, given);
  }
}

/** The options that are not set by the given ones. A path sets the port as well, and vice versa: there is none. */
export function withoutGiven(specs: readonly OptionSpec[], given: readonly OptionSpec[]): OptionSpec[] {
  const names = new Set(given.map(({ name }) => name));
  for (const [name, other] of [
    ['socketPath', 'port'],
    ['port', 'socketPath'],
  ] as const) {
    if (given.some((spec) => spec.name === name)) names.add(other);
  }
  return specs.filter(({ name }) => !names.has(name));
}

/** If an error concerns an option that was set by a flag, replaces the option's name by that of the flag. */
function namedByFlag(error: unknown, given: readonly OptionSpec[]): unknown {
  if (!(error instanceof SluiceError) || error.code !== 'INVALID_OPTION') return error;
  for (const { name, flag } of given) {
    const [, detail] = error.message.split(`: ${name}: `);
    if (detail !== undefined) return new SluiceError(error.code, `${flag}: ${detail}`);
  }
  return error;
}
