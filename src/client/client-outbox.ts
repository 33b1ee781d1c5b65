// What a client has published and the broker has not confirmed. Each message is kept until a pong says that
// the broker has read and checked it, so that a new connection can send the rest again.
//
//   add ─▶ [ confirmed │ written, not confirmed │ not written yet ]
//             gone     head                     next               pings mark places; a pong moves head to its mark

import { SluiceError } from '../errors.js';

/** Where an outbox writes to: one connection. */
export interface OutboxSink {
  /** Whether it has enough to write for now. When that changes, {@link ClientOutbox.pump} is to be called. */
  readonly isBusy: boolean;
  /** @param lines how many lines the bytes are */
  write(bytes: Buffer, lines: number): void;
  /** Asks the broker for a sign. `onPong` is called once it has checked all that was written before. */
  ping(onPong: () => void): void;
}

interface Entry {
  readonly bytes: Buffer;
  readonly lines: number;
}

interface Waiter {
  /** Resolved when so many entries are confirmed; 0: with the drain. */
  readonly count: number;
  resolve(): void;
  reject(error: Error): void;
}

/** Bytes after which a ping asks for confirmation. */
const CONFIRM_BYTES = 64 * 1024;
/** ms after which a ping asks for it, however little was written. */
const CONFIRM_DELAY = 20;
/** Shares of the limit: over the high one publishing should pause, under the low one it may go on. */
const HIGH_MARK = 0.5;
const LOW_MARK = 0.25;

export class ClientOutbox {
  readonly #maxBytes: number;
  readonly #onDrain: () => void;
  #entries: Entry[] = [];
  /** What the array held before this index is confirmed. */
  #head = 0;
  /** The first entry that the present connection was not given yet. */
  #next = 0;
  #bytes = 0;
  #confirmed = 0;
  #confirmedLines = 0;
  #resent = 0;
  #needsDrain = false;
  #sink: OutboxSink | undefined;
  /** Bytes written since the latest ping. */
  #unmarkedBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Who waits for so many entries to be confirmed: those that came first, for the fewest. */
  #waiters: Waiter[] = [];
  /** Who waits for room. */
  #drainWaiters: Waiter[] = [];
  #closedBy: Error | undefined;

  /**
   * @param maxBytes how many bytes may wait; one message may be longer when nothing else waits
   * @param onDrain called when {@link add} has returned false and there is room again
   */
  constructor(maxBytes: number, onDrain: () => void) {
    this.#maxBytes = maxBytes;
    this.#onDrain = onDrain;
  }

  /** Bytes that are not confirmed. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Entries that are not confirmed. */
  get unconfirmed(): number {
    return this.#entries.length - this.#head;
  }

  /** Entries confirmed so far. */
  get confirmed(): number {
    return this.#confirmed;
  }

  /** Lines of the confirmed entries. */
  get confirmedLines(): number {
    return this.#confirmedLines;
  }

  /** Entries that were given to more than one connection; each time counts. */
  get resent(): number {
    return this.#resent;
  }

  /** Whether somebody waits for confirmations: for room, or for a flush. */
  get isAwaited(): boolean {
    return this.#needsDrain || this.#waiters.length > 0;
  }

  /**
   * Takes bytes, and writes them when there is a connection that takes them.
   * @param lines how many lines the bytes are
   * @returns false when half of the limit is reached: then wait for the drain
   * @throws SluiceError `OUTBOX_FULL` when the limit is reached; the bytes were not taken
   */
  add(bytes: Buffer, lines: number): boolean {
    if (this.#bytes > 0 && this.#bytes + bytes.length > this.#maxBytes) throw new SluiceError('OUTBOX_FULL');
    this.#entries.push({ bytes, lines });
    this.#bytes += bytes.length;
    this.#needsDrain ||= this.#bytes > this.#maxBytes * HIGH_MARK;
    this.pump();
    return !this.#needsDrain;
  }

  /**
   * Writes to a new connection from now on, beginning with what the one before did not confirm.
   * @returns how many entries are sent again
   */
  attach(sink: OutboxSink): number {
    this.detach();
    const again = this.#next - this.#head;
    this.#resent += again;
    this.#next = this.#head;
    this.#unmarkedBytes = 0;
    this.#sink = sink;
    this.pump();
    return again;
  }

  /** Writes no more. What was written and is confirmed still counts. */
  detach(): void {
    this.#sink = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Writes as much as the connection takes. */
  pump(): void {
    const sink = this.#sink;
    while (sink !== undefined && !sink.isBusy) {
      const entry = this.#entries[this.#next];
      if (entry === undefined) break;
      this.#next++;
      sink.write(entry.bytes, entry.lines);
      this.#unmarkedBytes += entry.bytes.length;
      if (this.#unmarkedBytes >= CONFIRM_BYTES) this.#askNow();
    }
    this.#askSoon();
  }

  /**
   * Resolves when all that was added before is confirmed, on this connection or a later one.
   * Rejects with what {@link close} is given.
   */
  flush(): Promise<void> {
    if (this.unconfirmed === 0) return Promise.resolve();
    if (this.#unmarkedBytes > 0) this.#askNow();
    return this.#wait(this.#waiters, this.#confirmed + this.unconfirmed);
  }

  /** Resolves when there is room: at once, or when there is again. Rejects with what {@link close} is given. */
  drained(): Promise<void> {
    return this.#needsDrain ? this.#wait(this.#drainWaiters, 0) : Promise.resolve();
  }

  /** Writes no more, and gives up what waits. */
  close(error: Error): void {
    this.detach();
    this.#closedBy = error;
    for (const waiters of [this.#waiters, this.#drainWaiters]) {
      for (const { reject } of waiters.splice(0)) reject(error);
    }
  }

  #wait(waiters: Waiter[], count: number): Promise<void> {
    if (this.#closedBy !== undefined) return Promise.reject(this.#closedBy);
    return new Promise((resolve, reject) => waiters.push({ count, resolve, reject }));
  }

  #askSoon(): void {
    if (this.#unmarkedBytes === 0 || this.#sink === undefined) return;
    this.#timer ??= setTimeout(() => this.#askNow(), CONFIRM_DELAY);
  }

  #askNow(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#sink === undefined) return;
    this.#unmarkedBytes = 0;
    const mark = this.#confirmed + this.#next - this.#head;
    this.#sink.ping(() => this.#confirm(mark));
  }

  /** The broker has checked the first `mark` entries of all that there ever were. */
  #confirm(mark: number): void {
    for (; this.#confirmed < mark; this.#confirmed++) {
      const entry = this.#entries[this.#head++];
      this.#bytes -= entry?.bytes.length ?? 0;
      this.#confirmedLines += entry?.lines ?? 0;
    }
    if (this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#next -= this.#head;
      this.#head = 0;
    }
    const hasDrained = this.#needsDrain && this.#bytes <= this.#maxBytes * LOW_MARK;
    if (hasDrained) this.#needsDrain = false;
    const waiting = this.#waiters.findIndex(({ count }) => count > this.#confirmed);
    const done = this.#waiters.splice(0, waiting === -1 ? this.#waiters.length : waiting);
    for (const { resolve } of done) resolve();
    if (!hasDrained) return;
    for (const { resolve } of this.#drainWaiters.splice(0)) resolve();
    this.#onDrain();
  }
}
