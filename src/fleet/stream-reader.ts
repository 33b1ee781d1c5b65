// Reads the batches of all hosts from the engine, leaves out what was read before, and delivers their messages. Goes on
// where it was when the connection to the engine was lost, even if the engine has lost its latest batches meanwhile.

import { setTimeout as sleep } from 'node:timers/promises';
import { Backoff } from '../backoff.js';
import type { FrameRun } from '../delivery/frame-run.js';
import type { Position } from '../log/position.js';
import { LruMap } from '../lru-map.js';
import type { FleetEngine, StoredStreamBatch, StreamStart } from './engine.js';
import type { FleetPosition } from './fleet-position.js';
import type { StreamReaderValidator } from './fleet-validation.js';
import { endOf, type StreamBatch } from './stream-batch.js';

/** Messages of a host that are missing. */
export interface FleetGap {
  readonly host: string;
  /** Positions of the first missing message, and of the next one that is there. */
  readonly from: Position;
  readonly to: Position;
  /** `removed`: they were too old, or there was no room for them. `epoch`: the log of the host was deleted. */
  readonly reason: 'removed' | 'epoch';
}

/** Where messages come from. */
export interface BatchOrigin {
  /** Of the log of their host. */
  readonly epoch: string;
  /** When the engine stored them, in ms since 1970. */
  readonly time: number;
}

/** What receives the messages of a reader. */
export interface StreamTarget {
  /** @returns resolves when a batch may be delivered. If omitted, always. */
  beforeBatch?(): Promise<void> | undefined;
  /** Consecutive messages of one sender. Valid until the call returns. */
  deliver(run: FrameRun, origin: BatchOrigin): void;
  onGap(gap: FleetGap): void;
  /** A batch was delivered. @returns resolves when the next one may be read */
  afterBatch(reader: StreamReader): Promise<void> | undefined;
}

/** Where a reader begins: after a position, at new or the oldest batches, or at a time in ms since 1970. */
export type StreamReaderStart = FleetPosition | 'new' | 'first' | { readonly time: number };

export interface StreamReaderOptions {
  readonly engine: FleetEngine;
  readonly validator: StreamReaderValidator;
  readonly start: StreamReaderStart;
  /** Called with the first error of an interruption. */
  onError(error: unknown): void;
  /** A batch contradicts itself, or is none. It is left out. */
  onInvalidBatch(): void;
}

/**
 * Maximum number of hosts of which the position is known: those with the latest batches. Positions name all of them, and
 * subscribers send positions back: a message of theirs has at most 64 KiB.
 */
const MAX_HOSTS = 500;
const RETRY = { initialDelay: 100, maxDelay: 5000 } as const;
/** Which failure in a row is reported. */
const REPORTED_FAILURE = 2;

export class StreamReader {
  readonly targets = new Set<StreamTarget>();
  /** Resolves when all batches stored from now on will be delivered. */
  readonly ready: Promise<void>;
  readonly #options: StreamReaderOptions;
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>;
  #resolveReady: () => void = () => {};
  #start: StreamReaderStart | undefined;
  #sequence = 0;
  #time = 0;
  readonly #hosts = new LruMap<string, Position>(MAX_HOSTS);
  /**
   * While the stream is read again from its beginning, since the engine has lost batches: the last sequence number of the
   * stream at that time, and the hosts of which a batch of the known log was found.
   */
  #reread: { readonly until: number; readonly found: Set<string> } | undefined;

  constructor(options: StreamReaderOptions) {
    this.#options = options;
    this.#start = options.start;
    this.ready = new Promise((resolve) => {
      this.#resolveReady = resolve;
    });
    this.#running = this.#run();
  }

  /** After the batches that were delivered; `undefined` until it is known where the first one is. */
  get position(): FleetPosition | undefined {
    if (this.#start !== undefined) return undefined;
    return { sequence: this.#sequence, time: this.#time, hosts: new Map(this.#hosts.entries()) };
  }

  /** Stops after the batch that is being delivered. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#resolveReady();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { engine } = this.#options;
    const backoff = new Backoff(RETRY);
    let failures = 0;
    while (!signal.aborted) {
      await engine.whenConnected(signal);
      if (signal.aborted) return;
      const { lost } = engine;
      try {
        const start = await this.#findStart();
        for await (const stored of engine.read(start, signal, this.#resolveReady)) {
          backoff.reset();
          failures = 0;
          if (signal.aborted) return;
          await this.#accept(stored);
        }
      } catch (error) {
        await sleep(backoff.next(), undefined, { signal }).catch(() => {});
        // A lost connection is reported by the engine itself, which may notice it later: so only the second failure counts.
        if (lost === undefined || lost.aborted) failures = 0;
        else if (++failures === REPORTED_FAILURE) this.#options.onError(error);
      }
    }
  }

  /** Where to read on in the stream. */
  async #findStart(): Promise<StreamStart> {
    const { engine } = this.#options;
    const { first, last } = await engine.bounds();
    const start = this.#start;
    if (start === 'first') return { sequence: first };
    if (start === 'new') {
      this.#sequence = last;
      this.#time = (last === 0 ? undefined : await engine.batchAt(last))?.time ?? 0;
    } else if (start !== undefined) {
      if (!('hosts' in start)) return start;
      for (const [host, position] of start.hosts) this.#hosts.set(host, position);
      this.#sequence = start.sequence;
      this.#time = start.time;
    }
    this.#start = undefined;
    if (await this.#isSameStream(first, last)) return { sequence: this.#sequence + 1 };
    this.#reread = { until: last, found: new Set() };
    return { sequence: first };
  }

  /** Whether the stream still has the batches that were read, as far as it is known. */
  async #isSameStream(first: number, last: number): Promise<boolean> {
    if (this.#sequence > last) return false;
    // None was read, or the latest one is too old to be compared.
    if (this.#sequence === 0 || this.#sequence < first) return true;
    return (await this.#options.engine.batchAt(this.#sequence))?.time === this.#time;
  }

  async #accept({ sequence, time, batch }: StoredStreamBatch): Promise<void> {
    for (const target of this.targets) await target.beforeBatch?.();
    if (this.#stopping.signal.aborted) return;
    if (batch === undefined) this.#options.onInvalidBatch();
    else if (!this.#isOld(batch, sequence)) await this.#deliver(batch, time);
    this.#start = undefined;
    this.#sequence = sequence;
    this.#time = time;
    for (const target of this.targets) await target.afterBatch(this);
  }

  /** Whether a batch was read before. */
  #isOld(batch: StreamBatch, sequence: number): boolean {
    const known = this.#hosts.get(batch.host);
    const { epoch } = batch.start;
    const reread = this.#reread;
    if (reread !== undefined && sequence > reread.until) this.#reread = undefined;
    if (known === undefined) return false;
    if (known.epoch === epoch) {
      reread?.found.add(batch.host);
      return endOf(batch).offset <= known.offset;
    }
    // Of an earlier log of the host, unless a batch of the known one came before.
    return this.#reread !== undefined && !this.#reread.found.has(batch.host);
  }

  async #deliver(batch: StreamBatch, time: number): Promise<void> {
    const { host, start } = batch;
    const known = this.#hosts.get(host);
    const isSameLog = known?.epoch === start.epoch;
    if (known !== undefined && (!isSameLog || start.offset > known.offset)) {
      const gap = { host, from: known, to: start, reason: isSameLog ? 'removed' : 'epoch' } as const;
      for (const target of this.targets) target.onGap(gap);
    }
    const skipped = isSameLog && known !== undefined ? Math.max(0, known.offset - start.offset) : 0;
    const origin = { epoch: start.epoch, time };
    await this.#options.validator.validate(batch, skipped, (run) => {
      for (const target of this.targets) target.deliver(run, origin);
    });
    this.#hosts.set(host, endOf(batch));
    this.#reread?.found.add(host);
  }
}
