#!/usr/bin/env -S node --max-semi-space-size=2
// The command line: commands, options and exit codes. The V8 semi-space (in MiB, above) is kept small: a loaded broker
// then uses 30 MB less memory, with no measurable loss of speed.
//
// The implementation of a command is imported when the command is called, because loading the broker takes longer than
// most commands run. Keep the static imports of this file small.

import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { MAX_TIMER } from '../config/defaults.js';
import { SluiceError } from '../errors.js';
import { OVERFLOW_POLICIES } from '../messages/choices.js';
import { SERVER_VERSION } from '../version.js';
import type { BenchFlags } from './commands/bench.js';
import type { CheckFlags } from './commands/check.js';
import type { Shell } from './commands/completion.js';
import type { DemoFlags } from './commands/demo.js';
import type { StatusFlags } from './commands/status.js';
import type { SubFlags } from './commands/sub.js';
import type { TopFlags } from './commands/top.js';
import type { BrokerFlags } from './common/broker-options.js';
import { addConnectOptions, type ConnectFlags } from './common/connect-options.js';
import { EXIT } from './common/exit-codes.js';
import { addHelpTexts } from './common/help-text.js';
import { exitOnOutputError, exitWithoutTerminal } from './common/output.js';

/** The longest delay of a Node timer, in whole seconds. */
const MAX_SECONDS = Math.floor(MAX_TIMER / 1000);

const SHELLS: readonly Shell[] = ['bash', 'zsh', 'fish'];

/** The broker options that affect `check`, and those that affect the output of `schemas`. */
const CHECK_OPTIONS = [
  'schemas',
  'maxMessageSize',
  'maxMessageAge',
  'maxClockSkew',
  'messageDelimiter',
  'framing',
  'patterns',
  'maxLearnedLayouts',
  'validationTimeout',
  'workers.threads',
];
const SCHEMAS_OPTIONS = ['schemas', 'maxMessageAge', 'maxClockSkew'];

const CONFIG_FLAG = [
  '--config <file>',
  'JSON file with options; flags and environment variables override it',
] as const;
const ADMIN_FLAG = [
  '--admin <address>',
  "address of the broker's admin server (env: SOCKET_ADMIN; default: 127.0.0.1:9464)",
] as const;

const program = new Command('sluice')
  .description('A message broker for crawler fleets: checks, routes and forwards JSON messages.')
  .version(SERVER_VERSION)
  .showHelpAfterError('(add --help for usage)')
  .exitOverride();

const serveCommand = program
  .command('serve')
  .description(
    'run the broker; SIGTERM or SIGINT shuts down gracefully, a second signal exits immediately; SIGHUP reloads the options (in a terminal: graceful shutdown)',
  )
  .option('--print-config', 'print the effective options and exit')
  .option(...CONFIG_FLAG)
  .action(async (flags: BrokerFlags & { printConfig?: boolean }) => {
    if (flags.printConfig) (await import('./common/print-config.js')).printConfig(flags);
    else await (await import('./commands/serve.js')).serve(flags);
  });

addConnectOptions(
  program
    .command('pub')
    .description(
      'send NDJSON messages; report rejected messages on standard error and exit 1 if there are any',
    )
    .argument('[file]', 'input file, or - for standard input', '-'),
  'crawler',
).action(async (file: string, flags: ConnectFlags) => {
  const { pub } = await import('./commands/pub.js');
  process.exitCode = await pub(file, flags);
});

addConnectOptions(
  program
    .command('sub')
    .description(
      'print messages, one per line, until interrupted; exit 1 if the broker closes the connection',
    )
    .option(
      '--types <list>',
      'comma-separated message types; job_* matches every type with the prefix job_ (default: all)',
    )
    .option('--job <id>', 'only messages of this job; may be repeated', collect)
    .option('--crawler <id>', 'only messages of this crawler; may be repeated', collect)
    .option('--group <name>', 'share the messages among all subscribers of this group')
    .option('--meta', 'wrap each message in an object with its sender and sequence number'),
  'monitor',
)
  .addOption(
    new Option('--overflow <policy>', 'overflow policy for when this subscriber falls behind').choices(
      OVERFLOW_POLICIES,
    ),
  )
  .action(async (flags: SubFlags & ConnectFlags) => {
    const { sub } = await import('./commands/sub.js');
    exitWithoutTerminal(await sub(flags));
  });

const checkCommand = program
  .command('check')
  .description('validate NDJSON messages without a broker; exit 1 if any is rejected')
  .argument('[file]', 'input file, or - for standard input', '-')
  .option('--json', 'print findings and summary as NDJSON')
  .option('--quiet', 'print nothing; only set the exit code')
  .option('--max-errors <n>', 'stop after this many rejected messages; 0: no limit', atLeast(0), 0)
  .option(...CONFIG_FLAG)
  .action(async (file: string, flags: CheckFlags & BrokerFlags) => {
    const { check } = await import('./commands/check.js');
    process.exitCode = await check(file, flags);
  });

const schemasCommand = program
  .command('schemas')
  .description('list the message types and whether each has a compiled pattern')
  .option(...CONFIG_FLAG)
  .action(async (flags: BrokerFlags) => {
    const { schemas } = await import('./commands/schemas.js');
    process.exitCode = await schemas(flags);
  });

program
  .command('demo')
  .description('run a broker with a fleet of simulated crawlers and a subscriber, and show their rates')
  .option('--crawlers <n>', 'simulated crawlers', atLeast(1), 8)
  .option('--rate <n>', 'messages per second of the whole fleet; 0: as fast as possible', atLeast(0), 5000)
  .option('--duration <seconds>', 'duration of the demo', atLeast(1, MAX_SECONDS), 15)
  .option('--workers <n>', 'worker threads of the broker', atLeast(1))
  .option('--admin <address>', 'serve the dashboard at this address: host:port, :port or a socket path')
  .action(async (flags: DemoFlags) => {
    const { demo } = await import('./commands/demo.js');
    exitWithoutTerminal(await demo(flags));
  });

program
  .command('top')
  .description(
    'show live rates and connections of a broker, sorted by a column; without a terminal, print them once',
  )
  .option(...ADMIN_FLAG)
  .option('--interval <seconds>', 'refresh interval', atLeast(1, MAX_SECONDS), 1)
  .action(async (flags: TopFlags) => {
    const { top } = await import('./commands/top.js');
    exitWithoutTerminal(await top(flags));
  });

program
  .command('status')
  .description('show broker status; exit 1 if it is not ready, 69 if no broker is running')
  .option(...ADMIN_FLAG)
  .option('--json', 'print the status as JSON')
  .action(async (flags: StatusFlags) => {
    const { status } = await import('./commands/status.js');
    process.exitCode = await status(flags);
  });

addConnectOptions(
  program
    .command('bench')
    .description('measure throughput and latency of a running broker, as its peers see them')
    .option('--pub <n>', 'publishers', atLeast(1), 1)
    .option('--sub <n>', 'subscribers', atLeast(0), 1)
    .option(
      '--msgs <n>',
      'total messages of all publishers (default: 1000000, or 5 s worth of messages with --latency)',
      atLeast(1),
    )
    .addOption(
      new Option('--size <bytes>', 'bytes of each message (default: --mix)')
        .argParser(atLeast(1))
        .conflicts('mix'),
    )
    .option('--mix', 'a realistic mix of crawler messages, 394 bytes on average')
    .addOption(
      new Option(
        '--latency <rate>',
        'send small messages from one publisher at this rate per second, and time each of them',
      )
        .argParser(atLeast(1))
        .conflicts(['size', 'mix']),
    )
    .option('--json', 'print the result as JSON'),
  'monitor',
).action(async (given: Partial<BenchFlags> & ConnectFlags) => {
  const { bench } = await import('./commands/bench.js');
  process.exitCode = await bench(given);
});

program
  .command('completion')
  .description('print a shell script that completes commands, flags and values')
  .addArgument(new Argument('<shell>', 'target shell').choices(SHELLS))
  .action(async (shell: Shell) => {
    const { completionScript } = await import('./commands/completion.js');
    process.stdout.write(completionScript(shell, program));
  });

// The flags for broker options are generated from the options schema, which takes longer to load than everything else
// here. They are added only if the command line contains one of these words, as `sluice help serve` also does.
if (['serve', 'check', 'schemas', 'completion'].some((word) => process.argv.includes(word))) {
  const { addBrokerOptions } = await import('./common/broker-options.js');
  addBrokerOptions(serveCommand);
  addBrokerOptions(checkCommand, CHECK_OPTIONS);
  addBrokerOptions(schemasCommand, SCHEMAS_OPTIONS);
}

addHelpTexts(program);

function collect(value: string, values: string[] = []): string[] {
  return [...values, value];
}

function atLeast(minimum: number, maximum = Number.POSITIVE_INFINITY): (text: string) => number {
  const range =
    maximum < Number.POSITIVE_INFINITY ? ` from ${minimum} to ${maximum}` : `, ${minimum} or more`;
  return (text) => {
    const value = Number(text);
    if (text.trim() !== '' && Number.isInteger(value) && value >= minimum && value <= maximum) return value;
    throw new InvalidArgumentError(`Expected an integer${range}.`);
  };
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.OK : EXIT.USAGE;
  if (!(error instanceof SluiceError)) return EXIT.FAILURE;
  if (error.category === 'configuration') return EXIT.CONFIG;
  return error.code === 'CONNECTION_FAILED' ? EXIT.UNAVAILABLE : EXIT.FAILURE;
}

process.stdout.on('error', exitOnOutputError);
// Ignores errors on stderr, such as EPIPE.
process.stderr.on('error', () => {});

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) {
    const text = error instanceof SluiceError ? `${error.code}: ${error.message}` : String(error);
    process.stderr.write(`sluice: ${text}\n`);
  }
  process.exitCode = exitCodeOf(error);
}
