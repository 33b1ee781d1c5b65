// A SocketManager for web applications: handlers and middleware instead of events, and the state of crawlers and jobs.

import '../async-dispose.js';
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
import { requireKnownOptions } from '../known-options.js';
import type { OutgoingMessage } from '../messages/messages.js';
import { withTimeout } from '../timeout.js';
import type { DashboardHandler, DashboardOptions } from './dashboard-handler.js';
import { type FleetEvents, registerDefaultHandlers } from './default-handlers.js';
import type { DurableHandler } from './durable-handler.js';
import { FailureLogger } from './failure-logger.js';
import { type FleetLimits, FleetState } from './fleet-state.js';
import type { SentMessage } from './handler.js';
import {
  MessageRouter,
  type RouterEvents,
  type RouterOptions,
  type RouterStatistics,
} from './message-router.js';
import { type Middleware, MiddlewareChain, type SendTarget } from './middleware.js';
import { DEPENDENCIES, SocketManager, type SocketManagerDependencies } from './socket-manager.js';

/** Settings of a server in addition to the broker's options. */
export interface SocketServerSettings extends SocketManagerDependencies, RouterOptions, FleetLimits {
  /** Whether to register the default handlers, which update `fleet` and emit {@link FleetEvents}. Default: true. */
  readonly defaultHandlers?: boolean | undefined;
}

const SETTINGS: Readonly<Record<keyof SocketServerSettings, true>> = {
  ...DEPENDENCIES,
  maxConcurrent: true,
  maxQueuedBytes: true,
  maxCrawlers: true,
  maxJobs: true,
  maxFleetBytes: true,
  defaultHandlers: true,
};

/** Events of a server. Its `manager` emits the events of connections. */
export type SocketServerEvents = RouterEvents & FleetEvents;

/** Status of a server. */
export interface SocketServerStatus extends ServerStatus {
  readonly handlers: RouterStatistics;
}

/** The connections of a server and their statistics. */
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
  /** The underlying server: connections, their events, metrics. */
  readonly manager: SocketManager;
  /** The handlers of messages. */
  readonly router: MessageRouter;
  /** Known crawlers and jobs; empty without the default handlers. */
  readonly fleet: FleetState;
  readonly #middleware = new MiddlewareChain();
  readonly #failures = new FailureLogger(() => this.manager.logger);

  /**
   * @param options of the broker; see SOCKET_CONFIG
   * @throws SluiceError `INVALID_OPTION`
   */
  constructor(options: SluiceOptions | ResolvedOptions = {}, settings: SocketServerSettings = {}) {
    super();
    requireKnownOptions(settings, SETTINGS);
    const { defaultHandlers = true, maxConcurrent, maxQueuedBytes, ...others } = settings;
    const { maxCrawlers, maxJobs, maxFleetBytes, ...dependencies } = others;
    this.manager = new SocketManager(options, dependencies);
    const { fieldTable } = this.manager;
    this.router = new MessageRouter(
      { maxConcurrent, maxQueuedBytes },
      this.#middleware,
      (type, fields) => {
        fieldTable.add(type, fields);
        if (type !== '*') this.manager.expectType(type);
      },
      (type, fields) => fieldTable.remove(type, fields),
    );
    const pool = this.manager.getConnectionPool();
    this.fleet = new FleetState({ maxCrawlers, maxJobs, maxFleetBytes }, (id) => pool.getCrawler(id));
    if (defaultHandlers) {
      // Safe cast: the parameter's type checks that name and event match, which the bound function's type does not.
      const emit = (this as EventEmitter).emit.bind(this);
      registerDefaultHandlers(this.router, this.fleet, emit);
    }
    this.manager.onDurableFailure = ({ error, phase, messages }) =>
      this.router.recordError({ error, phase, event: undefined, durable: messages });
    this.router.on('handler_error', (failure) => {
      const listeners = this.listenerCount('handler_error') + this.router.listenerCount('handler_error');
      // One is this function.
      if (listeners === 1 || failure.durable !== undefined) this.#failures.record(failure);
      this.emit('handler_error', failure);
    });
    this.router.onFailedListener = (error) => this.#failures.recordListener(error);
    this.manager.on('message', (event) => this.router.dispatch(event));
    this.manager.on('connection_added', ({ connection }) => {
      connection.beforeEnd = () => this.#withinDrainTimeout(this.router.idleOf(connection));
    });
    this.manager.on('connection_removed', ({ connection }) => this.fleet.recordDisconnect(connection));
  }

  /**
   * Starts the workers and listens.
   * @throws SluiceError `ALREADY_RUNNING`, `SCHEMA_MODULE_INVALID`, `WORKERS_FAILED`, `ADDRESS_IN_USE`,
   *   `SOCKET_PATH_INVALID`, `LISTEN_FAILED`, `NOT_INSTALLED`
   */
  start(): Promise<void> {
    return this.manager.start();
  }

  /**
   * Stops accepting connections and reading, closes all connections, and waits until the handlers have handled what was
   * read, but at most for `drainTimeout`. Replies of these last handlers are not delivered.
   * @param reason for the events and the log
   */
  async stop(reason?: string): Promise<void> {
    await this.manager.stop(reason);
    await this.#withinDrainTimeout(this.router.idle());
    this.#failures.flush();
  }

  /** Stops at the end of the block, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /**
   * Registers a handler of messages in the durable log (option `log`), before the server starts. It continues where it
   * was: messages that it has not handled yet are not lost when the process ends. Middleware does not run for it.
   * @throws SluiceError `ALREADY_RUNNING`; `INVALID_OPTION` if the handler is invalid, its cursor belongs to another one,
   *   or the server has no option `log`, or `fleet` for a handler with scope `fleet`
   */
  registerDurableHandler(handler: DurableHandler): this {
    this.manager.registerDurableHandler(handler);
    return this;
  }

  /** Adds middleware around all handled and sent messages. */
  use(middleware: Middleware): this {
    this.router.use(middleware);
    return this;
  }

  getStatus(): SocketServerStatus {
    return { ...this.manager.getStatus(), handlers: this.router.statistics };
  }

  /** The connections and their statistics. */
  getConnectionStats(): ConnectionStats {
    const pool = this.manager.getConnectionPool();
    const connections = pool.all().map((connection) => {
      const { metadata, state, statistics } = connection;
      return { ...metadata, state, statistics };
    });
    return { pool: pool.statistics, connections };
  }

  /**
   * Sends a message to one crawler. Resolves when its socket has accepted it. In a fleet, the crawler may be on another
   * host: then it resolves when that host has sent it.
   * @param crawlerId the `crawlerId` of the crawler's `hello`, or its connection ID
   * @throws SluiceError `NOT_RUNNING`; `INVALID_MESSAGE`; `NO_RECIPIENT` if the crawler is not connected; `SLOW_CONSUMER`
   *   if more than `maxPendingBytes` are queued for it; `SEND_TIMEOUT` or `CONNECTION_CLOSED` if it has not accepted the
   *   message, which may arrive all the same; errors of `beforeSend`
   */
  sendToCrawler<T extends string>(crawlerId: string, message: SentMessage<T>): Promise<BroadcastResult> {
    return this.#send(message, { kind: 'crawler', crawlerId }, async (outgoing) => {
      const pool = this.manager.getConnectionPool();
      const crawler = pool.getCrawlerByConnection(crawlerId) ?? pool.getCrawler(crawlerId);
      if (crawler !== undefined) await crawler.send(outgoing);
      else if (!(await this.manager.sendToFleet(crawlerId, outgoing))) throw new SluiceError('NO_RECIPIENT');
      return { delivered: 1, failed: [] };
    });
  }

  /**
   * Sends a message to every crawler. Resolves when each socket has accepted it or failed. In a fleet, it is also sent to
   * the crawlers of other hosts, if the engine is connected; the result is about those of this host.
   * @throws SluiceError `NOT_RUNNING`; `INVALID_MESSAGE`; errors of `beforeSend`
   */
  broadcast<T extends string>(message: SentMessage<T>): Promise<BroadcastResult> {
    return this.#send(message, { kind: 'broadcast' }, (outgoing) => {
      this.manager.broadcastToFleet(outgoing);
      return this.manager.getConnectionPool().broadcastToCrawlers(outgoing);
    });
  }

  /**
   * Answers a web page with a stream of messages (server-sent events), for a route of the application.
   * @see SocketManager.feed
   * @throws SluiceError `NOT_RUNNING`
   */
  feed(request: Request): Response {
    return this.manager.feed(request);
  }

  /**
   * Serves the dashboard and everything else of the admin server, for a server of the application.
   * @see SocketManager.dashboardHandler
   * @throws SluiceError `INVALID_OPTION`
   */
  dashboardHandler(options: DashboardOptions = {}): DashboardHandler {
    return this.manager.dashboardHandler(options);
  }

  #withinDrainTimeout(handled: Promise<void>): Promise<void> {
    return withTimeout(handled, this.manager.options.drainTimeout, () => {});
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
