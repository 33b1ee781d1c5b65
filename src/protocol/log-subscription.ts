// A subscription that gets its messages from the durable log: past ones, and new ones as soon as they are durable. It never
// holds more than a few of them in memory, however far its subscriber is behind.

import { isGap, type LogGap, type LoggedRun, type LogReader } from '../log/log-reader.js';
import type { LogStart } from '../log/log-start.js';
import type { MessageLog } from '../log/message-log.js';
import { formatPosition, type Position } from '../log/position.js';
import type { StoredMessageFilter } from '../log/stored-messages.js';
import type { SubscriptionReader } from '../routing/subscriptions.js';
import { brokerLine } from './outgoing.js';
import type { Peer } from './peer.js';

export interface LogSubscriptionOptions {
  readonly id: string;
  /** Name of the cursor that it moves, if it does. */
  readonly cursor: string | undefined;
  readonly start: LogStart;
  readonly delimiter: number;
  /** Called with the offset after messages that were written to the subscriber. */
  readonly onWritten: (offset: number) => void;
  readonly onStopped: () => void;
  /** Number of all subscriptions to the log. */
  readonly count: () => number;
  /** Called if the log cannot be read. */
  readonly onError: (error: unknown) => void;
}

const KiB = 1024;
/** Bytes that may wait for a subscriber before the log is read on for it. */
const MAX_WAITING = 512 * KiB;
/** The same for all subscribers together, unless there are so many of them that each has the minimum. */
const TOTAL_WAITING = 64 * 1024 * KiB;
const MIN_WAITING = 16 * KiB;
/** Bytes of messages after which the subscriber gets a position, even if more messages follow at once. */
const POSITION_BYTES = 64 * KiB;
/** Bytes of messages that were read, whether they match or not, after which it gets one. */
const POSITION_READ = 1024 * KiB;

/** @typeParam P the type of connections */
export class LogSubscription<P extends Peer> implements SubscriptionReader {
  readonly #connection: P;
  readonly #log: MessageLog;
  readonly #filter: StoredMessageFilter;
  readonly #options: LogSubscriptionOptions;
  readonly #reader: LogReader;
  #isStopped = false;
  /** Ends the wait for messages. */
  #wake: (() => void) | undefined;
  /** Offset of the latest position that the subscriber got. */
  #positioned: number;
  #bytesDelivered = 0;
  #bytesRead = 0;

  constructor(connection: P, log: MessageLog, filter: StoredMessageFilter, options: LogSubscriptionOptions) {
    this.#connection = connection;
    this.#log = log;
    this.#filter = filter;
    this.#options = options;
    this.#reader = log.reader(options.start.offset);
    this.#positioned = options.start.offset;
  }

  get id(): string {
    return this.#options.id;
  }

  get cursor(): string | undefined {
    return this.#options.cursor;
  }

  get connection(): P {
    return this.#connection;
  }

  /** Offset of the next message to read. */
  get offset(): number {
    return this.#reader.offset;
  }

  /** Delivers messages until it is stopped. */
  async run(): Promise<void> {
    const { lost, offset } = this.#options.start;
    if (lost !== undefined) this.#sendGap(lost, offset, 'epoch');
    try {
      while (!this.#isStopped) {
        const part = await this.#reader.next();
        if (this.#isStopped) break;
        if (part === undefined) await this.#waitForMore();
        else if (isGap(part)) this.#skip(part);
        else await this.#deliver(part);
      }
    } catch (error) {
      if (!this.#isStopped) this.#options.onError(error);
    } finally {
      await this.#reader.close();
    }
  }

  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#wake?.();
    this.#options.onStopped();
  }

  async #waitForMore(): Promise<void> {
    this.#sendPosition();
    this.#connection.flush();
    this.#reader.release();
    const { offset } = this.#reader;
    if (offset < this.#log.durable) return;
    await new Promise<void>((resolve) => {
      const cancel = this.#log.onceMessageDurable(offset, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
    this.#wake = undefined;
  }

  async #deliver(run: LoggedRun): Promise<void> {
    const { start } = this.#options;
    const messages = run.header.time < (start.time ?? 0) ? undefined : this.#filter.select(run, start.offset);
    this.#bytesRead += run.body.length;
    if (messages !== undefined) {
      const { outbox } = this.#connection;
      const share = TOTAL_WAITING / this.#options.count();
      const maxWaiting = Math.max(MIN_WAITING, Math.min(MAX_WAITING, share));
      if (outbox.pendingBytes > maxWaiting) {
        this.#connection.flush();
        await outbox.whenBelow(maxWaiting);
        if (this.#isStopped) return;
      }
      outbox.deliverStored(messages);
      this.#bytesDelivered += messages.bytes.length;
    }
    if (this.#bytesDelivered < POSITION_BYTES && this.#bytesRead < POSITION_READ) return;
    this.#sendPosition();
    this.#connection.flush();
  }

  #skip({ from, to, reason }: LogGap): void {
    const { epoch } = this.#log;
    this.#sendPosition(from);
    this.#sendGap({ epoch, offset: from }, to, reason);
  }

  /** @param offset of the next message. Default: that of the reader. */
  #sendPosition(offset: number = this.#reader.offset): void {
    this.#bytesDelivered = 0;
    this.#bytesRead = 0;
    if (offset === this.#positioned) return;
    this.#positioned = offset;
    const { id, delimiter, onWritten } = this.#options;
    const position = formatPosition({ epoch: this.#log.epoch, offset });
    this.#connection.outbox.reply(brokerLine('position', { id, position }, delimiter), (error) => {
      if (error === undefined && !this.#isStopped) onWritten(offset);
    });
  }

  #sendGap(from: Position, to: number, reason: LogGap['reason'] | 'epoch'): void {
    const { id, delimiter } = this.#options;
    const gap = {
      id,
      from: formatPosition(from),
      to: formatPosition({ epoch: this.#log.epoch, offset: to }),
      reason,
    };
    this.#positioned = to;
    this.#connection.reply(brokerLine('gap', gap, delimiter));
  }
}
