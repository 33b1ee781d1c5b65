// Job ids as numbers: a hash of 64 bits with a secret seed. The workers compute it, patterns from the bytes and the
// slow path from the string, and routing compares nothing else, so that no job id has to become a string or cross
// threads. Two ids have the same key once in 2^63 pairs; whoever found such a pair could do no more with it than
// with the other id itself.

import { randomInt } from 'node:crypto';

/** Two halves of 32 bits, without sign. `high` is odd: 0 is left for messages that name no job. */
export interface JobKey {
  readonly low: number;
  readonly high: number;
}

/** Two secret numbers of 32 bits: the same on all threads of a broker. */
export type JobSeed = readonly [number, number];

/** What stands in the place of a key where a message names no job. */
export const NO_JOB: JobKey = { low: 0, high: 0 };

/** For uses that no peer can reach. */
export const NO_SEED: JobSeed = [0, 0];

/**
 * What mixes a word of four bytes into the two halves:
 *
 *     low  = rotl((low  ^ word) * LOW.FACTOR,  LOW.TURN)  + high
 *     high = rotl((high ^ word) * HIGH.FACTOR, HIGH.TURN) ^ low
 *
 * The factors are odd, with their bits well mixed: those of MurmurHash3 (x86, 32 bits), by Austin Appleby.
 */
export const JOB_HASH = {
  LOW: { FACTOR: 0xcc9e_2d51, TURN: 13 },
  HIGH: { FACTOR: 0x1b87_3593, TURN: 17 },
  /** Words of zeros at the end: by then, each bit of the id has changed half of the key's. */
  FINAL_WORDS: 3,
} as const;

export function randomJobSeed(): JobSeed {
  return [randomInt(2 ** 32), randomInt(2 ** 32)];
}

/** The key of a job id. */
export function jobKey(jobId: string, [seedLow, seedHigh]: JobSeed): JobKey {
  const { length } = jobId;
  const isAscii = !NOT_ASCII.test(jobId);
  // Two units a word where one byte does not hold a unit: with the length negated, no text has two encodings.
  const [unitsPerWord, bits] = isAscii ? [4, 8] : [2, 16];
  let low = seedLow ^ (isAscii ? length : ~length);
  let high = seedHigh;
  const end = Math.ceil(length / unitsPerWord) + JOB_HASH.FINAL_WORDS;
  for (let index = 0; index < end; index++) {
    let word = 0;
    // Beyond the end there is NaN, which becomes 0.
    for (let unit = 0; unit < unitsPerWord; unit++) {
      word |= jobId.charCodeAt(index * unitsPerWord + unit) << (unit * bits);
    }
    low = (rotateLeft(Math.imul(low ^ word, JOB_HASH.LOW.FACTOR), JOB_HASH.LOW.TURN) + high) | 0;
    high = rotateLeft(Math.imul(high ^ word, JOB_HASH.HIGH.FACTOR), JOB_HASH.HIGH.TURN) ^ low;
  }
  return { low: low >>> 0, high: (high | 1) >>> 0 };
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII is meant
const NOT_ASCII = /[^\x00-\x7f]/;

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
