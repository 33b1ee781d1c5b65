// Reads the results of a scan from the memory that the generated code writes them to.

import { MAX_MATCHES, type MemoryMap, NO_HEARTBEAT, SLOT, SPAN, STOP } from './memory-layout.js';
import { FRAME, JOB } from './verdict-layout.js';

const WORD = Uint32Array.BYTES_PER_ELEMENT;
const NO_WORDS = new Uint32Array(0);

/** Consecutive valid messages that patterns have matched. Valid until the next scan. */
export class Matches {
  /** Offset after the last message and its delimiter. */
  scanEnd = 0;
  #words: Uint32Array = NO_WORDS;
  #frames: Uint32Array = NO_WORDS;
  #spans: Uint32Array = NO_WORDS;
  readonly #map: MemoryMap;
  readonly #spanWords: number;

  /** @param maxSpans number of spans of each match */
  constructor(map: MemoryMap, maxSpans: number) {
    this.#map = map;
    this.#spanWords = maxSpans * SPAN.SIZE;
  }

  /** Sets the memory. It changes when it grows. */
  attach(words: Uint32Array): void {
    const { frames, spans } = this.#map;
    this.#words = words;
    this.#frames = words.subarray(frames / WORD, frames / WORD + MAX_MATCHES * FRAME.SIZE);
    this.#spans = words.subarray(spans / WORD, spans / WORD + MAX_MATCHES * this.#spanWords);
  }

  /** Number of messages. */
  get count(): number {
    return this.#readSlot(SLOT.MATCHES);
  }

  /** Number of delimiters up to `scanEnd`. */
  get lines(): number {
    return this.#readSlot(SLOT.LINES);
  }

  /** Whether the scan stopped only because the table of matches was full, so that the next message may match too. */
  get isInterrupted(): boolean {
    return this.#readSlot(SLOT.STOP) !== STOP.UNKNOWN;
  }

  /** Offset of a message in the loaded bytes. */
  start(index: number): number {
    return this.#frames[index * FRAME.SIZE + FRAME.START] ?? 0;
  }

  /** Offset after a message, without its delimiter. */
  end(index: number): number {
    return this.#frames[index * FRAME.SIZE + FRAME.END] ?? 0;
  }

  /** Index of a message's type in the registry. */
  typeIndex(index: number): number {
    return this.#frames[index * FRAME.SIZE + FRAME.TYPE] ?? 0;
  }

  /** The lower half of the key of a message's job; 0 if the message has no job. */
  jobLow(index: number): number {
    return this.#jobField(index, JOB.LOW);
  }

  /** The upper half of the key of a message's job; 0 if and only if the message has no job. */
  jobHigh(index: number): number {
    return this.#jobField(index, JOB.HIGH);
  }

  #jobField(index: number, field: number): number {
    const job = this.#frames[index * FRAME.SIZE + FRAME.JOB] ?? 0;
    if (job === 0) return 0;
    const row = job - 1 - this.#readSlot(SLOT.JOBS_BEFORE);
    return this.#words[this.#map.jobs / WORD + row * JOB.SIZE + field] ?? 0;
  }

  /**
   * Start or end of a span of a message in the loaded bytes; 0 if the member is absent. Undefined content if the
   * message's type has fewer spans.
   * @param word twice the index of the span, plus 1 for its end
   */
  spanWord(index: number, word: number): number {
    const address = this.#spans[index * this.#spanWords + word] ?? 0;
    return address === 0 ? 0 : address - this.#readSlot(SLOT.SHIFT);
  }

  /** Returns and clears `activeJobs` of the latest heartbeat among them; {@link NO_HEARTBEAT} if there was none. */
  takeActiveJobs(): number {
    const count = this.#readSlot(SLOT.ACTIVE_JOBS);
    this.#words[SLOT.ACTIVE_JOBS / WORD] = NO_HEARTBEAT;
    return count;
  }

  #readSlot(address: number): number {
    return this.#words[address / WORD] ?? 0;
  }
}
