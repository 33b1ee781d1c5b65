// Reads the records of a segment in order. What is no record is skipped up to the next one, and reported.

import type { Slab, SlabPool } from '../memory/slab-pool.js';
import type { LogFile } from './disk.js';
import {
  ALIGNMENT,
  decodeRecordHeader,
  findRecordHeader,
  hasContent,
  RECORD_HEADER,
  type RecordHeader,
  recordSize,
  SEGMENT_HEADER,
  type SegmentHeader,
} from './format.js';

/** Bytes read at a time. */
export const READ_SIZE = 512 * 1024;
const NO_BYTES = Buffer.alloc(0);

/** A record as read. */
export interface ScannedRecord {
  /** Positions in the segment. */
  readonly start: number;
  readonly end: number;
  /** Whether bytes before it are no record. */
  readonly isAfterDamage: boolean;
  readonly header: RecordHeader;
  readonly index: Buffer;
  readonly body: Buffer;
  /** The memory of index and body. Hold it to use them after the next record is read. Without one, they stay as they are. */
  readonly slab: Slab | undefined;
}

export class SegmentScanner {
  readonly #file: Pick<LogFile, 'read'>;
  readonly #header: SegmentHeader;
  /** Position of the next record, and the smallest offset that it may have. */
  #position: number;
  #expected: number;
  readonly #memory: SlabPool | undefined;
  #window: Buffer = NO_BYTES;
  /** The memory of the window. */
  #slab: Slab | undefined;
  /** Position of the window in the file. */
  #from = 0;

  /**
   * @param memory to read into. Default: new memory for each read.
   * @param position of the first record to read. Default: of the first one.
   */
  constructor(
    file: Pick<LogFile, 'read'>,
    header: SegmentHeader,
    memory?: SlabPool,
    position: number = SEGMENT_HEADER,
  ) {
    this.#file = file;
    this.#header = header;
    this.#memory = memory;
    this.#position = position;
    this.#expected = header.first;
  }

  /**
   * The next record; `undefined` if there is none, or not yet.
   * @param limit position from which on the file may still change. Default: the end of the file.
   */
  async next(limit: number = Number.POSITIVE_INFINITY): Promise<ScannedRecord | undefined> {
    const found = (await this.#read(this.#position, limit)) ?? (await this.#findNext(limit));
    // Without a limit, the file may be being written.
    const mayBeWhole = found?.isAfterDamage === true && limit === Number.POSITIVE_INFINITY;
    const record = (mayBeWhole ? await this.#readAgain(found.start) : undefined) ?? found;
    if (record === undefined) return undefined;
    this.#position = record.end;
    this.#expected = record.header.first + record.header.count;
    return record;
  }

  /** Releases the memory that it has read into. */
  release(): void {
    this.#window = NO_BYTES;
    this.#slab?.close();
    this.#slab = undefined;
  }

  /** The record at a position; `undefined` if there is none, or it is damaged, or older than it should be. */
  async #read(position: number, limit: number): Promise<ScannedRecord | undefined> {
    const head = await this.#bytes(position, RECORD_HEADER, limit);
    const header = decodeRecordHeader(head, 0, this.#header.id);
    if (header === undefined || header.first < this.#expected) return undefined;
    const end = position + recordSize(header);
    const bodyStart = RECORD_HEADER + header.indexLength;
    const bytes = await this.#bytes(position, bodyStart + header.bodyLength, limit);
    const index = bytes.subarray(RECORD_HEADER, bodyStart);
    const body = bytes.subarray(bodyStart);
    if (body.length < header.bodyLength || !hasContent(header, index, body)) return undefined;
    const isAfterDamage = position > this.#position;
    return { start: position, end, isAfterDamage, header, index, body, slab: this.#slab };
  }

  /**
   * Reads the record at this position again: if it was being written before, it is whole now, since one that follows it is.
   * Reads no more than that, and keeps the window: however many records are damaged, each is read at most twice.
   * @param end position of the record that follows
   */
  async #readAgain(end: number): Promise<ScannedRecord | undefined> {
    const again = new SegmentScanner(this.#file, this.#header, undefined, this.#position);
    again.#expected = this.#expected;
    const record = await again.#read(this.#position, end);
    // What follows in the window is as old as what it had of this record.
    if (record !== undefined) this.release();
    return record;
  }

  /** The next record after what is not one. */
  async #findNext(limit: number): Promise<ScannedRecord | undefined> {
    for (let position = this.#position + ALIGNMENT; ; ) {
      await this.#bytes(position, RECORD_HEADER, limit);
      const bytes = this.#window.subarray(position - this.#from);
      if (bytes.length < RECORD_HEADER) return undefined;
      const at = findRecordHeader(bytes, this.#header.id);
      const record = at === -1 ? undefined : await this.#read(position + at, limit);
      if (record !== undefined) return record;
      // No header begins in these bytes, except in those at the end, which are too few.
      const last = Math.floor((bytes.length - RECORD_HEADER) / ALIGNMENT) * ALIGNMENT;
      position += (at === -1 ? last : at) + ALIGNMENT;
    }
  }

  /** Bytes of the file; fewer at its end, or at the limit. */
  async #bytes(position: number, length: number, limit: number): Promise<Buffer> {
    const at = position - this.#from;
    if (at < 0 || at + length > this.#window.length) {
      // Less if there are very many readers.
      const readSize = this.#memory?.sizeFor(READ_SIZE) ?? READ_SIZE;
      const window = this.#allocate(Math.min(Math.max(readSize, length), Math.max(0, limit - position)));
      this.#window = window.subarray(0, await this.#file.read(window, position));
      this.#from = position;
    }
    return this.#window.subarray(position - this.#from, position - this.#from + length);
  }

  /** Memory for another window. */
  #allocate(size: number): Buffer {
    this.release();
    if (this.#memory === undefined) return Buffer.allocUnsafe(size);
    const slab = this.#memory.acquire(size);
    this.#slab = slab;
    return slab.arena.bytes.subarray(slab.base, slab.base + size);
  }
}
