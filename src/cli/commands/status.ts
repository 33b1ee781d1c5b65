// `sluice status`: prints the status of a broker.

import type { BrokerStats } from '../../admin/snapshot.js';
import { AdminClient } from '../common/admin-client.js';
import { readinessLine, summaryLines } from '../common/admin-view.js';
import { EXIT } from '../common/exit-codes.js';

export interface StatusFlags {
  /** Address of the admin server. */
  admin?: string;
  json?: boolean;
}

/** @returns the exit code: 1 if the broker is running but not ready */
export async function status(flags: StatusFlags): Promise<number> {
  const client = new AdminClient(flags.admin);
  const stats = await client.get<BrokerStats>('/api/stats');
  // A broker that is starting has no statistics yet.
  const readiness = stats?.readiness ?? (await client.readiness());
  const lines = stats === undefined ? [readinessLine(readiness)] : summaryLines(stats);
  process.stdout.write(
    `${flags.json ? JSON.stringify(stats ?? readiness, undefined, 2) : lines.join('\n')}\n`,
  );
  return readiness.ready ? EXIT.OK : EXIT.FAILURE;
}
