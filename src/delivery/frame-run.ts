// Cuts a run of validated messages into the pieces for a subscriber: slices of the slab, or a single copy if the slices
// would be small or bytes have to be inserted between messages.

import type { Chunk } from '../dispatch/lane.js';
import type { VerdictReader } from '../dispatch/verdict-reader.js';
import type { CopyPool } from '../memory/copy-pool.js';
import type { Piece } from './outbox.js';

/** The sender of a message, as reported in `meta`. */
export interface RunSource {
  readonly id: string;
  readonly crawlerId: string | undefined;
}

export interface FrameRunFields {
  readonly source: RunSource;
  readonly chunk: Chunk;
  readonly verdict: VerdictReader;
  /** Index of the first message among the frames of the verdict. */
  readonly first: number;
  readonly count: number;
  /** Whether a delimiter has to be added after each message. */
  readonly isUndelimited: boolean;
  /** Sequence number of the first message among those of its sender, from 1. */
  readonly firstSequence: number;
  /** The byte after each message. */
  readonly delimiter: number;
  /** Memory for copied pieces. */
  readonly copies: CopyPool;
}

/** Consecutive messages of one connection to forward. Offsets are relative to the start of the chunk's arena. */
export class FrameRun implements FrameRunFields {
  readonly source: RunSource;
  readonly chunk: Chunk;
  readonly verdict: VerdictReader;
  readonly first: number;
  readonly count: number;
  readonly isUndelimited: boolean;
  readonly firstSequence: number;
  readonly delimiter: number;
  readonly copies: CopyPool;

  constructor(fields: FrameRunFields) {
    this.source = fields.source;
    this.chunk = fields.chunk;
    this.verdict = fields.verdict;
    this.first = fields.first;
    this.count = fields.count;
    this.isUndelimited = fields.isUndelimited;
    this.firstSequence = fields.firstSequence;
    this.delimiter = fields.delimiter;
    this.copies = fields.copies;
  }

  /** Start offset of a message. @param index of the message in the run, from 0, as in all methods */
  start(index: number): number {
    return this.verdict.start(this.first + index);
  }

  /** End offset of a message, without its delimiter. */
  end(index: number): number {
    return this.verdict.end(this.first + index);
  }

  typeIndex(index: number): number {
    return this.verdict.typeIndex(this.first + index);
  }

  /** Index in the verdict of the job that a crawler's message refers to; -1 if there is none. */
  job(index: number): number {
    return this.verdict.job(this.first + index);
  }

  /** Number of bytes from the start of the first message to the end of the last. */
  get span(): number {
    return this.end(this.count - 1) - this.start(0);
  }

  /** The bytes of the run in its slab, including those between its messages and the last delimiter. */
  get bytes(): Buffer {
    return this.chunk.slab.arena.bytes.subarray(this.start(0), this.end(this.count - 1) + 1);
  }

  /** The messages `[from, to)` as a run. */
  part(from: number, to: number): FrameRun {
    const [first, firstSequence] = [this.first + from, this.firstSequence + from];
    return new FrameRun({ ...this, first, count: to - from, firstSequence });
  }
}

/** Marks of a run's messages: not selected, selected, selected with `meta`. */
export const SKIP = 0;
export const SELECTED = 1;
export const WITH_META = 2;

/** Average slice size in bytes below which copying all slices into one costs less than more entries in a writev. */
const MIN_SLICE_BYTES = 2048;
/** If less of a run is selected, it is copied, so that a slow subscriber does not hold memory that it does not need. */
const MIN_SLICED_SHARE = 0.5;

/** All messages of a run as one piece. */
export function wholeRun(run: FrameRun): Piece {
  if (run.isUndelimited) return gather(run, undefined);
  return { bytes: run.bytes, slab: run.chunk.slab, messages: run.count };
}

/**
 * The selected messages of a run, in order.
 * @param marks {@link SKIP}, {@link SELECTED} or {@link WITH_META}, for each message of the run
 * @param span size in bytes of the run that this one is part of. Default: its own size.
 */
export function cutRun(run: FrameRun, marks: Uint8Array, span: number = run.span): Piece[] {
  let bytes = 0;
  let slices = 0;
  let needsCopy = run.isUndelimited;
  let previous: number | undefined = SKIP;
  for (let index = 0; index < run.count; index++) {
    const mark = marks[index];
    if (mark !== SKIP) {
      bytes += run.end(index) + 1 - run.start(index);
      if (previous === SKIP) slices++;
      if (mark === WITH_META) needsCopy = true;
    }
    previous = mark;
  }
  if (slices === 0) return [];
  if (needsCopy || bytes < slices * MIN_SLICE_BYTES || bytes < span * MIN_SLICED_SHARE)
    return [gather(run, marks)];
  return slice(run, marks);
}

function slice(run: FrameRun, marks: Uint8Array): Piece[] {
  const { slab } = run.chunk;
  const pieces: Piece[] = [];
  for (let index = 0; index < run.count; index++) {
    if (marks[index] === SKIP) continue;
    const from = index;
    while (index + 1 < run.count && marks[index + 1] !== SKIP) index++;
    const start = run.start(from);
    const end = run.end(index) + 1;
    pieces.push({ bytes: slab.arena.bytes.subarray(start, end), slab, messages: index + 1 - from });
  }
  return pieces;
}

/** Copies the selected messages (all, if `marks` is omitted) into one buffer, with `meta` and delimiters. */
function gather(run: FrameRun, marks: Uint8Array | undefined): Piece {
  const { bytes } = run.chunk.slab.arena;
  const metaHead = metaPrefix(run.source);
  let size = 0;
  let messages = 0;
  for (let index = 0; index < run.count; index++) {
    const mark = marks === undefined ? SELECTED : marks[index];
    if (mark === SKIP) continue;
    size += run.end(index) - run.start(index) + 1;
    if (mark === WITH_META) size += metaHead.length + metaSequence(run, index).length + 1;
    messages++;
  }
  const { bytes: gathered, slab } = run.copies.take(size);
  let at = 0;
  for (let index = 0; index < run.count; index++) {
    const mark = marks === undefined ? SELECTED : marks[index];
    if (mark === SKIP) continue;
    if (mark === WITH_META) {
      at += gathered.write(metaHead, at, 'latin1');
      at += gathered.write(metaSequence(run, index), at, 'latin1');
    }
    at += bytes.copy(gathered, at, run.start(index), run.end(index));
    if (mark === WITH_META) gathered[at++] = CLOSE_BRACE;
    gathered[at++] = run.delimiter;
  }
  return { bytes: gathered.subarray(0, at), slab, messages };
}

const CLOSE_BRACE = 0x7d;

/** ASCII only, so that its length is its size in bytes. */
function metaPrefix({ id, crawlerId }: RunSource): string {
  const from = JSON.stringify(id);
  const crawler = JSON.stringify(crawlerId ?? null).replace(
    /[^\x20-\x7e]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return `{"from":${from},"crawlerId":${crawler},"seq":`;
}

function metaSequence(run: FrameRun, index: number): string {
  return `${run.firstSequence + index},"message":`;
}
