// Reads the results of a scan from the memory that the generated code writes them to.

import { MATCH, MAX_MATCHES, NO_HEARTBEAT, SLOT, SPAN, STOP } from './memory-layout.js';

const WORD = Uint32Array.BYTES_PER_ELEMENT;
const NO_WORDS = new Uint32Array(0);

/** Consecutive valid messages that patterns have matched. Valid until the next scan. */
export class Matches {
  /** Offset after the last message and its delimiter. */
  scanEnd = 0;
  #words: Uint32Array = NO_WORDS;
  #records: Uint32Array = NO_WORDS;
  #spans: Uint32Array = NO_WORDS;
  readonly #spanWords: number;
  #shift = 0;

  /** @param maxSpans number of spans of each match */
  constructor(maxSpans: number) {
    this.#spanWords = maxSpans * SPAN.SIZE;
  }

  /**
   * Sets where to read from. Called when a text has been loaded.
   * @param words the memory
   * @param address of the first record
   * @param spans address of the first span
   * @param shift the difference between addresses and offsets in the loaded bytes
   */
  reset(words: Uint32Array, address: number, spans: number, shift: number): void {
    this.#shift = shift;
    if (words === this.#words) return;
    this.#words = words;
    this.#records = words.subarray(address / WORD, address / WORD + MAX_MATCHES * MATCH.SIZE);
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
    return (this.#records[index * MATCH.SIZE + MATCH.START] ?? 0) - this.#shift;
  }

  /** Offset after a message, without its delimiter. */
  end(index: number): number {
    return (this.#records[index * MATCH.SIZE + MATCH.END] ?? 0) - this.#shift;
  }

  /** Index of a message's type in the registry. */
  typeIndex(index: number): number {
    return this.#records[index * MATCH.SIZE + MATCH.TYPE] ?? 0;
  }

  /** The lower half of the key of a message's job; 0 if the message has no job. */
  jobLow(index: number): number {
    return this.#records[index * MATCH.SIZE + MATCH.JOB_LOW] ?? 0;
  }

  /** The upper half of the key of a message's job; 0 if and only if the message has no job. */
  jobHigh(index: number): number {
    return this.#records[index * MATCH.SIZE + MATCH.JOB_HIGH] ?? 0;
  }

  /**
   * Start or end of a span of a message in the loaded bytes; 0 if the member is absent. Undefined content if the
   * message's type has fewer spans.
   * @param word twice the index of the span, plus 1 for its end
   */
  spanWord(index: number, word: number): number {
    const address = this.#spans[index * this.#spanWords + word] ?? 0;
    return address === 0 ? 0 : address - this.#shift;
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
