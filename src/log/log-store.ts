// The durable log: appends records to segments and makes them durable in groups. One chain of writes and syncs is in
// flight; what arrives meanwhile is the next group. Entries stay in memory until they are durable, so that they can be
// written again elsewhere if the disk fails.

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Backoff } from '../backoff.js';
import { LruMap } from '../lru-map.js';
import { SlabPool } from '../memory/slab-pool.js';
import { withTimeout } from '../timeout.js';
import type { LogDisk, LogFile } from './disk.js';
import {
  ALIGNMENT,
  align,
  encodeRecordHeader,
  encodeSegmentHeader,
  type Opening,
  RECORD_HEADER,
  type RecordContent,
  type RecordFields,
  RecordKind,
  SEGMENT_HEADER,
  type SegmentHeader,
} from './format.js';
import { LogReader, type ReadableSegment, type WrittenSegment } from './log-reader.js';
import { READ_SIZE } from './segment-scanner.js';
import {
  type FoundLog,
  makeSpare,
  recoverSegments,
  type Segment,
  type Spare,
  segmentName,
} from './segments.js';
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
   */
  readonly mayRemove?: (end: number) => boolean;
  /** Whether they are removed all the same if there is no room for new ones. Default: true. */
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
  /** Called when the disk has failed. The log continues in another segment, as soon as it can. */
  readonly onError?: (error: unknown) => void;
  /** Called whenever more messages are durable, after their content was released. */
  readonly onDurable?: () => void;
}

/** A sender of messages. */
export interface LogSource {
  /** Unique since the start, from 1. */
  readonly number: number;
  /** Connection ID. */
  readonly id: string;
  readonly crawlerId: string | undefined;
  /** ID of its session, if it has one. */
  readonly session?: string | undefined;
}

/** Messages of one connection to append. The log holds the content until it is durable. */
export interface LogEntry extends RecordContent {
  readonly source: LogSource;
  readonly fields: Pick<RecordFields, 'kind' | 'count' | 'time' | 'sequence' | 'line'>;
  /** Called once the content is no longer needed. */
  release?(): void;
}

interface Pending {
  readonly entry: LogEntry;
  readonly first: number;
}

interface Waiter {
  readonly offset: number;
  readonly callback: () => void;
}

const MiB = 1024 * 1024;
const SEGMENT_BYTES = 64 * MiB;
const SYNC_INTERVAL = 50;
/** Bytes of a group, if nobody waits for it, and at most. */
const MIN_GROUP = 1 * MiB;
const MAX_GROUP = 4 * MiB;
/** Bytes that are written before the next sync, if nobody waits for one. */
const MAX_UNSYNCED = 8 * MiB;
const MAX_SPARES = 2;
/** Bytes of a segment between two checkpoints. */
const CHECKPOINT_BYTES = 1 * MiB;
/** Thrown if there is no room, and nothing may be removed. */
const FULL = new Error('the log is full');
/** At the latest after this time, it is checked whether there is room again, in ms. */
const FULL_INTERVAL = 100;
/** Sessions that are remembered: those with the latest messages. */
export const MAX_SESSIONS = 10_000;
/** Time that one write or sync may take until the disk counts as stalled, in ms. */
const STALLED = 10_000;
const RETRY = { initialDelay: 20, maxDelay: 1000 } as const;
const PADDING = Buffer.alloc(ALIGNMENT);
/** Time until a log that cannot be written is closed all the same, in ms. */
const CLOSE_TIMEOUT = 5000;

/** The segment that is being written. */
interface Active {
  readonly name: string;
  readonly header: SegmentHeader;
  readonly file: LogFile;
  /** Position of the next record. */
  position: number;
  /** Position up to which it is durable. */
  durable: number;
  /** Size of the file if it was used before. */
  readonly fileSize: number;
  readonly written: Written;
}

/** What this process knows of a segment that it has written. */
interface Written extends WrittenSegment {
  /** The senders that it contains. */
  readonly sources: Map<number, LogSource>;
  readonly checkpoints: Checkpoint[];
  /** Wall clock when its latest message was written, in ms. */
  writtenAt: number;
}

interface Checkpoint {
  readonly offset: number;
  readonly position: number;
}

interface StoredSegment extends Segment {
  readonly written?: Written;
}

interface LogRecord {
  readonly fields: RecordFields;
  readonly content: RecordContent;
}

/** Records to be written one after the other. */
class RecordBatch {
  readonly buffers: Buffer[] = [];
  /** In bytes. */
  size = 0;

  add(fields: RecordFields, content: RecordContent, segmentId: number): void {
    const { head, body } = content;
    const size = sizeOf(content);
    encodeRecordHeader(content, fields, segmentId);
    this.buffers.push(head, body);
    const padding = size - head.length - body.length;
    if (padding > 0) this.buffers.push(PADDING.subarray(0, padding));
    this.size += size;
  }
}

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
  /** Complete segments, the oldest first. */
  readonly #segments: StoredSegment[];
  /** The segments for readers, until they change. */
  #readable: readonly ReadableSegment[] | undefined;
  readonly #spares: Spare[];
  /** Name of a segment without messages, which remains of an earlier use. */
  readonly #empty: string | undefined;
  #active: Active | undefined;
  /** Not durable yet: written first, then the others. */
  #pending: Pending[] = [];
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
    const { identity, segments, spares, empty, end, sessions } = found;
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
      onError: () => {},
      onDurable: () => {},
      ...options,
    };
    this.epoch = identity?.epoch ?? randomBytes(8).readBigUInt64LE();
    this.jobSeed = identity?.jobSeed ?? options.jobSeed ?? [random32(), random32()];
    this.#segments = [...segments];
    this.#spares = [...spares];
    this.#empty = empty;
    for (const [session, line] of sessions) this.#sessions.set(session, line);
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

  /** Offset of the oldest message. */
  get first(): number {
    return (this.#segments[0] ?? this.#active)?.header.first ?? this.#pending[0]?.first ?? this.#end;
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

  /** Bytes of memory with messages that were read and are being delivered. */
  get readBytes(): number {
    return this.#readMemory.heldBytes;
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

  /** Number of messages of a session that are durable, or were rejected between those; 0 if the session is unknown. */
  sessionLine(session: string): number {
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
    const { position = 0, fileSize = 0 } = this.#active ?? {};
    return [...this.#segments, ...this.#spares].reduce(
      (sum, { size }) => sum + size,
      Math.max(position, fileSize),
    );
  }

  /** An offset before which all messages were received before a time. @param time in ms since 1970 */
  offsetBefore(time: number): number {
    const segments = this.#listReadable();
    return segments.findLast(({ header }) => header.created < time)?.header.first ?? this.first;
  }

  /** Reads what is durable. @param from offset of the first message */
  reader(from: number): LogReader {
    return new LogReader(this.#files.open, this.#listReadable, from, this.#readMemory);
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
   * Makes everything durable and closes the log.
   * @param timeout ms after which it is closed in any case. Default: 5000.
   * @returns whether everything is durable
   */
  async close(timeout: number = CLOSE_TIMEOUT): Promise<boolean> {
    await withTimeout(this.whenDurable(), timeout, () => {});
    this.#closed = true;
    clearTimeout(this.#syncTimer);
    await withTimeout(this.#draining ?? Promise.resolve(), timeout, () => {});
    await this.#active?.file.close().catch(() => {});
    this.#active = undefined;
    return this.#pending.length === 0;
  }

  readonly #listReadable = (): readonly ReadableSegment[] => {
    if (this.#readable !== undefined) return this.#readable;
    const readable: ReadableSegment[] = this.#segments.map((segment) => ({
      ...segment,
      limit: segment.size,
    }));
    const active = this.#active;
    if (active !== undefined) {
      const { name, header, written } = active;
      readable.push({
        name,
        header,
        written,
        get limit() {
          return active.durable;
        },
      });
    }
    this.#readable = readable;
    return readable;
  };

  #drain(): void {
    if (this.#draining !== undefined || this.#closed || !this.#hasWork) return;
    this.#draining = this.#run().finally(() => {
      this.#draining = undefined;
      if (this.#hasWork) this.#drain();
    });
  }

  get #hasWork(): boolean {
    return (
      this.#goal > this.#durable || this.#unwrittenBytes >= this.#options.groupBytes || this.#isRetentionDue
    );
  }

  /** Messages before this offset have to become durable now. */
  get #goal(): number {
    const isMuch = this.#unsyncedBytes >= MAX_UNSYNCED;
    return Math.max(this.#due, Math.min(this.#syncTarget, this.#end), isMuch ? this.#writtenEnd : 0);
  }

  get #unsyncedBytes(): number {
    const { position = 0, durable = 0 } = this.#active ?? {};
    return position - durable;
  }

  /** Offset after the messages that are written. */
  get #writtenEnd(): number {
    const latest = this.#pending[this.#written - 1];
    return latest === undefined ? this.#durable : latest.first + latest.entry.fields.count;
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
        const mayDrop = isFull(error) && this.#mayDropOldest;
        if (mayDrop && (await this.#removeOldest().catch(() => false))) continue;
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
    if (this.#round <= this.#durable) this.#round = this.#goal;
    if (this.#round <= this.#durable) {
      if (this.#unwrittenBytes >= this.#options.groupBytes) await this.#writeGroup();
      else await this.#removeOld();
      return;
    }
    if (this.#writtenEnd < this.#round && this.#unsyncedBytes < MAX_UNSYNCED) return this.#writeGroup();
    await this.#sync();
  }

  /** Writes the next entries, up to a limit. */
  async #writeGroup(): Promise<void> {
    const active = await this.#activeFor(this.#pending[this.#written] as Pending);
    const batch = new RecordBatch();
    const { first } = this.#pending[this.#written] as Pending;
    let written = this.#written;
    let bytes = 0;
    for (; written < this.#pending.length; written++) {
      const pending = this.#pending[written] as Pending;
      const records = this.#recordsOf(pending, active);
      const size = batch.size + sizeOfAll(records);
      const isFull = active.position + size > this.#options.segmentBytes || size > MAX_GROUP;
      if (isFull && written > this.#written) break;
      const { source } = pending.entry;
      active.written.sources.set(source.number, source);
      bytes += sizeOf(pending.entry);
      for (const { fields, content } of records) batch.add(fields, content, active.header.id);
    }
    await active.file.write(batch.buffers, active.position);
    addCheckpoint(active, first);
    active.written.writtenAt = this.#options.now();
    active.position += batch.size;
    this.#unwrittenBytes -= bytes;
    this.#written = written;
  }

  /** The record of an entry, after those of what it refers to, unless the segment already contains them. */
  #recordsOf(
    { entry, first }: Pending,
    { written: { sources }, durable }: Pick<Active, 'written' | 'durable'>,
  ): LogRecord[] {
    const { source, fields } = entry;
    const common = { first, durable, source: source.number };
    const records: LogRecord[] = [];
    if (!sources.has(source.number)) {
      const { id, crawlerId = null, session } = source;
      records.push(
        definition({ ...common, time: fields.time }, RecordKind.SOURCE, { id, crawlerId, session }),
      );
    }
    records.push({ fields: { ...common, ...fields }, content: entry });
    return records;
  }

  async #sync(): Promise<void> {
    const active = this.#active as Active;
    const [position, written] = [active.position, this.#written];
    const startedAt = performance.now();
    await active.file.sync();
    this.#syncs++;
    this.#syncTime += performance.now() - startedAt;
    active.durable = position;
    this.#confirm(written);
  }

  /** The first entries are durable. */
  #confirm(count: number): void {
    for (const { entry, first } of this.#pending.splice(0, count)) {
      this.#durable = first + entry.fields.count;
      this.#pendingBytes -= sizeOf(entry);
      const { session } = entry.source;
      if (session !== undefined) this.#sessions.set(session, entry.fields.line + entry.fields.count);
      entry.release?.();
    }
    this.#written -= count;
    for (const waiter of [...this.#waiters]) {
      if (waiter.offset > this.#durable || !this.#waiters.delete(waiter)) continue;
      waiter.callback();
    }
    this.#options.onDurable();
  }

  /** The segment for an entry: the current one if it has room, else a new one. */
  async #activeFor(pending: Pending): Promise<Active> {
    const active = this.#active;
    if (active !== undefined) {
      const isEmpty = active.written.sources.size === 0;
      const size = sizeOfAll(this.#recordsOf(pending, active));
      if (isEmpty || active.position + size <= this.#options.segmentBytes) return active;
      // The new segment must not be durable before the old one is.
      if (this.#written > 0) await this.#sync();
      await this.#retire(active);
    }
    await this.#makeRoom();
    this.#active = await this.#createSegment(pending.first);
    this.#readable = undefined;
    return this.#active;
  }

  /** Removes segments that are too old, also if no new one is needed, and memory that is not used. */
  removeExpired(): void {
    this.#readMemory.trim();
    this.#isRetentionDue = true;
    this.#drain();
  }

  async #removeOld(): Promise<void> {
    this.#isRetentionDue = false;
    const active = this.#active;
    const { maxAge, now } = this.#options;
    if (
      active !== undefined &&
      active.written.sources.size > 0 &&
      now() - active.written.writtenAt > maxAge
    ) {
      // The new segment must not be durable before the old one is.
      if (this.#written > 0) await this.#sync();
      // A new segment first: without any, the log would begin anew after a restart.
      const next = await this.#createSegment(this.#pending[this.#written]?.first ?? this.#end);
      await this.#retire(active);
      this.#active = next;
      this.#readable = undefined;
    }
    await this.#makeRoom();
  }

  async #retire(active: Active): Promise<void> {
    this.#active = undefined;
    const { name, header, position, fileSize, written } = active;
    this.#segments.push({ name, header, size: Math.max(position, fileSize), written });
    this.#readable = undefined;
    await active.file.close();
  }

  async #createSegment(first: number): Promise<Active> {
    const name = segmentName(first);
    // An empty segment is overwritten in place: whenever the power fails, it says what the log is.
    const spare = name === this.#empty ? undefined : this.#spares.shift();
    if (spare !== undefined) await this.#disk.rename(spare.name, name);
    const file = await this.#disk.open(name, 'create');
    try {
      const { delimiter, now } = this.#options;
      const { epoch, jobSeed } = this;
      const header = { id: random32(), delimiter, epoch, first, created: now(), jobSeed };
      // First of all, or a removed segment might still have its name after a power failure, but no longer its content.
      await this.#disk.syncFolder();
      const batch = new RecordBatch();
      const { fields, content } = definition(
        { first, durable: SEGMENT_HEADER, source: 0, time: header.created },
        RecordKind.OPENING,
        this.#opening(),
      );
      batch.add(fields, content, header.id);
      await file.write([encodeSegmentHeader(header), ...batch.buffers], 0);
      await file.sync();
      const position = SEGMENT_HEADER + batch.size;
      return {
        name,
        header,
        file,
        position,
        durable: position,
        fileSize: spare?.size ?? 0,
        written: {
          sources: new Map(),
          types: this.#options.types,
          checkpoints: [],
          writtenAt: header.created,
        },
      };
    } catch (error) {
      await file.close().catch(() => {});
      throw error;
    }
  }

  #opening(): Opening {
    return { types: this.#options.types, sessions: Object.fromEntries(this.#sessions.entries()) };
  }

  /**
   * Gives up the current segment after a failure: what the disk has of it is unknown. What was not durable is written
   * again, to another one.
   */
  async #abandon(): Promise<void> {
    const active = this.#active;
    this.#active = undefined;
    this.#written = 0;
    this.#unwrittenBytes = this.#pendingBytes;
    if (active === undefined) return;
    // Without messages, the next segment will have its name.
    const { name, header, written } = active;
    if (header.first < this.#durable) this.#segments.push({ name, header, size: active.durable, written });
    this.#readable = undefined;
    await active.file.close().catch(() => {});
  }

  /** Removes segments that are too old, or that leave no room for another one. */
  async #makeRoom(): Promise<void> {
    while (this.#segments.length > 0) {
      const [spare] = this.#spares.slice(1);
      if (this.#hasExpired) await this.#removeOldest();
      else if (this.#hasRoom) return;
      else if (spare !== undefined) {
        await this.#disk.remove(spare.name);
        this.#spares.splice(this.#spares.indexOf(spare), 1);
      } else if (this.#mayDropOldest) await this.#removeOldest();
      else throw FULL;
    }
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

  /** Call when more messages may be removed: a full log then has room at once. */
  checkRoom(): void {
    this.#onRemovable();
  }

  /** Whether the oldest segment may be removed to make room. */
  get #mayDropOldest(): boolean {
    return this.#options.dropsOldest || this.#options.mayRemove(this.#oldestEnd);
  }

  /** Offset after the messages of the oldest segment. */
  get #oldestEnd(): number {
    return (this.#segments[1] ?? this.#active)?.header.first ?? this.#end;
  }

  /** Whether the newest message of the oldest segment is too old, and it may be removed. */
  get #hasExpired(): boolean {
    const { maxAge, now, mayRemove } = this.#options;
    const [oldest, next = this.#active] = this.#segments;
    // At the latest, it was written when the next segment began.
    const writtenAt = oldest?.written?.writtenAt ?? next?.header.created;
    return writtenAt !== undefined && now() - writtenAt > maxAge && mayRemove(this.#oldestEnd);
  }

  /** Whether another segment fits. */
  get #hasRoom(): boolean {
    const { segmentBytes, maxBytes } = this.#options;
    return this.bytes + Math.max(0, segmentBytes - (this.#spares[0]?.size ?? 0)) <= maxBytes;
  }

  /** @returns whether there was a segment to remove */
  async #removeOldest(): Promise<boolean> {
    const [oldest] = this.#segments;
    if (oldest === undefined) return false;
    const isReusable = this.#spares.length < MAX_SPARES && oldest.size >= this.#options.segmentBytes / 2;
    if (isReusable) this.#spares.push(await makeSpare(this.#disk, oldest.name));
    else await this.#disk.remove(oldest.name);
    // Not before: if the disk fails, the next attempt must find it.
    this.#segments.shift();
    this.#readable = undefined;
    return true;
  }
}

/** Notes where a record begins, unless that is near the latest one that was noted. */
function addCheckpoint({ written: { checkpoints }, position }: Active, offset: number): void {
  if (position - (checkpoints.at(-1)?.position ?? 0) >= CHECKPOINT_BYTES)
    checkpoints.push({ offset, position });
}

/** A record that later ones refer to. */
function definition(
  fields: Pick<RecordFields, 'first' | 'durable' | 'source' | 'time'>,
  kind: number,
  value: unknown,
): LogRecord {
  return {
    fields: { ...fields, kind, count: 0, sequence: 0, line: 0 },
    content: { head: Buffer.alloc(RECORD_HEADER), body: Buffer.from(JSON.stringify(value)) },
  };
}

function sizeOf({ head, body }: RecordContent): number {
  return align(head.length + body.length);
}

function sizeOfAll(records: readonly LogRecord[]): number {
  return records.reduce((sum, { content }) => sum + sizeOf(content), 0);
}

function random32(): number {
  return randomBytes(4).readUInt32LE();
}

function isFull(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT';
}
