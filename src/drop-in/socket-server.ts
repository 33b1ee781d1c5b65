// The replaced server, as an adapter of SocketServer: the same methods, with the broker's reading and validation.

import type { Logger } from 'pino';
import { defaultLogger, redactingLogger } from '../connection/broker-logger.js';
import type { MessageEvent } from '../connection/message-event.js';
import type { SocketConnection as BrokerConnection } from '../connection/socket-connection.js';
import { describeError, describeForLog, SluiceError } from '../errors.js';
import { requireKnownOptions } from '../known-options.js';
import { SocketServer as BrokerServer } from '../server/socket-server.js';
import { resolveConfig, type SocketServerConfig } from './config.js';
import { CrawlerConnection } from './connection.js';
import { createDefaultRouter, type MessageRouter } from './message-router.js';
import { CrawlerPool } from './pool.js';
import type { ConnectionPool, CrawlerMessage, WebAppMessage } from './types.js';

/** Settings of a server that are not part of its configuration. */
export interface DropInSettings {
  /** Handles the messages. Default: a new one without handlers, reached as `server.router`. */
  readonly router?: MessageRouter | undefined;
  /** Default: writes JSON lines to standard error at `logLevel`; drops lines while nobody reads them. */
  readonly logger?: Logger | undefined;
}

/** Status of a server. */
export interface ServerStatus {
  isRunning: boolean;
  connections: number;
  activeConnections: number;
  /** ms since the start; 0 if the server is not running. */
  uptime: number;
  /** The replaced server's options, with their defaults. */
  config: SocketServerConfig;
}

/** Numbers of connections. */
export interface ServerConnectionStats {
  total: number;
  active: number;
  idle: number;
  error: number;
}

/** Progress over all jobs. No server computes it; the type exists for code that reads its fields. */
export interface AggregateProgress {
  total_jobs: number;
  active_jobs: number;
  completed_jobs: number;
  failed_jobs: number;
  overall_completion: number;
}

/**
 * A server for crawlers in a web application's process, with the methods of the replaced one.
 *
 * ```ts
 * const server = new SocketServer({ socketPath: '/run/crawlers.sock' });
 * server.router.registerHandler('job_request', new JobRequestHandler());
 * await server.start();
 * ```
 */
export class SocketServer {
  /** The handlers of messages. */
  readonly router: MessageRouter;
  /** The connections and their events. */
  readonly connectionPool: ConnectionPool;
  readonly #config: SocketServerConfig;
  readonly #logger: Logger;
  readonly #broker: BrokerServer;
  readonly #pool: CrawlerPool;
  /** Messages of a connection may be handled after it has left the pool. */
  readonly #connections = new WeakMap<BrokerConnection, CrawlerConnection>();

  /**
   * @param config overrides the `SOCKET_…` environment variables
   * @throws SluiceError `INVALID_OPTION`
   */
  constructor(config: Partial<SocketServerConfig> = {}, settings: DropInSettings = {}) {
    requireKnownOptions(settings, { router: true, logger: true });
    const { router, logger } = settings;
    const resolved = resolveConfig(config);
    const logging = logger === undefined ? defaultLogger(resolved.options.logLevel) : { logger };
    this.#config = resolved.config;
    this.#logger = redactingLogger(logging.logger);
    this.#broker = new BrokerServer(resolved.options, { ...logging, defaultHandlers: false });
    this.router = router ?? createDefaultRouter();
    const { manager } = this.#broker;
    this.router.attach(this.#logger, (type) => manager.expectType(type));
    this.#pool = new CrawlerPool(manager.getConnectionPool(), this.#logger, this.#onListenerError);
    this.connectionPool = this.#pool;
    manager.on('connection_added', ({ connection }) => this.#pool.add(this.#wrap(connection)));
    manager.on('connection_removed', ({ connectionId, reason }) => this.#pool.forget(connectionId, reason));
    manager.on('pool_error', ({ error }) => this.#pool.notify({ type: 'pool_error', error: asError(error) }));
    this.#broker.router.registerHandler('*', (event) => this.#handle(event));
    for (const warning of resolved.warnings) this.#logger.warn(warning);
  }

  /**
   * Starts the workers and listens.
   * @throws SluiceError `ALREADY_RUNNING`, `WORKERS_FAILED`, `ADDRESS_IN_USE`, `SOCKET_PATH_INVALID`, `LISTEN_FAILED`,
   *   `SCHEMA_MODULE_INVALID`
   */
  start(): Promise<void> {
    return this.#broker.start();
  }

  /**
   * Stops accepting connections and reading, handles what was read, and closes all connections. Calling it again, or on
   * a stopped server, has no effect.
   */
  stop(): Promise<void> {
    return this.#broker.stop();
  }

  getStatus(): ServerStatus {
    const { state, uptime } = this.#broker.getStatus();
    return {
      isRunning: state === 'running',
      connections: this.#pool.getConnectionCount(),
      activeConnections: this.#pool.getActiveConnectionCount(),
      uptime: Math.round(uptime),
      config: this.#config,
    };
  }

  getConnectionStats(): ServerConnectionStats {
    const { totalConnections, activeConnections, idleConnections, errorConnections } =
      this.#pool.getPoolStats();
    return {
      total: totalConnections,
      active: activeConnections,
      idle: idleConnections,
      error: errorConnections,
    };
  }

  /**
   * Sends a message to one crawler, on the latest of its active connections.
   * @param crawlerId the crawler's id, or the id of a connection
   * @throws SluiceError `NOT_RUNNING`; `NO_RECIPIENT` if there is no such active connection; errors of `connection.send`
   */
  async sendToCrawler(crawlerId: string, message: WebAppMessage): Promise<void> {
    this.#requireRunning();
    const [connection] = this.#pool.activeOf([crawlerId]);
    if (connection === undefined) throw new SluiceError('NO_RECIPIENT');
    await connection.send(message);
  }

  /**
   * Sends a message to the active connections. Resolves when each socket has accepted it or failed; failures are logged.
   * @throws SluiceError `NOT_RUNNING`, `INVALID_MESSAGE`
   */
  async broadcast(message: WebAppMessage): Promise<void> {
    this.#requireRunning();
    await this.#pool.broadcastToActive(message);
  }

  /** Always null, as in the replaced server. */
  getAggregateProgress(): AggregateProgress | null {
    return null;
  }

  #requireRunning(): void {
    const { state } = this.#broker.getStatus();
    if (state === 'stopped' || state === 'starting') throw new SluiceError('NOT_RUNNING');
  }

  #wrap(broker: BrokerConnection): CrawlerConnection {
    const connection = new CrawlerConnection(broker, this.#onListenerError);
    this.#connections.set(broker, connection);
    return connection;
  }

  async #handle(event: MessageEvent): Promise<void> {
    const { connection: broker } = event;
    const connection = this.#connections.get(broker);
    // Applications that connect to the socket send messages to crawlers, not to the handlers.
    const isReport = broker.role === 'crawler' || broker.role === 'relay';
    if (connection === undefined || !isReport) return;
    // With `validation: "report"`, messages may break their schema, as in the replaced server, whose handlers get none of
    // these. Peers may also make up types, which the router would log.
    if (!event.isValid && (event.hasSchema || this.router.getHandlerCount(event.type) === 0)) return;
    // A worker has validated the message. Those of other types have handlers that know them; they read the type first.
    const message = event.message as CrawlerMessage;
    connection.receive(message);
    const startedAt = performance.now();
    await this.router.processMessage(message, connection);
    this.#pool.recordHandled();
    connection.recordHandled(performance.now() - startedAt);
  }

  readonly #onListenerError = (error: unknown): void => {
    this.#logger.error({ error: describeForLog(error) }, 'a listener of an event failed');
  };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(describeError(error));
}
