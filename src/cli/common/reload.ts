// SIGHUP: reads the options again, and applies those that a running broker can change.

import type { Logger } from 'pino';
import type { ResolvedOptions } from '../../config/config.js';
import { describeError } from '../../errors.js';
import type { SocketManager } from '../../server/socket-manager.js';

/** Options that take effect at once; all others need a restart. */
const AT_RUN_TIME: ReadonlySet<string> = new Set(['logLevel', 'auth']);

/**
 * Reads the options again. Bad ones change nothing, and are logged.
 * @param options those that the broker was started with
 * @param read reads them anew
 */
export function reload(
  manager: SocketManager,
  log: Logger,
  options: ResolvedOptions,
  read: () => ResolvedOptions,
): void {
  try {
    const fresh = read();
    const changed = changedOptions(options, fresh);
    // The file with the tokens may be another one under the same name.
    manager.setAuth(fresh.auth);
    manager.setLogLevel(fresh.logLevel);
    log.level = fresh.logLevel;
    const needRestart = changed.filter((name) => !AT_RUN_TIME.has(name));
    log.info({ logLevel: fresh.logLevel, needRestart }, 'options are read again');
  } catch (error) {
    log.error({ error: describeError(error) }, 'options cannot be read again');
  }
}

/** Names of the options that differ; never their values. */
function changedOptions(before: ResolvedOptions, after: ResolvedOptions): string[] {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof ResolvedOptions>;
  return [...names].filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
}
