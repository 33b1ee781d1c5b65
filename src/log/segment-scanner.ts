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

/** Bytes that are no record, although one follows them. */
export interface DamagedPart {
  readonly isDamaged: true;
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

  /** The records, with the damaged parts between them. Ends at the last record. */
  async *scan(): AsyncGenerator<ScannedRecord | DamagedPart, void> {
    let [position, expected] = [SEGMENT_HEADER, this.#header.first];
    for (;;) {
      const record = (await this.#read(position, expected)) ?? (await this.#findNext(position, expected));
      if (record === undefined) return;
      if (record.start > position) yield { isDamaged: true };
      yield record;
      position = record.end;
      expected = record.header.first + record.header.count;
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

  /** The next record after a position. */
  async #findNext(after: number, expected: number): Promise<ScannedRecord | undefined> {
    for (let position = after + ALIGNMENT; ; position += ALIGNMENT) {
      if ((await this.#bytes(position, RECORD_HEADER)).length < RECORD_HEADER) return undefined;
      const record = await this.#read(position, expected);
      if (record !== undefined) return record;
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
