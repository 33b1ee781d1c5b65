// Listen addresses as users write them: `host:port`, `:port`, or the path of a Unix socket.

/** Longest path, in bytes, that fits into `sockaddr_un` on Linux. */
export const MAX_SOCKET_PATH = 107;

/** Whether the path is short enough for the kernel. */
export function fitsSocketPath(path: string): boolean {
  return Buffer.byteLength(path) <= MAX_SOCKET_PATH;
}

/** An address to listen on or to connect to. */
export type AdminAddress =
  | { readonly path: string }
  | {
      /** Without the brackets of an IPv6 address. */
      readonly host: string;
      readonly port: number;
    };

/** The admin server that commands connect to by default. */
export const DEFAULT_ADMIN_ADDRESS = '127.0.0.1:9464';

const LOOPBACK = '127.0.0.1';
const HOST_AND_PORT = /^(?:\[([0-9a-f:.]+)\]|([\w.-]*)):(\d{1,5})$/i;

/** A description of what is wrong with an address; `undefined` if it is valid. */
export function adminAddressFault(text: string): string | undefined {
  const address = parseAdminAddress(text);
  if (address === undefined) {
    const hint = text.includes('://') ? ', not a URL' : '';
    return `must be host:port, :port or the path of a Unix socket${hint}`;
  }
  if (!('path' in address) || fitsSocketPath(address.path)) return undefined;
  return `must be at most ${MAX_SOCKET_PATH} bytes long if it is a path`;
}

/**
 * Parses an address. The host defaults to the loopback interface. Text with a `/` is a path, unless it is a URL.
 * @returns `undefined` if the text is neither an address nor a path
 */
export function parseAdminAddress(text: string): AdminAddress | undefined {
  if (text.includes('://')) return undefined;
  if (text.includes('/')) return { path: text };
  const [, bracketed, name, port] = HOST_AND_PORT.exec(text) ?? [];
  if (port === undefined || Number(port) > 65_535) return undefined;
  return { host: bracketed || name || LOOPBACK, port: Number(port) };
}

/** Whether the host is reachable only from this machine. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

/** Formats an address; the inverse of {@link parseAdminAddress}. */
export function formatAdminAddress(address: AdminAddress): string {
  if ('path' in address) return address.path;
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}
