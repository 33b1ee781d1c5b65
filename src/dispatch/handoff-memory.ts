// Layout of the shared memory for handing over small batches and their verdicts; see handoff.ts.

import type { FrameRange } from '../memory/slab-pool.js';
import { plainNumbers } from './number-list.js';
import { FRAME, type Numbers, type Verdict } from './verdict.js';
import { VerdictReader } from './verdict-reader.js';

/** Limit on the bytes of a batch that is handed over, since they are copied. */
export const MAX_BYTES = 16 * 1024;
/** Limit on the ranges of such a batch. */
export const MAX_RANGES = 64;
/** Limit on the numbers of its verdict. A batch whose verdict has more is returned. */
const MAX_NUMBERS = 4096;

/** State of the handoff. `NO_WORKER`: not started yet; `RETURNED`: the batch has to be posted instead. */
export const STATE = {
  NO_WORKER: 0,
  WAITING: 1,
  REQUESTED: 2,
  ANSWERED: 3,
  RETURNED: 4,
  LEAVING: 5,
} as const;
/** Header before a verdict's lists of numbers: their lengths and the verdict's counters. */
const HEAD = {
  CHUNKS: 0,
  RUNS: 1,
  FRAMES: 2,
  JOBS: 3,
  ACCEPTED: 4,
  MATCHED: 5,
  LAYOUTS_LEARNED: 6,
  LAYOUTS_EVICTED: 7,
  SIZE: 8,
} as const;

const WORD = Uint32Array.BYTES_PER_ELEMENT;
/** Byte offsets of the parts of the memory. */
const RANGES_AT = WORD;
const NUMBERS_AT = RANGES_AT + (1 + MAX_RANGES) * WORD;
export const TEXT_AT = NUMBERS_AT + MAX_NUMBERS * WORD;
export const MEMORY_SIZE = TEXT_AT + MAX_BYTES;

/** Typed views of the memory, for both sides. */
export class SharedView {
  /** A single number: one of {@link STATE}. */
  readonly state: Int32Array;
  /** The number of ranges, then the end offset of each in the text. */
  readonly ranges: Uint32Array;
  readonly numbers: Uint32Array;
  readonly text: Buffer;

  constructor(memory: SharedArrayBuffer) {
    this.state = new Int32Array(memory, 0, 1);
    this.ranges = new Uint32Array(memory, RANGES_AT, 1 + MAX_RANGES);
    this.numbers = new Uint32Array(memory, NUMBERS_AT, MAX_NUMBERS);
    this.text = Buffer.from(memory, TEXT_AT, MAX_BYTES);
  }
}

/** Writes a verdict. Returns false if it does not fit. */
export function writeVerdict({ numbers }: SharedView, verdict: Verdict): boolean {
  const { chunks, runs, frames, jobs, accepted } = verdict;
  const lists: Numbers[] = [chunks, runs, frames, jobs, accepted];
  let size: number = HEAD.SIZE;
  for (const { length } of lists) size += length;
  if (size > numbers.length) return false;
  numbers[HEAD.MATCHED] = verdict.matched;
  numbers[HEAD.LAYOUTS_LEARNED] = verdict.layoutsLearned;
  numbers[HEAD.LAYOUTS_EVICTED] = verdict.layoutsEvicted;
  let at: number = HEAD.SIZE;
  lists.forEach((list, index) => {
    numbers[index] = list.length;
    numbers.set(list, at);
    at += list.length;
  });
  return true;
}

export function readVerdict({ numbers }: SharedView, batch: readonly FrameRange[]): Verdict {
  let at: number = HEAD.SIZE;
  const take = (length: number): number[] => {
    at += length;
    return plainNumbers(numbers, at - length, at);
  };
  const chunks = take(numbers[HEAD.CHUNKS] ?? 0);
  const runs = take(numbers[HEAD.RUNS] ?? 0);
  const frames = take(numbers[HEAD.FRAMES] ?? 0);
  const jobs = take(numbers[HEAD.JOBS] ?? 0);
  const accepted = take(numbers[HEAD.ACCEPTED] ?? 0);
  const verdict: Verdict = {
    chunks,
    runs,
    frames,
    jobs,
    accepted,
    rejections: [],
    addresses: [],
    matched: numbers[HEAD.MATCHED] ?? 0,
    mismatches: [],
    drift: [],
    slowRanges: [],
    layoutsLearned: numbers[HEAD.LAYOUTS_LEARNED] ?? 0,
    layoutsEvicted: numbers[HEAD.LAYOUTS_EVICTED] ?? 0,
  };
  moveFrames(frames, new VerdictReader(verdict), batch);
  return verdict;
}

/** Converts the frames' offsets in the copy to offsets in the ranges' arenas. */
function moveFrames(frames: number[], verdict: VerdictReader, batch: readonly FrameRange[]): void {
  let copiedTo = TEXT_AT;
  let at = 0;
  batch.forEach(({ start, end }, range) => {
    const shift = start - copiedTo;
    copiedTo += end - start;
    const lastRun = verdict.runsEnd(range) - 1;
    const framesEnd = verdict.firstFrame(lastRun) + verdict.frameCount(lastRun);
    for (; at < framesEnd * FRAME.SIZE; at += FRAME.SIZE) {
      frames[at + FRAME.START] = (frames[at + FRAME.START] ?? 0) + shift;
      frames[at + FRAME.END] = (frames[at + FRAME.END] ?? 0) + shift;
    }
  });
}
