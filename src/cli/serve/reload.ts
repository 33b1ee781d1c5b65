// SIGHUP: reloads the options, and applies those that can change while the broker runs.

import type { Logger } from 'pino';
import type { ResolvedOptions } from '../../config/config.js';
import { describeError } from '../../errors.js';
import type { SocketManager } from '../../server/socket-manager.js';

/** Options that take effect on reload; all others need a restart. */
const RELOADABLE: ReadonlySet<string> = new Set(['logLevel', 'auth']);

/**
 * Reloads the options, and the files that they name. What is invalid is logged; then nothing is changed.
 * @param options the options that the broker was started with
 * @param read returns the current options
 */
export function reload(
  manager: SocketManager,
  logger: Logger,
  options: ResolvedOptions,
  read: () => ResolvedOptions,
): void {
  try {
    const fresh = read();
    const changed = changedOptions(options, fresh);
    // Always applied: the contents of files may have changed under the same names.
    manager.reloadAccess(fresh.auth);
    manager.setLogLevel(fresh.logLevel);
    logger.level = fresh.logLevel;
    const needRestart = changed.filter((name) => !RELOADABLE.has(name));
    logger.info({ logLevel: fresh.logLevel, needRestart }, 'options reloaded');
  } catch (error) {
    logger.error({ error: describeError(error) }, 'failed to reload options');
  }
}

/** Names of the options that differ; never their values. */
function changedOptions(before: ResolvedOptions, after: ResolvedOptions): string[] {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof ResolvedOptions>;
  return [...names].filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
}
