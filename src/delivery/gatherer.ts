// Copies messages of a run into one buffer. Each call that copies from one buffer to another costs 0.2 to 0.5 µs, more than
// a message of average size takes to copy; within one buffer, 0.05 µs. So a run is first copied as a whole to memory where
// its messages are put together.

import { copyBytes } from '../memory/copy-bytes.js';
import type { CopyMemory } from '../memory/copy-pool.js';
import {
  type MessageRun,
  metaPrefix,
  metaSequence,
  type RunGatherer,
  type Selection,
  WITH_META,
} from './frame-run.js';
import type { Piece } from './outbox.js';

/** Size in bytes of the memory for a run, and of that for its messages. What is larger is copied message by message. */
const RUN_BYTES = 512 * 1024;
const OUTPUT_BYTES = 1024 * 1024;
/** Up to this many bytes of a run for each selected message, copying the run as a whole takes less time. */
const MAX_BYTES_PER_MESSAGE = 1500;
/** Copies are several times as fast if source and target are aligned alike: the size of a cache line. */
const ALIGNMENT = 64;

const CLOSE_BRACE = 0x7d;
const ZERO = 0x30;
/** Length of what follows the last number of {@link metaSequence}, and of what precedes an offset. */
const SEQUENCE_END = metaSequence(0).length - 1;
const OFFSET_START = metaSequence(0, 0).length - metaSequence(0).length - 1;

/** Where the messages of a run are copied from, and to. */
interface CopyRange {
  readonly source: Buffer;
  /** Subtracted from the offsets of messages. */
  readonly shift: number;
  readonly target: Buffer;
  readonly at: number;
}

export class Gatherer implements RunGatherer {
  readonly #copies: CopyMemory;
  #memory: Buffer | undefined;
  /** The run in {@link #memory}, and the offset of its first byte there. */
  #run: MessageRun | undefined;
  #shift = 0;

  /** @param copies memory for the results */
  constructor(copies: CopyMemory) {
    this.#copies = copies;
  }

  gather(run: MessageRun, selection: Selection | undefined, selected: number): Piece {
    const messages = selection?.count ?? run.count;
    const prefix = new Prefix(run);
    const size = gatheredSize(run, selection, prefix);
    const { bytes, slab } = this.#copies.take(size);
    const memory = this.#load(run, size, selected);
    if (memory === undefined)
      write(run, selection, prefix, { source: run.memory, shift: 0, target: bytes, at: 0 });
    else {
      write(run, selection, prefix, { source: memory, shift: this.#shift, target: memory, at: RUN_BYTES });
      copyBytes(memory, RUN_BYTES, RUN_BYTES + size, bytes, 0);
    }
    return { bytes, slab, messages };
  }

  /** Call at the end of an event-loop turn, when all pieces of the turn are queued. */
  endTurn(): void {
    this.#run = undefined;
    this.#copies.endTurn();
  }

  /** Copies a run to the memory where its messages are put together, unless they should be copied one by one. */
  #load(run: MessageRun, size: number, selected: number): Buffer | undefined {
    if (size > OUTPUT_BYTES) return undefined;
    if (this.#run === run) return this.#memory;
    const start = run.start(0);
    const end = run.end(run.count - 1) + (run.isUndelimited ? 0 : 1);
    const from = start - (start % ALIGNMENT);
    if (end - from > RUN_BYTES || end - from > selected * MAX_BYTES_PER_MESSAGE) return undefined;
    this.#memory ??= Buffer.allocUnsafeSlow(RUN_BYTES + OUTPUT_BYTES);
    copyBytes(run.memory, from, end, this.#memory, 0);
    this.#run = run;
    this.#shift = from;
    return this.#memory;
  }
}

function gatheredSize(run: MessageRun, selection: Selection | undefined, prefix: Prefix): number {
  const messages = selection?.count ?? run.count;
  let size = 0;
  for (let at = 0; at < messages; at++) {
    const index = selection?.index(at) ?? at;
    size += run.end(index) - run.start(index) + 1;
    if (selection?.mark(at) === WITH_META) size += prefix.length(index) + 1;
  }
  return size;
}

/** Writes the selected messages (all, if there is no selection), with `meta` and delimiters. */
function write(
  run: MessageRun,
  selection: Selection | undefined,
  prefix: Prefix,
  { source, shift, target, at }: CopyRange,
): void {
  const messages = selection?.count ?? run.count;
  let end = at;
  // Messages that follow each other are copied together, with their delimiters: `[from, to)` is still to be copied.
  let [from, to] = [0, 0];
  for (let message = 0; message < messages; message++) {
    const index = selection?.index(message) ?? message;
    const isWithMeta = selection?.mark(message) === WITH_META;
    const start = run.start(index) - shift;
    if (isWithMeta || run.isUndelimited || start !== to) {
      end += copyBytes(source, from, to, target, end);
      [from, to] = [start, start];
    }
    to = run.end(index) - shift + 1;
    if (!isWithMeta && !run.isUndelimited) continue;
    if (isWithMeta) end += prefix.write(index, target, end);
    end += copyBytes(source, start, to - 1, target, end);
    if (isWithMeta) target[end++] = CLOSE_BRACE;
    target[end++] = run.delimiter;
    from = to;
  }
  copyBytes(source, from, to, target, end);
}

/** What precedes the messages of a piece that have `meta`. */
class Prefix {
  readonly #run: MessageRun;
  #head = '';
  /** Where the latest one is, its length, and the index of its message. */
  #at = 0;
  #length = 0;
  #index = 0;

  constructor(run: MessageRun) {
    this.#run = run;
  }

  /** Number of bytes. */
  length(index: number): number {
    const { sender, firstSequence, firstOffset } = this.#run;
    this.#head ||= metaPrefix(sender);
    const length = this.#head.length + digitsOf(firstSequence + index) + SEQUENCE_END;
    return firstOffset === undefined ? length : length + OFFSET_START + digitsOf(firstOffset + index);
  }

  /**
   * @param target always the same one
   * @returns the number of bytes
   */
  write(index: number, target: Buffer, at: number): number {
    const { firstSequence, firstOffset } = this.#run;
    const sequence = firstSequence + index;
    const offset = firstOffset === undefined ? undefined : firstOffset + index;
    const length = this.length(index);
    // Numbers only increase: if the length is the same, both have as many digits as before.
    if (length === this.#length) {
      copyBytes(target, this.#at, this.#at + length, target, at);
      const amount = index - this.#index;
      add(target, at + this.#head.length + digitsOf(sequence), amount);
      if (offset !== undefined) add(target, at + length - SEQUENCE_END, amount);
    } else target.write(this.#head + metaSequence(sequence, offset), at, 'latin1');
    this.#at = at;
    this.#length = length;
    this.#index = index;
    return length;
  }
}

/** Number of decimal digits. */
function digitsOf(number: number): number {
  let digits = 1;
  for (let limit = 10; number >= limit; limit *= 10) digits++;
  return digits;
}

/** Adds to the decimal number that ends before `end`, digit by digit: nearly always, only the last one changes. */
function add(bytes: Buffer, end: number, amount: number): void {
  let carry = amount;
  for (let at = end - 1; carry > 0; at--) {
    const sum = (bytes[at] ?? 0) - ZERO + carry;
    carry = Math.floor(sum / 10);
    bytes[at] = ZERO + sum - carry * 10;
  }
}
