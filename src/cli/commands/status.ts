// `sluice status`: how a broker is, once.

import type { BrokerStats } from '../../admin/snapshot.js';
import { AdminClient } from '../common/admin-client.js';
import { readinessLine, summaryLines } from '../common/admin-view.js';
import { EXIT } from '../common/exit-codes.js';

export interface StatusFlags {
  /** Where the admin server is. */
  admin?: string;
  json?: boolean;
}

/** @returns the exit code: 1 when the broker is there and not ready */
export async function status(flags: StatusFlags): Promise<number> {
  const client = new AdminClient(flags.admin);
  const stats = await client.get<BrokerStats>('/api/stats');
  // One that is starting has no figures yet.
  const readiness = stats?.readiness ?? (await client.readiness());
  const lines = stats === undefined ? [readinessLine(readiness)] : summaryLines(stats);
  process.stdout.write(
    `${flags.json ? JSON.stringify(stats ?? readiness, undefined, 2) : lines.join('\n')}\n`,
  );
  return readiness.ready ? EXIT.OK : EXIT.FAILURE;
}
