// Reads the messages of a log in order, also while a broker is writing it.

import type { Slab, SlabPool } from '../memory/slab-pool.js';
import type { LogDisk, LogFile } from './disk.js';
import { type Opening, type RecordHeader, RecordKind, type SegmentHeader } from './format.js';
import { SegmentScanner } from './segment-scanner.js';
import { findSegments } from './segments.js';

/** The sender of messages. */
export interface LoggedSender {
  /** Connection ID. */
  readonly id: string;
  readonly crawlerId?: string | null | undefined;
  /** ID of its session, if it has one. */
  readonly session?: string | undefined;
}

/** What the process that has written a segment knows of it, so that its readers need not begin with its first record. */
export interface WrittenSegment {
  /** The senders by their numbers. */
  readonly senders: ReadonlyMap<number, LoggedSender>;
  /** Names of the message types, by index. */
  readonly types: readonly string[];
  /** Positions of some records, with their offsets, in order. */
  readonly checkpoints: readonly { readonly offset: number; readonly position: number }[];
}

/** Messages of one connection. */
export interface LoggedRun {
  readonly header: RecordHeader;
  /** See `INDEX`. */
  readonly index: Buffer;
  /** The messages, each with its delimiter. */
  readonly body: Buffer;
  /** The memory of index and body. Hold it to use them after the next read. Without one, they stay as they are. */
  readonly slab: Slab | undefined;
  readonly sender: LoggedSender | undefined;
  /** Names of the message types, by the indexes in this run. */
  readonly types: readonly string[];
}

/** Messages that are missing, although later ones are there. */
export interface LogGap {
  /** Offsets of the first missing message and of the next one that is there. */
  readonly from: number;
  readonly to: number;
  /** `removed`: they were too old, or there was no room for them. `damaged`: the disk has lost them. */
  readonly reason: 'removed' | 'damaged';
}

export function isGap(part: LoggedRun | LogGap): part is LogGap {
  return 'to' in part;
}

/** A segment, as far as it may be read. */
export interface ReadableSegment {
  readonly name: string;
  readonly header: SegmentHeader;
  /** Position from which on its file may still change. */
  readonly limit: number;
  /** Latest time at which a message was received, in ms since 1970, if it is known. */
  readonly latest?: number | undefined;
  /** If it was written by this process. */
  readonly written?: WrittenSegment | undefined;
}

/** The file of a segment, for a reader. */
export type SegmentFile = Pick<LogFile, 'read' | 'close'>;
export type OpenFile = (segment: ReadableSegment) => Promise<SegmentFile>;

/** The segments of a log, in order. Called again for each read, since a broker adds and removes segments. */
export type SegmentList = () => readonly ReadableSegment[];

/** The segment that is being read. */
class OpenSegment {
  readonly #id: number;
  readonly #file: SegmentFile;
  readonly #scanner: SegmentScanner;
  /** As read, if the segment was not written by this process. */
  readonly #senders = new Map<number, LoggedSender>();
  #types: readonly string[] = [];
  readonly #written: WrittenSegment | undefined;

  /** @param offset of the first message to read */
  constructor(
    { header, written }: ReadableSegment,
    file: SegmentFile,
    memory: SlabPool | undefined,
    offset: number,
  ) {
    this.#id = header.id;
    this.#file = file;
    this.#written = written;
    const checkpoint = written?.checkpoints.findLast((known) => known.offset <= offset);
    this.#scanner = new SegmentScanner(file, header, memory, checkpoint?.position);
  }

  /** Whether this is the segment: its file may have been used again for another one. */
  is({ header }: ReadableSegment): boolean {
    return header.id === this.#id;
  }

  /** The next messages. @param limit position from which on the file may still change */
  async next(limit: number): Promise<LoggedRun | undefined> {
    for (;;) {
      const record = await this.#scanner.next(limit);
      if (record === undefined) return undefined;
      const { header, index, body, slab } = record;
      // The broker has written these, and their checksum is valid.
      if (header.kind === RecordKind.OPENING) this.#types = (JSON.parse(body.toString()) as Opening).types;
      else if (header.kind === RecordKind.SENDER)
        this.#senders.set(header.sender, JSON.parse(body.toString()) as LoggedSender);
      else if (header.kind === RecordKind.RUN || header.kind === RecordKind.INVALID_RUN) {
        const { senders, types } = this.#written ?? { senders: this.#senders, types: this.#types };
        return { header, index, body, slab, sender: senders.get(header.sender), types };
      }
    }
  }

  release(): void {
    this.#scanner.release();
  }

  close(): Promise<void> {
    this.release();
    return this.#file.close();
  }
}

export class LogReader {
  readonly #memory: SlabPool | undefined;
  readonly #openFile: OpenFile;
  readonly #segments: SegmentList;
  readonly #durable: () => number;
  #offset: number;
  #open: OpenSegment | undefined;
  /** Messages that were read, although those before them are missing. */
  #unread: LoggedRun | undefined;

  /**
   * @param durable all messages before this offset are in the segments, or missing
   * @param from offset of the first message. Runs are not cut: the first one may begin before it.
   * @param memory to read into. Default: new memory for each read.
   */
  constructor(
    openFile: OpenFile,
    segments: SegmentList,
    durable: () => number,
    from: number,
    memory?: SlabPool,
  ) {
    this.#durable = durable;
    this.#memory = memory;
    this.#openFile = openFile;
    this.#segments = segments;
    this.#offset = from;
  }

  /** Offset of the next message. */
  get offset(): number {
    return this.#offset;
  }

  /** The next messages, or that some are missing; `undefined` if there are none yet. */
  async next(): Promise<LoggedRun | LogGap | undefined> {
    for (;;) {
      const run = this.#unread ?? (await this.#read());
      this.#unread = undefined;
      if (run === undefined || isGap(run)) return run;
      const { first, count } = run.header;
      if (first > this.#offset) {
        this.#unread = run;
        return this.#skipTo(first, 'damaged');
      }
      if (first + count <= this.#offset) continue;
      this.#offset = first + count;
      return run;
    }
  }

  /** Releases the memory that it has read into. What it has returned may change then, unless its slab is held. */
  release(): void {
    this.#open?.release();
  }

  async close(): Promise<void> {
    const open = this.#open;
    this.#open = undefined;
    await open?.close();
  }

  async #read(): Promise<LoggedRun | LogGap | undefined> {
    // Determined first: more may become durable meanwhile.
    const durable = this.#durable();
    const segments = this.#segments();
    const at = segments.findLastIndex(({ header }) => header.first <= this.#offset);
    const segment = segments[at];
    const next = segments[at + 1]?.header.first;
    const end = next ?? durable;
    if (segment === undefined) return end > this.#offset ? this.#skipTo(end, 'removed') : undefined;
    const open = await this.#openSegment(segment);
    const run = await open?.next(segment.limit);
    // The same messages may follow in the next segment: what was not durable when the disk failed is written there.
    if (run !== undefined && run.header.first < (next ?? Number.POSITIVE_INFINITY)) return run;
    if (end <= this.#offset) return undefined;
    const isThere = open !== undefined && this.#segments().some((other) => open.is(other));
    return this.#skipTo(end, isThere ? 'damaged' : 'removed');
  }

  /** @returns `undefined` if its file was removed in the meantime */
  async #openSegment(segment: ReadableSegment): Promise<OpenSegment | undefined> {
    if (this.#open?.is(segment) === true) return this.#open;
    await this.close();
    try {
      this.#open = new OpenSegment(segment, await this.#openFile(segment), this.#memory, this.#offset);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    return this.#open;
  }

  #skipTo(to: number, reason: LogGap['reason']): LogGap {
    const from = this.#offset;
    this.#offset = to;
    return { from, to, reason };
  }
}

/**
 * The messages of a log as it is now, and where some are missing.
 * @param from offset of the first message. Runs are not cut: the first one may begin before it. Default: the oldest one.
 * @throws LogFormatError
 */
export async function* readLog(disk: LogDisk, from = 0): AsyncGenerator<LoggedRun | LogGap, void> {
  const { segments } = await findSegments(disk);
  const [oldest] = segments;
  if (oldest === undefined) return;
  const readable = segments.map((segment) => ({ ...segment, limit: Number.POSITIVE_INFINITY }));
  const openFile: OpenFile = ({ name }) => disk.open(name, 'read');
  // Whether messages are missing at the end is not known.
  const durable = () => 0;
  const reader = new LogReader(openFile, () => readable, durable, Math.max(from, oldest.header.first));
  try {
    for (let part = await reader.next(); part !== undefined; part = await reader.next()) yield part;
  } finally {
    await reader.close();
  }
}
