// The durable log: appends records to segments and makes them durable in groups. One chain of writes and syncs is in
// flight; what arrives meanwhile is the next group. Entries stay in memory until they are durable, so that they can be
// written again elsewhere if the disk fails.

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Backoff } from '../backoff.js';
import { SluiceError } from '../errors.js';
import { LruMap } from '../lru-map.js';
import { SlabPool } from '../memory/slab-pool.js';
import { withTimeout } from '../timeout.js';
import { ActiveSegment, type LogEntry, type PendingEntry, sizeOf } from './active-segment.js';
import { isDiskFull, type LogDisk } from './disk.js';
import { LogReader } from './log-reader.js';
import { FULL, RetainedSegments } from './retention.js';
import { READ_SIZE } from './segment-scanner.js';
import { type FoundLog, recoverSegments, segmentName } from './segments.js';
import { SharedFiles } from './shared-files.js';

export interface LogStoreOptions {
  /** Size at which a segment is full, in bytes. Default: 64 MiB. */
  readonly segmentBytes?: number;
  /** Maximum bytes of all segments. The oldest ones are removed. Default: no limit. */
  readonly maxBytes?: number;
  /** Maximum age of the newest message of a segment, in ms. Older segments are removed. Default: no limit. */
  readonly maxAge?: number;
  /**
   * Whether messages before an offset may be removed because of their age. Default: always.
   * @param end an offset
   * @param isForRoom whether it is to make room for new ones instead
   */
  readonly mayRemove?: (end: number, isForRoom: boolean) => boolean;
  /** Whether they are removed anyway if there is no room for new ones. Default: true. */
  readonly dropsOldest?: boolean;
  /** Time until messages that nobody waits for become durable, in ms. Default: 50. */
  readonly syncInterval?: number;
  /** Bytes that are collected before they are written, if nobody waits for them. Default: 1 MiB. */
  readonly groupBytes?: number;
  /** Names of the message types, by index. Default: none. */
  readonly types?: readonly string[];
  /** The byte after each message. Default: 10, `\n`. */
  readonly delimiter?: number;
  /** Seed of the job keys, if the log has none yet. Default: random. */
  readonly jobSeed?: readonly [number, number];
  /** Wall clock, in ms since 1970. Default: `Date.now`. */
  readonly now?: () => number;
  /** Monotonic clock, in ms. Default: `performance.now`. */
  readonly elapsed?: () => number;
  /** Called before a segment is created, and at each check. Throws if another process may write this log. */
  readonly verifyLock?: () => Promise<void>;
  /**
   * Whether files are also checked after each sync: what was written to a removed one is never confirmed, but written again.
   * Default: false.
   */
  readonly checksSyncs?: boolean;
  /** Called when the disk has failed. The log continues in another segment, as soon as it can. */
  readonly onError?: (error: unknown) => void;
  /** Called whenever more messages are durable, after their content was released. */
  readonly onDurable?: () => void;
}

interface Waiter {
  readonly offset: number;
  readonly callback: () => void;
}

const MiB = 1024 * 1024;
const SEGMENT_BYTES = 64 * MiB;
const SYNC_INTERVAL = 50;
/** Bytes of a group, if nobody waits for it. */
const MIN_GROUP = 1 * MiB;
/** Bytes that are written before the next sync, if nobody waits for one. */
const MAX_UNSYNCED = 8 * MiB;
/** At the latest after this time, it is checked whether there is room again, in ms. */
const FULL_INTERVAL = 100;
/** Sessions that are remembered: those with the latest messages. */
export const MAX_SESSIONS = 10_000;
/** Time that one write or sync may take until the disk counts as stalled, in ms. */
const STALLED = 10_000;
const RETRY = { initialDelay: 20, maxDelay: 1000 } as const;
/** Time until what a disk cannot write is given up, in ms. */
const CLOSE_TIMEOUT = 5000;

export class LogStore {
  readonly #disk: LogDisk;
  /** For readers. */
  readonly #files: SharedFiles;
  /** Readers share it. */
  readonly #readMemory = new SlabPool(READ_SIZE);
  readonly #options: Required<Omit<LogStoreOptions, 'jobSeed'>>;
  /** Changes when confirmed messages may be missing. */
  readonly epoch: bigint;
  readonly jobSeed: readonly [number, number];
  readonly #segments: RetainedSegments;
  /** Name of a segment without messages, which remains of an earlier use. */
  readonly #empty: string | undefined;
  /** Not durable yet: written first, then the others. */
  #pending: PendingEntry[] = [];
  #written = 0;
  #pendingBytes = 0;
  #end: number;
  #durable: number;
  readonly #waiters = new Set<Waiter>();
  /** Messages before this offset are to become durable without delay. */
  #syncTarget = 0;
  #syncTimer: NodeJS.Timeout | undefined;
  /** Messages before this offset are due to become durable. */
  #due = 0;
  /** The next sync makes at least the messages before this offset durable. */
  #round = 0;
  #unwrittenBytes = 0;
  #isRetentionDue = false;
  #isCheckDue = false;
  /** A segment that begins at this offset, or later, has to show that those before it are used; `undefined` if one does. */
  #skippedTo: number | undefined;
  #syncs = 0;
  #syncTime = 0;
  #failures = 0;
  #draining: Promise<void> | undefined;
  /** Number of durable messages of each session, or that were rejected between them. */
  readonly #sessions = new LruMap<string, number>(MAX_SESSIONS);
  #isAvailable = true;
  #isFull = false;
  #onRemovable: () => void = () => {};
  /** Since when the disk has been busy with one write or sync, in ms of the monotonic clock; 0 if it is idle. */
  #busySince = 0;
  #closed = false;

  private constructor(disk: LogDisk, options: LogStoreOptions, found: FoundLog) {
    const { identity, segments, spares, empty, end, hasSkipped, sessions } = found;
    this.#disk = disk;
    this.#files = new SharedFiles(disk);
    this.#options = {
      segmentBytes: SEGMENT_BYTES,
      maxBytes: Number.POSITIVE_INFINITY,
      maxAge: Number.POSITIVE_INFINITY,
      mayRemove: () => true,
      dropsOldest: true,
      syncInterval: SYNC_INTERVAL,
      groupBytes: MIN_GROUP,
      types: [],
      delimiter: 0x0a,
      now: Date.now,
      elapsed: () => performance.now(),
      verifyLock: async () => {},
      checksSyncs: false,
      onError: () => {},
      onDurable: () => {},
      ...options,
    };
    this.epoch = identity?.epoch ?? randomBytes(8).readBigUInt64LE();
    this.jobSeed = identity?.jobSeed ?? options.jobSeed ?? [random32(), random32()];
    this.#segments = new RetainedSegments(disk, segments, spares, { ...this.#options, end: () => this.#end });
    this.#empty = empty;
    this.#skippedTo = hasSkipped ? end : undefined;
    for (const [session, count] of sessions) this.#sessions.set(session, count);
    this.#end = end;
    this.#durable = end;
  }

  /**
   * Opens the log in a folder, or begins one.
   * @throws LogFormatError
   */
  static async open(disk: LogDisk, options: LogStoreOptions = {}): Promise<LogStore> {
    return new LogStore(disk, options, await recoverSegments(disk));
  }

  /**
   * Writes a segment without messages if there is none, so that a log that has not received any keeps its epoch, which
   * cursors refer to. If the disk fails, the first messages do that.
   */
  async ensureSegment(): Promise<void> {
    if (this.#empty !== undefined || this.#segments.list().length > 0) return;
    this.#segments.active = await this.#createSegment(this.#end).catch(() => undefined);
  }

  /** Offset of the oldest message. */
  get first(): number {
    return this.#segments.first ?? this.#pending[0]?.first ?? this.#end;
  }

  /** Offset of the next message. */
  get end(): number {
    return this.#end;
  }

  /** All messages before this offset are durable. */
  get durable(): number {
    return this.#durable;
  }

  /** Whether new messages wait until others may be removed. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** Bytes in memory that are not durable yet. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Whether the disk works: it has not failed, and is not taking longer than 10 s for what it is doing. */
  get isAvailable(): boolean {
    const isStalled = this.#busySince > 0 && performance.now() - this.#busySince > STALLED;
    return this.#isAvailable && !isStalled;
  }

  /** Number of messages of a session that are durable, or were rejected between those; 0 if it is unknown. */
  decidedOf(session: string): number {
    return this.#sessions.get(session) ?? 0;
  }

  /** Number of syncs, and the time that they took in total, in ms. */
  get syncs(): number {
    return this.#syncs;
  }

  get syncTime(): number {
    return this.#syncTime;
  }

  /** How often the disk has failed. */
  get failures(): number {
    return this.#failures;
  }

  /** Bytes that the log occupies on the disk. */
  get bytes(): number {
    return this.#segments.bytes;
  }

  /** An offset before which all messages were received before a time. @param time in ms since 1970 */
  offsetBefore(time: number): number {
    const segments = this.#segments.list();
    // The clock may have been set back. Of segments of earlier versions, only the beginning of the next one is known.
    const found = segments.find(({ header, latest }, at) => {
      const nextCreated = segments[at + 1]?.header.created ?? Number.POSITIVE_INFINITY;
      return nextCreated >= time || (latest === undefined ? nextCreated < header.created : latest >= time);
    });
    return found?.header.first ?? this.first;
  }

  /** Reads what is durable. @param from offset of the first message */
  reader(from: number): LogReader {
    const durable = () => this.#durable;
    return new LogReader(this.#files.open, this.#segments.list, durable, from, this.#readMemory);
  }

  /** Appends an entry. @returns the offset after its last message */
  append(entry: LogEntry): number {
    this.#pending.push({ entry, first: this.#end });
    const size = sizeOf(entry);
    this.#pendingBytes += size;
    this.#unwrittenBytes += size;
    this.#syncTimer ??= setTimeout(() => {
      this.#syncTimer = undefined;
      this.#due = this.#end;
      this.#drain();
    }, this.#options.syncInterval).unref();
    this.#end += entry.fields.count;
    this.#drain();
    return this.#end;
  }

  /** The next message gets this offset, or a higher one. Readers learn that those before it are missing. */
  skipTo(offset: number): void {
    if (offset <= this.#end) return;
    this.#end = offset;
    if (this.#pending.length === 0) this.#durable = offset;
    this.#skippedTo = offset;
    this.#drain();
  }

  /** Makes all messages before an offset durable without delay, since somebody waits for it. */
  sync(offset: number): void {
    this.#syncTarget = Math.max(this.#syncTarget, offset);
    this.#drain();
  }

  /** Resolves when all messages before an offset are durable, which happens without delay. */
  whenDurable(offset: number = this.#end): Promise<void> {
    return new Promise((resolve) => {
      if (offset <= this.#durable) resolve();
      else this.onceDurable(offset, resolve);
    });
  }

  /**
   * Calls back once all messages before an offset are durable, which happens without delay.
   * @param offset of a message that is not durable yet
   * @returns cancels it
   */
  onceDurable(offset: number, callback: () => void): () => void {
    const waiter: Waiter = { offset, callback };
    this.#waiters.add(waiter);
    this.sync(offset);
    return () => this.#waiters.delete(waiter);
  }

  /**
   * Makes everything durable and closes the log. Resolves when the disk has ended its last call.
   * @param timeout ms after which nothing more is written in any case. Default: 5000.
   * @returns whether everything is durable
   */
  async close(timeout: number = CLOSE_TIMEOUT): Promise<boolean> {
    await withTimeout(this.whenDurable(), timeout, () => {});
    this.#closed = true;
    clearTimeout(this.#syncTimer);
    await this.#draining;
    await this.#segments.active?.close().catch(() => {});
    this.#segments.active = undefined;
    return this.#pending.length === 0;
  }

  #drain(): void {
    if (this.#draining !== undefined || this.#closed || !this.#hasWork) return;
    this.#draining = this.#run().finally(() => {
      this.#draining = undefined;
      if (this.#hasWork) this.#drain();
    });
  }

  get #hasWork(): boolean {
    return (
      this.#goal > this.#durable ||
      this.#unwrittenBytes >= this.#options.groupBytes ||
      this.#isRetentionDue ||
      this.#isCheckDue ||
      this.#mustShowSkipped
    );
  }

  /** Whether a segment is needed to show which offsets are used. Not while messages wait: it would begin with the first one. */
  get #mustShowSkipped(): boolean {
    return this.#skippedTo !== undefined && this.#pending.length === 0;
  }

  /** Messages before this offset have to become durable now. */
  get #goal(): number {
    const hasMuchUnsynced = this.#unsyncedBytes >= MAX_UNSYNCED;
    return Math.max(this.#due, Math.min(this.#syncTarget, this.#end), hasMuchUnsynced ? this.#writtenEnd : 0);
  }

  get #unsyncedBytes(): number {
    return this.#segments.active?.unsyncedBytes ?? 0;
  }

  /** Offset after the messages that are written. */
  get #writtenEnd(): number {
    return this.#pending[this.#written]?.first ?? this.#end;
  }

  async #run(): Promise<void> {
    const backoff = new Backoff(RETRY);
    // What is appended in this turn of the event loop belongs to the same group.
    await null;
    while (this.#hasWork && !this.#closed) {
      this.#busySince = performance.now();
      try {
        await this.#step();
        this.#isAvailable = true;
        this.#isFull = false;
        backoff.reset();
      } catch (error) {
        if (error === FULL) {
          await this.#waitForRoom();
          continue;
        }
        await this.#abandon();
        const mayDrop = isDiskFull(error) && this.#segments.mayDropOldest;
        if (mayDrop && (await this.#segments.removeOldest().catch(() => false))) continue;
        this.#isAvailable = false;
        this.#failures++;
        this.#options.onError(error);
        await sleep(backoff.next());
      }
    }
    this.#busySince = 0;
  }

  /**
   * Writes or syncs. Everything that is to become durable when a round begins is written before its sync; what arrives
   * meanwhile is for the next round.
   */
  async #step(): Promise<void> {
    if (this.#isCheckDue) await this.#checkFiles();
    if (this.#round <= this.#durable) this.#round = this.#goal;
    if (this.#round <= this.#durable) {
      if (this.#unwrittenBytes >= this.#options.groupBytes) await this.#writeGroup();
      else if (this.#isRetentionDue || this.#mustShowSkipped) await this.#removeOld();
      return;
    }
    if (this.#writtenEnd < this.#round && this.#unsyncedBytes < MAX_UNSYNCED) return this.#writeGroup();
    await this.#sync();
  }

  /** @throws SluiceError `LOG_IN_USE`; `LOG_UNAVAILABLE` if what is written would be in a file that is not there any more */
  async #checkFiles(): Promise<void> {
    // Nothing else is done until it succeeds.
    this.#isCheckDue = true;
    await this.#options.verifyLock();
    const { active } = this.#segments;
    if (active !== undefined && !(await active.isInPlace())) {
      // A new one shows the offsets of those that are lost.
      this.#skippedTo = Math.max(this.#skippedTo ?? 0, this.#durable);
      throw new SluiceError('LOG_UNAVAILABLE', `${active.name} was removed or replaced`);
    }
    this.#isCheckDue = false;
  }

  /** Writes the next entries, up to a limit. */
  async #writeGroup(): Promise<void> {
    const { segmentBytes, elapsed } = this.#options;
    const active = await this.#activeFor(this.#pending[this.#written] as PendingEntry);
    const from = this.#written;
    const to = await active.write(this.#pending, from, segmentBytes, elapsed);
    for (const { entry } of this.#pending.slice(from, to)) this.#unwrittenBytes -= sizeOf(entry);
    this.#written = to;
  }

  async #sync(): Promise<void> {
    const written = this.#written;
    const startedAt = performance.now();
    await this.#segments.active?.sync();
    this.#syncs++;
    this.#syncTime += performance.now() - startedAt;
    if (this.#options.checksSyncs) await this.#checkFiles();
    this.#confirm(written);
  }

  /** The first entries are durable. */
  #confirm(count: number): void {
    for (const { entry } of this.#pending.splice(0, count)) {
      this.#pendingBytes -= sizeOf(entry);
      const { sender, fields } = entry;
      if (sender.session !== undefined)
        this.#sessions.set(sender.session, fields.decidedBefore + fields.count);
      entry.release?.();
    }
    this.#written -= count;
    this.#durable = this.#pending[0]?.first ?? this.#end;
    for (const waiter of [...this.#waiters]) {
      if (waiter.offset > this.#durable || !this.#waiters.delete(waiter)) continue;
      waiter.callback();
    }
    this.#options.onDurable();
  }

  /** The segment for an entry: the current one if it has room, else a new one. */
  async #activeFor(pending: PendingEntry): Promise<ActiveSegment> {
    const { active } = this.#segments;
    if (active !== undefined) {
      if (active.isEmpty || active.hasRoomFor(pending, this.#options.segmentBytes)) return active;
      await this.#checkFiles();
      // The new segment must not be durable before the old one is.
      if (this.#written > 0) await this.#sync();
      await this.#segments.complete();
    }
    await this.#segments.makeRoom();
    const next = await this.#createSegment(pending.first);
    this.#segments.active = next;
    return next;
  }

  /** Removes segments that are too old, also if no new one is needed, and memory that is not used. */
  removeExpired(): void {
    this.#readMemory.trim();
    this.#isRetentionDue = true;
    this.#drain();
  }

  /** Checks that the files are still there, also if nothing is written. */
  check(): void {
    this.#isCheckDue = true;
    this.#drain();
  }

  async #removeOld(): Promise<void> {
    this.#isRetentionDue = false;
    if (this.#segments.isActiveExpired || this.#mustShowSkipped) {
      // The new segment must not be durable before the old one is.
      if (this.#written > 0) await this.#sync();
      const first = this.#writtenEnd;
      // A new segment first: without any, the log would begin anew after a restart. If it cannot be created, that is retried.
      this.#skippedTo = Math.max(this.#skippedTo ?? 0, first);
      await this.#segments.complete(await this.#createSegment(first));
    }
    await this.#segments.removeExpired();
  }

  async #createSegment(first: number): Promise<ActiveSegment> {
    await this.#options.verifyLock();
    const name = segmentName(first);
    // An empty segment is overwritten in place: whenever the power fails, it says what the log is.
    const spare = name === this.#empty ? undefined : await this.#segments.takeSpare();
    if (spare !== undefined) await this.#disk.rename(spare.name, name);
    const { delimiter, now, types } = this.#options;
    const { epoch, jobSeed } = this;
    const latestBefore = this.#segments.list().at(-1)?.latest;
    const header = { id: random32(), delimiter, epoch, first, created: now(), jobSeed, latestBefore };
    const opening = { types, sessions: Object.fromEntries(this.#sessions.entries()) };
    const segment = await ActiveSegment.create(this.#disk, name, spare?.size ?? 0, header, opening);
    // More may have been skipped meanwhile.
    if (first >= (this.#skippedTo ?? 0)) this.#skippedTo = undefined;
    return segment;
  }

  /**
   * Gives up the current segment after a failure. What was not durable is written again, to another one.
   */
  async #abandon(): Promise<void> {
    this.#written = 0;
    this.#unwrittenBytes = this.#pendingBytes;
    await this.#segments.abandon(this.#durable);
  }

  /** Waits for a while: what has to be kept may be removed later. */
  async #waitForRoom(): Promise<void> {
    this.#isFull = true;
    this.#busySince = 0;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, FULL_INTERVAL);
      this.#onRemovable = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Call when more messages may be removed: writers that wait for room then retry. */
  notifyRemovable(): void {
    this.#onRemovable();
  }
}

function random32(): number {
  return randomBytes(4).readUInt32LE();
}
