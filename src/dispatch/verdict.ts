// All that crosses the threads, both ways. A batch goes out as offsets into shared memory; the
// verdict comes back as flat arrays, a few bytes a message. No parsed message ever crosses.

import type { WireErrorCode } from '../errors.js';
import type { FrameRange } from '../memory/slab-pool.js';
import type { Issue } from '../messages/issues.js';
import type { JobKey, JobSeed } from '../messages/job-key.js';
import type { Framing } from '../wire/framing.js';

export { NO_HEARTBEAT } from '../pattern/memory-layout.js';

/** How messages are parsed and checked: the same in all workers of a broker. */
export interface ParserSettings {
  /** URL of the schema module to load beside the protocol's own schemas. */
  readonly schemas: string | undefined;
  readonly framing: Framing;
  readonly delimiter: number;
  readonly maxMessageSize: number;
  readonly maxMessageAge: number;
  readonly maxClockSkew: number;
  readonly patterns: 'on' | 'off' | 'verify';
  readonly maxLearnedLayouts: number;
  /** Of the job ids' keys: the same for all workers of a broker. */
  readonly jobSeed: JobSeed;
}

/** What a worker is started with. */
export interface WorkerSettings extends ParserSettings {
  /** Where the worker says that it is busy; see watchdog.ts. */
  readonly watch: SharedArrayBuffer;
  /** Whether the worker leaves the processor to other threads, where they want it. */
  readonly isBackground: boolean;
}

/** Ranges of whole messages to validate, each from one connection. */
export interface BatchTask {
  /** By which the watchdog knows the batch; 0: it has none. */
  readonly id: number;
  readonly arenas: readonly SharedArrayBuffer[];
  /** {@link RANGE_FIELDS} numbers a range: index into `arenas`, start, end. */
  readonly ranges: readonly number[];
  /** How many rejected messages of each range come with their issues: as many as somebody will read. */
  readonly maxDetailedRejections: number;
}
export const RANGE_FIELDS = 3;

/** To wait for small batches in this memory; see handoff.ts. */
export interface HandoffTask {
  readonly handoff: SharedArrayBuffer;
}

/** The task to validate these ranges, in this order. */
export function batchTask(
  batch: readonly FrameRange[],
  maxDetailedRejections: number = Number.POSITIVE_INFINITY,
  id = 0,
): BatchTask {
  const arenas: SharedArrayBuffer[] = [];
  const ranges: number[] = [];
  for (const { slab, start, end } of batch) {
    let arena = arenas.indexOf(slab.arena.memory);
    if (arena === -1) arena = arenas.push(slab.arena.memory) - 1;
    ranges.push(arena, start, end);
  }
  return { id, arenas, ranges, maxDetailedRejections };
}

/** What the main thread has to do with a run of consecutive messages. */
export const RunKind = {
  /** Forward: one slice, each message followed by the delimiter. */
  DELIMITED: 0,
  /** Forward, adding the delimiter after each message. */
  UNDELIMITED: 1,
  /** One `job_request`: forward, and remember who asked. */
  REQUEST: 2,
  /** One application's message: find the crawlers that it is for. */
  ADDRESSED: 3,
  /** One control message: act on it. */
  CONTROL: 4,
  /** Rejected messages: tell the sender; see {@link Verdict.rejections}. */
  REJECTED: 5,
} as const;

/** Numbers of a verdict: while they are few, a plain array takes less to make, to send and to read. */
export type Numbers = Uint32Array | readonly number[];

/** The answer to a {@link BatchTask}. Offsets count from the start of the range's arena. */
export interface Verdict {
  /** {@link CHUNK} numbers a range. */
  readonly chunks: Numbers;
  /** {@link RUN} numbers a run, in the order of the messages. */
  readonly runs: Numbers;
  /** {@link FRAME} numbers a message, in order. */
  readonly frames: Numbers;
  /** {@link JOB} numbers a job that a range names, range by range. A range may have several rows of one job. */
  readonly jobs: Numbers;
  /** Why messages were rejected. Messages without issues share theirs: a peer may have thousands rejected in a batch. */
  readonly rejections: readonly RejectionReason[];
  /** Whom the applications' messages are for, in order. */
  readonly addresses: readonly MessageAddress[];
  /** Accepted messages by type index. */
  readonly accepted: Numbers;
  /** How many of them a pattern has matched. */
  readonly matched: number;
  /** Names of types whose pattern took a message that the slow path judges otherwise, one for each. */
  readonly mismatches: readonly string[];
  /** Ranges of which a single message took longer than {@link SLOW_MESSAGE}, by their index. */
  readonly slowRanges: readonly number[];
  /** Layouts that the worker has learned patterns for since its last verdict, and those that it has dropped. */
  readonly layoutsLearned: number;
  readonly layoutsDropped: number;
}

/** ms beyond which a message is slow: a hundred times what one of ordinary size takes on the slow path. */
export const SLOW_MESSAGE = 50;

/**
 * Fields of a range in {@link Verdict.chunks}. Ends are exclusive; a range starts where the one before ended.
 * `JOB_END` counts rows of {@link Verdict.jobs}, `LINES` the delimiters in the range. `ACTIVE_JOBS` is that of the last heartbeat, or {@link NO_HEARTBEAT}.
 */
export const CHUNK = { RUN_END: 0, JOB_END: 1, LINES: 2, ACTIVE_JOBS: 3, SIZE: 4 } as const;
/** Fields of a run in {@link Verdict.runs}. */
export const RUN = { FIRST: 0, COUNT: 1, KIND: 2, SIZE: 3 } as const;
/**
 * Fields of a message in {@link Verdict.frames}. `JOB` is a row of {@link Verdict.jobs} plus 1, or 0; an application's message
 * has `ADDRESS` instead, an index into {@link Verdict.addresses}. A rejected message has `LINE`, the delimiters before it in its
 * range, and `REJECTION`, an index into {@link Verdict.rejections}.
 */
export const FRAME = {
  START: 0,
  END: 1,
  TYPE: 2,
  LINE: 2,
  JOB: 3,
  ADDRESS: 3,
  REJECTION: 3,
  SIZE: 4,
} as const;
/** Fields of a job in {@link Verdict.jobs}: its {@link JobKey}. */
export const JOB = { LOW: 0, HIGH: 1, SIZE: 2 } as const;

/** What an application's message says of whom it is for. */
export interface MessageAddress {
  readonly to: string | undefined;
  /** The job that it is about: the one that it assigns, else that of its envelope. */
  readonly job: JobKey | undefined;
}

/** Why a message was rejected. */
export interface RejectionReason {
  readonly code: WireErrorCode;
  /** Name of the message's type where it is known. */
  readonly type: string | undefined;
  readonly issues: readonly Issue[];
}

/** A rejected message of a range. */
export interface RejectedFrame extends RejectionReason {
  /** Delimiters before the message in its range. */
  readonly line: number;
}
