// `sluice bench`: measures throughput and latency of a running broker.

import { Option } from 'commander';
import type { BenchFlags } from '../bench/run-bench.js';
import type { CommandDefinition } from '../common/command-definition.js';
import { addConnectOptions, atLeast, type ConnectFlags } from '../common/flags.js';

export const definition: CommandDefinition = {
  description: 'measure throughput and latency of a running broker, as seen by its peers',
  define: (command) =>
    addConnectOptions(
      command
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
        .addOption(
          new Option(
            '--confirm',
            'send small messages one after another from one publisher, and time the confirmation of each (10000 unless --msgs is set)',
          ).conflicts(['latency', 'size', 'mix', 'pub', 'sub']),
        )
        .addOption(
          new Option(
            '--replay',
            'store all messages in the durable log of the broker, then read them from there',
          ).conflicts(['latency', 'confirm']),
        )
        .option('--json', 'print the result as JSON'),
      'monitor',
    ).action(bench),
  examples: [
    ['sluice bench', 'a million messages from one publisher to one subscriber'],
    ['sluice bench --pub 4 --sub 10 --msgs 200000', 'four publishers, ten subscribers'],
    ['sluice bench --size 4096', 'messages of 4 KiB instead of the crawler mix'],
    ['sluice bench --confirm', 'how long confirmations take: with a durable log, until it is on disk'],
    ['sluice bench --replay', 'how fast messages are stored in the durable log, and read from it'],
    ['sluice bench --latency 1000', 'latency of single messages, at 1,000 per second'],
  ],
  notes: [
    'All subscribers of the broker receive the messages: do not run this against a production broker.',
    'If the broker requires tokens, set SLUICE_TOKEN for the subscribers and SLUICE_CRAWLER_TOKEN for the publishers.',
  ],
};

async function bench(given: Partial<BenchFlags> & ConnectFlags): Promise<void> {
  const { runBench } = await import('../bench/run-bench.js');
  process.exitCode = await runBench(given);
}
