// Published messages that the broker has not confirmed. Each message is kept until a pong shows that the broker has
// read and checked it, so that a new connection can resend the rest.
//
//   add ─▶ [ confirmed │ written, not confirmed │ not written yet ]
//           removed   #written entries                           pings set marks; a pong confirms up to its mark

import { SluiceError } from '../errors.js';
import { Fifo } from '../fifo.js';
import { Watermark } from '../watermark.js';

/** The connection that an outbox writes to. */
export interface OutboxSink {
  /** Whether its write queue is full. When that changes, call {@link ClientOutbox.pump}. */
  readonly isBusy: boolean;
  /** @param lines number of lines in the bytes */
  write(bytes: Buffer, lines: number): void;
  /**
   * Sends a ping. `onPong` is called once the broker has checked everything written before it.
   * `line` is the number of messages of the session that are decided then, if the broker counts them.
   */
  ping(onPong: (line?: number) => void): void;
  /** Published lines that need not be written, since the broker has them from an earlier connection. */
  skipPublished(lines: number): void;
}

interface Entry {
  readonly bytes: Buffer;
  readonly lines: number;
}

/** Messages of the client itself that were sent after a number of entries, counted over the lifetime of the outbox. */
interface OwnRun {
  readonly after: number;
  count: number;
}

interface Waiter {
  /** Total number of confirmed entries to wait for; 0: wait for room. */
  readonly count: number;
  resolve(): void;
  reject(error: Error): void;
}

/** Bytes written after which a ping requests confirmation. */
const CONFIRM_BYTES = 64 * 1024;
/** ms after which a ping requests it, however few bytes were written. */
const CONFIRM_DELAY = 20;
/** The high watermark as a share of the limit, and the low one as a share of that: publishing should pause between them. */
const HIGH_SHARE = 0.5;
const LOW_SHARE = 0.5;

export class ClientOutbox {
  readonly #maxBytes: number;
  readonly #onDrain: () => void;
  /** Unconfirmed entries. */
  readonly #entries = new Fifo<Entry>();
  /** Number of unconfirmed entries that were written to the current connection. */
  #written = 0;
  #bytes = 0;
  #confirmed = 0;
  #confirmedLines = 0;
  #resent = 0;
  /** Whether publishing should pause. */
  readonly #needsDrain: Watermark;
  #sink: OutboxSink | undefined;
  /** Bytes written since the latest ping. */
  #bytesSincePing = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Callers that wait for confirmations, in ascending order of `count`. */
  #waiters: Waiter[] = [];
  /** Callers that wait for room. */
  #drainWaiters: Waiter[] = [];
  #closeReason: Error | undefined;
  /**
   * Number of messages of the session that were decided when the last pong was sent; `undefined` if the broker does not
   * count them.
   */
  #sessionLine: number | undefined = 0;
  /** Messages of the client itself since then, in order. A client that only sends heartbeats keeps a single run. */
  #ownRuns: OwnRun[] = [];
  /** Number of the client's own messages, in total and since then. */
  #ownTotal = 0;
  #ownSince = 0;

  /**
   * @param maxBytes limit of unconfirmed bytes; a single entry may exceed it if the outbox is empty
   * @param onDrain called when there is room again after {@link add} returned false
   */
  constructor(maxBytes: number, onDrain: () => void) {
    this.#maxBytes = maxBytes;
    this.#needsDrain = new Watermark(maxBytes * HIGH_SHARE, LOW_SHARE);
    this.#onDrain = onDrain;
  }

  /** Unconfirmed bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Number of unconfirmed entries. */
  get unconfirmed(): number {
    return this.#entries.length;
  }

  /** Number of entries confirmed so far. */
  get confirmed(): number {
    return this.#confirmed;
  }

  /** Number of lines in the confirmed entries. */
  get confirmedLines(): number {
    return this.#confirmedLines;
  }

  /** Number of entries written again to another connection; each time counts. */
  get resent(): number {
    return this.#resent;
  }

  /** Whether confirmations are awaited: for room, or for a flush. */
  get isAwaited(): boolean {
    return this.#needsDrain.isHigh || this.#waiters.length > 0;
  }

  /**
   * Queues bytes, and writes them if there is a connection that accepts them.
   * @param lines number of lines in the bytes
   * @returns false if more than half of the limit is in use: wait until there is room
   * @throws SluiceError `OUTBOX_FULL` if the limit would be exceeded; the bytes were not queued
   */
  add(bytes: Buffer, lines: number): boolean {
    if (this.#bytes > 0 && this.#bytes + bytes.length > this.#maxBytes) throw new SluiceError('OUTBOX_FULL');
    this.#entries.push({ bytes, lines });
    this.#bytes += bytes.length;
    this.#needsDrain.update(this.#bytes);
    this.pump();
    return !this.#needsDrain.isHigh;
  }

  /**
   * Switches to a new connection, starting with the entries that the previous one did not confirm.
   * @param sessionLine number of messages of the session that the broker has decided on earlier connections: those are not
   *   sent again. Default: unknown.
   * @param ownMessages number of messages that the client itself has already sent on this connection. Default: 0.
   * @returns number of entries that are resent
   */
  attach(sink: OutboxSink, sessionLine?: number, ownMessages = 0): number {
    this.detach();
    if (sessionLine !== undefined) sink.skipPublished(this.#skipDecided(sessionLine));
    this.#sessionLine = sessionLine;
    const resent = this.#written;
    this.#resent += resent;
    this.#written = 0;
    this.#dropOwn(this.#ownSince);
    this.#addOwn(ownMessages);
    this.#bytesSincePing = 0;
    this.#sink = sink;
    this.pump();
    return resent;
  }

  /** Records that the client itself has sent a message which counts in the session. */
  addOwnMessage(): void {
    this.#addOwn(1);
  }

  #addOwn(count: number): void {
    if (count === 0) return;
    const after = this.#confirmed + this.#written;
    const latest = this.#ownRuns.at(-1);
    if (latest?.after === after) latest.count += count;
    else this.#ownRuns.push({ after, count });
    this.#ownTotal += count;
    this.#ownSince += count;
  }

  /** Forgets the first of the client's own messages. */
  #dropOwn(count: number): void {
    this.#ownSince -= count;
    for (let left = count; left > 0; ) {
      const run = this.#ownRuns[0] as OwnRun;
      const dropped = Math.min(left, run.count);
      run.count -= dropped;
      left -= dropped;
      if (run.count === 0) this.#ownRuns.shift();
    }
  }

  /** Removes the entries that were decided on the previous connection. @returns number of their lines */
  #skipDecided(sessionLine: number): number {
    const before = this.#confirmedLines;
    let left = this.#sessionLine === undefined ? 0 : sessionLine - this.#sessionLine;
    while (left > 0 && this.#written > 0) {
      const [own] = this.#ownRuns;
      if (own !== undefined && own.after <= this.#confirmed) {
        this.#dropOwn(1);
        left--;
        continue;
      }
      const lines = messagesOf(this.#entries.peek());
      // What is not certain is sent again.
      if (lines === undefined) break;
      if (lines.length <= left) {
        left -= lines.length;
        this.#confirm(this.#confirmed + 1);
      } else {
        this.#cutFirst(lines, left);
        left = 0;
      }
    }
    return this.#confirmedLines - before;
  }

  /** Removes the first messages of the first entry. */
  #cutFirst(lines: readonly Buffer[], count: number): void {
    const entry = this.#entries.shift();
    const bytes = Buffer.concat(lines.slice(count));
    this.#entries.unshift([{ bytes, lines: lines.length - count }]);
    this.#bytes += bytes.length - (entry?.bytes.length ?? 0);
    this.#confirmedLines += (entry?.lines ?? 0) - (lines.length - count);
  }

  /** Stops writing. Confirmations of what was written still count. */
  detach(): void {
    this.#sink = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Writes as much as the connection accepts. */
  pump(): void {
    const sink = this.#sink;
    while (sink !== undefined && !sink.isBusy) {
      const entry = this.#entries.at(this.#written);
      if (entry === undefined) break;
      this.#written++;
      sink.write(entry.bytes, entry.lines);
      this.#bytesSincePing += entry.bytes.length;
      if (this.#bytesSincePing >= CONFIRM_BYTES) this.#pingNow();
    }
    this.#schedulePing();
  }

  /**
   * Resolves when everything added so far is confirmed, on this connection or a later one.
   * Rejects with the error passed to {@link close}.
   */
  flush(): Promise<void> {
    if (this.unconfirmed === 0) return Promise.resolve();
    if (this.#bytesSincePing > 0) this.#pingNow();
    return this.#wait(this.#waiters, this.#confirmed + this.unconfirmed);
  }

  /** Resolves when there is room, possibly immediately. Rejects with the error passed to {@link close}. */
  drained(): Promise<void> {
    return this.#needsDrain.isHigh ? this.#wait(this.#drainWaiters, 0) : Promise.resolve();
  }

  /** Stops writing, and rejects all waiting callers. */
  close(error: Error): void {
    this.detach();
    this.#closeReason = error;
    for (const waiters of [this.#waiters, this.#drainWaiters]) {
      for (const { reject } of waiters.splice(0)) reject(error);
    }
  }

  #wait(waiters: Waiter[], count: number): Promise<void> {
    if (this.#closeReason !== undefined) return Promise.reject(this.#closeReason);
    return new Promise((resolve, reject) => waiters.push({ count, resolve, reject }));
  }

  #schedulePing(): void {
    if (this.#bytesSincePing === 0 || this.#sink === undefined) return;
    this.#timer ??= setTimeout(() => this.#pingNow(), CONFIRM_DELAY);
  }

  #pingNow(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#sink === undefined) return;
    this.#bytesSincePing = 0;
    const mark = this.#confirmed + this.#written;
    const ownBefore = this.#ownTotal;
    this.#sink.ping((line) => {
      this.#confirm(mark);
      this.#sessionLine = line;
      // Without those that were sent after the ping.
      this.#dropOwn(this.#ownSince - (this.#ownTotal - ownBefore));
    });
  }

  /** The broker has checked the first `mark` entries, counted over the lifetime of the outbox. */
  #confirm(mark: number): void {
    for (; this.#confirmed < mark; this.#confirmed++) {
      const entry = this.#entries.shift();
      if (this.#written > 0) this.#written--;
      this.#bytes -= entry?.bytes.length ?? 0;
      this.#confirmedLines += entry?.lines ?? 0;
    }
    const hasDrained = this.#needsDrain.update(this.#bytes);
    const waiting = this.#waiters.findIndex(({ count }) => count > this.#confirmed);
    const done = this.#waiters.splice(0, waiting === -1 ? this.#waiters.length : waiting);
    for (const { resolve } of done) resolve();
    if (!hasDrained) return;
    for (const { resolve } of this.#drainWaiters.splice(0)) resolve();
    this.#onDrain();
  }
}

const NEWLINE = 0x0a;

/** The messages of an entry, each with its newline; `undefined` unless each of its lines is one. */
function messagesOf(entry: Entry | undefined): Buffer[] | undefined {
  if (entry === undefined) return undefined;
  const lines: Buffer[] = [];
  const { bytes } = entry;
  for (let start = 0; start < bytes.length; ) {
    const end = bytes.indexOf(NEWLINE, start) + 1;
    const line = bytes.subarray(start, end);
    const text = line.toString();
    try {
      if (text.trim() !== '') JSON.parse(text);
    } catch {
      return undefined;
    }
    if (text.trim() !== '') lines.push(line);
    start = end;
  }
  return lines;
}
