// Validates the batches of other hosts with workers of its own, like messages of a connection: a faulty host harms
// nobody, and a long replay does not delay the crawlers of this host.

import { setTimeout as sleep } from 'node:timers/promises';
import { FrameRun } from '../delivery/frame-run.js';
import type { Gatherer } from '../delivery/gatherer.js';
import type { Dispatcher } from '../dispatch/dispatcher.js';
import { type Chunk, Lane } from '../dispatch/lane.js';
import { RunKind } from '../dispatch/verdict.js';
import type { VerdictReader } from '../dispatch/verdict-reader.js';
import { copyBytes } from '../memory/copy-bytes.js';
import type { CopyPool } from '../memory/copy-pool.js';
import { SlabPool } from '../memory/slab-pool.js';
import type { BatchRun, StreamBatch } from './stream-batch.js';

export interface FleetValidationOptions {
  /** Started when the first batch is validated. */
  readonly dispatcher: Dispatcher;
  readonly delimiter: number;
  /** Copies messages for delivery, and the memory for that. */
  readonly gatherer: Gatherer;
  readonly copies: CopyPool;
  /** Messages of a host were rejected. */
  onRejected(count: number): void;
}

/**
 * Bytes of batches that are not delivered to all subscribers yet, and of copies of their messages, above which no more are
 * validated until some are delivered, and how often that is checked, in ms.
 */
const MAX_HELD = 128 * 1024 * 1024;
const CHECK_INTERVAL = 10;
/** Size in bytes of the largest pooled slab: most batches fit. */
const SLAB_SIZE = 512 * 1024;

export class FleetValidation {
  readonly #options: FleetValidationOptions;
  readonly #slabs = new SlabPool(SLAB_SIZE);
  #started: Promise<void> | undefined;

  constructor(options: FleetValidationOptions) {
    this.#options = options;
  }

  /** A validator of batches one after the other. @param onError called with what a `deliver` throws */
  open(onError: (error: unknown) => void): StreamReaderValidator {
    return new StreamReaderValidator(this.#options, this.#slabs, () => this.#start(), onError);
  }

  /** Frees memory that is not used. */
  trim(): void {
    this.#slabs.trim();
    this.#options.copies.slabs.trim();
  }

  async close(): Promise<void> {
    await this.#started?.catch(() => {});
    await this.#options.dispatcher.close();
  }

  #start(): Promise<void> {
    this.#started ??= this.#options.dispatcher.start();
    return this.#started;
  }
}

export class StreamReaderValidator {
  readonly #options: FleetValidationOptions;
  readonly #slabs: SlabPool;
  readonly #start: () => Promise<void>;
  readonly #lane: Lane;
  #settle: (chunk: Chunk) => void = () => {};

  constructor(
    options: FleetValidationOptions,
    slabs: SlabPool,
    start: () => Promise<void>,
    onError: (error: unknown) => void,
  ) {
    this.#options = options;
    this.#slabs = slabs;
    this.#start = start;
    this.#lane = new Lane((chunk) => {
      this.#settle(chunk);
      return true;
    }, onError);
  }

  /**
   * Validates a batch. Resolves when all of its messages are delivered or rejected.
   * @param skipped number of messages at its beginning to leave out
   * @param deliver called with the valid messages of one sender at a time, in order
   */
  async validate(batch: StreamBatch, skipped: number, deliver: (run: FrameRun) => void): Promise<void> {
    await this.#start();
    const { dispatcher, gatherer, copies } = this.#options;
    while (this.#slabs.heldBytes + copies.slabs.heldBytes > MAX_HELD) await sleep(CHECK_INTERVAL);
    const { body } = batch;
    const slab = this.#slabs.acquire(body.length);
    copyBytes(body, 0, body.length, slab.arena.bytes, slab.base);
    const senders = new SenderCursor(batch.runs, slab.base);
    this.#settle = (chunk) => {
      const { verdict } = chunk;
      if (verdict === undefined) return this.#options.onRejected(1);
      this.#deliverRuns(batch, chunk, verdict, senders, skipped, deliver);
    };
    dispatcher.submit(
      this.#lane,
      { slab, start: slab.base, end: slab.base + body.length },
      performance.now(),
    );
    slab.close();
    await new Promise<void>((resolve) => this.#lane.after(resolve));
    gatherer.endTurn();
  }

  #deliverRuns(
    batch: StreamBatch,
    chunk: Chunk,
    verdict: VerdictReader,
    senders: SenderCursor,
    skipped: number,
    deliver: (run: FrameRun) => void,
  ): void {
    const end = verdict.runsEnd(chunk.index);
    for (let index = verdict.firstRun(chunk.index); index < end; index++) {
      const kind = verdict.runKind(index);
      if (kind === RunKind.REPORTED) continue;
      const first = verdict.firstFrame(index);
      const count = verdict.frameCount(index);
      const isForwarded = kind !== RunKind.REJECTED && kind !== RunKind.CONTROL && kind !== RunKind.ADDRESSED;
      if (!isForwarded) this.#options.onRejected(count);
      for (let at = 0; at < count; ) {
        const sender = senders.moveTo(verdict.start(first + at));
        let length = 1;
        while (at + length < count && senders.isSame(verdict.start(first + at + length))) length++;
        const left = Math.max(0, Math.min(length, skipped - sender.messages));
        if (isForwarded && left < length) {
          const { run, sequence } = sender;
          deliver(
            new FrameRun({
              sender: { ...run.sender, host: batch.host },
              chunk,
              verdict,
              index,
              first: first + at + left,
              count: length - left,
              isUndelimited: kind !== RunKind.DELIMITED,
              isValid: index === 0 || verdict.runKind(index - 1) !== RunKind.REPORTED,
              firstSequence: sequence + left,
              firstOffset: batch.start.offset + sender.messages + left,
              delimiter: this.#options.delimiter,
              gatherer: this.#options.gatherer,
            }),
          );
        }
        senders.advance(length);
        at += length;
      }
    }
  }
}

/** Finds the senders of a batch's messages, in order. */
class SenderCursor {
  readonly #runs: readonly BatchRun[];
  #at = 0;
  /** Offset in the arena of the end of the current run. */
  #end: number;
  /** Number of messages before the current one: in the batch, and in its run. */
  #messages = 0;
  #inRun = 0;

  constructor(runs: readonly BatchRun[], base: number) {
    this.#runs = runs;
    this.#end = base + (runs[0]?.bytes ?? 0);
  }

  /** The sender of the message at an offset, and the message's sequence number. */
  moveTo(offset: number): { readonly run: BatchRun; readonly sequence: number; readonly messages: number } {
    while (offset >= this.#end && this.#at + 1 < this.#runs.length) {
      this.#end += this.#runs[++this.#at]?.bytes ?? 0;
      this.#inRun = 0;
    }
    const run = this.#runs[this.#at] as BatchRun;
    return { run, sequence: run.sequence + this.#inRun, messages: this.#messages };
  }

  /** Whether the message at an offset has the same sender as the current one. */
  isSame(offset: number): boolean {
    return offset < this.#end;
  }

  /** Moves on by some messages. */
  advance(count: number): void {
    this.#messages += count;
    this.#inRun += count;
  }
}
