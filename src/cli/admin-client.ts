// Asks a broker's admin server: over TCP, or over a Unix socket.

import { request } from 'node:http';
import { DEFAULT_ADMIN_ADDRESS, parseAdminAddress } from '../admin/admin-address.js';
import { describeError, SluiceError } from '../errors.js';

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
    if (parsed === undefined) {
      throw new SluiceError(
        'INVALID_OPTION',
        '--admin: must be host:port, :port or the path of a Unix socket',
      );
    }
    this.address = address;
    this.#target = 'path' in parsed ? { socketPath: parsed.path } : parsed;
  }

  /**
   * The JSON at a path.
   * @throws SluiceError `CONNECTION_FAILED` when nobody answers there, or something else than this path's answer
   */
  async get<T>(path: string): Promise<T> {
    try {
      // The admin server is of this version or says so; its answers are of the types that it has.
      return JSON.parse(await this.#text(path)) as T;
    } catch (cause) {
      throw new SluiceError('CONNECTION_FAILED', `admin server at ${this.address}: ${describeError(cause)}`, {
        cause,
      });
    }
  }

  #text(path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const sent = request({ ...this.#target, path, timeout: TIMEOUT }, (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('error', reject);
        response.on('end', () => {
          if (response.statusCode === 200) resolve(Buffer.concat(parts).toString());
          else reject(new Error(`it answers with status ${response.statusCode}`));
        });
      });
      sent.on('timeout', () => sent.destroy(new Error('no answer in time')));
      sent.on('error', reject);
      sent.end();
    });
  }
}
