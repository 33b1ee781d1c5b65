// The next step after a failed connection: what to start, or whose permission is missing.

import { readFileSync, statSync } from 'node:fs';
import { shellWord } from '../../config/addresses.js';
import { DEFAULT_SOCKET_PATH } from '../../config/defaults.js';

/** The fields of a system error that the hint depends on. It may come from another process. */
export interface ConnectFault {
  readonly code: string;
  /** Socket path, or IP address. */
  readonly address?: string | undefined;
  readonly port?: number | undefined;
}

/** The server that a command connects to. */
export type ServerKind = 'broker' | 'admin';

/** The system error that an error was caused by, reduced to the fields of {@link ConnectFault}. */
export function connectFaultOf(error: unknown): ConnectFault | undefined {
  const cause: unknown = error instanceof Error ? error.cause : undefined;
  if (typeof cause !== 'object' || cause === null || !('code' in cause)) return undefined;
  const { code, address, port } = cause as Partial<Record<keyof ConnectFault, unknown>>;
  if (typeof code !== 'string') return undefined;
  return {
    code,
    ...(typeof address === 'string' ? { address } : {}),
    ...(typeof port === 'number' ? { port } : {}),
  };
}

/** A line of text; `undefined` if there is nothing to advise. */
export function connectionHint(fault: ConnectFault, server: ServerKind): string | undefined {
  switch (fault.code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
      return server === 'broker'
        ? `Is the broker running? Start it with: ${serveCommand(fault)}`
        : `Is the broker running, with its admin server? Start it with: sluice serve --admin ${adminOf(fault)}`;
    case 'EACCES':
    case 'EPERM':
      return fault.address === undefined ? undefined : permissionHint(fault.address);
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'Is the host name right? It cannot be resolved.';
    default:
      return undefined;
  }
}

function serveCommand({ address, port }: ConnectFault): string {
  if (port !== undefined) {
    return address === undefined || address === '127.0.0.1'
      ? `sluice serve --port ${port}`
      : `sluice serve --host ${address} --port ${port}`;
  }
  return address === undefined || address === DEFAULT_SOCKET_PATH
    ? 'sluice serve'
    : `sluice serve --socket ${shellWord(address)}`;
}

function adminOf({ address = '127.0.0.1', port }: ConnectFault): string {
  if (port === undefined) return shellWord(address);
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Who may open the socket, and who tried to. */
function permissionHint(path: string): string {
  const own = process.geteuid?.() ?? -1;
  const groups = (process.getgroups?.() ?? []).map((id) => named('/etc/group', id));
  const me = `this process has user ${named('/etc/passwd', own)}, groups ${groups.join(', ')}`;
  try {
    const { mode, uid, gid } = statSync(path);
    const permissions = `0${(mode & 0o777).toString(8)}`;
    const owner = `user ${named('/etc/passwd', uid)}, group ${named('/etc/group', gid)}`;
    return `The socket has mode ${permissions}, ${owner}; ${me}.`;
  } catch {
    return `A folder of the path cannot be entered; ${me}.`;
  }
}

/** `1000 (name)`; the number alone if its name is not in the file. */
function named(file: string, id: number): string {
  try {
    const line = readFileSync(file, 'utf8')
      .split('\n')
      .find((text) => text.split(':')[2] === String(id));
    return line === undefined ? String(id) : `${id} (${line.split(':', 1)[0]})`;
  } catch {
    return String(id);
  }
}
