#!/usr/bin/env node
// The command line: commands and exit codes.
//
// The file of a command is loaded only when the command is called, or for the help and the completion of all commands.
// Keep the static imports of this file small.

import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { SluiceError } from '../errors.js';
import { printableLines } from '../printable.js';
import { SERVER_VERSION } from '../version.js';
import type { CommandDefinition } from './common/command-definition.js';
import { EXIT } from './common/exit-codes.js';
import { HELP_CONFIGURATION, helpText, PROGRAM_HELP } from './common/help-text.js';
import { detectFullDisk, exitOnOutputError, printError } from './common/output.js';

/** The commands in the order of the help. */
const COMMANDS: Readonly<Record<string, () => Promise<{ definition: CommandDefinition }>>> = {
  serve: () => import('./commands/serve.js'),
  pub: () => import('./commands/pub.js'),
  sub: () => import('./commands/sub.js'),
  check: () => import('./commands/check.js'),
  schemas: () => import('./commands/schemas.js'),
  demo: () => import('./commands/demo.js'),
  top: () => import('./commands/top.js'),
  status: () => import('./commands/status.js'),
  drift: () => import('./commands/drift.js'),
  log: () => import('./commands/log.js'),
  dead: () => import('./commands/dead.js'),
  bench: () => import('./commands/bench.js'),
  completion: () => import('./commands/completion.js'),
};

const HELP_HINT = '(add --help for usage)';

const program = new Command('sluice')
  .description('A message broker for crawler fleets: checks, routes and forwards JSON messages.')
  .version(SERVER_VERSION)
  .showHelpAfterError(HELP_HINT)
  .configureHelp(HELP_CONFIGURATION)
  // The value of a mistyped option may be a token, and errors may be logged.
  .configureOutput({
    outputError: (text, write) =>
      write(printableLines(text.replace(/^(error: unknown option '[^'=]*)=.*'/, "$1'"))),
  })
  .addHelpText('after', PROGRAM_HELP)
  .hook('preAction', rejectUnknownVariables)
  .exitOverride();

const args = process.argv.slice(2);
const [word = '', topic = ''] = args.filter((arg) => !arg.startsWith('-'));
/** The first word, or in `sluice help COMMAND` the second: the name of a command, unless it is mistyped or missing. */
const called = word === 'help' ? topic : word;
const isCommand = Object.hasOwn(COMMANDS, called);
/** Whether to suggest a command for a mistyped one in `sluice help COMMAND`, as for one without `help`. */
const isHelpMistyped = word === 'help' && topic !== '' && !isCommand;

for (const [name, load] of Object.entries(COMMANDS)) {
  if (isNeeded(name)) await addCommand(name, (await load()).definition);
}

/** Without the name of a command, all are needed: for the overview, or to suggest one. */
function isNeeded(name: string): boolean {
  if (args[0] === '--version' || args[0] === '-V') return false;
  return !isCommand || called === name || called === 'completion';
}

async function addCommand(name: string, definition: CommandDefinition): Promise<void> {
  const command = program.command(name).description(definition.description);
  definition.define(command);
  if (isCommand && definition.brokerOptions !== undefined) {
    const { addBrokerOptions } = await import('./common/broker-options.js');
    addBrokerOptions(command, definition.brokerOptions);
  }
  command.addHelpText('after', helpText(definition));
}

/** Loaded only if needed, because the options take long to load. */
async function rejectUnknownVariables(): Promise<void> {
  if (!Object.keys(process.env).some((name) => name.startsWith('SLUICE_'))) return;
  const { unknownVariables } = await import('../config/sources.js');
  for (const error of unknownVariables(process.env).values()) throw error;
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.OK : EXIT.USAGE;
  if (!(error instanceof SluiceError)) return EXIT.FAILURE;
  if (error.category === 'configuration') return EXIT.CONFIG;
  return error.code === 'CONNECTION_FAILED' ? EXIT.UNAVAILABLE : EXIT.FAILURE;
}

/** A line with the next step after a failed connection; empty for other errors. */
async function hintFor(error: unknown): Promise<string> {
  if (!(error instanceof SluiceError) || error.code !== 'CONNECTION_FAILED') return '';
  const { connectFaultOf, connectionHint } = await import('./common/connection-hint.js');
  const fault = connectFaultOf(error);
  const hint =
    fault &&
    connectionHint(fault, called === 'top' || called === 'status' || called === 'drift' ? 'admin' : 'broker');
  return hint === undefined ? '' : `${hint}\n`;
}

detectFullDisk();
process.stdout.on('error', exitOnOutputError);
// Ignores errors on stderr, such as EPIPE.
process.stderr.on('error', () => {});

try {
  await program.parseAsync(isHelpMistyped ? [topic] : args, { from: 'user' });
} catch (error) {
  // Thrown by an action. Those that commander has found are printed already.
  if (error instanceof InvalidArgumentError) printError(`error: ${error.message}\n${HELP_HINT}`);
  else if (!(error instanceof CommanderError)) {
    const text = error instanceof SluiceError ? `${error.code}: ${error.message}` : String(error);
    printError(`sluice: ${text}`);
    process.stderr.write(await hintFor(error));
  }
  process.exitCode = exitCodeOf(error);
}
