// Cuts a run of validated messages into the pieces that a subscriber gets: slices of the slab where
// that pays, one gathered copy where the pieces are small or need bytes between them.

import type { Chunk } from '../dispatch/lane.js';
import { FRAME, type Verdict } from '../dispatch/verdict.js';
import type { CopyPool } from '../memory/copy-pool.js';
import type { Piece } from './outbox.js';

/** Whom a message comes from, as `meta` tells it. */
export interface RunSource {
  readonly id: string;
  readonly crawlerId: string | undefined;
}

/** Consecutive messages of one connection that are to be forwarded. */
export interface FrameRun {
  readonly source: RunSource;
  readonly chunk: Chunk;
  readonly verdict: Verdict;
  /** Index of the first message in the verdict's frames. */
  readonly first: number;
  readonly count: number;
  /** Whether the delimiter has to be added after each message. */
  readonly isUndelimited: boolean;
  /** The sender's own number of the first message, counted from 1. */
  readonly firstSequence: number;
  /** The byte after each message. */
  readonly delimiter: number;
  /** Memory for the pieces that are copied. */
  readonly copies: CopyPool;
}

/** Marks of a run's messages: not wanted, wanted, wanted with `meta`. */
export const SKIP = 0;
export const SELECTED = 1;
export const WITH_META = 2;

/** Below this average, in bytes, copying pieces together costs less than one more piece in a writev. */
const SLICE_WORTH = 2048;
/** Below this share of the run, copying keeps a slow subscriber from holding memory that it does not need. */
const SHARE_WORTH = 0.5;

/** All messages of a run in one piece. */
export function wholeRun(run: FrameRun): Piece {
  if (run.isUndelimited) return gather(run, undefined);
  return { bytes: sliceOf(run), slab: run.chunk.slab, messages: run.count };
}

/** The bytes of a run where they lie, with what is between its messages. */
export function sliceOf(run: FrameRun): Buffer {
  const start = frameField(run, 0, FRAME.START);
  return run.chunk.slab.arena.bytes.subarray(start, frameField(run, run.count - 1, FRAME.END) + 1);
}

/**
 * The marked messages of a run, in order.
 * @param marks for each message of the run {@link SKIP}, {@link SELECTED} or {@link WITH_META}
 * @param span bytes that a slice is measured against; default: the run's own. More where the run is part of another.
 */
export function cutRun(run: FrameRun, marks: Uint8Array, span: number = spanOf(run)): Piece[] {
  let bytes = 0;
  let slices = 0;
  let needsCopy = run.isUndelimited;
  let previous: number | undefined = SKIP;
  for (let index = 0; index < run.count; index++) {
    const mark = marks[index];
    if (mark !== SKIP) {
      bytes += frameField(run, index, FRAME.END) + 1 - frameField(run, index, FRAME.START);
      if (previous === SKIP) slices++;
      if (mark === WITH_META) needsCopy = true;
    }
    previous = mark;
  }
  if (slices === 0) return [];
  if (needsCopy || bytes < slices * SLICE_WORTH || bytes < span * SHARE_WORTH) return [gather(run, marks)];
  return slice(run, marks);
}

/** Bytes from a run's first message to the end of its last. */
export function spanOf(run: FrameRun): number {
  return frameField(run, run.count - 1, FRAME.END) - frameField(run, 0, FRAME.START);
}

function slice(run: FrameRun, marks: Uint8Array): Piece[] {
  const { slab } = run.chunk;
  const pieces: Piece[] = [];
  for (let index = 0; index < run.count; index++) {
    if (marks[index] === SKIP) continue;
    const from = index;
    while (index + 1 < run.count && marks[index + 1] !== SKIP) index++;
    const start = frameField(run, from, FRAME.START);
    const end = frameField(run, index, FRAME.END) + 1;
    pieces.push({ bytes: slab.arena.bytes.subarray(start, end), slab, messages: index + 1 - from });
  }
  return pieces;
}

/** Copies the marked messages (all, without marks) into one buffer, with what goes around each. */
function gather(run: FrameRun, marks: Uint8Array | undefined): Piece {
  const { bytes } = run.chunk.slab.arena;
  const metaHead = metaPrefix(run.source);
  let size = 0;
  let messages = 0;
  for (let index = 0; index < run.count; index++) {
    const mark = marks === undefined ? SELECTED : marks[index];
    if (mark === SKIP) continue;
    size += frameField(run, index, FRAME.END) - frameField(run, index, FRAME.START) + 1;
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
    at += bytes.copy(gathered, at, frameField(run, index, FRAME.START), frameField(run, index, FRAME.END));
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

/** One number about a message of the run. */
export function frameField(run: FrameRun, index: number, field: number): number {
  return run.verdict.frames[(run.first + index) * FRAME.SIZE + field] ?? 0;
}
