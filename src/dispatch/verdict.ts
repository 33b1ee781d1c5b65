// Everything that crosses between threads, in both directions. A batch is sent as offsets into shared memory; the
// verdict comes back as flat arrays, a few bytes per message. Parsed messages never cross.

import type { WireErrorCode } from '../errors.js';
import type { FrameRange } from '../memory/slab-pool.js';
import type { FieldPaths } from '../messages/field-paths.js';
import type { Issue } from '../messages/issues.js';
import type { AssignedJob, JobKey, JobSeed } from '../messages/job-key.js';
import type { PatternModules } from '../pattern/pattern-set.js';
import type { Framing } from '../wire/framing.js';

export { NO_HEARTBEAT } from '../pattern/memory-layout.js';

/** Settings for parsing and validation: the same in all workers of a broker. */
export interface ParserSettings {
  /** URL of the schema module to load in addition to the protocol's own schemas. */
  readonly schemas: string | undefined;
  /** Fingerprint of the registry on the main thread, which those of the workers must have. Default: not checked. */
  readonly fingerprint?: string | undefined;
  readonly framing: Framing;
  readonly delimiter: number;
  readonly maxMessageSize: number;
  readonly maxMessageAge: number;
  readonly maxClockSkew: number;
  readonly patterns: 'on' | 'off' | 'verify';
  readonly maxLearnedLayouts: number;
  /** `report`: messages that break the contract are forwarded and reported instead of rejected. */
  readonly validation: 'enforce' | 'report';
  /** Whether verdicts contain a checksum of each range. Default: false. */
  readonly checksums?: boolean;
  /** Seed of the job keys: the same in all workers of a broker. */
  readonly jobSeed: JobSeed;
  /** The fields to deliver with verdicts. Default: none. */
  readonly fields?: FieldPaths | undefined;
}

/** The `workerData` of a worker. */
export interface WorkerSettings extends ParserSettings {
  /** The patterns, compiled by the main thread. If `undefined`, the worker compiles them. */
  readonly modules: PatternModules | undefined;
  /** Shared memory in which the worker records its progress; see watchdog.ts. */
  readonly watch: SharedArrayBuffer;
  /** Whether the worker runs at a lower priority than other threads. */
  readonly isBackground: boolean;
  /** Shared flag: 1 once workers must load the schemas; 0 keeps them idle. */
  readonly loadRequested: SharedArrayBuffer;
}

/** What a worker sends unasked while it loads the schemas. */
export interface WorkerNotice {
  /** Why the worker validates without patterns. */
  readonly patternsUnavailable: string;
}

/** Ranges of whole messages to validate, each from one connection. */
export interface BatchTask {
  /** Number of the batch for the watchdog; 0 if the batch has none. */
  readonly id: number;
  readonly arenas: readonly SharedArrayBuffer[];
  /** {@link RANGE_FIELDS} numbers per range: index into `arenas`, start, end. */
  readonly ranges: readonly number[];
  /** Number of rejected messages per range whose issues are included in the verdict. */
  readonly maxDetailedRejections: number;
}
export const RANGE_FIELDS = 3;

/** A task to validate these ranges, in this order. */
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

export { FRAME, JOB, NO_FRAME, RUN, RunKind } from '../pattern/verdict-layout.js';

/** Numbers of a verdict. A short plain array is cheaper to create, send and read than a typed array. */
export type Numbers = Uint32Array | readonly number[];

/** The answer to a {@link BatchTask}. Offsets count from the start of the range's arena. */
export interface Verdict {
  /** {@link RANGE} numbers per range. */
  readonly ranges: Numbers;
  /** {@link RUN} numbers per run, in the order of the messages. */
  readonly runs: Numbers;
  /** {@link FRAME} numbers per message, in order. */
  readonly frames: Numbers;
  /** {@link JOB} numbers per job mentioned in a run, run by run. A run may have several rows for one job. */
  readonly jobs: Numbers;
  /**
   * The fields to deliver: for each message, {@link SPAN} numbers per span, with the same number of spans for all
   * messages. Empty if there are no fields to deliver.
   */
  readonly spans: Numbers;
  /** Values of the fields of messages that no pattern has matched: a row per message, in the order of the fields. */
  readonly values: readonly (readonly unknown[])[];
  /**
   * Reasons for rejections. Messages without issues share one entry for each offset, since a batch may have thousands of rejections.
   */
  readonly rejections: readonly RejectionReason[];
  /** Addresses of the applications' messages, in order. */
  readonly addresses: readonly MessageAddress[];
  /** Accepted messages by type index. */
  readonly accepted: Numbers;
  /** Number of accepted messages that a pattern has matched. */
  readonly matched: number;
  /** For each message on which its type's pattern and the slow path disagree, the name of the type. */
  readonly mismatches: readonly string[];
  /** Differences between the messages and the contract, a few per range. */
  readonly drift: readonly RangeDrift[];
  /** Indexes of ranges in which a single message took longer than {@link SLOW_MESSAGE}. */
  readonly slowRanges: readonly number[];
  /**
   * Number of layouts for which the worker has learned a pattern, and of layouts it has evicted, since its last
   * verdict.
   */
  readonly layoutsLearned: number;
  readonly layoutsEvicted: number;
  /** How long the validation took, in ms: without the time for which the batch or the verdict waited for a thread. */
  readonly duration: number;
}

/** A difference between what a peer sends and what the contract says. */
export interface DriftFact {
  /**
   * `unknown_key`: a key that the schema does not name, which is allowed. `unknown_value`: none of the values of an
   * enumeration. `unexpected_type`: a value of another JSON type. `unknown_type`: a message type without a schema.
   */
  readonly kind: 'unknown_key' | 'unknown_value' | 'unexpected_type' | 'unknown_type';
  /** Name of the message type. */
  readonly messageType: string;
  /** Path of the key or value, with `[]` for the elements of an array; empty for `unknown_type`. */
  readonly path: string;
  /** The value of an `unknown_value`. Only if it looks like a name. */
  readonly value: string | undefined;
}

/** A difference in a range, given by its index. */
export interface RangeDrift extends DriftFact {
  readonly range: number;
}

/** A message that takes longer than this is slow, in ms: 100 times as long as an ordinary message on the slow path. */
export const SLOW_MESSAGE = 50;

/**
 * Fields of a range in {@link Verdict.ranges}. `RUN_END` is the row of {@link Verdict.runs} after its last run; its first
 * run is the one after the previous range's. `LINES` is the number of delimiters in the range. `ACTIVE_JOBS` is the value
 * in its last heartbeat, or {@link NO_HEARTBEAT}. `CHECKSUM` is the CRC-32 of its bytes, if checksums are wanted.
 */
export const RANGE = { RUN_END: 0, LINES: 1, ACTIVE_JOBS: 2, CHECKSUM: 3, SIZE: 4 } as const;
/**
 * Start and end of a span in {@link Verdict.spans}, both 0 if its member is absent. If the first span of a message starts
 * at {@link NOT_A_SPAN}, its end is a row of {@link Verdict.values}, or {@link NO_VALUES} if the fields are not delivered.
 */
export { SPAN } from '../pattern/memory-layout.js';
export const NOT_A_SPAN = 0xffff_ffff;
export const NO_VALUES = 0xffff_ffff;

/** The address in a message from an application. */
export interface MessageAddress {
  readonly to: string | undefined;
  /** The job that the message is about, for some types the one in its data, or else the job in its envelope. */
  readonly job: JobKey | undefined;
  /** The jobs that the message assigns. */
  readonly assigned: readonly AssignedJob[];
}

/** The reason for a rejection. */
export interface RejectionReason {
  readonly code: WireErrorCode;
  /** Name of the message's type, if known. */
  readonly type: string | undefined;
  readonly issues: readonly Issue[];
  /** Where the message stops being JSON or UTF-8, in bytes from its start. */
  readonly offset?: number | undefined;
  /** Name of an unknown type whose message is forwarded anyway. */
  readonly unknownType?: string | undefined;
}

/** A rejected message of a range. */
export interface RejectedFrame extends RejectionReason {
  /** Delimiters before the message in its range. */
  readonly line: number;
}
