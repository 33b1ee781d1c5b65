// HTTP client for a broker's admin server, over TCP or a Unix socket.

import { request } from 'node:http';
import type { Readiness } from '../../admin/readiness.js';
import { adminAddressFault, DEFAULT_ADMIN_ADDRESS, parseAdminAddress } from '../../config/addresses.js';
import { describeError, SluiceError } from '../../errors.js';

/** Timeout of a request to the admin server, in ms. */
const TIMEOUT = 10_000;

export class AdminClient {
  /** The address as the user wrote it. */
  readonly address: string;
  readonly #target: { readonly socketPath: string } | { readonly host: string; readonly port: number };

  /**
   * @param address `host:port`, `:port` or a socket path. Default: SLUICE_ADMIN or its older name SOCKET_ADMIN if
   *   set, otherwise 127.0.0.1:9464.
   * @throws SluiceError `INVALID_OPTION`
   */
  constructor(address = process.env.SLUICE_ADMIN || process.env.SOCKET_ADMIN || DEFAULT_ADMIN_ADDRESS) {
    const parsed = parseAdminAddress(address);
    const fault = adminAddressFault(address);
    if (parsed === undefined || fault !== undefined) {
      throw new SluiceError('INVALID_OPTION', `--admin: ${fault}`);
    }
    this.address = address;
    this.#target = 'path' in parsed ? { socketPath: parsed.path } : parsed;
  }

  /**
   * Fetches the JSON at a path. `undefined` while the broker is starting and has none yet.
   * @throws SluiceError `CONNECTION_FAILED` if no server responds, or with an unexpected status or anything but JSON
   */
  async get<T>(path: string): Promise<T | undefined> {
    const { status, value } = await this.#fetch<T>(path);
    return status === 200 ? value : undefined;
  }

  /**
   * Whether the broker is ready to receive messages, and the reason if it is not.
   * @throws as {@link get}
   */
  async readiness(): Promise<Readiness> {
    return (await this.#fetch<Readiness>('/readyz')).value;
  }

  async #fetch<T>(path: string): Promise<{ status: number; value: T }> {
    try {
      const { status, text } = await this.#request(path);
      if (status !== 200 && status !== 503) throw new Error(`unexpected status ${status}`);
      // Not checked: a server that answers with one of these statuses is assumed to be an admin server of this version.
      return { status, value: JSON.parse(text) as T };
    } catch (cause) {
      throw new SluiceError('CONNECTION_FAILED', `admin server at ${this.address}: ${describeError(cause)}`, {
        cause,
      });
    }
  }

  #request(path: string): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const outgoing = request({ ...this.#target, path, timeout: TIMEOUT }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
        );
      });
      outgoing.on('timeout', () => outgoing.destroy(new Error('request timed out')));
      outgoing.on('error', reject);
      outgoing.end();
    });
  }
}
