// Flags that several commands have, and the notes about them.

import { type Command, InvalidArgumentError, Option } from 'commander';
import { MAX_TIMER } from '../../config/defaults.js';
import { PEER_ROLES } from '../../messages/choices.js';
import type { PeerRole } from '../../messages/messages.js';

/** The connection flags of client commands. The broker's address has the same flags as in `sluice serve`. */
export interface ConnectFlags {
  socket?: string;
  host?: string;
  port?: string;
  role?: PeerRole;
  tls?: boolean;
  tlsCa?: string;
  tlsCert?: string;
  tlsKey?: string;
}

/** @param defaultRole the role without `--role`, for the help */
export function addConnectOptions(command: Command, defaultRole: PeerRole): Command {
  return command
    .option('--socket <path>', 'Unix socket of the broker (env: SLUICE_SOCKET_PATH)')
    .option('--host <address>', 'TCP address of the broker (env: SLUICE_HOST)')
    .option('--port <n>', 'TCP port of the broker (env: SLUICE_PORT)')
    .addOption(
      new Option(
        '--role <role>',
        `role of this peer (default: ${defaultRole}; token, if the broker requires one: env SLUICE_TOKEN)`,
      ).choices(PEER_ROLES),
    );
}

/** The flags of commands that can encrypt their connection. */
export function addTlsOptions(command: Command): Command {
  return command
    .option('--tls', 'encrypt the TCP connection')
    .option('--tls-ca <file>', "PEM file with the authorities of the broker's certificate; implies --tls")
    .option('--tls-cert <file>', 'PEM file with a certificate of this peer; implies --tls')
    .option('--tls-key <file>', 'PEM file with the key of --tls-cert');
}

export const TOKEN_NOTE =
  'If the broker requires a token, set SLUICE_TOKEN: other users could read it on the command line.';

export const CONFIG_FLAG = [
  '--config <file>',
  'JSON file with options; flags and environment variables override it',
] as const;

export const ADMIN_FLAG = [
  '--admin <address>',
  "address of the broker's admin server (env: SLUICE_ADMIN; default: 127.0.0.1:9464)",
] as const;

export const ADMIN_NOTE = 'Needs the admin server of the broker: sluice serve --admin 127.0.0.1:9464.';

/** The longest delay of a Node timer, in whole seconds. */
export const MAX_SECONDS = Math.floor(MAX_TIMER / 1000);

/** A parser of flags whose values are integers from a minimum to a maximum, both included. */
export function atLeast(minimum: number, maximum = Number.POSITIVE_INFINITY): (text: string) => number {
  const range =
    maximum < Number.POSITIVE_INFINITY ? ` from ${minimum} to ${maximum}` : `, ${minimum} or more`;
  return (text) => {
    const value = Number(text);
    if (text.trim() !== '' && Number.isInteger(value) && value >= minimum && value <= maximum) return value;
    throw new InvalidArgumentError(`Expected an integer${range}.`);
  };
}

/** A parser of flags that may be repeated. */
export function collect(value: string, values: string[] = []): string[] {
  return [...values, value];
}

/**
 * Checks that a command was only given flags that its action has: others would have no effect, without a word.
 * @param known names of flags, such as `tlsCa`
 * @throws InvalidArgumentError
 */
export function requireFlagsOf(action: string, flags: object, known: readonly string[]): void {
  const other = Object.keys(flags).find((name) => !known.includes(name));
  if (other === undefined) return;
  const flag = other.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  throw new InvalidArgumentError(`--${flag}: has no effect with ${action}`);
}

/** The names in a comma-separated list; `undefined` if there are none. */
export function typeList(text: string | undefined): string[] | undefined {
  const types = text
    ?.split(',')
    .map((type) => type.trim())
    .filter((type) => type !== '');
  return types?.length === 0 ? undefined : types;
}
