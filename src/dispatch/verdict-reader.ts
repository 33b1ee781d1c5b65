// Reads a verdict, and encapsulates the layout of its numbers. The counterpart is verdict-writer.ts.

import {
  FRAME,
  JOB,
  type MessageAddress,
  NO_HEARTBEAT,
  type Numbers,
  RANGE,
  type RangeDrift,
  type RejectedFrame,
  type RejectionReason,
  RUN,
  SPAN,
  type Verdict,
} from './verdict.js';

/** Ranges, runs, frames and jobs are identified by their index in the verdict. Offsets count from the arena's start. */
export class VerdictReader {
  readonly #ranges: Numbers;
  readonly #runs: Numbers;
  readonly #frames: Numbers;
  readonly #jobs: Numbers;
  readonly #addresses: readonly MessageAddress[];
  readonly #rejections: readonly RejectionReason[];
  readonly #drift: readonly RangeDrift[];
  readonly #spans: Numbers;
  /** Values of the fields of messages that no pattern has matched, by row. */
  readonly values: readonly (readonly unknown[])[];

  constructor({ ranges, runs, frames, jobs, spans, values, addresses, rejections, drift }: Verdict) {
    this.#ranges = ranges;
    this.#runs = runs;
    this.#frames = frames;
    this.#jobs = jobs;
    this.#addresses = addresses;
    this.#rejections = rejections;
    this.#drift = drift;
    this.#spans = spans;
    this.values = values;
  }

  /** Number of messages in all ranges. */
  get messages(): number {
    return this.#frames.length / FRAME.SIZE;
  }

  get hasRejections(): boolean {
    return this.#rejections.length > 0;
  }

  /** The first run of a range. */
  firstRun(range: number): number {
    return range === 0 ? 0 : at(this.#ranges, (range - 1) * RANGE.SIZE + RANGE.RUN_END);
  }

  /** The run after the last of a range. */
  runsEnd(range: number): number {
    return at(this.#ranges, range * RANGE.SIZE + RANGE.RUN_END);
  }

  /** Number of delimiters in a range. */
  lines(range: number): number {
    return at(this.#ranges, range * RANGE.SIZE + RANGE.LINES);
  }

  /** `activeJobs` of the last heartbeat in a range; `undefined` if there is none. */
  activeJobs(range: number): number | undefined {
    const activeJobs = at(this.#ranges, range * RANGE.SIZE + RANGE.ACTIVE_JOBS);
    return activeJobs === NO_HEARTBEAT ? undefined : activeJobs;
  }

  /** CRC-32 of the bytes of a range, if verdicts contain checksums. */
  checksum(range: number): number {
    return at(this.#ranges, range * RANGE.SIZE + RANGE.CHECKSUM);
  }

  /** Copies the words of consecutive messages. @param to their place in `target` */
  copyFrames(target: Uint32Array, to: number, first: number, count: number): void {
    target.set(part(this.#frames, first * FRAME.SIZE, (first + count) * FRAME.SIZE), to);
  }

  /** Copies the words of consecutive jobs. @param to their place in `target` */
  copyJobs(target: Uint32Array, to: number, first: number, count: number): void {
    target.set(part(this.#jobs, first * JOB.SIZE, (first + count) * JOB.SIZE), to);
  }

  /** One of `RunKind`. */
  runKind(run: number): number {
    return at(this.#runs, run * RUN.SIZE + RUN.KIND);
  }

  /** The first frame of a run. */
  firstFrame(run: number): number {
    return at(this.#runs, run * RUN.SIZE + RUN.FIRST);
  }

  /** Number of frames in a run. */
  frameCount(run: number): number {
    return (this.#runs[(run + 1) * RUN.SIZE + RUN.FIRST] ?? this.messages) - this.firstFrame(run);
  }

  /** The first job of a run. */
  firstJob(run: number): number {
    return at(this.#runs, run * RUN.SIZE + RUN.FIRST_JOB);
  }

  /** The job after the last of a run. */
  jobsEnd(run: number): number {
    return this.#runs[(run + 1) * RUN.SIZE + RUN.FIRST_JOB] ?? this.#jobs.length / JOB.SIZE;
  }

  /** The frame of a run's last message about one of its jobs; {@link NO_FRAME} if only heartbeats mention the job. */
  latestFrame(job: number): number {
    return at(this.#jobs, job * JOB.SIZE + JOB.LATEST);
  }

  /** Start offset of a message. */
  start(frame: number): number {
    return at(this.#frames, frame * FRAME.SIZE + FRAME.START);
  }

  /** End offset of a message, without its delimiter. */
  end(frame: number): number {
    return at(this.#frames, frame * FRAME.SIZE + FRAME.END);
  }

  /** Index of an accepted message's type. */
  typeIndex(frame: number): number {
    return at(this.#frames, frame * FRAME.SIZE + FRAME.TYPE);
  }

  /** The job of an accepted crawler message; -1 if it has none. */
  job(frame: number): number {
    return at(this.#frames, frame * FRAME.SIZE + FRAME.JOB) - 1;
  }

  /** The lower half of a job's key. */
  jobLow(job: number): number {
    return at(this.#jobs, job * JOB.SIZE + JOB.LOW);
  }

  /** The upper half of a job's key. */
  jobHigh(job: number): number {
    return at(this.#jobs, job * JOB.SIZE + JOB.HIGH);
  }

  /** A copy of the spans of consecutive messages. @param maxSpans number of spans of each message */
  spans(frame: number, count: number, maxSpans: number): Numbers {
    const words = maxSpans * SPAN.SIZE;
    return this.#spans.slice(frame * words, (frame + count) * words);
  }

  /** The address of a message from an application. */
  address(frame: number): MessageAddress | undefined {
    return this.#addresses[at(this.#frames, frame * FRAME.SIZE + FRAME.ADDRESS)];
  }

  /** The reason for a rejection. Messages rejected for the same reason may share the object. */
  rejectionReason(frame: number): RejectionReason | undefined {
    return this.#rejections[at(this.#frames, frame * FRAME.SIZE + FRAME.REJECTION)];
  }

  /** Differences between the messages of a range and the contract. */
  drift(range: number): readonly RangeDrift[] {
    if (this.#drift.length === 0) return this.#drift;
    return this.#drift.slice(this.#firstDrift(range), this.#firstDrift(range + 1));
  }

  /** Index of the first difference of a range or of a later one: they are in the order of the ranges. */
  #firstDrift(range: number): number {
    let [first, end] = [0, this.#drift.length];
    while (first < end) {
      const middle = (first + end) >> 1;
      if ((this.#drift[middle]?.range ?? 0) < range) first = middle + 1;
      else end = middle;
    }
    return first;
  }

  rejectedFrame(frame: number): RejectedFrame | undefined {
    const reason = this.rejectionReason(frame);
    return reason && { ...reason, line: at(this.#frames, frame * FRAME.SIZE + FRAME.LINE) };
  }
}

function part(numbers: Numbers, from: number, to: number): Numbers {
  return numbers instanceof Uint32Array ? numbers.subarray(from, to) : numbers.slice(from, to);
}

function at(numbers: Numbers, index: number): number {
  return numbers[index] ?? 0;
}
