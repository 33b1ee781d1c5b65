// Direct handoff: a worker waits on shared memory, and takes small batches from there in place of messages; its
// verdict comes back the same way. That spares a small batch on an idle broker most of the way to the worker and
// back. Only what patterns know is answered: the worker declines all else, and it goes the usual way.

import type { FrameRange } from '../connection/message-buffer.js';
import { SluiceError } from '../errors.js';
import { plainNumbers } from './number-list.js';
import { type BatchTask, CHUNK, FRAME, type Numbers, RUN, type Verdict } from './verdict.js';

/** Bytes of a batch that may be handed over: they are copied. */
const MAX_BYTES = 16 * 1024;
/** Ranges that such a batch may have. */
const MAX_RANGES = 64;
/** Numbers that its verdict may have; one with more is declined. */
const MAX_NUMBERS = 4096;

/** Who has the memory, and what has come of it. */
const STATE = { NOBODY: 0, WAITING: 1, REQUESTED: 2, ANSWERED: 3, DECLINED: 4, LEAVING: 5 } as const;
/** What stands before a verdict's lists of numbers: their lengths and its counters. */
const HEAD = {
  CHUNKS: 0,
  RUNS: 1,
  FRAMES: 2,
  JOBS: 3,
  ACCEPTED: 4,
  MATCHED: 5,
  LAYOUTS_LEARNED: 6,
  LAYOUTS_DROPPED: 7,
  SIZE: 8,
} as const;

const WORD = Uint32Array.BYTES_PER_ELEMENT;
/** Where the parts of the memory begin, in bytes. */
const RANGES_AT = WORD;
const NUMBERS_AT = RANGES_AT + (1 + MAX_RANGES) * WORD;
const TEXT_AT = NUMBERS_AT + MAX_NUMBERS * WORD;
const MEMORY_SIZE = TEXT_AT + MAX_BYTES;

/** Whether a batch is small enough to be handed over. */
export function fitsHandoff(batch: readonly FrameRange[]): boolean {
  let bytes = 0;
  for (const { start, end } of batch) bytes += end - start;
  return bytes <= MAX_BYTES && batch.length <= MAX_RANGES;
}

/** The memory, as both sides see it. */
class SharedView {
  /** One number, of {@link STATE}. */
  readonly state: Int32Array;
  /** How many ranges there are, and where each ends in the text. */
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

/** The main thread's side. */
export class Handoff {
  /** To be sent to the worker that is to wait here. */
  readonly memory = new SharedArrayBuffer(MEMORY_SIZE);
  readonly #view = new SharedView(this.memory);
  /** Ends the batch that the worker has; none: it has none. */
  #reject: ((error: unknown) => void) | undefined;
  #isLeaving = false;

  /** Whether a worker waits, and may be handed this batch. */
  takes(batch: readonly FrameRange[]): boolean {
    if (this.#reject !== undefined || this.#isLeaving) return false;
    return Atomics.load(this.#view.state, 0) !== STATE.NOBODY && fitsHandoff(batch);
  }

  /**
   * Hands over a batch that it {@link takes}. Resolves with the verdict; `undefined` when the worker declines.
   * @throws SluiceError `WORKERS_FAILED` when the worker ends
   */
  run(batch: readonly FrameRange[]): Promise<Verdict | undefined> {
    const { state, ranges, text } = this.#view;
    let at = 0;
    ranges[0] = batch.length;
    batch.forEach(({ slab, start, end }, index) => {
      at += slab.arena.bytes.copy(text, at, start, end);
      ranges[index + 1] = at;
    });
    this.#setState(STATE.REQUESTED);
    return new Promise((resolve, reject) => {
      this.#reject = reject;
      this.#whenAnswered(() => {
        this.#reject = undefined;
        const isAnswered = Atomics.load(state, 0) === STATE.ANSWERED;
        const verdict = isAnswered ? readVerdict(this.#view, batch) : undefined;
        if (this.#isLeaving) this.#setState(STATE.LEAVING);
        resolve(verdict);
      });
    });
  }

  /** Sends the worker back to its other work: at once, or when it has answered. */
  leave(): void {
    this.#isLeaving = true;
    if (this.#reject === undefined) this.#setState(STATE.LEAVING);
  }

  /** The worker has gone. */
  close(): void {
    const reject = this.#reject;
    this.#reject = undefined;
    this.leave();
    reject?.(new SluiceError('WORKERS_FAILED', 'the worker has ended'));
  }

  #setState(state: number): void {
    Atomics.store(this.#view.state, 0, state);
    Atomics.notify(this.#view.state, 0);
  }

  /** Does not block: the event loop goes on until the worker says that it is done. */
  #whenAnswered(onAnswer: () => void): void {
    const check = (): void => {
      if (this.#reject === undefined) return;
      if (Atomics.load(this.#view.state, 0) === STATE.REQUESTED) this.#whenAnswered(onAnswer);
      else onAnswer();
    };
    const answer = Atomics.waitAsync(this.#view.state, 0, STATE.REQUESTED);
    if (answer.async) void answer.value.then(check);
    else check();
  }
}

/**
 * The worker's side: answers one batch after another, and sleeps between them, until it is sent away.
 * @param validate gives `undefined` for a batch to decline
 */
export function serveHandoff(
  memory: SharedArrayBuffer,
  validate: (task: BatchTask) => Verdict | undefined,
): void {
  const view = new SharedView(memory);
  const { state } = view;
  const arenas = [memory];
  // It may have been sent away before it came.
  Atomics.compareExchange(state, 0, STATE.NOBODY, STATE.WAITING);
  for (;;) {
    const present = Atomics.load(state, 0);
    if (present === STATE.LEAVING) return;
    if (present !== STATE.REQUESTED) {
      Atomics.wait(state, 0, present);
      continue;
    }
    const verdict = validate({ id: 0, arenas, ranges: readRanges(view), maxDetailedRejections: 0 });
    const isAnswered = verdict !== undefined && writeVerdict(view, verdict);
    Atomics.store(state, 0, isAnswered ? STATE.ANSWERED : STATE.DECLINED);
    Atomics.notify(state, 0);
  }
}

/** As a {@link BatchTask} has them. */
function readRanges({ ranges }: SharedView): number[] {
  const found: number[] = [];
  let start = TEXT_AT;
  for (let index = 1; index <= (ranges[0] ?? 0); index++) {
    const end = TEXT_AT + (ranges[index] ?? 0);
    found.push(0, start, end);
    start = end;
  }
  return found;
}

/** False when there is no room for it. */
function writeVerdict({ numbers }: SharedView, verdict: Verdict): boolean {
  const { chunks, runs, frames, jobs, accepted } = verdict;
  const lists: Numbers[] = [chunks, runs, frames, jobs, accepted];
  let size: number = HEAD.SIZE;
  for (const { length } of lists) size += length;
  if (size > numbers.length) return false;
  numbers[HEAD.MATCHED] = verdict.matched;
  numbers[HEAD.LAYOUTS_LEARNED] = verdict.layoutsLearned;
  numbers[HEAD.LAYOUTS_DROPPED] = verdict.layoutsDropped;
  let at: number = HEAD.SIZE;
  lists.forEach((list, index) => {
    numbers[index] = list.length;
    numbers.set(list, at);
    at += list.length;
  });
  return true;
}

function readVerdict({ numbers }: SharedView, batch: readonly FrameRange[]): Verdict {
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
  moveFrames(frames, chunks, runs, batch);
  return {
    chunks,
    runs,
    frames,
    jobs,
    accepted,
    refusals: [],
    addresses: [],
    matched: numbers[HEAD.MATCHED] ?? 0,
    mismatches: [],
    layoutsLearned: numbers[HEAD.LAYOUTS_LEARNED] ?? 0,
    layoutsDropped: numbers[HEAD.LAYOUTS_DROPPED] ?? 0,
  };
}

/** From where the messages were copied to, to where they lie. */
function moveFrames(
  frames: number[],
  chunks: readonly number[],
  runs: readonly number[],
  batch: readonly FrameRange[],
): void {
  let copiedTo = TEXT_AT;
  let at = 0;
  batch.forEach(({ start, end }, index) => {
    const shift = start - copiedTo;
    copiedTo += end - start;
    const lastRun = ((chunks[index * CHUNK.SIZE + CHUNK.RUN_END] ?? 0) - 1) * RUN.SIZE;
    const framesEnd = (runs[lastRun + RUN.FIRST] ?? 0) + (runs[lastRun + RUN.COUNT] ?? 0);
    for (; at < framesEnd * FRAME.SIZE; at += FRAME.SIZE) {
      frames[at + FRAME.START] = (frames[at + FRAME.START] ?? 0) + shift;
      frames[at + FRAME.END] = (frames[at + FRAME.END] ?? 0) + shift;
    }
  });
}
