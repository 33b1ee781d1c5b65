// Calls a durable handler with the messages of the log, and moves its cursor. Holds at most about one batch in memory,
// however far the handler is behind.

import { Backoff } from '../backoff.js';
import { RecordKind } from '../log/format.js';
import { isGap, type LogGap, type LoggedRun, type LogReader } from '../log/log-reader.js';
import { type LogStart, startOf } from '../log/log-start.js';
import type { MessageLog } from '../log/message-log.js';
import { formatPosition } from '../log/position.js';
import { StoredMessageFilter, typeNameOf } from '../log/stored-messages.js';
import { cloneBytes } from '../memory/copy-bytes.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { Filter, type SubscribeData } from '../routing/filter.js';
import { DurableCalls, type DurableCallsListener, MAX_HANDLED, RETRY } from './durable-calls.js';
import type { DurableGap, DurableHandler } from './durable-handler.js';
import { DurableMessage, type DurableOrigin } from './durable-message.js';

export interface LogHandlerRunnerListener extends DurableCallsListener {
  /** The log cannot be read. It is tried again. */
  onUnreadable(error: unknown): void;
}

/** Bytes of messages after which no more are added to those that are handled together. */
const MAX_BATCH_BYTES = 512 * 1024;
/** Bytes that are read, whether they match or not, before the cursor moves on. */
const MAX_READ = 8 * 1024 * 1024;

export class LogHandlerRunner {
  readonly #calls: DurableCalls;
  readonly #cursor: string | undefined;
  readonly #log: MessageLog;
  readonly #registry: MessageRegistry;
  readonly #filter: StoredMessageFilter;
  readonly #listener: LogHandlerRunnerListener;
  readonly #start: LogStart;
  #reader: LogReader;
  /** Messages that were read and are not handled yet. */
  #queue: DurableMessage[] = [];
  #queuedBytes = 0;
  /** What is missing after them. */
  #gap: LogGap | undefined;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;

  /** Determines where to begin: messages that are stored from now on count as new. */
  constructor(
    handler: DurableHandler,
    data: SubscribeData,
    log: MessageLog,
    registry: MessageRegistry,
    delimiter: number,
    listener: LogHandlerRunnerListener,
  ) {
    this.#calls = new DurableCalls(handler, listener, this.#stopping.signal);
    this.#cursor = data.cursor;
    this.#log = log;
    this.#registry = registry;
    this.#filter = new StoredMessageFilter(registry, new Filter(registry, data, log.jobSeed), delimiter);
    this.#listener = listener;
    this.#start = startOf(log, data);
    this.#reader = log.reader(this.#start.offset);
    if (data.cursor === undefined) return;
    log.handlerCursors.add(data.cursor);
    if (log.cursors.get(data.cursor) === undefined) this.#moveCursor(this.#start.offset);
  }

  /** Handles messages until it is stopped. */
  run(): void {
    this.#running = this.#run();
  }

  /** Stops after the current call. @returns resolves when that has returned, and its cursor has moved */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** Gives up waiting for the current call. Its cursor still moves while the log is open. */
  detach(): void {
    if (this.#cursor !== undefined) this.#log.handlerCursors.delete(this.#cursor);
  }

  async #run(): Promise<void> {
    const { lost, offset } = this.#start;
    if (lost !== undefined) await this.#handleGap(formatPosition(lost), offset, 'epoch');
    const backoff = new Backoff(RETRY);
    while (!this.#isStopped) {
      const isAtEnd = await this.#read().catch(async (error: unknown) => {
        this.#listener.onUnreadable(error);
        await this.#openAgain();
        await this.#calls.pause(backoff.next());
        return undefined;
      });
      if (isAtEnd !== undefined) backoff.reset();
      await this.#handleQueued();
      if (this.#isStopped) break;
      if (isAtEnd === true) await this.#waitForMore();
    }
    await this.#reader.close().catch(() => {});
  }

  get #isStopped(): boolean {
    return this.#stopping.signal.aborted;
  }

  /** Reads the next messages to handle. @returns whether there are no more yet */
  async #read(): Promise<boolean> {
    let bytesRead = 0;
    while (this.#queue.length < MAX_HANDLED && this.#queuedBytes < MAX_BATCH_BYTES && bytesRead < MAX_READ) {
      const part = await this.#reader.next();
      if (part === undefined) return true;
      if (isGap(part)) {
        this.#gap = part;
        return false;
      }
      this.#enqueue(part);
      bytesRead += part.body.length;
    }
    return false;
  }

  #enqueue(run: LoggedRun): void {
    const { offset, time = 0 } = this.#start;
    if (run.header.time < time) return;
    const { first, sequence } = run.header;
    let copied: { readonly body: Buffer; readonly origin: DurableOrigin } | undefined;
    this.#filter.visit(run, offset, Number.POSITIVE_INFINITY, (at, start, end, typeIndex) => {
      // Handlers may keep messages.
      copied ??= { body: cloneBytes(run.body), origin: this.#originOf(run) };
      const raw = copied.body.subarray(start, end);
      const type = typeNameOf(run, typeIndex);
      this.#queue.push(new DurableMessage(copied.origin, first + at, sequence + at, raw, type));
      this.#queuedBytes += raw.length;
    });
  }

  #originOf({ header, sender }: LoggedRun): DurableOrigin {
    return {
      registry: this.#registry,
      connectionId: sender?.id,
      crawlerId: sender?.crawlerId ?? undefined,
      host: undefined,
      time: header.time,
      isValid: header.kind !== RecordKind.INVALID_RUN,
      positionAfter: (offset) => this.#positionAt(offset + 1),
    };
  }

  /** Handles what was read. The cursor moves after each call. */
  async #handleQueued(): Promise<void> {
    const queue = this.#queue;
    const gap = this.#gap;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#gap = undefined;
    const isHandled = await this.#calls.handle(queue, ({ offset }) => this.#moveCursor(offset + 1));
    if (!isHandled) return;
    if (gap !== undefined) await this.#handleGap(this.#positionAt(gap.from), gap.to, gap.reason);
    if (!this.#isStopped) this.#moveCursor(this.#reader.offset);
  }

  async #handleGap(from: string, to: number, reason: DurableGap['reason']): Promise<void> {
    await this.#calls.handleGap({ from, to: this.#positionAt(to), reason });
  }

  async #waitForMore(): Promise<void> {
    this.#reader.release();
    await this.#log.whenMessageDurable(this.#reader.offset, this.#stopping.signal);
  }

  /** Reads on with another reader. */
  async #openAgain(): Promise<void> {
    const { offset } = this.#reader;
    await this.#reader.close().catch(() => {});
    this.#reader = this.#log.reader(offset);
  }

  #positionAt(offset: number): string {
    return formatPosition({ epoch: this.#log.epoch, offset });
  }

  #moveCursor(offset: number): void {
    if (this.#cursor !== undefined) this.#log.moveCursor(this.#cursor, offset);
  }
}
