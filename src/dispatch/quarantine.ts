// Where messages go that have made a worker fail, and what else their connections send for a while: to a worker that does
// nothing else, while all others go on. A message that fails here too, all by itself, is given up.

import { messageEnds } from '../protocol/framing.js';
import type { Chunk } from './lane.js';
import type { Verdict } from './verdict.js';
import type { Place } from './watchdog.js';
import { BatchFailure, type WorkerOptions, WorkerPool, type WorkerPoolOptions } from './worker-pool.js';

export interface QuarantineEvents {
  /** A chunk has its verdict. */
  onVerdict(chunk: Chunk, verdict: Verdict): void;
  /** The chunk is one message, and it has made a worker fail twice. */
  onHopeless(chunk: Chunk): void;
  /** Nothing is in quarantine any more. */
  onEmpty(): void;
}

export class Quarantine {
  readonly #settings: WorkerOptions;
  readonly #createPool: () => WorkerPool;
  readonly #events: QuarantineEvents;
  readonly #onError: (error: unknown) => void;
  #pool: WorkerPool | undefined;
  /** Chunks that may well be innocent: they come first. */
  #queue: Chunk[] = [];
  /** Messages that have made a worker fail. */
  #suspects: Chunk[] = [];
  #isWorking = false;
  #closed = false;

  constructor(options: WorkerPoolOptions, events: QuarantineEvents) {
    this.#settings = options.settings;
    this.#onError = options.onError;
    this.#events = events;
    this.#createPool = () => new WorkerPool({ ...options, threads: 1, concurrentTasksPerWorker: 1 });
  }

  /** Chunks that wait, or are being looked at. */
  get size(): number {
    return this.#queue.length + this.#suspects.length + (this.#isWorking ? 1 : 0);
  }

  /** Takes chunks of which nobody knows whether they make workers fail. */
  add(chunks: readonly Chunk[]): void {
    for (const chunk of chunks) this.#queue.push(chunk);
    if (!this.#isWorking) void this.#work();
  }

  /** Takes a chunk with which a worker has failed: the message that it was at comes last, the others before it. */
  addFailed(chunk: Chunk, place: Place): void {
    if (place.range === undefined || place.start === place.end) return this.add([chunk]);
    const { suspect, others } = this.#isolate(chunk, place);
    this.#suspects.push(suspect);
    this.add(others);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#pool?.close();
  }

  async #work(): Promise<void> {
    this.#isWorking = true;
    while (!this.#closed) {
      const chunk = this.#queue.shift();
      const suspect = chunk === undefined ? this.#suspects.shift() : undefined;
      if ((chunk ?? suspect)?.failed) continue;
      if (chunk !== undefined) await this.#examine(chunk);
      else if (suspect !== undefined) await this.#examineSuspect(suspect);
      else break;
    }
    this.#isWorking = false;
    this.#events.onEmpty();
  }

  async #examine(chunk: Chunk): Promise<void> {
    try {
      this.#events.onVerdict(chunk, await this.#openPool().run([chunk]));
    } catch (error) {
      if (this.#closed || chunk.failed) return;
      const place = error instanceof BatchFailure ? error.place : undefined;
      if (place?.range === undefined || place.start === place.end) this.#split(chunk);
      else this.addFailed(chunk, place);
      this.#onError(error);
    }
  }

  /** The second time: alone, and with all the time that a message may take. */
  async #examineSuspect(chunk: Chunk): Promise<void> {
    try {
      this.#events.onVerdict(chunk, await this.#openPool().run([chunk], true));
    } catch (error) {
      if (this.#closed || chunk.failed) return;
      this.#events.onHopeless(chunk);
      this.#onError(error);
    }
  }

  /** Made when it is first needed. That it cannot start says nothing of the chunk, which waits for it. */
  #openPool(): WorkerPool {
    if (this.#pool === undefined) {
      this.#pool = this.#createPool();
      this.#pool.open();
    }
    return this.#pool;
  }

  /** Cuts the message at a place out of its chunk, with its delimiter. */
  #isolate(chunk: Chunk, { start, end }: Place): { suspect: Chunk; others: Chunk[] } {
    const { lane, slab } = chunk;
    const others: Chunk[] = [];
    let suspect = chunk;
    if (start > suspect.start) {
      const [before, rest] = lane.split(suspect, start);
      others.push(before);
      suspect = rest;
    }
    const next = slab.arena.bytes[end] === this.#settings.delimiter ? end + 1 : end;
    if (next < suspect.end) {
      const [message, after] = lane.split(suspect, next);
      others.push(after);
      suspect = message;
    }
    return { suspect, others };
  }

  /** Cuts a chunk in two where nobody knows which of its messages is bad. */
  #split(chunk: Chunk): void {
    const { framing, delimiter } = this.#settings;
    const ends = messageEnds(chunk.slab.arena.bytes, chunk.start, chunk.end, framing, delimiter);
    const middle = ends[Math.floor((ends.length - 1) / 2)];
    if (middle !== undefined && middle < chunk.end) this.#queue.unshift(...chunk.lane.split(chunk, middle));
    // The worker may have died late, of the chunk before: the next one is fresh.
    else this.#suspects.push(chunk);
  }
}
