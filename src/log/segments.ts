// The segments of a log on its disk: finds those that are there, and recovers the end of the newest one.

import { randomBytes } from 'node:crypto';
import type { LogDisk, LogFile } from './disk.js';
import {
  decodeSegmentHeader,
  FORMAT_VERSION,
  hasMessageHeader,
  type Opening,
  RecordKind,
  SEGMENT_HEADER,
  type SegmentHeader,
} from './format.js';
import { READ_SIZE, type ScannedRecord, SegmentScanner } from './segment-scanner.js';

const EXTENSION = '.seg';
const DIGITS = 20;
/** Put before the name of a damaged segment, so that it is never overwritten. */
const DAMAGED = 'damaged-';
const SEGMENT_NAME = /^(?:damaged-)?(\d{20})\.seg$/;
const SPARE_NAME = /^spare-[0-9a-f]+\.seg$/;

/** The log was written by another version of Sluice. */
export class LogFormatError extends Error {
  override readonly name = 'LogFormatError';
}

/** A segment on the disk. */
export interface Segment {
  readonly name: string;
  readonly header: SegmentHeader;
  /** Size of its file in bytes. */
  readonly size: number;
  /** Latest time at which a message was received, in ms since 1970, if it is known. */
  readonly latest?: number | undefined;
}

/** A file that is kept to be overwritten, since to allocate new blocks costs more. */
export interface Spare {
  readonly name: string;
  /** In bytes. */
  readonly size: number;
}

/** What is in a folder when a log is opened. */
export interface FoundLog {
  /** The header of the newest segment, also if that contains no messages; `undefined` if there is none. */
  readonly identity: Pick<SegmentHeader, 'epoch' | 'jobSeed'> | undefined;
  /** In the order of their messages. */
  readonly segments: readonly Segment[];
  /** Files to write new segments to. */
  readonly spares: readonly Spare[];
  /** Name of the newest segment if that contains no messages: the next one gets the same name. */
  readonly empty: string | undefined;
  /** Offset of the message that will be written next. */
  readonly end: number;
  /** Whether offsets before it are left out that no segment shows. */
  readonly hasSkipped: boolean;
  /** Number of messages of each session that are in the log, or were rejected between those. */
  readonly sessions: ReadonlyMap<string, number>;
}

export function segmentName(first: number): string {
  return `${String(first).padStart(DIGITS, '0')}${EXTENSION}`;
}

/**
 * Finds the segments of a log, and cuts off what was not written completely when the broker stopped.
 * @throws LogFormatError if a segment has a newer format
 */
export async function recoverSegments(disk: LogDisk): Promise<FoundLog> {
  const { segments: found, unused, damaged, spares } = await findSegments(disk);
  const segments = found.map((segment, at): Segment => {
    return { ...segment, latest: found[at + 1]?.header.latestBefore };
  });
  const newest = segments.pop();
  let end = 0;
  let sessions = new SessionCounts();
  if (newest !== undefined) {
    const recovered = await withFile(disk, newest.name, 'write', (file) => {
      return recoverEnd(file, newest, sessions);
    });
    end = recovered.end;
    const previous = segments.at(-1);
    const isEmpty = end === newest.header.first;
    // Otherwise, readers stop where the newest segment begins.
    if (previous !== undefined && (isEmpty || !recovered.hasSessions)) {
      const cut = (file: LogFile) => cutAt(file, previous, newest.header.first);
      segments[segments.length - 1] = {
        ...previous,
        size: await withFile(disk, previous.name, 'write', cut),
      };
    }
    if (!recovered.hasSessions) {
      sessions = new SessionCounts();
      for (const segment of previous === undefined ? [newest] : [previous, newest])
        await withFile(disk, segment.name, 'read', (file) => readSessions(file, segment, sessions));
    }
    if (!isEmpty) segments.push({ ...newest, size: recovered.size, latest: recovered.latest });
  }
  for (const file of unused) spares.push(await makeSpare(disk, file));
  const empty = newest === undefined || end > newest.header.first ? undefined : newest.name;
  let lostEnd = end;
  for (const { name, first, size } of damaged) {
    if (!name.startsWith(DAMAGED)) await disk.rename(name, DAMAGED + name);
    // Its offsets are not given again. It has fewer messages than bytes.
    if (first > (newest?.header.first ?? -1)) lostEnd = Math.max(lostEnd, first + size);
  }
  return {
    identity: newest?.header,
    segments,
    spares,
    empty,
    end: lostEnd,
    hasSkipped: lostEnd > end,
    sessions: sessions.counts,
  };
}

/** Files of a log. */
export interface Inspection {
  /** In the order of their messages. */
  readonly segments: Segment[];
  /** Files that were about to become segments when the broker stopped. */
  readonly unused: Spare[];
  /** Segments whose header is damaged, so that nothing can be read of them. */
  readonly damaged: DamagedSegment[];
  readonly spares: Spare[];
}

interface DamagedSegment {
  readonly name: string;
  /** Offset of its first message. */
  readonly first: number;
  /** In bytes. */
  readonly size: number;
}

/** Makes a file spare. */
export async function makeSpare(disk: LogDisk, { name, size }: Spare): Promise<Spare> {
  const spare = `spare-${randomBytes(8).toString('hex')}${EXTENSION}`;
  await disk.rename(name, spare);
  return { name: spare, size };
}

/**
 * The files of a log, without changing anything. Those that a broker removes or renames meanwhile are left out.
 * @throws LogFormatError
 */
export async function findSegments(disk: LogDisk): Promise<Inspection> {
  const names = (await disk.list()).sort();
  const segments: Segment[] = [];
  const unused: Spare[] = [];
  const damaged: DamagedSegment[] = [];
  for (const name of names) {
    const first = SEGMENT_NAME.exec(name)?.[1];
    if (first === undefined) continue;
    const found = await withFile(disk, name, 'read', async (file) => ({
      size: await file.size(),
      header: name.startsWith(DAMAGED) ? undefined : await readHeader(file, name),
    })).catch(unlessMissing);
    if (found === undefined) continue;
    const { size, header } = found;
    if (header === undefined) damaged.push({ name, first: Number(first), size });
    else if (header !== 'new' && segmentName(header.first) === name) segments.push({ name, header, size });
    // A new file, or a spare one that has its new name and still the header of its previous use.
    else unused.push({ name, size });
  }
  const spares: Spare[] = [];
  for (const name of names.filter((name) => SPARE_NAME.test(name))) {
    const size = await withFile(disk, name, 'read', (file) => file.size()).catch(unlessMissing);
    if (size !== undefined) spares.push({ name, size });
  }
  return { segments, unused, damaged, spares };
}

function unlessMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

/**
 * The header of a segment; `undefined` if it is damaged.
 * @returns `new` if it was not durable before the broker stopped: nothing else is in the file then
 * @throws LogFormatError
 */
async function readHeader(file: LogFile, name: string): Promise<SegmentHeader | 'new' | undefined> {
  const bytes = Buffer.alloc(SEGMENT_HEADER);
  await file.read(bytes, 0);
  const header = decodeSegmentHeader(bytes);
  if (typeof header === 'number') {
    throw new LogFormatError(
      `${name} has format version ${header}; this version of Sluice reads ${FORMAT_VERSION}`,
    );
  }
  if (header !== undefined || bytes.some((byte) => byte !== 0)) return header;
  return (await hasMessages(file)) ? undefined : 'new';
}

/** Whether a file without a header contains messages. */
async function hasMessages(file: LogFile): Promise<boolean> {
  const bytes = Buffer.alloc(READ_SIZE);
  for (let position = 0, length = READ_SIZE; length === READ_SIZE; position += length) {
    length = await file.read(bytes, position);
    if (hasMessageHeader(bytes.subarray(0, length))) return true;
  }
  return false;
}

/**
 * Finds the end of the newest segment. A record that is not whole was being written when the broker stopped, and so were
 * those after it: all of them are cut off, since none was confirmed. It is different if a later record says that the
 * segment was durable beyond it: then the disk has damaged it.
 */
async function recoverEnd(
  file: LogFile,
  { header }: Segment,
  sessions: SessionCounts,
): Promise<RecoveredEnd> {
  let end = SEGMENT_HEADER;
  let next = header.first;
  let latest = 0;
  /** The first part that is no record, with the end of what was before it. */
  let torn: { readonly end: number; readonly next: number } | undefined;
  const scanner = new SegmentScanner(file, header);
  let isOpened = false;
  for (let record = await scanner.next(); record !== undefined; record = await scanner.next()) {
    if (record.isAfterDamage) torn ??= { end, next };
    if (torn !== undefined && record.header.durable > torn.end) torn = undefined;
    isOpened ||= record.header.kind === RecordKind.OPENING;
    sessions.read(record);
    latest = Math.max(latest, record.header.time);
    end = record.end;
    next = record.header.first + record.header.count;
  }
  if (torn !== undefined) [end, next] = [torn.end, torn.next];
  // Zeros or remains of an earlier use are cut off as well: the segment gets no more records.
  await file.truncate(end);
  await file.sync();
  // A power failure may leave the header of a new segment alone.
  return { size: end, end: next, latest, hasSessions: isOpened && torn === undefined };
}

/**
 * Cuts off messages that follow in the next segment: they were written, but not durable when the disk failed.
 * @param end offset at which the next segment begins
 * @returns the size of the file
 */
async function cutAt(file: LogFile, { header, size }: Segment, end: number): Promise<number> {
  const scanner = new SegmentScanner(file, header);
  for (let record = await scanner.next(); record !== undefined; record = await scanner.next()) {
    if (record.header.first < end) continue;
    await file.truncate(record.start);
    await file.sync();
    return record.start;
  }
  return size;
}

interface RecoveredEnd {
  readonly size: number;
  /** Offset after the last message. */
  readonly end: number;
  /** Latest time in a record, in ms since 1970. */
  readonly latest: number;
  /** Whether what was read of sessions is right: its first record is there, and nothing was cut off. */
  readonly hasSessions: boolean;
}

/** How far each session is, as read from records in their order. */
class SessionCounts {
  readonly counts = new Map<string, number>();
  /** The sessions of senders, by the numbers of these. */
  readonly #bySender = new Map<number, string>();

  read({ header, body }: ScannedRecord): void {
    if (header.kind === RecordKind.OPENING) {
      const { sessions } = JSON.parse(body.toString()) as Opening;
      for (const [session, count] of Object.entries(sessions)) this.counts.set(session, count);
    } else if (header.kind === RecordKind.SENDER) {
      const { session } = JSON.parse(body.toString()) as { session?: string };
      if (session === undefined) this.#bySender.delete(header.sender);
      else this.#bySender.set(header.sender, session);
    } else {
      const session = this.#bySender.get(header.sender);
      if (session !== undefined) this.counts.set(session, header.decidedBefore + header.count);
    }
  }
}

async function readSessions(file: LogFile, { header }: Segment, sessions: SessionCounts): Promise<void> {
  const scanner = new SegmentScanner(file, header);
  for (let record = await scanner.next(); record !== undefined; record = await scanner.next())
    sessions.read(record);
}

async function withFile<T>(
  disk: LogDisk,
  name: string,
  purpose: 'read' | 'write',
  use: (file: LogFile) => Promise<T>,
): Promise<T> {
  const file = await disk.open(name, purpose);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}
