// `sluice status`: prints the status of a broker.

import type { BrokerStats } from '../../admin/snapshot.js';
import { printableJson } from '../../printable.js';
import type { CommandDefinition } from '../common/command-definition.js';
import { EXIT } from '../common/exit-codes.js';
import { ADMIN_FLAG, ADMIN_NOTE } from '../common/flags.js';

interface StatusFlags {
  /** Address of the admin server. */
  admin?: string;
  json?: boolean;
}

export const definition: CommandDefinition = {
  description: 'show broker status; exit 1 if it is not ready, 69 if no broker is running',
  define: (command) =>
    command
      .option(...ADMIN_FLAG)
      .option('--json', 'print the status as JSON')
      .action(status),
  examples: [
    ['sluice status', 'show the status'],
    ['sluice status --json | jq .rates', 'machine-readable output'],
    ['until sluice status >/dev/null; do sleep 1; done', 'wait until the broker is ready'],
  ],
  notes: [ADMIN_NOTE],
};

async function status(flags: StatusFlags): Promise<void> {
  const { AdminClient } = await import('../common/admin-client.js');
  const { readinessLine, summaryLines } = await import('../common/admin-view.js');
  const client = new AdminClient(flags.admin);
  let stats = await client.get<BrokerStats>('/api/stats');
  // A broker that is starting has no statistics yet.
  const readiness = stats?.readiness ?? (await client.readiness());
  // It may have become ready between the two requests.
  if (readiness.ready) stats ??= await client.get<BrokerStats>('/api/stats');
  const lines = stats === undefined ? [readinessLine(readiness)] : summaryLines(stats);
  process.stdout.write(`${flags.json ? printableJson(stats ?? readiness, 2) : lines.join('\n')}\n`);
  process.exitCode = readiness.ready ? EXIT.OK : EXIT.FAILURE;
}
