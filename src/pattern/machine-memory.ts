// Where things lie in the memory that the patterns work in: addresses and sizes in bytes.
//
//   slots │ shelves │ lists │ ids, by hash and by number │ names │ matches │ example │ text to scan …

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
  STAMP: 24,
  /** Job ids that are known, and where the text of the last one ends. */
  IDS: 28,
  NAMES_END: 32,
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
  /** There is no room for another job id. */
  IDS_FULL: 2,
} as const;

/** What is written of a match: addresses, the type's index, the number of its job id or 0. */
export const MATCH = { START: 0, END: 1, TYPE: 2, JOB: 3, SIZE: 4 } as const;
export const MAX_MATCHES = 4096;

/** A pattern on a shelf's list: its number in the table of functions (0 ends the list), its type's index, its last scan. */
export const ENTRY = { FUNCTION: 0, TYPE: 4, STAMP: 8, SIZE: 12 } as const;

/** A known job id. */
export const ID = { HASH: 0, START: 4, LENGTH: 8, SIZE: 16 } as const;
export const MAX_IDS = 4096;
/** Twice as many places as ids, so that few collide. */
export const ID_PLACES = MAX_IDS * 2;
const NAMES_SIZE = 128 * 1024;
/** A message with a longer job id takes the slow path. */
export const MAX_ID_LENGTH = 1024;

/** By a telling character: messages that begin with `{"type":"`, and with `{"type": "`; then all others. */
export const SHELVES = { COMPACT: 0, SPACED: 256, OTHERS: 512, COUNT: 513 } as const;

/** Zeros behind the text: what is read beyond its end. */
export const PADDING = 256;
/** Longest message that a layout is learned from. */
export const MAX_EXAMPLE = 64 * 1024;
/** How WebAssembly counts memory. */
export const PAGE = 64 * 1024;

export interface MemoryMap {
  readonly shelves: number;
  readonly lists: number;
  readonly idPlaces: number;
  readonly ids: number;
  readonly names: number;
  readonly namesLimit: number;
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
  const shelves = take(SHELVES.COUNT * 4);
  // Each list ends with an entry of its own; the first entry of all is the empty list.
  const lists = take((maxPatterns + SHELVES.COUNT + 1) * ENTRY.SIZE);
  const idPlaces = take(ID_PLACES * 4);
  const ids = take((MAX_IDS + 1) * ID.SIZE);
  const names = take(NAMES_SIZE + PADDING);
  const matches = take(MAX_MATCHES * MATCH.SIZE * 4);
  const example = take(MAX_EXAMPLE + PADDING);
  return {
    shelves,
    lists,
    idPlaces,
    ids,
    names,
    namesLimit: names + NAMES_SIZE,
    matches,
    example,
    text: end,
  };
}
