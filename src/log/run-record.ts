// A record of messages: consecutive runs of one chunk, and what the verdict says of them. The messages stay where they are,
// in their slab, unless they are few or have to be copied anyway.

import { type FrameRun, wholeRun } from '../delivery/frame-run.js';
import { FRAME, JOB } from '../dispatch/verdict.js';
import { cloneBytes } from '../memory/copy-bytes.js';
import type { Slab } from '../memory/slab-pool.js';
import { createHead, INDEX, type RecordContent, RecordKind } from './format.js';

/** Fewer bytes are copied, so that they do not hold the slab that they are a small part of. */
const MIN_HELD = 2048;

/** The content of a record, and the memory that it occupies. */
export interface FinishedRecord extends RecordContent {
  /** The slab that contains the body; `undefined` if it is copied. The record does not hold it yet. */
  readonly slab: Slab | undefined;
}

export class RunRecord {
  readonly first: FrameRun;
  /** Number of decided messages of its sender's session before it. */
  readonly decidedBefore: number;
  #last: FrameRun;
  /** Whether its messages can stay where they are. */
  readonly #isInPlace: boolean;
  #count: number;

  constructor(run: FrameRun, decidedBefore: number) {
    this.first = run;
    this.decidedBefore = decidedBefore;
    this.#last = run;
    this.#count = run.count;
    this.#isInPlace = isInPlace(run);
  }

  /** Number of messages. */
  get count(): number {
    return this.#count;
  }

  get kind(): number {
    return this.first.isValid ? RecordKind.RUN : RecordKind.INVALID_RUN;
  }

  /** Adds the next run, if it directly follows in every respect. @returns whether it does */
  add(run: FrameRun): boolean {
    const { first } = this;
    const last = this.#last;
    const follows =
      run.chunk === first.chunk &&
      run.first === first.first + this.#count &&
      run.firstSequence === first.firstSequence + this.#count &&
      run.start(0) === last.end(last.count - 1) + 1;
    if (!follows || !this.#isInPlace || !first.isValid || !run.isValid || !isInPlace(run)) return false;
    this.#last = run;
    this.#count += run.count;
    return true;
  }

  finish(): FinishedRecord {
    if (!this.#isInPlace) return this.#finishCopied();
    const { chunk, verdict } = this.first;
    const start = this.first.start(0);
    const end = this.#last.end(this.#last.count - 1) + 1;
    const bytes = chunk.slab.arena.bytes.subarray(start, end);
    const isHeld = bytes.length >= MIN_HELD;
    const isWholeChunk = start === chunk.start && end === chunk.end;
    return {
      head: this.#createHead(start, () => {}),
      body: isHeld ? bytes : cloneBytes(bytes),
      bodyChecksum: isWholeChunk ? verdict.checksum(chunk.index) : undefined,
      slab: isHeld ? chunk.slab : undefined,
    };
  }

  /** Messages of a single run, which are copied to add delimiters. */
  #finishCopied(): FinishedRecord {
    const run = this.first;
    const { bytes, slab } = wholeRun(run);
    const head = this.#createHead(0, (index) => {
      let position = 0;
      for (let at = 0; at < run.count; at++) {
        const word = INDEX.FRAMES + at * FRAME.SIZE;
        index[word + FRAME.START] = position;
        position += run.end(at) - run.start(at);
        index[word + FRAME.END] = position;
        // The delimiter.
        position++;
      }
    });
    return { head, body: bytes, slab };
  }

  /** @param adjust changes the index if the messages are not where the verdict says */
  #createHead(positionBase: number, adjust: (index: Uint32Array) => void): Buffer {
    const { verdict, index: firstRun, first } = this.first;
    const firstJob = verdict.firstJob(firstRun);
    const jobs = verdict.jobsEnd(this.#last.index) - firstJob;
    const jobsAt = INDEX.FRAMES + this.#count * FRAME.SIZE;
    return createHead(jobsAt + jobs * JOB.SIZE, (index) => {
      index[INDEX.POSITION_BASE] = positionBase;
      index[INDEX.JOB_BASE] = firstJob;
      verdict.copyFrames(index, INDEX.FRAMES, first, this.#count);
      verdict.copyJobs(index, jobsAt, firstJob, jobs);
      adjust(index);
    });
  }
}

/** Whether each message of a run is followed by the delimiter. A single one may be, even if that is not certain of all. */
function isInPlace(run: FrameRun): boolean {
  if (!run.isUndelimited) return true;
  const { slab, end } = run.chunk;
  const messageEnd = run.end(0);
  return run.count === 1 && messageEnd < end && slab.arena.bytes[messageEnd] === run.delimiter;
}
