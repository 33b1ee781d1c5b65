// The log of a broker: what is forwarded to subscribers, as records of the durable log.

import type { FrameRun, RunSender } from '../delivery/frame-run.js';
import { describeError, SluiceError } from '../errors.js';
import type { JobSeed } from '../messages/job-key.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { matchesType } from '../messages/type-patterns.js';
import { withTimeout } from '../timeout.js';
import { Watermark } from '../watermark.js';
import type { LogSender } from './active-segment.js';
import {
  type CursorFormat,
  Cursors,
  highestOffset,
  LOG_CURSORS,
  lowestOffset,
  RESERVED_PREFIX,
} from './cursors.js';
import { type DeadLetterStatistics, DeadLetters, type DeadLettersOptions } from './dead-letters.js';
import { defaultMaxBytes, MIN_SEGMENTS } from './default-limit.js';
import { FolderDisk, type LogDisk } from './disk.js';
import { FolderLock } from './folder-lock.js';
import type { LogReader } from './log-reader.js';
import { LogStore, type LogStoreOptions } from './log-store.js';
import { formatEpoch, type Position } from './position.js';
import { RunRecord } from './run-record.js';
import { LogFormatError } from './segments.js';

export interface MessageLogOptions
  extends Required<Pick<LogStoreOptions, 'segmentBytes' | 'maxAge' | 'syncInterval'>> {
  /** Path of the folder. */
  readonly folder: string;
  /** Maximum bytes of the log. Default: a tenth of the free space, at most 16 GiB, but at least what it occupies. */
  readonly maxBytes: number | undefined;
  /** Patterns of message types that are not stored. */
  readonly excludedTypes: readonly string[];
  /**
   * What happens if the disk fails: `stop` stops reading from publishers until it works again; `pass` forwards their
   * messages without storing them, and confirms none of them.
   */
  readonly onFailure: 'stop' | 'pass';
  /** Whether messages are kept until every cursor has read them. */
  readonly keepsUnread: boolean;
  /** What happens to new messages if there is no room, and unread ones are kept. */
  readonly onFull: 'drop-oldest' | 'block' | 'reject';
  readonly deadLetters: DeadLettersOptions;
  /** Called if the cursors are damaged or cannot be written, or if the log lacks messages that they have passed. */
  readonly onCursorError: (error: unknown) => void;
  readonly delimiter: number;
  readonly registry: MessageRegistry;
}

/** Events of the log. */
export interface MessageLogListener {
  /** More messages are durable, or their memory was released. */
  onDurable(): void;
  /** The disk has failed, or works again. */
  onAvailability(isAvailable: boolean, error: unknown): void;
}

/** Bytes that wait for the disk: above it, the log is behind. */
const MAX_PENDING = 32 * 1024 * 1024;
const LOW_SHARE = 0.75;
/** How often the disk is checked, in ms. */
const CHECK_INTERVAL = 1000;
/**
 * Offsets that are left out after a loss of messages: more than were lost beyond the highest cursor, since their readers may
 * have stored positions themselves.
 */
const LOST_RANGE = 1e9;

/** Maximum number of cursors that the statistics list. */
const MAX_LISTED_CURSORS = 100;

/** The offset after messages that were not stored: it is never durable. */
export const NEVER = Number.POSITIVE_INFINITY;

/** The session of a sender, as far as the log is concerned. */
export interface SenderSession {
  readonly id: string;
  /** Offset after its latest message; 0 if none is stored. */
  loggedEnd: number;
  /** Whether it stores no more messages: its client sends again what was not stored, and what came after that. */
  readonly isInterrupted: boolean;
  /** Number of decided messages before one of the current run. @param sequence of the message */
  decidedBefore(sequence: number): number;
}

export interface LogStatistics {
  /** Offsets of the oldest message and of the next one. */
  readonly first: number;
  readonly end: number;
  /** All messages before this offset are durable. */
  readonly durable: number;
  /** Bytes on the disk. */
  readonly bytes: number;
  /** Bytes that wait for the disk. */
  readonly pendingBytes: number;
  /** Whether the disk works. */
  readonly isAvailable: boolean;
  readonly syncs: number;
  /** Total time of the syncs, in ms. */
  readonly syncTime: number;
  /** How often the disk has failed. */
  readonly failures: number;
  /** Messages that were forwarded without being stored, while the disk had failed. */
  readonly messagesPassed: number;
  readonly deadLetters: DeadLetterStatistics;
  /** Number of cursors. */
  readonly cursorsTotal: number;
  /**
   * At most 100 cursors: those that are furthest behind, the furthest first. `behind` is the number of messages after the
   * cursor; if it refers to a log that no longer exists, the number of all messages.
   */
  readonly cursors: readonly { readonly name: string; readonly behind: number }[];
}

export class MessageLog {
  readonly #store: LogStore;
  readonly #lock: FolderLock;
  readonly deadLetters: DeadLetters;
  readonly cursors: Cursors<Position>;
  /** Names of cursors that handlers in this process move. */
  readonly handlerCursors = new Set<string>();
  /**
   * Up to where messages were forwarded to the engine of a fleet, and the cursor that keeps them for a while. If there is
   * no room, they are removed anyway.
   */
  forwarded: { readonly cursor: string; readonly offset: number } | undefined;
  /** Cursors in other files. */
  readonly #moreCursors: Pick<Cursors<unknown>, 'close'>[] = [];
  readonly #folder: string;
  readonly #disk: LogDisk;
  readonly #onCursorError: (error: unknown) => void;
  readonly #onFailure: 'stop' | 'pass';
  readonly #rejectsIfFull: boolean;
  /** 1 for a type that is not stored, by type index. */
  readonly #isExcluded: Uint8Array;
  readonly #hasExcluded: boolean;
  /** What the latest record of each sender refers to. */
  readonly #senders = new WeakMap<RunSender, LogSender>();
  #senderCount = 0;
  /** The latest messages, while others may follow in the same record. */
  #open: RunRecord | undefined;
  /** The session of its sender. */
  #session: string | undefined;
  #copiedBytes = 0;
  readonly #pending = new Watermark(MAX_PENDING, LOW_SHARE);
  #messagesPassed = 0;
  #listener: MessageLogListener | undefined;
  #wasAvailable = true;
  readonly #checkTimer: NodeJS.Timeout;
  /** Maximum bytes on the disk. */
  readonly maxBytes: number;

  private constructor(
    disk: LogDisk,
    store: LogStore,
    cursors: Cursors<Position>,
    deadLetters: DeadLetters,
    lock: FolderLock,
    maxBytes: number,
    options: MessageLogOptions,
  ) {
    this.maxBytes = maxBytes;
    this.#folder = options.folder;
    this.#disk = disk;
    this.#onCursorError = options.onCursorError;
    this.#store = store;
    this.cursors = cursors;
    this.deadLetters = deadLetters;
    this.#lock = lock;
    this.#onFailure = options.onFailure;
    this.#rejectsIfFull = options.onFull === 'reject';
    const { types } = options.registry;
    const isExcluded = ({ name }: { readonly name: string }) =>
      options.excludedTypes.some((pattern) => matchesType(pattern, name));
    this.#isExcluded = Uint8Array.from(types, (type) => (isExcluded(type) ? 1 : 0));
    this.#hasExcluded = this.#isExcluded.includes(1);
    this.#checkTimer = setInterval(() => {
      this.#checkAvailability();
      store.check();
      deadLetters.check();
    }, CHECK_INTERVAL).unref();
  }

  /**
   * Opens the log in a folder, or begins one.
   * @throws SluiceError `LOG_IN_USE`, `LOG_UNUSABLE`, `LOG_UNAVAILABLE`
   */
  static async open(options: MessageLogOptions): Promise<MessageLog> {
    const { folder, segmentBytes, maxAge, syncInterval, delimiter, registry } = options;
    let lock: FolderLock | undefined;
    let log: MessageLog | undefined;
    try {
      const disk = await FolderDisk.create(folder);
      const held = await FolderLock.acquire(folder);
      lock = held;
      const maxBytes = options.maxBytes ?? (await defaultMaxBytes(folder, disk, segmentBytes));
      const cursors = await Cursors.open(LOG_CURSORS, disk, options.onCursorError);
      const verifyLock = () => held.verify();
      const deadLetters = await DeadLetters.open(folder, options.deadLetters, verifyLock);
      const store = await LogStore.open(disk, {
        mayRemove: (end, isForRoom) =>
          log === undefined || !options.keepsUnread || end <= log.#lowestKept(isForRoom),
        dropsOldest: options.onFull === 'drop-oldest',
        segmentBytes: Math.min(segmentBytes, Math.floor(maxBytes / MIN_SEGMENTS)),
        maxBytes,
        maxAge,
        syncInterval,
        delimiter,
        types: registry.types.map(({ name }) => name),
        verifyLock,
        onDurable: () => {
          if (log !== undefined) log.#onDurable();
        },
        onError: (error) => {
          if (log !== undefined) log.#checkAvailability(error);
        },
      });
      await store.ensureSegment();
      skipPassed(store, cursors, options.onCursorError);
      cursors.onSaved = () => store.notifyRemovable();
      cursors.beforeSave = verifyLock;
      log = new MessageLog(disk, store, cursors, deadLetters, held, maxBytes, options);
      return log;
    } catch (error) {
      await lock?.release();
      throw asSluiceError(error, folder);
    }
  }

  set listener(listener: MessageLogListener) {
    this.#listener = listener;
  }

  get jobSeed(): JobSeed {
    return this.#store.jobSeed;
  }

  /** Changes if messages may be missing that were durable. 16 hexadecimal digits. */
  get epoch(): string {
    return formatEpoch(this.#store.epoch);
  }

  /** All messages before this offset are durable. */
  get durable(): number {
    return this.#store.durable;
  }

  /**
   * Bytes of memory that the log holds in addition to the slabs of its messages. Those of its readers are not included:
   * reading less from publishers would not release them.
   */
  get copiedBytes(): number {
    return this.#copiedBytes;
  }

  /** Whether new messages are to be rejected, since there is no room for them. */
  get mustReject(): boolean {
    return this.#rejectsIfFull && this.#store.isFull;
  }

  /** Whether too many bytes wait for the disk. */
  get isBehind(): boolean {
    return this.#pending.isHigh && !this.#isPassing;
  }

  /** Whether the disk works. */
  get isAvailable(): boolean {
    return this.#store.isAvailable;
  }

  /** Whether the disk has failed, and messages that do not fit into memory are not stored. */
  get #isPassing(): boolean {
    return this.#onFailure === 'pass' && !this.#store.isAvailable;
  }

  /** Whether messages pass now. If so, it will be noticed that the disk works again, even if it does so soon. */
  beginPassing(): boolean {
    if (this.#isPassing) this.#checkAvailability();
    return this.#isPassing;
  }

  get statistics(): LogStatistics {
    const { end, durable, bytes, pendingBytes, isAvailable, first, syncs, syncTime, failures } = this.#store;
    const messagesPassed = this.#messagesPassed;
    return {
      first,
      end,
      durable,
      bytes,
      pendingBytes,
      isAvailable,
      syncs,
      syncTime,
      failures,
      messagesPassed,
      deadLetters: this.deadLetters.statistics,
      ...this.#furthestCursors(),
    };
  }

  /**
   * Stores messages, except those of excluded types.
   * @param session of their sender, if it has one
   * @returns the offset after them: once it is durable, so are they; 0 if none is stored; `NEVER` if some are not
   */
  append(run: FrameRun, session?: SenderSession): number {
    if (!this.#hasExcluded) return this.#append(run, session);
    let end = 0;
    let from = 0;
    const appendUpTo = (to: number): void => {
      if (to > from) end = this.#append(run.part(from, to), session);
    };
    for (let index = 0; index < run.count; index++) {
      if (this.#isExcluded[run.typeIndex(index)] !== 1) continue;
      appendUpTo(index);
      from = index + 1;
    }
    appendUpTo(run.count);
    return end;
  }

  /** The next message gets this offset, or a higher one. Readers learn that those before it are missing. */
  skipTo(offset: number): void {
    // The offsets of messages that wait for others of their chunk are known.
    this.endChunk();
    this.#store.skipTo(offset);
  }

  /** Makes messages durable without delay, since somebody waits for it. @param offset the end of the messages */
  sync(offset: number): void {
    if (offset !== NEVER) this.#store.sync(offset);
  }

  /** Number of messages of a session that are durable, or were rejected between those; 0 if it is unknown. */
  decidedOf(session: string): number {
    return this.#store.decidedOf(session);
  }

  /**
   * Reads what is durable. What it returns is valid until the next read, unless its slab is held.
   * @param from offset of the first message
   */
  reader(from: number): LogReader {
    return this.#store.reader(from);
  }

  /** An offset before which all messages were received before a time. @param time in ms since 1970 */
  offsetBefore(time: number): number {
    return this.#store.offsetBefore(time);
  }

  /** Offsets of the oldest message and of the next one. */
  get first(): number {
    return this.#store.first;
  }

  get end(): number {
    return this.#store.end;
  }

  /**
   * Calls back once a message is durable, which happens without delay when there is one.
   * @param offset of the message, which is not durable yet
   * @returns cancels it
   */
  onceMessageDurable(offset: number, callback: () => void): () => void {
    return this.#store.onceDurable(offset + 1, callback);
  }

  /** Resolves once a message is durable, which happens without delay when there is one, or `signal` is aborted. */
  async whenMessageDurable(offset: number, signal: AbortSignal): Promise<void> {
    if (offset < this.durable || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const cancel = this.onceMessageDurable(offset, () => {
        signal.removeEventListener('abort', stop);
        resolve();
      });
      const stop = (): void => {
        cancel();
        resolve();
      };
      signal.addEventListener('abort', stop, { once: true });
    });
  }

  /**
   * Moves a cursor to an offset, or creates it. It never moves backwards, nor beyond what is durable: after a power failure,
   * others would get the offsets of the messages that it has passed.
   */
  moveCursor(name: string, to: number): void {
    const { cursors, epoch, durable } = this;
    const offset = Math.min(to, durable);
    const known = cursors.get(name);
    if (known !== undefined && known.epoch === epoch && known.offset >= offset) return;
    cursors.set(name, { epoch, offset });
  }

  /**
   * Opens cursors of other positions, in a file of their own beside the log. They are closed with it.
   * @throws SluiceError `LOG_UNUSABLE`, `LOG_UNAVAILABLE`
   */
  async openCursors<T>(format: CursorFormat<T>): Promise<Cursors<T>> {
    const cursors = await Cursors.open(format, this.#disk, this.#onCursorError).catch((error: unknown) => {
      throw asSluiceError(error, this.#folder);
    });
    cursors.beforeSave = () => this.#lock.verify();
    this.#moreCursors.push(cursors);
    return cursors;
  }

  /** Removes messages that are too old. */
  removeExpired(): void {
    this.#store.removeExpired();
    this.deadLetters.removeExpired();
  }

  /** Resolves when everything is durable. */
  whenDurable(): Promise<void> {
    return this.#store.whenDurable();
  }

  /**
   * Makes everything durable, and closes the log. If the disk hangs, the folder stays locked until it has ended its last
   * call: another log must not write beside it.
   * @param timeout ms after which nothing more is written; after the same time again, this returns in any case
   * @returns number of messages that are not durable, and whether the disk hangs
   */
  async close(timeout: number): Promise<{ readonly unstored: number; readonly isHung: boolean }> {
    clearInterval(this.#checkTimer);
    const cursors = [this.cursors, ...this.#moreCursors].map((each) => each.close());
    const closing = Promise.all([...cursors, this.#store.close(timeout), this.deadLetters.close(timeout)]);
    const released = closing.then(async () => {
      await this.#lock.release();
      return false;
    });
    const isHung = await withTimeout(released, 2 * timeout, () => true);
    return { unstored: this.#store.end - this.#store.durable, isHung };
  }

  /** Call when the chunk of the latest messages is settled: only messages of one chunk share a record. */
  endChunk(): void {
    const record = this.#open;
    if (record === undefined) return;
    this.#open = undefined;
    const { sender, firstSequence } = record.first;
    const { slab, ...content } = record.finish();
    slab?.hold();
    const copied = content.head.length + (slab === undefined ? content.body.length : 0);
    this.#copiedBytes += copied;
    this.#store.append({
      ...content,
      sender: this.#senderOf(sender, this.#session),
      fields: {
        kind: record.kind,
        count: record.count,
        time: Date.now(),
        sequence: firstSequence,
        decidedBefore: record.decidedBefore,
      },
      release: () => {
        this.#copiedBytes -= copied;
        slab?.release();
      },
    });
    this.#pending.update(this.#store.pendingBytes);
  }

  #append(run: FrameRun, session: SenderSession | undefined): number {
    if ((this.#pending.isHigh && this.beginPassing()) || session?.isInterrupted === true) {
      this.#messagesPassed += run.count;
      return NEVER;
    }
    if (this.#open?.add(run) !== true) {
      this.endChunk();
      this.#session = session?.id;
      this.#open = new RunRecord(run, session?.decidedBefore(run.firstSequence) ?? 0);
    }
    const end = this.#store.end + this.#open.count;
    if (session !== undefined) session.loggedEnd = end;
    return end;
  }

  /** The number of a sender. It changes with the crawlerId and the session. */
  #senderOf(sender: RunSender, session: string | undefined): LogSender {
    const { id, crawlerId } = sender;
    const known = this.#senders.get(sender);
    if (known !== undefined && known.crawlerId === crawlerId && known.session === session) return known;
    const changed: LogSender = { number: ++this.#senderCount, id, crawlerId, session };
    this.#senders.set(sender, changed);
    return changed;
  }

  /** For the statistics. Never sorts all cursors, since there may be thousands. */
  #furthestCursors(): Pick<LogStatistics, 'cursors' | 'cursorsTotal'> {
    let cursorsTotal = 0;
    const { epoch } = this;
    const { first, end } = this.#store;
    const furthest: { name: string; behind: number }[] = [];
    const keepFurthest = (): void => {
      furthest.sort((a, b) => b.behind - a.behind).splice(MAX_LISTED_CURSORS);
    };
    // Cursors that are no further behind cannot be among those listed.
    let least = -1;
    for (const [name, { epoch: epochOf, offset }] of this.cursors.entries()) {
      if (name.startsWith(RESERVED_PREFIX)) continue;
      cursorsTotal++;
      const behind = end - (epochOf === epoch && offset <= end ? offset : first);
      if (behind <= least) continue;
      furthest.push({ name, behind });
      if (furthest.length < 2 * MAX_LISTED_CURSORS) continue;
      keepFurthest();
      least = furthest.at(-1)?.behind ?? least;
    }
    keepFurthest();
    return { cursors: furthest, cursorsTotal };
  }

  #onDurable(): void {
    this.#pending.update(this.#store.pendingBytes);
    this.#checkAvailability();
    this.#listener?.onDurable();
  }

  /** Offset of the oldest message that is kept. @param isForRoom whether it could make room for new ones */
  #lowestKept(isForRoom: boolean): number {
    const { cursor, offset = Number.POSITIVE_INFINITY } = (isForRoom && this.forwarded) || {};
    return Math.min(offset, lowestOffset(this.cursors, this.epoch, cursor));
  }

  #checkAvailability(error?: unknown): void {
    const { isAvailable } = this.#store;
    if (isAvailable === this.#wasAvailable) return;
    this.#wasAvailable = isAvailable;
    this.#listener?.onAvailability(isAvailable, error);
  }
}

/**
 * Leaves out the offsets of messages that a cursor has passed and the log no longer has, since an older copy of it was
 * restored, or the disk has lost its end: the cursors would skip the next messages that get these offsets.
 */
function skipPassed(
  store: LogStore,
  cursors: Cursors<Position>,
  onOutdated: (error: SluiceError) => void,
): void {
  const { end } = store;
  const passed = highestOffset(cursors, formatEpoch(store.epoch));
  if (passed <= end) return;
  store.skipTo(passed + LOST_RANGE);
  onOutdated(new SluiceError('LOG_OUTDATED', `at least ${passed - end} messages, which a cursor has passed`));
}

/** Errors of the system that may be over at the next attempt: no space, no memory, no file descriptors, a disk that fails. */
const TEMPORARY = new Set(['ENOSPC', 'EDQUOT', 'EIO', 'ENOMEM', 'EMFILE', 'ENFILE', 'EAGAIN', 'ETIMEDOUT']);

function asSluiceError(cause: unknown, folder: string): unknown {
  if (cause instanceof SluiceError) return cause;
  const { syscall, code } = cause as NodeJS.ErrnoException;
  // Errors of the system contain only paths.
  if (!(cause instanceof LogFormatError) && syscall === undefined) return cause;
  const isTemporary = code !== undefined && TEMPORARY.has(code);
  return new SluiceError(
    isTemporary ? 'LOG_UNAVAILABLE' : 'LOG_UNUSABLE',
    `${folder}: ${describeError(cause)}`,
    { cause },
  );
}
