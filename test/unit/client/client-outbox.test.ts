import { beforeEach, describe, expect, test, vi } from 'vitest';
import { ClientOutbox, type OutboxSink } from '#src/client/client-outbox.js';

class FakeConnection implements OutboxSink {
  isBusy = false;
  readonly written: string[] = [];
  readonly #pings: ((line?: number) => void)[] = [];
  skipped = 0;

  skipPublished(lines: number): void {
    this.skipped += lines;
  }

  write(bytes: Buffer): void {
    this.written.push(bytes.toString());
  }

  ping(onPong: (line?: number) => void): void {
    this.written.push('ping');
    this.#pings.push(onPong);
  }

  pong(line?: number): void {
    this.#pings.shift()?.(line);
  }
}

const bytes = (text: string) => Buffer.from(text);

beforeEach(() => {
  vi.useFakeTimers();
  return () => void vi.useRealTimers();
});

describe('ClientOutbox', () => {
  test('keeps what no pong has confirmed, and writes it again to the next connection', () => {
    const outbox = new ClientOutbox(1000, () => {});
    const [first, second] = [new FakeConnection(), new FakeConnection()];
    outbox.attach(first);
    outbox.add(bytes('a'), 1);
    outbox.add(bytes('b'), 2);
    vi.advanceTimersByTime(50);
    outbox.add(bytes('c'), 1);
    first.pong();
    expect(first.written).toEqual(['a', 'b', 'ping', 'c']);
    expect(outbox).toMatchObject({ confirmed: 2, confirmedLines: 3, unconfirmed: 1, bytes: 1 });
    outbox.detach();
    outbox.add(bytes('d'), 1);
    expect(outbox.attach(second)).toBe(1);
    expect(second.written).toEqual(['c', 'd']);
    expect(outbox.resent).toBe(1);
    vi.advanceTimersByTime(50);
    second.pong();
    expect(outbox).toMatchObject({ confirmed: 4, unconfirmed: 0, bytes: 0 });
  });

  test('a pong confirms what was written before its ping, and nothing after it', () => {
    const outbox = new ClientOutbox(1000, () => {});
    const connection = new FakeConnection();
    outbox.attach(connection);
    outbox.add(bytes('a'), 1);
    vi.advanceTimersByTime(50);
    outbox.add(bytes('b'), 1);
    vi.advanceTimersByTime(50);
    expect(connection.written).toEqual(['a', 'ping', 'b', 'ping']);
    connection.pong();
    expect(outbox.confirmed).toBe(1);
    connection.pong();
    expect(outbox.confirmed).toBe(2);
  });

  test('pings at once after much, after a while after little, and not without need', () => {
    const outbox = new ClientOutbox(1_000_000, () => {});
    const connection = new FakeConnection();
    outbox.attach(connection);
    outbox.add(Buffer.alloc(70_000), 1);
    expect(connection.written.filter((text) => text === 'ping')).toHaveLength(1);
    vi.advanceTimersByTime(1000);
    expect(connection.written).toHaveLength(2);
    outbox.add(bytes('a'), 1);
    vi.advanceTimersByTime(1000);
    expect(connection.written.slice(2)).toEqual(['a', 'ping']);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('still counts the pongs of a connection that it writes no more to', () => {
    const outbox = new ClientOutbox(1000, () => {});
    const connection = new FakeConnection();
    outbox.attach(connection);
    outbox.add(bytes('a'), 1);
    vi.advanceTimersByTime(50);
    outbox.detach();
    outbox.add(bytes('b'), 1);
    connection.pong();
    expect(connection.written).toEqual(['a', 'ping']);
    expect(outbox).toMatchObject({ confirmed: 1, unconfirmed: 1 });
    expect(outbox.attach(new FakeConnection())).toBe(0);
  });

  test('writes no more than a busy connection takes', () => {
    const outbox = new ClientOutbox(1000, () => {});
    const connection = new FakeConnection();
    connection.isBusy = true;
    outbox.attach(connection);
    outbox.add(bytes('a'), 1);
    expect(connection.written).toEqual([]);
    connection.isBusy = false;
    outbox.pump();
    expect(connection.written).toEqual(['a']);
  });

  test('is bounded: half full it requests a pause, full it accepts nothing, and notifies when there is room', async () => {
    const onDrain = vi.fn();
    const outbox = new ClientOutbox(100, onDrain);
    expect(outbox.add(Buffer.alloc(50), 1)).toBe(true);
    expect(outbox.add(Buffer.alloc(25), 1)).toBe(false);
    expect(outbox.add(Buffer.alloc(25), 1)).toBe(false);
    expect(() => outbox.add(Buffer.alloc(1), 1)).toThrow(expect.objectContaining({ code: 'OUTBOX_FULL' }));
    expect(outbox).toMatchObject({ unconfirmed: 3, bytes: 100 });
    const connection = new FakeConnection();
    outbox.attach(connection);
    const drained = outbox.drained();
    vi.advanceTimersByTime(50);
    expect(onDrain).not.toHaveBeenCalled();
    connection.pong();
    expect(onDrain).toHaveBeenCalledOnce();
    await drained;
    expect(outbox.isAwaited).toBe(false);
  });

  test('has room again when a quarter of its limit is unconfirmed, and not before', () => {
    const onDrain = vi.fn();
    const outbox = new ClientOutbox(100, onDrain);
    const connection = new FakeConnection();
    outbox.attach(connection);
    const sizes = [25, 1, 25];
    expect(
      sizes.map((size) => {
        const hasRoom = outbox.add(Buffer.alloc(size), 1);
        vi.advanceTimersByTime(50);
        return hasRoom;
      }),
    ).toEqual([true, true, false]);
    connection.pong();
    expect(outbox.bytes).toBe(26);
    expect([onDrain.mock.calls.length, outbox.add(Buffer.alloc(0), 1)]).toEqual([0, false]);
    connection.pong();
    expect([onDrain.mock.calls.length, outbox.add(Buffer.alloc(0), 1)]).toEqual([1, true]);
  });

  test('takes one message that is longer than the limit, when nothing else waits', () => {
    const outbox = new ClientOutbox(10, () => {});
    expect(outbox.add(Buffer.alloc(20), 1)).toBe(false);
    expect(() => outbox.add(Buffer.alloc(1), 1)).toThrow(expect.objectContaining({ code: 'OUTBOX_FULL' }));
  });

  test('flushes: resolves when all that was there is confirmed, on whatever connection', async () => {
    const outbox = new ClientOutbox(1000, () => {});
    await outbox.flush();
    const [first, second] = [new FakeConnection(), new FakeConnection()];
    outbox.attach(first);
    outbox.add(bytes('a'), 1);
    const flushed = vi.fn();
    const flushing = outbox.flush().then(flushed);
    expect(first.written).toEqual(['a', 'ping']);
    outbox.attach(second);
    vi.advanceTimersByTime(50);
    expect(flushed).not.toHaveBeenCalled();
    second.pong();
    await flushing;
  });

  test('rejects who waits when it is closed', async () => {
    const outbox = new ClientOutbox(10, () => {});
    outbox.add(Buffer.alloc(10), 1);
    const waiting = Promise.allSettled([outbox.flush(), outbox.drained()]);
    const error = new Error('over');
    outbox.close(error);
    expect(await waiting).toMatchObject([{ reason: error }, { reason: error }]);
    await expect(outbox.flush()).rejects.toBe(error);
    await expect(outbox.drained()).rejects.toBe(error);
  });
});

describe('a session', () => {
  const message = (number: number) => bytes(`{"number":${number}}\n`);
  const textOf = (...numbers: number[]) => numbers.map((number) => message(number).toString());

  function outboxWith(...entries: Buffer[]) {
    const outbox = new ClientOutbox(10_000, () => {});
    const first = new FakeConnection();
    outbox.attach(first, 0);
    for (const entry of entries) outbox.add(entry, entry.toString().split('\n').length - 1);
    return { outbox, first };
  }

  /** What is written to the next connection. */
  function resumed(outbox: ClientOutbox, line: number | undefined) {
    const next = new FakeConnection();
    outbox.attach(next, line);
    return next;
  }

  test('continues after the messages that the broker has', () => {
    const { outbox } = outboxWith(message(1), message(2), message(3));
    const next = resumed(outbox, 2);
    expect(next.written).toEqual(textOf(3));
    expect(next.skipped).toBe(2);
    expect(outbox.confirmed).toBe(2);
  });

  test('continues in the middle of a block', () => {
    const { outbox } = outboxWith(
      message(1),
      Buffer.concat([message(2), bytes('\n'), message(3), message(4)]),
    );
    const next = resumed(outbox, 3);
    expect(next.written).toEqual(textOf(4));
    expect(next.skipped).toBe(4);
    expect(outbox.bytes).toBe(message(4).length);
  });

  test("counts the client's own messages where they were sent", () => {
    const { outbox } = outboxWith(message(1));
    outbox.addOwnMessage();
    outbox.addOwnMessage();
    outbox.add(message(2), 1);
    outbox.addOwnMessage();
    outbox.add(message(3), 1);
    expect(resumed(outbox, 3).written).toEqual(textOf(2, 3));
    outbox.addOwnMessage();
    // Since then: 2, 3 and one of its own.
    expect(resumed(outbox, 5).written).toEqual([]);
    expect(outbox.unconfirmed).toBe(0);
  });

  test('is counted from the latest pong', () => {
    const { outbox, first } = outboxWith(message(1), message(2));
    outbox.addOwnMessage();
    void outbox.flush();
    outbox.add(message(3), 1);
    outbox.addOwnMessage();
    outbox.add(message(4), 1);
    // The broker knows better than the client: one of its lines was not a message.
    first.pong(7);
    expect(outbox.confirmed).toBe(2);
    expect(resumed(outbox, 9).written).toEqual(textOf(4));
  });

  test('unknown to the broker, or behind: everything that is not confirmed is sent again', () => {
    for (const line of [undefined, 0]) {
      const { outbox } = outboxWith(message(1), message(2));
      expect(resumed(outbox, line).written).toEqual(textOf(1, 2));
    }
  });

  test('does not skip what it cannot count', () => {
    const { outbox } = outboxWith(message(1), bytes('{"a":1}{"b":2}\n'), message(2));
    expect(resumed(outbox, 3).written).toEqual(['{"a":1}{"b":2}\n', ...textOf(2)]);
  });
});
