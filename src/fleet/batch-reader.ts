// Reads the durable log of this host as batches, as large as possible without waiting.

import { isGap, type LoggedRun, type LogReader } from '../log/log-reader.js';
import type { MessageLog } from '../log/message-log.js';
import { StoredMessageFilter } from '../log/stored-messages.js';
import { copyBytes } from '../memory/copy-bytes.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { Filter } from '../routing/filter.js';
import type { BatchRun, BatchSender, StreamBatch } from './stream-batch.js';

export interface BatchReaderOptions {
  readonly log: MessageLog;
  readonly registry: MessageRegistry;
  readonly delimiter: number;
  readonly host: string;
  /** Offset of the first message. */
  readonly from: number;
  /** Maximum bytes of a body. */
  readonly maxBytes: number;
  /** Maximum number of messages of a batch. */
  readonly maxMessages: number;
  /** Called for each message that is too long for a batch, and is left out. */
  onTooLong(): void;
  /** There are no more messages yet. @param offset all before it are in the batches that were returned, or left out */
  onIdle(offset: number): void;
}

/** Maximum number of runs of a batch, and of characters that describe their senders: they are in its headers. */
const MAX_RUNS = 2048;
const MAX_SENDER_TEXT = 32 * 1024;

export class BatchReader {
  readonly #options: BatchReaderOptions;
  readonly #all: StoredMessageFilter;
  readonly #reader: LogReader;
  /** A run that did not fit into the previous batch. Its slab is held. */
  #rest: LoggedRun | undefined;
  /** Offset of the first message of the next batch. */
  #next: number;

  constructor(options: BatchReaderOptions) {
    const { log, registry, delimiter } = options;
    this.#options = options;
    const filter = new Filter(registry, { id: 'fleet', types: ['*'] }, log.jobSeed);
    this.#all = new StoredMessageFilter(registry, filter, delimiter);
    this.#reader = log.reader(options.from);
    this.#next = options.from;
  }

  /** Whether there are messages for another batch. */
  get hasMore(): boolean {
    return this.#rest !== undefined || this.#reader.offset < this.#options.log.durable;
  }

  /**
   * The next batch, once there is one; `undefined` if `signal` is aborted.
   * @param memory for its body, which is valid until the memory is used again
   */
  async next(memory: Buffer, signal: AbortSignal): Promise<StreamBatch | undefined> {
    const { maxBytes, maxMessages } = this.#options;
    const builder = new BatchBuilder(memory.subarray(0, maxBytes), maxMessages);
    while (!signal.aborted) {
      const run = this.#rest ?? (await this.#read());
      if (run === undefined) {
        if (!builder.isEmpty) return this.#finish(builder);
        this.#options.onIdle(this.#next);
        await this.#waitForMore(signal);
      } else if (!this.#add(builder, run) && !builder.isEmpty) return this.#finish(builder);
    }
    return undefined;
  }

  async close(): Promise<void> {
    this.#keep(undefined);
    await this.#reader.close();
  }

  /** The next run; `undefined` if there is none yet. Gaps are skipped: the offset of the next run shows them. */
  async #read(): Promise<LoggedRun | undefined> {
    for (;;) {
      const part = await this.#reader.next();
      if (part === undefined || !isGap(part)) return part;
    }
  }

  /** Adds messages of a run. @returns whether all of them had room */
  #add(builder: BatchBuilder, run: LoggedRun): boolean {
    const { header, body } = run;
    const end = header.first + header.count;
    const isWhole = header.first >= this.#next;
    if (isWhole) this.#next = header.first;
    // What follows a gap would get the offsets of what is missing.
    if (!builder.isEmpty && this.#next !== builder.end) {
      this.#keep(run);
      return false;
    }
    if (builder.isEmpty) builder.start = this.#next;
    const sender = { id: run.sender?.id ?? '', crawlerId: run.sender?.crawlerId ?? undefined };
    if (isWhole && header.count <= builder.messagesLeft && body.length <= builder.roomFor(sender)) {
      builder.add(sender, header.sequence, header.count, body);
      this.#next = end;
    } else this.#addPart(builder, run, sender);
    this.#keep(this.#next < end ? run : undefined);
    return this.#next === end;
  }

  /** Adds the messages of a run that fit: it does not as a whole, or its first messages are in an earlier batch. */
  #addPart(builder: BatchBuilder, run: LoggedRun, sender: BatchSender): void {
    const { header, body } = run;
    const room = builder.roomFor(sender);
    let [from, to, count] = [0, 0, 0];
    const limit = this.#next + builder.messagesLeft;
    let isFull = false;
    this.#all.visit(run, this.#next, limit, (at, start, end) => {
      if (isFull) return;
      const offset = header.first + at;
      // The first message, which is alone too long for a batch, is left out.
      if (builder.isEmpty && count === 0 && end + 1 - start > room) {
        this.#options.onTooLong();
        this.#next = offset + 1;
        return;
      }
      if (count === 0) {
        [from, to] = [start, start];
        this.#next = offset;
        if (builder.isEmpty) builder.start = offset;
      }
      isFull = end + 1 - from > room || offset !== this.#next + count || this.#next !== builder.end;
      if (isFull) return;
      to = end + 1;
      count++;
    });
    const first = this.#next;
    if (count > 0)
      builder.add(sender, header.sequence + first - header.first, count, body.subarray(from, to));
    const isAtEnd = !isFull && header.first + header.count <= limit;
    this.#next = isAtEnd ? header.first + header.count : first + count;
  }

  #keep(run: LoggedRun | undefined): void {
    if (run === this.#rest) return;
    run?.slab?.hold();
    this.#rest?.slab?.release();
    this.#rest = run;
  }

  #finish(builder: BatchBuilder): StreamBatch {
    const { host, log } = this.#options;
    const start = { epoch: log.epoch, offset: builder.start };
    return { host, start, ...builder.content };
  }

  async #waitForMore(signal: AbortSignal): Promise<void> {
    this.#reader.release();
    await this.#options.log.whenMessageDurable(this.#reader.offset, signal);
  }
}

/** Collects the messages of a batch. */
class BatchBuilder {
  /** Offset of the first message. */
  start = 0;
  readonly #memory: Buffer;
  readonly #maxMessages: number;
  readonly #runs: BatchRun[] = [];
  /** By their description, so that equal ones are the same. */
  readonly #senders = new Map<string, BatchSender>();
  #senderText = 0;
  #bytes = 0;
  #count = 0;

  constructor(memory: Buffer, maxMessages: number) {
    this.#memory = memory;
    this.#maxMessages = maxMessages;
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  get content(): Pick<StreamBatch, 'count' | 'runs' | 'body'> {
    return { count: this.#count, runs: this.#runs, body: this.#memory.subarray(0, this.#bytes) };
  }

  /** Offset after the last message. */
  get end(): number {
    return this.start + this.#count;
  }

  /** Number of messages for which there is room. */
  get messagesLeft(): number {
    return this.#maxMessages - this.#count;
  }

  /** Number of bytes of a sender's messages for which there is room. */
  roomFor(sender: BatchSender): number {
    const text = describeSender(sender);
    const senderText = this.#senderText + (this.#senders.has(text) ? 0 : text.length);
    const isDescribable = this.#runs.length < MAX_RUNS && senderText <= MAX_SENDER_TEXT;
    return isDescribable ? this.#memory.length - this.#bytes : 0;
  }

  /** Adds messages for which there is room. @param sequence of the first one */
  add(sender: BatchSender, sequence: number, count: number, body: Buffer): void {
    this.#bytes += copyBytes(body, 0, body.length, this.#memory, this.#bytes);
    this.#count += count;
    const known = this.#sender(sender);
    const latest = this.#runs.at(-1);
    if (latest?.sender !== known || latest.sequence + latest.count !== sequence) {
      this.#runs.push({ sender: known, sequence, count, bytes: body.length });
      return;
    }
    const bytes = latest.bytes + body.length;
    this.#runs[this.#runs.length - 1] = { ...latest, count: latest.count + count, bytes };
  }

  #sender(sender: BatchSender): BatchSender {
    const text = describeSender(sender);
    const known = this.#senders.get(text);
    if (known !== undefined) return known;
    this.#senders.set(text, sender);
    this.#senderText += text.length;
    return sender;
  }
}

function describeSender({ id, crawlerId }: BatchSender): string {
  return JSON.stringify([id, crawlerId]);
}
