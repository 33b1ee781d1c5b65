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
    ['SOCKET_MAX_CONNECTIONS=200 sluice serve --print-config', 'show the effective options'],
  ],
  notes: ['Prints a JSON line with "msg":"listening" when ready.'],
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

function printConfig(options: ResolvedOptions): void {
  process.stdout.write(`${JSON.stringify(options, withoutTokens, 2)}\n`);
}

/** Replaces the tokens of each role by their number. */
function withoutTokens(key: string, value: unknown): unknown {
  if (key !== 'tokens' || typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([role, list]) => [role, `${(list as string[]).length} tokens`]),
  );
}
