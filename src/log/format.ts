// The format of a log's segments, version 1. All numbers are little-endian.
//
//   segment = header, record, record, …
//   record  = header, index, body, padding to a multiple of 8 bytes
//
// The checksum of a record's header begins with the segment's random ID, and covers the checksums of its content: bytes that
// remain in a file from an earlier use never have a valid checksum.

import { endianness } from 'node:os';
import { crc32 } from 'node:zlib';

const IS_BIG_ENDIAN = endianness() === 'BE';

/** "SLUICELG" */
const SEGMENT_MAGIC = 0x474c_4543_4955_4c53n;
export const FORMAT_VERSION = 1;
export const SEGMENT_HEADER = 64;
/** "SLRC" */
const RECORD_MAGIC = 0x4352_4c53;
const TWO_TO_32 = 2 ** 32;
const RECORD_MAGIC_BYTES = Buffer.from('SLRC');
export const RECORD_HEADER = 80;
export const ALIGNMENT = 8;

/**
 * The index of a record of messages, in 32-bit words: two bases, then {@link FRAME} words of each message and {@link JOB}
 * words of each job, both as they are in verdicts. The position of a message in the body is its start less the first base;
 * its job is at the row less the second base.
 */
export const INDEX = { POSITION_BASE: 0, JOB_BASE: 1, FRAMES: 2 } as const;

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
  LATEST_BEFORE: 56,
} as const;

/** Offsets in the header of a record. */
const RECORD = {
  MAGIC: 0,
  /** Of everything after it in the header, beginning with the segment's ID. */
  CHECKSUM: 4,
  INDEX_CHECKSUM: 8,
  BODY_CHECKSUM: 12,
  KIND: 16,
  INDEX_LENGTH: 20,
  BODY_LENGTH: 24,
  COUNT: 28,
  FIRST: 32,
  TIME: 40,
  SEQUENCE: 48,
  DECIDED_BEFORE: 56,
  SENDER: 64,
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
  /**
   * Latest time at which a message of the segment before it was received, in ms since 1970. `undefined`: not known, as in
   * logs of earlier versions.
   */
  readonly latestBefore?: number | undefined;
}

export const RecordKind = {
  /** Messages of one connection. */
  RUN: 1,
  /** The same, of messages that break the contract and were forwarded anyway. */
  INVALID_RUN: 4,
  /** The first record of a segment: the body is an {@link Opening}. */
  OPENING: 2,
  /** A sender: the body is a JSON object. `sender` is the number that records refer to it by. */
  SENDER: 3,
} as const;

/** What the records of a segment refer to. */
export interface Opening {
  /** Names of the message types, by index. */
  readonly types: readonly string[];
  /** How many messages of each session are in earlier segments, or were rejected between them. */
  readonly sessions: Readonly<Record<string, number>>;
}

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
  readonly sender: number;
  /** Sequence number of the first message among those of its sender. */
  readonly sequence: number;
  /** Number of decided messages of the sender's session before the first message. */
  readonly decidedBefore: number;
  /** The segment is durable up to this position. */
  readonly durable: number;
}

export interface RecordHeader extends RecordFields {
  readonly indexLength: number;
  readonly bodyLength: number;
  readonly indexChecksum: number;
  readonly bodyChecksum: number;
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
  writeNumber(bytes, header.latestBefore ?? 0, SEGMENT.LATEST_BEFORE);
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
    latestBefore: readNumber(bytes, SEGMENT.LATEST_BEFORE) || undefined,
  };
}

/** A record in memory. */
export interface RecordContent {
  /** Room for the header, and the index. */
  readonly head: Buffer;
  readonly body: Buffer;
  /** CRC-32 of the body, if it is known. Default: computed. */
  readonly bodyChecksum?: number | undefined;
}

/** Writes the header of a record. @param segmentId of the segment that the record is written to */
export function encodeRecordHeader(
  { head, body, bodyChecksum }: RecordContent,
  fields: RecordFields,
  segmentId: number,
): void {
  head.writeUInt32LE(RECORD_MAGIC, RECORD.MAGIC);
  head.writeUInt32LE(crc32(head.subarray(RECORD_HEADER)), RECORD.INDEX_CHECKSUM);
  head.writeUInt32LE(bodyChecksum ?? crc32(body), RECORD.BODY_CHECKSUM);
  head.writeUInt32LE(fields.kind, RECORD.KIND);
  head.writeUInt32LE(head.length - RECORD_HEADER, RECORD.INDEX_LENGTH);
  head.writeUInt32LE(body.length, RECORD.BODY_LENGTH);
  head.writeUInt32LE(fields.count, RECORD.COUNT);
  writeNumber(head, fields.first, RECORD.FIRST);
  writeNumber(head, fields.time, RECORD.TIME);
  writeNumber(head, fields.sequence, RECORD.SEQUENCE);
  writeNumber(head, fields.decidedBefore, RECORD.DECIDED_BEFORE);
  head.writeUInt32LE(fields.sender, RECORD.SENDER);
  head.writeUInt32LE(fields.durable, RECORD.DURABLE);
  head.fill(0, RECORD.DURABLE + 4, RECORD_HEADER);
  head.writeUInt32LE(crc32(head.subarray(RECORD.INDEX_CHECKSUM, RECORD_HEADER), segmentId), RECORD.CHECKSUM);
}

/** Writes an integer of up to 53 bits as one of 64. */
function writeNumber(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value % TWO_TO_32, at);
  bytes.writeUInt32LE(Math.floor(value / TWO_TO_32), at + 4);
}

function readNumber(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * TWO_TO_32;
}

/**
 * @param at position of the header in `bytes`
 * @returns `undefined` if no record of the segment begins there
 */
export function decodeRecordHeader(bytes: Buffer, at: number, segmentId: number): RecordHeader | undefined {
  if (at + RECORD_HEADER > bytes.length) return undefined;
  const header = bytes.subarray(at, at + RECORD_HEADER);
  if (header.readUInt32LE(RECORD.MAGIC) !== RECORD_MAGIC) return undefined;
  const checksum = crc32(header.subarray(RECORD.INDEX_CHECKSUM), segmentId);
  if (checksum !== header.readUInt32LE(RECORD.CHECKSUM)) return undefined;
  return {
    indexChecksum: header.readUInt32LE(RECORD.INDEX_CHECKSUM),
    bodyChecksum: header.readUInt32LE(RECORD.BODY_CHECKSUM),
    kind: header.readUInt32LE(RECORD.KIND),
    indexLength: header.readUInt32LE(RECORD.INDEX_LENGTH),
    bodyLength: header.readUInt32LE(RECORD.BODY_LENGTH),
    count: header.readUInt32LE(RECORD.COUNT),
    first: readNumber(header, RECORD.FIRST),
    time: readNumber(header, RECORD.TIME),
    sequence: readNumber(header, RECORD.SEQUENCE),
    decidedBefore: readNumber(header, RECORD.DECIDED_BEFORE),
    sender: header.readUInt32LE(RECORD.SENDER),
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

/** Whether a header of a record of messages seems to be there, of whatever segment. */
export function hasMessageHeader(bytes: Buffer): boolean {
  let at = bytes.indexOf(RECORD_MAGIC_BYTES);
  for (; at !== -1 && at + RECORD_HEADER <= bytes.length; at = bytes.indexOf(RECORD_MAGIC_BYTES, at + 1)) {
    const kind = bytes.readUInt32LE(at + RECORD.KIND);
    if (kind === RecordKind.RUN || kind === RecordKind.INVALID_RUN) return true;
  }
  return false;
}

/** The words of an index; see {@link INDEX}. */
export function readIndex(index: Buffer): Uint32Array {
  const isAligned = index.byteOffset % Uint32Array.BYTES_PER_ELEMENT === 0;
  // A copy is aligned.
  const bytes = isAligned && !IS_BIG_ENDIAN ? index : Buffer.from(index);
  if (IS_BIG_ENDIAN) bytes.swap32();
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / Uint32Array.BYTES_PER_ELEMENT);
}

/**
 * The head of a record with an index.
 * @param words number of words of the index
 * @param fill writes the index
 */
export function createHead(words: number, fill: (index: Uint32Array) => void): Buffer {
  const head = Buffer.allocUnsafe(RECORD_HEADER + words * Uint32Array.BYTES_PER_ELEMENT);
  fill(new Uint32Array(head.buffer, head.byteOffset + RECORD_HEADER, words));
  if (IS_BIG_ENDIAN) head.subarray(RECORD_HEADER).swap32();
  return head;
}

/** Whether the index and the body are those that the header was written for. */
export function hasContent(
  { indexChecksum, bodyChecksum }: RecordHeader,
  index: Buffer,
  body: Buffer,
): boolean {
  return crc32(index) === indexChecksum && crc32(body) === bodyChecksum;
}
