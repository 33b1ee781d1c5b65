// Reads the records of a segment in order. What is no record is skipped up to the next one, and reported.

import type { LogFile } from './disk.js';
import {
  ALIGNMENT,
  decodeRecordHeader,
  hasContent,
  RECORD_HEADER,
  type RecordHeader,
  recordSize,
  SEGMENT_HEADER,
  type SegmentHeader,
} from './format.js';

/** Bytes read at a time. */
const READ_SIZE = 512 * 1024;
const NO_BYTES = Buffer.alloc(0);

/** A record as read. Its buffers are valid until the next one is read. */
export interface ScannedRecord {
  readonly isDamaged: false;
  /** Positions in the segment. */
  readonly start: number;
  readonly end: number;
  readonly header: RecordHeader;
  readonly index: Buffer;
  readonly body: Buffer;
}

/** Bytes that are no record, although one follows them, or more messages should. */
export interface DamagedPart {
  readonly isDamaged: true;
  readonly start: number;
  /** Start of the next record. */
  readonly end: number;
}

export class SegmentScanner {
  readonly #file: LogFile;
  readonly #header: SegmentHeader;
  #window = NO_BYTES;
  /** Position of the window in the file. */
  #from = 0;

  constructor(file: LogFile, header: SegmentHeader) {
    this.#file = file;
    this.#header = header;
  }

  /**
   * The records from a position on, with the damaged parts between them. Ends at the last record.
   * @param start position of a record. Default: of the first one.
   * @param first offset of the messages that follow. Default: the first one of the segment.
   */
  async *scan(
    start: number = SEGMENT_HEADER,
    first: number = this.#header.first,
  ): AsyncGenerator<ScannedRecord | DamagedPart, void> {
    let [position, expected] = [start, first];
    for (;;) {
      const record = await this.#read(position, expected);
      if (record !== undefined) {
        yield record;
        position = record.end;
        expected = record.header.first + record.header.count;
        continue;
      }
      const next = await this.#findNext(position + ALIGNMENT, expected);
      if (next === undefined) return;
      yield { isDamaged: true, start: position, end: next };
      position = next;
    }
  }

  /** The record at a position; `undefined` if there is none, or it is damaged, or older than it should be. */
  async #read(position: number, expected: number): Promise<ScannedRecord | undefined> {
    const head = await this.#bytes(position, RECORD_HEADER);
    const header = decodeRecordHeader(head, 0, this.#header.id);
    if (header === undefined || header.first < expected) return undefined;
    const end = position + recordSize(header);
    const bodyStart = RECORD_HEADER + header.indexLength;
    const bytes = await this.#bytes(position, bodyStart + header.bodyLength);
    const index = bytes.subarray(RECORD_HEADER, bodyStart);
    const body = bytes.subarray(bodyStart);
    if (body.length < header.bodyLength || !hasContent(header, { index, body }, this.#header.id))
      return undefined;
    return { isDamaged: false, start: position, end, header, index, body };
  }

  /** Position of the next record from a position on. */
  async #findNext(from: number, expected: number): Promise<number | undefined> {
    for (let position = from; ; position += ALIGNMENT) {
      const head = await this.#bytes(position, RECORD_HEADER);
      if (head.length < RECORD_HEADER) return undefined;
      if (decodeRecordHeader(head, 0, this.#header.id) === undefined) continue;
      if ((await this.#read(position, expected)) !== undefined) return position;
    }
  }

  /** Bytes of the file; fewer at its end. */
  async #bytes(position: number, length: number): Promise<Buffer> {
    const at = position - this.#from;
    if (at < 0 || at + length > this.#window.length) {
      const window = Buffer.allocUnsafe(Math.max(READ_SIZE, length));
      this.#window = window.subarray(0, await this.#file.read(window, position));
      this.#from = position;
    }
    return this.#window.subarray(position - this.#from, position - this.#from + length);
  }
}
