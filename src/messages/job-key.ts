// Job keys: 64-bit hashes of job ids with a secret seed. Workers compute them (patterns from the bytes, the slow path
// from the string), and routing compares only keys, so no job id has to become a string or cross threads. Two ids
// collide with a probability of 1 in 2^63. A peer that found a collision could do no more with it than with the other
// id itself.

/** Two unsigned 32-bit halves. `high` is always odd, so 0 is free for messages without a job. */
export interface JobKey {
  readonly low: number;
  readonly high: number;
}

/** A job that a message assigns. */
export interface AssignedJob extends JobKey {
  readonly id: string;
}

/** Two secret 32-bit numbers, the same on all threads of a broker. */
export type JobSeed = readonly [number, number];

/** The key of messages without a job. */
export const NO_JOB: JobKey = { low: 0, high: 0 };

/** A fixed seed, for code that hashes no ids from untrusted peers. */
export const NO_SEED: JobSeed = [0, 0];

/**
 * Constants of the hash. Each 4-byte word is mixed into the two halves:
 *
 *     low  = rotl((low  ^ word) * LOW.FACTOR,  LOW.TURN)  + high
 *     high = rotl((high ^ word) * HIGH.FACTOR, HIGH.TURN) ^ low
 *
 * The factors are those of MurmurHash3 (x86, 32-bit) by Austin Appleby: odd, with well-mixed bits.
 */
export const JOB_HASH = {
  LOW: { FACTOR: 0xcc9e_2d51, TURN: 13 },
  HIGH: { FACTOR: 0x1b87_3593, TURN: 17 },
  /** Zero words mixed in at the end, so that each bit of the id affects half of the key's bits on average. */
  FINAL_WORDS: 3,
} as const;

/** Uses the global `crypto`, because the workers would load `node:crypto` for nothing. */
export function randomJobSeed(): JobSeed {
  const [low = 0, high = 0] = crypto.getRandomValues(new Uint32Array(2));
  return [low, high];
}

/** The key of a job id. */
export function jobKey(jobId: string, [seedLow, seedHigh]: JobSeed): JobKey {
  const { length } = jobId;
  const isAscii = !NOT_ASCII.test(jobId);
  // Non-ASCII ids put two UTF-16 units in a word. Their length is complemented, so the two encodings never coincide.
  const [unitsPerWord, bitsPerUnit] = isAscii ? [4, 8] : [2, 16];
  let low = seedLow ^ (isAscii ? length : ~length);
  let high = seedHigh;
  const end = Math.ceil(length / unitsPerWord) + JOB_HASH.FINAL_WORDS;
  for (let index = 0; index < end; index++) {
    let word = 0;
    // Beyond the end, charCodeAt returns NaN, which the shift converts to 0.
    for (let unit = 0; unit < unitsPerWord; unit++) {
      word |= jobId.charCodeAt(index * unitsPerWord + unit) << (unit * bitsPerUnit);
    }
    low = (rotateLeft(Math.imul(low ^ word, JOB_HASH.LOW.FACTOR), JOB_HASH.LOW.TURN) + high) | 0;
    high = rotateLeft(Math.imul(high ^ word, JOB_HASH.HIGH.FACTOR), JOB_HASH.HIGH.TURN) ^ low;
  }
  return { low: low >>> 0, high: (high | 1) >>> 0 };
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: matches all of ASCII
const NOT_ASCII = /[^\x00-\x7f]/;

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
