// Resolves the connection of a client command from flags and environment variables, which the broker has as well.

import { InvalidArgumentError } from 'commander';
import type { ClientOptions } from '../../client/client-options.js';
import { resolveOptions } from '../../config/config.js';
import {
  mergeOptions,
  OPTION_SPECS,
  type OptionSpec,
  optionsFromEnvironment,
  setOption,
} from '../../config/sources.js';
import { readConfiguration, readText } from '../../config/text-file.js';
import type { PeerRole } from '../../messages/messages.js';
import { withoutGiven } from './broker-options.js';
import type { ConnectFlags } from './flags.js';
import { warn } from './output.js';

const CONNECT_OPTIONS = OPTION_SPECS.filter(({ name }) => ['socketPath', 'host', 'port'].includes(name));

/** Shown to the people who operate the broker. */
const NAME = 'sluice';

/**
 * @param defaultRole the role without `--role`. If omitted and no token is set, no `hello` is sent.
 * @throws SluiceError `INVALID_OPTION`; InvalidArgumentError if flags need others
 */
export function resolveConnection(flags: ConnectFlags, defaultRole?: PeerRole): ClientOptions {
  const fromFlags: Record<string, unknown> = {};
  const given: OptionSpec[] = [];
  for (const spec of CONNECT_OPTIONS) {
    const text = flags[spec.flag.slice(2) as 'socket' | 'host' | 'port'];
    if (text === undefined) continue;
    setOption(fromFlags, spec, text, spec.flag);
    given.push(spec);
  }
  const environment = optionsFromEnvironment(process.env, withoutGiven(CONNECT_OPTIONS, given), warn);
  const options = resolveOptions(mergeOptions(environment, fromFlags));
  if (flags.host !== undefined && options.port === undefined) {
    throw new InvalidArgumentError('--host: needs --port');
  }
  const token = process.env.SLUICE_TOKEN;
  const role = flags.role ?? defaultRole ?? (token ? 'crawler' : undefined);
  const hello = role && { hello: { role, name: NAME, ...(token ? { token } : {}) } };
  const tls = tlsOf(flags);
  if (tls !== undefined && options.port === undefined) throw new InvalidArgumentError('--tls: needs --port');
  return options.socketPath === undefined
    ? { host: options.host, port: options.port ?? 0, tls, ...hello }
    : { socketPath: options.socketPath, ...hello };
}

function tlsOf({ tls, tlsCa, tlsCert, tlsKey }: ConnectFlags): ClientOptions['tls'] {
  if (tls !== true && tlsCa === undefined && tlsCert === undefined && tlsKey === undefined) return undefined;
  return { ca: readPem(tlsCa), cert: readPem(tlsCert), key: readPem(tlsKey) };
}

/** @throws SluiceError `CONFIG_UNREADABLE` */
function readPem(path: string | undefined): string | undefined {
  return path === undefined ? undefined : readConfiguration(path, () => readText(path));
}

/**
 * Resolves how the publishers of a command connect if its `--role` and SLUICE_TOKEN are for its subscribers: as
 * crawlers, with the token SLUICE_CRAWLER_TOKEN if it is set.
 * @throws SluiceError `INVALID_OPTION`; InvalidArgumentError if flags need others
 */
export function resolvePublisher(flags: ConnectFlags): ClientOptions {
  const { hello: _, ...address } = resolveConnection(flags);
  const token = process.env.SLUICE_CRAWLER_TOKEN;
  return token ? { ...address, hello: { role: 'crawler', token } } : address;
}
