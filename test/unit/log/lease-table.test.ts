// Every message of a group is settled once, whatever its members do, and none is settled too early.

import fc from 'fast-check';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { LeaseTable, type RetryPolicy } from '#src/log/lease-table.js';
import { SortedList } from '#src/log/sorted-list.js';
import { timeRatio } from '../../support/timing.js';

const policy = (maxFailures: number): RetryPolicy => ({ maxFailures, notBefore: () => 0 });
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);
const waitingIn = (table: LeaseTable<string>) => table.waiting.map(({ offsets }) => offsets);

describe('a lease table', () => {
  test('settles what is acknowledged, up to the oldest message that is not', () => {
    const table = new LeaseTable<string>(5);
    table.add('a', range(5, 10));
    table.add('b', range(10, 15));
    table.advance(20);
    table.acknowledge('b', 15);
    expect(table.settled).toBe(5);
    table.acknowledge('a', 8);
    expect(table.settled).toBe(8);
    table.acknowledge('a', 10);
    expect(table.settled).toBe(20);
  });

  test('when a member goes, only its oldest lease has failed', () => {
    const table = new LeaseTable<string>(0);
    table.add('a', range(0, 4));
    table.add('a', range(4, 8));
    table.acknowledge('a', 2);
    table.release('a', policy(5));
    expect(table.waiting).toMatchObject([
      { offsets: [2, 3], failures: 1 },
      { offsets: [4, 5, 6, 7], failures: 0 },
    ]);
    expect(table.settled).toBe(2);
  });

  test('gives back single messages, and keeps those around them', () => {
    const table = new LeaseTable<string>(0);
    table.add('a', range(0, 5));
    table.fail('a', 2, 3, policy(5));
    expect(waitingIn(table)).toEqual([[2]]);
    expect(table.countOf('a')).toBe(4);
    table.acknowledge('a', 5);
    expect(table.settled).toBe(2);
  });

  test('settles single messages, also late, and keeps those around them', () => {
    const table = new LeaseTable<string>(0);
    table.add('a', range(0, 5));
    table.settle('a', [[1, 2]]);
    table.release('a', policy(5), true);
    table.settle('a', [[3, 4]]);
    table.settle('b', [[0, 5]]);
    expect(waitingIn(table)).toEqual([[0], [2], [4]]);
  });

  test('a late acknowledgement counts for messages that nobody else has', () => {
    const table = new LeaseTable<string>(0);
    table.add('a', range(0, 4));
    table.add('a', range(4, 6));
    table.release('a', policy(5), true);
    const [first] = table.waiting;
    if (first !== undefined) table.take('b', first);
    table.acknowledge('a', 5);
    expect(table.settled).toBe(0);
    expect(waitingIn(table)).toEqual([[5]]);
    table.acknowledge('b', 4);
    expect(table.settled).toBe(5);
  });

  test('a late acknowledgement does not cover what its member has given back late', () => {
    const table = new LeaseTable<string>(0);
    table.add('a', range(0, 4));
    table.release('a', policy(5), true);
    table.fail('a', 1, 3, policy(5));
    expect(waitingIn(table)).toEqual([[0], [1, 2], [3]]);
    expect(table.waiting.map(({ failures }) => failures)).toEqual([1, 1, 1]);
    table.acknowledge('a', 4);
    expect(waitingIn(table)).toEqual([[1, 2]]);
    table.settle('a', [[0, 4]]);
    expect(waitingIn(table)).toEqual([[1, 2]]);
  });

  test('what is given back late has failed, and waits as long as its member says', () => {
    const table = new LeaseTable<string>(0);
    for (const offset of [0, 1]) table.add('a', [offset]);
    table.release('a', policy(5), true);
    table.fail('a', 1, 2, { maxFailures: 5, notBefore: () => 3_600_000 });
    expect(table.waiting).toMatchObject([
      { offsets: [0], failures: 1, notBefore: 0 },
      { offsets: [1], failures: 1, notBefore: 3_600_000 },
    ]);
  });

  test.each([
    ['a member has', false],
    ['a late member may acknowledge', true],
  ])('visits few of the very many leases that %s', (_, isLate) => {
    const count = 10_000;
    let visits = 0;
    const counted = (offset: number) =>
      new Proxy([offset], {
        get: (target, key) => {
          visits++;
          return Reflect.get(target, key);
        },
      });
    const table = new LeaseTable<string>(0);
    for (let offset = 0; offset < count; offset++) table.add('a', counted(offset));
    if (isLate) table.release('a', policy(5), true);
    visits = 0;
    for (const position of [0, count + 1]) table.acknowledge('a', position);
    const spread = Array.from({ length: 10 }, (_, at) => [at * 1000 + 50, at * 1000 + 51]);
    table.settle('a', spread);
    table.fail('a', 5000, 5001, policy(5));
    expect(table.settled).toBe(0);
    expect(visits).toBeLessThan(count);
    const left = isLate ? table.waitingMessages - 1 : table.countOf('a');
    expect(left).toBe(count - spread.length - 1);
  });

  test('changes each of its lists once for all ranges that are settled, whatever their order', () => {
    const table = new LeaseTable<string>(0);
    for (let offset = 0; offset < 1000; offset++) table.add('a', range(offset * 10, offset * 10 + 10));
    table.release('a', policy(5), true);
    const replace = vi.spyOn(SortedList.prototype, 'replace');
    onTestFinished(() => replace.mockRestore());
    const ranges = Array.from({ length: 100 }, (_, at) => [at * 100 + 5, at * 100 + 85]);
    table.settle('a', [...ranges.reverse(), [0, 3], [0, 2], [7, 7]]);
    expect(replace.mock.calls.length).toBeLessThan(10);
    expect(table.settled).toBe(3);
    expect(table.waitingMessages).toBe(10_000 - 100 * 80 - 3);
    expect(waitingIn(table).slice(0, 3)).toEqual([[3, 4], range(85, 90), range(90, 100)]);
  });

  test('the oldest messages whose time has come are due', () => {
    const table = new LeaseTable<string>(0);
    const delays = [30, 10, 20, 20];
    delays.forEach((delay, offset) => {
      table.add('a', [offset]);
      table.fail('a', offset, offset + 1, { maxFailures: 5, notBefore: () => delay });
    });
    /** Takes all that are due. */
    const dueAt = (now: number) => {
      const due: number[] = [];
      for (let lease = table.due(now); lease !== undefined; lease = table.due(now)) {
        expect(table.isWaiting(lease)).toBe(true);
        table.take('b', lease);
        expect(table.isWaiting(lease)).toBe(false);
        due.push(...lease.offsets);
      }
      return due;
    };
    expect([dueAt(9), table.nextDue, table.waitingMessages]).toEqual([[], 10, 4]);
    expect([dueAt(20), table.nextDue, table.waitingMessages]).toEqual([[1, 2, 3], 30, 1]);
    expect([dueAt(30), table.nextDue, table.waitingMessages]).toEqual([[0], undefined, 0]);
  });

  test('takes very many leases from a member in little time', () => {
    const tableOf = (count: number) => {
      const table = new LeaseTable<string>(0);
      for (let offset = 0; offset < count; offset++) table.add('a', [offset]);
      return table;
    };
    const tables = (count: number) => Array.from({ length: 50 }, () => tableOf(count));
    const [few, many] = [tables(500), tables(5000)];
    const release = (from: LeaseTable<string>[]) => from.pop()?.release('a', policy(5), true);
    expect(
      timeRatio(
        () => release(many),
        () => release(few),
        40,
      ),
    ).toBeLessThan(40);
  });

  test.each([
    ['of a few leases', 100],
    ['of as many leases', 1],
  ])('takes very many single messages %s back in little time', (_, size) => {
    const tableOf = (count: number) => {
      const table = new LeaseTable<string>(0);
      for (let offset = 0; offset < count; offset += size) table.add('a', range(offset, offset + size));
      return table;
    };
    /** Each message once, in an order that looks random. */
    const giveBack = (table: LeaseTable<string> | undefined, count: number) => {
      for (let at = 0; at < count; at++) {
        const offset = (at * 7919) % count;
        table?.fail('a', offset, offset + 1, policy(5));
      }
    };
    const table = tableOf(5000);
    giveBack(table, 5000);
    expect(table.waiting.length).toBe(5000);
    const tables = (count: number) => Array.from({ length: 50 }, () => tableOf(count));
    const [few, many] = [tables(500), tables(5000)];
    expect(
      timeRatio(
        () => giveBack(many.pop(), 5000),
        () => giveBack(few.pop(), 500),
        40,
      ),
    ).toBeLessThan(40);
  });

  test('finds messages among those that a member got in another order', () => {
    const table = new LeaseTable<string>(0);
    table.add('b', range(0, 4));
    table.add('a', range(4, 8));
    table.release('b', undefined);
    const [lease] = table.waiting;
    if (lease !== undefined) table.take('a', lease);
    table.add('a', range(8, 12));
    table.fail('a', 1, 2, policy(5));
    table.settle('a', [[9, 10]]);
    expect(waitingIn(table)).toEqual([[1]]);
    expect(table.leasesOf('a').map(({ offsets }) => offsets)).toEqual([
      [4, 5, 6, 7],
      [0],
      [2, 3],
      [8],
      [10, 11],
    ]);
  });

  test('ranges may overlap, in any order', () => {
    const table = new LeaseTable<string>(0);
    table.add('a', range(0, 10));
    table.settle('a', [
      [6, 8],
      [2, 4],
      [9, 1],
      [3, 7],
      [5, 5],
    ]);
    expect(table.leasesOf('a').map(({ offsets }) => offsets)).toEqual([
      [0, 1],
      [8, 9],
    ]);
  });

  test('an acknowledgement does not cover what a member got later, although its offsets are lower', () => {
    const table = new LeaseTable<string>(0);
    table.add('b', range(0, 3));
    table.add('a', range(3, 6));
    table.release('b', undefined);
    const [lease] = table.waiting;
    if (lease !== undefined) table.take('a', lease);
    table.acknowledge('a', 6);
    expect(table.settled).toBe(0);
    // Again, as a member that is still working does.
    table.acknowledge('a', 6);
    expect(table.settled).toBe(0);
    table.acknowledge('a', 3);
    expect(table.settled).toBe(6);
  });

  test('finds the one message that cannot be handled, whatever its place, and loses no other', () => {
    const sizes = fc.integer({ min: 1, max: 300 });
    fc.assert(
      fc.property(sizes, fc.nat(), fc.integer({ min: 1, max: 6 }), (size, place, maxFailures) => {
        const table = new LeaseTable<string>(0);
        const poison = place % size;
        table.add('a', range(0, size));
        let deliveries = 0;
        const work = (): void => {
          for (const { offsets } of [...table.leasesOf('a')]) {
            if (!offsets.includes(poison)) table.acknowledge('a', (offsets.at(-1) ?? 0) + 1);
            else {
              deliveries++;
              // Those before it are done.
              table.acknowledge('a', poison);
              table.release('a', policy(maxFailures));
            }
          }
        };
        work();
        for (let [lease] = table.waiting; lease !== undefined; [lease] = table.waiting) {
          table.take('a', lease);
          work();
        }
        expect([...table.dead]).toEqual([poison]);
        expect(table.settled).toBe(poison);
        expect(deliveries).toBeLessThanOrEqual(maxFailures + Math.ceil(Math.log2(size)));
        table.remove(poison);
        expect(table.settled).toBe(size);
      }),
    );
  });

  test('every message has one place at any time, whatever the members do', () => {
    const members = ['a', 'b', 'c'];
    const member = fc.constantFrom(...members);
    const action = fc.oneof(
      fc.record({ kind: fc.constant('add' as const), member, count: fc.integer({ min: 1, max: 9 }) }),
      fc.record({ kind: fc.constant('acknowledge' as const), member, at: fc.nat(60) }),
      fc.record({ kind: fc.constantFrom('fail', 'settle'), member, at: fc.nat(60), count: fc.nat(5) }),
      fc.record({ kind: fc.constant('release' as const), member, isLate: fc.boolean() }),
      fc.record({ kind: fc.constant('take' as const), member, at: fc.nat(10) }),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const table = new LeaseTable<string>(0);
        const settled = new Set<number>();
        let before = 0;
        for (const step of actions) {
          if (step.kind === 'add') table.add(step.member, range(table.end, table.end + step.count));
          else if (step.kind === 'acknowledge') table.acknowledge(step.member, step.at);
          else if (step.kind === 'settle') table.settle(step.member, [[step.at, step.at + step.count]]);
          else if (step.kind === 'fail') table.fail(step.member, step.at, step.at + step.count, policy(2));
          else if (step.kind === 'release') table.release(step.member, policy(2), step.isLate);
          else {
            const lease = table.waiting[step.at % Math.max(1, table.waiting.length)];
            if (lease !== undefined) table.take(step.member, lease);
          }
          if (step.kind === 'settle' || step.kind === 'fail') {
            const late = table.waiting.filter(({ previous }) => previous === step.member);
            const own = [...table.leasesOf(step.member), ...late].flatMap(({ offsets }) => offsets);
            expect(own.filter((offset) => offset >= step.at && offset < step.at + step.count)).toEqual([]);
          }
          const leases = [...table.waiting, ...members.flatMap((name) => table.leasesOf(name))];
          const places = [...leases.flatMap(({ offsets }) => offsets), ...table.dead];
          expect(new Set(places).size).toBe(places.length);
          const due = table.due(0);
          expect([due, table.nextDue]).toEqual([table.waiting[0], undefined]);
          expect(table.waitingMessages).toBe(table.waiting.flatMap(({ offsets }) => offsets).length);
          for (const offset of places) expect(settled.has(offset)).toBe(false);
          for (const offset of range(0, table.end)) if (!places.includes(offset)) settled.add(offset);
          expect(table.settled).toBe(Math.min(table.end, ...places));
          expect(table.settled).toBeGreaterThanOrEqual(before);
          before = table.settled;
        }
      }),
    );
  });
});
