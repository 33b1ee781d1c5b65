// Where things lie in the memory that the patterns work in: addresses and sizes in bytes.
//
//   slots │ buckets │ lists │ matches │ example │ text to scan …

/** Variables that the code and its caller share, 32 bits each. */
export const SLOT = {
  /** Address and length of the job id of the latest match; address 0: it has none. */
  JOB_START: 0,
  JOB_LENGTH: 4,
  /** `activeJobs` of the latest heartbeat that was matched; the caller takes note and resets it. */
  ACTIVE_JOBS: 8,
  /** That of a heartbeat that a pattern takes, before it is known whether it is a match. */
  HEARTBEAT: 36,
  /** What a scan gives: matches, delimiters passed, and why it stopped ({@link STOP}). */
  MATCHES: 12,
  LINES: 16,
  STOP: 20,
  /** The number of the scan: what has matched in it is marked with that. */
  LAST_SCAN: 24,
  SIZE: 64,
} as const;

/** What {@link SLOT.ACTIVE_JOBS} and {@link SLOT.HEARTBEAT} have when no heartbeat has come. */
export const NO_HEARTBEAT = 0xffff_ffff;

/** Why a scan has stopped before the end. */
export const STOP = {
  /** At a message that no pattern takes, or at the end. */
  UNKNOWN: 0,
  /** There is no room for more matches. */
  FULL: 1,
} as const;

/** What is written of a match: addresses, the type's index, and the key of its job, whose halves are 0 for none. */
export const MATCH = { START: 0, END: 1, TYPE: 2, JOB_LOW: 3, JOB_HIGH: 4, SIZE: 5 } as const;
export const MAX_MATCHES = 4096;

/** A pattern on a bucket's list: its number in the table of functions (0 ends the list), its type's index, its last scan. */
export const ENTRY = { FUNCTION: 0, TYPE: 4, LAST_SCAN: 8, SIZE: 12 } as const;

/** By a keyOffset character: messages that begin with `{"type":"`, and with `{"type": "`; then all others. */
export const BUCKETS = { COMPACT: 0, SPACED: 256, OTHERS: 512, COUNT: 513 } as const;

/** Zeros behind the text: what is read beyond its end. */
export const PADDING = 256;
/** Longest message that a layout is learned from. */
export const MAX_EXAMPLE = 64 * 1024;
/** How WebAssembly counts memory. */
export const PAGE = 64 * 1024;

export interface MemoryMap {
  readonly buckets: number;
  readonly lists: number;
  readonly matches: number;
  readonly example: number;
  readonly text: number;
}

/** @param maxPatterns on all lists together */
export function memoryMap(maxPatterns: number): MemoryMap {
  let end: number = SLOT.SIZE;
  const take = (bytes: number): number => {
    const start = end;
    end += Math.ceil(bytes / 16) * 16;
    return start;
  };
  const buckets = take(BUCKETS.COUNT * 4);
  // Each list ends with an entry of its own; the first entry of all is the empty list.
  const lists = take((maxPatterns + BUCKETS.COUNT + 1) * ENTRY.SIZE);
  const matches = take(MAX_MATCHES * MATCH.SIZE * 4);
  const example = take(MAX_EXAMPLE + PADDING);
  return {
    buckets,
    lists,
    matches,
    example,
    text: end,
  };
}
