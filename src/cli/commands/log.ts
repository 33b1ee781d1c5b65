// `sluice log`: shows, prints, checks and shortens a durable log.

import { Argument } from 'commander';
import type { CommandDefinition } from '../common/command-definition.js';
import { collect, requireFlagsOf } from '../common/flags.js';
import { exitWithoutTerminal } from '../common/output.js';
import type { LogFlags } from '../log/log-actions.js';

const ACTIONS = ['ls', 'cat', 'verify', 'truncate', 'forget'] as const;
type Action = (typeof ACTIONS)[number];

const FLAGS: Readonly<Record<Action, readonly (keyof LogFlags)[]>> = {
  ls: ['json'],
  cat: ['from', 'to', 'types', 'job', 'crawler', 'meta'],
  verify: ['json'],
  truncate: ['to'],
  forget: ['cursor'],
};

export const definition: CommandDefinition = {
  description: 'show, print, check or shorten the durable log in a folder; exit 1 if it is damaged',
  define: (command) =>
    command
      .addArgument(
        new Argument(
          '<action>',
          'ls: list files and cursors; cat: print messages; verify: check everything; truncate: remove old files; forget: remove a cursor',
        ).choices(ACTIONS),
      )
      .argument('<folder>', 'folder of the log')
      .option('--from <position>', 'cat: begin here: an offset, or a position such as 0123456789abcdef:42')
      .option('--to <position>', 'cat, truncate: end before this offset or position')
      .option('--types <list>', 'cat: comma-separated message types; job_* matches a prefix')
      .option('--job <id>', 'cat: only messages of this job; may be repeated', collect)
      .option('--crawler <id>', 'cat: only messages of this crawler; may be repeated', collect)
      .option('--meta', 'cat: wrap each message in an object with its sender, sequence number and offset')
      .option('--cursor <name>', 'forget: the cursor to remove')
      .option('--json', 'ls, verify: print the result as JSON')
      .action(log),
  examples: [
    ['sluice log ls /var/lib/sluice/log', 'its files, its size, and how far each cursor is behind'],
    ["sluice log cat /var/lib/sluice/log --types 'job_*' | jq .data", 'messages about jobs'],
    ['sluice log verify /var/lib/sluice/log', 'read and check everything'],
    ['sluice log truncate /var/lib/sluice/log --to 1000000', 'remove files with older messages only'],
  ],
  notes: [
    'A broker may be using the folder, except for truncate and forget. Messages are printed as they were received.',
  ],
};

async function log(action: Action, folder: string, flags: LogFlags): Promise<void> {
  requireFlagsOf(action, flags, FLAGS[action]);
  const actions = await import('../log/log-actions.js');
  exitWithoutTerminal(await actions[action](folder, flags));
}
