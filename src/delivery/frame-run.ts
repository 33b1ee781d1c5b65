// Cuts a run of validated messages into the pieces for a subscriber: slices of the slab, or a single copy if the slices
// would be small or bytes have to be inserted between messages.

import type { Chunk } from '../dispatch/lane.js';
import type { VerdictReader } from '../dispatch/verdict-reader.js';
import type { Piece } from './outbox.js';

/** The sender of a message, as reported in `meta`. */
export interface RunSender {
  readonly id: string;
  readonly crawlerId: string | undefined;
  /** Name of its host, if the message was received through a fleet. */
  readonly host?: string | undefined;
}

export interface FrameRunFields {
  readonly sender: RunSender;
  readonly chunk: Chunk;
  readonly verdict: VerdictReader;
  /** Index of the run in the verdict. */
  readonly index: number;
  /** Index of the first message among the frames of the verdict. */
  readonly first: number;
  readonly count: number;
  /** Whether a delimiter has to be added after each message. */
  readonly isUndelimited: boolean;
  /** False for one message that breaks the contract and is forwarded anyway; its report precedes it. */
  readonly isValid: boolean;
  /** Sequence number of the first message among those of its sender, from 1. */
  readonly firstSequence: number;
  /** Offset of the first message in the durable log of its host, if it was received through a fleet. */
  readonly firstOffset?: number | undefined;
  /** The byte after each message. */
  readonly delimiter: number;
  readonly gatherer: RunGatherer;
}

/** Consecutive messages of one sender, by their index, from 0. */
export interface MessageRun {
  readonly sender: RunSender;
  /** What offsets refer to. */
  readonly memory: Buffer;
  readonly count: number;
  readonly isUndelimited: boolean;
  readonly firstSequence: number;
  readonly firstOffset?: number | undefined;
  readonly delimiter: number;
  start(index: number): number;
  /** Without its delimiter. */
  end(index: number): number;
}

/** Copies messages of runs. */
export interface RunGatherer {
  /**
   * Copies the selected messages (all, if there is no selection) into one buffer, with `meta` and delimiters.
   * @param selected number of messages that are selected for all subscribers together
   */
  gather(run: MessageRun, selection: Selection | undefined, selected: number): Piece;
}

/** Consecutive messages of one connection to forward. Offsets are relative to the start of the chunk's arena. */
export class FrameRun implements FrameRunFields, MessageRun {
  readonly sender: RunSender;
  readonly chunk: Chunk;
  readonly verdict: VerdictReader;
  readonly index: number;
  readonly first: number;
  readonly count: number;
  readonly isUndelimited: boolean;
  readonly isValid: boolean;
  readonly firstSequence: number;
  readonly firstOffset: number | undefined;
  readonly delimiter: number;
  readonly gatherer: RunGatherer;

  constructor(fields: FrameRunFields) {
    this.sender = fields.sender;
    this.chunk = fields.chunk;
    this.verdict = fields.verdict;
    this.index = fields.index;
    this.first = fields.first;
    this.count = fields.count;
    this.isUndelimited = fields.isUndelimited;
    this.isValid = fields.isValid;
    this.firstSequence = fields.firstSequence;
    this.firstOffset = fields.firstOffset;
    this.delimiter = fields.delimiter;
    this.gatherer = fields.gatherer;
  }

  /** Start offset of a message. @param index of the message in the run, from 0, as in all methods */
  start(index: number): number {
    return this.verdict.start(this.first + index);
  }

  /** End offset of a message, without its delimiter. */
  end(index: number): number {
    return this.verdict.end(this.first + index);
  }

  get memory(): Buffer {
    return this.chunk.slab.arena.bytes;
  }

  /** The bytes of a message in its slab, without its delimiter. */
  message(index: number): Buffer {
    return this.memory.subarray(this.start(index), this.end(index));
  }

  typeIndex(index: number): number {
    return this.verdict.typeIndex(this.first + index);
  }

  /** Index in the verdict of the job that a crawler's message refers to; -1 if there is none. */
  job(index: number): number {
    return this.verdict.job(this.first + index);
  }

  /** Whether it contains all messages of the verdict's run. */
  get isWhole(): boolean {
    return this.count === this.verdict.frameCount(this.index);
  }

  /** Name of the type of an invalid message whose type has no schema; `undefined` for all other runs. */
  get unknownType(): string | undefined {
    return this.isValid ? undefined : this.verdict.rejectionReason(this.first - 1)?.unknownType;
  }

  /** Number of bytes from the start of the first message to the end of the last. */
  get span(): number {
    return this.end(this.count - 1) - this.start(0);
  }

  /** The bytes of the run in its slab, including those between its messages and the last delimiter. */
  get bytes(): Buffer {
    return this.memory.subarray(this.start(0), this.end(this.count - 1) + 1);
  }

  /** The messages `[from, to)` as a run. */
  part(from: number, to: number): FrameRun {
    const [first, firstSequence] = [this.first + from, this.firstSequence + from];
    const firstOffset = this.firstOffset === undefined ? undefined : this.firstOffset + from;
    return new FrameRun({ ...this, first, count: to - from, firstSequence, firstOffset });
  }

  /** The part of `meta` that depends on the message: sequence and offset. */
  metaText(index: number): string {
    const offset = this.firstOffset === undefined ? undefined : this.firstOffset + index;
    return metaSequence(this.firstSequence + index, offset);
  }
}

/** Marks of a selected message: without or with `meta`. */
export const SELECTED = 0;
export const WITH_META = 1;

/** Number of bits of a mark in an entry of a {@link Selection}. */
const MARK_BITS = 1;
const MARK_MASK = (1 << MARK_BITS) - 1;

/** Messages of a run, in order, each with its mark: {@link SELECTED} or {@link WITH_META}. */
export class Selection {
  /** Number of messages. */
  count = 0;
  /** Index and mark of each message in one small integer. Beyond `count`, entries of an earlier use. */
  readonly #entries: number[] = [];

  /** Number of messages that it has memory for. */
  get capacity(): number {
    return this.#entries.length;
  }

  /** Adds a message that comes after those added before, or raises the mark of the latest one. */
  add(index: number, mark: number): void {
    const entry = (index << MARK_BITS) | mark;
    const latest = this.count - 1;
    if (latest >= 0 && this.index(latest) === index) {
      if (mark > this.mark(latest)) this.#entries[latest] = entry;
    } else this.#entries[this.count++] = entry;
  }

  /** The message's index in the run. @param at from 0 to `count` - 1 */
  index(at: number): number {
    return (this.#entries[at] ?? 0) >> MARK_BITS;
  }

  mark(at: number): number {
    return (this.#entries[at] ?? 0) & MARK_MASK;
  }

  clear(): void {
    this.count = 0;
  }
}

/** Average slice size in bytes below which copying all slices into one costs less than more entries in a writev. */
const MIN_SLICE_BYTES = 2048;
/** If less of a run is selected, it is copied, so that a slow subscriber does not hold memory that it does not need. */
const MIN_SLICED_SHARE = 0.5;

/** All messages of a run as one piece. */
export function wholeRun(run: FrameRun): Piece {
  if (run.isUndelimited) return run.gatherer.gather(run, undefined, run.count);
  return { bytes: run.bytes, slab: run.chunk.slab, messages: run.count };
}

/**
 * The selected messages of a run as pieces, in order.
 * @param selected number of messages that are selected for all subscribers together. Default: those of this selection.
 */
export function cutRun(run: FrameRun, selection: Selection, selected = selection.count): Piece[] {
  const { count } = selection;
  if (count === 0) return [];
  let bytes = 0;
  let slices = 0;
  let needsCopy = run.isUndelimited;
  let previous = Number.NEGATIVE_INFINITY;
  for (let at = 0; at < count; at++) {
    const index = selection.index(at);
    bytes += run.end(index) + 1 - run.start(index);
    if (index !== previous + 1) slices++;
    if (selection.mark(at) === WITH_META) needsCopy = true;
    previous = index;
  }
  if (needsCopy || bytes < slices * MIN_SLICE_BYTES || bytes < run.span * MIN_SLICED_SHARE)
    return [run.gatherer.gather(run, selection, selected)];
  return slice(run, selection);
}

function slice(run: FrameRun, selection: Selection): Piece[] {
  const { slab } = run.chunk;
  const pieces: Piece[] = [];
  for (let at = 0; at < selection.count; at++) {
    const from = selection.index(at);
    let last = from;
    while (at + 1 < selection.count && selection.index(at + 1) === last + 1) {
      at++;
      last++;
    }
    const bytes = slab.arena.bytes.subarray(run.start(from), run.end(last) + 1);
    pieces.push({ bytes, slab, messages: last + 1 - from, span: run.span });
  }
  return pieces;
}

/** The largest number of bytes that `meta` adds to a message of a run. */
export function metaBytes(run: FrameRun): number {
  return metaPrefix(run.sender).length + run.metaText(run.count - 1).length + 1;
}

/** The beginning of a wrapper. ASCII only, so that its length is its size in bytes. */
export function metaPrefix({ id, crawlerId, host }: RunSender): string {
  const from = JSON.stringify(id);
  const of = host === undefined ? '' : `"host":${JSON.stringify(host)},`;
  const crawler = JSON.stringify(crawlerId ?? null).replace(
    /[^\x20-\x7e]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return `{"from":${from},"crawlerId":${crawler},${of}"seq":`;
}

/**
 * The part of a wrapper between {@link metaPrefix} and the message.
 * @param offset of the message in the durable log, if it is from there
 */
export function metaSequence(sequence: number, offset?: number): string {
  const position = offset === undefined ? '' : `"offset":${offset},`;
  return `${sequence},${position}"message":`;
}
