// The admin interface: its own server, or handlers in the application's server. Both are loaded on demand, since
// prom-client and the dashboard cost memory and startup time.

import type { AdminHandler } from '../admin/admin-handler.js';
import type { AdminServer, AdminServerEvents } from '../admin/admin-server.js';
import type { AdminSource } from '../admin/admin-source.js';
import type { ServerAddress } from '../connection/server-events.js';
import { importInstalled } from '../installed.js';
import type { Peer } from '../protocol/peer.js';
import type { RejectedMessage } from '../protocol/rejected-message.js';
import { createDashboardHandler, type DashboardHandler, type DashboardOptions } from './dashboard-handler.js';

export class AdminEndpoints {
  readonly #source: AdminSource;
  /** File descriptor of an inherited socket. */
  readonly #fd: number | undefined;
  readonly #events: AdminServerEvents;
  #server: AdminServer | undefined;
  #handler: AdminHandler | undefined;
  #loading: Promise<AdminHandler> | undefined;
  #hasHandlers = false;

  /** @param fd of an inherited listening socket. If `undefined`, the option `admin` says where to listen. */
  constructor(source: AdminSource, fd: number | undefined, events: AdminServerEvents) {
    this.#source = source;
    this.#fd = fd;
    this.#events = events;
  }

  /** Where the admin server listens, if it does. */
  get address(): ServerAddress | undefined {
    return this.#server?.address;
  }

  /** Whether anybody may see what is recorded. */
  get isOpen(): boolean {
    return this.#handler !== undefined;
  }

  recordRejection(rejection: RejectedMessage<Peer>): void {
    this.#handler?.recordRejection(rejection);
  }

  /**
   * A handler for a server of the application.
   * @throws SluiceError `INVALID_OPTION` if the prefix is not a path
   */
  createHandler(options: DashboardOptions): DashboardHandler {
    const handler = createDashboardHandler(() => this.#loading, options);
    this.#hasHandlers = true;
    // Its requests report the error.
    if (this.#source.status().state !== 'stopped') this.#load().catch(() => {});
    return handler;
  }

  /** Opens what is wanted. @returns whether the admin server listens now */
  async open(): Promise<boolean> {
    const { options } = this.#source;
    const target = this.#fd === undefined ? options.admin : { fd: this.#fd };
    if (target === undefined && !this.#hasHandlers) return false;
    const handler = await this.#load();
    if (target === undefined) return false;
    const { AdminServer } =
      await importInstalled<typeof import('../admin/admin-server.js')>('admin/admin-server.js');
    this.#server = new AdminServer(handler, options, target, this.#events);
    await this.#server.start();
    return true;
  }

  async close(): Promise<void> {
    const handler = await this.#loading?.catch(() => undefined);
    this.#loading = undefined;
    this.#handler = undefined;
    handler?.stop();
    await this.#server?.stop();
    this.#server = undefined;
  }

  #load(): Promise<AdminHandler> {
    this.#loading ??= this.#loadHandler();
    return this.#loading;
  }

  async #loadHandler(): Promise<AdminHandler> {
    const { AdminHandler } =
      await importInstalled<typeof import('../admin/admin-handler.js')>('admin/admin-handler.js');
    const handler = new AdminHandler(this.#source, this.#events.onError);
    handler.start();
    this.#handler = handler;
    return handler;
  }
}
