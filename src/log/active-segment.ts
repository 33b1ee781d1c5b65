// The segment that is being written: records are appended to it, until it is full or the disk fails.

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
import type { WrittenSegment } from './log-reader.js';
import type { Segment } from './segments.js';

/** A sender of messages. */
export interface LogSender {
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
  readonly sender: LogSender;
  readonly fields: Pick<RecordFields, 'kind' | 'count' | 'time' | 'sequence' | 'decidedBefore'>;
  /** Called once the content is no longer needed. */
  release?(): void;
}

/** An entry and the offset of its first message. */
export interface PendingEntry {
  readonly entry: LogEntry;
  readonly first: number;
}

/** A segment that this process has written, or another one before it. */
export interface StoredSegment extends Segment {
  readonly written?: Written | undefined;
}

/** What this process knows of a segment that it has written. */
interface Written extends WrittenSegment {
  /** The senders that it contains. */
  readonly senders: Map<number, LogSender>;
  readonly checkpoints: Checkpoint[];
  /** Latest time at which a message was received, in ms since 1970; 0 if there is none. */
  latest: number;
  /** Monotonic clock when the latest message was written, in ms; 0 if there is none. */
  writtenAt: number;
}

interface Checkpoint {
  readonly offset: number;
  readonly position: number;
}

interface LogRecord {
  readonly fields: RecordFields;
  readonly content: RecordContent;
}

/** Bytes that are written by one call, at most, unless a single entry is larger. */
const MAX_GROUP = 4 * 1024 * 1024;
/** Bytes of a segment between two checkpoints. */
const CHECKPOINT_BYTES = 1024 * 1024;
const PADDING = Buffer.alloc(ALIGNMENT);

export class ActiveSegment {
  readonly name: string;
  readonly header: SegmentHeader;
  readonly written: Written;
  readonly #file: LogFile;
  /** Size of the file if it was used before. */
  readonly #fileSize: number;
  /** Position of the next record. */
  #position: number;
  /** Position up to which it is durable. */
  #durable: number;

  private constructor(
    name: string,
    header: SegmentHeader,
    file: LogFile,
    fileSize: number,
    position: number,
    types: readonly string[],
  ) {
    this.name = name;
    this.header = header;
    this.#file = file;
    this.#fileSize = fileSize;
    this.#position = position;
    this.#durable = position;
    this.written = { senders: new Map(), types, checkpoints: [], latest: 0, writtenAt: 0 };
  }

  /**
   * Creates a segment. It is durable then.
   * @param fileSize size of the file if it was used before; else 0
   */
  static async create(
    disk: LogDisk,
    name: string,
    fileSize: number,
    header: SegmentHeader,
    opening: Opening,
  ): Promise<ActiveSegment> {
    const file = await disk.open(name, 'create');
    try {
      // First of all, or a removed segment might still have its name after a power failure, but no longer its content.
      await disk.syncFolder();
      const { fields, content } = definition(
        { first: header.first, durable: SEGMENT_HEADER, sender: 0, time: header.created },
        RecordKind.OPENING,
        opening,
      );
      encodeRecordHeader(content, fields, header.id);
      const record = padded(content);
      await file.write([encodeSegmentHeader(header), ...record], 0);
      await file.sync();
      const position = SEGMENT_HEADER + sizeOf(content);
      return new ActiveSegment(name, header, file, fileSize, position, opening.types);
    } catch (error) {
      await file.close().catch(() => {});
      throw error;
    }
  }

  /** Position up to which it is durable. */
  get durable(): number {
    return this.#durable;
  }

  /** Bytes that are written and not durable. */
  get unsyncedBytes(): number {
    return this.#position - this.#durable;
  }

  /** Bytes that it occupies on the disk. */
  get size(): number {
    return Math.max(this.#position, this.#fileSize);
  }

  get isEmpty(): boolean {
    return this.written.senders.size === 0;
  }

  /** Whether an entry fits. */
  hasRoomFor(pending: PendingEntry, segmentBytes: number): boolean {
    return this.#position + sizeOfAll(this.#recordsOf(pending)) <= segmentBytes;
  }

  /**
   * Writes entries, as many as fit into one call and into the segment, but at least one.
   * @param from index of the first one
   * @param elapsed monotonic clock, in ms
   * @returns index after the last one
   */
  async write(
    pending: readonly PendingEntry[],
    from: number,
    segmentBytes: number,
    elapsed: () => number,
  ): Promise<number> {
    const buffers: Buffer[] = [];
    let size = 0;
    let to = from;
    for (; to < pending.length; to++) {
      const next = pending[to] as PendingEntry;
      const records = this.#recordsOf(next);
      const sizeWith = size + sizeOfAll(records);
      const isFull = this.#position + sizeWith > segmentBytes || sizeWith > MAX_GROUP;
      if (isFull && to > from) break;
      const { sender } = next.entry;
      this.written.senders.set(sender.number, sender);
      this.written.latest = Math.max(this.written.latest, next.entry.fields.time);
      for (const { fields, content } of records) {
        encodeRecordHeader(content, fields, this.header.id);
        buffers.push(...padded(content));
      }
      size = sizeWith;
    }
    await this.#file.write(buffers, this.#position);
    this.#addCheckpoint((pending[from] as PendingEntry).first);
    this.written.writtenAt = elapsed();
    this.#position += size;
    return to;
  }

  /** Makes everything durable that is written. */
  async sync(): Promise<void> {
    const position = this.#position;
    await this.#file.sync();
    this.#durable = position;
  }

  /** Whether its file was neither removed nor replaced. */
  isInPlace(): Promise<boolean> {
    return this.#file.isInPlace();
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  /** The record of an entry, after those of what it refers to, unless the segment already contains them. */
  #recordsOf({ entry, first }: PendingEntry): LogRecord[] {
    const { sender, fields } = entry;
    const common = { first, durable: this.#durable, sender: sender.number };
    const records: LogRecord[] = [];
    if (!this.written.senders.has(sender.number)) {
      const { id, crawlerId = null, session } = sender;
      records.push(
        definition({ ...common, time: fields.time }, RecordKind.SENDER, { id, crawlerId, session }),
      );
    }
    records.push({ fields: { ...common, ...fields }, content: entry });
    return records;
  }

  /** Adds a checkpoint at this record, unless the latest one is near. */
  #addCheckpoint(offset: number): void {
    const { checkpoints } = this.written;
    const position = this.#position;
    if (position - (checkpoints.at(-1)?.position ?? 0) >= CHECKPOINT_BYTES)
      checkpoints.push({ offset, position });
  }
}

/** Size of a record with this content. */
export function sizeOf({ head, body }: RecordContent): number {
  return align(head.length + body.length);
}

function sizeOfAll(records: readonly LogRecord[]): number {
  return records.reduce((sum, { content }) => sum + sizeOf(content), 0);
}

/** The buffers of a record. */
function padded(content: RecordContent): Buffer[] {
  const { head, body } = content;
  const padding = sizeOf(content) - head.length - body.length;
  return padding > 0 ? [head, body, PADDING.subarray(0, padding)] : [head, body];
}

/** A record that later ones refer to. */
function definition(
  fields: Pick<RecordFields, 'first' | 'durable' | 'sender' | 'time'>,
  kind: number,
  value: unknown,
): LogRecord {
  return {
    fields: { ...fields, kind, count: 0, sequence: 0, decidedBefore: 0 },
    content: { head: Buffer.alloc(RECORD_HEADER), body: Buffer.from(JSON.stringify(value)) },
  };
}
