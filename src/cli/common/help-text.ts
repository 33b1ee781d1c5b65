// The layout of the help: as wide as the terminal, with examples, notes and exit codes at the end of each command's.

import { Help, type HelpConfiguration } from 'commander';
import type { CommandDefinition } from './command-definition.js';

/** Width of an output that is no terminal, or that does not know its width and reports 0. */
const DEFAULT_WIDTH = 80;
/** Longer lines are hard to read. */
const MAX_WIDTH = 120;
const WIDTH = Math.min(process.stdout.columns || DEFAULT_WIDTH, MAX_WIDTH);
/** Maximum width of the column of flags, arguments and commands. The rest is for their descriptions. */
const MAX_TERM_WIDTH = Math.floor(WIDTH * 0.375);

const EXIT_CODES =
  'Exit codes: 0 success, 1 something failed or was rejected, 64 wrong arguments, 66 input file not found, 69 no broker is running, 78 invalid configuration.';

const help = new Help();

/** How commander lays out the help of the program and its commands. */
export const HELP_CONFIGURATION: HelpConfiguration = {
  helpWidth: WIDTH,
  minWidthToWrap: 20,
  padWidth: (command, helper) => Math.min(help.padWidth(command, helper), MAX_TERM_WIDTH),
  /** Puts the description of a term that is wider than its column on the next line. */
  formatItem(term, termWidth, description, helper) {
    const item = (text: string) => help.formatItem.call(helper, text, termWidth, description, helper);
    return term.length <= termWidth ? item(term) : `  ${term}\n${item('')}`;
  },
};

/** The text at the end of the program's help. */
export const PROGRAM_HELP = ['', wrap('Run sluice COMMAND --help for examples.'), wrap(EXIT_CODES)].join(
  '\n',
);

/** The text at the end of a command's help. Examples are not wrapped, so that they can be copied. */
export function helpText({ examples, notes = [] }: CommandDefinition): string {
  const lines = examples.flatMap(([command, effect]) => [`  # ${effect}`, `  ${command}`]);
  return ['', 'Examples:', ...lines, '', ...[...notes, EXIT_CODES].map(wrap)].join('\n');
}

function wrap(text: string): string {
  return help.boxWrap(text, WIDTH);
}
