// The format of a log's segments, version 1. All numbers are little-endian.
//
//   segment = header, record, record, …
//   record  = header, index, body, padding to a multiple of 8 bytes
//
// The checksums of records begin with the segment's random ID: bytes that remain in a file from an earlier use never have
// a valid checksum.

import { endianness } from 'node:os';
import { crc32 } from 'node:zlib';

const IS_BIG_ENDIAN = endianness() === 'BE';

/** "SLUICELG" */
const SEGMENT_MAGIC = 0x474c_4543_4955_4c53n;
export const FORMAT_VERSION = 1;
export const SEGMENT_HEADER = 64;
/** "SLRC" */
const RECORD_MAGIC = 0x4352_4c53;
const RECORD_MAGIC_BYTES = Buffer.from('SLRC');
export const RECORD_HEADER = 80;
export const ALIGNMENT = 8;
/** Bytes of a message in the index of its record. */
export const INDEX_ENTRY = 16;
/**
 * Words of a message in the index: the end of the message in the body, without its delimiter; the index of its type, with
 * flags; and the key of its job.
 */
export const INDEX = { END: 0, TYPE: 1, JOB_LOW: 2, JOB_HIGH: 3, SIZE: 4 } as const;
/** The message refers to a job. */
export const HAS_JOB = 0x8000_0000;
/** The message breaks the contract and was forwarded all the same. */
export const IS_INVALID = 0x4000_0000;
export const TYPE_MASK = 0xffff;

/** Offsets in the header of a segment. */
const SEGMENT = {
  MAGIC: 0,
  VERSION: 8,
  /** Of everything after it. */
  CHECKSUM: 12,
  ID: 16,
  DELIMITER: 20,
  EPOCH: 24,
  FIRST: 32,
  CREATED: 40,
  JOB_SEED: 48,
} as const;

/** Offsets in the header of a record. */
const RECORD = {
  MAGIC: 0,
  /** Of everything after it in the header. */
  CHECKSUM: 4,
  /** Of the index and the body. */
  CONTENT_CHECKSUM: 8,
  KIND: 12,
  INDEX_LENGTH: 16,
  BODY_LENGTH: 20,
  COUNT: 24,
  SOURCE: 28,
  FIRST: 32,
  TIME: 40,
  SEQUENCE: 48,
  LINE: 56,
  SESSION: 64,
  DURABLE: 68,
} as const;

/** What a segment is about. */
export interface SegmentHeader {
  /** Random, 32 bits. */
  readonly id: number;
  /** The byte after each message. */
  readonly delimiter: number;
  /** Random, 64 bits. Changes when confirmed messages may be missing. */
  readonly epoch: bigint;
  /** Offset of its first message. */
  readonly first: number;
  /** Time of its creation, in ms since 1970. */
  readonly created: number;
  /** Seed of the job keys in its records. */
  readonly jobSeed: readonly [number, number];
}

export const RecordKind = {
  /** Messages of one connection. */
  RUN: 1,
  /** The names of message types: the body is a JSON array, in the order of their indexes. */
  TYPES: 2,
  /** A sender: the body is a JSON object. `source` is the number that records refer to it by. */
  SOURCE: 3,
} as const;

/** What a record is about, apart from its content. */
export interface RecordFields {
  /** One of `RecordKind`. */
  readonly kind: number;
  /** Number of messages. */
  readonly count: number;
  /** Offset of the first message; of the next one, if there is none. */
  readonly first: number;
  /** Time of receipt, in ms since 1970. */
  readonly time: number;
  /** Number of the sender in this segment. */
  readonly source: number;
  /** Sequence number of the first message among those of its sender. */
  readonly sequence: number;
  /** Number of the sender's session in this segment, 0 if it has none, and the line of the first message in it. */
  readonly session: number;
  readonly line: number;
  /** The segment is durable up to this position. */
  readonly durable: number;
}

export interface RecordHeader extends RecordFields {
  readonly indexLength: number;
  readonly bodyLength: number;
  readonly contentChecksum: number;
}

/** Size of a record in its segment. */
export function recordSize({
  indexLength,
  bodyLength,
}: Pick<RecordHeader, 'indexLength' | 'bodyLength'>): number {
  return align(RECORD_HEADER + indexLength + bodyLength);
}

export function align(size: number): number {
  return Math.ceil(size / ALIGNMENT) * ALIGNMENT;
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER);
  bytes.writeBigUInt64LE(SEGMENT_MAGIC, SEGMENT.MAGIC);
  bytes.writeUInt32LE(FORMAT_VERSION, SEGMENT.VERSION);
  bytes.writeUInt32LE(header.id, SEGMENT.ID);
  bytes.writeUInt32LE(header.delimiter, SEGMENT.DELIMITER);
  bytes.writeBigUInt64LE(header.epoch, SEGMENT.EPOCH);
  bytes.writeBigUInt64LE(BigInt(header.first), SEGMENT.FIRST);
  bytes.writeBigUInt64LE(BigInt(header.created), SEGMENT.CREATED);
  bytes.writeUInt32LE(header.jobSeed[0], SEGMENT.JOB_SEED);
  bytes.writeUInt32LE(header.jobSeed[1], SEGMENT.JOB_SEED + 4);
  bytes.writeUInt32LE(crc32(bytes.subarray(SEGMENT.ID)), SEGMENT.CHECKSUM);
  return bytes;
}

/**
 * @returns `undefined` if the bytes are no header of a segment; the version if it is one that this code does not know
 */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | number | undefined {
  if (bytes.length < SEGMENT_HEADER || bytes.readBigUInt64LE(SEGMENT.MAGIC) !== SEGMENT_MAGIC)
    return undefined;
  const version = bytes.readUInt32LE(SEGMENT.VERSION);
  if (version !== FORMAT_VERSION) return version;
  const checksum = crc32(bytes.subarray(SEGMENT.ID, SEGMENT_HEADER));
  if (checksum !== bytes.readUInt32LE(SEGMENT.CHECKSUM)) return undefined;
  return {
    id: bytes.readUInt32LE(SEGMENT.ID),
    delimiter: bytes.readUInt32LE(SEGMENT.DELIMITER),
    epoch: bytes.readBigUInt64LE(SEGMENT.EPOCH),
    first: Number(bytes.readBigUInt64LE(SEGMENT.FIRST)),
    created: Number(bytes.readBigUInt64LE(SEGMENT.CREATED)),
    jobSeed: [bytes.readUInt32LE(SEGMENT.JOB_SEED), bytes.readUInt32LE(SEGMENT.JOB_SEED + 4)],
  };
}

/** The content of a record: its parts one after the other, without padding. */
export interface RecordContent {
  readonly index: Buffer;
  readonly body: Buffer;
}

/** @param segmentId of the segment that the record is written to */
export function encodeRecordHeader(
  fields: RecordFields,
  { index, body }: RecordContent,
  segmentId: number,
): Buffer {
  const bytes = Buffer.alloc(RECORD_HEADER);
  bytes.writeUInt32LE(RECORD_MAGIC, RECORD.MAGIC);
  bytes.writeUInt32LE(crc32(body, crc32(index, segmentId)), RECORD.CONTENT_CHECKSUM);
  bytes.writeUInt32LE(fields.kind, RECORD.KIND);
  bytes.writeUInt32LE(index.length, RECORD.INDEX_LENGTH);
  bytes.writeUInt32LE(body.length, RECORD.BODY_LENGTH);
  bytes.writeUInt32LE(fields.count, RECORD.COUNT);
  bytes.writeUInt32LE(fields.source, RECORD.SOURCE);
  bytes.writeBigUInt64LE(BigInt(fields.first), RECORD.FIRST);
  bytes.writeBigUInt64LE(BigInt(fields.time), RECORD.TIME);
  bytes.writeBigUInt64LE(BigInt(fields.sequence), RECORD.SEQUENCE);
  bytes.writeBigUInt64LE(BigInt(fields.line), RECORD.LINE);
  bytes.writeUInt32LE(fields.session, RECORD.SESSION);
  bytes.writeUInt32LE(fields.durable, RECORD.DURABLE);
  bytes.writeUInt32LE(crc32(bytes.subarray(RECORD.CONTENT_CHECKSUM), segmentId), RECORD.CHECKSUM);
  return bytes;
}

/**
 * @param at position of the header in `bytes`
 * @returns `undefined` if no record of the segment begins there
 */
export function decodeRecordHeader(bytes: Buffer, at: number, segmentId: number): RecordHeader | undefined {
  if (at + RECORD_HEADER > bytes.length) return undefined;
  const header = bytes.subarray(at, at + RECORD_HEADER);
  if (header.readUInt32LE(RECORD.MAGIC) !== RECORD_MAGIC) return undefined;
  const checksum = crc32(header.subarray(RECORD.CONTENT_CHECKSUM), segmentId);
  if (checksum !== header.readUInt32LE(RECORD.CHECKSUM)) return undefined;
  return {
    contentChecksum: header.readUInt32LE(RECORD.CONTENT_CHECKSUM),
    kind: header.readUInt32LE(RECORD.KIND),
    indexLength: header.readUInt32LE(RECORD.INDEX_LENGTH),
    bodyLength: header.readUInt32LE(RECORD.BODY_LENGTH),
    count: header.readUInt32LE(RECORD.COUNT),
    source: header.readUInt32LE(RECORD.SOURCE),
    first: Number(header.readBigUInt64LE(RECORD.FIRST)),
    time: Number(header.readBigUInt64LE(RECORD.TIME)),
    sequence: Number(header.readBigUInt64LE(RECORD.SEQUENCE)),
    line: Number(header.readBigUInt64LE(RECORD.LINE)),
    session: header.readUInt32LE(RECORD.SESSION),
    durable: header.readUInt32LE(RECORD.DURABLE),
  };
}

/**
 * Finds the first header of a record of the segment.
 * @returns its position, a multiple of 8; -1 if there is none
 */
export function findRecordHeader(bytes: Buffer, segmentId: number): number {
  let at = bytes.indexOf(RECORD_MAGIC_BYTES);
  while (at !== -1) {
    if (at % ALIGNMENT === 0 && decodeRecordHeader(bytes, at, segmentId) !== undefined) return at;
    at = bytes.indexOf(RECORD_MAGIC_BYTES, at + 1);
  }
  return -1;
}

/** The words of an index; see {@link INDEX}. */
export function readIndex(index: Buffer): Uint32Array {
  const isAligned = index.byteOffset % Uint32Array.BYTES_PER_ELEMENT === 0;
  // A copy has an offset of 0 or is aligned by Node's pool.
  const bytes = isAligned && !IS_BIG_ENDIAN ? index : Buffer.from(index);
  if (IS_BIG_ENDIAN) bytes.swap32();
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / Uint32Array.BYTES_PER_ELEMENT);
}

/** The bytes of an index. The words are used as memory for it. */
export function encodeIndex(words: Uint32Array<ArrayBuffer>): Buffer {
  const bytes = Buffer.from(words.buffer);
  return IS_BIG_ENDIAN ? bytes.swap32() : bytes;
}

/** Whether the index and the body are those that the header was written for. */
export function hasContent(
  { contentChecksum }: RecordHeader,
  { index, body }: RecordContent,
  segmentId: number,
): boolean {
  return crc32(body, crc32(index, segmentId)) === contentChecksum;
}
