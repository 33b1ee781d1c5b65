// `sluice serve`: runs the broker as a process of its own.

import type { ResolvedOptions } from '../../config/config.js';
import type { BrokerFlags } from '../common/broker-options.js';
import type { CommandDefinition } from '../common/command-definition.js';
import { CONFIG_FLAG } from '../common/flags.js';

export const definition: CommandDefinition = {
  description:
    'run the broker; SIGTERM or SIGINT shuts down gracefully, a second signal exits immediately; SIGHUP reloads the options (in a terminal: graceful shutdown)',
  brokerOptions: 'all',
  define: (command) =>
    command
      .option('--print-config', 'print the effective options and exit')
      .option(...CONFIG_FLAG)
      .action(serve),
  examples: [
    ['sluice serve', 'listen on the default socket'],
    [
      'sluice serve --socket /run/sluice.sock --workers 4',
      'listen on this socket, with four validation workers',
    ],
    ['sluice serve --schemas ./my-schemas.mjs', 'also accept your own message types'],
    ['SLUICE_MAX_CONNECTIONS=200 sluice serve --print-config', 'show the effective options'],
  ],
  notes: [
    'Prints a JSON line with "msg":"listening" when ready.',
    'Sizes are in bytes or have a unit (64k, 256M, 1GiB: powers of 1024); times are in ms or have a unit (500ms, 10s, 2m, 1h, 1d). Older environment variables that begin with SOCKET_ instead of SLUICE_ still work.',
  ],
};

async function serve(flags: BrokerFlags & { printConfig?: boolean }): Promise<void> {
  if (flags.printConfig) {
    const { resolveFlags } = await import('../common/broker-options.js');
    printConfig(resolveFlags(flags));
  } else {
    const { runBroker } = await import('../serve/run-broker.js');
    await runBroker(flags);
  }
}

/** Prints a configuration file with these options, without the tokens, whose number goes to standard error. */
function printConfig({ auth: { tokens, ...auth }, ...options }: ResolvedOptions): void {
  process.stdout.write(`${JSON.stringify({ ...options, auth }, undefined, 2)}\n`);
  const counts = Object.entries(tokens).map(([role, list]) => `${list?.length ?? 0} of role ${role}`);
  if (counts.length > 0) process.stderr.write(`sluice: the tokens are not printed: ${counts.join(', ')}\n`);
}
