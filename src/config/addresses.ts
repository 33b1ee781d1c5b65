// Where a server listens, as people write it: `host:port`, `:port`, or the path of a Unix socket.

/** Longest path that fits `sockaddr_un` on Linux, in bytes. */
export const MAX_SOCKET_PATH = 107;

/** Whether the kernel takes a path of this length. */
export function fitsSocketPath(path: string): boolean {
  return Buffer.byteLength(path) <= MAX_SOCKET_PATH;
}

/** A place to listen at or to connect to. */
export type AdminAddress =
  | { readonly path: string }
  | {
      /** Without the brackets of an IPv6 address. */
      readonly host: string;
      readonly port: number;
    };

/** Where the commands look for an admin server when they are not told. */
export const DEFAULT_ADMIN_ADDRESS = '127.0.0.1:9464';

const LOOPBACK = '127.0.0.1';
const HOST_AND_PORT = /^(?:\[([0-9a-f:.]+)\]|([\w.-]*)):(\d{1,5})$/i;

/** What is wrong with an address, in words; `undefined`: nothing is. */
export function adminAddressFault(text: string): string | undefined {
  const address = parseAdminAddress(text);
  if (address === undefined) {
    const hint = text.includes('://') ? ', and no URL' : '';
    return `must be host:port, :port or the path of a Unix socket${hint}`;
  }
  if (!('path' in address) || fitsSocketPath(address.path)) return undefined;
  return `must be at most ${MAX_SOCKET_PATH} bytes long, where it is a path`;
}

/**
 * Reads an address. Without a host, it is the loopback interface; text with a `/` is a path, unless it is a URL.
 * @returns `undefined` when it is neither
 */
export function parseAdminAddress(text: string): AdminAddress | undefined {
  if (text.includes('://')) return undefined;
  if (text.includes('/')) return { path: text };
  const [, bracketed, name, port] = HOST_AND_PORT.exec(text) ?? [];
  if (port === undefined || Number(port) > 65_535) return undefined;
  return { host: bracketed || name || LOOPBACK, port: Number(port) };
}

/** Whether only this machine can reach the host. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

/** The address as it is written. */
export function formatAdminAddress(address: AdminAddress): string {
  if ('path' in address) return address.path;
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}
