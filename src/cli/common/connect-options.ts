// The connection flags of client commands. The broker's address has the same flags as in `sluice serve`.

import { type Command, Option } from 'commander';
import { PEER_ROLES } from '../../messages/choices.js';
import type { PeerRole } from '../../messages/messages.js';

export interface ConnectFlags {
  socket?: string;
  host?: string;
  port?: string;
  role?: PeerRole;
}

/** @param defaultRole the role without `--role`, for the help */
export function addConnectOptions(command: Command, defaultRole: PeerRole): Command {
  return command
    .option('--socket <path>', 'Unix socket of the broker (env: SOCKET_PATH)')
    .option('--host <address>', 'TCP address of the broker (env: SOCKET_HOST)')
    .option('--port <n>', 'TCP port of the broker (env: SOCKET_PORT)')
    .addOption(
      new Option(
        '--role <role>',
        `role of this peer (default: ${defaultRole}; token, if the broker requires one: env SLUICE_TOKEN)`,
      ).choices(PEER_ROLES),
    );
}
