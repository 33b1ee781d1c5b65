// The flags that say where a client command finds the broker: the same as the broker's own.

import { type Command, Option } from 'commander';
import { PEER_ROLES } from '../../messages/choices.js';
import type { PeerRole } from '../../messages/messages.js';

export interface ConnectFlags {
  socket?: string;
  host?: string;
  port?: string;
  role?: PeerRole;
}

/** @param defaultRole what the command is without `--role`, where the broker wants to know */
export function addConnectOptions(command: Command, defaultRole: PeerRole): Command {
  return command
    .option('--socket <path>', 'Unix socket of the broker (env: SOCKET_PATH)')
    .option('--host <address>', 'TCP address of the broker (env: SOCKET_HOST)')
    .option('--port <n>', 'TCP port of the broker (env: SOCKET_PORT)')
    .addOption(
      new Option(
        '--role <role>',
        `what to be for the broker (default: ${defaultRole}; token, where it wants one: env SLUICE_TOKEN)`,
      ).choices(PEER_ROLES),
    );
}
