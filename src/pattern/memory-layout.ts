// The layout of the WebAssembly memory that patterns use: addresses and sizes in bytes.
//
//   slots │ buckets │ lists │ matches │ spans │ example │ text to scan …

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
  SIZE: 64,
} as const;

/** Value of {@link SLOT.ACTIVE_JOBS} and {@link SLOT.HEARTBEAT} if there was no heartbeat. */
export const NO_HEARTBEAT = 0xffff_ffff;

/** Why a scan ended. */
export const STOP = {
  /** At a message that no pattern matches, or at the end of the text. */
  UNKNOWN: 0,
  /** The table of matches is full. */
  FULL: 1,
} as const;

/** A match, in 32-bit words: start and end address, type index, and job key (0 and 0 if there is no job). */
export const MATCH = { START: 0, END: 1, TYPE: 2, JOB_LOW: 3, JOB_HIGH: 4, SIZE: 5 } as const;
export const MAX_MATCHES = 4096;
/** The text of a member's value, in 32-bit words: start and end address, both 0 if the member is absent. */
export const SPAN = { START: 0, END: 1, SIZE: 2 } as const;

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

export interface MemoryMap {
  readonly buckets: number;
  readonly lists: number;
  readonly matches: number;
  /** The spans of each match. */
  readonly spans: number;
  readonly example: number;
  readonly text: number;
}

/**
 * @param maxPatterns maximum number of patterns in all lists together
 * @param maxSpans number of spans of each match
 */
export function memoryMap(maxPatterns: number, maxSpans: number): MemoryMap {
  let end: number = SLOT.SIZE;
  const reserve = (bytes: number): number => {
    const start = end;
    end += Math.ceil(bytes / 16) * 16;
    return start;
  };
  const buckets = reserve(BUCKETS.COUNT * 4);
  // Each list has a terminating entry. The very first entry is the empty list.
  const lists = reserve((maxPatterns + BUCKETS.COUNT + 1) * ENTRY.SIZE);
  const matches = reserve(MAX_MATCHES * MATCH.SIZE * 4);
  const spans = reserve(MAX_MATCHES * maxSpans * SPAN.SIZE * 4);
  const example = reserve(MAX_EXAMPLE + PADDING);
  return {
    buckets,
    lists,
    matches,
    spans,
    example,
    text: end,
  };
}
