// The public server: lifecycle, events and metrics. The stages are wired in pipeline.ts; this file accepts connections
// and emits events.

import '../async-dispose.js';
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import type { AdminSource, MessageSender } from '../admin/admin-source.js';
import { howToOpenAdmin } from '../config/addresses.js';
import { type ResolvedOptions, resolveOptions, type SluiceOptions } from '../config/config.js';
import { type BrokerLogger, defaultLogger, logOpened, redactingLogger } from '../connection/broker-logger.js';
import { ConnectionPool } from '../connection/connection-pool.js';
import { type HealthIssue, HealthMonitor, type HealthSummary } from '../connection/health-monitor.js';
import { Listeners } from '../connection/listeners.js';
import { messageEvents } from '../connection/message-event.js';
import { Pipeline } from '../connection/pipeline.js';
import type { ServerAddress, ServerEvents, ServerState, ServerStatus } from '../connection/server-events.js';
import { collectMetrics, RateMeter, type ServerMetrics } from '../connection/server-metrics.js';
import { SocketConnection } from '../connection/socket-connection.js';
import { closePartial, closeStalled, pingWaiting } from '../connection/stalled-peers.js';
import { logClosed, WarningLogger } from '../connection/warning-logger.js';
import type { FrameRun } from '../delivery/frame-run.js';
import { describeForLog, SluiceError } from '../errors.js';
import { Feeds } from '../feed/feeds.js';
import { Tails } from '../feed/tail.js';
import { requireKnownOptions } from '../known-options.js';
import { FieldTable } from '../messages/field-paths.js';
import { MessageRegistry } from '../messages/message-registry.js';
import type { OutgoingMessage } from '../messages/messages.js';
import type { Projection } from '../pattern/projection.js';
import { AccessControl } from '../protocol/access.js';
import type { DriftEntry } from '../protocol/drift-report.js';
import { errorLine } from '../protocol/outgoing.js';
import { SafeEmitter } from '../safe-emitter.js';
import { withTimeout } from '../timeout.js';
import { SERVER_VERSION } from '../version.js';
import { AdminEndpoints } from './admin-endpoints.js';
import { BrokerStorage, logUnavailable } from './broker-storage.js';
import type { DashboardHandler, DashboardOptions } from './dashboard-handler.js';
import type { DurableFailure } from './durable-calls.js';
import { type DurableHandler, invalidHandler } from './durable-handler.js';

export interface SocketManagerDependencies {
  /** Default: writes JSON lines to standard error at `logLevel`; drops lines while nobody reads them. */
  logger?: Logger;
  /** Returns how many lines `logger` has dropped, for the metrics. Default: 0, or the count of the default logger. */
  droppedLogLines?: () => number;
  /** File descriptors of inherited listening sockets. Default: listens at the address in the options. */
  listenFds?: readonly number[];
  /** File descriptor of an inherited listening socket for the admin server. Default: the option `admin`. */
  adminFd?: number | undefined;
  /**
   * Whether this thread validates messages, instead of workers. The server then starts at once, but a message that takes
   * long holds it up: for tests. Default: false.
   */
  validatesLocally?: boolean;
}

/** The names of all dependencies. */
export const DEPENDENCIES: Readonly<Record<keyof SocketManagerDependencies, true>> = {
  logger: true,
  droppedLogLines: true,
  listenFds: true,
  adminFd: true,
  validatesLocally: true,
};

export class SocketManager extends SafeEmitter<ServerEvents> {
  readonly options: ResolvedOptions;
  readonly #delimiter: number;
  readonly #openLogger: () => BrokerLogger;
  #openedLogger: BrokerLogger | undefined;
  #openedWarnings: WarningLogger | undefined;
  readonly #listenFds: readonly number[];
  readonly #validatesLocally: boolean;
  readonly #pool: ConnectionPool;
  readonly #health: HealthMonitor<SocketConnection>;
  readonly #idPrefix = randomBytes(3).toString('hex');
  #nextId = 1;
  #state: ServerState = 'stopped';
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #registry: MessageRegistry | undefined;
  /** @internal Fields of handlers and of {@link projectFields}. Those that are added later wait for the next start. */
  readonly fieldTable = new FieldTable();
  readonly #storage: BrokerStorage;
  /** @internal Called when a durable handler has failed. */
  onDurableFailure: (failure: DurableFailure) => void = ({ error }) => this.#onServerError(error);
  /** Types that handlers are registered for. */
  readonly #expectedTypes = new Set<string>();
  #changedOptions: Pick<ResolvedOptions, 'auth'> | undefined;
  #pipeline: Pipeline | undefined;
  #feeds: Feeds | undefined;
  #tails: Tails | undefined;
  readonly #admin: AdminEndpoints;
  #listeners: Listeners | undefined;
  #startedAt: { wall: Date; monotonic: number } | undefined;
  #meter = new RateMeter(0);
  #timers: NodeJS.Timeout[] = [];
  #knownIssues = new Set<string>();

  /**
   * @param options all optional; see SOCKET_CONFIG
   * @throws SluiceError `INVALID_OPTION`
   */
  constructor(options: SluiceOptions | ResolvedOptions = {}, dependencies: SocketManagerDependencies = {}) {
    super();
    requireKnownOptions(dependencies, DEPENDENCIES);
    this.options = resolveOptions(options);
    this.#delimiter = this.options.messageDelimiter.charCodeAt(0);
    const { logger, droppedLogLines = () => 0 } = dependencies;
    this.#openLogger = () =>
      logger === undefined ? defaultLogger(this.options.logLevel) : { logger, droppedLogLines };
    const { listenFd, port, tlsCert } = this.options;
    this.#listenFds = dependencies.listenFds ?? (listenFd === undefined ? [] : [listenFd]);
    if (tlsCert !== undefined && port === undefined && this.#listenFds.length === 0)
      throw new SluiceError('INVALID_OPTION', 'tlsCert: needs port, since Unix sockets are not encrypted');
    this.#validatesLocally = dependencies.validatesLocally ?? false;
    this.#pool = new ConnectionPool(this.options.maxConnections, {
      encode: (sent) => this.#pipeline?.encode(sent),
      onListenerError: this.#onServerError,
    });
    this.#storage = new BrokerStorage(this.options, this.#validatesLocally, {
      describe: () => ({
        uptime: this.#startedAt === undefined ? 0 : performance.now() - this.#startedAt.monotonic,
        connections: this.#pool.size,
        rate: this.#meter.rates.messagesReceived,
      }),
      onDurableFailure: (failure) => this.onDurableFailure(failure),
      onError: this.#onServerError,
      onWorkerError: (error) => this.#onWorkerError(error),
      onInfo: (details, message) => this.#logger.info(details, message),
      onWarning: (details, message) => this.#logger.warn(details, message),
    });
    this.#admin = new AdminEndpoints(this.#adminSource(), dependencies.adminFd, {
      onError: this.#onServerError,
      onRestored: this.#onRestored,
      onDropped: () =>
        this.#logger.warn('the admin server has too many connections, and closes further ones'),
    });
    this.#pool.on('connection_added', (event) => {
      logOpened(this.#logger, event.connection);
      this.emitSafely('connection_added', event);
    });
    this.#pool.on('connection_removed', (event) => {
      logClosed(this.#logger, this.#warnings, event.connection, event.reason);
      this.emitSafely('connection_removed', event);
    });
    this.#health = new HealthMonitor(this.options, {
      subjects: () => this.#pool,
      mayBeSilent: (connection) => (this.#pipeline?.subscriptions.countOf(connection) ?? 0) > 0,
      onIdle: (connection) => {
        if (connection.state === 'active') connection.setState('idle');
      },
      onDead: (connection, issue) => this.#closeDead(connection, issue),
    });
    this.#health.subscribe((summary) => this.#reportHealth(summary));
  }

  /**
   * Starts the workers and listens.
   * @throws SluiceError `ALREADY_RUNNING`, `SCHEMA_MODULE_INVALID`, `WORKERS_FAILED`, `ADDRESS_IN_USE`,
   *   `SOCKET_PATH_INVALID`, `LISTEN_FAILED`, `NOT_INSTALLED`
   */
  async start(): Promise<void> {
    if (this.#state !== 'stopped') throw new SluiceError('ALREADY_RUNNING');
    this.#state = 'starting';
    this.#starting = this.#start().catch((error: unknown) => this.#undoStart(error));
    await this.#starting;
    const addresses = this.#listeners?.addresses ?? [];
    for (const address of addresses) {
      this.#logger.info({ address, workers: this.options.workers.threads }, 'listening');
      this.emitSafely('server_listening', { address });
    }
    this.emitSafely('server_started', { address: addresses[0] ?? '' });
  }

  /**
   * Stops accepting connections, delivers accepted messages within `drainTimeout`, and closes everything. Calling it
   * again, or on a stopped server, has no effect.
   * @param reason for the events and the log
   */
  async stop(reason = 'requested'): Promise<void> {
    await this.#starting?.catch(() => {});
    if (this.#state === 'running') this.#stopping = this.#stop(reason);
    await this.#stopping;
  }

  /** Stops at the end of the block, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  getConnectionPool(): ConnectionPool {
    return this.#pool;
  }

  getStatus(): ServerStatus {
    return {
      state: this.#state,
      address: this.#listeners?.addresses[0],
      isReachable: this.#state === 'running' && (this.#listeners?.isReachable ?? false),
      admin: this.#admin.address,
      version: SERVER_VERSION,
      startedAt: this.#startedAt?.wall,
      uptime: this.#startedAt === undefined ? 0 : performance.now() - this.#startedAt.monotonic,
      connections: this.#pool.size,
      health: this.#health.summary,
    };
  }

  /**
   * Collects the current metrics.
   * @throws SluiceError `NOT_RUNNING`
   */
  getMetrics(): ServerMetrics {
    if (this.#pipeline === undefined) throw new SluiceError('NOT_RUNNING');
    const log = { linesDropped: this.#openedLogger?.droppedLogLines() ?? 0 };
    return collectMetrics(this.#pipeline, this.#pool.statistics, this.#meter.rates, log);
  }

  /**
   * Differences between messages and the contract since the start, the latest seen first: keys, types and values that the
   * schemas do not know, with the crawlers that send them. Messages are sampled; at most 500 entries are kept.
   * @throws SluiceError `NOT_RUNNING`
   */
  getDrift(): DriftEntry[] {
    if (this.#pipeline === undefined) throw new SluiceError('NOT_RUNNING');
    return this.#pipeline.protocol.drift.latest();
  }

  /**
   * Changes the minimum log level from now on; `options.logLevel` keeps its initial value.
   * @throws SluiceError `INVALID_OPTION`
   */
  setLogLevel(level: ResolvedOptions['logLevel']): void {
    this.#logger.level = resolveOptions({ logLevel: level }).logLevel;
  }

  /**
   * Replaces the tokens from now on. Authenticated peers stay connected.
   * @throws SluiceError `INVALID_OPTION`, `CONFIG_UNREADABLE`; the tokens are then unchanged
   */
  setAuth(changed: NonNullable<SluiceOptions['auth']>): void {
    const { auth } = resolveOptions({ auth: changed });
    if (this.#pipeline === undefined) AccessControl.load(auth);
    else this.#pipeline.setAuth(auth);
    this.#changedOptions = { auth };
  }

  /**
   * Reads the files of `tlsCert`, `tlsKey` and `tlsClientCa` again, for connections from now on.
   * @throws SluiceError `CONFIG_UNREADABLE`; the certificates are then unchanged
   */
  reloadCertificates(): void {
    this.#listeners?.rereadCertificates()();
  }

  /**
   * @internal Replaces the tokens and reads the certificates again: both, or neither.
   * @throws SluiceError `INVALID_OPTION`, `CONFIG_UNREADABLE`; nothing is changed then
   */
  reloadAccess(auth: NonNullable<SluiceOptions['auth']>): void {
    const useCertificates = this.#listeners?.rereadCertificates();
    this.setAuth(auth);
    useCertificates?.();
  }

  /**
   * Lets workers deliver fields of messages to this process, so that `event.get` reads them without parsing
   * the message. Call it before {@link start}; fields of registered handlers need no call.
   * @param type a message type, or `*` for all types that crawlers send
   * @param paths such as `jobId` and `data.processed`: at most 16 different ones per type, including those of handlers
   *   and of `*`, of at most 256 characters
   * @throws SluiceError `ALREADY_RUNNING`; `INVALID_OPTION` if there are too many paths, or one is too long
   */
  projectFields(type: string, paths: readonly string[]): void {
    if (this.#state !== 'stopped') throw new SluiceError('ALREADY_RUNNING');
    this.fieldTable.add(type, paths);
  }

  /**
   * Registers a handler of messages in the durable log, before the server starts. It continues where it was: messages
   * that it has not handled yet are not lost when the process ends.
   * @throws SluiceError `ALREADY_RUNNING`; `INVALID_OPTION` if the handler is invalid, its cursor belongs to another one,
   *   or the server has no option `log`, or `fleet` for a handler with scope `fleet`
   */
  registerDurableHandler(handler: DurableHandler): void {
    if (this.#state !== 'stopped') throw new SluiceError('ALREADY_RUNNING');
    if (this.options.log === undefined) throw invalidHandler('needs the option log');
    if (handler.scope === 'fleet' && this.options.fleet === undefined)
      throw invalidHandler('scope: fleet needs the option fleet');
    this.#storage.handlers.add(handler);
    for (const type of handler.types ?? []) if (!type.includes('*')) this.expectType(type);
  }

  /**
   * Answers a web page with a stream of messages (server-sent events), for a route of the application: it decides who may
   * read it. Each update has the latest message of each job, at most one per job and interval. `sluice/feed` reads it.
   * @param request with the query parameters `types`, `jobs`, `crawlers`, `every` and `last`; the stream ends when it is
   *   aborted
   * @returns the stream; status 400 if a parameter is wrong, 503 if there are too many streams
   * @throws SluiceError `NOT_RUNNING`
   */
  feed(request: Request): Response {
    if (this.#feeds === undefined || this.#state !== 'running') throw new SluiceError('NOT_RUNNING');
    return this.#feeds.respond(request);
  }

  /**
   * Serves everything that the admin server does, for a server of the application, which decides who may reach it: with
   * Express, `app.use('/sluice', server.dashboardHandler())`. It may be called before the start.
   * @throws SluiceError `INVALID_OPTION` if the prefix is not a path
   */
  dashboardHandler(options: DashboardOptions = {}): DashboardHandler {
    return this.#admin.createHandler(options);
  }

  /**
   * @internal Sends a message to a crawler of another host. @returns whether it receives it
   * @throws SluiceError `INVALID_MESSAGE`; `SEND_TIMEOUT`, `CONNECTION_CLOSED` if its host does not answer
   */
  async sendToFleet(crawler: string, message: OutgoingMessage): Promise<boolean> {
    return (await this.#pipeline?.sendToFleet(crawler, message)) ?? false;
  }

  /**
   * @internal Sends a message to the crawlers of all other hosts.
   * @throws SluiceError `INVALID_MESSAGE`
   */
  broadcastToFleet(message: OutgoingMessage): void {
    this.#pipeline?.broadcastToFleet(message);
  }

  /** Whether messages can be processed: the server and at least one worker are running, and the durable log works. */
  isHealthy(): boolean {
    const hasWorkers = (this.#pipeline?.dispatcher.statistics.threads ?? 0) > 0;
    return this.#state === 'running' && hasWorkers && (this.#storage.log?.isAvailable ?? true);
  }

  /**
   * @internal Logs a warning, once per type, if crawlers and applications send no messages of this type. Before the
   * types are loaded, this waits until they are.
   */
  expectType(type: string): void {
    if (this.#expectedTypes.has(type)) return;
    this.#expectedTypes.add(type);
    if (this.#registry !== undefined) this.#warnIfUnknown(type, this.#registry);
  }

  #warnIfUnknown(type: string, registry: MessageRegistry): void {
    const direction = registry.get(type)?.direction;
    const isForwarded = direction === undefined && this.options.validation === 'report';
    if (direction === 'crawler' || direction === 'app' || isForwarded) return;
    this.#logger.warn({ type }, 'a handler is registered for a type of which there are no messages');
  }

  /** @internal */
  get logger(): Logger {
    return this.#logger;
  }

  /** Opened on first use, so that the constructor does not fail if the default logger cannot be loaded. */
  get #logger(): Logger {
    if (this.#openedLogger === undefined) {
      const { logger, droppedLogLines } = this.#openLogger();
      this.#openedLogger = { logger: redactingLogger(logger), droppedLogLines };
    }
    return this.#openedLogger.logger;
  }

  get #warnings(): WarningLogger {
    this.#openedWarnings ??= new WarningLogger(this.#logger);
    return this.#openedWarnings;
  }

  async #start(): Promise<void> {
    await this.#openAdmin();
    const registry = await MessageRegistry.load(this.options.schemas);
    if (this.#registry === undefined)
      for (const type of this.#expectedTypes) this.#warnIfUnknown(type, registry);
    this.#registry = registry;
    await this.#storage.open(registry);
    this.#pipeline = this.#createPipeline(registry);
    this.#feeds = this.#createFeeds(registry, this.#pipeline);
    const { subscriptions } = this.#pipeline;
    const filterOf = subscriptions.filterOf.bind(subscriptions);
    this.#tails = new Tails({ registry, filterOf, listen: listenerOf(this.#pipeline) });
    await this.#pipeline.dispatcher.start();
    this.#listeners = new Listeners(this.options, this.#listenFds, {
      onError: this.#onServerError,
      onRestored: this.#onRestored,
      onConnection: (socket) => this.#accept(socket),
      onHandshakeFailure: ({ code }, address) => this.#logger.warn({ code, address }, 'TLS handshake failed'),
    });
    await this.#listeners.open();
    this.#warnIfNotReached();
    this.#storage.handlers.run();
    this.#state = 'running';
    this.#startedAt = { wall: new Date(), monotonic: performance.now() };
    this.#health.start();
    this.#startTimers();
  }

  /** Inherited sockets take the place of the option `port`. */
  #warnIfNotReached(): void {
    const { port } = this.options;
    const isThere = this.#listeners?.addresses.some((address) => address.endsWith(`:${port}`));
    if (this.#listenFds.length === 0 || port === undefined || isThere) return;
    this.#logger.warn({ port }, 'nothing listens on this port: the broker uses inherited sockets');
  }

  readonly #onRestored = (address: ServerAddress): void => {
    this.#logger.info({ address }, 'listening again');
  };

  #createPipeline(registry: MessageRegistry): Pipeline {
    const options = { ...this.options, ...this.#changedOptions };
    const hasListener = (event: 'rejected' | 'presence') =>
      this.listenerCount(event) > 0 || (event === 'rejected' && this.#admin.isOpen);
    const pipeline = new Pipeline(
      options,
      registry,
      this.#pool,
      hasListener,
      this.fieldTable.resolve(registry),
      { log: this.#storage.log, fleet: this.#storage.fleet, validatesLocally: this.#validatesLocally },
    );
    return pipeline
      .on('messages', (connection, run) => this.#emitMessages(registry, pipeline.projection, connection, run))
      .on('rejected', (rejection) => {
        this.#admin.recordRejection(rejection);
        this.emitSafely('rejected', rejection);
      })
      .on('presence', (change) => this.emitSafely('presence', change))
      .on('rejected_count', (...rejected) => this.#warnings.recordRejected(...rejected))
      .on('worker_error', (error) => this.#onWorkerError(error))
      .once('patterns_unavailable', (reason) => this.#logger.warn({ reason }, 'validating without patterns'))
      .on('listener_error', this.#onServerError)
      .on('mismatch', (type) => this.#onServerError(new SluiceError('PATTERN_MISMATCH', type)))
      .on('log_availability', (isAvailable, error) => this.#reportLog(isAvailable, error))
      .on('log_unreadable', (error) => this.#onLogError(error))
      .on('closed', (connection, reason) => this.#pool.remove(connection.id, reason));
  }

  #createFeeds(registry: MessageRegistry, pipeline: Pipeline): Feeds {
    return new Feeds({
      registry,
      delimiter: this.#delimiter,
      log: this.#storage.log,
      filterOf: (data) => pipeline.subscriptions.filterOf(data),
      lastMessages: (...request) => pipeline.lastMessages(...request),
      listen: listenerOf(pipeline),
      onError: (error) => this.#onLogError(error),
    });
  }

  /** Cleans up after a failed start, so that the server can be started again. */
  async #undoStart(error: unknown): Promise<never> {
    await this.#listeners?.close();
    this.#listeners = undefined;
    await this.#admin.close();
    await this.#pipeline?.dispatcher.close();
    this.#pipeline = undefined;
    await this.#storage.handlers.stop(0);
    await this.#storage.close();
    this.#state = 'stopped';
    throw error;
  }

  /** @param error why the disk has failed, if known */
  #reportLog(isAvailable: boolean, error: unknown): void {
    if (isAvailable) this.#logger.info('the disk of the durable log works again');
    else this.#onLogError(error);
  }

  #onLogError(error: unknown): void {
    this.#onServerError(logUnavailable(error));
  }

  /** Opens before everything else, so that `/readyz` can report that the broker is starting. */
  async #openAdmin(): Promise<void> {
    if (!(await this.#admin.open())) return;
    const { address = '' } = this.#admin;
    this.#logger.info({ admin: address, open: howToOpenAdmin(address) }, 'admin server is up');
  }

  #adminSource(): AdminSource {
    return {
      options: this.options,
      pool: this.#pool,
      status: () => this.getStatus(),
      metrics: () => (this.#state === 'starting' ? undefined : this.#pipeline && this.getMetrics()),
      registry: () => this.#registry,
      jobs: (query) => this.#pipeline?.jobs(query),
      subscriptionsOf: (connection) => this.#pipeline?.subscriptions.describe(connection) ?? [],
      drift: (count) => this.#pipeline?.protocol.drift.latest(count),
      feeds: () => (this.#state === 'running' ? this.#feeds : undefined),
      tails: () => (this.#state === 'running' ? this.#tails : undefined),
      verifyToken: (token) => this.#pipeline?.access.verifyReader(token) ?? false,
      // Before the start, no token is known.
      verifyAdminToken: (token) =>
        this.#pipeline === undefined ? false : this.#pipeline.access.verifyAdmin(token),
      logAction: (what, connectionId, ids) =>
        this.#logger.info({ who: 'admin', what, connectionId, ids }, 'admin action'),
      openSender: (crawlerId) => this.#openSender(crawlerId),
      isTokenLimitReached: () => this.#pipeline?.access.isFailureLimitReached(performance.now()) ?? false,
    };
  }

  /** Loaded on demand. */
  async #openSender(crawlerId: string | undefined): Promise<MessageSender> {
    const { LoopbackPeer } = await import('./loopback-peer.js');
    const accept = (socket: Socket) => this.#accept(socket, { crawlerId });
    return LoopbackPeer.open(accept, this.#delimiter, this.options.sendTimeout);
  }

  /** @param loopback if the peer is code in this process: it needs no token, and resends messages of this crawler */
  #accept(socket: Socket, loopback?: { readonly crawlerId: string | undefined }): void {
    if (this.#pipeline === undefined || this.#state !== 'running' || !this.#makeRoom(this.#pipeline)) {
      const code = this.#state === 'running' ? 'MAX_CONNECTIONS' : 'SHUTTING_DOWN';
      if (code === 'MAX_CONNECTIONS') this.#pool.reject();
      socket.on('error', () => {});
      // The kernel resets a TCP connection that is closed with unread input, such as a `hello`.
      socket.resume().end(errorLine(code, {}, this.#delimiter), () => setImmediate(() => socket.destroy()));
      this.emitSafely('connection_rejected', { code, connections: this.#pool.size });
      return;
    }
    const connection = new SocketConnection(`${this.#idPrefix}-${this.#nextId++}`, socket, this.#pipeline);
    if (loopback !== undefined) {
      connection.isHelloAccepted = true;
      connection.role = 'relay';
      connection.identity.crawlerId = loopback.crawlerId;
    }
    this.#pipeline.flow.add(connection);
    this.#pool.add(connection);
    this.#pipeline.expectHello(connection);
  }

  /**
   * While reading is paused, the broker does not notice that peers have gone. So that those do not keep others out, who may
   * be needed to end the pause, the oldest connection of which it has processed nothing yet makes room for a new one.
   * @returns whether there is room
   */
  #makeRoom({ flow }: Pipeline): boolean {
    if (!this.#pool.isFull) return true;
    const oldest = flow.isPaused ? this.#pool.oldestReplaceable() : undefined;
    if (oldest === undefined) return false;
    this.#pool.reject();
    oldest.reply(errorLine('MAX_CONNECTIONS', {}, this.#delimiter));
    this.#pool.remove(oldest.id, 'MAX_CONNECTIONS');
    oldest.destroy();
    return true;
  }

  #emitMessages(
    registry: MessageRegistry,
    projection: Projection | undefined,
    connection: SocketConnection,
    run: FrameRun,
  ): void {
    if (this.listenerCount('message') === 0) return;
    for (const event of messageEvents(registry, connection, run, projection))
      this.emitSafely('message', event);
  }

  /** @internal */
  protected override onListenerError(error: unknown): void {
    this.#onServerError(error);
  }

  readonly #onServerError = (error: unknown): void => {
    const code = error instanceof SluiceError ? error.code : undefined;
    this.#logger.error({ code, error: describeForLog(error) }, 'server error');
    try {
      this.emit('server_error', { error });
    } catch (second) {
      this.#logger.error({ error: describeForLog(second) }, 'a listener of server_error failed');
    }
  };

  #onWorkerError(error: unknown): void {
    this.#logger.error({ error: describeForLog(error) }, 'worker failed');
    this.emitSafely('pool_error', { error });
  }

  #closeDead(connection: SocketConnection, issue: HealthIssue): void {
    const { kind, value, limit } = issue;
    this.#warnings.record('connection is dead', connection, kind, () => ({ kind, value, limit }));
    void connection.disconnect(kind);
  }

  #reportHealth(summary: HealthSummary): void {
    const known = new Set<string>();
    for (const issue of summary.issues) {
      const key = `${issue.connectionId} ${issue.kind} ${issue.severity}`;
      known.add(key);
      if (issue.severity === 'info' || this.#knownIssues.has(key)) continue;
      this.#logDropping(issue);
      this.emitSafely('health_warning', issue);
    }
    this.#knownIssues = known;
    this.emitSafely('health_summary', summary);
    if (summary.delay > 0) for (const connection of this.#pool) connection.shiftDeadlines(summary.delay);
    const { stallTimeout, partialMessageTimeout } = this.options;
    closeStalled(this.#pool, stallTimeout, this.#warnings);
    closePartial(this.#pool, partialMessageTimeout, this.#warnings, (connection) => {
      this.#pipeline?.protocol.replyError(connection, 'INVALID_JSON');
    });
    this.#pipeline?.resumeLogReaders();
    pingWaiting(this.#pool, this.#delimiter);
  }

  /** Logs that an overflow policy has begun to drop messages for a peer. */
  #logDropping({ connectionId, kind, value }: HealthIssue): void {
    const connection = kind === 'messages_dropped' ? this.#pool.get(connectionId) : undefined;
    if (connection === undefined) return;
    const { policy } = connection.outbox;
    const about = { dropped: value, policy };
    this.#warnings.record('peer is too slow: messages dropped', connection, policy, () => about);
  }

  #startTimers(): void {
    const { enableMetrics, metricsInterval, cleanupInterval } = this.options;
    this.#timers = [setInterval(() => this.#cleanUp(), cleanupInterval)];
    if (enableMetrics) {
      this.#meter = new RateMeter(performance.now());
      this.#timers.push(setInterval(() => this.#measure(), metricsInterval));
    }
    for (const timer of this.#timers) timer.unref();
  }

  #cleanUp(): void {
    this.#storage.cleanUp();
    this.#pool.cleanup();
    this.#pipeline?.slabs.trim();
    this.#pipeline?.copies.slabs.trim();
  }

  #measure(): void {
    this.#meter.measure(this.getMetrics().totals, performance.now());
    this.#logger.debug({ rates: this.#meter.rates, connections: this.#pool.size }, 'metrics');
  }

  async #stop(reason: string): Promise<void> {
    const pipeline = this.#pipeline as Pipeline;
    this.#state = 'stopping';
    this.#logger.info({ reason }, 'stopping');
    this.emitSafely('server_stopping', { reason });
    this.#health.stop();
    this.#feeds?.close();
    this.#feeds = undefined;
    this.#tails?.close();
    this.#tails = undefined;
    for (const timer of this.#timers) clearInterval(timer);
    const handled = this.#storage.handlers.stop(this.options.drainTimeout);
    await this.#listeners?.close();
    await withTimeout(pipeline.drain(), this.options.drainTimeout, () => {});
    const droppedBefore = pipeline.totals.messagesDropped;
    const unsettledBytes = this.#pool.all().reduce((sum, { lane }) => sum + lane.pendingBytes, 0);
    await Promise.all(this.#pool.all().map((connection) => this.#closeConnection(connection)));
    await pipeline.dispatcher.close();
    await handled;
    await this.#storage.close();
    const undelivered = pipeline.totals.messagesDropped - droppedBefore;
    await this.#admin.close();
    this.#state = 'stopped';
    this.#startedAt = undefined;
    this.#listeners = undefined;
    this.#openedWarnings?.flush();
    this.#logger.info({ reason, undelivered, unsettledBytes }, 'stopped');
    this.emitSafely('server_stopped', { reason, undelivered, unsettledBytes });
  }

  #closeConnection(connection: SocketConnection): Promise<void> {
    const closed = connection.disconnect('SHUTTING_DOWN');
    if (connection.outbox.pendingBytes > 0) connection.destroy('SHUTTING_DOWN');
    return closed;
  }
}

/** A function that calls another one with all forwarded messages, or no longer. */
function listenerOf(pipeline: Pipeline): (onMessages: ((run: FrameRun) => void) | undefined) => void {
  let listener: ((connection: SocketConnection, run: FrameRun) => void) | undefined;
  return (onMessages) => {
    if (listener !== undefined) pipeline.off('messages', listener);
    listener = onMessages && ((_, run) => onMessages(run));
    if (listener !== undefined) pipeline.on('messages', listener);
  };
}
