// The durable log: appends records to segments and makes them durable in groups. One chain of writes and syncs is in
// flight; what arrives meanwhile is the next group. Entries stay in memory until they are durable, so that they can be
// written again elsewhere if the disk fails.

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Backoff } from '../backoff.js';
import { withTimeout } from '../timeout.js';
import type { LogDisk, LogFile } from './disk.js';
import {
  ALIGNMENT,
  align,
  encodeRecordHeader,
  encodeSegmentHeader,
  RECORD_HEADER,
  type RecordContent,
  type RecordFields,
  RecordKind,
  SEGMENT_HEADER,
  type SegmentHeader,
} from './format.js';
import { makeSpare, recoverSegments, type Segment, type Spare, segmentName } from './segments.js';

export interface LogStoreOptions {
  /** Size at which a segment is full, in bytes. Default: 64 MiB. */
  readonly segmentBytes?: number;
  /** Maximum bytes of all segments. The oldest ones are removed. Default: no limit. */
  readonly maxBytes?: number;
  /** Maximum age of the newest message of a segment, in ms. Older segments are removed. Default: no limit. */
  readonly maxAge?: number;
  /** Time until messages that nobody waits for become durable, in ms. Default: 50. */
  readonly syncInterval?: number;
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
}

/** A sender of messages. */
export interface LogSource {
  /** Unique since the start, from 1. */
  readonly number: number;
  /** Connection ID. */
  readonly id: string;
  readonly crawlerId: string | undefined;
}

/** Messages of one connection to append. The log holds the content until it is durable. */
export interface LogEntry extends RecordContent {
  readonly source: LogSource;
  readonly fields: Pick<RecordFields, 'count' | 'time' | 'sequence' | 'session' | 'line'>;
  /** Called once the content is no longer needed. */
  release?(): void;
}

interface Pending {
  readonly entry: LogEntry;
  readonly first: number;
}

interface Waiter {
  readonly offset: number;
  readonly resolve: () => void;
}

const MiB = 1024 * 1024;
const SEGMENT_BYTES = 64 * MiB;
const SYNC_INTERVAL = 50;
/** Bytes of a group. */
const MAX_GROUP = 4 * MiB;
/** Bytes that are written before the next sync, if nobody waits for one. */
const MAX_UNSYNCED = 8 * MiB;
const MAX_SPARES = 2;
const RETRY = { initialDelay: 20, maxDelay: 1000 } as const;
const PADDING = Buffer.alloc(ALIGNMENT);
const NO_BYTES = Buffer.alloc(0);
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
  /** Numbers of the sources that it contains. */
  readonly sources: Set<number>;
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
    const { index, body } = content;
    const size = sizeOf(content);
    const padding = PADDING.subarray(0, size - RECORD_HEADER - index.length - body.length);
    const parts = [encodeRecordHeader(fields, content, segmentId), index, body, padding];
    this.buffers.push(...parts.filter(({ length }) => length > 0));
    this.size += size;
  }
}

export class LogStore {
  readonly #disk: LogDisk;
  readonly #options: Required<Omit<LogStoreOptions, 'jobSeed'>>;
  /** Changes when confirmed messages may be missing. */
  readonly epoch: bigint;
  readonly jobSeed: readonly [number, number];
  /** Complete segments, the oldest first. */
  #segments: Segment[];
  readonly #spares: Spare[];
  #active: Active | undefined;
  /** Not durable yet: written first, then the others. */
  #pending: Pending[] = [];
  #written = 0;
  #pendingBytes = 0;
  #end: number;
  #durable: number;
  #waiters: Waiter[] = [];
  #syncTimer: NodeJS.Timeout | undefined;
  #isSyncDue = false;
  #draining: Promise<void> | undefined;
  #isAvailable = true;
  #closed = false;

  private constructor(
    disk: LogDisk,
    options: LogStoreOptions,
    segments: Segment[],
    spares: Spare[],
    end: number,
  ) {
    this.#disk = disk;
    this.#options = {
      segmentBytes: SEGMENT_BYTES,
      maxBytes: Number.POSITIVE_INFINITY,
      maxAge: Number.POSITIVE_INFINITY,
      syncInterval: SYNC_INTERVAL,
      types: [],
      delimiter: 0x0a,
      now: Date.now,
      onError: () => {},
      ...options,
    };
    const newest = segments.at(-1)?.header;
    this.epoch = newest?.epoch ?? randomBytes(8).readBigUInt64LE();
    this.jobSeed = newest?.jobSeed ?? options.jobSeed ?? [random32(), random32()];
    this.#segments = segments;
    this.#spares = spares;
    this.#end = end;
    this.#durable = end;
  }

  /**
   * Opens the log in a folder, or begins one.
   * @throws LogFormatError
   */
  static async open(disk: LogDisk, options: LogStoreOptions = {}): Promise<LogStore> {
    const { segments, spares, end } = await recoverSegments(disk);
    return new LogStore(disk, options, [...segments], [...spares], end);
  }

  /** Offset of the next message. */
  get end(): number {
    return this.#end;
  }

  /** All messages before this offset are durable. */
  get durable(): number {
    return this.#durable;
  }

  /** Bytes in memory that are not durable yet. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Whether the disk works. */
  get isAvailable(): boolean {
    return this.#isAvailable;
  }

  /** Bytes that the log occupies on the disk. */
  get bytes(): number {
    const { position = 0, fileSize = 0 } = this.#active ?? {};
    return [...this.#segments, ...this.#spares].reduce(
      (sum, { size }) => sum + size,
      Math.max(position, fileSize),
    );
  }

  /** Appends an entry. @returns the offset after its last message */
  append(entry: LogEntry): number {
    this.#pending.push({ entry, first: this.#end });
    this.#pendingBytes += sizeOf(entry);
    this.#end += entry.fields.count;
    this.#drain();
    return this.#end;
  }

  /** Resolves when all messages before an offset are durable. */
  whenDurable(offset: number = this.#end): Promise<void> {
    if (offset <= this.#durable) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiters.push({ offset, resolve });
      this.#drain();
    });
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

  #drain(): void {
    if (this.#draining !== undefined || this.#closed) return;
    this.#draining = this.#run().finally(() => {
      this.#draining = undefined;
      if (this.#hasWork) this.#drain();
    });
  }

  get #hasWork(): boolean {
    return this.#written < this.#pending.length || this.#mustSync;
  }

  get #mustSync(): boolean {
    if (this.#written === 0) return false;
    return this.#isSyncDue || this.#waiters.length > 0 || this.#unsyncedBytes >= MAX_UNSYNCED;
  }

  get #unsyncedBytes(): number {
    const { position = 0, durable = 0 } = this.#active ?? {};
    return position - durable;
  }

  async #run(): Promise<void> {
    const backoff = new Backoff(RETRY);
    // What is appended in this turn of the event loop belongs to the same group.
    await null;
    while (this.#hasWork && !this.#closed) {
      try {
        if (this.#mustSync) await this.#sync();
        else await this.#writeGroup();
        this.#isAvailable = true;
        backoff.reset();
      } catch (error) {
        this.#isAvailable = false;
        this.#options.onError(error);
        await this.#abandon();
        const hasRoom = isFull(error) && (await this.#removeOldest().catch(() => false));
        if (!hasRoom) await sleep(backoff.next());
      }
    }
  }

  /** Writes the next entries, up to a limit. */
  async #writeGroup(): Promise<void> {
    const active = await this.#activeFor(this.#pending[this.#written] as Pending);
    const batch = new RecordBatch();
    let written = this.#written;
    for (; written < this.#pending.length; written++) {
      const pending = this.#pending[written] as Pending;
      const records = this.#recordsOf(pending, active);
      const size = batch.size + sizeOfAll(records);
      const isFull = active.position + size > this.#options.segmentBytes || size > MAX_GROUP;
      if (isFull && written > this.#written) break;
      active.sources.add(pending.entry.source.number);
      for (const { fields, content } of records) batch.add(fields, content, active.header.id);
    }
    await active.file.write(batch.buffers, active.position);
    active.position += batch.size;
    this.#written = written;
    this.#syncTimer ??= setTimeout(() => {
      this.#syncTimer = undefined;
      this.#isSyncDue = true;
      this.#drain();
    }, this.#options.syncInterval).unref();
  }

  /** The record of an entry, after those of what it refers to, unless the segment already contains them. */
  #recordsOf(
    { entry, first }: Pending,
    { sources, durable }: Pick<Active, 'sources' | 'durable'>,
  ): LogRecord[] {
    const { source, fields } = entry;
    const common = { first, durable, source: source.number };
    const definition = (kind: number, value: unknown) => ({
      fields: { ...common, ...NO_MESSAGES, kind, time: fields.time },
      content: { index: NO_BYTES, body: Buffer.from(JSON.stringify(value)) },
    });
    const records: LogRecord[] = [];
    if (sources.size === 0) records.push(definition(RecordKind.TYPES, this.#options.types));
    if (!sources.has(source.number)) {
      const { id, crawlerId = null } = source;
      records.push(definition(RecordKind.SOURCE, { id, crawlerId }));
    }
    records.push({ fields: { ...common, ...fields, kind: RecordKind.RUN }, content: entry });
    return records;
  }

  async #sync(): Promise<void> {
    const active = this.#active as Active;
    const [position, written] = [active.position, this.#written];
    this.#isSyncDue = false;
    await active.file.sync();
    active.durable = position;
    this.#confirm(written);
  }

  /** The first entries are durable. */
  #confirm(count: number): void {
    for (const { entry, first } of this.#pending.splice(0, count)) {
      this.#durable = first + entry.fields.count;
      this.#pendingBytes -= sizeOf(entry);
      entry.release?.();
    }
    this.#written -= count;
    const waiting = this.#waiters;
    this.#waiters = waiting.filter(({ offset }) => offset > this.#durable);
    for (const { offset, resolve } of waiting) if (offset <= this.#durable) resolve();
  }

  /** The segment for an entry: the current one if it has room, else a new one. */
  async #activeFor(pending: Pending): Promise<Active> {
    const active = this.#active;
    if (active !== undefined) {
      const isEmpty = active.position === SEGMENT_HEADER;
      const size = sizeOfAll(this.#recordsOf(pending, active));
      if (isEmpty || active.position + size <= this.#options.segmentBytes) return active;
      // The new segment must not be durable before the old one is.
      if (this.#written > 0) await this.#sync();
      await this.#retire(active);
    }
    await this.removeExpired();
    this.#active = await this.#createSegment(pending.first);
    return this.#active;
  }

  async #retire(active: Active): Promise<void> {
    this.#active = undefined;
    const { name, header, position, fileSize } = active;
    this.#segments.push({ name, header, size: Math.max(position, fileSize) });
    await active.file.close();
  }

  async #createSegment(first: number): Promise<Active> {
    const name = segmentName(first);
    const spare = this.#spares.shift();
    if (spare !== undefined) await this.#disk.rename(spare.name, name);
    const file = await this.#disk.open(name);
    try {
      const { delimiter, now } = this.#options;
      const { epoch, jobSeed } = this;
      const header = { id: random32(), delimiter, epoch, first, created: now(), jobSeed };
      // First of all, or a removed segment might still have its name after a power failure, but no longer its content.
      await this.#disk.syncFolder();
      await file.write([encodeSegmentHeader(header)], 0);
      await file.sync();
      return {
        name,
        header,
        file,
        position: SEGMENT_HEADER,
        durable: SEGMENT_HEADER,
        fileSize: spare?.size ?? 0,
        sources: new Set(),
      };
    } catch (error) {
      await file.close().catch(() => {});
      throw error;
    }
  }

  /**
   * Gives up the current segment after a failure: what the disk has of it is unknown. What was not durable is written
   * again, to another one.
   */
  async #abandon(): Promise<void> {
    const active = this.#active;
    this.#active = undefined;
    this.#written = 0;
    if (active === undefined) return;
    // Without messages, the next segment will have its name.
    if (active.header.first < this.#durable)
      this.#segments.push({ name: active.name, header: active.header, size: active.durable });
    await active.file.close().catch(() => {});
  }

  /** Removes segments that are too old, or that leave no room for another one. */
  async removeExpired(): Promise<void> {
    while (this.#segments.length > 0) {
      const [spare] = this.#spares.slice(1);
      if (this.#hasExpired || (!this.#hasRoom && spare === undefined)) await this.#removeOldest();
      else if (!this.#hasRoom && spare !== undefined) {
        await this.#disk.remove(spare.name);
        this.#spares.splice(this.#spares.indexOf(spare), 1);
      } else return;
    }
  }

  /** Whether the newest message of the oldest segment is too old: it is older than the next segment. */
  get #hasExpired(): boolean {
    const { maxAge, now } = this.#options;
    const next = this.#segments[1]?.header ?? this.#active?.header;
    return next !== undefined && now() - next.created > maxAge;
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
    return true;
  }
}

/** Of records that define something. */
const NO_MESSAGES = { count: 0, sequence: 0, session: 0, line: 0 } as const;

function sizeOf({ index, body }: RecordContent): number {
  return align(RECORD_HEADER + index.length + body.length);
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
