// Connects the stages that a message passes through: received ranges go to the dispatcher, verdicts to the protocol
// handler, forwarded messages to the subscribers, and backpressure all the way back.
//
//   SocketConnection ─▶ MessageBuffer ─▶ Dispatcher ═▶ worker
//                                            │ verdict, in order
//        subscribers ◀─ Outbox ◀─ Subscriptions ◀─ ProtocolHandler

import { EventEmitter } from 'node:events';
import type { ResolvedOptions } from '../config/config.js';
import type { FrameRun } from '../delivery/frame-run.js';
import { Gatherer } from '../delivery/gatherer.js';
import type { Assignee, Piece, QueueMemory } from '../delivery/outbox.js';
import { Dispatcher } from '../dispatch/dispatcher.js';
import type { Chunk } from '../dispatch/lane.js';
import type { RejectedFrame } from '../dispatch/verdict.js';
import type { WireErrorCode } from '../errors.js';
import type { Fleet } from '../fleet/fleet.js';
import { type MessageLog, type MessageLogListener, NEVER } from '../log/message-log.js';
import { copyBytes } from '../memory/copy-bytes.js';
import { CopyPool } from '../memory/copy-pool.js';
import type { FrameRange } from '../memory/slab-pool.js';
import { SlabPool } from '../memory/slab-pool.js';
import type { FieldPaths } from '../messages/field-paths.js';
import { type JobSeed, jobKey, randomJobSeed } from '../messages/job-key.js';
import type { MessageDirection, MessageRegistry } from '../messages/message-registry.js';
import { assignedJobIds, NO_TRAITS } from '../messages/message-traits.js';
import { MAX_CONTROL_BYTES, type OutgoingMessage } from '../messages/messages.js';
import { createProjection, type Projection } from '../pattern/projection.js';
import { AccessControl } from '../protocol/access.js';
import { MessageValidator } from '../protocol/message-validator.js';
import { encodeMessage, errorLine } from '../protocol/outgoing.js';
import type { Peer } from '../protocol/peer.js';
import type { PresenceChange } from '../protocol/presence.js';
import { ProtocolHandler } from '../protocol/protocol-handler.js';
import type { RejectedMessage } from '../protocol/rejected-message.js';
import { CrawlerRouter } from '../routing/crawler-router.js';
import type { Filter } from '../routing/filter.js';
import { type JobList, JobLister, type JobQuery } from '../routing/job-list.js';
import { type LastMessages, LastValues } from '../routing/last-values.js';
import { Subscriptions } from '../routing/subscriptions.js';
import { withTimeout } from '../timeout.js';
import { compileModules, parserSettings } from '../worker/create-parser.js';
import { createInlineValidation } from '../worker/inline-validation.js';
import { createLocalValidation } from '../worker/local-validation.js';
import type { ConnectionPool } from './connection-pool.js';
import type { ConnectionOptions, ConnectionState, DropCause, PipelineTotals } from './connection-state.js';
import { publishRejected, publishWorkerFailed } from './diagnostics.js';
import { FlowControl } from './flow-control.js';
import { LatencyHistogram } from './latency-histogram.js';
import { PartialBudget } from './partial-budget.js';
import type { SocketConnection } from './socket-connection.js';

/** @internal */
export interface PipelineEvents {
  /** Messages were forwarded. */
  messages: [connection: SocketConnection, run: FrameRun];
  rejected: [rejection: RejectedMessage<SocketConnection>];
  presence: [change: PresenceChange<SocketConnection>];
  /** Messages were rejected; the details are those of the last of them, if they are known. */
  rejected_count: [connection: Peer, code: WireErrorCode, count: number, details: RejectedFrame | undefined];
  /** A validation worker failed. Its batch is retried. */
  worker_error: [error: unknown];
  /** Messages are validated without patterns, by a worker or on the main thread. */
  patterns_unavailable: [reason: string];
  /** A listener of another event threw. */
  listener_error: [error: unknown];
  /** A pattern of this message type matched a message that the slow path rejects or interprets differently. */
  mismatch: [type: string];
  /** The disk of the durable log has failed, or works again. */
  log_availability: [isAvailable: boolean, error: unknown];
  /** The durable log cannot be read for a subscriber. */
  log_unreadable: [error: unknown];
  closed: [connection: SocketConnection, reason: string];
}

/** Maximum memory for the latest messages of jobs and crawlers, in bytes, and as a share of `maxPendingBytes`. */
const MAX_LAST_BYTES = 16 * 1024 * 1024;
const LAST_SHARE = 0.5;
/** Bytes held, as a share of `maxBufferedBytes`, up to which log readers may send messages to crawlers in a pause. */
const PAUSED_SHARE = 1.25;
/** How long a write to a peer has been unfinished if it reads nothing, in ms. */
const DEAF_AFTER = 1000;
const CONTROL: ReadonlySet<MessageDirection> = new Set(['control']);
const CONTROL_AND_COMMANDS: ReadonlySet<MessageDirection> = new Set(['control', 'app']);
/** The largest share of `maxBufferedBytes` that partial messages may use. */
const PARTIAL_SHARE = 0.25;

/**
 * If the latest batch was at least LARGE_BATCH bytes, a connection with less than MIN_FLUSH_BYTES to write waits for more,
 * at most MAX_FLUSH_DELAY ms: a write costs as much as routing several messages.
 */
const LARGE_BATCH = 128 * 1024;
const MIN_FLUSH_BYTES = 16 * 1024;
const MAX_FLUSH_DELAY = 4;

/** What a broker may have besides its connections. */
export interface PipelineParts {
  /** The durable log. If omitted, messages are only in memory. */
  readonly log?: MessageLog | undefined;
  /** What joins the broker to others. If omitted, it is alone. */
  readonly fleet?: Fleet | undefined;
  /** Whether this thread validates all messages, instead of workers. Default: false. */
  readonly validatesLocally?: boolean;
}

/** States of a peer that has sent a valid message. Other peers may still send `hello`. */
const WORKING_STATES: ReadonlySet<ConnectionState> = new Set(['active', 'idle']);

/** @internal */
export class Pipeline extends EventEmitter<PipelineEvents> {
  /** Slabs for received bytes. */
  readonly slabs: SlabPool;
  /** Slabs for outgoing copies. */
  readonly copies: CopyPool;
  readonly #gatherer: Gatherer;
  readonly queued: QueueMemory = { bytes: 0 };
  readonly validator: MessageValidator;
  readonly delimiter: number;
  readonly options: ConnectionOptions;
  readonly dispatcher: Dispatcher;
  readonly protocol: ProtocolHandler<SocketConnection>;
  readonly flow: FlowControl;
  readonly partials: PartialBudget;
  readonly subscriptions: Subscriptions;
  readonly access: AccessControl;
  /** The durable log. If `undefined`, messages are only in memory. */
  readonly log: MessageLog | undefined;
  /** What joins the broker to others. If `undefined`, it is alone. */
  readonly fleet: Fleet | undefined;
  /** The fields that workers deliver. */
  readonly projection: Projection | undefined;
  /** Whether the broker is stopping. */
  isStopping = false;
  /** Bytes that readers of the log have sent and that are processed when reading is no longer paused. */
  postponedBytes = 0;
  readonly totals: PipelineTotals = {
    bytesReceived: 0,
    messagesSent: 0,
    controlSent: 0,
    bytesSent: 0,
    messagesDropped: 0,
    dropped: { disconnect: 0, 'drop-oldest': 0, 'drop-newest': 0, block: 0, closed: 0 },
  };
  /** From receipt to settlement, by chunk. */
  readonly latency = new LatencyHistogram();
  readonly #pool: ConnectionPool;
  readonly #helloTimeout: number;
  readonly #maxHeldInPause: number;
  readonly #recipients: CrawlerRouter<SocketConnection>;
  readonly #jobSeed: JobSeed;
  readonly #lastValues: LastValues | undefined;
  /** Connections to flush at the end of this turn of the event loop. */
  readonly #unflushed = new Set<SocketConnection>();
  #flushImmediate: NodeJS.Immediate | undefined;
  /** Since when writes are deferred, in ms of the monotonic clock; 0 if none is. */
  #deferredSince = 0;
  #flushTimer: NodeJS.Timeout | undefined;

  /**
   * @param hasListener whether rejected messages and presence are reported to anyone other than subscribers
   * @param fields the fields that workers deliver to code in this process
   */
  constructor(
    options: ResolvedOptions,
    registry: MessageRegistry,
    pool: ConnectionPool,
    hasListener: (event: 'rejected' | 'presence') => boolean,
    fields: FieldPaths,
    { log, fleet, validatesLocally = false }: PipelineParts = {},
  ) {
    super();
    this.log = log;
    this.fleet = fleet;
    // Keys of jobs are in the log.
    this.#jobSeed = log?.jobSeed ?? randomJobSeed();
    if (log !== undefined) log.listener = this.#logListener;
    const { maxMessageSize, framing, workers } = options;
    const delimiter = options.messageDelimiter.charCodeAt(0);
    this.#pool = pool;
    this.#helloTimeout = options.helloTimeout;
    this.#maxHeldInPause = options.maxBufferedBytes * PAUSED_SHARE;
    this.delimiter = delimiter;
    const { receive, maxPendingBytes, sendTimeout } = options;
    this.options = { maxMessageSize, framing, delimiter, receive, maxPendingBytes, sendTimeout };
    this.slabs = new SlabPool(options.messageBufferSize);
    // Twice the size, because delimiters and envelopes are added to the content of a receive slab.
    this.copies = new CopyPool(options.messageBufferSize * 2);
    this.#gatherer = new Gatherer(this.copies);
    this.validator = new MessageValidator({ registry, maxMessageSize });
    this.subscriptions = new Subscriptions(registry, options.maxSubscriptionBytes, this.#jobSeed);
    this.#recipients = new CrawlerRouter(
      {
        crawlers: () => pool.crawlers(),
        crawlerByConnection: (id) => pool.getCrawlerByConnection(id),
        crawlerById: (id) => pool.getCrawler(id),
      },
      options.maxJobOwners,
    );
    this.access = AccessControl.load(options.auth);
    this.#lastValues = this.#newLastValues(options);
    this.protocol = new ProtocolHandler(
      {
        maxMessageSize,
        framing,
        delimiter,
        heartbeatInterval: options.heartbeatInterval,
        heartbeatTimeout: options.heartbeatTimeout,
        minHeartbeatInterval: options.minHeartbeatInterval,
        maxSubscriptions: options.maxSubscriptions,
        forwardsUnknownTypes: options.validation === 'report',
        maxErrorReplies: options.maxErrorReplies,
        maxFramingErrors: options.maxFramingErrors,
        maxMessagesPerSecond: options.maxMessagesPerSecond,
        jobSeed: this.#jobSeed,
      },
      this.validator,
      this.subscriptions,
      this.#recipients,
      {
        hasListener,
        onPresence: (change) => this.emit('presence', change),
        onMessages: (connection, run) => this.emit('messages', connection, run),
        onLogUnreadable: (error) => this.emit('log_unreadable', error),
        onRejected: (rejection) => this.emit('rejected', rejection),
        identify: (connection, crawlerId) => pool.identify(connection, crawlerId),
        onRejectedCount: (connection, code, count, details) => {
          const { id: connectionId, crawlerId } = connection;
          publishRejected({ connectionId, crawlerId, code, count, messageType: details?.type });
          this.emit('rejected_count', connection, code, count, details);
        },
      },
      this.#gatherer,
      { lastValues: this.#lastValues, log, fleet },
      this.access,
    );
    const heldBytes = () => (log?.isBehind === true ? Number.POSITIVE_INFINITY : this.heldBytes);
    this.flow = new FlowControl(options, heldBytes, pool);
    const partialBytes = Math.min(options.maxPartialBytes, options.maxBufferedBytes * PARTIAL_SHARE);
    const isPrivileged = (connection: SocketConnection) =>
      this.flow.isPaused && connection.logSubscriptions > 0 && connection.isLogReader;
    this.partials = new PartialBudget(partialBytes, maxMessageSize, isPrivileged, (connection) => {
      const isDeaf = connection.outbox.stalledFor(performance.now()) > DEAF_AFTER;
      this.protocol.replyError(connection, 'RATE_LIMITED');
      connection.flush();
      void connection.disconnect('partial_message');
      // It would keep its slot until it reads.
      if (isDeaf) connection.destroy();
    });
    const { fingerprint } = registry;
    const settings = {
      ...parserSettings(options, this.#jobSeed, fields, log !== undefined),
      fingerprint,
    };
    this.projection = createProjection(registry, fields);
    const modules = compileModules(registry, settings);
    const onUnavailable = (reason: string): void => {
      this.emit('patterns_unavailable', reason);
    };
    this.dispatcher = new Dispatcher({
      ...workers,
      validationTimeout: options.validationTimeout,
      settings,
      modules,
      maxDetailedRejections: () => this.protocol.maxDetailedRejections,
      createLocal: validatesLocally
        ? () => createLocalValidation(registry, settings, modules, onUnavailable)
        : undefined,
      createInline: () =>
        createInlineValidation(
          options.inlineBytes,
          registry,
          settings,
          modules,
          this.projection,
          onUnavailable,
        ),
      onVerdict: (verdict) => {
        this.protocol.count(verdict);
        for (const type of verdict.mismatches) this.emit('mismatch', type);
      },
      onSettled: (bytes) => this.#afterBatch(bytes),
      onWorkerError: (error) => {
        publishWorkerFailed({ error });
        this.emit('worker_error', error);
      },
      onPatternsUnavailable: onUnavailable,
    });
  }

  /** Whether there is memory for messages of log readers to crawlers while reading is paused. */
  get hasRoomInPause(): boolean {
    return this.heldBytes + this.postponedBytes <= this.#maxHeldInPause;
  }

  /** While reading is paused, goes on with log readers that had to wait for memory, if there is some now. */
  resumeLogReaders(): void {
    if (!this.flow.isPaused || !this.hasRoomInPause) return;
    for (const connection of this.#pool.all()) {
      if (connection.logSubscriptions === 0) continue;
      connection.retryPostponed();
      this.flow.updateConnection(connection);
    }
  }

  /** Memory of messages not yet delivered, in bytes. */
  get heldBytes(): number {
    const logged = this.log?.copiedBytes ?? 0;
    return this.slabs.heldBytes + this.copies.slabs.heldBytes + this.queued.bytes + logged;
  }

  /**
   * Replaces the tokens. Peers that have already sent messages or subscribed, and that now need a `hello` which they
   * never sent, get `UNAUTHORIZED` and are disconnected.
   * @throws SluiceError `CONFIG_UNREADABLE`; nothing is changed then
   */
  setAuth(auth: ResolvedOptions['auth']): void {
    this.access.reload(auth);
    for (const connection of this.#pool) {
      this.expectHello(connection);
      const isWorking = WORKING_STATES.has(connection.state) || this.subscriptions.countOf(connection) > 0;
      if (connection.isAuthenticated || !isWorking) continue;
      this.protocol.replyError(connection, 'UNAUTHORIZED');
      void connection.disconnect('UNAUTHORIZED');
    }
  }

  /** Closes a peer that does not send its required `hello` in time. While the broker does not read, no time passes. */
  expectHello(connection: SocketConnection): void {
    if (connection.isAuthenticated) return;
    let pausedBefore = 0;
    let timer: NodeJS.Timeout;
    const check = (): void => {
      if (connection.isAuthenticated || !connection.isOpen) return;
      const paused = connection.pausedTime - pausedBefore;
      if (paused > 0) return wait(paused);
      this.protocol.rejectUnauthenticated(connection);
      this.#flush();
    };
    const wait = (timeout: number): void => {
      pausedBefore = connection.pausedTime;
      // Runs after the event loop has read from sockets: a `hello` that arrived while the loop was blocked is in time.
      timer = setTimeout(() => setImmediate(check), timeout).unref();
    };
    wait(this.#helloTimeout);
    connection.once('closed', () => clearTimeout(timer));
  }

  /**
   * Validates a message from code in this process, and encodes it as a line.
   * @throws SluiceError `INVALID_MESSAGE`
   */
  encode(message: OutgoingMessage): Buffer {
    return encodeMessage(message, this.validator, this.delimiter);
  }

  /**
   * Sends a message of code in this process to a crawler of another host.
   * @returns whether it receives it
   * @throws SluiceError `INVALID_MESSAGE`; `SEND_TIMEOUT`, `CONNECTION_CLOSED` if its host does not answer
   */
  async sendToFleet(crawler: string, message: OutgoingMessage): Promise<boolean> {
    return this.protocol.sendToFleet(crawler, message.type, this.encode(message).subarray(0, -1));
  }

  /**
   * Sends a message of code in this process to the crawlers of all other hosts.
   * @throws SluiceError `INVALID_MESSAGE`
   */
  broadcastToFleet(message: OutgoingMessage): void {
    if (this.fleet !== undefined) this.protocol.broadcastToFleet(this.encode(message).subarray(0, -1));
  }

  /** The jobs whose latest messages are kept; `undefined` if none are. */
  jobs(query: JobQuery): Promise<JobList> | undefined {
    const { registry } = this.validator;
    if (this.#lastValues === undefined) return undefined;
    return new JobLister(registry, this.#recipients.owners, this.#lastValues, this.#jobSeed).list(query);
  }

  /** The latest messages of jobs and crawlers that a filter matches; `undefined` if too many are requested. */
  lastMessages(
    filter: Filter,
    hasRoom: (bytes: number) => boolean,
    partBytes: number,
  ): LastMessages[] | undefined {
    return this.protocol.lastMessages(filter, hasRoom, partBytes);
  }

  /** Processes whole messages that a connection has received. */
  receive(connection: SocketConnection, received: FrameRange): void {
    this.totals.bytesReceived += received.end - received.start;
    let range = received;
    if (!connection.isAuthenticated) {
      range = { ...received, start: this.protocol.authenticate(connection, received) };
      this.#flush();
      if (range.start === range.end) return;
    }
    this.#submit(connection, range);
  }

  /** Processes whole messages that a connection has received before, and that were postponed. */
  receiveCopy(connection: SocketConnection, bytes: Buffer): void {
    const slab = this.slabs.acquire(bytes.length);
    const end = slab.base + copyBytes(bytes, 0, bytes.length, slab.arena.bytes, slab.base);
    this.#submit(connection, { slab, start: slab.base, end });
    slab.close();
  }

  #submit(connection: SocketConnection, range: FrameRange): void {
    const { start } = range;
    const end = connection.hasPostponed ? start : this.#endForNow(range);
    // Before the rest is submitted, which may end the pause.
    if (end < range.end) connection.postpone({ ...range, start: end }, !this.hasRoomInPause);
    if (end === start) return;
    this.dispatcher.submit(connection.lane, { ...range, end }, connection.lastActivityAt);
    this.flow.updateConnection(connection);
    this.flow.update();
  }

  /**
   * The end of the messages to process now. Log readers are read even while reading is paused, but what takes memory until the
   * pause ends waits for that, with all that follows. Messages to crawlers do not, unless those do not read them:
   * acknowledgements may follow.
   */
  #endForNow(range: FrameRange): number {
    if (this.log === undefined || !this.flow.isPaused) return range.end;
    return this.protocol.endOf(this.hasRoomInPause ? CONTROL_AND_COMMANDS : CONTROL, range);
  }

  /**
   * Settles a connection's next validated chunk, or a part of it. Called in order.
   * @param until when to interrupt this, in ms of the monotonic clock
   * @returns false if it was interrupted
   */
  settle(connection: SocketConnection, chunk: Chunk, until: number): boolean {
    if (chunk.nextRun === undefined) {
      connection.latency = performance.now() - chunk.receivedAt;
      this.latency.observe(connection.latency);
    }
    if (!this.protocol.settle(connection, chunk, until)) return false;
    this.flow.updateConnection(connection);
    return true;
  }

  /** The size of a connection's partial message has changed. @param bytes of it received so far */
  receivePartial(connection: SocketConnection, bytes: number): void {
    this.partials.update(connection, bytes);
    if (bytes <= MAX_CONTROL_BYTES) return;
    if (this.flow.isPaused) this.flow.updateConnection(connection);
    if (connection.isAuthenticated) return;
    this.protocol.rejectUnauthenticated(connection);
    this.#flush();
  }

  /** A message has exceeded `maxMessageSize`. */
  rejectOversize(connection: SocketConnection): void {
    this.protocol.rejectOversize(connection);
    this.#flush();
  }

  /** Schedules a flush of the connection at the end of this turn of the event loop. */
  flushLater(connection: SocketConnection): void {
    this.#unflushed.add(connection);
  }

  /**
   * Lets another member of a queue group take over messages that were queued for one that has left it.
   * @returns false if there is none
   */
  takeOver(piece: Piece, member: Assignee): boolean {
    if (!this.subscriptions.takeOver(piece, member)) return false;
    // Members leave at any time, also while a batch is being processed.
    this.#flushSoon();
    return true;
  }

  /** Counts bytes, application messages and control messages that were written to a peer. */
  countWritten(bytes: number, messages: number, control: number): void {
    this.totals.bytesSent += bytes;
    this.totals.messagesSent += messages;
    this.totals.controlSent += control;
    this.flow.update();
  }

  /** Counts forwarded messages that were not delivered. */
  countDropped(messages: number, cause: DropCause): void {
    this.totals.messagesDropped += messages;
    this.totals.dropped[cause] += messages;
  }

  /** Resolves when all pings of a connection are answered, or after `sendTimeout`. */
  async whenAnswered(connection: SocketConnection): Promise<void> {
    await withTimeout(this.protocol.whenAnswered(connection), this.options.sendTimeout, () => {});
  }

  reportListenerError(error: unknown): void {
    this.emit('listener_error', error);
  }

  /** Records that code in this process has sent a message to a crawler: it may answer a request, and assign jobs. */
  recordSent(connection: SocketConnection, message: OutgoingMessage): void {
    const traits = this.validator.registry.get(message.type)?.traits ?? NO_TRAITS;
    const assigned = assignedJobIds(traits, message as { data?: unknown });
    connection.workload += assigned.length;
    this.#recipients.onSent(
      connection,
      traits,
      assigned.map((id) => ({ ...jobKey(id, this.#jobSeed), id })),
    );
  }

  /** Forgets a closed connection. */
  close(connection: SocketConnection, reason: string): void {
    this.protocol.forget(connection);
    connection.lane.after(() => this.protocol.finishConnection(connection, reason));
    this.#flushSoon();
    this.flow.forget(connection);
    this.partials.forget(connection);
    this.flow.update();
    this.#unflushed.delete(connection);
    this.emit('closed', connection, reason);
  }

  /** Stops reading, notifies every peer, and waits until all received messages are delivered. */
  async drain(): Promise<void> {
    this.isStopping = true;
    for (const connection of this.#pool) {
      connection.stopReading();
      connection.reply(errorLine('SHUTTING_DOWN', {}, this.delimiter));
      connection.flush();
    }
    await this.dispatcher.drain();
    await this.log?.whenDurable();
    await Promise.all(this.#pool.all().map(({ outbox }) => outbox.drained()));
  }

  readonly #logListener: MessageLogListener = {
    onDurable: () => {
      this.protocol.confirmDurable();
      this.#flush();
      this.flow.update();
    },
    onAvailability: (isAvailable, error) => {
      if (isAvailable) this.#closeUnconfirmed();
      this.emit('log_availability', isAvailable, error);
    },
  };

  /** Closes connections with messages that were not stored while the disk had failed: their senders send them again. */
  #closeUnconfirmed(): void {
    for (const connection of this.#pool) {
      if (connection.loggedEnd !== NEVER) continue;
      this.protocol.replyError(connection, 'LOG_UNAVAILABLE');
      connection.flush();
      void connection.disconnect('LOG_UNAVAILABLE');
    }
  }

  #newLastValues({ maxLastValues, maxPendingBytes }: ResolvedOptions): LastValues | undefined {
    if (maxLastValues === 0) return undefined;
    // So that a subscriber that receives all of them does not fall behind by that.
    return new LastValues(
      this.#recipients.owners,
      maxLastValues,
      Math.min(MAX_LAST_BYTES, maxPendingBytes * LAST_SHARE),
    );
  }

  #flushSoon(): void {
    this.#flushImmediate ??= setImmediate(() => {
      this.#flushImmediate = undefined;
      this.#flush();
    });
  }

  /** @param bytes of the batch */
  #afterBatch(bytes: number): void {
    if (bytes >= LARGE_BATCH) this.#flushLarge();
    else this.#flush();
    this.flow.update();
  }

  #flush(): void {
    this.#gatherer.endTurn();
    for (const connection of this.#unflushed) connection.flush();
    this.#unflushed.clear();
    this.#deferredSince = 0;
  }

  /** As {@link #flush}, but connections with fewer bytes than `MIN_FLUSH_BYTES` wait for more. */
  #flushLarge(): void {
    const now = performance.now();
    if (this.#deferredSince !== 0 && now - this.#deferredSince >= MAX_FLUSH_DELAY) return this.#flush();
    this.#gatherer.endTurn();
    for (const connection of this.#unflushed) {
      if (connection.outbox.pendingBytes < MIN_FLUSH_BYTES) continue;
      connection.flush();
      this.#unflushed.delete(connection);
    }
    if (this.#unflushed.size === 0) {
      this.#deferredSince = 0;
      return;
    }
    if (this.#deferredSince === 0) this.#deferredSince = now;
    // The next batch may take long.
    this.#flushTimer ??= setTimeout(() => {
      this.#flushTimer = undefined;
      this.#flush();
    }, MAX_FLUSH_DELAY).unref();
  }
}
