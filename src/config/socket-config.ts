// The configuration that a program gets by importing it: defaults, changed by SOCKET_… in the environment.

import { type ResolvedOptions, resolveOptions } from './config.js';
import { optionsFromEnvironment } from './sources.js';

/**
 * The options with every default filled in and `SOCKET_…` environment variables applied, frozen.
 * Pass it to `new SocketManager`, as it is or spread with changes.
 * @throws SluiceError `INVALID_OPTION` at import, when the environment holds a bad value
 */
export const SOCKET_CONFIG: ResolvedOptions = resolveOptions(optionsFromEnvironment(process.env));
