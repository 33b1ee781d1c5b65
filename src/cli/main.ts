#!/usr/bin/env -S node --max-semi-space-size=2
// The command line: which commands there are, and what each exits with. Room for short-lived objects is kept
// small (in MiB, above): a loaded broker takes 30 MB less, and measured no slower.
//
// What a command does is loaded when it is called: the broker takes longer to load than most commands to run. So what
// is imported here has to be small.

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

/** The longest that a Node timer keeps, in whole seconds. */
const MAX_SECONDS = Math.floor(MAX_TIMER / 1000);

const SHELLS: readonly Shell[] = ['bash', 'zsh', 'fish'];

/** The options of the broker that `check` goes by, and those that the list of `schemas` depends on. */
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

const CONFIG_FLAG = ['--config <file>', 'JSON file with options; flags and environment win over it'] as const;
const ADMIN_FLAG = [
  '--admin <address>',
  'admin server of the broker (env: SOCKET_ADMIN; default: 127.0.0.1:9464)',
] as const;

const program = new Command('sluice')
  .description('A message broker for crawler fleets: checks, routes and forwards JSON messages.')
  .version(SERVER_VERSION)
  .showHelpAfterError('(add --help for usage)')
  .exitOverride();

const serveCommand = program
  .command('serve')
  .description(
    'run the broker, until SIGTERM or SIGINT; a second signal leaves at once; SIGHUP reads the options again, or stops a broker that runs in a terminal',
  )
  .option('--print-config', 'print the options that would be used, and leave')
  .option(...CONFIG_FLAG)
  .action(async (flags: BrokerFlags & { printConfig?: boolean }) => {
    if (flags.printConfig) (await import('./common/print-config.js')).printConfig(flags);
    else await (await import('./commands/serve.js')).serve(flags);
  });

addConnectOptions(
  program
    .command('pub')
    .description('send NDJSON messages; report what the broker rejects on standard error, and exit 1')
    .argument('[file]', 'a file, or - for standard input', '-'),
  'crawler',
).action(async (file: string, flags: ConnectFlags) => {
  const { pub } = await import('./commands/pub.js');
  process.exitCode = await pub(file, flags);
});

addConnectOptions(
  program
    .command('sub')
    .description('print messages as lines, until interrupted; exit 1 when the broker leaves')
    .option('--types <list>', 'message types, separated by commas; job_* is all that begin so (default: all)')
    .option('--job <id>', 'only messages of this job; may be repeated', collect)
    .option('--crawler <id>', 'only messages of this crawler; may be repeated', collect)
    .option('--group <name>', 'share the messages with all subscribers of this group')
    .option('--meta', 'wrap each message with its sender and number'),
  'monitor',
)
  .addOption(
    new Option('--overflow <policy>', 'what the broker does when this subscriber falls behind').choices(
      OVERFLOW_POLICIES,
    ),
  )
  .action(async (flags: SubFlags & ConnectFlags) => {
    const { sub } = await import('./commands/sub.js');
    exitWithoutTerminal(await sub(flags));
  });

const checkCommand = program
  .command('check')
  .description('validate NDJSON messages without a broker; exit 1 when any is rejected')
  .argument('[file]', 'a file, or - for standard input', '-')
  .option('--json', 'print findings and summary as NDJSON')
  .option('--quiet', 'print nothing: the exit code tells')
  .option('--max-errors <n>', 'stop after so many rejected messages; 0: never', atLeast(0), 0)
  .option(...CONFIG_FLAG)
  .action(async (file: string, flags: CheckFlags & BrokerFlags) => {
    const { check } = await import('./commands/check.js');
    process.exitCode = await check(file, flags);
  });

const schemasCommand = program
  .command('schemas')
  .description('list the message types, and which have a compiled pattern')
  .option(...CONFIG_FLAG)
  .action(async (flags: BrokerFlags) => {
    const { schemas } = await import('./commands/schemas.js');
    process.exitCode = await schemas(flags);
  });

program
  .command('demo')
  .description('watch a broker, a fleet of simulated crawlers and a subscriber at work')
  .option('--crawlers <n>', 'simulated crawlers', atLeast(1), 8)
  .option(
    '--rate <n>',
    'messages a second of the whole fleet; 0: as many as the broker takes',
    atLeast(0),
    5000,
  )
  .option('--duration <seconds>', 'how long', atLeast(1, MAX_SECONDS), 15)
  .option('--workers <n>', 'worker threads of the broker', atLeast(1))
  .option('--admin <address>', 'serve the dashboard there: host:port, :port or a socket path')
  .action(async (flags: DemoFlags) => {
    const { demo } = await import('./commands/demo.js');
    exitWithoutTerminal(await demo(flags));
  });

program
  .command('top')
  .description(
    'watch a broker: its rates, and its connections sorted by a column; without a terminal, look once',
  )
  .option(...ADMIN_FLAG)
  .option('--interval <seconds>', 'how often to look', atLeast(1, MAX_SECONDS), 1)
  .action(async (flags: TopFlags) => {
    const { top } = await import('./commands/top.js');
    exitWithoutTerminal(await top(flags));
  });

program
  .command('status')
  .description('print how a broker is; exits 1 when it is not ready, 69 when there is none')
  .option(...ADMIN_FLAG)
  .option('--json', 'as JSON')
  .action(async (flags: StatusFlags) => {
    const { status } = await import('./commands/status.js');
    process.exitCode = await status(flags);
  });

addConnectOptions(
  program
    .command('bench')
    .description('measure throughput and latency of a running broker, from its peers')
    .option('--pub <n>', 'publishers', atLeast(1), 1)
    .option('--sub <n>', 'subscribers', atLeast(0), 1)
    .option(
      '--msgs <n>',
      'messages of all publishers together (default: 1000000, or 5 s of them with --latency)',
      atLeast(1),
    )
    .addOption(
      new Option('--size <bytes>', 'bytes of each message (default: --mix)')
        .argParser(atLeast(1))
        .conflicts('mix'),
    )
    .option('--mix', 'messages as a crawler sends them, 394 bytes on average')
    .addOption(
      new Option(
        '--latency <rate>',
        'small messages from one publisher at so many a second, each of them timed',
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
  .description('print a script that lets a shell complete commands, flags and values')
  .addArgument(new Argument('<shell>', 'which shell').choices(SHELLS))
  .action(async (shell: Shell) => {
    const { completionScript } = await import('./commands/completion.js');
    process.stdout.write(completionScript(shell, program));
  });

// The flags for the broker's options are made from their schema, which takes longer to load than all else here: that is
// done only when one of these words asks for them. `sluice help serve` does, too.
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
// Complaints that nobody reads keep no command from its work.
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
