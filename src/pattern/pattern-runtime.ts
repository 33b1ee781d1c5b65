// Runs the compiled patterns: holds the memory that text is copied into, the table of pattern functions, and
// the lists of which to try. Knows nothing of schemas.

import type { JobSeed } from '../messages/job-key.js';
import type { Framing } from '../wire/framing.js';
import {
  BUCKETS,
  ENTRY,
  MATCH,
  MAX_EXAMPLE,
  type MemoryMap,
  memoryMap,
  NO_HEARTBEAT,
  PADDING,
  PAGE,
  SLOT,
  STOP,
} from './memory-layout.js';
import { COMPACT_HEAD, generateDriver, SPACED_HEAD } from './scan-loop.js';

export interface RuntimeOptions {
  readonly framing: Framing;
  readonly delimiter: number;
  readonly maxMessageSize: number;
  /** Names of the message types that there can be patterns of. */
  readonly names: readonly string[];
  /** Patterns that there can be at a time. */
  readonly maxPatterns: number;
  /** Whether a timestamp is neither too old nor in the future. */
  readonly isTimely: ((timestamp: string) => boolean) | undefined;
  /** Of the job ids' keys. */
  readonly jobSeed: JobSeed;
  /** Where the scans are counted from, for tests; default 0. */
  readonly firstScan?: number | undefined;
}

/** A pattern in the machine. */
export interface Pattern {
  /** Its number in the table of functions. */
  readonly number: number;
  readonly bucket: number;
  readonly typeIndex: number;
}

/** A pattern on a list. */
interface Entry {
  /** Its address. */
  readonly at: number;
  readonly number: number;
  readonly lastScan: number;
}

type Match = (address: number) => number;
type Scan = (address: number, end: number) => number;

const WORD = Uint32Array.BYTES_PER_ELEMENT;
/** The greatest number of a scan. A worker gets there after some days at full load. */
const MAX_SCAN = 0xffff_ffff;

export class PatternRuntime {
  readonly #map: MemoryMap;
  readonly #memory: WebAssembly.Memory;
  readonly #table: WebAssembly.Table;
  readonly #scan: Scan;
  readonly #isTimely: (start: number, end: number) => number;
  readonly #keyOffset: number;
  readonly #lists = new Map<number, Pattern[]>();
  /** Numbers in the table that are free again. */
  readonly #freeNumbers: number[] = [];
  #bytes: Buffer;
  #words: Uint32Array;
  /** Where the copied text ends, and what to add to an offset in it for its address. */
  #textEnd = 0;
  #shift = 0;
  /** The number of the latest scan, of 32 bits as memory holds it. */
  #scans: number;

  /** @throws WebAssembly.CompileError where the processor lacks 128-bit instructions */
  constructor(options: RuntimeOptions) {
    const { framing, delimiter, maxMessageSize, names, maxPatterns, isTimely, jobSeed } = options;
    const { firstScan = 0 } = options;
    this.#scans = firstScan;
    this.#map = memoryMap(maxPatterns);
    this.#keyOffset = keyOffsetOf(names);
    this.#memory = new WebAssembly.Memory({ initial: Math.ceil((this.#map.text + PAGE + PADDING) / PAGE) });
    this.#table = new WebAssembly.Table({ element: 'anyfunc', initial: 1 });
    this.#bytes = Buffer.from(this.#memory.buffer);
    this.#words = new Uint32Array(this.#memory.buffer);
    this.#isTimely = (start, end) =>
      isTimely?.(this.#bytes.toString('latin1', start, end)) === false ? 0 : 1;
    const settings = { framing, delimiter, maxMessageSize, keyOffset: this.#keyOffset, jobSeed };
    this.#scan = this.#instantiate<Scan>(generateDriver(this.#map, settings), 'scan');
    this.#words.fill(this.#map.lists, this.#map.buckets / WORD, this.#map.buckets / WORD + BUCKETS.COUNT);
    this.#words[SLOT.ACTIVE_JOBS / WORD] = NO_HEARTBEAT;
  }

  /** The latest scan's matches: {@link MATCH} numbers each. */
  get matches(): Uint32Array {
    const from = this.#map.matches / WORD;
    return this.#words.subarray(from, from + this.#slot(SLOT.MATCHES) * MATCH.SIZE);
  }

  /** What to subtract from the addresses in {@link matches} for offsets in the bytes that were loaded. */
  get shift(): number {
    return this.#shift;
  }

  /** Delimiters that the latest scan has passed. */
  get lines(): number {
    return this.#slot(SLOT.LINES);
  }

  /** Whether the latest scan has stopped only for lack of room: then it can go on where it was. */
  get isInterrupted(): boolean {
    return this.#slot(SLOT.STOP) !== STOP.UNKNOWN;
  }

  /** `activeJobs` of the latest heartbeat since somebody has last asked, or {@link NO_HEARTBEAT}. */
  takeActiveJobs(): number {
    const count = this.#slot(SLOT.ACTIVE_JOBS);
    this.#words[SLOT.ACTIVE_JOBS / WORD] = NO_HEARTBEAT;
    return count;
  }

  /**
   * Adds a pattern of a message type.
   * @param head what every message begins with, up to its first value
   * @returns `undefined` where it is too large for WebAssembly
   */
  add(
    code: Uint8Array<ArrayBuffer>,
    type: { name: string; index: number },
    head: string,
  ): Pattern | undefined {
    const match = this.#tryInstantiate(code);
    if (match === undefined) return undefined;
    const number = this.#freeNumbers.pop() ?? this.#table.grow(1);
    this.#table.set(number, match);
    const pattern = { number, typeIndex: type.index, bucket: this.#bucketOf(type.name, head) };
    this.#rewriteLists(() => {
      const list = this.#lists.get(pattern.bucket) ?? [];
      this.#lists.set(pattern.bucket, [...list, pattern]);
    });
    return pattern;
  }

  remove(pattern: Pattern): void {
    this.#rewriteLists(() => {
      const list = this.#lists.get(pattern.bucket) ?? [];
      this.#lists.set(
        pattern.bucket,
        list.filter((other) => other !== pattern),
      );
    });
    this.#table.set(pattern.number, null);
    this.#freeNumbers.push(pattern.number);
  }

  /** When a pattern has last matched: the later, the greater. 0: not since it was added or forgotten. */
  lastMatch(pattern: Pattern): number {
    return this.#entries().find(({ number }) => number === pattern.number)?.lastScan ?? 0;
  }

  /** Forgets when a pattern has last matched. */
  forgetMatch(pattern: Pattern): void {
    const entry = this.#entries().find(({ number }) => number === pattern.number);
    if (entry !== undefined) this.#words[(entry.at + ENTRY.LAST_SCAN) / WORD] = 0;
  }

  /** Whether a pattern takes exactly this text. Leaves what was loaded as it is. */
  takes(pattern: Pattern, text: Buffer): boolean {
    if (text.length > MAX_EXAMPLE) return false;
    const start = this.#map.example;
    const end = start + text.length;
    this.#bytes.set(text, start);
    this.#bytes.fill(0, end, end + PADDING);
    const match = this.#table.get(pattern.number) as Match;
    return match(start) === end;
  }

  /** Copies `bytes[from, to)`, to be scanned: valid UTF-8. */
  load(bytes: Buffer, from: number, to: number): void {
    const { text } = this.#map;
    this.#textEnd = text + to - from;
    this.#shift = text - from;
    const missing = this.#textEnd + PADDING - this.#bytes.length;
    if (missing > 0) {
      this.#memory.grow(Math.ceil(missing / PAGE));
      this.#bytes = Buffer.from(this.#memory.buffer);
      this.#words = new Uint32Array(this.#memory.buffer);
    }
    // Copies natively: 0.013 ns a byte, where `set` takes 0.034 from shared memory (0.036 and 0.067 from beyond the cache).
    this.#bytes.fill(bytes.subarray(from, to), text, this.#textEnd);
    this.#bytes.fill(0, this.#textEnd, this.#textEnd + PADDING);
    // Nobody may have asked for what was matched before.
    this.#words[SLOT.ACTIVE_JOBS / WORD] = NO_HEARTBEAT;
  }

  /**
   * Takes messages from `from` on, as far as patterns know them.
   * @param from an offset in the bytes that were loaded
   * @returns the offset of the first message that is not taken
   */
  scan(from: number): number {
    if (this.#scans === MAX_SCAN) this.#renumberScans();
    this.#scans++;
    this.#words[SLOT.LAST_SCAN / WORD] = this.#scans;
    return this.#scan(from + this.#shift, this.#textEnd) - this.#shift;
  }

  #slot(address: number): number {
    return this.#words[address / WORD] ?? 0;
  }

  #tryInstantiate(code: Uint8Array<ArrayBuffer>): Match | undefined {
    try {
      return this.#instantiate<Match>(code, 'match');
    } catch (error) {
      if (error instanceof WebAssembly.CompileError) return undefined;
      throw error;
    }
  }

  #instantiate<F>(code: Uint8Array<ArrayBuffer>, name: string): F {
    const env = { memory: this.#memory, table: this.#table, isTimely: this.#isTimely };
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(code), { env });
    // The generated modules export functions of i32, as their types here say.
    return exports[name] as F;
  }

  #bucketOf(name: string, head: string): number {
    const code = name.charCodeAt(this.#keyOffset);
    if (head === COMPACT_HEAD) return BUCKETS.COMPACT + code;
    return head === SPACED_HEAD ? BUCKETS.SPACED + code : BUCKETS.OTHERS;
  }

  /** Numbers the scans in which patterns have last matched anew, from 1 and in the same order. */
  #renumberScans(): void {
    const matched = this.#entries().filter(({ lastScan }) => lastScan > 0);
    const lastScans = [...new Set(matched.map(({ lastScan }) => lastScan))].sort((a, b) => a - b);
    for (const { at, lastScan } of matched) {
      this.#words[(at + ENTRY.LAST_SCAN) / WORD] = lastScans.indexOf(lastScan) + 1;
    }
    this.#scans = lastScans.length;
  }

  /** Everything on the lists, in the order in which it is tried now. */
  #entries(): Entry[] {
    const entries: Entry[] = [];
    for (const [bucket, list] of this.#lists) {
      let at = this.#slot(this.#map.buckets + bucket * WORD);
      for (const _ of list) {
        const [number, lastScan] = [this.#slot(at + ENTRY.FUNCTION), this.#slot(at + ENTRY.LAST_SCAN)];
        entries.push({ at, number, lastScan });
        at += ENTRY.SIZE;
      }
    }
    return entries;
  }

  /** Writes all lists anew after a change. Each keeps the order that it has come to. */
  #rewriteLists(change: () => void): void {
    const before = this.#entries();
    const lastScans = new Map(before.map(({ number, lastScan }) => [number, lastScan]));
    const places = new Map(before.map(({ number }, index) => [number, index]));
    const placeOf = ({ number }: Pattern) => places.get(number) ?? Number.POSITIVE_INFINITY;
    change();
    let at = this.#map.lists + ENTRY.SIZE;
    for (const [bucket, list] of this.#lists) {
      this.#words[this.#map.buckets / WORD + bucket] = at;
      for (const pattern of [...list].sort((a, b) => placeOf(a) - placeOf(b))) {
        this.#words.set([pattern.number, pattern.typeIndex, lastScans.get(pattern.number) ?? 0], at / WORD);
        at += ENTRY.SIZE;
      }
      this.#words.fill(0, at / WORD, (at + ENTRY.SIZE) / WORD);
      at += ENTRY.SIZE;
    }
  }
}

/** The offset into the names at which the fewest share a character. */
function keyOffsetOf(names: readonly string[]): number {
  let best = { offset: 0, shared: names.length };
  const shortest = Math.min(...names.map(({ length }) => length), 64);
  for (let offset = 0; offset < shortest; offset++) {
    const counts = new Map<string | undefined, number>();
    for (const name of names) counts.set(name[offset], (counts.get(name[offset]) ?? 0) + 1);
    const shared = Math.max(...counts.values());
    if (shared < best.shared) best = { offset, shared };
  }
  return best.offset;
}
