// The commands as a shell that completes them needs to know them, read off commander's own.

import type { Command, Option } from 'commander';

/** What may stand after a flag, or as an argument. */
export type Completable =
  | { readonly kind: 'words'; readonly words: readonly string[] }
  /** The name of a file. */
  | { readonly kind: 'file' }
  /** Something that only the user knows: a number, a name. */
  | { readonly kind: 'anything' };

/** A flag, as a shell needs to know it. */
export interface CompletedFlag {
  /** `--framing`. */
  readonly name: string;
  readonly description: string;
  /** What follows it; none: nothing does. */
  readonly value: Completable | undefined;
}

/** A command, as a shell needs to know it. */
export interface CompletedCommand {
  readonly name: string;
  readonly description: string;
  readonly flags: readonly CompletedFlag[];
  readonly argument: Completable | undefined;
}

/** Flags and placeholders of values that are files. All other values are known to the user alone. */
const FILES = /^(?:file|path|--socket|--schemas|--[a-z-]+-file)$/;
const HELP: CompletedFlag = { name: '--help', description: 'display help for command', value: undefined };

/** What there is to complete in a command. */
export function completedCommand(command: Command): CompletedCommand {
  const [argument] = command.registeredArguments;
  return {
    name: command.name(),
    description: command.description(),
    flags: [...command.options.filter(({ long }) => long).map(completedFlag), HELP],
    argument: argument && (argument.argChoices ? words(argument.argChoices) : { kind: 'file' }),
  };
}

function completedFlag(option: Option): CompletedFlag {
  const placeholder = /[<[]([^<>[\]]+)[>\]]/.exec(option.flags)?.[1];
  return {
    name: option.long ?? '',
    // The rest is for the help: values, default, environment.
    description: option.description.split(' (', 1)[0] ?? '',
    value: placeholder === undefined ? undefined : flagValue(placeholder, option),
  };
}

function flagValue(placeholder: string, { argChoices, description, long }: Option): Completable {
  if (argChoices !== undefined) return words(argChoices);
  // The broker's options have their choices in the description: they are checked by the schema.
  const choices = /\(([\w-]+(?:\|[\w-]+)+);/.exec(description)?.[1] ?? placeholder;
  if (choices.includes('|')) return words(choices.split('|'));
  return FILES.test(placeholder) || FILES.test(long ?? '') ? { kind: 'file' } : { kind: 'anything' };
}

function words(list: readonly string[]): Completable {
  return { kind: 'words', words: list };
}
