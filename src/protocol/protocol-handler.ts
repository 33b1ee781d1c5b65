// Processes the verdicts of each connection's chunks in order, run by run: handles control messages, replies to
// rejected ones, and routes all others. Most chunks consist of a single run.

import { FrameRun, type RunGatherer, wholeRun } from '../delivery/frame-run.js';
import type { Chunk } from '../dispatch/lane.js';
import { type RejectedFrame, RunKind, type Verdict } from '../dispatch/verdict.js';
import type { VerdictReader } from '../dispatch/verdict-reader.js';
import type { WireErrorCode } from '../errors.js';
import type { Fleet } from '../fleet/fleet.js';
import { type MessageLog, NEVER } from '../log/message-log.js';
import type { FrameRange } from '../memory/slab-pool.js';
import type { JobSeed } from '../messages/job-key.js';
import type { MessageDirection, MessageRegistry, MessageType } from '../messages/message-registry.js';
import { MAX_CONTROL_BYTES } from '../messages/messages.js';
import type { CrawlerRouter } from '../routing/crawler-router.js';
import type { Filter, SubscribeData } from '../routing/filter.js';
import type { LastMessages, LastValues } from '../routing/last-values.js';
import { RunRecorder } from '../routing/run-recorder.js';
import type { Subscriptions } from '../routing/subscriptions.js';
import { type Framing, forEachLine } from '../wire/framing.js';
import { AccessControl } from './access.js';
import { Confirmations } from './confirmations.js';
import { ControlHandler, type ControlSettings, type Identify } from './control-handler.js';
import { deadLetterOf } from './dead-letter.js';
import { DriftReport } from './drift-report.js';
import { FleetCommands } from './fleet-commands.js';
import { FleetLastValues } from './fleet-last-values.js';
import { FleetSubscriptions } from './fleet-subscriptions.js';
import { Gate } from './gate.js';
import { HelloGate } from './hello-gate.js';
import { LastValueReplay } from './last-value-replay.js';
import { LogSubscriptions } from './log-subscriptions.js';
import type { MessageValidator } from './message-validator.js';
import type { ErrorDetails } from './outgoing.js';
import type { Peer } from './peer.js';
import { Presence, type PresenceListener } from './presence.js';
import type { ProtocolStatistics } from './protocol-statistics.js';
import { RejectionHandler, type RejectionListener } from './rejection-handler.js';
import { ReplyLimiter } from './reply-limiter.js';
import { Sessions } from './sessions.js';
import {
  SubscriptionHandler,
  type SubscriptionSettings,
  type SubscriptionSources,
} from './subscription-handler.js';
import { WorkGroups } from './work-groups.js';

export interface ProtocolSettings extends ControlSettings, SubscriptionSettings {
  readonly framing: Framing;
  readonly maxErrorReplies: number;
  readonly maxFramingErrors: number;
  readonly minHeartbeatInterval: number;
  readonly maxMessagesPerSecond: number;
  /** Seed of the job keys in verdicts. */
  readonly jobSeed: JobSeed;
}

/** Code in this process that receives messages. */
export interface ProtocolListener<P extends Peer> extends PresenceListener<P>, RejectionListener<P> {
  onMessages(connection: P, run: FrameRun): void;
  /** The durable log cannot be read for a subscriber. */
  onLogUnreadable(error: unknown): void;
  /** Whether these events have a listener. */
  hasListener(event: 'rejected' | 'presence'): boolean;
  readonly identify: Identify<P>;
}

/** Optional stores of the protocol: the latest messages, the durable log, the fleet. */
export interface ProtocolStorage {
  /** If `undefined`, no latest messages are kept. */
  readonly lastValues?: LastValues | undefined;
  /** If `undefined`, nothing is durable. */
  readonly log?: MessageLog | undefined;
  /** If `undefined`, there are no other hosts. */
  readonly fleet?: Fleet | undefined;
}

const TIMEOUT_KEY = '"timeout_ms"';
/** Number of runs after which the clock is read, since each may be a message that takes long. */
const RUNS_PER_CHECK = 8;
/** Failed chunks tolerated per connection. One more closes it. */
const MAX_FAILED_CHUNKS = 5;

/**
 * Acts on verdicts. Created by `SocketManager`, which reports its statistics as `getMetrics().protocol`.
 * @typeParam P the type of connections
 */
export class ProtocolHandler<P extends Peer> {
  readonly #settings: ProtocolSettings;
  readonly #registry: MessageRegistry;
  readonly #subscriptions: Subscriptions;
  readonly #router: CrawlerRouter<P>;
  readonly #listener: ProtocolListener<P>;
  readonly #control: ControlHandler<P>;
  /** Memory for messages that are copied for delivery. */
  readonly #gatherer: RunGatherer;
  readonly #recorder: RunRecorder;
  readonly #log: MessageLog | undefined;
  readonly #workGroups: WorkGroups<P> | undefined;
  readonly #confirmations: Confirmations<P>;
  readonly #sessions: Sessions<P> | undefined;
  readonly #presence: Presence<P>;
  readonly #fleetCommands: FleetCommands<P> | undefined;
  readonly #access: AccessControl;
  readonly #gate: Gate;
  readonly #helloGate: HelloGate<P>;
  readonly #replies: ReplyLimiter;
  readonly #rejections: RejectionHandler<P>;
  /** Whether messages report a workload, by type index. */
  readonly #reportsWorkload: readonly boolean[];
  readonly #accepted: number[];
  /** @internal */
  readonly drift = new DriftReport();
  /** Messages that were counted as accepted before the gate or a full log rejected them. */
  #rejectedLater = 0;
  /** Consecutive oversize messages, by connection. */
  readonly #framingErrors = new WeakMap<P, number>();
  /** Time of receipt of the last forwarded heartbeat, by connection. */
  readonly #heartbeatAt = new WeakMap<P, number>();
  readonly #patternCounts = { matched: 0, mismatched: 0, layoutsLearned: 0, layoutsEvicted: 0 };
  readonly #lastValues: LastValueReplay | undefined;
  /** Chunks that no worker could validate, by connection. */
  readonly #failures = new WeakMap<P, number>();
  #undeliverable = 0;
  #heartbeatsDropped = 0;

  /** @internal */
  constructor(
    settings: ProtocolSettings,
    validator: MessageValidator,
    subscriptions: Subscriptions,
    router: CrawlerRouter<P>,
    listener: ProtocolListener<P>,
    gatherer: RunGatherer,
    storage: ProtocolStorage = {},
    access: AccessControl = new AccessControl(),
  ) {
    this.#gatherer = gatherer;
    this.#access = access;
    this.#settings = settings;
    const { registry } = validator;
    this.#registry = registry;
    this.#subscriptions = subscriptions;
    this.#router = router;
    this.#listener = listener;
    this.#replies = new ReplyLimiter(settings.maxErrorReplies, settings.delimiter);
    const { jobSeed } = settings;
    const { lastValues, log, fleet } = storage;
    this.#log = log;
    this.#rejections = new RejectionHandler(
      settings,
      subscriptions,
      log?.deadLetters,
      this.#replies,
      listener,
    );
    this.#confirmations = new Confirmations(log, settings.delimiter);
    this.#sessions = log && new Sessions(log);
    this.#recorder = new RunRecorder(validator.registry, router.owners, lastValues, jobSeed);
    const fleetSubscriptions = fleet && new FleetSubscriptions<P>(fleet, settings.delimiter);
    this.#fleetCommands = fleet && new FleetCommands(fleet, router, validator, jobSeed, settings.delimiter);
    this.#presence = new Presence(
      subscriptions,
      router.owners,
      listener,
      settings.delimiter,
      fleetSubscriptions && ((report) => fleetSubscriptions.reportPresence(report)),
    );
    this.#workGroups = log && this.#newWorkGroups(log);
    this.#lastValues = lastValues && new LastValueReplay(lastValues, settings.delimiter);
    const filterOf = (data: SubscribeData) => subscriptions.filterOf(data);
    const sources: SubscriptionSources<P> = {
      lastValues: this.#lastValues,
      epoch: log?.epoch,
      log: this.#newLogSubscriptions(),
      workGroups: this.#workGroups,
      fleet: fleetSubscriptions,
      fleetLastValues: fleet && new FleetLastValues(fleet, this.#lastValues, filterOf, settings.delimiter),
    };
    this.#control = new ControlHandler(
      settings,
      access,
      this.#replies,
      new SubscriptionHandler(settings, subscriptions, sources, access, this.#replies),
      this.#confirmations,
      this.#sessions,
      {
        identify: listener.identify,
        onCrawlerHello: (connection) => this.#presence.onHello(connection),
      },
    );
    this.#gate = new Gate(access, this.#replies, settings.maxMessagesPerSecond, (connection, code, count) => {
      this.#rejections.count(connection, code, count);
      this.#rejectedLater += count;
    });
    const { framing, delimiter, forwardsUnknownTypes = false } = settings;
    this.#helloGate = new HelloGate({ framing, delimiter, forwardsUnknownTypes }, validator, this.#control, {
      onHello: ({ index }) => {
        this.#accepted[index] = (this.#accepted[index] ?? 0) + 1;
      },
      onUnauthorized: (connection, type) => this.rejectUnauthenticated(connection, type),
    });
    this.#reportsWorkload = registry.types.map(({ traits }) => traits.reportsWorkload);
    this.#accepted = registry.types.map(() => 0);
  }

  #newLogSubscriptions(): LogSubscriptions<P> | undefined {
    if (this.#log === undefined || this.#workGroups === undefined) return undefined;
    const { delimiter } = this.#settings;
    return new LogSubscriptions<P>(
      this.#log,
      this.#registry,
      delimiter,
      this.#workGroups,
      (connection, error) => this.#onLogUnreadable(connection, error),
    );
  }

  #newWorkGroups(log: MessageLog): WorkGroups<P> {
    return new WorkGroups<P>({
      log,
      registry: this.#registry,
      delimiter: this.#settings.delimiter,
      addDeadLetter: (message) => log.deadLetters.add(deadLetterOf(message, log.epoch)),
      get areDeadLettersBehind() {
        return log.deadLetters.isBehind;
      },
      onUnreadable: (connection, error) => this.#onLogUnreadable(connection, error),
      onError: (error) => this.#listener.onLogUnreadable(error),
    });
  }

  #onLogUnreadable(connection: P, error: unknown): void {
    this.#listener.onLogUnreadable(error);
    this.#replies.reply(connection, 'LOG_UNAVAILABLE', { messageType: 'subscribe' });
    void connection.disconnect('LOG_UNAVAILABLE');
  }

  get statistics(): ProtocolStatistics {
    const accepted: Record<string, number> = {};
    const control: Record<string, number> = {};
    this.#registry.types.forEach(({ name, index, direction }) => {
      const count = this.#accepted[index] ?? 0;
      if (count > 0) (direction === 'control' ? control : accepted)[name] = count;
    });
    const { rejected, reported } = this.#rejections.statistics;
    return {
      received: sum(Object.values(accepted)) + sum(Object.values(rejected)) - this.#rejectedLater,
      accepted,
      control,
      ...this.#patternCounts,
      rejected,
      reported,
      undeliverable: this.#undeliverable,
      heartbeatsDropped: this.#heartbeatsDropped,
      errorReplies: this.#replies.sent,
      errorsUnanswered: this.#replies.suppressed,
      subscriptions: this.#subscriptions.size,
      workGroups: this.#workGroups?.statistics ?? [],
      jobOwners: this.#router.owners.size,
    };
  }

  /** @internal Adds a batch's counts to the statistics. */
  count(verdict: Verdict): void {
    this.#patternCounts.matched += verdict.matched;
    this.#patternCounts.mismatched += verdict.mismatches.length;
    this.#patternCounts.layoutsLearned += verdict.layoutsLearned;
    this.#patternCounts.layoutsEvicted += verdict.layoutsEvicted;
    const { accepted } = verdict;
    for (let index = 0; index < accepted.length; index++) {
      this.#accepted[index] = (this.#accepted[index] ?? 0) + (accepted[index] ?? 0);
    }
  }

  /**
   * @internal Processes the next chunk of a connection, which has a verdict or has failed.
   * @param until when to interrupt this, in ms of the monotonic clock
   * @returns false if it was interrupted, and has to be called again with the same chunk
   */
  settle(connection: P, chunk: Chunk, until: number): boolean {
    const { verdict } = chunk;
    if (verdict === undefined) {
      this.#rejectChunk(connection, chunk);
      return true;
    }
    const isDone = this.#handleRuns(connection, chunk, verdict, until);
    this.#log?.endChunk();
    if (!isDone) return false;
    const { index } = chunk;
    connection.line += verdict.lines(index);
    this.#recordDrift(connection, verdict, index);
    // After the messages, since a hello among them may have set the role. Reports of other roles are ignored.
    if (!this.#access.isAllowed(connection, 'publish')) return true;
    const activeJobs = verdict.activeJobs(index);
    if (activeJobs !== undefined) {
      connection.workload = activeJobs;
      connection.lastHeartbeatAt = chunk.receivedAt;
    }
    return true;
  }

  /** @returns false if it was interrupted after some of the runs */
  #handleRuns(connection: P, chunk: Chunk, verdict: VerdictReader, until: number): boolean {
    const end = verdict.runsEnd(chunk.index);
    for (let run = chunk.nextRun ?? verdict.firstRun(chunk.index); run < end; run++) {
      // Before it is handled: if that throws, it is not handled again.
      chunk.nextRun = run + 1;
      this.#handleRun(connection, chunk, verdict, run);
      if (run % RUNS_PER_CHECK === 0 && run + 1 < end && performance.now() >= until) return false;
    }
    return true;
  }

  #recordDrift(connection: P, verdict: VerdictReader, range: number): void {
    const facts = verdict.drift(range);
    if (facts.length === 0 || !this.#access.isAuthenticated(connection)) return;
    const now = Date.now();
    for (const fact of facts) this.drift.record(fact, connection.crawlerId ?? connection.id, now);
  }

  /**
   * @internal Reads the `hello` that a peer must send first.
   * @returns offset of the messages after it; the end of the range if there are none or the peer is disconnected
   */
  authenticate(connection: P, range: FrameRange): number {
    return this.#helloGate.authenticate(connection, range);
  }

  /** @internal The end of the first messages of a range that have these directions or are rejected. */
  endOf(directions: ReadonlySet<MessageDirection>, range: FrameRange): number {
    return this.#helloGate.endOf(directions, range);
  }

  /** @internal Disconnects a peer that has not sent the required `hello` first. */
  rejectUnauthenticated(connection: Peer, messageType?: string): void {
    if (!connection.isOpen) return;
    this.#rejections.rejectUnreported(connection, 'UNAUTHORIZED', messageType);
    void connection.disconnect('UNAUTHORIZED');
  }

  /** @internal Rejects a message whose end has not been received and which already exceeds `maxMessageSize`. */
  rejectOversize(connection: P): void {
    this.#reject(connection, { code: 'MESSAGE_TOO_LARGE', type: undefined, issues: [], line: 0 }, undefined);
    connection.session?.countRun(0, 1);
  }

  /** @internal Sends an error to a peer, unless `maxErrorReplies` is reached. */
  replyError(connection: P, code: WireErrorCode, details: ErrorDetails = {}): void {
    this.#replies.reply(connection, code, details);
  }

  /**
   * @internal Reports that a crawler is gone, and what was only counted of its rejected messages. Called when its connection
   * is closed and its messages are settled.
   */
  finishConnection(connection: P, reason: string): void {
    this.#rejections.forget(connection);
    this.#sessions?.release(connection);
    this.#presence.onClosed(connection, reason);
  }

  /** @internal Confirms messages that are durable now. */
  confirmDurable(): void {
    this.#confirmations.release();
  }

  /** @internal Resolves when all pings of a connection are answered, or it is closed. */
  whenAnswered(connection: P): Promise<void> {
    return this.#confirmations.whenAnswered(connection);
  }

  /**
   * @internal Removes a connection to which nothing can be sent any more. Sends nothing to others: it may have been closed
   * while something was sent to it.
   */
  forget(connection: P): void {
    this.#subscriptions.removeAll(connection);
    this.#confirmations.forget(connection);
    this.#router.forget(connection.id);
  }

  #handleRun(connection: P, chunk: Chunk, verdict: VerdictReader, run: number): void {
    const first = verdict.firstFrame(run);
    const count = verdict.frameCount(run);
    const kind = verdict.runKind(run);
    this.#countInSession(connection, verdict, first, count, kind);
    if (kind === RunKind.REJECTED) return this.#rejectRun(connection, chunk, verdict, first, count);
    if (kind === RunKind.REPORTED) return this.#reportRun(connection, chunk, verdict, first, count);
    connection.markActive();
    this.#framingErrors.delete(connection);
    if (kind === RunKind.CONTROL) {
      connection.sequence++;
      connection.controlReceived++;
      const type = this.#registry.types[verdict.typeIndex(first)];
      if (type === undefined) return;
      const isAdmitted = this.#gate.passControl(connection, type.name, chunk.receivedAt);
      if (isAdmitted) this.#control.handle(connection, type, frameBytes(chunk, verdict, first));
      else this.#control.onRejected(connection, type.name, 'RATE_LIMITED');
      return;
    }
    const action = kind === RunKind.ADDRESSED ? 'command' : 'publish';
    // These runs consist of one message. Others may contain several types.
    const isSingleMessage = kind === RunKind.ADDRESSED || kind === RunKind.REQUEST;
    const type = isSingleMessage ? this.#registry.types[verdict.typeIndex(first)] : undefined;
    const admitted = this.#gate.pass(connection, action, count, type?.name, chunk.receivedAt);
    if (admitted === 0) return;
    const firstSequence = connection.sequence + 1;
    connection.sequence += admitted;
    const forwarded = new FrameRun({
      sender: connection,
      chunk,
      verdict,
      index: run,
      first,
      count: admitted,
      isUndelimited: kind !== RunKind.DELIMITED,
      isValid: run === 0 || verdict.runKind(run - 1) !== RunKind.REPORTED,
      firstSequence,
      delimiter: this.#settings.delimiter,
      gatherer: this.#gatherer,
    });
    if (type !== undefined && kind === RunKind.ADDRESSED) {
      this.#forwardToCrawlers(connection, type, forwarded);
      return;
    }
    if (!connection.isIdentified) {
      connection.isIdentified = true;
      this.#presence.onIdentified(connection);
    }
    if (kind === RunKind.REQUEST) {
      const timeout = requestTimeout(frameBytes(chunk, verdict, first));
      if (connection.isOpen) this.#router.onJobRequest(connection.id, chunk.receivedAt + timeout);
      this.#forward(connection, forwarded);
    } else if (this.#settings.minHeartbeatInterval > 0) this.#forwardThrottled(connection, forwarded);
    else this.#forward(connection, forwarded);
  }

  /** Counts the messages of a run in the session of their sender, except for control messages. */
  #countInSession(
    { session, sequence }: P,
    verdict: VerdictReader,
    first: number,
    count: number,
    kind: number,
  ): void {
    if (session === undefined || kind === RunKind.CONTROL || kind === RunKind.REPORTED) return;
    let counted = count;
    if (kind === RunKind.REJECTED) {
      for (let frame = first; frame < first + count; frame++) {
        const { type = '' } = verdict.rejectionReason(frame) ?? {};
        if (this.#registry.get(type)?.direction === 'control') counted--;
      }
    }
    session.countRun(sequence + 1, counted);
  }

  #forward(connection: P, run: FrameRun): void {
    if (this.#log?.mustReject === true) {
      const messageType = this.#registry.types[run.typeIndex(0)]?.name;
      this.#rejections.rejectUnreported(connection, 'LOG_FULL', messageType, run.count);
      this.#rejectedLater += run.count;
      return;
    }
    this.#recorder.record(run, connection.role === 'crawler' ? connection.identity : undefined);
    if (this.#log !== undefined) this.#store(connection, run, this.#log);
    this.#subscriptions.route(run);
    this.#listener.onMessages(connection, run);
  }

  #store(connection: P, run: FrameRun, log: MessageLog): void {
    const { session } = connection;
    const end = log.append(run, session);
    connection.loggedEnd = Math.max(connection.loggedEnd, end);
    if (end === NEVER && session !== undefined) session.isInterrupted = true;
  }

  /** Forwards a run without heartbeats that follow sooner than `minHeartbeatInterval`. */
  #forwardThrottled(connection: P, run: FrameRun): void {
    const { receivedAt } = run.chunk;
    let from = 0;
    const forwardUpTo = (to: number): void => {
      if (to > from) this.#forward(connection, run.part(from, to));
    };
    for (let index = 0; index < run.count; index++) {
      if (this.#reportsWorkload[run.typeIndex(index)] !== true) continue;
      const previous = this.#heartbeatAt.get(connection);
      if (previous === undefined || receivedAt - previous >= this.#settings.minHeartbeatInterval) {
        this.#heartbeatAt.set(connection, receivedAt);
        continue;
      }
      this.#heartbeatsDropped++;
      forwardUpTo(index);
      from = index + 1;
    }
    forwardUpTo(run.count);
  }

  /** Sends an application message to the crawlers that it is addressed to. */
  #forwardToCrawlers(connection: P, type: MessageType, run: FrameRun): void {
    const { traits } = type;
    const { to, job, assigned = [] } = run.verdict.address(run.first) ?? {};
    const address = { traits, to, job, assigned };
    const isForAll = this.#fleetCommands !== undefined && this.#router.isForAll(address);
    const recipients = this.#router.find(address, connection.id);
    const piece = wholeRun(run);
    for (const recipient of recipients) {
      recipient.deliver(piece);
      recipient.workload += assigned.length;
    }
    const hasRecipient = recipients.length > 0;
    if (isForAll || !hasRecipient) {
      const sent = this.#fleetCommands?.send(connection, type, run, isForAll);
      if (sent !== undefined)
        void sent.then((isSent) => this.#onSentToFleet(connection, type, hasRecipient || isSent));
      else if (!hasRecipient) this.#replyUndeliverable(connection, type);
    }
    this.#listener.onMessages(connection, run);
  }

  /**
   * Sends a message of code in this process to a crawler of another host.
   * @param message a valid message, without delimiter
   * @returns whether it receives it
   * @throws SluiceError `SEND_TIMEOUT`, `CONNECTION_CLOSED` if its host does not answer
   */
  async sendToFleet(crawler: string, type: string, message: Buffer): Promise<boolean> {
    return (await this.#fleetCommands?.sendTo(crawler, type, message)) ?? false;
  }

  /** @internal The latest messages that a filter matches; `undefined` if too many are requested. */
  lastMessages(
    filter: Filter,
    hasRoom: (bytes: number) => boolean,
    partBytes: number,
  ): LastMessages[] | undefined {
    return this.#lastValues === undefined ? [] : this.#lastValues.copy(filter, hasRoom, undefined, partBytes);
  }

  /** Sends a message of code in this process to the crawlers of all other hosts. */
  broadcastToFleet(message: Buffer): void {
    this.#fleetCommands?.broadcast(message);
  }

  #onSentToFleet(connection: P, type: MessageType, hasRecipient: boolean): void {
    if (hasRecipient || !connection.isOpen) return;
    this.#replyUndeliverable(connection, type);
    connection.flush();
  }

  #replyUndeliverable(connection: P, { name }: MessageType): void {
    this.#undeliverable++;
    connection.undeliverable++;
    this.#replies.reject(connection, 'NO_RECIPIENT', name);
  }

  /** Rejects messages in order. Those without reply and report are counted together, since there may be thousands. */
  #rejectRun(connection: P, chunk: Chunk, verdict: VerdictReader, first: number, count: number): void {
    // Rejected messages count towards the rate too.
    const end = first + this.#gate.take(connection, count, chunk.receivedAt);
    let isDetailed = true;
    let repeated = 0;
    for (let frame = first; frame < end; frame++) {
      const details = verdict.rejectionReason(frame);
      isDetailed &&= this.#rejections.hasRoom(connection);
      if (isDetailed || details?.code === 'MESSAGE_TOO_LARGE') {
        const rejection = verdict.rejectedFrame(frame);
        if (rejection !== undefined) this.#reject(connection, rejection, frameBytes(chunk, verdict, frame));
        continue;
      }
      repeated++;
      if (frame + 1 < end && verdict.rejectionReason(frame + 1) === details) continue;
      const last = verdict.rejectedFrame(frame);
      if (last !== undefined) this.#rejections.suppress(connection, last, repeated);
      repeated = 0;
    }
    for (let frame = end; frame < first + count; frame++) {
      this.#rejections.rejectUnreported(connection, 'RATE_LIMITED', verdict.rejectionReason(frame)?.type);
    }
    for (let frame = first; frame < first + count; frame++) {
      const reason = verdict.rejectionReason(frame);
      if (reason !== undefined) this.#control.onRejected(connection, reason.type, reason.code);
    }
  }

  /** Reports messages that break the contract and are forwarded anyway. Their sender gets no reply. */
  #reportRun(connection: P, chunk: Chunk, verdict: VerdictReader, first: number, count: number): void {
    if (!this.#access.isAllowed(connection, 'publish') && !this.#access.isAllowed(connection, 'command'))
      return;
    for (let frame = first; frame < first + count; frame++) {
      const reported = verdict.rejectedFrame(frame);
      if (reported !== undefined)
        this.#rejections.reportForwarded(connection, reported, frameBytes(chunk, verdict, frame));
    }
  }

  #reject(connection: P, rejection: RejectedFrame, message: Buffer | undefined): void {
    this.#rejections.reject(connection, rejection, message);
    if (rejection.code === 'MESSAGE_TOO_LARGE') this.#countFramingError(connection);
  }

  /** @internal Maximum number of rejected messages with issues per range: more would be neither sent nor reported. */
  get maxDetailedRejections(): number {
    return this.#rejections.maxDetailed;
  }

  #countFramingError(connection: P): void {
    const errors = (this.#framingErrors.get(connection) ?? 0) + 1;
    this.#framingErrors.set(connection, errors);
    if (errors >= this.#settings.maxFramingErrors) void connection.disconnect('MESSAGE_TOO_LARGE');
  }

  /**
   * Rejects a chunk that no worker could validate. A poison message is alone in its chunk. Of the other messages, which were
   * abandoned, only the lines are counted: framing millions of them again would block this thread.
   */
  #rejectChunk(connection: P, chunk: Chunk): void {
    const { session } = connection;
    // It is not known how many messages it has. What follows is stored all the same, but not counted.
    if (session?.isInterrupted === false) {
      session.isInterrupted = true;
      connection.session = undefined;
    }
    const rejection = { code: 'VALIDATION_FAILED', type: undefined, issues: [] } as const;
    let isDetailed = true;
    let suppressed = 0;
    let last = 0;
    const { slab, start, end } = chunk;
    const lines = forEachLine(slab.arena.bytes, start, end, this.#settings.delimiter, (line) => {
      isDetailed &&= this.#rejections.hasRoom(connection);
      if (isDetailed) return this.#rejections.reject(connection, { ...rejection, line }, undefined);
      suppressed++;
      last = line;
    });
    if (suppressed > 0) this.#rejections.suppress(connection, { ...rejection, line: last }, suppressed);
    connection.line += lines;
    const failures = (this.#failures.get(connection) ?? 0) + 1;
    this.#failures.set(connection, failures);
    const mustClose = failures > MAX_FAILED_CHUNKS || connection.lane.mustClose;
    if (!mustClose || !connection.isOpen) return;
    void connection.disconnect('VALIDATION_FAILED');
    connection.lane.abandon();
  }
}

function frameBytes(chunk: Chunk, verdict: VerdictReader, frame: number): Buffer {
  return chunk.slab.arena.bytes.subarray(verdict.start(frame), verdict.end(frame));
}

/** How long a crawler waits for an answer to its job request, in ms. Default: `Infinity`. */
function requestTimeout(message: Buffer): number {
  // Few requests have it, so few are parsed here, on the main thread.
  if (message.length > MAX_CONTROL_BYTES || !message.includes(TIMEOUT_KEY)) return Number.POSITIVE_INFINITY;
  const { data } = JSON.parse(message.toString()) as { data?: { timeout_ms?: unknown } };
  return typeof data?.timeout_ms === 'number' ? data.timeout_ms : Number.POSITIVE_INFINITY;
}

function sum(counts: Iterable<number>): number {
  let total = 0;
  for (const count of counts) total += count;
  return total;
}
