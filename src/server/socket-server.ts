// The drop-in server of a web application: a SocketManager with handlers in place of events, and what is known of
// the crawlers kept at hand.

import { EventEmitter } from 'node:events';
import type { ResolvedOptions, SluiceOptions } from '../config/config.js';
import type { BroadcastResult, PoolStatistics } from '../connection/connection-pool.js';
import type {
  ConnectionMetadata,
  ConnectionState,
  ConnectionStatistics,
} from '../connection/connection-state.js';
import type { ServerStatus } from '../connection/server-events.js';
import { SluiceError } from '../errors.js';
import type { OutgoingMessage } from '../messages/messages.js';
import { type FleetEvents, registerDefaultHandlers } from './default-handlers.js';
import { type FleetLimits, FleetState } from './fleet-state.js';
import type { SentMessage } from './handler.js';
import {
  MessageRouter,
  type RouterEvents,
  type RouterOptions,
  type RouterStatistics,
} from './message-router.js';
import { type Middleware, MiddlewareChain, type SendTarget } from './middleware.js';
import { SocketManager, type SocketManagerDependencies } from './socket-manager.js';

/** Settings of a server beside the broker's own options. */
export interface SocketServerSettings extends SocketManagerDependencies, RouterOptions, FleetLimits {
  /** Whether to register a handler for each message of the crawlers, which keeps `fleet` and emits its events; default true. */
  readonly defaultHandlers?: boolean | undefined;
}

/** Events of a server; those of connections are its `manager`'s. */
export type SocketServerEvents = RouterEvents & FleetEvents;

/** How a server is. */
export interface SocketServerStatus extends ServerStatus {
  readonly handlers: RouterStatistics;
}

/** The connections of a server, each with its figures. */
export interface ConnectionStats {
  readonly pool: PoolStatistics;
  readonly connections: readonly (ConnectionMetadata & {
    readonly state: ConnectionState;
    readonly statistics: ConnectionStatistics;
  })[];
}

/**
 * A server for crawlers in a web application's process.
 *
 * ```ts
 * const server = new SocketServer({ socketPath: '/run/crawlers.sock' });
 * server.router.registerHandler('job_failed', ({ message }) => retryLater(message.jobId));
 * server.on('job_progress', ({ job }) => show(job));
 * await server.start();
 * ```
 */
export class SocketServer extends EventEmitter<SocketServerEvents> {
  /** The server below: connections, their events, metrics. */
  readonly manager: SocketManager;
  /** Who handles which messages. */
  readonly router: MessageRouter;
  /** What is known of crawlers and jobs; empty without the default handlers. */
  readonly fleet: FleetState;
  readonly #middleware = new MiddlewareChain();

  /**
   * @param options the broker's; see SOCKET_CONFIG
   * @throws SluiceError `INVALID_OPTION`
   */
  constructor(options: SluiceOptions | ResolvedOptions = {}, settings: SocketServerSettings = {}) {
    super();
    const { defaultHandlers = true } = settings;
    this.manager = new SocketManager(options, settings);
    this.router = new MessageRouter(settings, this.#middleware);
    this.fleet = new FleetState(settings);
    if (defaultHandlers) {
      // The pair of name and event is checked by the signature; EventEmitter's own type loses it.
      const emit = (this as EventEmitter).emit.bind(this);
      registerDefaultHandlers(this.router, this.fleet, emit);
    }
    this.router.on('handler_error', (failure) => this.emit('handler_error', failure));
    this.manager.on('message', (event) => this.router.dispatch(event));
    this.manager.on('connection_added', ({ connection }) => {
      connection.beforeEnd = () => this.#withinDrainTimeout(this.router.idleOf(connection));
    });
    this.manager.on('connection_removed', ({ connection }) => this.fleet.recordGone(connection));
  }

  /**
   * Starts the workers and listens.
   * @throws SluiceError `ALREADY_RUNNING`, `SCHEMA_MODULE_INVALID`, `WORKERS_FAILED`, `ADDRESS_IN_USE`,
   *   `SOCKET_PATH_INVALID`, `LISTEN_FAILED`
   */
  start(): Promise<void> {
    return this.manager.start();
  }

  /**
   * Stops accepting, takes what was sent, closes all connections, and waits until the handlers are through with it,
   * but no longer than `drainTimeout`. Their replies do not reach anybody any more.
   * @param reason for the events and the log
   */
  async stop(reason?: string): Promise<void> {
    await this.manager.stop(reason);
    await this.#withinDrainTimeout(this.router.idle());
  }

  /** Adds functions around all messages that are handled or sent. */
  use(middleware: Middleware): this {
    this.router.use(middleware);
    return this;
  }

  getStatus(): SocketServerStatus {
    return { ...this.manager.getStatus(), handlers: this.router.statistics };
  }

  /** The connections, each with its figures. */
  getConnectionStats(): ConnectionStats {
    const pool = this.manager.getConnectionPool();
    const connections = pool.all().map((connection) => {
      const { metadata, state, statistics } = connection;
      return { ...metadata, state, statistics };
    });
    return { pool: pool.statistics, connections };
  }

  /**
   * Sends a message to one crawler: to every connection that it has. Resolves when their sockets have taken it.
   * @param crawlerId what the crawler said in `hello`, or the id of its connection
   * @throws SluiceError `NOT_RUNNING`; `INVALID_MESSAGE`; `NO_RECIPIENT` when the crawler is not connected, or none of its
   *   connections has taken the message; what a `beforeSend` throws
   */
  sendToCrawler<T extends string>(crawlerId: string, message: SentMessage<T>): Promise<BroadcastResult> {
    return this.#send(message, { kind: 'crawler', crawlerId }, async (outgoing) => {
      const pool = this.manager.getConnectionPool();
      const where = (one: { id: string; crawlerId: string | undefined; isOpen: boolean }) =>
        one.isOpen && (one.crawlerId === crawlerId || one.id === crawlerId);
      const result = await pool.sendTo({ role: 'crawler', where }, outgoing);
      if (result.delivered === 0) throw new SluiceError('NO_RECIPIENT');
      return result;
    });
  }

  /**
   * Sends a message to every crawler. Resolves when their sockets have taken it, or have not.
   * @throws SluiceError `NOT_RUNNING`; `INVALID_MESSAGE`; what a `beforeSend` throws
   */
  broadcast<T extends string>(message: SentMessage<T>): Promise<BroadcastResult> {
    return this.#send(message, { kind: 'broadcast' }, (outgoing) =>
      this.manager.getConnectionPool().broadcastToCrawlers(outgoing),
    );
  }

  async #withinDrainTimeout(handled: Promise<void>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.manager.options.drainTimeout);
    });
    await Promise.race([handled, late]);
    clearTimeout(timer);
  }

  #send<R>(
    message: OutgoingMessage,
    target: SendTarget,
    deliver: (message: OutgoingMessage) => Promise<R>,
  ): Promise<R> {
    const { state } = this.manager.getStatus();
    if (state === 'stopped' || state === 'starting') return Promise.reject(new SluiceError('NOT_RUNNING'));
    return this.#middleware.send(message, target, deliver, (error) =>
      this.router.recordError({ error, phase: 'afterSend', event: undefined }),
    );
  }
}
