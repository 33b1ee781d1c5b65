// The options of the replaced server, and what Sluice makes of them.

import { readFileSync } from 'node:fs';
import { optionsSchema, type ResolvedOptions, resolveOptions, type SluiceOptions } from '../config/config.js';
import { MAX_TIMER } from '../config/defaults.js';
import {
  OPTION_SPECS,
  type OptionSpec,
  optionsFromEnvironment,
  unknownVariables,
} from '../config/sources.js';
import { describeError } from '../errors.js';
import { requireKnownOptions } from '../known-options.js';

/** The options of the replaced server that have a meaning here. */
const SUPPORTED = [
  'socketPath',
  'host',
  'port',
  'backlog',
  'maxConnections',
  'connectionTimeout',
  'messageBufferSize',
  'maxMessageSize',
  'messageDelimiter',
  'heartbeatInterval',
  'heartbeatTimeout',
  'healthCheckInterval',
  'logLevel',
  'enableMetrics',
  'metricsInterval',
  'cleanupInterval',
] as const satisfies readonly (keyof SluiceOptions)[];

/** The others: they are accepted and have no effect. */
interface OptionsWithoutEffect {
  allowedOrigins?: string[] | undefined;
  messageTimeout?: number | undefined;
  bufferSize?: number | undefined;
  maxConcurrentJobs?: number | undefined;
  jobQueueSize?: number | undefined;
  jobTimeout?: number | undefined;
  retryAttempts?: number | undefined;
  retryDelay?: number | undefined;
  databaseConnectionPool?: number | undefined;
  queryTimeout?: number | undefined;
  transactionTimeout?: number | undefined;
  maxJobAge?: number | undefined;
  maxErrorLogAge?: number | undefined;
}
const WITHOUT_EFFECT = [
  'allowedOrigins',
  'messageTimeout',
  'bufferSize',
  'maxConcurrentJobs',
  'jobQueueSize',
  'jobTimeout',
  'retryAttempts',
  'retryDelay',
  'databaseConnectionPool',
  'queryTimeout',
  'transactionTimeout',
  'maxJobAge',
  'maxErrorLogAge',
] as const satisfies readonly (keyof OptionsWithoutEffect)[];
/** All options, with those that have no effect. */
const KNOWN = {
  ...optionsSchema.shape,
  ...Object.fromEntries(WITHOUT_EFFECT.map((name) => [name, true])),
};

/**
 * The options of the replaced server and those of Sluice; all are optional. Defaults that differ from Sluice's:
 * `maxConnections` 10, `connectionTimeout` 30 s, `heartbeatInterval` 30 s, `heartbeatTimeout` 90 s or three times a
 * longer `heartbeatInterval`, and on Linux `socketMode` by the umask of the process. If both `socketPath` and `port` are
 * set, the path is used.
 */
export interface SocketServerConfig extends SluiceOptions, OptionsWithoutEffect {}

const SECOND = 1000;
const DEFAULTS = { maxConnections: 10, connectionTimeout: 30 * SECOND, heartbeatInterval: 30 * SECOND };
const DEFAULT_HEARTBEAT_TIMEOUT = 90 * SECOND;
/**
 * Crawlers send a heartbeat every 5 s, whatever the server expects. With a shorter interval, a connection would be idle
 * between two of them.
 */
const CRAWLER_HEARTBEAT_INTERVAL = 5 * SECOND;
/** Heartbeat intervals that a derived `heartbeatTimeout` has. */
const TIMEOUT_INTERVALS = 3;
/** The sizes that Sluice allows for its buffers. The replaced server's may be smaller or larger. */
const BUFFER_SIZE = { min: 16 * 1024, max: 16 * 1024 * 1024 };

/** A configuration, resolved. */
export interface ResolvedConfig {
  /** The broker's options. */
  readonly options: ResolvedOptions;
  /** The replaced server's options with their defaults. Contains no tokens. */
  readonly config: SocketServerConfig;
  /** What was changed or has no effect, for the log. */
  readonly warnings: readonly string[];
}

/**
 * Validates a configuration, and fills in the options set in the environment and the defaults. The environment variables
 * of options that are given may have any value.
 * @throws SluiceError `INVALID_OPTION`
 */
export function resolveConfig(given: Partial<SocketServerConfig>): ResolvedConfig {
  requireKnownOptions(given, KNOWN);
  for (const error of unknownVariables(process.env).values()) throw error;
  return resolve(
    given,
    OPTION_SPECS.filter(({ name }) => !isGiven(given, name)),
  );
}

/** Whether a configuration sets an option, or its group. A path takes the place of a port. */
function isGiven(given: Partial<SocketServerConfig>, name: string): boolean {
  const options: Readonly<Record<string, unknown>> = given;
  const [group = ''] = name.split('.');
  return options[group] !== undefined || (name === 'port' && given.socketPath !== undefined);
}

/** @param specs the options to read from the environment */
function resolve(given: Partial<SocketServerConfig>, specs: readonly OptionSpec[]): ResolvedConfig {
  const warnings: string[] = [];
  const unused = WITHOUT_EFFECT.filter((name) => given[name] !== undefined);
  if (unused.length > 0) warnings.push(`options without effect: ${unused.join(', ')}`);
  const environment = optionsFromEnvironment(process.env, specs, (warning) => warnings.push(warning));
  const wanted: SocketServerConfig = { ...DEFAULTS, ...environment, ...withoutUndefined(given) };
  const options: SluiceOptions = Object.fromEntries(
    Object.entries(wanted).filter(([name]) => name in optionsSchema.shape),
  );
  if (options.socketPath !== undefined) delete options.port;
  options.socketMode ??= modeByUmask();
  options.heartbeatTimeout ??= DEFAULT_HEARTBEAT_TIMEOUT;
  const heartbeatInterval = numberOf('heartbeatInterval', options) ?? 0;
  const heartbeatTimeout = numberOf('heartbeatTimeout', options) ?? 0;
  const messageBufferSize = numberOf('messageBufferSize', options);
  if (heartbeatInterval >= 1 && heartbeatInterval < CRAWLER_HEARTBEAT_INTERVAL) {
    options.heartbeatInterval = CRAWLER_HEARTBEAT_INTERVAL;
  }
  const interval = numberOf('heartbeatInterval', options) ?? 0;
  if (heartbeatTimeout >= 1 && heartbeatTimeout <= interval) {
    options.heartbeatTimeout = Math.min(MAX_TIMER, interval * TIMEOUT_INTERVALS);
    if (wanted.heartbeatTimeout !== undefined) {
      warnings.push(`heartbeatTimeout: raised to ${options.heartbeatTimeout}, above heartbeatInterval`);
    }
  }
  if (messageBufferSize !== undefined && messageBufferSize >= 1) {
    options.messageBufferSize = Math.min(Math.max(messageBufferSize, BUFFER_SIZE.min), BUFFER_SIZE.max);
  }
  const resolved = resolveOptions(options);
  return { options: resolved, config: Object.freeze(shownConfig(resolved, wanted)), warnings };
}

/** The replaced server's options: as wanted, or else as resolved. */
function shownConfig(resolved: ResolvedOptions, wanted: SocketServerConfig): SocketServerConfig {
  const names: ReadonlySet<string> = new Set([...SUPPORTED, ...WITHOUT_EFFECT]);
  const { heartbeatTimeout } = resolved;
  const all = { ...resolved, ...withoutUndefined(wanted), heartbeatTimeout };
  return withoutUndefined(Object.fromEntries(Object.entries(all).filter(([name]) => names.has(name))));
}

/** The value of a size or time, which may be given with a unit; `undefined` if it is missing or not valid. */
function numberOf(
  name: 'heartbeatInterval' | 'heartbeatTimeout' | 'messageBufferSize',
  options: SluiceOptions,
): number | undefined {
  const value = options[name];
  return typeof value === 'string' ? optionsSchema.shape[name].safeParse(value).data : value;
}

function withoutUndefined<T extends object>(options: T): T {
  // Safe cast: all options are optional.
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

/** The permissions that a socket file gets from the kernel; `undefined` if they are unknown, as on other systems than Linux. */
function modeByUmask(): string | undefined {
  // Not process.umask(), which changes the umask of the whole process for a moment, and so the files of other threads.
  const umask = /^Umask:\s*([0-7]+)$/m.exec(readStatus())?.[1];
  return umask && (0o777 & ~Number.parseInt(umask, 8)).toString(8).padStart(3, '0');
}

function readStatus(): string {
  try {
    return readFileSync('/proc/self/status', 'utf8');
  } catch {
    // Only Linux has it.
    return '';
  }
}

/**
 * The defaults, overridden by the `SOCKET_…` environment variables that were set when this module was loaded. Frozen.
 * Importing it never fails: it lacks the options whose variables are invalid. For these, `new SocketServer` throws,
 * unless they are given.
 */
export const SOCKET_CONFIG: Readonly<SocketServerConfig> = initialConfig();

function initialConfig(): Readonly<SocketServerConfig> {
  const specs = OPTION_SPECS.filter(({ name }) => (SUPPORTED as readonly string[]).includes(name));
  const valid = specs.filter(isValidInEnvironment);
  const { config } = resolve({}, valid);
  const invalid = specs.filter((spec) => !valid.includes(spec)).map(({ name }) => name);
  return Object.freeze(
    Object.fromEntries(Object.entries(config).filter(([name]) => !invalid.includes(name))),
  );
}

function isValidInEnvironment(spec: OptionSpec): boolean {
  try {
    optionsFromEnvironment(process.env, [spec]);
    return true;
  } catch {
    return false;
  }
}

/** The result of {@link validateCurrentConfig}. */
export interface ConfigValidationResult {
  isValid: boolean;
  errors: string[];
  warnings: string[];
}

/** Holds a configuration that an application changes. Servers do not read it: pass `getCurrentConfig()` to a new one. */
export class ConfigurationManager {
  #current: SocketServerConfig;
  readonly #handlers = new Set<(config: SocketServerConfig) => void>();

  /** @param initial a copy of it is the current configuration */
  constructor(initial: SocketServerConfig) {
    this.#current = { ...initial };
  }

  /** A copy of the current configuration. */
  getCurrentConfig(): SocketServerConfig {
    return { ...this.#current };
  }

  /**
   * Changes options, then calls the functions registered with {@link onConfigUpdate}.
   * @throws SluiceError `INVALID_OPTION`, and the configuration is unchanged; what a registered function throws
   */
  updateConfig(updates: Partial<SocketServerConfig>): void {
    const changed = { ...this.#current, ...updates };
    resolveConfig(changed);
    this.#current = changed;
    for (const handler of this.#handlers) handler(this.getCurrentConfig());
  }

  /** Registers a function that is called after each change. @returns a function that removes it */
  onConfigUpdate(handler: (config: SocketServerConfig) => void): () => void {
    this.#handlers.add(handler);
    return () => this.#handlers.delete(handler);
  }

  /**
   * Applies the `SOCKET_…` environment variables as they are now.
   * @throws SluiceError `INVALID_OPTION`
   */
  reloadFromEnvironment(): void {
    this.updateConfig(optionsFromEnvironment(process.env));
  }
}

/** Starts as {@link SOCKET_CONFIG}. */
export const configManager: ConfigurationManager = new ConfigurationManager(SOCKET_CONFIG);

/** Validates the current configuration of {@link configManager}. Throws nothing. */
export function validateCurrentConfig(): ConfigValidationResult {
  try {
    const { warnings } = resolveConfig(configManager.getCurrentConfig());
    return { isValid: true, errors: [], warnings: [...warnings] };
  } catch (error) {
    return { isValid: false, errors: [describeError(error)], warnings: [] };
  }
}
