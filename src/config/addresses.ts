// Addresses as users write them: `host:port`, `:port`, or the path of a Unix socket; URLs of NATS servers.

import { BlockList, isIP } from 'node:net';
import { fitsSocketPath, MAX_SOCKET_PATH } from './defaults.js';

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
/** Also matches IPv4-mapped addresses. */
const LOOPBACK_ADDRESSES = new BlockList();
LOOPBACK_ADDRESSES.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK_ADDRESSES.addAddress('::1', 'ipv6');
const HOST_AND_PORT = /^(?:\[([0-9a-f:.]+)\]|([\w.-]*)):(\d{1,5})$/i;

/** A description of what is wrong with an address; `undefined` if it is valid. */
export function adminAddressFault(text: string): string | undefined {
  const address = parseAdminAddress(text);
  if (address === undefined) {
    const hint = text.includes('://') ? ', not a URL' : '';
    return `must be host:port, :port or the path of a Unix socket, such as ./admin.sock${hint}`;
  }
  if (!('path' in address) || fitsSocketPath(address.path)) return undefined;
  return `must be at most ${MAX_SOCKET_PATH} bytes long if it is a path`;
}

/**
 * Parses an address. The host defaults to the loopback interface. Text with a `/` is a path, unless it is a URL, and so is a
 * name that ends with `.sock`.
 * @returns `undefined` if the text is neither an address nor a path
 */
export function parseAdminAddress(text: string): AdminAddress | undefined {
  if (text.includes('://')) return undefined;
  if (text.includes('/') || text.endsWith('.sock')) return { path: text };
  const [, bracketed, name, port] = HOST_AND_PORT.exec(text) ?? [];
  if (port === undefined || Number(port) > 65_535) return undefined;
  return { host: bracketed || name || LOOPBACK, port: Number(port) };
}

/**
 * Whether a host, without the brackets of an IPv6 address, is the loopback interface: `localhost` in any case and with
 * or without the final dot, `127.0.0.0/8`, `::1` in any notation, and these as IPv4-mapped IPv6 addresses.
 */
export function isLoopback(host: string): boolean {
  const family = isIP(host);
  if (family === 0) return /^localhost\.?$/i.test(host);
  return LOOPBACK_ADDRESSES.check(host, family === 4 ? 'ipv4' : 'ipv6');
}

/** Whether text is the address of a NATS server. Without credentials: other users can read command lines. */
export function isEngineAddress(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['nats:', 'tls:'].includes(url.protocol)) return false;
  return url.hostname !== '' && url.username === '' && url.password === '' && url.pathname.length <= 1;
}

/** The host in the address of a NATS server, without the brackets of an IPv6 address. */
export function engineHost(address: string): string {
  return new URL(address).hostname.replace(/^\[(.*)\]$/, '$1');
}

/** The URL of an admin server for a browser on this machine; `undefined` for a Unix socket, which no browser opens. */
export function adminUrl(text: string): string | undefined {
  const address = parseAdminAddress(text);
  if (address === undefined || 'path' in address) return undefined;
  // Wildcard addresses can be listened on, but not opened everywhere.
  const host = address.host === '0.0.0.0' ? LOOPBACK : address.host === '::' ? '::1' : address.host;
  return `http://${formatAdminAddress({ host, port: address.port })}/`;
}

/**
 * How to open an admin server: the URL of its dashboard, or a command line for a Unix socket; `undefined` if its address
 * is unknown, as that of an inherited Unix socket.
 */
export function howToOpenAdmin(text: string): string | undefined {
  const address = parseAdminAddress(text);
  if (address === undefined || !('path' in address)) return adminUrl(text);
  return `curl --unix-socket ${shellWord(text)} http://localhost/api/stats`;
}

/** Quotes text for a shell, if necessary. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Formats an address; the inverse of {@link parseAdminAddress}. */
export function formatAdminAddress(address: AdminAddress): string {
  if ('path' in address) return address.path;
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}
