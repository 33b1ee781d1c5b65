// Forwards the durable log of this host to the engine, batch by batch. The engine knows how far it is: after each
// connection, the forwarder goes on after the last batch that the engine has, whatever was confirmed before.

import { setTimeout as sleep } from 'node:timers/promises';
import { Backoff } from '../backoff.js';
import { SluiceError } from '../errors.js';
import { RESERVED_PREFIX } from '../log/cursors.js';
import type { MessageLog } from '../log/message-log.js';
import type { Position } from '../log/position.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { BatchReader } from './batch-reader.js';
import { type FleetEngine, OutOfSequenceError } from './engine.js';
import { endOf, type StreamBatch } from './stream-batch.js';

export interface ForwarderOptions {
  readonly log: MessageLog;
  readonly registry: MessageRegistry;
  readonly delimiter: number;
  readonly host: string;
  /** Minimum time between the beginnings of two batches, in ms, unless they are large. */
  batchInterval(): number;
  /** Claims the host name for this broker. @throws SluiceError `FLEET_HOST_IN_USE` if another broker uses it */
  claimHostName(): Promise<void>;
  /** Called with the first error of an interruption. Forwarding is tried again. */
  onError(error: unknown): void;
  /** Forwarding works again. */
  onRecovered(): void;
}

export interface ForwarderStatistics {
  /** Messages, bytes and batches that the engine has stored since the start. */
  readonly messages: number;
  readonly bytes: number;
  readonly batches: number;
  /** Messages that are too long for the engine, and were left out. */
  readonly tooLong: number;
  /** Number of durable messages that are not forwarded yet; `undefined` until the engine has said how far it is. */
  readonly lag: number | undefined;
}

/**
 * Name of the cursor up to which messages need not be kept for the engine. It follows the forwarded ones after
 * {@link KEEP_TIME}: an engine that is restored to an older state gets them again. A log without room does not wait for it.
 */
const FORWARD_CURSOR = `${RESERVED_PREFIX}fleet`;
const KEEP_TIME = 10 * 60_000;
/** A batch of at least this share of the largest size is large, as is one with the maximum number of messages. */
const LARGE_SHARE = 0.5;
/** How often the cursor moves, in ms. */
const CURSOR_INTERVAL = 10_000;
const RETRY = { initialDelay: 100, maxDelay: 5000 } as const;

export class Forwarder {
  readonly #engine: FleetEngine;
  readonly #options: ForwarderOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  /** Aborted to stop forwarding over the current connection. */
  #forwarding = new AbortController();
  /** Memory for the batch that is being stored, and for the next one. */
  readonly #memory: [Buffer, Buffer];
  /** End of the log before this process wrote to it, until it is known that the engine has no later messages. */
  #initialEnd: number | undefined;
  /** Offset after the forwarded messages. */
  #offset: number | undefined;
  /** Offsets up to which messages were forwarded, the oldest first, in ms of the monotonic clock. */
  #forwarded: { readonly time: number; readonly offset: number }[] = [];
  #messages = 0;
  #bytes = 0;
  #batches = 0;
  #tooLong = 0;

  constructor(engine: FleetEngine, options: ForwarderOptions) {
    this.#engine = engine;
    this.#options = options;
    this.#memory = [
      Buffer.allocUnsafeSlow(engine.maxBatchBytes),
      Buffer.allocUnsafeSlow(engine.maxBatchBytes),
    ];
    const { log } = options;
    this.#initialEnd = log.end;
    // So that nothing is removed before it is forwarded.
    if (log.cursors.get(FORWARD_CURSOR) === undefined) log.moveCursor(FORWARD_CURSOR, log.first);
  }

  /** Forwards until it is stopped. @returns resolves when new messages may be stored */
  async start(): Promise<void> {
    // They must not get offsets that the engine has already. If it fails, that is reported when it is tried again.
    if (this.#engine.lost !== undefined) await this.#findStart().catch(() => {});
    this.#running = this.#run();
  }

  get statistics(): ForwarderStatistics {
    const lag = this.#offset === undefined ? undefined : this.#options.log.durable - this.#offset;
    const [messages, bytes, batches, tooLong] = [this.#messages, this.#bytes, this.#batches, this.#tooLong];
    return { messages, bytes, batches, tooLong, lag };
  }

  /** Another broker has the name of this host now: stops until that is over. */
  onHostLost(): void {
    this.#forwarding.abort();
  }

  /** Stops after the batch that is being stored. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const backoff = new Backoff(RETRY);
    let hasFailed = false;
    const onForwarded = (): void => {
      backoff.reset();
      if (hasFailed) this.#options.onRecovered();
      hasFailed = false;
    };
    while (!signal.aborted) {
      await this.#engine.whenConnected(signal);
      if (signal.aborted) return;
      const { lost } = this.#engine;
      try {
        await this.#options.claimHostName();
        await this.#forward(signal, onForwarded);
      } catch (error) {
        await sleep(backoff.next(), undefined, { signal }).catch(() => {});
        // A lost connection is reported by the engine itself, which may notice it later.
        if (error instanceof OutOfSequenceError || lost === undefined || lost.aborted) continue;
        if (!hasFailed) this.#options.onError(error);
        hasFailed = true;
      }
    }
  }

  /** Forwards from where the engine is. @throws an error if it does not store a batch */
  async #forward(stopping: AbortSignal, onForwarded: () => void): Promise<void> {
    const { log, registry, delimiter, host } = this.#options;
    const { lost } = this.#engine;
    if (lost === undefined) return;
    const forwarding = new AbortController();
    this.#forwarding = forwarding;
    const { from, ...last } = await this.#findStart();
    this.#setOffset(from);
    // An engine that was put back to an older state does not have the later ones.
    this.#forwarded = this.#forwarded.filter(({ offset }) => offset <= from);
    // So that a read that waits for more messages ends when storing has failed, or another connection begins: the engine
    // may have lost batches meanwhile.
    const signal = AbortSignal.any([stopping, lost, forwarding.signal]);
    const onTooLong = (): void => {
      this.#tooLong++;
    };
    let isStoring = false;
    let idleAt = 0;
    // The latest messages may have been left out.
    const onIdle = (offset: number): void => {
      idleAt = offset;
      if (!isStoring) this.#setOffset(offset);
    };
    const { maxBatchBytes: maxBytes, maxBatchMessages: maxMessages } = this.#engine;
    const reader = new BatchReader({
      log,
      registry,
      delimiter,
      host,
      from,
      maxBytes,
      maxMessages,
      onTooLong,
      onIdle,
    });
    let [memory, other] = this.#memory;
    let previous: number | undefined = last.previous;
    let next: Promise<StreamBatch | undefined> | undefined;
    const cursorTimer = setInterval(() => this.#moveCursor(), CURSOR_INTERVAL).unref();
    try {
      for (;;) {
        const batch = await (next ?? reader.next(memory, signal));
        next = undefined;
        if (batch === undefined || signal.aborted) return;
        const startedAt = performance.now();
        isStoring = true;
        const stored = this.#engine.publish(batch, previous);
        [memory, other] = [other, memory];
        const isLarge = batch.body.length > maxBytes * LARGE_SHARE || batch.count === maxMessages;
        // If there is much more, it is read meanwhile.
        if (isLarge && reader.hasMore) {
          next = reader.next(memory, signal);
          // It may fail before it is awaited.
          next.catch(() => {});
        }
        const storedAt = await stored;
        previous = this.#engine.mayLoseBatches ? storedAt : undefined;
        isStoring = false;
        this.#record(batch);
        this.#setOffset(Math.max(endOf(batch).offset, idleAt));
        onForwarded();
        const wait = startedAt + this.#options.batchInterval() - performance.now();
        if (!isLarge && wait > 0) await sleep(wait, undefined, { signal }).catch(() => {});
      }
    } finally {
      clearInterval(cursorTimer);
      forwarding.abort();
      await next?.catch(() => {});
      await reader.close();
    }
  }

  /** @returns the offset of the first message to forward, and what the engine expects to be the latest batch */
  async #findStart(): Promise<{ readonly from: number; readonly previous: number }> {
    const { batch, previous } = await this.#engine.lastBatch(this.#options.host);
    const from = this.#startAfter(batch && endOf(batch));
    this.#initialEnd = undefined;
    return { from, previous };
  }

  /** Offset of the first message to forward. @param previous position after the last batch of this host */
  #startAfter(previous: Position | undefined): number {
    const { log } = this.#options;
    const { epoch, first, end } = log;
    if (previous?.epoch === epoch) {
      const { offset } = previous;
      if (offset > (this.#initialEnd ?? end)) this.#skipLost(this.#initialEnd ?? end, offset);
      return offset;
    }
    // A new engine gets everything; one that has already removed the batches of this log, or has later ones of another log
    // with the name of this host, what may not have arrived.
    const cursor = log.cursors.get(FORWARD_CURSOR);
    return cursor?.epoch === epoch ? Math.max(first, cursor.offset) : first;
  }

  /**
   * The log has lost messages that the engine has. Others must not get their offsets: subscribers would leave them out.
   * @param from offset of the first one
   * @param to offset after the last one
   */
  #skipLost(from: number, to: number): void {
    const { log, onError } = this.#options;
    // The engine was away when they were received.
    const dropped = Math.min(log.end, to) - from;
    log.skipTo(to);
    const detail = `${to - from} messages; ${dropped} that were received since are not forwarded`;
    onError(new SluiceError('LOG_OUTDATED', detail));
  }

  #record(batch: StreamBatch): void {
    this.#batches++;
    this.#messages += batch.count;
    this.#bytes += batch.body.length;
  }

  #setOffset(offset: number): void {
    this.#offset = offset;
    this.#options.log.forwarded = { cursor: FORWARD_CURSOR, offset };
  }

  /** The cursor follows what was forwarded, also if nothing more is. */
  #moveCursor(): void {
    const time = performance.now();
    const offset = this.#offset;
    if (offset !== undefined && offset !== this.#forwarded.at(-1)?.offset)
      this.#forwarded.push({ time, offset });
    const safe = this.#forwarded.findLastIndex(({ time: then }) => time - then > KEEP_TIME);
    const last = this.#forwarded[safe];
    if (last === undefined) return;
    this.#forwarded.splice(0, safe);
    this.#options.log.moveCursor(FORWARD_CURSOR, last.offset);
  }
}
