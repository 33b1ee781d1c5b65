// A work group: its members share the messages of the durable log, each message goes to one of them, and is redelivered, to
// this or another member, until one acknowledges it. A message that fails too often goes to the dead letters.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Piece } from '../delivery/outbox.js';
import { endOf, LeaseTable, type RetryPolicy, type WaitingLease } from '../log/lease-table.js';
import { isGap, type LogGap, type LoggedRun, type LogReader } from '../log/log-reader.js';
import type { LogStart } from '../log/log-start.js';
import type { MessageLog } from '../log/message-log.js';
import { formatPosition, type Position } from '../log/position.js';
import { StoredMessageFilter } from '../log/stored-messages.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import type { Filter } from '../routing/filter.js';
import type { SubscriptionReader } from '../routing/subscriptions.js';
import { Watermark } from '../watermark.js';
import { brokerLine } from './outgoing.js';
import type { Peer } from './peer.js';

/** How a member works. */
export interface MemberOptions {
  /** Time without progress after which its messages are taken away, in ms. */
  readonly ackWait: number;
  /** Failures after which a message goes to the dead letters. */
  readonly maxDeliveries: number;
  /** Messages that it may have without acknowledging them. */
  readonly maxUnacked: number;
}

/** A message that failed too often. */
export interface FailedMessage {
  readonly group: string;
  /** The record that contains it, and its index there. */
  readonly run: LoggedRun;
  readonly index: number;
  /** Where it is in the body of the record. */
  readonly start: number;
  readonly end: number;
  readonly typeIndex: number;
}

/** What a group needs of the broker. */
export interface WorkGroupContext<P extends Peer> {
  readonly log: MessageLog;
  readonly registry: MessageRegistry;
  readonly delimiter: number;
  /** Stores a message that failed too often as a dead letter. Resolves when it is durable; is never rejected. */
  addDeadLetter(message: FailedMessage): Promise<void>;
  /** Whether too many of them wait for the disk. */
  readonly areDeadLettersBehind: boolean;
  /** The log cannot be read for a member. */
  onUnreadable(connection: P, error: unknown): void;
  /** A message that failed too often cannot be read, to store it. It is tried again. */
  onError(error: unknown): void;
}

const KiB = 1024;
/** Bytes that may wait for a member before it gets no more. */
const MAX_WAITING_BYTES = 512 * KiB;
/** Messages and bytes of a lease. */
const MAX_LEASE = 128;
const MAX_LEASE_BYTES = 256 * KiB;
/** A member that had as many messages as it may have gets more once it has no more than this share of them. */
const LOW_SHARE = 0.75;
/** Leases that wait to be delivered again. Above it, there are no new ones. */
const MAX_WAITING_LEASES = 10_000;
/** Messages that failed too often and are not stored yet. Above it, nothing is delivered. */
const MAX_DEAD = 1000;
/** Of those, how many are being stored. */
const MAX_BEING_STORED = 4;
/** Delays of a message that has failed, in ms: doubled each time. */
const [FIRST_DELAY, MAX_DELAY] = [1000, 60_000];
/** How often it is checked whether members make progress, in ms: more often with a short `ackWait`. */
const [MIN_TICK, MAX_TICK, TICKS] = [50, 1000, 10];
/** Delay before something that has failed is tried again, in ms. */
const RETRY_DELAY = 1000;
/** How long the member that failed messages wait for may be behind before they wait for another one, in ms. */
const MAX_RESERVED_BEHIND = 1000;

export interface WorkGroupStatistics {
  readonly name: string;
  readonly members: number;
  /** Messages that members have and have not acknowledged. */
  readonly held: number;
  /** Messages that wait to be delivered again. */
  readonly waiting: number;
}

/** One subscription of a connection to a group. @typeParam P the type of connections */
export class WorkGroupMember<P extends Peer> implements SubscriptionReader {
  readonly group: WorkGroup<P>;
  readonly connection: P;
  /** Of the subscription. */
  readonly id: string;
  readonly options: MemberOptions;
  /** Time without progress while nothing waits to be sent to it, in ms. */
  idleFor = 0;
  /** High once it has as many messages as it may have, until it has acknowledged enough of them to get more. */
  readonly fullness: Watermark;
  /** Whether it took too long. It gets nothing until it acknowledges something. */
  isLate = false;
  /** Whether the group is waiting for its connection to accept more bytes. */
  isAwaited = false;

  constructor(group: WorkGroup<P>, connection: P, id: string, options: MemberOptions) {
    this.group = group;
    this.connection = connection;
    this.id = id;
    this.options = options;
    this.fullness = new Watermark(options.maxUnacked - 1, LOW_SHARE);
  }

  /**
   * All messages before a position are done. Repeating it shows that the member is still working.
   * @param done other messages that are done: the offsets of the first one and after the last one of each range
   */
  acknowledge(offset: number, done: readonly (readonly number[])[] = []): void {
    this.group.acknowledge(this, offset, done);
  }

  /**
   * Messages could not be handled.
   * @param from offset of the first one
   * @param to offset after the last one
   * @param delay ms after which they are delivered again. Default: longer each time.
   */
  giveBack(from: number, to: number, delay: number | undefined): void {
    this.group.giveBack(this, from, to, delay);
  }

  stop(isDisconnecting: boolean): void {
    this.group.leave(this, isDisconnecting);
  }
}

/** Messages of a record that nobody has got yet. */
interface Undelivered {
  readonly run: LoggedRun;
  /** Offsets, and sizes in bytes. */
  readonly offsets: readonly number[];
  readonly sizes: readonly number[];
  next: number;
}

/** @typeParam P the type of connections */
export class WorkGroup<P extends Peer> {
  readonly name: string;
  readonly #context: WorkGroupContext<P>;
  #filter: StoredMessageFilter;
  #filterKey: string;
  /** Messages that were received earlier are left out, in ms since 1970. */
  readonly #since: number;
  /** Where it was in a log that does not exist any more, until its members know that. */
  #lost: Position | undefined;
  readonly #table: LeaseTable<WorkGroupMember<P>>;
  readonly #members = new Set<WorkGroupMember<P>>();
  #reader: LogReader | undefined;
  #undelivered: Undelivered | undefined;
  /** Reads messages that are delivered again. */
  #rereader: LogReader | undefined;
  /** What it has read last, as long as leases are due: often, several are of the same record. */
  #reread: LoggedRun | undefined;
  /** Offsets of messages that failed too often and are being stored. */
  readonly #beingStored = new Set<number>();
  /** Member that gets no new messages until it has none left: failed messages are then delivered to it alone. */
  #reserved: WorkGroupMember<P> | undefined;
  /** When it kept up last, or became the reserved one, by the monotonic clock. */
  #reservedAt = 0;
  #running: Promise<void> | undefined;
  /** Whether something has happened since the latest look at what there is to do. */
  #isAwake = false;
  #wakeUp: (() => void) | undefined;
  /** When it was last looked for messages that may be delivered again, by the monotonic clock. */
  #checkedAt = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(name: string, context: WorkGroupContext<P>, filter: Filter, start: LogStart) {
    this.name = name;
    this.#context = context;
    this.#filter = this.#storedFilter(filter);
    this.#filterKey = filter.key;
    this.#since = start.time ?? 0;
    this.#lost = start.lost;
    this.#table = new LeaseTable(start.offset);
  }

  get size(): number {
    return this.#members.size;
  }

  /** All messages before this offset are done. */
  get settled(): number {
    return this.#table.settled;
  }

  get statistics(): WorkGroupStatistics {
    const { held, waitingMessages: waiting } = this.#table;
    return { name: this.name, members: this.#members.size, held, waiting };
  }

  /** Whether members can have this filter: all have the same one. Without members, it may change. */
  accepts(filter: Filter): boolean {
    return filter.key === this.#filterKey || (this.#members.size === 0 && this.#running === undefined);
  }

  /** @param filter that the group {@link accepts} */
  join(connection: P, id: string, filter: Filter, options: MemberOptions): WorkGroupMember<P> {
    if (filter.key !== this.#filterKey) {
      this.#filter = this.#storedFilter(filter);
      this.#filterKey = filter.key;
    }
    connection.logSubscriptions++;
    const member = new WorkGroupMember(this, connection, id, options);
    this.#members.add(member);
    return member;
  }

  /** Delivers messages to a member, once it knows of its subscription. */
  start(): void {
    if (this.#lost !== undefined) this.#reportGap(this.#lost, this.#table.end, 'epoch');
    this.#lost = undefined;
    this.#schedule();
    this.#wake();
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      // Another member may have joined while the last one left.
      if (this.#members.size > 0) this.start();
    });
  }

  leave(member: WorkGroupMember<P>, isDisconnecting: boolean): void {
    if (!this.#members.delete(member)) return;
    member.connection.logSubscriptions--;
    // A member that unsubscribes is not failing; one whose connection ends may have failed because of a message.
    this.#table.release(member, isDisconnecting ? this.#policyOf(member) : undefined);
    if (this.#reserved === member) this.#reserved = undefined;
    // What it has just acknowledged would have to wait for the next member.
    this.#saveCursor();
    this.#schedule();
    this.#wake();
  }

  acknowledge(member: WorkGroupMember<P>, offset: number, done: readonly (readonly number[])[]): void {
    this.#recordProgress(member);
    this.#table.acknowledge(member, offset);
    this.#table.settle(member, done);
  }

  giveBack(member: WorkGroupMember<P>, from: number, to: number, delay: number | undefined): void {
    this.#recordProgress(member);
    const now = performance.now();
    this.#table.fail(member, from, to, {
      maxFailures: member.options.maxDeliveries,
      notBefore: (failures) => now + (delay ?? retryDelay(failures)),
    });
  }

  #saveCursor(): void {
    this.#context.log.moveCursor(this.name, this.#table.settled);
  }

  #storedFilter(filter: Filter): StoredMessageFilter {
    return new StoredMessageFilter(this.#context.registry, filter, this.#context.delimiter);
  }

  #recordProgress(member: WorkGroupMember<P>): void {
    member.idleFor = 0;
    member.isLate = false;
    this.#wake();
  }

  /** After a connection has closed, or a member took too long: at once the first time, then less and less often. */
  #policyOf({ options: { maxDeliveries: maxFailures } }: WorkGroupMember<P>): RetryPolicy {
    const now = performance.now();
    // The search for the message that cannot be handled has few steps: they need no delay.
    const isAtOnce = (failures: number) => failures === 1 || failures >= maxFailures;
    return {
      maxFailures,
      notBefore: (failures) => now + (isAtOnce(failures) ? 0 : retryDelay(failures - 1)),
    };
  }

  async #run(): Promise<void> {
    while (this.#members.size > 0) {
      this.#isAwake = false;
      try {
        while (await this.#step());
      } catch (error) {
        for (const member of [...this.#members]) this.#context.onUnreadable(member.connection, error);
      }
      this.#saveCursor();
      if (this.#table.due(this.#checkedAt) === undefined) await this.#endRereading();
      if (this.#members.size > 0) await this.#wait();
    }
    await this.#endRereading();
    const reader = this.#reader;
    this.#reader = undefined;
    this.#undelivered = undefined;
    await reader?.close();
  }

  /** Does the next thing that there is to do. @returns whether there was any */
  async #step(): Promise<boolean> {
    this.#storeDeadLetters();
    const now = performance.now();
    this.#checkedAt = now;
    const due = this.#table.due(now);
    if (this.#table.dead.length >= MAX_DEAD) return false;
    if (due === undefined) this.#reserved = undefined;
    else {
      const member = due.failures === 0 ? this.#memberWithRoom() : this.#memberWithoutWork();
      if (member !== undefined) return this.#deliverAgain(member, due);
    }
    if (this.#table.waiting.length >= MAX_WAITING_LEASES) return false;
    const member = this.#memberWithRoom();
    if (member === undefined) return false;
    this.#undelivered ??= await this.#read();
    // It may have left meanwhile.
    if (this.#undelivered !== undefined && this.#members.has(member))
      this.#deliver(member, this.#undelivered);
    return this.#undelivered !== undefined;
  }

  /** The member with the fewest messages, of those that can get more. */
  #memberWithRoom(): WorkGroupMember<P> | undefined {
    let best: WorkGroupMember<P> | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const member of this.#members) {
      if (member === this.#reserved || !this.#canGetMore(member)) continue;
      const count = this.#table.countOf(member);
      member.fullness.update(count);
      if (member.fullness.isHigh || count >= least) continue;
      best = member;
      least = count;
    }
    return best;
  }

  /** A member without messages that keeps up. If all have some, one of them gets no more until it has none. */
  #memberWithoutWork(): WorkGroupMember<P> | undefined {
    let best: WorkGroupMember<P> | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const member of this.#members) {
      const count = this.#table.countOf(member);
      if (count >= least || !this.#keepsUp(member)) continue;
      best = member;
      least = count;
    }
    if (least === 0) return best;
    if (this.#reserved !== undefined && this.#keepsUp(this.#reserved)) this.#reservedAt = this.#checkedAt;
    else if (this.#reserved === undefined || this.#checkedAt - this.#reservedAt > MAX_RESERVED_BEHIND) {
      this.#reserved = best;
      this.#reservedAt = this.#checkedAt;
    }
    return undefined;
  }

  #canGetMore(member: WorkGroupMember<P>): boolean {
    if (!this.#keepsUp(member)) return false;
    // What has failed is delivered alone, so that it is known what fails.
    return (this.#table.leasesOf(member)[0]?.failures ?? 0) === 0;
  }

  /** Whether a member is not late, and few bytes wait for it. If many do, the group goes on once they do not. */
  #keepsUp(member: WorkGroupMember<P>): boolean {
    const { isLate, isAwaited, connection } = member;
    if (isLate || isAwaited) return false;
    if (connection.outbox.pendingBytes <= MAX_WAITING_BYTES) return true;
    member.isAwaited = true;
    void connection.outbox.whenBelow(MAX_WAITING_BYTES).then(() => {
      member.isAwaited = false;
      this.#wake();
    });
    return false;
  }

  /** The next messages of the log that match; `undefined` if there are none yet. */
  async #read(): Promise<Undelivered | undefined> {
    const { log } = this.#context;
    this.#reader ??= log.reader(this.#table.end);
    for (;;) {
      const part = await this.#reader.next();
      if (part === undefined) {
        this.#reader.release();
        return undefined;
      }
      if (isGap(part)) {
        this.#skip(part);
        this.#table.advance(part.to);
        continue;
      }
      const { first, count, time } = part.header;
      const offsets: number[] = [];
      const sizes: number[] = [];
      if (time >= this.#since)
        this.#filter.visit(part, this.#table.end, Number.POSITIVE_INFINITY, (at, start, end) => {
          offsets.push(first + at);
          sizes.push(end - start);
        });
      if (offsets.length > 0) return { run: part, offsets, sizes, next: 0 };
      this.#table.advance(first + count);
    }
  }

  /** Delivers the next messages of a record to a member: as many as it may have. */
  #deliver(member: WorkGroupMember<P>, undelivered: Undelivered): void {
    const { run, offsets, sizes, next } = undelivered;
    const max = Math.min(MAX_LEASE, member.options.maxUnacked - this.#table.countOf(member));
    let bytes = sizes[next] ?? 0;
    let to = next + 1;
    for (; to < offsets.length && to - next < max; to++) {
      bytes += sizes[to] ?? 0;
      if (bytes > MAX_LEASE_BYTES) break;
    }
    const leased = offsets.slice(next, to);
    undelivered.next = to;
    this.#table.add(member, leased);
    if (to === offsets.length) {
      this.#undelivered = undefined;
      this.#table.advance(run.header.first + run.header.count);
    }
    const messages = this.#select(run, leased);
    if (messages !== undefined) this.#send(member, messages, leased);
  }

  /** Delivers messages again. If they do not exist any more, that is reported. */
  async #deliverAgain(member: WorkGroupMember<P>, lease: WaitingLease<WorkGroupMember<P>>): Promise<boolean> {
    const part = await this.#readAgain(lease.offsets[0] ?? 0);
    // Meanwhile, the member may have left, or a member that took too long may have acknowledged some of them.
    if (!this.#table.isWaiting(lease) || !this.#members.has(member)) return true;
    if (isGap(part)) {
      this.#skip(part);
      this.#table.forget(lease, part.to);
      return true;
    }
    this.#reserved = undefined;
    const messages = this.#select(part, lease.offsets);
    // If none match, the group has had another filter.
    if (messages === undefined) this.#table.forget(lease, Number.POSITIVE_INFINITY);
    else {
      this.#table.take(member, lease);
      this.#send(member, messages, lease.offsets);
    }
    return true;
  }

  /** The record of a message that was read before, or that it does not exist any more. */
  async #readAgain(offset: number): Promise<LoggedRun | LogGap> {
    if (this.#reread !== undefined) {
      const { first, count } = this.#reread.header;
      if (offset >= first && offset < first + count) return this.#reread;
    }
    await this.#endRereading();
    this.#rereader = this.#context.log.reader(offset);
    const part = await this.#rereader.next();
    if (part === undefined) throw new Error('the log ends before messages that were read');
    if (!isGap(part)) this.#reread = part;
    return part;
  }

  async #endRereading(): Promise<void> {
    const reader = this.#rereader;
    this.#rereader = undefined;
    this.#reread = undefined;
    await reader?.close();
  }

  #select(run: LoggedRun, offsets: readonly number[]): Piece | undefined {
    return this.#filter.select(run, offsets[0] ?? 0, endOf(offsets));
  }

  #send(member: WorkGroupMember<P>, messages: Piece, offsets: readonly number[]): void {
    const { connection, id } = member;
    const { log, delimiter } = this.#context;
    // Its first messages: the time until it is done with them begins now.
    if (this.#table.countOf(member) === offsets.length) member.idleFor = 0;
    connection.outbox.deliverStored(messages);
    const position = formatPosition({ epoch: log.epoch, offset: endOf(offsets) });
    connection.reply(brokerLine('position', { id, position }, delimiter));
    connection.flush();
  }

  /** Begins to store messages that failed too often. The others do not wait for that. */
  #storeDeadLetters(): void {
    for (const offset of this.#table.dead) {
      if (this.#beingStored.size >= MAX_BEING_STORED) return;
      if (!this.#beingStored.has(offset)) void this.#storeDeadLetter(offset);
    }
  }

  async #storeDeadLetter(offset: number): Promise<void> {
    this.#beingStored.add(offset);
    try {
      // Without members, it is tried again for the next one.
      while (this.#context.areDeadLettersBehind && this.#members.size > 0)
        await sleep(RETRY_DELAY, undefined, { ref: false });
      if (!this.#context.areDeadLettersBehind) {
        await this.#copyToDeadLetters(offset);
        this.#table.remove(offset);
        this.#saveCursor();
      }
    } catch (error) {
      this.#context.onError(error);
      await sleep(RETRY_DELAY, undefined, { ref: false });
    }
    this.#beingStored.delete(offset);
    this.#wake();
  }

  async #copyToDeadLetters(offset: number): Promise<void> {
    const { log, addDeadLetter } = this.#context;
    const reader = log.reader(offset);
    let stored: Promise<void> | undefined;
    try {
      const part = await reader.next();
      // If it does not exist any more, there is nothing to keep.
      if (part !== undefined && !isGap(part))
        this.#filter.visit(part, offset, offset + 1, (index, start, end, typeIndex) => {
          stored = addDeadLetter({ group: this.name, run: part, index, start, end, typeIndex });
        });
    } finally {
      await reader.close();
    }
    await stored;
  }

  #skip({ from, to, reason }: LogGap): void {
    this.#reportGap({ epoch: this.#context.log.epoch, offset: from }, to, reason);
  }

  /** Reports to all members that messages are missing. */
  #reportGap(from: Position, to: number, reason: LogGap['reason'] | 'epoch'): void {
    const { log, delimiter } = this.#context;
    const end = formatPosition({ epoch: log.epoch, offset: to });
    for (const { connection, id } of this.#members)
      connection.reply(brokerLine('gap', { id, from: formatPosition(from), to: end, reason }, delimiter));
  }

  /** Waits until something has happened, there are more messages, or some may be delivered again. */
  async #wait(): Promise<void> {
    const { log } = this.#context;
    const { end, waiting, dead, nextDue } = this.#table;
    const hasUnread = this.#undelivered !== undefined || end < log.durable;
    const isFull = waiting.length >= MAX_WAITING_LEASES || dead.length >= MAX_DEAD;
    // If a member has room, they have become durable since the log was read.
    if (this.#isAwake || (hasUnread && !isFull && this.#memberWithRoom() !== undefined)) return;
    const timer =
      nextDue === undefined
        ? undefined
        : setTimeout(() => this.#wake(), Math.max(0, nextDue - performance.now()) + 1).unref();
    const cancel = hasUnread ? () => {} : log.onceMessageDurable(end, () => this.#wake());
    await new Promise<void>((resolve) => {
      this.#wakeUp = resolve;
    });
    this.#wakeUp = undefined;
    clearTimeout(timer);
    cancel();
  }

  #wake(): void {
    this.#isAwake = true;
    this.#wakeUp?.();
  }

  /** Checks regularly whether the members make progress, as long as there are some. */
  #schedule(): void {
    clearInterval(this.#timer);
    if (this.#members.size === 0) return;
    const shortest = Math.min(...[...this.#members].map(({ options }) => options.ackWait));
    const interval = Math.min(MAX_TICK, Math.max(MIN_TICK, shortest / TICKS));
    this.#timer = setInterval(() => this.#checkProgress(interval), interval).unref();
  }

  /** Whoever has made no progress for too long loses its messages. Time in which the broker is blocked does not count. */
  #checkProgress(interval: number): void {
    for (const member of this.#members) {
      const isReceiving = member.connection.outbox.pendingBytes > 0;
      if (isReceiving || this.#table.leasesOf(member).length === 0) continue;
      member.idleFor += interval;
      if (member.idleFor < member.options.ackWait) continue;
      member.isLate = true;
      this.#table.release(member, this.#policyOf(member), true);
      this.#wake();
    }
  }
}

/** @param count of the delays, with this one */
function retryDelay(count: number): number {
  return Math.min(MAX_DELAY, FIRST_DELAY * 2 ** (count - 1));
}
