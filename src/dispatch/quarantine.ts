// Quarantine for messages that made a worker fail, and for further messages of their connections for a while. They are
// validated by a dedicated worker, so that the other workers are not affected. A message that also fails here, on its
// own, is a poison message.

import { Backoff } from '../backoff.js';
import { Fifo } from '../fifo.js';
import type { FrameRange } from '../memory/slab-pool.js';
import { messageEnds } from '../wire/framing.js';
import { Chunk, type Lane } from './lane.js';
import type { ValidationPool } from './local-pool.js';
import type { ParserSettings, Verdict } from './verdict.js';
import type { BatchPosition } from './watchdog.js';
import type { BatchFailure, WorkerPoolOptions } from './worker-pool.js';

/** What the quarantine needs of its dispatcher. */
export interface QuarantineContext {
  createPool(
    overrides: Pick<WorkerPoolOptions, 'threads' | 'concurrentTasksPerWorker' | 'isBackground'>,
  ): ValidationPool;
  /** A chunk has its verdict. */
  onVerdict(chunk: Chunk, verdict: Verdict): void;
  /** The chunk is a single message that has made a worker fail twice. */
  onPoisonMessage(chunk: Chunk): void;
  /** The chunk waited because its connection has sent a poison message, and {@link Quarantine.drain} ended the wait. */
  onAbandoned(chunk: Chunk): void;
  /** The worker has finished, and nothing is ready to be validated. */
  onIdle(): void;
}

export interface QuarantineOptions extends Pick<WorkerPoolOptions, 'settings' | 'validationTimeout'> {
  readonly onWorkerError: (error: unknown) => void;
}

/** A connection that has sent a poison message. */
interface Offender {
  /** Delays for its suspects. */
  readonly backoff: Backoff;
  /** Earliest time at which its next suspect may be validated, in ms of the monotonic clock. */
  readonly notBefore: number;
}

/**
 * Exponential back-off of a connection after each of its poison messages, in units of `validationTimeout`: by default 2
 * to 60 s. Each poison message costs a worker, which takes 0.3 s of processor time to start. The connection is not
 * closed instead, because its peer would reconnect and no longer be a suspect.
 */
const [MIN_PAUSE, MAX_PAUSE] = [0.4, 12];
/** Used if `validationTimeout` is 0, in ms. */
const UNLIMITED_TIMEOUT = 5000;
/** With up to this many connections in quarantine, a suspect may take all of `validationTimeout`. */
const FEW_CONNECTIONS = 8;
/** Time after which a connection's back-off is reset, in ms. */
const BACKOFF_RESET_AFTER = 120_000;

export class Quarantine {
  readonly #settings: ParserSettings;
  readonly #timeout: number;
  readonly #context: QuarantineContext;
  readonly #onError: (error: unknown) => void;
  #pool: ValidationPool | undefined;
  /**
   * Waiting chunks by connection, in order, because a chunk cannot be settled before earlier ones of its connection.
   */
  readonly #waiting = new Map<Lane, Fifo<Chunk>>();
  /** Messages that have made a worker fail. */
  readonly #suspects = new WeakSet<Chunk>();
  /** Connections that have sent a poison message: their next suspect has to wait, and gets only the short timeout. */
  readonly #offenders = new WeakMap<Lane, Offender>();
  #wakeTimer: NodeJS.Timeout | undefined;
  #isWorking = false;
  #isDraining = false;
  #closed = false;

  constructor(options: QuarantineOptions, context: QuarantineContext) {
    this.#settings = options.settings;
    this.#onError = options.onWorkerError;
    this.#timeout = options.validationTimeout || UNLIMITED_TIMEOUT;
    this.#context = context;
  }

  /** Number of connections with waiting chunks. */
  get connections(): number {
    return this.#waiting.size;
  }

  /** Whether no chunk is waiting or being validated. */
  get isEmpty(): boolean {
    return this.#waiting.size === 0 && !this.#isWorking;
  }

  /** Adds received messages to the connection's last waiting chunk, or as a new chunk. */
  submit(lane: Lane, range: FrameRange, now: number): void {
    const last = this.#waiting.get(lane)?.peekLast();
    // A suspect is a single message. One that has failed is settled.
    const canGrow = last !== undefined && !last.failed && !this.#suspects.has(last);
    if (canGrow && last.extend(range)) return;
    const chunk = new Chunk(lane, range, now);
    lane.push(chunk);
    this.add([chunk]);
  }

  /** Adds chunks that are not known to make workers fail. */
  add(chunks: readonly Chunk[]): void {
    for (const chunk of chunks) this.#waitingOf(chunk.lane).push(chunk);
    if (chunks.length > 0) this.#wake();
  }

  /** Adds a chunk that made a worker fail. It precedes later chunks of its connection. */
  addFailed(chunk: Chunk, position: BatchPosition): void {
    this.#waitingOf(chunk.lane).unshift(this.#cut(chunk, position));
    this.#wake();
  }

  #waitingOf(lane: Lane): Fifo<Chunk> {
    let chunks = this.#waiting.get(lane);
    if (chunks === undefined) {
      chunks = new Fifo();
      this.#waiting.set(lane, chunks);
    }
    return chunks;
  }

  /** From now on, a chunk that would have to wait for the back-off of its connection is abandoned instead. */
  drain(): void {
    this.#isDraining = true;
    this.#wake();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#wakeTimer);
    await this.#pool?.close();
  }

  #wake(): void {
    if (!this.#isWorking) void this.#work();
  }

  async #work(): Promise<void> {
    this.#isWorking = true;
    for (let chunk = this.#next(); chunk !== undefined && !this.#closed; chunk = this.#next()) {
      if (chunk.failed) continue;
      if (this.#notBefore(chunk) > performance.now()) this.#context.onAbandoned(chunk);
      else await this.#examine(chunk);
    }
    this.#isWorking = false;
    this.#context.onIdle();
  }

  /**
   * Of the first chunks of all connections: preferably one that is not a suspect, or else a suspect that need not wait.
   */
  #next(): Chunk | undefined {
    const now = performance.now();
    let next: Chunk | undefined;
    let wakeAt = Number.POSITIVE_INFINITY;
    for (const chunks of this.#waiting.values()) {
      const first = chunks.peek();
      if (first === undefined) continue;
      const notBefore = this.#notBefore(first);
      if (notBefore > now && !this.#isDraining) {
        wakeAt = Math.min(wakeAt, notBefore);
        continue;
      }
      next ??= first;
      if (this.#suspects.has(first)) continue;
      next = first;
      break;
    }
    if (next === undefined) {
      this.#sleep(wakeAt - now);
      return undefined;
    }
    const { lane } = next;
    const chunks = this.#waitingOf(lane);
    chunks.shift();
    // Its connection goes to the end, so that connections take turns.
    this.#waiting.delete(lane);
    if (chunks.length > 0) this.#waiting.set(lane, chunks);
    return next;
  }

  /** Earliest time at which a chunk may be validated, in ms of the monotonic clock. */
  #notBefore({ failed, lane }: Chunk): number {
    return failed ? 0 : (this.#offenders.get(lane)?.notBefore ?? 0);
  }

  /** @param duration ms until a suspect may be validated; infinite if there is none */
  #sleep(duration: number): void {
    clearTimeout(this.#wakeTimer);
    if (duration < Number.POSITIVE_INFINITY)
      this.#wakeTimer = setTimeout(() => this.#wake(), Math.ceil(duration));
  }

  /**
   * Validates a chunk. A suspect is a single message, and gets the long timeout unless its connection is an offender.
   */
  async #examine(chunk: Chunk): Promise<void> {
    const isSuspect = this.#suspects.has(chunk);
    let verdict: Verdict;
    try {
      const isFirstSuspect = isSuspect && !this.#offenders.has(chunk.lane);
      verdict = await this.#openPool().run([chunk], isFirstSuspect ? this.#suspectTimeout : undefined);
    } catch (error) {
      if (this.#closed || chunk.failed) return;
      if (isSuspect) {
        this.#slowDown(chunk.lane);
        this.#context.onPoisonMessage(chunk);
      } else this.addFailed(chunk, positionOf(error) ?? UNKNOWN_POSITION);
      this.#onError(error);
      return;
    }
    this.#context.onVerdict(chunk, verdict);
  }

  /** ms that a suspect may take. Many waiting connections share the time. */
  get #suspectTimeout(): number {
    return this.#timeout / Math.max(1, this.#waiting.size / FEW_CONNECTIONS);
  }

  #slowDown(lane: Lane): void {
    const now = performance.now();
    const before = this.#offenders.get(lane);
    const isReset = before === undefined || now - before.notBefore > BACKOFF_RESET_AFTER;
    const delays = { initialDelay: MIN_PAUSE * this.#timeout, maxDelay: MAX_PAUSE * this.#timeout };
    const backoff = isReset ? new Backoff(delays) : before.backoff;
    this.#offenders.set(lane, { backoff, notBefore: now + backoff.next() });
  }

  /** Created on first use. A failure to start is not the fault of the chunk, which waits until the pool runs. */
  #openPool(): ValidationPool {
    if (this.#pool === undefined) {
      this.#pool = this.#context.createPool({ threads: 1, concurrentTasksPerWorker: 1, isBackground: true });
      this.#pool.open();
    }
    return this.#pool;
  }

  /** Splits a chunk around the message that made the worker fail, or into halves if that message is not known. */
  #cut(chunk: Chunk, { range, start, end }: BatchPosition): Chunk[] {
    const { lane, slab } = chunk;
    const { framing, delimiter } = this.#settings;
    const { bytes } = slab.arena;
    // Patterns may have read several at once.
    const isSingle = () => (messageEnds(bytes, start, end, framing, delimiter, 1)[0] ?? end) === end;
    if (range === undefined || start === end || !isSingle()) {
      const ends = messageEnds(bytes, chunk.start, chunk.end, framing, delimiter);
      const middle = ends[Math.floor((ends.length - 1) / 2)];
      if (middle !== undefined && middle < chunk.end) return lane.split(chunk, middle);
      // A single message. The worker may have failed late because of the previous chunk: the next attempt uses a new
      // one.
      this.#suspects.add(chunk);
      return [chunk];
    }
    const parts: Chunk[] = [];
    let suspect = chunk;
    if (start > suspect.start) {
      const [before, rest] = lane.split(suspect, start);
      parts.push(before);
      suspect = rest;
    }
    // Including its delimiter.
    const next = bytes[end] === delimiter ? end + 1 : end;
    if (next < suspect.end) {
      const [message, after] = lane.split(suspect, next);
      parts.push(message, after);
      suspect = message;
    } else parts.push(suspect);
    this.#suspects.add(suspect);
    return parts;
  }
}

/** Position of a failure whose message is unknown. */
const UNKNOWN_POSITION: BatchPosition = { range: undefined, start: 0, end: 0 };

/** Where in its batch a worker failed. Not recognized by its class: the pool's code may be a copy outside of a bundle. */
export function positionOf(error: unknown): BatchPosition | undefined {
  return error instanceof Error ? (error as Partial<BatchFailure>).batchPosition : undefined;
}
