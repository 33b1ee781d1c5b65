// `sluice demo`: runs a broker, a fleet of simulated crawlers and a subscriber, and shows their rates.

import type { CommandDefinition } from '../common/command-definition.js';
import { atLeast, MAX_SECONDS } from '../common/flags.js';
import { exitWithoutTerminal } from '../common/output.js';
import type { DemoFlags } from '../demo/run-demo.js';

export const definition: CommandDefinition = {
  description: 'run a broker with a fleet of simulated crawlers and a subscriber, and show their rates',
  define: (command) =>
    command
      .option('--crawlers <n>', 'simulated crawlers', atLeast(1), 8)
      .option(
        '--rate <n>',
        'messages per second of the whole fleet; 0: as fast as possible',
        atLeast(0),
        5000,
      )
      .option(
        '--duration <seconds>',
        'duration of the demo (default: 15; until Ctrl-C with --admin)',
        atLeast(1, MAX_SECONDS),
      )
      .option('--workers <n>', 'worker threads of the broker', atLeast(1))
      .option('--admin <address>', 'serve the dashboard at this address: host:port, :port or a socket path')
      .action(demo),
  examples: [
    ['sluice demo', 'eight crawlers, 5,000 messages a second'],
    ['sluice demo --rate 0 --duration 30', 'as fast as possible'],
    ['sluice demo --admin :9464', 'with the dashboard at http://127.0.0.1:9464/'],
  ],
};

async function demo(flags: DemoFlags): Promise<void> {
  const { runDemo } = await import('../demo/run-demo.js');
  exitWithoutTerminal(await runDemo(flags));
}
