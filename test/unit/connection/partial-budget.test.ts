import { MessageBuffer, SlabPool } from 'sluice';
import { expect, onTestFinished, test, vi } from 'vitest';
import { PAUSE } from '#src/connection/connection-state.js';
import { PartialBudget } from '#src/connection/partial-budget.js';
import type { SocketConnection } from '#src/connection/socket-connection.js';

const LONG = 100_000;

/** The part of a connection that the budget uses. */
class FakeConnection {
  isPausedByBroker = false;
  isPrivileged = false;
  readonly log: string[] = [];

  setPaused(reason: number, isPaused: boolean): void {
    expect(reason).toBe(PAUSE.PARTIAL);
    this.log.push(isPaused ? 'pause' : 'resume');
  }
}

/** A budget with one slot, and two connections. */
function createBudget() {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const [a, b] = [new FakeConnection(), new FakeConnection()];
  const overdue: unknown[] = [];
  const budget = new PartialBudget(
    LONG,
    LONG,
    (connection) => [a, b].some((fake) => fake.isPrivileged && Object.is(fake, connection)),
    (connection) => overdue.push(connection),
  );
  const update = (connection: FakeConnection, bytes: number) =>
    budget.update(connection as unknown as SocketConnection, bytes);
  return { a, b, budget, update, overdue };
}

test('a slot is lost after 2 s, if others wait for it', () => {
  const { a, b, update, overdue } = createBudget();
  update(a, LONG);
  vi.advanceTimersByTime(10_000);
  update(b, LONG);
  vi.advanceTimersByTime(2000);
  expect(overdue).toEqual([]);
  vi.advanceTimersByTime(1000);
  expect(overdue).toContain(a);
  expect(overdue).not.toContain(b);
  update(a, 0);
  expect(b.log).toEqual(['pause', 'resume']);
  update(b, 0);
  vi.advanceTimersByTime(1000);
  expect(vi.getTimerCount()).toBe(0);
});

test('a slot goes to those that wait once its message is complete, though the next one has begun', () => {
  const { a, b, budget, update, overdue } = createBudget();
  const receiver = {
    onFrames: () => {},
    onOversize: () => {},
    onPartial: (bytes: number) => update(a, bytes),
  };
  const options = { framing: 'ndjson', maxMessageSize: 1 << 20, delimiter: 10 } as const;
  const buffer = new MessageBuffer(new SlabPool(1 << 20), options, receiver);
  buffer.write(Buffer.from('x'.repeat(LONG)));
  update(b, LONG);
  expect(b.log).toEqual(['pause']);
  vi.advanceTimersByTime(1500);
  buffer.write(Buffer.from(`\n${'x'.repeat(40_000)}`));
  expect(b.log).toEqual(['pause', 'resume']);
  // Now the first one waits.
  expect(a.log).toEqual(['pause']);
  expect(budget.statistics.waiting).toBe(1);
  vi.advanceTimersByTime(1000);
  expect(overdue).toEqual([]);
  update(b, 0);
  expect(a.log).toEqual(['pause', 'resume']);
  buffer.close();
});

test('who is paused by the broker does not lose its slot meanwhile', () => {
  const { a, b, update, overdue } = createBudget();
  update(a, LONG);
  update(b, LONG);
  vi.advanceTimersByTime(1600);
  a.isPausedByBroker = true;
  vi.advanceTimersByTime(20_000);
  a.isPausedByBroker = false;
  vi.advanceTimersByTime(600);
  expect(overdue).toEqual([]);
  vi.advanceTimersByTime(400);
  expect(overdue).toContain(a);
});

test('who is read although others are not gets a slot, also if that begins while it waits; then one at a time', () => {
  const { a, b, budget, update, overdue } = createBudget();
  const other = new FakeConnection();
  update(a, LONG);
  a.isPausedByBroker = true;
  update(other, LONG);
  update(b, LONG);
  expect(b.log).toEqual(['pause']);
  b.isPrivileged = true;
  vi.advanceTimersByTime(1000);
  expect(b.log).toEqual(['pause', 'resume']);
  expect(budget.statistics.waiting).toBe(1);
  // Its slot is no one else's.
  update(b, 0);
  expect(other.log).toEqual(['pause']);
  update(b, LONG);
  expect(b.log).toEqual(['pause', 'resume']);
  vi.advanceTimersByTime(3000);
  expect(overdue).toContain(b);
  expect(overdue).not.toContain(a);
  update(a, 0);
  expect(other.log).toEqual(['pause']);
  update(b, 0);
  expect(other.log).toEqual(['pause', 'resume']);
  update(other, 0);
  vi.advanceTimersByTime(1000);
  expect(vi.getTimerCount()).toBe(0);
});

test('who is paused again and again loses its slot once it was read for about 2 s', () => {
  const { a, b, update, overdue } = createBudget();
  update(a, LONG);
  update(b, LONG);
  for (let toggles = 0; toggles < 60; toggles++) {
    vi.advanceTimersByTime(50);
    a.isPausedByBroker = !a.isPausedByBroker;
  }
  expect(overdue).toEqual([]);
  for (let toggles = 0; toggles < 60; toggles++) {
    vi.advanceTimersByTime(50);
    a.isPausedByBroker = !a.isPausedByBroker;
  }
  expect(overdue).toContain(a);
});
