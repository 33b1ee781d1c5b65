// `sluice dead`: lists dead letters, shows them, sends them again, and drops them.

import { Argument } from 'commander';
import type { CommandDefinition } from '../common/command-definition.js';
import { addConnectOptions, addTlsOptions, requireFlagsOf, TOKEN_NOTE } from '../common/flags.js';
import { exitWithoutTerminal } from '../common/output.js';
import type { DeadFlags } from '../dead/dead-actions.js';

const ACTIONS = ['ls', 'show', 'retry', 'drop'] as const;
type Action = (typeof ACTIONS)[number];

const CONNECT_FLAGS = ['socket', 'host', 'port', 'role', 'tls', 'tlsCa', 'tlsCert', 'tlsKey'] as const;
const FLAGS: Readonly<Record<Action, readonly (keyof DeadFlags)[]>> = {
  ls: ['group', 'reason', 'json'],
  show: ['all', 'group', 'reason', 'json'],
  retry: ['all', 'group', 'reason', ...CONNECT_FLAGS],
  drop: ['all', 'group', 'reason'],
};

export const definition: CommandDefinition = {
  description: 'list, show, resend or drop dead letters: messages that could not be handled',
  define: (command) =>
    addTlsOptions(
      addConnectOptions(
        command
          .addArgument(
            new Argument(
              '<action>',
              'ls: list; show: print with content; retry: resend, then drop; drop: no longer list',
            ).choices(ACTIONS),
          )
          .argument('<folder>', 'folder of the durable log')
          .argument('[ids...]', 'show, retry, drop: IDs, as printed by ls')
          .option('--all', 'show, retry, drop: all that match, instead of IDs')
          .option('--group <name>', 'only those of this work group')
          .option('--reason <code>', 'only those with this code, such as MAX_DELIVERIES or SCHEMA_VIOLATION')
          .option('--json', 'ls, show: print one JSON object per line'),
        'relay',
      ),
    ).action(dead),
  examples: [
    ['sluice dead ls /var/lib/sluice/log', 'which messages could not be handled, and why'],
    ['sluice dead show /var/lib/sluice/log 17', 'one of them, with its content'],
    ['sluice dead retry /var/lib/sluice/log 17 18', 'resend two of them to the broker'],
    ['sluice dead drop /var/lib/sluice/log --all --reason INVALID_JSON', 'drop some of them'],
  ],
  notes: [
    'A broker may be using the folder. A resent message gets a new position, and all subscribers receive it.',
    'Rejected messages are kept whole, and can be resent, only if the broker has rejectedBytes full.',
    TOKEN_NOTE,
  ],
};

async function dead(action: Action, folder: string, ids: readonly string[], flags: DeadFlags): Promise<void> {
  requireFlagsOf(action, flags, FLAGS[action]);
  const actions = await import('../dead/dead-actions.js');
  exitWithoutTerminal(await actions[action](folder, ids, flags));
}
