// Who works on which messages of a log, for the members of one work group, and which messages wait to be delivered again.
// Bookkeeping only: it has no clock, and reads nothing. A group may have tens of thousands of leases, so nothing here visits
// all of them.

import { firstIndex, SortedList } from './sorted-list.js';

/** Messages that were delivered together, and are acknowledged or given back together or in parts. */
export interface Lease {
  /** Their offsets, ascending. All that match the filter of the group, from the first one to the last. */
  readonly offsets: readonly number[];
  /** How often working on them has failed. */
  readonly failures: number;
  /** Number of the latest delivery, of all deliveries of the group. */
  readonly delivery: number;
  /** The offset after the last message of that delivery: more messages may have been delivered than are left. */
  readonly end: number;
  /** Whether that delivery counts as failed. */
  readonly isFailed: boolean;
}

/** A lease that nobody has. @typeParam M the members */
export interface WaitingLease<M> extends Lease {
  /** When it may be delivered again, by the clock of the caller. */
  readonly notBefore: number;
  /** The member that may still acknowledge it: it took too long, and may just be slow. */
  readonly previous: M | undefined;
}

/** What happens to messages after a failure. */
export interface RetryPolicy {
  /** Failures after which messages are searched for the one that cannot be handled. */
  readonly maxFailures: number;
  /** When they may be delivered again. */
  notBefore(failures: number): number;
}

/** Leases of one member. */
class LeaseSet<L extends Lease> {
  readonly byOffset = new SortedList<L>(byFirst);
  readonly byDelivery = new SortedList<L>((a, b) => a.delivery - b.delivery || byFirst(a, b));
  /** Number of messages. */
  count = 0;

  replace(removed: readonly L[], added: readonly L[]): void {
    this.byOffset.replace(removed, added);
    this.byDelivery.replace(removed, added);
    this.count += messagesIn(added) - messagesIn(removed);
  }

  /** What is left of the delivery that contained the message before a position. */
  containing(position: number): L | undefined {
    // The ends nearly always ascend, too: a member that has failed messages of a delivery gets them again once it has none
    // left of it. If one is not found, its messages are delivered again.
    const { items } = this.byOffset;
    const lease = items[firstIndex(items, ({ end }) => end >= position)];
    return firstOf(lease) < position ? lease : undefined;
  }

  /** Those that have messages from one offset up to another. */
  between(from: number, to: number): L[] {
    const { items } = this.byOffset;
    const start = firstIndex(items, ({ offsets }) => endOf(offsets) > from);
    const end = firstIndex(items, (lease) => firstOf(lease) >= to);
    return items.slice(start, end);
  }
}

/** @typeParam M the members */
export class LeaseTable<M> {
  #end: number;
  #deliveries = 0;
  readonly #held = new Map<M, LeaseSet<Lease>>();
  readonly #waiting = new SortedList<WaitingLease<M>>(byFirst);
  /** Number of messages that wait. */
  #waitingMessages = 0;
  /** Waiting leases that may be delivered again, and those that may not, as of the latest call of {@link due}. */
  readonly #due = new SortedList<WaitingLease<M>>(byFirst);
  readonly #delayed = new SortedList<WaitingLease<M>>((a, b) => a.notBefore - b.notBefore || byFirst(a, b));
  /** Waiting leases, by the member that may still acknowledge them. */
  readonly #late = new Map<M, LeaseSet<WaitingLease<M>>>();
  /** Offsets of messages that failed too often. */
  readonly #dead = new SortedList<number>((a, b) => a - b);

  /** @param start offset of the first message */
  constructor(start: number) {
    this.#end = start;
  }

  /** Offset of the first message that was not considered yet. */
  get end(): number {
    return this.#end;
  }

  /** All messages before this offset are settled: acknowledged, or removed because they failed too often. */
  get settled(): number {
    let settled = Math.min(this.#end, firstOf(this.#waiting.first), this.#dead.first ?? this.#end);
    for (const { byOffset } of this.#held.values()) settled = Math.min(settled, firstOf(byOffset.first));
    return settled;
  }

  /** Leases that nobody has, the oldest messages first. */
  get waiting(): readonly WaitingLease<M>[] {
    return this.#waiting.items;
  }

  /** Number of messages in leases that nobody has. */
  get waitingMessages(): number {
    return this.#waitingMessages;
  }

  isWaiting(lease: WaitingLease<M>): boolean {
    return this.#waiting.has(lease);
  }

  /** Of the waiting leases that may be delivered again, the one with the oldest messages. @param now never decreases */
  due(now: number): WaitingLease<M> | undefined {
    const due = this.#delayed.until(({ notBefore }) => notBefore > now);
    if (due.length > 0) {
      this.#delayed.replace(due, []);
      this.#due.replace([], due);
    }
    return this.#due.first;
  }

  /** When the next of the leases that were not {@link due} may be delivered again; `undefined` if all were. */
  get nextDue(): number | undefined {
    return this.#delayed.first?.notBefore;
  }

  /** Offsets of messages that failed too often, ascending, until they are {@link remove}d. */
  get dead(): readonly number[] {
    return this.#dead.items;
  }

  /** Number of messages that members have. */
  get held(): number {
    let total = 0;
    for (const { count } of this.#held.values()) total += count;
    return total;
  }

  /** In the order in which it got them. */
  leasesOf(member: M): readonly Lease[] {
    return this.#held.get(member)?.byDelivery.items ?? [];
  }

  /** Number of messages that a member has. */
  countOf(member: M): number {
    return this.#held.get(member)?.count ?? 0;
  }

  /** All messages before an offset were considered. */
  advance(end: number): void {
    this.#end = end;
  }

  /** A member gets messages that were not considered yet. */
  add(member: M, offsets: readonly number[]): void {
    this.#hold(member, offsets, 0);
    this.#end = endOf(offsets);
  }

  /** A member gets a waiting lease. */
  take(member: M, lease: WaitingLease<M>): void {
    this.#replaceWaiting([lease], []);
    this.#hold(member, lease.offsets, lease.failures);
  }

  /** Messages of a waiting lease do not exist any more. @param before those before this offset */
  forget(lease: WaitingLease<M>, before: number): void {
    this.#replaceWaiting([lease], without(lease, 0, before));
  }

  /**
   * A member is done with the message before an offset, and with all that it got before that one: also with those that were
   * taken away from it because it took too long, unless another one has them now. Not with messages that it got later,
   * even if their offsets are lower.
   */
  acknowledge(member: M, position: number): void {
    const latest =
      this.#held.get(member)?.containing(position) ?? this.#late.get(member)?.containing(position);
    if (latest === undefined) return;
    /** Whether all of it was delivered later, or is after the position. */
    const isLeft = (lease: Lease) =>
      lease.delivery > latest.delivery || (lease.delivery === latest.delivery && firstOf(lease) >= position);
    this.#replace(
      member,
      ({ byDelivery }) => byDelivery.until(isLeft),
      (lease) => (lease.delivery < latest.delivery ? [] : without(lease, 0, position)),
    );
  }

  /**
   * A member is done with these messages, whichever it got before. Otherwise as `acknowledge`.
   * @param ranges offset of the first message, and after the last one, of each range
   */
  settle(member: M, ranges: readonly (readonly number[])[]): void {
    const merged = mergeRanges(ranges);
    this.#replace(
      member,
      (leases) => [...new Set(merged.flatMap(([from, to]) => leases.between(from, to)))],
      (lease) => withoutRanges(lease, merged),
    );
  }

  /**
   * A member could not handle its messages from one offset up to another: also those that were taken away from it because it
   * took too long, unless another one has them now. It can not acknowledge them any more.
   */
  fail(member: M, from: number, to: number, policy: RetryPolicy): void {
    const failed: WaitingLease<M>[] = [];
    this.#replace(
      member,
      (leases) => leases.between(from, to),
      (lease) => {
        const { taken: offsets, left } = takeOut(lease, from, to);
        const failures = lease.failures + (lease.isFailed ? 0 : 1);
        if (offsets.length > 0)
          failed.push(...this.#putBack({ ...lease, offsets, failures }, policy, undefined));
        return left;
      },
    );
    this.#replaceWaiting([], failed);
  }

  /**
   * Takes all messages away from a member. It was working on its oldest lease, which counts as failed; the others can be
   * delivered again at once.
   * @param policy if omitted, no lease counts as failed
   * @param isLate whether the member is still there, and may acknowledge them later
   */
  release(member: M, policy: RetryPolicy | undefined, isLate = false): void {
    const previous = isLate ? member : undefined;
    const released = this.leasesOf(member).flatMap((lease, index) =>
      index > 0 || policy === undefined
        ? [{ ...lease, notBefore: 0, previous, isFailed: false }]
        : this.#putBack({ ...lease, failures: lease.failures + 1 }, policy, previous),
    );
    this.#held.delete(member);
    this.#replaceWaiting([], released);
  }

  /** A message that failed too often is stored elsewhere. */
  remove(offset: number): void {
    this.#dead.replace([offset], []);
  }

  #hold(member: M, offsets: readonly number[], failures: number): void {
    const delivery = ++this.#deliveries;
    const held = this.#held.get(member) ?? new LeaseSet();
    held.replace([], [{ offsets, failures, delivery, end: endOf(offsets), isFailed: false }]);
    this.#held.set(member, held);
  }

  /** Replaces leases that a member has, and those that it may still acknowledge. */
  #replace(
    member: M,
    find: <L extends Lease>(leases: LeaseSet<L>) => L[],
    replacement: <L extends Lease>(lease: L) => L[],
  ): void {
    const [held, late] = [this.#held.get(member), this.#late.get(member)];
    if (held !== undefined) {
      const leases = find(held);
      held.replace(leases, leases.flatMap(replacement));
      if (held.count === 0) this.#held.delete(member);
    }
    if (late !== undefined) {
      const leases = find(late);
      this.#replaceWaiting(leases, leases.flatMap(replacement));
    }
  }

  /** Replaces waiting leases. All of them may still be acknowledged by the same member, or by none. */
  #replaceWaiting(removed: readonly WaitingLease<M>[], added: readonly WaitingLease<M>[]): void {
    this.#waiting.replace(removed, added);
    this.#due.replace(removed, []);
    this.#delayed.replace(removed, added);
    this.#waitingMessages += messagesIn(added) - messagesIn(removed);
    const previous = (removed[0] ?? added[0])?.previous;
    if (previous === undefined) return;
    const late = this.#late.get(previous) ?? new LeaseSet();
    late.replace(removed, added);
    if (late.count > 0) this.#late.set(previous, late);
    else this.#late.delete(previous);
  }

  /**
   * After too many failures, the lease is split, until the message that cannot be handled is alone: then the messages around
   * it have been handled. The first message is alone at once: members that work in order have failed there. The others are
   * halved, for members that handle many messages together.
   * @returns what waits to be delivered again
   */
  #putBack(lease: Lease, policy: RetryPolicy, previous: M | undefined): WaitingLease<M>[] {
    const { offsets, failures } = lease;
    const waiting = { ...lease, notBefore: policy.notBefore(failures), previous, isFailed: true };
    if (failures < policy.maxFailures) return [waiting];
    if (offsets.length === 1) {
      this.#dead.replace([], offsets);
      return [];
    }
    const middle = Math.ceil((offsets.length + 1) / 2);
    const parts = [offsets.slice(0, 1), offsets.slice(1, middle), offsets.slice(middle)];
    return parts.flatMap((part) => (part.length > 0 ? [{ ...waiting, offsets: part }] : []));
  }
}

function messagesIn(leases: readonly Lease[]): number {
  return leases.reduce((sum, { offsets }) => sum + offsets.length, 0);
}

/** The messages of a lease from one offset up to another, and what is left of it without them. */
function takeOut<L extends Lease>(lease: L, start: number, end: number) {
  const { offsets } = lease;
  if (firstOf(lease) >= end || endOf(offsets) <= start) return { taken: [], left: [lease] };
  const from = firstIndex(offsets, (offset) => offset >= start);
  const to = firstIndex(offsets, (offset) => offset >= end);
  const parts = [offsets.slice(0, from), offsets.slice(to)].filter(({ length }) => length > 0);
  const left: L[] = parts.map((part) => ({ ...lease, offsets: part }));
  return { taken: offsets.slice(from, to), left };
}

/** What is left of a lease without the messages from one offset up to another. */
function without<L extends Lease>(lease: L, start: number, end: number): L[] {
  return takeOut(lease, start, end).left;
}

/** What is left of a lease without the messages of several ranges. @param ranges as returned by `mergeRanges` */
function withoutRanges<L extends Lease>(lease: L, ranges: readonly Range[]): L[] {
  const end = endOf(lease.offsets);
  const left: L[] = [lease];
  for (let at = firstIndex(ranges, ([, to]) => to > firstOf(lease)); at < ranges.length; at++) {
    const [from, to] = ranges[at] as Range;
    // Ranges ascend, so that only the last part can have messages of this one.
    const last = left.pop();
    if (last === undefined) break;
    left.push(...without(last, from, to));
    if (to >= end) break;
  }
  return left;
}

/** Offset of the first message, and after the last one. */
type Range = readonly [from: number, to: number];

/** The same messages in ranges that ascend and do not touch each other. */
function mergeRanges(ranges: readonly (readonly number[])[]): Range[] {
  const merged: [number, number][] = [];
  for (const [from = 0, to = 0] of ranges.toSorted(([a = 0], [b = 0]) => a - b)) {
    const last = merged.at(-1);
    if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to);
    else if (to > from) merged.push([from, to]);
  }
  return merged;
}

function byFirst(a: Lease, b: Lease): number {
  return firstOf(a) - firstOf(b);
}

/** Offset of the first message of a lease; `Infinity` without one. */
function firstOf(lease: Lease | undefined): number {
  return lease?.offsets[0] ?? Number.POSITIVE_INFINITY;
}

/** The offset after the last of some messages. */
export function endOf(offsets: readonly number[]): number {
  return (offsets.at(-1) ?? -1) + 1;
}
