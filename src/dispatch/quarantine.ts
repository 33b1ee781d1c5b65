// Where messages go that have made a worker fail, and what else their connections send for a while: to a worker that does
// nothing else, while all others go on. A message that fails here too, all by itself, is given up.

import { Backoff } from '../backoff.js';
import { messageEnds } from '../wire/framing.js';
import type { Chunk, Lane } from './lane.js';
import type { ParserSettings, Verdict } from './verdict.js';
import type { Place } from './watchdog.js';
import { BatchFailure, WorkerPool, type WorkerPoolOptions } from './worker-pool.js';

export interface QuarantineEvents {
  /** A chunk has its verdict. */
  onVerdict(chunk: Chunk, verdict: Verdict): void;
  /** The chunk is one message, and it has made a worker fail twice. */
  onPoisonMessage(chunk: Chunk): void;
  /** Nothing is in quarantine any more. */
  onEmpty(): void;
}

/** A connection that has sent a message that makes workers fail. */
interface Offender {
  /** How long its suspects have to wait. */
  readonly backoff: Backoff;
  /** When its next suspect may be looked at, in ms of the monotonic clock. */
  readonly notBefore: number;
}

/**
 * How long a connection waits after each message of its that was given up, in units of `validationTimeout`: exponential,
 * by default 2 to 60 s. Each costs a worker, which takes 0.3 s of a processor to start; a connection that was closed would
 * come back unsuspected.
 */
const [MIN_PAUSE, MAX_PAUSE] = [0.4, 12];
/** In place of a `validationTimeout` of 0, in ms. */
const UNLIMITED_TIMEOUT = 5000;
/** Connections up to which a suspect has all of `validationTimeout`. */
const FEW_CONNECTIONS = 8;
/** ms after which a connection's pauses are short again. */
const FORGIVEN_AFTER = 120_000;

export class Quarantine {
  readonly #settings: ParserSettings;
  readonly #timeout: number;
  readonly #createPool: () => WorkerPool;
  readonly #events: QuarantineEvents;
  readonly #onError: (error: unknown) => void;
  #pool: WorkerPool | undefined;
  /** What waits, by connection, in order: nothing of one can be settled before what it sent earlier. */
  readonly #waiting = new Map<Lane, Chunk[]>();
  /** Messages that have made a worker fail. */
  readonly #suspects = new WeakSet<Chunk>();
  /** Connections of which messages were given up: the next suspect gets no more patience than it must, and waits. */
  readonly #offenders = new WeakMap<Lane, Offender>();
  #wakeTimer: NodeJS.Timeout | undefined;
  #isWorking = false;
  #closed = false;

  constructor(options: WorkerPoolOptions, events: QuarantineEvents) {
    this.#settings = options.settings;
    this.#onError = options.onError;
    this.#timeout = options.validationTimeout || UNLIMITED_TIMEOUT;
    this.#events = events;
    const own = { threads: 1, concurrentTasksPerWorker: 1, isBackground: true };
    this.#createPool = () => new WorkerPool({ ...options, ...own });
  }

  /** Connections of which something waits. */
  get connections(): number {
    return this.#waiting.size;
  }

  /** Whether nothing waits, and nothing is being looked at. */
  get isEmpty(): boolean {
    return this.#waiting.size === 0 && !this.#isWorking;
  }

  /** Takes chunks of which nobody knows whether they make workers fail. */
  add(chunks: readonly Chunk[]): void {
    for (const chunk of chunks) {
      const others = this.#waiting.get(chunk.lane);
      if (others === undefined) this.#waiting.set(chunk.lane, [chunk]);
      else others.push(chunk);
    }
    if (chunks.length > 0) this.#wake();
  }

  /** Takes a chunk with which a worker has failed. It comes before what its connection has sent since. */
  addFailed(chunk: Chunk, place: Place): void {
    const later = this.#waiting.get(chunk.lane) ?? [];
    this.#waiting.set(chunk.lane, [...this.#cut(chunk, place), ...later]);
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
      if (!chunk.failed) await this.#examine(chunk);
    }
    this.#isWorking = false;
    this.#events.onEmpty();
  }

  /** Of all that come first of their connections: one that may well be innocent, or else a suspect that need not wait. */
  #next(): Chunk | undefined {
    const now = performance.now();
    let next: Chunk | undefined;
    let wakeAt = Number.POSITIVE_INFINITY;
    for (const [first] of this.#waiting.values()) {
      if (first === undefined) continue;
      const notBefore = first.failed ? 0 : (this.#offenders.get(first.lane)?.notBefore ?? 0);
      if (notBefore > now) {
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
    const rest = this.#waiting.get(lane)?.slice(1) ?? [];
    // Behind all others: connections take turns.
    this.#waiting.delete(lane);
    if (rest.length > 0) this.#waiting.set(lane, rest);
    return next;
  }

  /** @param duration ms until a suspect may be looked at; infinite: there is none */
  #sleep(duration: number): void {
    clearTimeout(this.#wakeTimer);
    if (duration < Number.POSITIVE_INFINITY)
      this.#wakeTimer = setTimeout(() => this.#wake(), Math.ceil(duration));
  }

  /** A suspect is looked at alone, and where it is the first of its connection, with all the time that it may take. */
  async #examine(chunk: Chunk): Promise<void> {
    const isSuspect = this.#suspects.has(chunk);
    let verdict: Verdict;
    try {
      const isPatient = isSuspect && !this.#offenders.has(chunk.lane);
      verdict = await this.#openPool().run([chunk], isPatient ? this.#patience : undefined);
    } catch (error) {
      if (this.#closed || chunk.failed) return;
      if (isSuspect) {
        this.#slowDown(chunk.lane);
        this.#events.onPoisonMessage(chunk);
      } else this.addFailed(chunk, (error instanceof BatchFailure && error.place) || NOWHERE);
      this.#onError(error);
      return;
    }
    this.#events.onVerdict(chunk, verdict);
  }

  /** ms that a suspect may take: while many connections wait, they share the time. */
  get #patience(): number {
    return this.#timeout / Math.max(1, this.#waiting.size / FEW_CONNECTIONS);
  }

  #slowDown(lane: Lane): void {
    const now = performance.now();
    const before = this.#offenders.get(lane);
    const isForgiven = before === undefined || now - before.notBefore > FORGIVEN_AFTER;
    const delays = { initialDelay: MIN_PAUSE * this.#timeout, maxDelay: MAX_PAUSE * this.#timeout };
    const backoff = isForgiven ? new Backoff(delays) : before.backoff;
    this.#offenders.set(lane, { backoff, notBefore: now + backoff.next() });
  }

  /** Made when it is first needed. That it cannot start says nothing of the chunk, which waits for it. */
  #openPool(): WorkerPool {
    if (this.#pool === undefined) {
      this.#pool = this.#createPool();
      this.#pool.open();
    }
    return this.#pool;
  }

  /** Cuts a chunk: around the message that the worker was at, or in two, where nobody knows which of its messages is bad. */
  #cut(chunk: Chunk, { range, start, end }: Place): Chunk[] {
    const { lane, slab } = chunk;
    const { framing, delimiter } = this.#settings;
    if (range === undefined || start === end) {
      const ends = messageEnds(slab.arena.bytes, chunk.start, chunk.end, framing, delimiter);
      const middle = ends[Math.floor((ends.length - 1) / 2)];
      if (middle !== undefined && middle < chunk.end) return lane.split(chunk, middle);
      // One message. The worker may have died late, of the chunk before: the next one is fresh.
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
    // With its delimiter.
    const next = slab.arena.bytes[end] === delimiter ? end + 1 : end;
    if (next < suspect.end) {
      const [message, after] = lane.split(suspect, next);
      parts.push(message, after);
      suspect = message;
    } else parts.push(suspect);
    this.#suspects.add(suspect);
    return parts;
  }
}

/** A worker has failed, and nobody knows at which message. */
const NOWHERE: Place = { range: undefined, start: 0, end: 0 };
