// Where chunks go whose batch made a worker fail. Each is validated by itself, in a worker that does nothing
// else, while all others go on. One that fails here too is cut in two, and again, until the one message is
// found that no worker survives; its neighbours get their verdicts.

import { messageEnds } from '../protocol/framing.js';
import type { Chunk } from './lane.js';
import type { Verdict } from './verdict.js';
import { type WorkerOptions, WorkerPool, type WorkerPoolOptions } from './worker-pool.js';

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
  /** Chunks of one message that have made a worker fail. */
  readonly #failedAlone = new WeakSet<Chunk>();
  #pool: WorkerPool | undefined;
  #queue: Chunk[] = [];
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
    return this.#queue.length + (this.#isWorking ? 1 : 0);
  }

  add(chunks: readonly Chunk[]): void {
    this.#queue.push(...chunks);
    if (!this.#isWorking) void this.#work();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#pool?.close();
  }

  async #work(): Promise<void> {
    this.#isWorking = true;
    while (!this.#closed) {
      const chunk = this.#queue.shift();
      if (chunk === undefined) break;
      await this.#examine(chunk);
    }
    this.#isWorking = false;
    this.#events.onEmpty();
  }

  async #examine(chunk: Chunk): Promise<void> {
    let verdict: Verdict;
    try {
      verdict = await this.#openPool().run([chunk]);
    } catch (error) {
      if (this.#closed) return;
      this.#split(chunk);
      this.#onError(error);
      return;
    }
    this.#events.onVerdict(chunk, verdict);
  }

  /** Made when it is first needed. That it cannot start says nothing of the chunk, which waits for it. */
  #openPool(): WorkerPool {
    if (this.#pool === undefined) {
      this.#pool = this.#createPool();
      this.#pool.open();
    }
    return this.#pool;
  }

  #split(chunk: Chunk): void {
    const { framing, delimiter } = this.#settings;
    const ends = messageEnds(chunk.slab.arena.bytes, chunk.start, chunk.end, framing, delimiter);
    const middle = ends[Math.floor((ends.length - 1) / 2)];
    if (middle !== undefined && middle < chunk.end) this.#queue.unshift(...chunk.lane.split(chunk, middle));
    else if (this.#failedAlone.has(chunk)) this.#events.onHopeless(chunk);
    else {
      // The worker may have died late, of the chunk before: the next one is fresh.
      this.#failedAlone.add(chunk);
      this.#queue.unshift(chunk);
    }
  }
}
