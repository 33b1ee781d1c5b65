// Asks a broker's admin server: over TCP, or over a Unix socket.

import { request } from 'node:http';
import type { Readiness } from '../../admin/readiness.js';
import { adminAddressFault, DEFAULT_ADMIN_ADDRESS, parseAdminAddress } from '../../config/addresses.js';
import { describeError, SluiceError } from '../../errors.js';

/** ms that the admin server may take to answer. */
const TIMEOUT = 10_000;

export class AdminClient {
  /** As the user wrote it. */
  readonly address: string;
  readonly #target: { readonly socketPath: string } | { readonly host: string; readonly port: number };

  /**
   * @param address `host:port`, `:port` or a path; default: SOCKET_ADMIN, then 127.0.0.1:9464
   * @throws SluiceError `INVALID_OPTION`
   */
  constructor(address = process.env.SOCKET_ADMIN || DEFAULT_ADMIN_ADDRESS) {
    const parsed = parseAdminAddress(address);
    const fault = adminAddressFault(address);
    if (parsed === undefined || fault !== undefined) {
      throw new SluiceError('INVALID_OPTION', `--admin: ${fault}`);
    }
    this.address = address;
    this.#target = 'path' in parsed ? { socketPath: parsed.path } : parsed;
  }

  /**
   * The JSON at a path; `undefined` while the broker starts and has none yet.
   * @throws SluiceError `CONNECTION_FAILED` when nobody answers there, or something else than this path's answer
   */
  async get<T>(path: string): Promise<T | undefined> {
    const { status, value } = await this.#ask<T>(path);
    return status === 200 ? value : undefined;
  }

  /**
   * Whether the broker takes messages, and why not.
   * @throws as {@link get}
   */
  async readiness(): Promise<Readiness> {
    return (await this.#ask<Readiness>('/readyz')).value;
  }

  async #ask<T>(path: string): Promise<{ status: number; value: T }> {
    try {
      const { status, text } = await this.#send(path);
      if (status !== 200 && status !== 503) throw new Error(`it answers with status ${status}`);
      // The admin server is of this version or says so; its answers are of the types that it has.
      return { status, value: JSON.parse(text) as T };
    } catch (cause) {
      throw new SluiceError('CONNECTION_FAILED', `admin server at ${this.address}: ${describeError(cause)}`, {
        cause,
      });
    }
  }

  #send(path: string): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const sent = request({ ...this.#target, path, timeout: TIMEOUT }, (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString() }),
        );
      });
      sent.on('timeout', () => sent.destroy(new Error('no answer in time')));
      sent.on('error', reject);
      sent.end();
    });
  }
}
