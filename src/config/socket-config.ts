// The ready-made configuration for programs: the defaults, overridden by SOCKET_… environment variables.

import { type ResolvedOptions, resolveOptions } from './config.js';
import { optionsFromEnvironment } from './sources.js';

/**
 * All options: the defaults, overridden by `SOCKET_…` environment variables. Frozen.
 * Pass it to `new SocketManager`, as it is or spread with changes.
 * @throws SluiceError `INVALID_OPTION` on import if an environment variable has an invalid value
 */
export const SOCKET_CONFIG: ResolvedOptions = resolveOptions(optionsFromEnvironment(process.env));
