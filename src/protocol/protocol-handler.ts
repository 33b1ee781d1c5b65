// What the verdicts mean: control messages are acted on, rejected ones answered, all others handed to
// routing. Takes each connection's chunks in order, run by run; most of the traffic is one run a chunk.

import { FrameRun, wholeRun } from '../delivery/frame-run.js';
import type { Chunk } from '../dispatch/lane.js';
import { type RejectedFrame, RunKind, type Verdict } from '../dispatch/verdict.js';
import type { VerdictReader } from '../dispatch/verdict-reader.js';
import type { WireErrorCode } from '../errors.js';
import type { CopyPool } from '../memory/copy-pool.js';
import type { FrameRange } from '../memory/slab-pool.js';
import type { MessageRegistry, MessageType } from '../messages/message-registry.js';
import type { CrawlerRouter } from '../routing/crawler-router.js';
import type { Subscriptions } from '../routing/subscriptions.js';
import type { Framing } from '../wire/framing.js';
import { AccessControl } from './access.js';
import { ControlHandler, type ControlSettings } from './control-handler.js';
import { Gate } from './gate.js';
import { HelloGate } from './hello-gate.js';
import type { MessageValidator } from './message-validator.js';
import type { ErrorDetails } from './outgoing.js';
import type { Peer } from './peer.js';
import type { ProtocolStatistics } from './protocol-statistics.js';
import { SAMPLE_BYTES } from './redaction.js';
import { MAX_DETAILED_REJECTIONS, RejectedMessage, rejectionPiece } from './rejection.js';
import { ReplyLimiter } from './reply-limiter.js';
import { SecondLimiter } from './second-limiter.js';

export interface ProtocolSettings extends ControlSettings {
  readonly framing: Framing;
  readonly maxErrorReplies: number;
  readonly maxFramingErrors: number;
  readonly minHeartbeatInterval: number;
  readonly maxMessagesPerSecond: number;
}

/** Code in this process that wants to see messages. */
export interface ProtocolListener<P extends Peer> {
  onMessages(connection: P, run: FrameRun): void;
  onRejected(rejection: RejectedMessage<P>): void;
  /** Whether anybody listens to that. */
  wantsRejections(): boolean;
}

/** Messages that no worker survives after which their connection is closed. */
const MAX_FAILED_CHUNKS = 5;

/** @typeParam P the connections */
export class ProtocolHandler<P extends Peer> {
  readonly #settings: ProtocolSettings;
  readonly #registry: MessageRegistry;
  readonly #subscriptions: Subscriptions;
  readonly #recipients: CrawlerRouter<P>;
  readonly #listener: ProtocolListener<P>;
  readonly #control: ControlHandler;
  /** Memory for what is copied on its way to the subscribers. */
  readonly #copies: CopyPool;
  readonly #access: AccessControl;
  readonly #gate: Gate;
  readonly #helloGate: HelloGate;
  readonly #replies: ReplyLimiter;
  readonly #detailed = new SecondLimiter<P>(MAX_DETAILED_REJECTIONS);
  /** Rejected messages that were only counted since the latest that was told of, by connection. */
  readonly #suppressed = new Map<P, { count: number; latest: RejectedFrame }>();
  /** By type index: whether messages report a workload. */
  readonly #reportsWorkload: readonly boolean[];
  readonly #accepted: number[];
  readonly #rejected = new Map<WireErrorCode, number>();
  /** Messages that were found valid, and counted so, before the gate rejected them. */
  #rejectedByGate = 0;
  /** Too long messages in a row, by connection. */
  readonly #framingErrors = new WeakMap<P, number>();
  /** When the latest forwarded heartbeat was received, by connection. */
  readonly #heartbeatAt = new WeakMap<P, number>();
  readonly #byPattern = { matched: 0, mismatched: 0, layoutsLearned: 0, layoutsDropped: 0 };
  /** Messages that no worker survived, by connection. */
  readonly #failures = new WeakMap<P, number>();
  #undeliverable = 0;
  #heartbeatsDropped = 0;

  constructor(
    settings: ProtocolSettings,
    validator: MessageValidator,
    subscriptions: Subscriptions,
    recipients: CrawlerRouter<P>,
    listener: ProtocolListener<P>,
    copies: CopyPool,
    access: AccessControl = new AccessControl(),
  ) {
    this.#copies = copies;
    this.#access = access;
    this.#settings = settings;
    const { registry } = validator;
    this.#registry = registry;
    this.#subscriptions = subscriptions;
    this.#recipients = recipients;
    this.#listener = listener;
    this.#replies = new ReplyLimiter(settings.maxErrorReplies, settings.delimiter);
    this.#control = new ControlHandler(settings, subscriptions, this.#replies, access);
    this.#gate = new Gate(access, this.#replies, settings.maxMessagesPerSecond, (code, count) => {
      this.#countRejected(code, count);
      this.#rejectedByGate += count;
    });
    const { framing, delimiter } = settings;
    this.#helloGate = new HelloGate({ framing, delimiter }, validator, this.#control, {
      onHello: ({ index }) => {
        this.#accepted[index] = (this.#accepted[index] ?? 0) + 1;
      },
      onUnauthorized: (connection, type) => this.rejectUnauthenticated(connection, type),
    });
    this.#reportsWorkload = registry.types.map(({ traits }) => traits.reportsWorkload);
    this.#accepted = registry.types.map(() => 0);
  }

  get statistics(): ProtocolStatistics {
    const accepted: Record<string, number> = {};
    this.#registry.types.forEach(({ name, index }) => {
      const count = this.#accepted[index] ?? 0;
      if (count > 0) accepted[name] = count;
    });
    return {
      received: sum(this.#accepted) + sum(this.#rejected.values()) - this.#rejectedByGate,
      accepted,
      ...this.#byPattern,
      rejected: Object.fromEntries(this.#rejected),
      undeliverable: this.#undeliverable,
      heartbeatsDropped: this.#heartbeatsDropped,
      errorReplies: this.#replies.sent,
      errorsUnanswered: this.#replies.suppressed,
      subscriptions: this.#subscriptions.size,
      jobOwners: this.#recipients.owners.size,
    };
  }

  /** Adds a batch's counts to the statistics. */
  count(verdict: Verdict): void {
    this.#byPattern.matched += verdict.matched;
    this.#byPattern.mismatched += verdict.mismatches.length;
    this.#byPattern.layoutsLearned += verdict.layoutsLearned;
    this.#byPattern.layoutsDropped += verdict.layoutsDropped;
    const { accepted } = verdict;
    for (let index = 0; index < accepted.length; index++) {
      this.#accepted[index] = (this.#accepted[index] ?? 0) + (accepted[index] ?? 0);
    }
  }

  /** A connection's next chunk has its verdict. */
  settle(connection: P, chunk: Chunk): void {
    const { verdict } = chunk;
    if (verdict === undefined) return this.#rejectChunk(connection, chunk);
    const { index } = chunk;
    const runsEnd = verdict.runsEnd(index);
    for (let run = verdict.firstRun(index); run < runsEnd; run++)
      this.#handleRun(connection, chunk, verdict, run);
    connection.line += verdict.lines(index);
    // After the messages: a hello among them may have said who this is. What it may not say changes nothing.
    if (!this.#access.isAllowed(connection, 'report')) return;
    const activeJobs = verdict.activeJobs(index);
    if (activeJobs !== undefined) {
      connection.workload = activeJobs;
      connection.lastHeartbeatAt = chunk.receivedAt;
    }
    if (connection.role !== 'crawler') return;
    const { owners } = this.#recipients;
    const jobsEnd = verdict.jobsEnd(index);
    for (let job = verdict.firstJob(index); job < jobsEnd; job++) {
      owners.set(verdict.jobLow(job), verdict.jobHigh(job), connection.id);
    }
  }

  /**
   * Reads the `hello` of a peer that must say one first.
   * @returns where the messages behind it begin; the end of the range, where the peer is closed
   */
  authenticate(connection: P, range: FrameRange): number {
    return this.#helloGate.authenticate(connection, range);
  }

  /** Closes a peer that has not said the `hello` that it must say first. */
  rejectUnauthenticated(connection: Peer, messageType?: string): void {
    if (!connection.isOpen) return;
    this.#rejectUnreported(connection, 'UNAUTHORIZED', messageType);
    void connection.disconnect('UNAUTHORIZED');
  }

  /** Rejects a message for what its sender may do: it is counted and answered, and nobody else is told. */
  #rejectUnreported(connection: Peer, code: WireErrorCode, messageType: string | undefined): void {
    this.#countRejected(code, 1);
    connection.recordRejected(code);
    this.#replies.reply(connection, code, { messageType });
  }

  /** A message of the connection grew over maxMessageSize. */
  rejectOversize(connection: P): void {
    this.#reject(connection, { code: 'MESSAGE_TOO_LARGE', type: undefined, issues: [], line: 0 }, undefined);
  }

  /** Tells a peer of an error, as often as `maxErrorReplies` allows. */
  replyError(connection: P, code: WireErrorCode, details: ErrorDetails = {}): void {
    this.#replies.reply(connection, code, details);
  }

  /** A connection has gone. */
  forget(connection: P): void {
    const suppressed = this.#suppressed.get(connection);
    if (suppressed !== undefined && this.#isWatched) {
      this.#report(connection, suppressed.latest, undefined, suppressed.count - 1);
    }
    this.#suppressed.delete(connection);
    this.#subscriptions.removeAll(connection);
    this.#recipients.forget(connection.id);
  }

  #handleRun(connection: P, chunk: Chunk, verdict: VerdictReader, run: number): void {
    const first = verdict.firstFrame(run);
    const count = verdict.frameCount(run);
    const kind = verdict.runKind(run);
    if (kind === RunKind.REJECTED) return this.#rejectRun(connection, chunk, verdict, first, count);
    connection.markActive();
    this.#framingErrors.delete(connection);
    if (kind === RunKind.CONTROL) {
      connection.sequence++;
      const type = this.#registry.types[verdict.typeIndex(first)];
      if (type !== undefined && this.#gate.passControl(connection, type.name, chunk.receivedAt)) {
        this.#control.handle(connection, type, frameBytes(chunk, verdict, first));
      }
      return;
    }
    const action = kind === RunKind.ADDRESSED ? 'command' : 'report';
    // Other runs may have messages of several types.
    const isOne = kind === RunKind.ADDRESSED || kind === RunKind.REQUEST;
    const type = isOne ? this.#registry.types[verdict.typeIndex(first)] : undefined;
    const passed = this.#gate.pass(connection, action, count, type?.name, chunk.receivedAt);
    if (passed === 0) return;
    const firstSequence = connection.sequence + 1;
    connection.sequence += passed;
    const forwarded = new FrameRun({
      source: connection,
      chunk,
      verdict,
      first,
      count: passed,
      isUndelimited: kind !== RunKind.DELIMITED,
      firstSequence,
      delimiter: this.#settings.delimiter,
      copies: this.#copies,
    });
    if (type !== undefined && kind === RunKind.ADDRESSED) this.#direct(connection, type, forwarded);
    else if (kind === RunKind.REQUEST) {
      if (connection.isOpen) this.#recipients.onJobRequest(connection.id);
      this.#forward(connection, forwarded);
    } else if (this.#settings.minHeartbeatInterval > 0) this.#forwardPaced(connection, forwarded);
    else this.#forward(connection, forwarded);
  }

  #forward(connection: P, run: FrameRun): void {
    this.#subscriptions.route(run);
    this.#listener.onMessages(connection, run);
  }

  /** Forwards a run without the heartbeats that follow faster than `minHeartbeatInterval`. */
  #forwardPaced(connection: P, run: FrameRun): void {
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

  /** Sends one application message to the crawlers that it is for. */
  #direct(connection: P, { name, traits }: MessageType, run: FrameRun): void {
    const address = run.verdict.address(run.first);
    const recipients = this.#recipients.find({ traits, to: address?.to, job: address?.job }, connection.id);
    const piece = wholeRun(run);
    for (const recipient of recipients) {
      recipient.deliver(piece);
      if (traits.assignsJob) recipient.workload++;
    }
    if (recipients.length === 0) {
      this.#undeliverable++;
      connection.recordError('NO_RECIPIENT');
      this.#replies.reply(connection, 'NO_RECIPIENT', { messageType: name });
    }
    this.#listener.onMessages(connection, run);
  }

  /** Rejects messages one after another. Those that nobody is told of are only counted: a batch may have thousands. */
  #rejectRun(connection: P, chunk: Chunk, verdict: VerdictReader, first: number, count: number): void {
    // What is rejected counts for the rate as well.
    const end = first + this.#gate.take(connection, count, chunk.receivedAt);
    let isTold = true;
    let same = 0;
    for (let frame = first; frame < end; frame++) {
      const details = verdict.rejectionReason(frame);
      isTold &&= this.#replies.hasRoom(connection) || (this.#isWatched && this.#detailed.hasRoom(connection));
      if (isTold || details?.code === 'MESSAGE_TOO_LARGE') {
        const rejection = verdict.rejectedFrame(frame);
        // Nobody else looks at the message.
        const message = this.#isWatched ? frameBytes(chunk, verdict, frame) : undefined;
        if (rejection !== undefined) this.#reject(connection, rejection, message);
        continue;
      }
      same++;
      if (frame + 1 < end && verdict.rejectionReason(frame + 1) === details) continue;
      this.#rejectQuietly(connection, verdict.rejectedFrame(frame), same);
      same = 0;
    }
    for (let frame = end; frame < first + count; frame++) {
      this.#rejectUnreported(connection, 'RATE_LIMITED', verdict.rejectionReason(frame)?.type);
    }
  }

  /** Counts messages that are rejected for the same reason. @param last the last of them */
  #rejectQuietly(connection: P, last: RejectedFrame | undefined, count: number): void {
    if (last === undefined) return;
    this.#countRejected(last.code, count);
    connection.recordRejected(last.code, count);
    this.#replies.suppress(count);
    if (!this.#isWatched) return;
    const latest = { ...last, line: connection.line + last.line + 1 };
    const suppressed = this.#suppressed.get(connection);
    this.#suppressed.set(connection, { count: (suppressed?.count ?? 0) + count, latest });
  }

  #reject(connection: P, rejection: RejectedFrame, message: Buffer | undefined): void {
    const { code, type, issues } = rejection;
    const line = connection.line + rejection.line + 1;
    this.#countRejected(code, 1);
    connection.recordRejected(code);
    this.#replies.reply(connection, code, { messageType: type, line, issues });
    if (this.#isWatched) this.#watch(connection, { ...rejection, line }, message);
    if (code === 'MESSAGE_TOO_LARGE') this.#countFramingError(connection);
  }

  /** Whether somebody reads of every rejected message, beside its sender. */
  get #isWatched(): boolean {
    return this.#subscriptions.rejectedSubscribers.size > 0 || this.#listener.wantsRejections();
  }

  /** How many rejected messages of each range are to come with their issues: as many as somebody reads. */
  get maxDetailedRejections(): number {
    return this.#isWatched ? MAX_DETAILED_REJECTIONS : this.#settings.maxErrorReplies;
  }

  /** Tells of a rejected message, or counts it: a peer that sends nothing else must not keep everybody busy. */
  #watch(connection: P, rejection: RejectedFrame, message: Buffer | undefined): void {
    const suppressed = this.#suppressed.get(connection);
    if (this.#detailed.take(connection)) {
      this.#suppressed.delete(connection);
      this.#report(connection, rejection, message, suppressed?.count ?? 0);
    } else if (suppressed === undefined) this.#suppressed.set(connection, { count: 1, latest: rejection });
    else {
      suppressed.count++;
      suppressed.latest = rejection;
    }
  }

  #report(
    connection: P,
    { code, type, issues, line }: RejectedFrame,
    message: Buffer | undefined,
    suppressed: number,
  ): void {
    const { rejectedSubscribers } = this.#subscriptions;
    const bytes = message?.length ?? this.#settings.maxMessageSize;
    const details = { connection, code, messageType: type, issues, bytes, line, suppressed };
    // Copied: the slab may be reused before somebody reads the sample.
    const rejection = new RejectedMessage(details, Buffer.from(message?.subarray(0, SAMPLE_BYTES) ?? []));
    if (rejectedSubscribers.size > 0) {
      const piece = rejectionPiece(rejection, this.#settings.delimiter);
      for (const subscriber of rejectedSubscribers) subscriber.deliver(piece);
    }
    this.#listener.onRejected(rejection);
  }

  #countRejected(code: WireErrorCode, count: number): void {
    this.#rejected.set(code, (this.#rejected.get(code) ?? 0) + count);
  }

  #countFramingError(connection: P): void {
    const errors = (this.#framingErrors.get(connection) ?? 0) + 1;
    this.#framingErrors.set(connection, errors);
    if (errors >= this.#settings.maxFramingErrors) void connection.disconnect('MESSAGE_TOO_LARGE');
  }

  /** No worker could validate the chunk, however often it was tried. */
  #rejectChunk(connection: P, chunk: Chunk): void {
    const bytes = chunk.slab.arena.bytes.subarray(chunk.start, chunk.end);
    const { delimiter } = this.#settings;
    let lines = 0;
    for (let at = bytes.indexOf(delimiter); at !== -1; at = bytes.indexOf(delimiter, at + 1)) lines++;
    for (let line = 0; line < Math.max(1, lines); line++) {
      this.#reject(connection, { code: 'VALIDATION_FAILED', type: undefined, issues: [], line }, undefined);
    }
    connection.line += lines;
    const failures = (this.#failures.get(connection) ?? 0) + 1;
    this.#failures.set(connection, failures);
    const isTooMuch = failures > MAX_FAILED_CHUNKS || connection.lane.isGivenUp;
    if (!isTooMuch || !connection.isOpen) return;
    void connection.disconnect('VALIDATION_FAILED');
    connection.lane.abandon();
  }
}

function frameBytes(chunk: Chunk, verdict: VerdictReader, frame: number): Buffer {
  return chunk.slab.arena.bytes.subarray(verdict.start(frame), verdict.end(frame));
}

function sum(counts: Iterable<number>): number {
  let total = 0;
  for (const count of counts) total += count;
  return total;
}
