// The queue of bytes for one peer. Writes queued bytes with one system call, holds each slab until its bytes are
// written, and applies the overflow policy when the peer falls behind. Peers never wait for each other.

import type { Writable } from 'node:stream';
import { SluiceError } from '../errors.js';
import { Fifo } from '../fifo.js';
import { copyBytes } from '../memory/copy-bytes.js';
import type { Slab } from '../memory/slab-pool.js';
import type { OverflowPolicy } from '../messages/messages.js';
import { withTimeout } from '../timeout.js';
import { Watermark } from '../watermark.js';
import { countDelimiters } from '../wire/framing.js';

/** Copied bytes that several outboxes may hold. They are counted once. */
interface SharedCopy {
  readonly bytes: Buffer;
  holders: number;
}

/** Bytes for a peer: a slice of a slab, or a separate buffer. The same piece may be delivered to many peers. */
export interface Piece {
  readonly bytes: Buffer;
  /** The slab that contains `bytes`; `undefined` if they were copied. */
  readonly slab: Slab | undefined;
  /** Number of messages in `bytes`. */
  readonly messages: number;
  /** Size of the run that they are a part of, if subscribers receive other parts of it. Default: that of `bytes`. */
  readonly span?: number;
  /** Whether they are control messages of the broker. Default: false. */
  readonly isControl?: boolean;
  /** Set by outboxes that queue the bytes without a slab. */
  copy?: SharedCopy;
}

/**
 * The member of a queue group to which messages were assigned: what has to be known to let another member take them
 * over. Pieces of ordinary subscriptions have none.
 */
export interface Assignee {
  readonly groupName: string;
  /** Equal for members whose messages are interchangeable: they have equal filters. */
  readonly filterKey: string;
  /** Whether the messages are wrapped with `meta`. */
  readonly hasMeta: boolean;
}

/**
 * Memory of what is queued in all outboxes that share this object, in bytes, but for slabs, which their pool counts.
 * Messages from the durable log are not included: they have a limit of their own.
 */
export interface QueueMemory {
  bytes: number;
}

export interface OutboxEvents {
  /** `disconnect` policy: the peer is too slow. @param messages number of messages in `piece`, which was not queued */
  onSlow(messages: number, piece: Piece, member: Assignee | undefined): void;
  /** A `drop-…` policy has dropped messages. */
  onDropped(messages: number): void;
  /** `block` policy: the peer has fallen behind (true) or caught up (false). */
  onBlocked(isBlocked: boolean): void;
  /** The bytes that no overflow policy may drop crossed the high (true) or low (false) watermark. */
  onUnread(isUnread: boolean): void;
  /**
   * The socket has written bytes.
   * @param messages number of application messages among them: forwarded, or sent by code in this process
   * @param control number of control messages of the broker among them
   */
  onWritten(bytes: number, messages: number, control: number): void;
}

/**
 * `forwarded`: messages that the overflow policy may drop. `undroppable`: replies, messages of this process and requested
 * messages; the policy counts their bytes, but does not apply to them. `stored`: messages from the durable log. They are
 * queued only while few bytes wait, so the policy neither drops nor counts them.
 */
type EntryKind = 'forwarded' | 'undroppable' | 'stored';

interface Entry {
  readonly bytes: Buffer;
  readonly slab: Slab | undefined;
  readonly messages: number;
  /** Whether it is a control message of the broker, such as a reply. */
  readonly isControl: boolean;
  /** The copy that `bytes` belongs to, if other outboxes may hold it too. */
  readonly copy: SharedCopy | undefined;
  readonly kind: EntryKind;
  readonly done: ((error?: Error) => void) | undefined;
  /** The member of a queue group that the messages were assigned to. */
  readonly member: Assignee | undefined;
  /** Whether it was taken over from another member. */
  readonly isTakenOver: boolean;
  /** Increases from entry to entry, in the order in which they are sent. Set when it is queued. */
  order: number;
}

interface RoomWaiter {
  readonly bytes: number;
  readonly resolve: () => void;
}

/** Bytes of undroppable messages that may be pending before reading from the peer pauses. */
const MAX_UNDROPPABLE_BYTES = 256 * 1024;
/** The low watermarks of pending and of undroppable bytes, as a share of the high ones. */
const LOW_SHARE = 0.5;
/** Maximum bytes per write, so that most of a slow peer's backlog stays in the queue, where it can be dropped. */
const WRITE_BYTES = 512 * 1024;
/** Maximum pieces per write. Linux accepts up to 1,024 in one writev. */
const WRITE_PIECES = 512;
/**
 * Bytes that have to wait for a write are copied if their run is a smaller share of the memory that they would hold: of a
 * slab, or of Node's pool for small buffers. Larger runs stay in their slab, which subscribers with different filters
 * share. So a peer that does not read holds at most four times the bytes that its overflow policy counts, or eight times
 * if it receives half of each run. At full load, with a subscriber of everything that is always behind, this copies a tenth
 * of the bytes.
 */
const MIN_SHARE = 0.25;
/**
 * Bytes that each queued piece counts as in addition to its messages, wherever a limit is concerned: measured 110 of heap.
 * Otherwise a peer could be far below its limit with more small pieces than the heap has room for.
 */
export const ENTRY_OVERHEAD = 128;
/** Bytes that a buffer counts as in addition to its content, once for all outboxes: measured 430, if it is not in a pool. */
const BUFFER_OVERHEAD = 448;

export class Outbox {
  readonly #socket: Writable;
  readonly #events: OutboxEvents;
  /** Pending bytes, with {@link ENTRY_OVERHEAD} for each piece, above which the overflow policy applies. */
  readonly maxPendingBytes: number;
  readonly #memory: QueueMemory;
  #policy: OverflowPolicy = 'disconnect';
  /** The queued entries: those that may be dropped, which are found at once among any number of others, and the others. */
  readonly #forwarded = new Fifo<Entry>();
  readonly #others = new Fifo<Entry>();
  #order = 0;
  #writing: Entry[] = [];
  #pendingBytes = 0;
  /** The sizes, as {@link sizeOf} counts, of all pending entries, and of some: */
  #size = 0;
  #undroppableSize = 0;
  /** those taken over from other members of a queue group, which the overflow policy does not count; */
  #takenOverSize = 0;
  #storedSize = 0;
  /** Watermark of the pending bytes, with the `block` policy. */
  readonly #blocked: Watermark;
  /** Watermark of the undroppable bytes. */
  readonly #unread = new Watermark(MAX_UNDROPPABLE_BYTES, LOW_SHARE);
  #storedMessages = 0;
  #roomWaiters: RoomWaiter[] = [];
  #closed = false;
  #writingSince = 0;
  #drainWaiters: (() => void)[] = [];

  /**
   * @param maxPendingBytes as {@link Outbox.maxPendingBytes}
   * @param memory counter to which the memory of this outbox is added. If omitted, it is not counted.
   */
  constructor(
    socket: Writable,
    maxPendingBytes: number,
    events: OutboxEvents,
    memory: QueueMemory = { bytes: 0 },
  ) {
    this.#memory = memory;
    this.#socket = socket;
    this.maxPendingBytes = maxPendingBytes;
    this.#blocked = new Watermark(maxPendingBytes, LOW_SHARE);
    this.#events = events;
  }

  /** Bytes that are queued or being written. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** The share of {@link maxPendingBytes} that is used. */
  get fill(): number {
    return this.#size / this.maxPendingBytes;
  }

  /** Number of messages from the durable log that were queued so far. */
  get storedMessages(): number {
    return this.#storedMessages;
  }

  get policy(): OverflowPolicy {
    return this.#policy;
  }

  set policy(policy: OverflowPolicy) {
    this.#policy = policy;
    this.#updateMarks();
  }

  /** Duration of the current write, in ms; 0 if there is none. */
  stalledFor(now: number): number {
    return this.#writing.length === 0 ? 0 : now - this.#writingSince;
  }

  /** Shortens the measured duration of the current write. @param delay ms to subtract */
  shiftDeadlines(delay: number, now: number): void {
    this.#writingSince = Math.min(now, this.#writingSince + delay);
  }

  /** Whether `bytes` can be queued, after `ahead` other bytes, without the peer falling behind. */
  hasRoom(bytes: number, ahead: number): boolean {
    if (this.#pendingBytes === 0 && ahead === 0) return true;
    return !this.#blocked.isHigh && this.#countedSize + ahead + bytes <= this.maxPendingBytes;
  }

  /**
   * Queues forwarded messages. The next {@link flush} writes them.
   * @param member the member of a queue group that they are assigned to
   * @param isTakenOver whether they were queued for another member before: then the overflow policy does not apply
   */
  deliver(piece: Piece, member?: Assignee, isTakenOver = false): void {
    if (this.#closed) return;
    if (!isTakenOver && !this.#fits(piece) && !this.#makeRoom(piece, member)) return;
    if (this.#writing.length > 0 && isSmallShare(piece)) piece.copy = copyOf(piece.bytes);
    else if (piece.slab === undefined) piece.copy ??= { bytes: piece.bytes, holders: 0 };
    if (piece.copy === undefined) piece.slab?.hold();
    this.#push(forwarded(piece, member, isTakenOver));
  }

  /** Queues a message of this process. @param done called once, when it is written or has failed */
  send(bytes: Buffer, done?: (error?: Error) => void): void {
    if (this.#closed) {
      done?.(new SluiceError('CONNECTION_CLOSED'));
      return;
    }
    this.#push(unassigned('undroppable', bytes, 1, false, done));
  }

  /**
   * Queues a message of the broker itself: an answer, an error, a ping.
   * @param done called once, when it is written or has failed
   */
  reply(bytes: Buffer, done?: (error?: Error) => void): void {
    if (!this.#closed) this.#push(unassigned('undroppable', bytes, 1, true, done));
  }

  /** Queues forwarded messages that the peer has requested: the overflow policy does not apply to them. */
  answer(bytes: Buffer, messages: number): void {
    if (!this.#closed) this.#push(unassigned('undroppable', bytes, messages, false, undefined));
  }

  /** Queues messages from the durable log. Wait for {@link whenBelow} first. */
  deliverStored({ bytes, slab, messages }: Piece): void {
    if (this.#closed) return;
    slab?.hold();
    this.#storedMessages += messages;
    this.#push({ ...unassigned('stored', bytes, messages, false, undefined), slab });
  }

  /** Resolves when at most `bytes` are pending, or the outbox is closed. */
  whenBelow(bytes: number): Promise<void> {
    if (this.#pendingBytes <= bytes || this.#closed) return Promise.resolve();
    return new Promise((resolve) => this.#roomWaiters.push({ bytes, resolve }));
  }

  /**
   * Queues a message of this process. Resolves when it is written. After a timeout, it stays queued.
   * @param timeout ms
   * @throws SluiceError `CONNECTION_CLOSED`, `SEND_TIMEOUT`
   */
  sendWithin(timeout: number, bytes: Buffer): Promise<void> {
    const written = new Promise<void>((resolve, reject) => {
      this.send(bytes, (error) => (error ? reject(error) : resolve()));
    });
    return withTimeout(written, timeout, () => {
      throw new SluiceError('SEND_TIMEOUT');
    });
  }

  /** Writes queued bytes to the socket, unless an earlier write is unfinished. */
  flush(now: number): void {
    if (this.#writing.length > 0 || this.#nextQueue.length === 0 || this.#closed) return;
    if (this.#socket.destroyed) return;
    this.#writing = this.#dequeueWrite();
    this.#writingSince = now;
    const last = this.#writing.length - 1;
    if (last > 0) this.#socket.cork();
    this.#writing.forEach((entry, index) => {
      if (index < last) this.#socket.write(entry.bytes);
      else this.#socket.write(entry.bytes, this.#onWritten);
    });
    if (last > 0) this.#socket.uncork();
  }

  /** Resolves when no bytes are pending or the outbox is closed. */
  drained(): Promise<void> {
    if (this.#pendingBytes === 0 || this.#closed) return Promise.resolve();
    return new Promise((resolve) => this.#drainWaiters.push(resolve));
  }

  /**
   * Removes the messages that were assigned to members of queue groups and that the kernel has not accepted, for other
   * members to take over, in order.
   * @param takeOver returns whether another member has taken a piece over; otherwise, it stays here
   * @param delimiter the byte after each message
   * @param unwritten bytes of the current write that the kernel has not accepted and never will. Default: 0.
   */
  passOn(takeOver: (piece: Piece, member: Assignee) => boolean, delimiter: number, unwritten = 0): void {
    if (unwritten > 0) this.#passOnCurrentWrite(takeOver, delimiter, unwritten);
    const passedOn = this.#forwarded.extract(
      (entry) => entry.member !== undefined && takeOver(pieceOf(entry), entry.member),
    );
    for (const entry of passedOn) this.#settle(entry);
    this.#updateMarks();
    if (this.#pendingBytes === 0) this.#resolveWaiters();
  }

  /** As {@link passOn}. Messages of queue groups that the kernel has accepted as a whole are not counted as lost. */
  #passOnCurrentWrite(
    takeOver: (piece: Piece, member: Assignee) => boolean,
    delimiter: number,
    unwritten: number,
  ): void {
    /** Bytes that the kernel has accepted, from the start of the entry. */
    let written = this.#writing.reduce((sum, { bytes }) => sum + bytes.length, -unwritten);
    const kept: Entry[] = [];
    for (const entry of this.#writing) {
      const { member, bytes } = entry;
      if (member === undefined) kept.push(entry);
      else {
        const sent = countDelimiters(bytes.subarray(0, Math.max(0, written)), delimiter);
        const rest = unwrittenMessages(entry, written, delimiter);
        const passedOn = rest !== undefined && takeOver(rest, member) ? rest.messages : 0;
        kept.push({ ...entry, messages: entry.messages - sent - passedOn });
      }
      written -= bytes.length;
    }
    this.#writing = kept;
  }

  /**
   * Discards bytes that were not yet passed to the socket, and releases their slabs.
   * @returns the number of discarded forwarded messages
   */
  discard(): number {
    return this.#discardEntries(this.#clearQueues());
  }

  /**
   * Discards all pending bytes, after the socket was closed.
   * @returns the number of undelivered forwarded messages
   */
  close(): number {
    if (this.#closed) return 0;
    this.#closed = true;
    const lost = this.#discardEntries([...this.#writing, ...this.#clearQueues()]);
    this.#writing = [];
    this.#resolveWaiters();
    this.#resolveRoomWaiters();
    return lost;
  }

  #dequeueWrite(): Entry[] {
    const group: Entry[] = [];
    let bytes = 0;
    while (group.length < WRITE_PIECES) {
      const queue = this.#nextQueue;
      const entry = queue.peek();
      if (entry === undefined) break;
      bytes += entry.bytes.length;
      if (group.length > 0 && bytes > WRITE_BYTES) break;
      group.push(entry);
      queue.shift();
    }
    return group;
  }

  /** The queue with the entry to send next. Empty if both are. */
  get #nextQueue(): Fifo<Entry> {
    const forwarded = this.#forwarded.peek();
    const other = this.#others.peek();
    if (forwarded === undefined) return this.#others;
    return other === undefined || forwarded.order < other.order ? this.#forwarded : this.#others;
  }

  #push(entry: Entry): void {
    entry.order = this.#order++;
    (entry.kind === 'forwarded' ? this.#forwarded : this.#others).push(entry);
    this.#count(entry, 1);
    this.#updateMarks();
  }

  readonly #onWritten = (error?: Error | null): void => {
    // Node reports a write as successful if the socket is destroyed before the kernel has accepted it.
    if (error || this.#closed || this.#socket.destroyed) return;
    let bytes = 0;
    let messages = 0;
    let control = 0;
    for (const entry of this.#writing) {
      bytes += entry.bytes.length;
      if (entry.isControl) control += entry.messages;
      else messages += entry.messages;
      this.#settle(entry);
    }
    this.#writing = [];
    this.#events.onWritten(bytes, messages, control);
    this.#updateMarks();
    this.#resolveRoomWaiters();
    if (this.#pendingBytes === 0) this.#resolveWaiters();
    else this.flush(performance.now());
  };

  /** Applies the overflow policy to a piece that exceeds the limit. @returns whether the piece may be queued */
  #makeRoom(piece: Piece, member: Assignee | undefined): boolean {
    switch (this.#policy) {
      case 'block':
        return true;
      case 'disconnect':
      case 'log':
        this.#events.onSlow(piece.messages, piece, member);
        return false;
      case 'drop-newest':
        this.#events.onDropped(piece.messages);
        return false;
      case 'drop-oldest':
        return this.#dropOldest(piece);
    }
  }

  /** Drops forwarded messages from the head of the queue, except those already passed to the socket. */
  #dropOldest(piece: Piece): boolean {
    let dropped = 0;
    while (!this.#fits(piece)) {
      const entry = this.#forwarded.shift();
      if (entry === undefined) break;
      dropped += entry.messages;
      this.#settle(entry);
    }
    const fits = this.#fits(piece);
    this.#events.onDropped(fits ? dropped : dropped + piece.messages);
    return fits;
  }

  /** One piece may be larger than the limit: a peer with nothing pending is not behind. */
  #fits(piece: Piece): boolean {
    return this.#pendingBytes === 0 || this.#countedSize + sizeOf(piece) <= this.maxPendingBytes;
  }

  /** The size of the pending entries that the overflow policy counts. */
  get #countedSize(): number {
    return this.#size - this.#takenOverSize - this.#storedSize;
  }

  #updateMarks(): void {
    const blockingSize = this.#policy === 'block' ? this.#size - this.#storedSize : 0;
    if (this.#blocked.update(blockingSize)) this.#events.onBlocked(this.#blocked.isHigh);
    if (this.#unread.update(this.#undroppableSize)) this.#events.onUnread(this.#unread.isHigh);
  }

  /** Adds an entry to the counts, or removes it. @param sign 1 or -1 */
  #count(entry: Entry, sign: 1 | -1): void {
    const size = sign * sizeOf(entry);
    this.#pendingBytes += sign * entry.bytes.length;
    this.#size += size;
    if (entry.kind === 'undroppable') this.#undroppableSize += size;
    if (entry.isTakenOver) this.#takenOverSize += size;
    if (entry.kind === 'stored') this.#storedSize += size;
    else {
      this.#memory.bytes += sign * ENTRY_OVERHEAD;
      if (entry.slab === undefined && isCountedHere(entry.copy, sign))
        this.#memory.bytes += sign * (entry.bytes.length + BUFFER_OVERHEAD);
    }
  }

  /** Removes an entry from the counts after it was written, dropped or discarded. */
  #settle(entry: Entry, error?: Error): void {
    this.#count(entry, -1);
    entry.slab?.release();
    entry.done?.(error);
  }

  #clearQueues(): Entry[] {
    const queued = [...this.#forwarded, ...this.#others];
    this.#forwarded.clear();
    this.#others.clear();
    return queued;
  }

  /** @returns the number of forwarded messages among them */
  #discardEntries(entries: readonly Entry[]): number {
    let lost = 0;
    // An error takes 10 to 20 µs to create, and few entries report it.
    let error: SluiceError | undefined;
    for (const entry of entries) {
      if (entry.done !== undefined) error ??= new SluiceError('CONNECTION_CLOSED');
      this.#settle(entry, error);
      if (entry.kind === 'forwarded') lost += entry.messages;
    }
    this.#updateMarks();
    return lost;
  }

  #resolveRoomWaiters(): void {
    if (this.#roomWaiters.length === 0) return;
    const waiting = this.#roomWaiters;
    const hasRoomFor = ({ bytes }: RoomWaiter) => this.#closed || this.#pendingBytes <= bytes;
    this.#roomWaiters = waiting.filter((waiter) => !hasRoomFor(waiter));
    for (const waiter of waiting) if (hasRoomFor(waiter)) waiter.resolve();
  }

  #resolveWaiters(): void {
    for (const resolve of this.#drainWaiters.splice(0)) resolve();
  }
}

function forwarded(
  { bytes, slab, messages, isControl = false, copy }: Piece,
  member: Assignee | undefined,
  isTakenOver: boolean,
): Entry {
  return {
    bytes: copy?.bytes ?? bytes,
    slab: copy === undefined ? slab : undefined,
    messages,
    isControl,
    copy,
    kind: 'forwarded',
    done: undefined,
    member,
    isTakenOver,
    order: 0,
  };
}

/** An entry that is not assigned to a member of a queue group. */
function unassigned(
  kind: EntryKind,
  bytes: Buffer,
  messages: number,
  isControl: boolean,
  done: Entry['done'],
): Entry {
  return {
    bytes,
    slab: undefined,
    messages,
    isControl,
    copy: undefined,
    kind,
    done,
    member: undefined,
    isTakenOver: false,
    order: 0,
  };
}

/** What a piece counts as wherever a limit is concerned, in bytes. */
function sizeOf({ bytes }: { readonly bytes: Buffer }): number {
  return bytes.length + ENTRY_OVERHEAD;
}

/** Whether a piece holds far more memory than it has bytes. */
function isSmallShare({ bytes, slab, copy, span = bytes.length }: Piece): boolean {
  const held =
    copy === undefined && slab !== undefined ? slab.size : (copy?.bytes ?? bytes).buffer.byteLength;
  return span < held * MIN_SHARE;
}

/** A copy in memory that it shares with no other buffer. */
function copyOf(bytes: Buffer): SharedCopy {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copyBytes(bytes, 0, bytes.length, copy, 0);
  return { bytes: copy, holders: 0 };
}

/** Adds or removes a holder of a copy. @returns whether it is the first one, or was the last one; true without a copy */
function isCountedHere(copy: SharedCopy | undefined, sign: 1 | -1): boolean {
  if (copy === undefined) return true;
  const before = copy.holders;
  copy.holders += sign;
  return Math.min(before, copy.holders) === 0;
}

function pieceOf({ bytes, slab, messages, copy }: Entry): Piece {
  return copy === undefined ? { bytes, slab, messages } : { bytes, slab, messages, copy };
}

/**
 * The messages of an entry after those that were written, wholly or in part. A message of which a part was written cannot
 * be sent again: its first receiver may have the rest of it.
 * @param written bytes of the entry that were written; 0 or less: none
 */
function unwrittenMessages(entry: Entry, written: number, delimiter: number): Piece | undefined {
  const { bytes, slab } = entry;
  if (written <= 0) return pieceOf(entry);
  if (written >= bytes.length) return undefined;
  const start = bytes[written - 1] === delimiter ? written : bytes.indexOf(delimiter, written) + 1;
  if (start === 0 || start === bytes.length) return undefined;
  const rest = bytes.subarray(start);
  return { bytes: rest, slab, messages: countDelimiters(rest, delimiter) };
}
