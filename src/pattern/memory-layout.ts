// The layout of the WebAssembly memory that patterns use: addresses and sizes in bytes.
//
//   slots │ checks │ meanings │ accepted │ job slots │ jobs │ runs │ frames │ buckets │ lists │ spans │ example │ text to scan …

import { FRAME, JOB, RUN } from './verdict-layout.js';

/** Addresses of 32-bit variables that the generated code and its caller share. */
export const SLOT = {
  /** Address and length of the job id in the latest match. The address is 0 if there is none. */
  JOB_START: 0,
  JOB_LENGTH: 4,
  /** `activeJobs` of the latest matched heartbeat, or {@link NO_HEARTBEAT}. The caller reads and resets it. */
  ACTIVE_JOBS: 8,
  /** `activeJobs` of the heartbeat that a pattern has just accepted. The scan loop may still stop before it. */
  HEARTBEAT: 36,
  /** Results of a scan: number of matches, number of delimiters, and the reason for its end ({@link STOP}). */
  MATCHES: 12,
  LINES: 16,
  STOP: 20,
  /** Number of the current scan, written to the entry of each pattern that matches. */
  LAST_SCAN: 24,
  /** Address of the spans of the message that is being matched. */
  SPANS: 28,
  /** The difference between addresses and offsets in the loaded bytes. */
  SHIFT: 32,
  /** Number of messages in the verdict. */
  FRAMES: 40,
  /** The run that the next message may join: its kind, or {@link NO_RUN}, and the end offset of its last message. */
  RUN_KIND: 44,
  RUN_END: 48,
  /** First row of that run in the table of jobs. */
  RUN_JOBS: 52,
  /** Number of rows in the table of jobs, and of rows of the verdict that were removed from it before. */
  JOBS: 56,
  JOBS_BEFORE: 60,
  /** Number of runs that the latest scan has begun. */
  RUNS: 64,
  /** Key of the job of the latest match. */
  JOB_LOW: 68,
  JOB_HIGH: 72,
  /** Number of rows in the table of checks: values of the latest match that the schema has to accept. 0 in between. */
  CHECKS: 76,
  SIZE: 80,
} as const;

/** Value of {@link SLOT.RUN_KIND} if the next message begins a run. */
export const NO_RUN = 0xffff_ffff;

/** Value of {@link SLOT.ACTIVE_JOBS} and {@link SLOT.HEARTBEAT} if there was no heartbeat. */
export const NO_HEARTBEAT = 0xffff_ffff;

/** Why a scan ended. */
export const STOP = {
  /** At a message that no pattern matches, or at the end of the text. */
  UNKNOWN: 0,
  /** The table of matches is full. */
  FULL: 1,
} as const;

/** Maximum number of matches of a scan. */
export const MAX_MATCHES = 4096;
/**
 * Rows in the table of jobs. Rows are removed when there are more than {@link MAX_MATCHES}, and a scan adds up to twice
 * that number.
 */
export const MAX_JOBS = 3 * MAX_MATCHES;
/** Number of hash slots for jobs. If two jobs share a slot, a run may have several rows for one job. */
export const JOB_SLOTS = 4096;
/** What a message type means to the broker. */
export const MEANING = { NONE: 0, JOB_REQUEST: 1, HEARTBEAT: 2 } as const;
/** The text of a member's value, in 32-bit words: start and end address, both 0 if the member is absent. */
export const SPAN = { START: 0, END: 1, SIZE: 2 } as const;

/** A value to check, in 32-bit words: the part of the schema that checks it, and the start and end of its text. */
export const CHECK = { PART: 0, START: 1, END: 2, SIZE: 3 } as const;
/** Maximum number of checked values of a message. A pattern does not match messages with more. */
export const MAX_CHECKS = 256;
/** Address of the table of checks, which does not depend on the number of types. */
export const CHECKS = SLOT.SIZE;

/** A pattern in a bucket's list: its index in the function table (0 ends the list), type index and last scan. */
export const ENTRY = { FUNCTION: 0, TYPE: 4, LAST_SCAN: 8, SIZE: 12 } as const;

/**
 * Buckets of patterns. Messages that begin with `{"type":"` or `{"type": "` have one bucket for each character at
 * `keyOffset` of the type's name; all others share a bucket.
 */
export const BUCKETS = { COMPACT: 0, SPACED: 256, OTHERS: 512, COUNT: 513 } as const;

/** Zeros after a text, since the generated code reads beyond its end. */
export const PADDING = 256;
/** Longest message, in bytes, from which a layout is learned. */
export const MAX_EXAMPLE = 64 * 1024;
/** WebAssembly's page size. */
export const PAGE = 64 * 1024;

const WORD = 4;

/** Addresses of the tables of a verdict. */
export interface TableMap {
  /** {@link MEANING} and the number of accepted messages, by type index. */
  readonly meanings: number;
  readonly accepted: number;
  readonly jobSlots: number;
  readonly jobs: number;
  /** The runs that a scan begins. */
  readonly runs: number;
  /** The messages that a scan matches. */
  readonly frames: number;
  readonly end: number;
}

export interface MemoryMap extends TableMap {
  readonly buckets: number;
  readonly lists: number;
  /** The spans of each match. */
  readonly spans: number;
  readonly example: number;
  readonly text: number;
}

function allocator(start: number): (bytes: number) => number {
  let end = start;
  return (bytes) => {
    const address = end;
    end += Math.ceil(bytes / 16) * 16;
    return address;
  };
}

/** @param types number of message types */
export function tableMap(types: number): TableMap {
  const reserve = allocator(CHECKS + MAX_CHECKS * CHECK.SIZE * WORD);
  return {
    meanings: reserve(types * WORD),
    accepted: reserve(types * WORD),
    jobSlots: reserve(JOB_SLOTS * WORD),
    jobs: reserve(MAX_JOBS * JOB.SIZE * WORD),
    runs: reserve(MAX_MATCHES * RUN.SIZE * WORD),
    frames: reserve(MAX_MATCHES * FRAME.SIZE * WORD),
    end: reserve(0),
  };
}

/**
 * @param types number of message types
 * @param maxPatterns maximum number of patterns in all lists together
 * @param maxSpans number of spans of each match
 */
export function memoryMap(types: number, maxPatterns: number, maxSpans: number): MemoryMap {
  const tables = tableMap(types);
  const reserve = allocator(tables.end);
  return {
    ...tables,
    buckets: reserve(BUCKETS.COUNT * WORD),
    // Each list has a terminating entry. The very first entry is the empty list.
    lists: reserve((maxPatterns + BUCKETS.COUNT + 1) * ENTRY.SIZE),
    spans: reserve(MAX_MATCHES * maxSpans * SPAN.SIZE * WORD),
    example: reserve(MAX_EXAMPLE + PADDING),
    text: reserve(0),
  };
}
