// Who works on which messages of a log, for the members of one work group, and which messages wait to be delivered again.
// Bookkeeping only: it has no clock, and reads nothing.

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
}

/** A lease that nobody has. @typeParam M the members */
export interface WaitingLease<M> extends Lease {
  /** When it may be delivered again, by the clock of the caller. */
  readonly notBefore: number;
  /** The member that may still acknowledge it: it took too long, and may just be slow. */
  readonly previous: M | undefined;
  /** Whether its latest delivery counts as failed. */
  readonly isFailed: boolean;
}

/** What happens to messages after a failure. */
export interface RetryPolicy {
  /** Failures after which messages are searched for the one that cannot be handled. */
  readonly maxFailures: number;
  /** When they may be delivered again. */
  notBefore(failures: number): number;
}

/** What a member has. */
interface Holding {
  /** In the order in which it got them. */
  readonly leases: Lease[];
  /** Whether that is also the order of the messages. It is not if it got some that another member had before. */
  isSorted: boolean;
  /** Number of messages. */
  count: number;
}

/** Up to this number of leases, each is inserted where it belongs; more are sorted together with all others. */
const MAX_INSERTED = 8;

/** @typeParam M the members */
export class LeaseTable<M> {
  #end: number;
  #deliveries = 0;
  readonly #held = new Map<M, Holding>();
  /** The oldest messages first. */
  #waiting: WaitingLease<M>[] = [];
  /** Members that may still acknowledge waiting leases. */
  readonly #late = new Set<M>();
  /** Offsets of messages that failed too often. */
  readonly #dead = new Set<number>();

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
    let settled = Math.min(this.#end, firstOf(this.#waiting[0]));
    for (const { leases } of this.#held.values())
      for (const lease of leases) settled = Math.min(settled, firstOf(lease));
    for (const offset of this.#dead) settled = Math.min(settled, offset);
    return settled;
  }

  /** Leases that nobody has, the oldest messages first. */
  get waiting(): readonly WaitingLease<M>[] {
    return this.#waiting;
  }

  /** Offsets of messages that failed too often, until they are {@link remove}d. */
  get dead(): ReadonlySet<number> {
    return this.#dead;
  }

  /** Number of messages that members have. */
  get held(): number {
    let total = 0;
    for (const { count } of this.#held.values()) total += count;
    return total;
  }

  leasesOf(member: M): readonly Lease[] {
    return this.#held.get(member)?.leases ?? [];
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
    this.#remove(lease);
    this.#hold(member, lease.offsets, lease.failures);
  }

  /** Messages of a waiting lease do not exist any more. @param before those before this offset */
  forget(lease: WaitingLease<M>, before: number): void {
    this.#remove(lease);
    this.#wait(without(lease, 0, before));
  }

  /**
   * A member is done with the message before an offset, and with all that it got before that one: also with those that were
   * taken away from it because it took too long, unless another one has them now. Not with messages that it got later,
   * even if their offsets are lower.
   */
  acknowledge(member: M, position: number): void {
    const leases = this.leasesOf(member);
    const late = this.#lateLeasesOf(member);
    const contains = (one: Lease) => firstOf(one) < position && position <= one.end;
    const lease = leases.find(contains) ?? late.find(contains);
    if (lease === undefined) return;
    const left = <L extends Lease>(one: L) => {
      if (one.delivery !== lease.delivery) return one.delivery < lease.delivery ? [] : [one];
      return without(one, 0, position);
    };
    const later = leases.findIndex(({ delivery }) => delivery > lease.delivery);
    this.#replace(member, 0, later === -1 ? leases.length : later, left);
    if (late.length > 0)
      this.#waiting = this.#waiting.flatMap((one) => (one.previous === member ? left(one) : [one]));
  }

  /**
   * A member is done with these messages, whichever it got before. Otherwise as `acknowledge`.
   * @param ranges offset of the first message, and after the last one, of each range
   */
  settle(member: M, ranges: readonly (readonly number[])[]): void {
    if (ranges.length === 0) return;
    const settled = new Ranges(ranges);
    this.#replaceBetween(member, settled.start, settled.end, (lease) => settled.cutFrom(lease));
    if (this.#lateLeasesOf(member).length > 0)
      this.#waiting = this.#waiting.flatMap((one) =>
        one.previous === member ? settled.cutFrom(one) : [one],
      );
  }

  /**
   * A member could not handle its messages from one offset up to another: also those that were taken away from it because it
   * took too long, unless another one has them now. It can not acknowledge them any more.
   */
  fail(member: M, from: number, to: number, policy: RetryPolicy): void {
    const failed: WaitingLease<M>[] = [];
    const cutFrom = <L extends Lease>(lease: L, isFailed: boolean): L[] => {
      const { taken: offsets, left } = takeOut(lease, from, to);
      const failures = lease.failures + (isFailed ? 0 : 1);
      if (offsets.length > 0)
        failed.push(...this.#putBack({ ...lease, offsets, failures }, policy, undefined));
      return left;
    };
    this.#replaceBetween(member, from, to, (lease) => cutFrom(lease, false));
    if (this.#lateLeasesOf(member).length > 0)
      this.#waiting = this.#waiting.flatMap((one) =>
        one.previous === member ? cutFrom(one, one.isFailed) : [one],
      );
    this.#wait(failed);
  }

  /**
   * Takes all messages away from a member. It was working on its oldest lease, which counts as failed; the others can be
   * delivered again at once.
   * @param policy if omitted, no lease counts as failed
   * @param isLate whether the member is still there, and may acknowledge them later
   */
  release(member: M, policy: RetryPolicy | undefined, isLate = false): void {
    const previous = isLate ? member : undefined;
    if (isLate) this.#late.add(member);
    else this.#late.delete(member);
    const released = this.leasesOf(member).flatMap((lease, index) =>
      index > 0 || policy === undefined
        ? [{ ...lease, notBefore: 0, previous, isFailed: false }]
        : this.#putBack({ ...lease, failures: lease.failures + 1 }, policy, previous),
    );
    this.#held.delete(member);
    this.#wait(released);
  }

  /** A message that failed too often is stored elsewhere. */
  remove(offset: number): void {
    this.#dead.delete(offset);
  }

  #hold(member: M, offsets: readonly number[], failures: number): void {
    const lease = { offsets, failures, delivery: ++this.#deliveries, end: endOf(offsets) };
    const holding = this.#held.get(member) ?? { leases: [], isSorted: true, count: 0 };
    holding.isSorted &&= endOf(holding.leases.at(-1)?.offsets ?? []) <= firstOf(lease);
    holding.leases.push(lease);
    holding.count += offsets.length;
    this.#held.set(member, holding);
  }

  /** The waiting leases that a member may still acknowledge. */
  #lateLeasesOf(member: M): WaitingLease<M>[] {
    if (!this.#late.has(member)) return [];
    const late = this.#waiting.filter(({ previous }) => previous === member);
    if (late.length === 0) this.#late.delete(member);
    return late;
  }

  /** Replaces the leases of a member that have messages from one offset up to another. */
  #replaceBetween(member: M, from: number, to: number, replacement: (lease: Lease) => Lease[]): void {
    const { leases, isSorted } = this.#held.get(member) ?? { leases: [], isSorted: false };
    const { length } = leases;
    const start = isSorted ? firstIndex(length, (at) => endOf(leases[at]?.offsets ?? []) > from) : 0;
    const end = isSorted ? firstIndex(length, (at) => firstOf(leases[at]) >= to) : length;
    this.#replace(member, start, end, replacement);
  }

  /**
   * Replaces leases of a member. The others stay where they are: when it has many, most of them.
   * @param start index of the first one
   * @param end index after the last one
   */
  #replace(member: M, start: number, end: number, replacement: (lease: Lease) => Lease[]): void {
    const holding = this.#held.get(member);
    if (holding === undefined) return;
    const before = holding.leases.slice(start, end);
    const after = before.flatMap(replacement);
    holding.leases.splice(start, before.length, ...after);
    holding.count += messagesIn(after) - messagesIn(before);
    if (holding.leases.length === 0) this.#held.delete(member);
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
      for (const offset of offsets) this.#dead.add(offset);
      return [];
    }
    const middle = Math.ceil((offsets.length + 1) / 2);
    const parts = [offsets.slice(0, 1), offsets.slice(1, middle), offsets.slice(middle)];
    return parts.flatMap((part) => (part.length > 0 ? [{ ...waiting, offsets: part }] : []));
  }

  #wait(leases: readonly WaitingLease<M>[]): void {
    if (leases.length <= MAX_INSERTED) {
      for (const lease of leases) {
        const isAfter = (at: number) => firstOf(this.#waiting[at]) > firstOf(lease);
        this.#waiting.splice(firstIndex(this.#waiting.length, isAfter), 0, lease);
      }
      return;
    }
    // Two sorted lists in a row are sorted in linear time.
    this.#waiting = [...this.#waiting, ...leases.toSorted(byFirst)].sort(byFirst);
  }

  #remove(lease: WaitingLease<M>): void {
    this.#waiting.splice(this.#waiting.indexOf(lease), 1);
  }
}

/** Sets of offsets. A member may have very many leases, of which each acknowledgement concerns a few. */
class Ranges {
  /** In order, and apart from each other. */
  readonly #ranges: (readonly [start: number, end: number])[] = [];

  constructor(ranges: readonly (readonly number[])[]) {
    for (const [start = 0, end = 0] of ranges.toSorted(([a = 0], [b = 0]) => a - b)) {
      if (end <= start) continue;
      const last = this.#ranges.at(-1);
      if (last === undefined || start > last[1]) this.#ranges.push([start, end]);
      else this.#ranges[this.#ranges.length - 1] = [last[0], Math.max(last[1], end)];
    }
  }

  /** Offset of the first message, and after the last one. */
  get start(): number {
    return this.#ranges[0]?.[0] ?? 0;
  }

  get end(): number {
    return this.#ranges.at(-1)?.[1] ?? 0;
  }

  /** What is left of a lease without these messages. */
  cutFrom<L extends Lease>(lease: L): L[] {
    const after = endOf(lease.offsets);
    let left = [lease];
    const isBeyond = (at: number) => (this.#ranges[at]?.[1] ?? 0) > firstOf(lease);
    for (let at = firstIndex(this.#ranges.length, isBeyond); (this.#ranges[at]?.[0] ?? after) < after; at++) {
      const [start, end] = this.#ranges[at] as readonly [number, number];
      left = left.flatMap((one) => without(one, start, end));
    }
    return left;
  }
}

/** The index from which on a condition holds, as it does for no index before; `length` if it does for none. */
function firstIndex(length: number, holds: (index: number) => boolean): number {
  let [low, high] = [0, length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

function messagesIn(leases: readonly Lease[]): number {
  return leases.reduce((sum, { offsets }) => sum + offsets.length, 0);
}

/** The messages of a lease from one offset up to another, and what is left of it without them. */
function takeOut<L extends Lease>(lease: L, start: number, end: number) {
  const { offsets } = lease;
  if (firstOf(lease) >= end || endOf(offsets) <= start) return { taken: [], left: [lease] };
  const from = firstIndex(offsets.length, (at) => (offsets[at] ?? 0) >= start);
  const to = firstIndex(offsets.length, (at) => (offsets[at] ?? 0) >= end);
  const parts = [offsets.slice(0, from), offsets.slice(to)].filter(({ length }) => length > 0);
  const left: L[] = parts.map((part) => ({ ...lease, offsets: part }));
  return { taken: offsets.slice(from, to), left };
}

/** What is left of a lease without the messages from one offset up to another. */
function without<L extends Lease>(lease: L, start: number, end: number): L[] {
  return takeOut(lease, start, end).left;
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
