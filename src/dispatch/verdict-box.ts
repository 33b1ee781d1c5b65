// The short way back for the verdict on a small batch. While nothing else is under way, the main thread sleeps
// for its verdict instead of going back to the event loop: being woken there takes longer than the validation.
// The verdict still comes as the task's result where it has more to tell, or where it takes its time.

import type { Verdict } from './verdict.js';

const STATE = { EMPTY: 0, FULL: 1, ELSEWHERE: 2 } as const;
/** Numbers in front: the state, the lengths of the arrays and of the text, and the counts. */
const HEAD = { STATE: 0, LENGTHS: 1, TEXT: 6, MATCHED: 7, LEARNED: 8, DROPPED: 9, SIZE: 10 } as const;
/** Room for the numbers and for the job ids, in bytes: more than small batches need. */
const NUMBERS_SIZE = 32 * 1024;
const TEXT_SIZE = 16 * 1024;
const WORD = Uint32Array.BYTES_PER_ELEMENT;

export class VerdictBox {
  readonly memory: SharedArrayBuffer;
  readonly #state: Int32Array;
  readonly #numbers: Uint32Array;
  readonly #text: Buffer;

  /** @param memory of a box that another thread has made; none: a new one */
  constructor(memory = new SharedArrayBuffer(NUMBERS_SIZE + TEXT_SIZE)) {
    this.memory = memory;
    this.#state = new Int32Array(memory, 0, 1);
    this.#numbers = new Uint32Array(memory, 0, NUMBERS_SIZE / WORD);
    this.#text = Buffer.from(memory, NUMBERS_SIZE, TEXT_SIZE);
  }

  /** Before a batch is sent whose verdict is to come here. */
  clear(): void {
    Atomics.store(this.#state, HEAD.STATE, STATE.EMPTY);
  }

  /**
   * Puts a verdict in, and wakes who waits for it.
   * @returns whether it fits: one that tells of refused messages does not
   */
  put(verdict: Verdict): boolean {
    const isPut = this.#write(verdict);
    Atomics.store(this.#state, HEAD.STATE, isPut ? STATE.FULL : STATE.ELSEWHERE);
    Atomics.notify(this.#state, HEAD.STATE);
    return isPut;
  }

  /** Sleeps until a verdict is in, or will come another way; at most so many ms. */
  wait(milliseconds: number): void {
    Atomics.wait(this.#state, HEAD.STATE, STATE.EMPTY, milliseconds);
  }

  /** Takes the verdict out, if one is in. */
  take(): Verdict | undefined {
    if (Atomics.load(this.#state, HEAD.STATE) !== STATE.FULL) return undefined;
    this.clear();
    const numbers = this.#numbers;
    let at: number = HEAD.SIZE;
    const section = (index: number): Uint32Array => {
      const length = numbers[HEAD.LENGTHS + index] ?? 0;
      at += length;
      return numbers.slice(at - length, at);
    };
    return {
      chunks: section(0),
      runs: section(1),
      frames: section(2),
      chunkJobs: section(3),
      accepted: section(4),
      jobIds: JSON.parse(this.#text.toString('utf8', 0, numbers[HEAD.TEXT])) as string[],
      refusals: [],
      matched: numbers[HEAD.MATCHED] ?? 0,
      mismatches: [],
      layoutsLearned: numbers[HEAD.LEARNED] ?? 0,
      layoutsDropped: numbers[HEAD.DROPPED] ?? 0,
    };
  }

  #write(verdict: Verdict): boolean {
    const { chunks, runs, frames, chunkJobs, accepted, jobIds, refusals, mismatches } = verdict;
    if (refusals.length > 0 || mismatches.length > 0) return false;
    const sections = [chunks, runs, frames, chunkJobs, accepted];
    const length = sections.reduce((sum, section) => sum + section.length, HEAD.SIZE as number);
    const text = JSON.stringify(jobIds);
    if (length > this.#numbers.length || Buffer.byteLength(text) > TEXT_SIZE) return false;
    const numbers = this.#numbers;
    let at: number = HEAD.SIZE;
    sections.forEach((section, index) => {
      numbers[HEAD.LENGTHS + index] = section.length;
      numbers.set(section, at);
      at += section.length;
    });
    numbers[HEAD.TEXT] = this.#text.write(text);
    numbers[HEAD.MATCHED] = verdict.matched;
    numbers[HEAD.LEARNED] = verdict.layoutsLearned;
    numbers[HEAD.DROPPED] = verdict.layoutsDropped;
    return true;
  }
}
