// One stream of the feed: server-sent events with the latest message of each job, at most one per job and interval.
// A reader that is slow gets fewer updates, and never old ones.

import { metaPrefix, metaSequence } from '../delivery/frame-run.js';
import { isGap, type LoggedRun } from '../log/log-reader.js';
import type { MessageLog } from '../log/message-log.js';
import { formatPosition, type Position } from '../log/position.js';
import { jobsOf, StoredMessageFilter, typeNameOf } from '../log/stored-messages.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { type Filter, matchesMessage } from '../routing/filter.js';
import type { LastMessages } from '../routing/last-values.js';
import { dataOf, type FeedData, type FeedMemory, type FeedRun, keyOf, toOneLine } from './feed-run.js';

export interface FeedOptions {
  readonly filter: Filter;
  readonly registry: MessageRegistry;
  readonly delimiter: number;
  /** Minimum time between two updates, in ms. */
  readonly every: number;
  /** Messages to begin with, each with the delimiter, and wrapped. */
  readonly first: readonly LastMessages[];
  /** Messages are missing before the first ones: those that were stored since the reader's last visit are too many. */
  readonly isBehind: boolean;
  /** Counts what all streams hold. */
  readonly memory: FeedMemory;
  /** The durable log. Without one, a stream cannot go on where it was. */
  readonly log: MessageLog | undefined;
  /** Where to go on. */
  readonly resume: Position | undefined;
  /** Calls a function when the log may be read: for one stream at a time. */
  takeTurn(read: () => Promise<void>): Promise<void>;
  /** It holds more, besides what it takes. */
  onHeld(): void;
  /** Called once. */
  onClosed(): void;
  /** The log cannot be read. */
  onError(error: unknown): void;
}

/** Messages that wait for the next update: more are dropped, the oldest first, and counted. */
const MAX_PENDING = 10_000;
const MAX_BYTES = 16 * 1024 * 1024;
/**
 * Size of the parts of an update, unless a message is longer. The next one is made when the reader has taken the one
 * before: only what is not made yet can be dropped, or replaced by something newer.
 */
export const PART_BYTES = 64 * 1024;
/** Without an event for this time, the position or a comment shows that the connection is open, in ms. */
const KEEP_ALIVE = 15_000;
const DATA = Buffer.from('data: ');
const END = Buffer.from('\n\n');
const COMMENT = Buffer.from(':\n');
const LINE_END = Buffer.from('\n');
const NOTHING = Buffer.alloc(0);

export class Feed {
  readonly stream: ReadableStream<Uint8Array>;
  readonly #options: Omit<FeedOptions, 'first'>;
  readonly #stopping = new AbortController();
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  /** Messages that it begins with and that are not sent yet: each entry is a part. */
  #first: { readonly data: FeedData; readonly count: number }[] = [];
  /** What is left of the update that is being sent. By job; for messages without one, by sender and type. The latest last. */
  #sending = new Map<string, FeedData>();
  /** The position after that update. */
  #sendingId: Buffer = NOTHING;
  /** Messages of the next update. */
  #pending = new Map<string, FeedData>();
  /** Where the next message to drop is: to begin anew would mean to pass over all that were removed. */
  #oldest: { messages: Map<string, FeedData>; entries: IterableIterator<[string, FeedData]> } | undefined;
  /** Bytes of both. */
  #bytes = 0;
  #dropped = 0;
  /** Events that are not about a single message. */
  readonly #notices: string[] = [];
  /** Whether everything of the log is read that was there when the stream began. */
  #isCurrent = true;
  #updatedAt = Number.NEGATIVE_INFINITY;
  #sentAt = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #keepAliveTimer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor({ first, ...options }: FeedOptions) {
    this.#options = options;
    this.stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.#update(),
        cancel: () => this.close(),
      },
      { highWaterMark: 1 },
    );
    const { log, resume, every, isBehind, memory } = options;
    if (isBehind) this.#sendGap('behind');
    this.#first = first.map(({ bytes, count }) => ({ data: { bytes, isLive: true, holders: 0 }, count }));
    for (const { data } of this.#first) memory.hold(data);
    if (first.length > 0) this.#beginUpdate();
    this.#isCurrent = log === undefined || resume === undefined;
    this.#controller?.enqueue(
      Buffer.concat([Buffer.from(`retry: ${Math.max(1000, every)}\n`), this.#position, LINE_END]),
    );
    if (log !== undefined && resume !== undefined) {
      // What follows is taken as it comes, also while the stream waits for its turn.
      const { end } = log;
      // Waiting for the disk must not hold up other streams.
      const durable = log.whenMessageDurable(end - 1, this.#stopping.signal);
      const read = () => this.#catchUp(log, resume, end);
      const isThere = resume.epoch === log.epoch && resume.offset === end;
      void (isThere ? read() : durable.then(() => options.takeTurn(read))).catch((error: unknown) => {
        options.onError(error);
        this.close();
      });
    }
    this.#keepAlive();
  }

  /** Takes forwarded messages. */
  take(run: FeedRun): void {
    const latest = new Map<string, number>();
    for (let at = 0; at < run.run.count; at++) {
      if (!matchesMessage(this.#options.filter, run.run, at)) continue;
      const key = run.key(at);
      latest.delete(key);
      latest.set(key, at);
    }
    for (const [key, at] of latest) this.#add(key, run.data(at));
  }

  /** Since when its reader has not taken what was sent, in ms of the monotonic clock. If it has: infinity. */
  get unreadSince(): number {
    return this.#isWritable ? Number.POSITIVE_INFINITY : this.#sentAt;
  }

  /** Bytes of the messages that it holds. */
  get heldBytes(): number {
    return this.#first.reduce((sum, { data }) => sum + data.bytes.length, this.#bytes);
  }

  /** Drops all messages that it holds. */
  drop(): void {
    const { memory } = this.#options;
    for (const { data, count } of this.#first.splice(0)) {
      memory.release(data);
      this.#dropped += count;
    }
    for (const messages of [this.#sending, this.#pending]) {
      for (const data of messages.values()) memory.release(data);
      this.#dropped += messages.size;
      messages.clear();
    }
    this.#bytes = 0;
  }

  /** Ends the stream. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopping.abort();
    clearTimeout(this.#timer);
    clearTimeout(this.#keepAliveTimer);
    this.drop();
    try {
      this.#controller?.close();
    } catch {
      // Its reader has cancelled it.
    }
    this.#options.onClosed();
  }

  #add(key: string, data: FeedData): void {
    if (this.#isClosed) return;
    // In an update that is being sent, it takes the place of the one before: a job that changes often gets its turn.
    const messages = this.#sending.has(key) ? this.#sending : this.#pending;
    const before = messages.get(key);
    if (before !== undefined) {
      if (before.isLive && !data.isLive) return;
      if (messages === this.#pending) messages.delete(key);
      this.#release(before);
    }
    messages.set(key, data);
    this.#bytes += data.bytes.length;
    this.#options.memory.hold(data);
    while (this.#sending.size + this.#pending.size > MAX_PENDING || this.#bytes > MAX_BYTES)
      this.#dropOldest();
    this.#updateSoon();
  }

  #release(data: FeedData): void {
    this.#bytes -= data.bytes.length;
    this.#options.memory.release(data);
  }

  #dropOldest(): void {
    const messages = this.#sending.size > 0 ? this.#sending : this.#pending;
    if (this.#oldest?.messages !== messages) this.#oldest = { messages, entries: messages.entries() };
    let { value } = this.#oldest.entries.next();
    if (value === undefined) {
      this.#oldest = { messages, entries: messages.entries() };
      value = this.#oldest.entries.next().value;
    }
    if (value === undefined) return;
    const [key, data] = value;
    messages.delete(key);
    this.#release(data);
    this.#dropped++;
  }

  #updateSoon(): void {
    const wait = this.#updatedAt + this.#options.every - performance.now();
    this.#timer ??= setTimeout(
      () => {
        this.#timer = undefined;
        this.#update();
      },
      Math.max(0, wait),
    );
  }

  /** Whether the reader has taken what was sent before. */
  get #isWritable(): boolean {
    return (this.#controller?.desiredSize ?? 0) > 0;
  }

  /** Whether a part of an update is left. */
  get #isSending(): boolean {
    return this.#first.length > 0 || this.#sending.size > 0;
  }

  get #isIdle(): boolean {
    return this.#pending.size === 0 && this.#notices.length === 0 && this.#dropped === 0;
  }

  /** Sends the next part, if it is time and the reader has taken the one before: else it is called again. */
  #update(): void {
    if (this.#isClosed || !this.#isCurrent || !this.#isWritable) return;
    if (!this.#isSending) {
      if (this.#isIdle) return;
      if (this.#updatedAt + this.#options.every > performance.now()) return this.#updateSoon();
      this.#beginUpdate();
    }
    this.#sendPart();
  }

  #beginUpdate(): void {
    this.#sending = this.#pending;
    this.#pending = new Map();
    this.#sendingId = this.#id();
    this.#updatedAt = performance.now();
  }

  #sendPart(): void {
    if (this.#dropped > 0) this.#notices.push(`event: dropped\ndata: {"count":${this.#dropped}}\n\n`);
    this.#dropped = 0;
    const parts: Buffer[] = this.#notices.splice(0).map((notice) => Buffer.from(notice));
    const messages = this.#takePart();
    for (const [index, message] of messages.entries()) {
      // Everything before this position is part of the update.
      if (index === messages.length - 1 && !this.#isSending) parts.push(this.#sendingId);
      parts.push(DATA, message, END);
    }
    this.#sentAt = performance.now();
    this.#controller?.enqueue(Buffer.concat(parts));
    this.#keepAlive();
  }

  #takePart(): Buffer[] {
    const first = this.#first.shift();
    if (first !== undefined) {
      this.#options.memory.release(first.data);
      return messagesIn(first.data.bytes, this.#options.delimiter);
    }
    const messages: Buffer[] = [];
    let size = 0;
    for (const [key, data] of this.#sending) {
      this.#sending.delete(key);
      this.#release(data);
      messages.push(data.bytes);
      size += data.bytes.length;
      if (size >= PART_BYTES) break;
    }
    return messages;
  }

  #id(): Buffer {
    const { log } = this.#options;
    return Buffer.from(
      log === undefined ? '' : `id: ${formatPosition({ epoch: log.epoch, offset: log.end })}\n`,
    );
  }

  /** The position alone: empty if something is still to be sent, or there is no log. */
  get #position(): Buffer {
    return this.#isCurrent && this.#isIdle && !this.#isSending ? this.#id() : NOTHING;
  }

  /** Otherwise, a reader that gets few messages would come back with an old position. */
  #sendPosition(): void {
    if (!this.#isWritable) return;
    const position = this.#position;
    this.#sentAt = performance.now();
    this.#controller?.enqueue(Buffer.concat([position.length === 0 ? COMMENT : position, LINE_END]));
  }

  #keepAlive(): void {
    clearTimeout(this.#keepAliveTimer);
    this.#keepAliveTimer = setTimeout(() => {
      this.#sendPosition();
      this.#keepAlive();
    }, KEEP_ALIVE).unref();
  }

  /** Reads what was stored since a position, up to the messages that the stream has taken itself. */
  async #catchUp(log: MessageLog, from: Position, end: number): Promise<void> {
    const { filter, registry, delimiter } = this.#options;
    const isSameLog = from.epoch === log.epoch && from.offset <= end;
    if (!isSameLog) this.#sendGap('epoch');
    const start = isSameLog ? from.offset : log.first;
    const stored = new StoredMessageFilter(registry, filter, delimiter);
    const reader = log.reader(start);
    try {
      while (reader.offset < end && !this.#isClosed) {
        const part = await reader.next();
        if (this.#isClosed) break;
        if (part === undefined) {
          reader.release();
          await log.whenMessageDurable(reader.offset, this.#stopping.signal);
        } else if (isGap(part)) this.#sendGap(part.reason);
        else this.#takeStored(stored, part, start, end);
      }
    } finally {
      await reader.close();
    }
    this.#isCurrent = true;
    if (this.#isIdle) this.#sendPosition();
    else this.#update();
  }

  #takeStored(stored: StoredMessageFilter, run: LoggedRun, from: number, to: number): void {
    const { header, sender, body } = run;
    const { id = '', crawlerId } = sender ?? {};
    const prefix = metaPrefix({ id, crawlerId: crawlerId ?? undefined });
    const jobOf = jobsOf(run);
    stored.visit(run, from, to, (at, start, end, typeIndex) => {
      const job = jobOf(at);
      const key = keyOf(job, id, typeNameOf(run, typeIndex));
      const sequence = metaSequence(header.sequence + at);
      this.#add(key, dataOf(prefix + sequence, body.subarray(start, end), false));
    });
    this.#options.onHeld();
  }

  #sendGap(reason: string): void {
    this.#notices.push(`event: gap\ndata: {"reason":"${reason}"}\n\n`);
  }
}

/** @param lines messages, each with the delimiter */
function messagesIn(lines: Buffer, delimiter: number): Buffer[] {
  const messages: Buffer[] = [];
  for (let start = 0; start < lines.length; ) {
    const end = lines.indexOf(delimiter, start);
    messages.push(toOneLine(lines.subarray(start, end)));
    start = end + 1;
  }
  return messages;
}
