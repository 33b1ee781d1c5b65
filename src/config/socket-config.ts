// The ready-made configuration for programs: the defaults, overridden by environment variables.

import { SluiceError } from '../errors.js';
import { optionsSchema, type ResolvedOptions } from './config.js';
import { DEFAULT_SOCKET_PATH } from './defaults.js';
import {
  findVariable,
  type NestedOptions,
  OPTION_SPECS,
  setOption,
  storeOption,
  unknownVariables,
} from './sources.js';

/**
 * All options: the defaults, overridden by `SLUICE_…` environment variables. Frozen. Pass it to `new SocketManager`, as
 * it is or spread with changes.
 *
 * Importing it never fails: in place of the value of an invalid variable, it has the error `INVALID_OPTION` that
 * `new SocketManager` then throws, unless the option is changed.
 */
export const SOCKET_CONFIG: ResolvedOptions = socketConfig(process.env);

function socketConfig(environment: NodeJS.ProcessEnv): ResolvedOptions {
  const options = optionsSchema.parse({});
  // Every value is that of the schema or an error.
  const values = options as NestedOptions;
  for (const spec of OPTION_SPECS) {
    const variable = findVariable(environment, spec, (warning) => process.emitWarning(`sluice: ${warning}`));
    if (variable === undefined) continue;
    try {
      setOption(values, spec, environment[variable] ?? '', variable);
    } catch (error) {
      storeOption(values, spec, error);
    }
  }
  for (const [variable, error] of unknownVariables(environment)) values[variable] = error;
  const { socketPath, port, listenFd } = options;
  if (socketPath !== undefined && port !== undefined) {
    values.port = new SluiceError('INVALID_OPTION', 'port: cannot be combined with socketPath');
  }
  if (socketPath === undefined && port === undefined && listenFd === undefined) {
    options.socketPath = DEFAULT_SOCKET_PATH;
  }
  Object.freeze(options.workers);
  Object.freeze(options.auth);
  return Object.freeze(options);
}
