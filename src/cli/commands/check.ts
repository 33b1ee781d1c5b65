// `sluice check`: validates a file of messages without a broker.

import type { CheckFlags } from '../check/check-file.js';
import type { BrokerFlags } from '../common/broker-options.js';
import type { CommandDefinition } from '../common/command-definition.js';
import { atLeast, CONFIG_FLAG } from '../common/flags.js';

export const definition: CommandDefinition = {
  description: 'validate NDJSON messages without a broker; exit 1 if any is rejected',
  brokerOptions: [
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
  ],
  define: (command) =>
    command
      .argument('[file]', 'input file, or - for standard input', '-')
      .option('--json', 'print findings and summary as NDJSON')
      .option('--quiet', 'print nothing; only set the exit code')
      .option('--max-errors <n>', 'stop after this many rejected messages; 0: no limit', atLeast(0), 0)
      .option(...CONFIG_FLAG)
      .action(check),
  examples: [
    ['sluice check messages.ndjson', 'print the errors in each message'],
    ['zcat old.ndjson.gz | sluice check --quiet && echo valid', 'use the exit code in a script'],
    ["sluice check --json messages.ndjson | jq 'select(.code)'", 'machine-readable output'],
    [
      'sluice check --schemas ./my-schemas.mjs --max-errors 20 messages.ndjson',
      'check your own message types; stop after 20 rejected messages',
    ],
  ],
  notes: ['Prints FILE:LINE: PATH CODE MESSAGE [REJECTED_WITH TYPE]. Message values are never printed.'],
};

async function check(file: string, flags: CheckFlags & BrokerFlags): Promise<void> {
  const { checkFile } = await import('../check/check-file.js');
  process.exitCode = await checkFile(file, flags);
}
