// One stream of the feed: server-sent events with the latest message of each job, at most one per job and interval.
// A reader that is slow gets fewer updates, and never old ones.

import { metaPrefix, metaSequence } from '../delivery/frame-run.js';
import { isGap, type LoggedRun } from '../log/log-reader.js';
import type { MessageLog } from '../log/message-log.js';
import { formatPosition, type Position } from '../log/position.js';
import { jobsOf, StoredMessageFilter, typeNameOf } from '../log/stored-messages.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { type Filter, matchesMessage } from '../routing/filter.js';
import { dataOf, type FeedRun, keyOf } from './feed-run.js';

export interface FeedOptions {
  readonly filter: Filter;
  readonly registry: MessageRegistry;
  readonly delimiter: number;
  /** Minimum time between two updates, in ms. */
  readonly every: number;
  /** Messages to begin with, each with the delimiter, and wrapped. */
  readonly first: readonly Buffer[];
  /** Messages are missing before the first ones: those that were stored since the reader's last visit are too many. */
  readonly isBehind: boolean;
  /** The durable log. Without one, a stream cannot go on where it was. */
  readonly log: MessageLog | undefined;
  /** Where to go on. */
  readonly resume: Position | undefined;
  /** Calls a function when the log may be read: for one stream at a time. */
  takeTurn(read: () => Promise<void>): Promise<void>;
  /** Called once. */
  onClosed(): void;
  /** The log cannot be read. */
  onError(error: unknown): void;
}

interface Pending {
  /** The data of its event. */
  readonly data: Buffer;
  /** Whether it is newer than anything in the log that is read. */
  readonly isLive: boolean;
}

/** Messages that wait for the next update: more are dropped, the oldest first, and counted. */
const MAX_PENDING = 10_000;
const MAX_BYTES = 16 * 1024 * 1024;
/** Without an event for this time, the position or a comment shows that the connection is open, in ms. */
const KEEP_ALIVE = 15_000;
const DATA = Buffer.from('data: ');
const END = Buffer.from('\n\n');
const COMMENT = Buffer.from(':\n');
const LINE_END = Buffer.from('\n');
const NOTHING = Buffer.alloc(0);

export class Feed {
  readonly stream: ReadableStream<Uint8Array>;
  readonly #options: FeedOptions;
  readonly #stopping = new AbortController();
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  /** By job; for messages without one, by sender and type. The latest last. */
  readonly #pending = new Map<string, Pending>();
  #pendingBytes = 0;
  #dropped = 0;
  /** Events that are not about a single message. */
  readonly #notices: string[] = [];
  /** Whether everything of the log is read that was there when the stream began. */
  #isCurrent = true;
  #updatedAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #keepAliveTimer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: FeedOptions) {
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
    const { first, log, resume, every, isBehind } = options;
    if (isBehind) this.#sendGap('behind');
    for (const [index, lines] of first.entries()) this.#addFirst(lines, index);
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
    for (const [key, at] of latest) this.#add(key, run.data(at), true);
  }

  /** Ends the stream. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopping.abort();
    clearTimeout(this.#timer);
    clearTimeout(this.#keepAliveTimer);
    this.#pending.clear();
    try {
      this.#controller?.close();
    } catch {
      // Its reader has cancelled it.
    }
    this.#options.onClosed();
  }

  #addFirst(lines: Buffer, index: number): void {
    const { delimiter } = this.#options;
    for (let start = 0, count = 0; start < lines.length; count++) {
      const end = lines.indexOf(delimiter, start);
      this.#add(`first ${index} ${count}`, dataOf('', lines.subarray(start, end), false), true);
      start = end + 1;
    }
  }

  #add(key: string, data: Buffer, isLive: boolean): void {
    const before = this.#pending.get(key);
    if (before !== undefined) {
      if (before.isLive && !isLive) return;
      this.#pendingBytes -= before.data.length;
      this.#pending.delete(key);
    }
    this.#pending.set(key, { data, isLive });
    this.#pendingBytes += data.length;
    while (this.#pending.size > MAX_PENDING || this.#pendingBytes > MAX_BYTES) {
      const [oldest] = this.#pending;
      if (oldest === undefined) break;
      this.#pending.delete(oldest[0]);
      this.#pendingBytes -= oldest[1].data.length;
      this.#dropped++;
    }
    this.#updateSoon();
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

  /** Sends what is pending, if it is time and the reader has taken what was sent before: else it is called again. */
  #update(): void {
    const controller = this.#controller;
    if (controller === undefined || this.#isClosed || !this.#isCurrent) return;
    if (this.#pending.size === 0 && this.#notices.length === 0) return;
    if (this.#updatedAt + this.#options.every > performance.now()) return this.#updateSoon();
    if ((controller.desiredSize ?? 0) <= 0) return;
    const parts: Buffer[] = [];
    if (this.#dropped > 0) this.#notices.push(`event: dropped\ndata: {"count":${this.#dropped}}\n\n`);
    for (const notice of this.#notices.splice(0)) parts.push(Buffer.from(notice));
    let left = this.#pending.size;
    for (const { data } of this.#pending.values()) {
      // Everything before this position is part of the update.
      if (--left === 0) parts.push(this.#id());
      parts.push(DATA, data, END);
    }
    this.#dropped = 0;
    this.#pending.clear();
    this.#pendingBytes = 0;
    this.#updatedAt = performance.now();
    controller.enqueue(Buffer.concat(parts));
    this.#keepAlive();
  }

  #id(): Buffer {
    const { log } = this.#options;
    return Buffer.from(
      log === undefined ? '' : `id: ${formatPosition({ epoch: log.epoch, offset: log.end })}\n`,
    );
  }

  /** The position alone: empty if something is still to be sent, or there is no log. */
  get #position(): Buffer {
    const isSent = this.#isCurrent && this.#pending.size === 0 && this.#notices.length === 0;
    return isSent ? this.#id() : NOTHING;
  }

  /** Otherwise, a reader that gets few messages would come back with an old position. */
  #sendPosition(): void {
    if ((this.#controller?.desiredSize ?? 0) <= 0) return;
    const position = this.#position;
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
    if (this.#pending.size > 0 || this.#notices.length > 0) this.#update();
    else this.#sendPosition();
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
      this.#add(key, dataOf(prefix + sequence, body.subarray(start, end)), false);
    });
  }

  #sendGap(reason: string): void {
    this.#notices.push(`event: gap\ndata: {"reason":"${reason}"}\n\n`);
  }
}
