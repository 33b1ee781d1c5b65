// `sluice status`: how a broker is, once.

import type { BrokerStats } from '../admin/snapshot.js';
import { AdminClient } from './admin-client.js';
import { summaryLines } from './admin-view.js';
import { EXIT } from './exit-codes.js';

export interface StatusFlags {
  /** Where the admin server is. */
  admin?: string;
  json?: boolean;
}

/** @returns the exit code: 1 when the broker is there and not ready */
export async function status(flags: StatusFlags): Promise<number> {
  const stats = await new AdminClient(flags.admin).get<BrokerStats>('/api/stats');
  const text = flags.json ? JSON.stringify(stats, undefined, 2) : summaryLines(stats).join('\n');
  process.stdout.write(`${text}\n`);
  return stats.readiness.ready ? EXIT.OK : EXIT.FAILURE;
}
