// `sluice top`: shows a live view of a broker's rates, connections and message types.

import type { CommandDefinition } from '../common/command-definition.js';
import { ADMIN_FLAG, ADMIN_NOTE, atLeast, MAX_SECONDS } from '../common/flags.js';
import { exitWithoutTerminal } from '../common/output.js';
import type { TopFlags } from '../top/top-view.js';

export const definition: CommandDefinition = {
  description:
    'show live rates, connections and message types of a broker; without a terminal, print them once',
  define: (command) =>
    command
      .option(...ADMIN_FLAG)
      .option('--interval <seconds>', 'refresh interval', atLeast(1, MAX_SECONDS), 1)
      .action(top),
  examples: [
    ['sluice top', 'live view; ? lists the keys'],
    [
      'sluice top --admin /run/sluice-admin.sock --interval 5',
      'admin server on a Unix socket, refreshed every five seconds',
    ],
    ['sluice top | head -12', 'print the view once'],
  ],
  notes: [ADMIN_NOTE],
};

async function top(flags: TopFlags): Promise<void> {
  const { showTop } = await import('../top/top-view.js');
  exitWithoutTerminal(await showTop(flags));
}
