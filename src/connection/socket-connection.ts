// One peer: its state, metadata and statistics. Reads through a MessageBuffer, sends through an Outbox, and closes
// once. Its messages are interpreted by the ProtocolHandler.

import type { Socket } from 'node:net';
import { type Assignee, Outbox, type OutboxEvents, type Piece } from '../delivery/outbox.js';
import { Lane } from '../dispatch/lane.js';
import { SluiceError } from '../errors.js';
import { cloneBytes } from '../memory/copy-bytes.js';
import type { FrameRange } from '../memory/slab-pool.js';
import { MAX_CONTROL_BYTES, type OutgoingMessage, type PeerRole } from '../messages/messages.js';
import { errorLine } from '../protocol/outgoing.js';
import type { PeerSession } from '../protocol/peer.js';
import type { CrawlerIdentity } from '../routing/job-owners.js';
import { SafeEmitter } from '../safe-emitter.js';
import {
  CLOSING_STATES,
  ConnectionCounters,
  type ConnectionMetadata,
  type ConnectionState,
  type ConnectionStatistics,
  type DeliveryState,
  type DropCause,
  type EventsOf,
  metadataOf,
  PAUSE,
  PAUSED_BY_PEER,
} from './connection-state.js';
import { publishDropped } from './diagnostics.js';
import { MessageBuffer } from './message-buffer.js';
import type { Pipeline } from './pipeline.js';
import {
  attachSocket,
  beforeDestroy,
  keepReadingAfterWriteError,
  queuedBytes,
  unwrittenBytes,
} from './slab-socket.js';

export type ConnectionEvents = EventsOf<SocketConnection>;

/** A peer is slow if a write has been unfinished for longer than this, in ms. */
const SLOW_WRITE = 1000;
/** A peer is slow if it has more than this share of `maxPendingBytes` to receive. */
const SLOW_SHARE = 0.5;
/** A peer counts as dropping messages for this long after the last one, in ms. */
const DROPPING_PERIOD = 60_000;
/** Withheld pongs above which reading stops. `SluiceClient` sends a ping per 64 KiB. */
const MAX_WITHHELD = 4096;
/** How long a slow consumer may read nothing before its connection is closed without the error, in ms. */
const SLOW_GRACE = 1000;
/** How often it is checked within such a time whether a peer reads. */
const GRACE_CHECKS = 4;
/** Number of checks, and ms between them, for which a TCP peer may take to close its side once the broker has closed its own. */
const LINGER_CHECKS = 4;
const LINGER_INTERVAL = 250;

export class SocketConnection extends SafeEmitter<ConnectionEvents> {
  readonly id: string;
  readonly connectedAt = new Date();
  readonly tags = new Set<string>();
  /** @internal */
  readonly lane: Lane;
  /** @internal */
  readonly outbox: Outbox;
  /** @internal Line number in the stream at which settling has arrived, counted from 0. */
  line = 0;
  /** @internal Number of accepted control messages. */
  controlReceived = 0;
  /** @internal The owner that jobs of this crawler refer to. */
  readonly identity: CrawlerIdentity;
  /** @internal Whether it has shown that it is a crawler: by a `hello`, or by a valid crawler message. */
  isIdentified = false;
  /** @internal Monotonic time at which it took its crawlerId, as the crawler's latest connection, in ms; 0 if it did not. */
  identifiedAt = 0;
  /** @internal Whether the peer's `hello` was accepted. */
  isHelloAccepted = false;
  /** @internal Whether the peer has sent a `ping`. */
  hasPinged = false;
  /** @internal Number of its messages that had no recipient. */
  undeliverable = 0;
  /** @internal Offset in the durable log after its latest message; 0 if none is stored. */
  loggedEnd = 0;
  /** @internal Number of its subscriptions to the durable log. */
  logSubscriptions = 0;
  /** @internal Its session, if it has one and there is a durable log. */
  session: PeerSession | undefined;
  #withheldPongs = 0;
  /** @internal Whether the peer has closed its side: it sends nothing more, and has probably ended. */
  hasEnded = false;
  /** @internal Called when the peer has closed its side: the connection ends once the returned promise settles. */
  beforeEnd: (() => Promise<void>) | undefined;
  readonly #pipeline: Pipeline;
  readonly #socket: Socket;
  readonly #buffer: MessageBuffer;
  readonly #connectedAt = performance.now();
  #sequence = 0;
  #workload = 0;
  #lastActivityAt = this.#connectedAt;
  #lastHeartbeatAt: number | undefined;
  #latency = 0;
  #role: PeerRole = 'crawler';
  #version: string | undefined;
  #name: string | undefined;
  #capabilities: readonly string[] = [];
  #state: ConnectionState = 'connecting';
  #pauses = 0;
  /** Monotonic time at which the broker paused reading, in ms, and the total of earlier such pauses. */
  #pausedAt = 0;
  #pausedTime = 0;
  #partialSince = 0;
  /** What was received while all reading was paused, and follows once that ends, in order. */
  readonly #postponed: (() => void)[] = [];
  #waitsForRoom = false;
  /** Bytes of that which count towards those of the pipeline. */
  #postponedBytes = 0;
  /** Monotonic time at which messages for the peer were last dropped, in ms. */
  #droppedAt = Number.NEGATIVE_INFINITY;
  readonly #counters = new ConnectionCounters();
  /** By code; a bounded set. */
  readonly #rejected = new Map<string, number>();
  #closeReason: string | undefined;
  /** Nothing can be sent to the peer any more; data that it has sent is still read. */
  #isWriteClosed = false;
  #graceTimer: NodeJS.Timeout | undefined;
  /** What is read is discarded, so that no limit needs a pause. */
  #isLingering = false;
  /** Once writing has failed, or the socket is destroyed: bytes of the last write that the kernel has not accepted. */
  #unwritten = 0;
  #resolveClosed: () => void = () => {};
  readonly #closed = new Promise<void>((resolve) => {
    this.#resolveClosed = resolve;
  });

  /** @internal */
  constructor(id: string, accepted: Socket, pipeline: Pipeline) {
    super();
    this.id = id;
    this.identity = { connectionId: id, crawlerId: undefined };
    this.#pipeline = pipeline;
    this.lane = new Lane(
      (chunk, until) => pipeline.settle(this, chunk, until),
      (error) => pipeline.reportListenerError(error),
    );
    this.#buffer = new MessageBuffer(pipeline.slabs, pipeline.options, {
      onFrames: (range) => {
        this.#partialSince = this.#lastActivityAt;
        pipeline.receive(this, range);
      },
      onSkipped: () => {
        this.#partialSince = this.#lastActivityAt;
      },
      onPartial: (bytes) => pipeline.receivePartial(this, bytes),
      onOversize: () => this.#afterReceived(() => pipeline.rejectOversize(this)),
    });
    this.#socket = attachSocket(
      accepted,
      this.#buffer,
      pipeline.options.receive,
      () => {
        this.#lastActivityAt = performance.now();
        if (!this.#buffer.hasPartial) this.#partialSince = this.#lastActivityAt;
      },
      () => this.#pauses === 0,
    );
    this.#socket.setNoDelay(true);
    beforeDestroy(this.#socket, () => {
      this.#unwritten = unwrittenBytes(this.#socket);
    });
    keepReadingAfterWriteError(this.#socket, (code, isUnwritten) => {
      if (isUnwritten) this.#unwritten = Number.POSITIVE_INFINITY;
      this.#onPeerHalfClosed(code);
    });
    const events: OutboxEvents = {
      onSlow: (messages, piece, member) => this.#closeSlow(messages, piece, member),
      onDropped: (messages) => {
        const { policy } = this.outbox;
        this.#countDropped(messages, policy === 'log' ? 'disconnect' : policy);
        pipeline.protocol.replyError(this, 'SLOW_CONSUMER');
      },
      onBlocked: (isBlocked) => pipeline.flow.setBlocked(this, isBlocked),
      onUnread: (isUnread) => this.setPaused(PAUSE.UNREAD, isUnread),
      onWritten: (bytes, messages, control) => {
        this.#counters.recordWritten(bytes, messages, control);
        pipeline.countWritten(bytes, messages, control);
        this.#onProgress();
      },
    };
    this.outbox = new Outbox(this.#socket, pipeline.options.maxPendingBytes, events, pipeline.queued);
    this.#socket.on('end', this.#onEnd);
    this.#socket.on('error', this.#onError);
    this.#socket.on('close', this.#onClose);
    this.setState('connected');
  }

  /** @internal For its addresses: reading and writing go through this class. */
  get socket(): Socket {
    return this.#socket;
  }

  // Public properties that only the broker may set: the setters are not in the published types.

  /**
   * Number of accepted messages, including control messages. Each message's own number is its `seq` for subscribers
   * with `meta`.
   */
  get sequence(): number {
    return this.#sequence;
  }

  /** @internal */
  set sequence(sequence: number) {
    this.#sequence = sequence;
  }

  /** The crawler's active jobs: the number in its last heartbeat, plus jobs assigned since. */
  get workload(): number {
    return this.#workload;
  }

  /** @internal */
  set workload(workload: number) {
    this.#workload = workload;
  }

  /** Monotonic time of the last received byte, in ms, shifted by any time in which the broker did not read. */
  get lastActivityAt(): number {
    return this.#lastActivityAt;
  }

  /** Monotonic time of the last heartbeat, in ms. */
  get lastHeartbeatAt(): number | undefined {
    return this.#lastHeartbeatAt;
  }

  /** @internal */
  set lastHeartbeatAt(time: number) {
    this.#lastHeartbeatAt = time;
  }

  /** Time from receipt to settlement of the latest chunk, in ms. */
  get latency(): number {
    return this.#latency;
  }

  /** @internal */
  set latency(latency: number) {
    this.#latency = latency;
  }

  /**
   * @internal Whether it reads the durable log, or may be about to, and has sent nothing that is postponed since reading from
   * all others was paused.
   */
  get isLogReader(): boolean {
    if (this.#pipeline.log === undefined || this.hasPostponed) return false;
    const { bytes, pendingBytes } = this.#buffer.statistics;
    if (this.logSubscriptions === 0) return bytes < MAX_CONTROL_BYTES;
    return pendingBytes <= MAX_CONTROL_BYTES || this.#pipeline.hasRoomInPause;
  }

  /** @internal Whether something that it has sent is postponed: what comes after that must be, too. */
  get hasPostponed(): boolean {
    return this.#postponed.length > 0;
  }

  /**
   * @internal Stops reading, and processes a range as soon as reading from all is no longer paused. If the connection is
   * closed before, the range is not processed, like what was not read.
   * @param waitsForRoom whether there was no memory for it: then it is also processed when there is some
   */
  postpone({ slab, start, end }: FrameRange, waitsForRoom: boolean): void {
    // Slabs that are held could keep the pause from ending.
    const bytes = cloneBytes(slab.arena.bytes.subarray(start, end));
    this.#postponed.push(() => this.#pipeline.receiveCopy(this, bytes));
    this.#waitsForRoom ||= waitsForRoom;
    // Of the others, each has sent little.
    if (this.logSubscriptions > 0) {
      this.#postponedBytes += bytes.length;
      this.#pipeline.postponedBytes += bytes.length;
    }
    this.setPaused(PAUSE.SERVER, true);
  }

  /** @internal Processes what was postponed since there was no memory, as far as there is some now. */
  retryPostponed(): void {
    if (this.#waitsForRoom) this.setPaused(PAUSE.SERVER, false);
  }

  /** @returns what was postponed, which the caller has to do */
  #takePostponed(): (() => void)[] {
    this.#pipeline.postponedBytes -= this.#postponedBytes;
    this.#postponedBytes = 0;
    this.#waitsForRoom = false;
    return this.#postponed.splice(0);
  }

  /** Runs an action once everything received before is settled. */
  #afterReceived(action: () => void): void {
    if (this.hasPostponed) this.#postponed.push(() => this.#afterReceived(action));
    else this.lane.after(action);
  }

  /** @internal Number of its pings that are not answered yet, since its messages are not durable. */
  get withheldPongs(): number {
    return this.#withheldPongs;
  }

  /** @internal */
  set withheldPongs(pongs: number) {
    this.#withheldPongs = pongs;
    this.setPaused(PAUSE.WITHHELD, pongs > MAX_WITHHELD);
  }

  get role(): PeerRole {
    return this.#role;
  }

  /** @internal */
  set role(role: PeerRole) {
    this.#role = role;
  }

  /** Protocol version of the peer's `hello`. */
  get version(): string | undefined {
    return this.#version;
  }

  /** @internal */
  set version(version: string) {
    this.#version = version;
  }

  /** Name of the program, from its `hello`. */
  get name(): string | undefined {
    return this.#name;
  }

  /** @internal */
  set name(name: string | undefined) {
    this.#name = name;
  }

  get capabilities(): readonly string[] {
    return this.#capabilities;
  }

  /** @internal */
  set capabilities(capabilities: readonly string[]) {
    this.#capabilities = capabilities;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** The crawlerId of its `hello`. */
  get crawlerId(): string | undefined {
    return this.identity.crawlerId;
  }

  /** Whether messages can still be sent to the peer. */
  get isOpen(): boolean {
    return !CLOSING_STATES.has(this.#state);
  }

  /** Whether messages may be sent to the peer: it has sent a valid token, or needs none. */
  get isAuthenticated(): boolean {
    return this.#pipeline.access.isAuthenticated(this);
  }

  /** @internal Whether messages may be sent to the peer, and it can still act on them: it has not closed its side. */
  get canReceive(): boolean {
    return this.isOpen && this.isAuthenticated && !this.hasEnded;
  }

  /** Whether the broker has paused reading from the peer. */
  get isPaused(): boolean {
    return this.#pauses !== 0;
  }

  /** Whether it is paused for a reason that is not the peer's doing, so that its silence does not count. */
  get isPausedByBroker(): boolean {
    return (this.#pauses & ~PAUSED_BY_PEER) !== 0;
  }

  /**
   * @internal Whether nothing is read from it now, and nothing that it has sent was processed; if it can receive nothing, it
   * may have sent control messages.
   */
  get isReplaceable(): boolean {
    if (!this.isOpen && !this.isGone) return false;
    const messages = this.isGone ? this.#sequence - this.controlReceived : this.#sequence;
    const isUnheard = messages === 0 && this.messagesRejected === 0 && this.lane.pendingBytes === 0;
    return this.isPausedByBroker && isUnheard;
  }

  /** @internal Whether nothing can be written to the peer any more. */
  get isGone(): boolean {
    return this.#isWriteClosed;
  }

  /** @internal Total time of such pauses so far, in ms. */
  get pausedTime(): number {
    return this.#pausedTime + (this.isPausedByBroker ? performance.now() - this.#pausedAt : 0);
  }

  /** Whether the peer keeps up with the messages sent to it. */
  get deliveryState(): DeliveryState {
    const now = performance.now();
    if (now - this.#droppedAt < DROPPING_PERIOD) return 'dropping';
    const isSlow = this.outbox.stalledFor(now) > SLOW_WRITE || this.outbox.fill > SLOW_SHARE;
    return isSlow ? 'slow' : 'current';
  }

  /**
   * @internal Monotonic time at which the current partial message began, in ms, shifted as {@link lastActivityAt};
   * `undefined` if there is none, or its end will not be read.
   */
  get partialSince(): number | undefined {
    const isAwaited = this.#buffer.hasPartial && (this.#pauses & PAUSE.CLOSING) === 0;
    return isAwaited ? this.#partialSince : undefined;
  }

  get metadata(): ConnectionMetadata {
    return metadataOf(this);
  }

  get statistics(): ConnectionStatistics {
    return {
      ...this.#counters,
      messagesReceived: this.sequence - this.controlReceived + this.#counters.messagesRejected,
      controlReceived: this.controlReceived,
      bytesReceived: this.#buffer.statistics.bytes,
      pendingBytes: this.outbox.pendingBytes,
      uptime: performance.now() - this.#connectedAt,
    };
  }

  /** @internal */
  get messagesRejected(): number {
    return this.#counters.messagesRejected;
  }

  /** @internal Rejected messages by code. */
  get rejectedByCode(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#rejected);
  }

  /** @internal Changes the state. A closing connection never becomes open again. */
  setState(to: ConnectionState): void {
    const from = this.#state;
    if (from === to || from === 'disconnected' || from === 'error') return;
    if (from === 'disconnecting' && to !== 'disconnected' && to !== 'error') return;
    this.#state = to;
    this.emitSafely('state_changed', { connection: this, from, to });
  }

  /** @internal Sets the state to `active`, because the peer has sent a valid message. */
  markActive(): void {
    if (this.#state !== 'active') this.setState('active');
  }

  /** @internal Counts a rejected message or another error of the peer. */
  recordError(code: string, count = 1): void {
    this.#counters.recordError(code, count);
  }

  /** @internal Counts rejected messages of the peer. */
  recordRejected(code: string, count = 1): void {
    this.#counters.messagesRejected += count;
    this.#rejected.set(code, (this.#rejected.get(code) ?? 0) + count);
    this.recordError(code, count);
  }

  /** @internal Stops or resumes reading, for one reason of `PAUSE`. */
  setPaused(reason: number, isPaused: boolean): void {
    if (this.#isLingering) return;
    const before = this.#pauses;
    const wasPausedByBroker = this.isPausedByBroker;
    this.#pauses = isPaused ? before | reason : before & ~reason;
    if (this.isPausedByBroker !== wasPausedByBroker) this.#measurePause(wasPausedByBroker);
    if (before === 0 && this.#pauses !== 0) this.#socket.pause();
    // It may lead to the next pause.
    if (reason === PAUSE.SERVER && !isPaused) for (const proceed of this.#takePostponed()) proceed();
    if (before !== 0 && this.#pauses === 0) this.#socket.resume();
  }

  /** The peer only seems silent while the broker does not read. */
  #measurePause(isOver: boolean): void {
    const now = performance.now();
    if (isOver) {
      this.#pausedTime += now - this.#pausedAt;
      this.#shiftClocks(now - this.#pausedAt, now);
    }
    this.#pausedAt = now;
  }

  /** The peer has read something: while it is not read from since it has not read everything, it is not silent. */
  #onProgress(): void {
    if ((this.#pauses & PAUSE.UNREAD) === 0) return;
    this.#lastActivityAt = performance.now();
    this.#partialSince = this.#lastActivityAt;
  }

  #shiftClocks(delay: number, now: number): void {
    this.#lastActivityAt = Math.min(now, this.#lastActivityAt + delay);
    this.#partialSince = Math.min(now, this.#partialSince + delay);
  }

  /** @internal Stops reading for good. What was received is processed, unless it is postponed. */
  stopReading(): void {
    this.setPaused(PAUSE.CLOSING, true);
    this.#buffer.scanDeferred();
  }

  /** @internal Extends the peer's deadlines by the time for which the event loop was blocked. @param delay in ms */
  shiftDeadlines(delay: number): void {
    const now = performance.now();
    this.#shiftClocks(delay, now);
    this.outbox.shiftDeadlines(delay, now);
  }

  /** @internal Whether `bytes` can be queued, after `ahead` other bytes, without the peer falling behind. */
  hasRoom(bytes: number, ahead: number): boolean {
    return this.isOpen && this.outbox.hasRoom(bytes, ahead);
  }

  /**
   * @internal Queues forwarded messages; they go out with the next flush.
   * @param member the member of a queue group that they are assigned to
   * @param isTakenOver whether they were queued for another member before
   */
  deliver(piece: Piece, member?: Assignee, isTakenOver?: boolean): void {
    if (!this.isOpen) {
      const isPassedOn = member !== undefined && this.#pipeline.takeOver(piece, member);
      if (!isPassedOn) this.#countDropped(piece.messages, 'closed');
      return;
    }
    this.outbox.deliver(piece, member, isTakenOver);
    this.#pipeline.flushLater(this);
  }

  /**
   * Validates a message and sends it. Resolves when it has been written to the socket.
   * @param line the encoded message, if it was validated before
   * @throws SluiceError `INVALID_MESSAGE`, `CONNECTION_CLOSED`, `SLOW_CONSUMER`, or `SEND_TIMEOUT` if it was not
   *   written within `sendTimeout`: the message stays queued and may still arrive
   */
  async send(message: OutgoingMessage, line?: Buffer): Promise<void> {
    await this.sendRaw(line ?? this.#pipeline.encode(message));
    this.#pipeline.recordSent(this, message);
  }

  /**
   * Sends bytes unchanged: whole messages, each with its delimiter. Resolves when they have been written to the socket.
   * @throws SluiceError `CONNECTION_CLOSED`, `SLOW_CONSUMER` if more than `maxPendingBytes` are queued, `SEND_TIMEOUT`
   */
  sendRaw(bytes: Buffer | string): Promise<void> {
    const { sendTimeout } = this.#pipeline.options;
    if (!this.isOpen) return Promise.reject(new SluiceError('CONNECTION_CLOSED'));
    if (this.outbox.fill > 1) return Promise.reject(new SluiceError('SLOW_CONSUMER'));
    const written = this.outbox.sendWithin(
      sendTimeout,
      typeof bytes === 'string' ? Buffer.from(bytes) : bytes,
    );
    this.flush();
    return written;
  }

  /** @internal Queues a message from the broker itself, without waiting until it is written. */
  reply(line: Buffer): void {
    if (!this.isOpen) return;
    this.outbox.reply(line);
    this.#pipeline.flushLater(this);
  }

  /** @internal Writes queued bytes to the socket. */
  flush(): void {
    this.outbox.flush(performance.now());
  }

  /** Sends queued bytes, then closes. Resolves when the connection is closed. */
  disconnect(reason = 'server'): Promise<void> {
    this.#close(reason, this.#pipeline.options.sendTimeout);
    return this.#closed;
  }

  /** Closes immediately. Queued messages are dropped and counted. */
  destroy(reason = 'destroyed'): void {
    this.#closeReason ??= reason;
    this.#takePostponed();
    this.#socket.destroy();
  }

  /** @param grace ms for which the peer may read nothing before the socket is closed with queued bytes unwritten */
  #close(reason: string, grace: number): void {
    if (this.#isWriteClosed) return this.destroy(reason);
    if (!this.isOpen) return;
    this.#closeReason ??= reason;
    this.setState('disconnecting');
    this.setPaused(PAUSE.CLOSING, true);
    this.#takePostponed();
    this.#leave();
    this.flush();
    this.#startGrace(grace);
    void this.outbox.drained().then(() => this.#socket.end(this.#linger));
  }

  /** Closes the socket once the kernel has accepted nothing for `grace` ms, but after `sendTimeout` in any case. */
  #startGrace(grace: number): void {
    const interval = grace / GRACE_CHECKS;
    const remaining = (): number => this.outbox.pendingBytes + queuedBytes(this.#socket);
    let before = remaining();
    let stalled = 0;
    let left = Math.max(grace, this.#pipeline.options.sendTimeout) / interval;
    // Checks are counted, not time: nothing is written while the event loop is blocked.
    this.#graceTimer = setInterval(() => {
      const now = remaining();
      stalled = now === before ? stalled + 1 : 0;
      before = now;
      left--;
      if (stalled === GRACE_CHECKS || left < 1) this.#socket.destroy();
    }, interval);
  }

  /**
   * The kernel resets a TCP connection that is closed with unread input, and discards what it still has to send. So the
   * input is read and discarded until the peer has closed its side. A broker that stops waits for one check only.
   */
  readonly #linger = (): void => {
    // Unix sockets have no addresses.
    if (this.#socket.remoteAddress === undefined || this.#socket.destroyed)
      return void this.#socket.destroy();
    clearInterval(this.#graceTimer);
    let left = LINGER_CHECKS;
    this.#graceTimer = setInterval(() => {
      left--;
      // After the event loop has read from sockets.
      if (left < 1 || this.#pipeline.isStopping) setImmediate(() => this.#socket.destroy());
    }, LINGER_INTERVAL);
    this.#buffer.discard();
    this.#isLingering = true;
    this.#pauses = 0;
    this.#socket.resume();
  };

  /** Drops queued messages, sends the reason to the peer, and closes the connection. */
  #closeSlow(messages: number, piece: Piece, member: Assignee | undefined): void {
    this.#fail('SLOW_CONSUMER');
    this.setPaused(PAUSE.CLOSING, true);
    this.#leave();
    const isPassedOn = member !== undefined && this.#pipeline.takeOver(piece, member);
    this.#countDropped((isPassedOn ? 0 : messages) + this.outbox.discard(), 'disconnect');
    this.reply(errorLine('SLOW_CONSUMER', {}, this.#pipeline.delimiter));
    this.#close('SLOW_CONSUMER', SLOW_GRACE);
  }

  /**
   * Ends the peer's subscriptions, and leaves unsent messages of its queue groups to the other members.
   * @param unwritten bytes of the current write that will not reach the kernel. Default: 0, since it continues.
   */
  #leave(unwritten = 0): void {
    const { protocol, delimiter } = this.#pipeline;
    protocol.forget(this);
    this.outbox.passOn((piece, member) => this.#pipeline.takeOver(piece, member), delimiter, unwritten);
  }

  /** @internal */
  protected override onListenerError(error: unknown): void {
    this.#pipeline.reportListenerError(error);
  }

  #countDropped(messages: number, cause: DropCause): void {
    if (messages === 0) return;
    this.#counters.messagesDropped += messages;
    this.#droppedAt = performance.now();
    this.#pipeline.countDropped(messages, cause);
    publishDropped({ connectionId: this.id, crawlerId: this.crawlerId, cause, count: messages });
    this.emitSafely('dropped', { connection: this, messages });
  }

  #fail(code: string): void {
    this.recordError(code);
    this.emitSafely('failed', { connection: this, code });
  }

  /** Stops sending. Data that the peer sent before it disconnected is still read to its end and delivered. */
  #onPeerHalfClosed(code: string): void {
    const wasOpen = this.isOpen;
    this.#isWriteClosed = true;
    this.#closeReason ??= code;
    this.#fail(code);
    this.#leave(this.#unwritten);
    this.#countDropped(this.outbox.close(), 'closed');
    if (!wasOpen) return this.destroy();
    this.setState('disconnecting');
    // Nobody would resume it.
    this.setPaused(PAUSE.ADMIN, false);
    // A peer may stop reading but keep its side open: then the connection ends after a period of silence.
    const { sendTimeout } = this.#pipeline.options;
    this.#socket.setTimeout(sendTimeout);
    this.#socket.on('timeout', () => {
      const before = this.#lastActivityAt;
      // After the event loop has read from sockets: what arrived while it was blocked breaks the silence.
      setImmediate(() => {
        if (!this.isPaused && this.#lastActivityAt === before) this.destroy();
        else this.#socket.setTimeout(sendTimeout);
      });
    });
  }

  /** The peer has closed its side: the connection ends once all its messages are settled and answered. */
  readonly #onEnd = (): void => {
    this.hasEnded = true;
    // If the peer has disconnected, a write in progress fails before the event loop continues.
    this.#unwritten = unwrittenBytes(this.#socket);
    setImmediate(() => {
      if (!this.#socket.destroyed) this.#unwritten = 0;
    });
    this.#buffer.end();
    this.#afterReceived(() => {
      const handled = this.beforeEnd?.() ?? Promise.resolve();
      const answered = this.#pipeline.whenAnswered(this);
      void Promise.allSettled([handled, answered]).then(() => this.disconnect('peer'));
    });
  };

  readonly #onError = (error: NodeJS.ErrnoException): void => {
    // The broker has closed its side, and sent everything: how the peer closes its own does not matter.
    if (this.#isLingering) return;
    this.#closeReason ??= error.code ?? 'socket_error';
    this.#fail(error.code ?? 'socket_error');
  };

  readonly #onClose = (hadError: boolean): void => {
    this.#buffer.scanDeferred();
    this.#buffer.close();
    this.#takePostponed();
    clearInterval(this.#graceTimer);
    this.#leave(this.#unwritten);
    this.#countDropped(this.outbox.close(), 'closed');
    this.setState(hadError && !this.#isLingering ? 'error' : 'disconnected');
    const reason = this.#closeReason ?? 'peer';
    this.#pipeline.close(this, reason);
    this.emitSafely('closed', { connection: this, reason });
    this.#resolveClosed();
  };
}
