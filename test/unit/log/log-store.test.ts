// FUZZ_CASES changes the number of crashes.

import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { Cursors, LOG_CURSORS, lowestOffset } from '#src/log/cursors.js';
import { SEGMENT_HEADER } from '#src/log/format.js';
import { type LogGap, type LoggedRun, readLog } from '#src/log/log-reader.js';
import { LogStore, type LogStoreOptions } from '#src/log/log-store.js';
import { formatEpoch } from '#src/log/position.js';
import { LogFormatError } from '#src/log/segments.js';
import { randomNumbers } from '#src/traffic/traffic.js';
import { until } from '../../support/broker.js';
import { logEntry } from '../../support/log-entry.js';
import { type Choose, SimulatedDisk } from '../../support/simulated-disk.js';

const CRASHES = Number(process.env.FUZZ_CASES ?? 90);
const SEED = Number(process.env.FUZZ_SEED ?? 7);

/** Small, so that segments are full, removed and reused often. */
const OPTIONS: LogStoreOptions = {
  segmentBytes: 4096,
  maxBytes: 64 * 1024,
  groupBytes: 500,
  types: ['unknown', 'a'],
};

/** All messages by their offset, and the gaps. */
async function contentOf(disk: SimulatedDisk, from = 0) {
  const messages = new Map<number, string>();
  const gaps: LogGap[] = [];
  for await (const part of readLog(disk, from)) {
    if (isGap(part)) gaps.push({ ...part });
    else {
      const { first } = part.header;
      part.body
        .toString()
        .trimEnd()
        .split('\n')
        .forEach((message, index) => {
          const offset = first + index;
          expect(messages.has(offset)).toBe(false);
          messages.set(offset, message);
        });
    }
  }
  return { messages, gaps };
}

const isGap = (part: LoggedRun | LogGap): part is LogGap => 'to' in part;

function choices(seed: number): Choose {
  const random = randomNumbers(seed);
  return (limit) => Math.floor(random() * limit);
}

/**
 * Writes to a log until the power fails, several times in a row.
 * @param failures number of calls of the disk until each power failure
 */
async function crash(seed: number, failures: readonly number[], options: LogStoreOptions = OPTIONS) {
  const choose = choices(seed);
  let disk = new SimulatedDisk();
  let expected: string[] = [];
  let number = 0;
  for (const calls of failures) {
    disk.callsLeft = calls;
    let confirmed = 0;
    let hasPower = true;
    const write = async () => {
      const log = await LogStore.open(disk, options);
      // Of what was not confirmed, anything may be missing at the end.
      expected = expected.slice(0, log.end);
      confirmed = log.durable;
      while (hasPower) {
        const messages = Array.from({ length: 1 + choose(4) }, () => {
          return JSON.stringify({ number: number++, text: 'x'.repeat(choose(700)) });
        });
        expected.push(...messages);
        const end = log.append(logEntry(messages, 1 + choose(3)));
        const pause = choose(4);
        if (pause < 2) {
          await log.whenDurable(end);
          expect(log.durable).toBeGreaterThanOrEqual(end);
        } else if (pause === 2) await new Promise(setImmediate);
        // Without this, a seed that never chooses to wait would not end.
        else await null;
        confirmed = log.durable;
      }
    };
    await Promise.race([write(), disk.powerFailure]);
    hasPower = false;
    disk = disk.afterPowerFailure(choose);
    const log = await LogStore.open(disk, options);
    expect(log.end).toBeGreaterThanOrEqual(confirmed);
    expect(log.end).toBeLessThanOrEqual(expected.length);
    const { messages, gaps } = await contentOf(disk);
    expect(gaps).toEqual([]);
    const [first = log.end] = messages.keys();
    // Older ones were removed to make room.
    expect([...messages.keys()]).toEqual(
      Array.from({ length: log.end - first }, (_, index) => first + index),
    );
    for (const [offset, message] of messages) expect(message).toBe(expected[offset]);
    if (first > 0) expect(log.bytes).toBeGreaterThan((options.maxBytes ?? 0) / 2);
    expect(log.bytes).toBeLessThanOrEqual(options.maxBytes ?? 0);
  }
}

/** A log with this many messages, closed, and its disk. */
async function write(messages: readonly string[], options: LogStoreOptions = OPTIONS) {
  const disk = new SimulatedDisk();
  const log = await LogStore.open(disk, options);
  for (const message of messages) {
    log.append(logEntry([message]));
    await log.whenDurable();
  }
  await log.close();
  return disk;
}

const numbered = (count: number, length = 100) =>
  Array.from({ length: count }, (_, number) => `${number}-${'x'.repeat(length)}`);

describe('a damaged log', () => {
  const messages = numbered(12);
  const name = '00000000000000000000.seg';

  test('of which any byte is another one: lacks at most what the byte belongs to', async () => {
    const intact = await write(messages);
    const size = intact.contentOf(name).length;
    for (let at = SEGMENT_HEADER; at < size; at += 31) {
      const disk = intact.afterPowerFailure(() => 0);
      const bytes = Buffer.from(disk.contentOf(name));
      bytes[at] = (bytes[at] ?? 0) ^ 0x10;
      disk.setContent(name, bytes);
      const { messages: found, gaps } = await contentOf(disk);
      const missing = messages.filter((_, offset) => !found.has(offset));
      // In padding and definitions, the byte has no meaning for any message.
      expect(missing.length).toBeLessThanOrEqual(1);
      for (const [offset, message] of found) expect(message).toBe(messages[offset]);
      const lastIsMissing = !found.has(messages.length - 1);
      expect(gaps.length).toBe(lastIsMissing ? 0 : missing.length);
    }
  });

  test('that ends anywhere in its last records: has all before', async () => {
    const intact = await write(messages);
    const { length } = intact.contentOf(name);
    const lastEnd = intact.contentOf(name).lastIndexOf('\n') + 1;
    for (let size = length; size > length - 500; size -= 3) {
      const disk = intact.afterPowerFailure(() => 0);
      disk.setContent(name, intact.contentOf(name).subarray(0, size));
      const log = await LogStore.open(disk, OPTIONS);
      const { messages: found, gaps } = await contentOf(disk);
      expect([...found.values()]).toEqual(messages.slice(0, log.end));
      expect(gaps).toEqual([]);
      expect(log.end).toBeGreaterThanOrEqual(messages.length - 4);
      expect(log.end === messages.length).toBe(size >= lastEnd);
    }
  });

  test('of which the disk has damaged a part in the middle: has the rest, and a gap', async () => {
    const disk = await write(messages);
    const bytes = Buffer.from(disk.contentOf(name));
    bytes.fill(0, 1000, 1400);
    disk.setContent(name, bytes);
    const log = await LogStore.open(disk, OPTIONS);
    expect(log.end).toBe(messages.length);
    const { messages: found, gaps } = await contentOf(disk);
    expect(gaps).toHaveLength(1);
    const [{ from, to }] = gaps as [LogGap];
    expect([...found.keys()]).toEqual([...messages.keys()].filter((offset) => offset < from || offset >= to));
  });

  test.each([
    [
      'one byte is another one',
      (disk: SimulatedDisk, of: string) => void disk.contentOf(of).fill(0xff, 20, 21),
    ],
    ['all are zeros', (disk: SimulatedDisk, of: string) => void disk.contentOf(of).fill(0, 0, 512)],
  ])(
    'with a damaged header of the newest segment (%s): keeps it, and does not use its offsets again',
    async (_, damage) => {
      const disk = await write(numbered(100));
      const names = (await disk.list()).filter((each) => /^\d/.test(each)).sort();
      const newest = names.at(-1) ?? '';
      const from = Number.parseInt(newest, 10);
      damage(disk, newest);
      const content = Buffer.from(disk.contentOf(newest));
      // Nothing is stored the first time.
      await (await LogStore.open(disk, OPTIONS)).close();
      const log = await LogStore.open(disk, OPTIONS);
      expect(log.end).toBeGreaterThan(100);
      const end = log.append(logEntry(['new']));
      await log.whenDurable();
      const { messages: found, gaps } = await contentOf(disk);
      expect(gaps).toEqual([{ from, to: end - 1, reason: 'damaged' }]);
      expect([found.size, found.get(end - 1)]).toEqual([from + 1, 'new']);
      expect(disk.contentOf(`damaged-${newest}`)).toEqual(content);
      await log.close();
      expect((await LogStore.open(disk, OPTIONS)).end).toBe(end);
    },
  );

  test('with a damaged header of its only segment: stores what comes then once', async () => {
    const disk = await write(numbered(10), {
      ...OPTIONS,
      segmentBytes: 1024 * 1024,
      maxBytes: 8 * 1024 * 1024,
    });
    const [only = ''] = (await disk.list()).filter((each) => /^\d/.test(each));
    disk.contentOf(only).fill(0xff, 20, 21);
    const log = await LogStore.open(disk, OPTIONS);
    await log.ensureSegment();
    log.removeExpired();
    const end = log.append(logEntry(['new']));
    await log.whenDurable();
    await log.close();
    expect((await disk.list()).filter((each) => /^\d/.test(each))).toHaveLength(1);
    expect((await contentOf(disk)).messages.get(end - 1)).toBe('new');
  });

  test('without one of its segments: has the others, and a gap', async () => {
    const many = numbered(100);
    const disk = await write(many);
    const names = (await disk.list()).sort();
    expect(names.length).toBeGreaterThan(3);
    await disk.remove(names[1] ?? '');
    const { messages: found, gaps } = await contentOf(disk);
    expect(gaps).toEqual([
      {
        from: Number.parseInt(names[1] ?? '', 10),
        to: Number.parseInt(names[2] ?? '', 10),
        reason: 'damaged',
      },
    ]);
    expect(found.size).toBeGreaterThan(60);
    expect((await LogStore.open(disk, OPTIONS)).end).toBe(100);
  });

  test('records of an earlier use of a file are not those of the segment, whatever their offsets', async () => {
    const earlier = await write(numbered(12, 200));
    const disk = await write(['0', '1']);
    const stale = earlier.contentOf(name);
    const bytes = disk.contentOf(name);
    // After the two messages, the file has whole records with the offsets that come next.
    disk.setContent(name, Buffer.concat([bytes, stale.subarray(bytes.length)]));
    const log = await LogStore.open(disk, OPTIONS);
    expect(log.end).toBe(2);
    expect((await contentOf(disk)).messages.size).toBe(2);
  });

  test('of a newer format is not touched', async () => {
    const disk = await write(messages);
    const bytes = Buffer.from(disk.contentOf(name));
    bytes.writeUInt32LE(2, 8);
    disk.setContent(name, bytes);
    await expect(LogStore.open(disk, OPTIONS)).rejects.toThrow(LogFormatError);
    expect(disk.contentOf(name)).toEqual(bytes);
  });
});

describe('a disk that fails', () => {
  /** Fails calls of a kind: from the n-th one on, this many. */
  function failCalls(disk: SimulatedDisk, kind: string, from: number, count: number): void {
    let calls = 0;
    disk.onCall = (called) => {
      if (called !== kind) return;
      calls++;
      if (calls >= from && calls < from + count) throw Object.assign(new Error(kind), { code: 'EIO' });
    };
  }

  test.each([
    ['sync', 1],
    ['sync', 3],
    ['write', 3],
    ['syncFolder', 1],
    ['rename', 1],
  ] as const)(
    'once (%s, call %d): everything is confirmed, and there after a power failure',
    async (kind, from) => {
      const disk = new SimulatedDisk();
      failCalls(disk, kind, from, 2);
      const errors: unknown[] = [];
      const options = { ...OPTIONS, maxBytes: 16 * 1024, onError: (error: unknown) => errors.push(error) };
      const log = await LogStore.open(disk, options);
      const messages = numbered(200);
      for (const message of messages) {
        log.append(logEntry([message]));
        await log.whenDurable();
      }
      expect(log.isAvailable).toBe(true);
      expect(errors).toHaveLength(2);
      const after = disk.afterPowerFailure(() => 0);
      const { messages: found, gaps } = await contentOf(after);
      expect(gaps).toEqual([]);
      expect(found.get(199)).toBe(messages[199]);
      for (const [offset, message] of found) expect(message).toBe(messages[offset]);
    },
  );

  test('for a long time: nothing is confirmed, and everything once it works again', async () => {
    const disk = new SimulatedDisk();
    let isBroken = true;
    disk.onCall = (kind) => {
      if (isBroken && kind === 'sync') throw Object.assign(new Error(kind), { code: 'EIO' });
    };
    const released: string[] = [];
    const log = await LogStore.open(disk, OPTIONS);
    const messages = numbered(5);
    for (const message of messages)
      log.append({ ...logEntry([message]), release: () => void released.push(message) });
    const durable = log.whenDurable();
    await until(() => !log.isAvailable);
    expect([log.durable, released.length]).toEqual([0, 0]);
    expect(log.pendingBytes).toBeGreaterThan(500);
    isBroken = false;
    await durable;
    expect([log.isAvailable, log.durable, log.pendingBytes]).toEqual([true, 5, 0]);
    expect(released).toEqual(messages);
    expect([...(await contentOf(disk)).messages.values()]).toEqual(messages);
  });

  test('to open a file now and then, or lacks one: old messages make room for new ones anyway', async () => {
    const disk = new SimulatedDisk();
    let opened = 0;
    disk.onCall = (kind) => {
      if (kind === 'open' && ++opened % 3 === 0) throw Object.assign(new Error(kind), { code: 'EMFILE' });
    };
    const log = await LogStore.open(disk, { ...OPTIONS, maxBytes: 16 * 1024 });
    for (const [number, message] of numbered(200).entries()) {
      log.append(logEntry([message]));
      await log.whenDurable();
      if (number === 100) await disk.remove((await disk.list()).sort()[0] ?? '');
    }
    expect(log.first).toBeGreaterThan(100);
    expect(log.failures).toBeGreaterThan(1);
  });

  test.each(['all', 'its header'])(
    'until the broker is killed: what was not durable is not in the log (of the next file, there is %s)',
    async (left) => {
      const disk = new SimulatedDisk();
      const log = await LogStore.open(disk, OPTIONS);
      const entryOf = (session: string, sender: number) => {
        const entry = logEntry([session], sender);
        return { ...entry, sender: { ...entry.sender, session } };
      };
      log.append(entryOf('durable', 1));
      await log.whenDurable();
      failCalls(disk, 'sync', 1, Number.POSITIVE_INFINITY);
      log.append(entryOf('lost', 2));
      void log.whenDurable();
      await until(() => log.failures > 1);
      const after = disk.afterPowerFailure(() => 0);
      const name = '00000000000000000001.seg';
      if (left === 'its header') after.setContent(name, after.contentOf(name).subarray(0, SEGMENT_HEADER));
      const again = await LogStore.open(after, OPTIONS);
      expect([again.end, again.decidedOf('durable'), again.decidedOf('lost')]).toEqual([1, 1, 0]);
      const reader = again.reader(0);
      const next = async () => {
        const part = await reader.next();
        return part === undefined || isGap(part) ? part : part.body.toString();
      };
      expect([await next(), await next()]).toEqual(['durable\n', undefined]);
      again.append(entryOf('new', 1));
      await again.whenDurable();
      expect([await next(), await next()]).toEqual(['new\n', undefined]);
      await Promise.all([log.close(0), again.close()]);
    },
  );

  test('to create the segment that shows which offsets are lost: it is created later', async () => {
    const disk = new SimulatedDisk();
    const log = await LogStore.open(disk, OPTIONS);
    log.append(logEntry(['0', '1']));
    await log.whenDurable();
    await disk.remove('00000000000000000000.seg');
    failCalls(disk, 'open', 1, 1);
    log.check();
    await until(() => log.failures === 2 && log.isAvailable);
    await log.close();
    const again = await LogStore.open(disk.afterPowerFailure(() => 0));
    expect([again.epoch, again.end]).toEqual([log.epoch, 2]);
  });

  test('to create a segment after messages that are too old: those stay until it is there', async () => {
    const disk = new SimulatedDisk();
    let time = 0;
    const clocks = { now: () => time, elapsed: () => time };
    const log = await LogStore.open(disk, { ...OPTIONS, ...clocks, maxAge: 1000 });
    log.append(logEntry(['0', '1']));
    await log.whenDurable();
    failCalls(disk, 'open', 1, 1);
    time = 5000;
    log.removeExpired();
    await until(() => log.failures === 1);
    log.removeExpired();
    await until(() => log.first === 2);
    await log.close();
    const again = await LogStore.open(disk);
    expect([again.epoch, again.end]).toEqual([log.epoch, 2]);
  });

  test('since it is full: the oldest messages make room for the new ones', async () => {
    const disk = new SimulatedDisk();
    disk.capacity = 20_000;
    const log = await LogStore.open(disk, { ...OPTIONS, maxBytes: Number.POSITIVE_INFINITY });
    const messages = numbered(500);
    for (const message of messages) {
      log.append(logEntry([message]));
      await log.whenDurable();
    }
    const { messages: found, gaps } = await contentOf(disk.afterPowerFailure(() => 0));
    expect(gaps).toEqual([]);
    expect(found.size).toBeGreaterThan(40);
    expect([...found.keys()].at(-1)).toBe(499);
  });

  test('since it is full, even for cursors: what they have passed makes room, and nothing else', async () => {
    const disk = new SimulatedDisk();
    disk.capacity = 20_000;
    const cursors = await Cursors.open(LOG_CURSORS, disk, () => {});
    let epoch = '';
    const log = await LogStore.open(disk, {
      ...OPTIONS,
      maxBytes: Number.POSITIVE_INFINITY,
      dropsOldest: false,
      mayRemove: (end) => end <= lowestOffset(cursors, epoch),
    });
    epoch = formatEpoch(log.epoch);
    const saved = async () => (await Cursors.read(LOG_CURSORS, disk)).get('reader')?.offset;
    cursors.set('reader', { epoch, offset: 0 });
    await expect.poll(saved).toBe(0);
    for (const message of numbered(500)) log.append(logEntry([message]));
    void log.whenDurable();
    await until(() => log.failures > 1);
    expect(log.first).toBe(0);
    const stored = log.durable;
    cursors.set('reader', { epoch, offset: stored });
    await until(() => log.durable > stored);
    const { messages: found, gaps } = await contentOf(disk, stored);
    expect([found.has(stored), gaps]).toEqual([true, []]);
    cursors.set('reader', { epoch, offset: 500 });
    await log.whenDurable();
    await expect.poll(saved).toBe(500);
    await log.close();
  });
});

test('a segment that is removed while it is written is a failure of the disk; what comes then is stored', async () => {
  const disk = new SimulatedDisk();
  const errors: unknown[] = [];
  const log = await LogStore.open(disk, { ...OPTIONS, onError: (error) => errors.push(error) });
  const segments = async () => (await disk.list()).filter((name) => /^\d/.test(name));
  log.append(logEntry(['0', '1']));
  await log.whenDurable();
  log.check();
  // The simulated disk needs no more time.
  await new Promise(setImmediate);
  expect([log.failures, await segments()]).toEqual([0, ['00000000000000000000.seg']]);
  await disk.remove('00000000000000000000.seg');
  log.check();
  await until(() => log.failures === 1 && log.isAvailable);
  expect(errors).toMatchObject([{ code: 'LOG_UNAVAILABLE' }]);
  expect(await segments()).toEqual(['00000000000000000002.seg']);
  log.append(logEntry(['2']));
  await log.whenDurable();
  const reader = log.reader(0);
  expect(await reader.next()).toEqual({ from: 0, to: 2, reason: 'removed' });
  expect(await reader.next()).toMatchObject({ header: { first: 2 } });
  await log.close();
  const again = await LogStore.open(disk.afterPowerFailure(() => 0));
  expect([again.epoch, again.end]).toEqual([log.epoch, 3]);
});

test('a log is read although a broker removes files that were listed', async () => {
  const disk = await write(numbered(200));
  disk.setContent('spare-1.seg', Buffer.alloc(4096));
  const [oldest = ''] = (await disk.list()).sort();
  const list = disk.list.bind(disk);
  vi.spyOn(disk, 'list').mockImplementationOnce(async () => {
    const names = await list();
    for (const name of [oldest, 'spare-1.seg']) await disk.remove(name);
    return names;
  });
  const { messages } = await contentOf(disk);
  expect(messages.size).toBeGreaterThan(100);
  expect([messages.has(0), messages.has(199)]).toEqual([false, true]);
});

test('nothing is written to a log that another process may write', async () => {
  const disk = new SimulatedDisk();
  let isLost = false;
  const log = await LogStore.open(disk, {
    ...OPTIONS,
    verifyLock: async () => {
      if (isLost) throw new Error('simulated');
    },
  });
  log.append(logEntry(['0']));
  await log.whenDurable();
  isLost = true;
  const before = (await disk.list()).length;
  log.check();
  log.append(logEntry(['1']));
  void log.whenDurable();
  await until(() => log.failures > 1);
  expect([log.isAvailable, log.durable, (await disk.list()).length]).toEqual([false, 1, before]);
  await log.close(0);
});

test('segments whose messages are too old are removed', async () => {
  const disk = new SimulatedDisk();
  let time = 0;
  const clock = () => time;
  const log = await LogStore.open(disk, { ...OPTIONS, maxAge: 1000, now: clock, elapsed: clock });
  for (const message of numbered(100)) {
    time += 100;
    log.append(logEntry([message]));
    await log.whenDurable();
  }
  const { messages } = await contentOf(disk);
  expect(messages.size).toBeGreaterThanOrEqual(10);
  expect(messages.size).toBeLessThan(60);
  expect([...messages.keys()].at(-1)).toBe(99);
});

test('after the size of segments was lowered, larger files are not used again', async () => {
  const disk = await write(numbered(1000), { ...OPTIONS, segmentBytes: 16 * 1024 });
  disk.setContent('spare-1.seg', Buffer.alloc(16 * 1024));
  const log = await LogStore.open(disk, OPTIONS);
  for (const message of numbered(1000)) {
    log.append(logEntry([message]));
    await log.whenDurable();
  }
  await log.close();
  const names = await disk.list();
  for (const name of names) expect(disk.contentOf(name).length).toBeLessThanOrEqual(4096);
  expect(names.length).toBeGreaterThan(12);
});

test.each([true, false])(
  'files that are too large to be used again make room first (drops the oldest: %s)',
  async (dropsOldest) => {
    const disk = await write(numbered(200), OPTIONS);
    disk.setContent('spare-1.seg', Buffer.alloc(60 * 1024));
    const log = await LogStore.open(disk, { ...OPTIONS, dropsOldest, mayRemove: () => false });
    log.append(logEntry(['0']));
    await log.whenDurable();
    expect([log.first, log.isFull]).toEqual([0, false]);
    await log.close();
  },
);

async function openWithClock(options: LogStoreOptions) {
  const clock = { time: 0, elapsed: 0 };
  const disk = new SimulatedDisk();
  const clocks = { now: () => clock.time, elapsed: () => clock.elapsed };
  const open = () => LogStore.open(disk, { ...OPTIONS, ...options, ...clocks });
  const log = await open();
  /** When each message was received. */
  const times: number[] = [];
  const pass = (time: number) => {
    clock.time += time;
    clock.elapsed += time;
  };
  const write = async (count: number, to: LogStore) => {
    for (const message of numbered(count)) {
      pass(100);
      times.push(clock.time);
      const entry = logEntry([message]);
      to.append({ ...entry, fields: { ...entry.fields, time: clock.time } });
      await to.whenDurable();
    }
  };
  /** Removes what is too old. */
  const cleanUp = async (of: LogStore) => {
    of.removeExpired();
    // The simulated disk needs no more time.
    await new Promise(setImmediate);
  };
  return { clock, log, open, times, pass, write, cleanUp };
}

describe('after the clock was set back', () => {
  test('an offset before a time is before all messages that were received after it', async () => {
    const { clock, log, open, times, write } = await openWithClock({});
    await write(100, log);
    clock.time -= 6000;
    await write(100, log);
    expect(log.offsetBefore(12_000)).toBeGreaterThan(100);
    const expectBefore = (opened: LogStore) => {
      for (let time = 100; time <= clock.time; time += 100)
        expect(opened.offsetBefore(time)).toBeLessThanOrEqual(times.findIndex((each) => each >= time));
    };
    expectBefore(log);
    await log.close();
    const again = await open();
    expectBefore(again);
    await again.close();
  });

  test('by less than the span of a segment, so is it after restarts', async () => {
    const { clock, log, open, times, write } = await openWithClock({});
    await write(10, log);
    clock.time -= 600;
    await write(2, log);
    await log.close();
    for (let start = 0; start < 3; start++) {
      const again = await open();
      await write(1, again);
      for (let time = 100; time <= 1000; time += 100)
        expect(again.offsetBefore(time)).toBeLessThanOrEqual(times.findIndex((each) => each >= time));
      await again.close();
    }
  });

  test('segments from before that are removed once they are too old', async () => {
    const { clock, log, pass, write } = await openWithClock({ maxAge: 20_000 });
    clock.time = 1e9;
    await write(100, log);
    clock.time = 0;
    await write(100, log);
    expect(log.first).toBe(0);
    pass(20_000);
    log.removeExpired();
    await until(() => log.first >= 100);
  });

  test('and corrected, segments from before that are not too old yet', async () => {
    const { clock, log, open, write, cleanUp } = await openWithClock({ maxAge: 20_000 });
    clock.time = 1e9;
    await write(3, log);
    await log.close();
    clock.time -= 100_000;
    const behind = await open();
    await write(3, behind);
    await behind.close();
    clock.time = 1e9 + 1000;
    const correct = await open();
    await write(1, correct);
    await cleanUp(correct);
    expect(correct.first).toBe(0);
    await correct.close();
  });
});

describe('after the clock was behind, and corrected', () => {
  // While a clock is behind, it may say that it is before the log began, or before its latest messages.
  test.each([0, 1e9 + 10_000])(
    'segments from before are not removed before they are too old (at a restart: %d)',
    async (behind) => {
      const { clock, log, open, pass, write, cleanUp } = await openWithClock({ maxAge: 20_000 });
      clock.time = 1e9;
      await write(1, log);
      pass(50_000);
      await write(1, log);
      await log.close();
      const corrected = clock.time + 1000;
      clock.time = behind;
      const second = await open();
      await write(1, second);
      clock.time = corrected;
      await cleanUp(second);
      expect(second.first).toBe(0);
      await second.close();
      const third = await open();
      await write(1, third);
      await cleanUp(third);
      expect(third.first).toBe(0);
      await third.close();
      pass(20_001);
      const fourth = await open();
      await write(1, fourth);
      await cleanUp(fourth);
      expect(fourth.first).toBe(3);
      await fourth.close();
    },
  );

  test('they are removed at the latest once a process has had them for so long', async () => {
    const { clock, log, open, pass, write, cleanUp } = await openWithClock({ maxAge: 20_000 });
    clock.time = 1e9;
    await write(1, log);
    await log.close();
    clock.time = 0;
    const again = await open();
    await write(1, again);
    clock.time = 1e9 + 1000;
    for (let at = 0; at < 3; at++) {
      pass(8000);
      await write(1, again);
      await cleanUp(again);
      expect(again.first).toBe(at < 2 ? 0 : 1);
    }
    await again.close();
  });

  test('messages that were received meanwhile are not removed before they are too old', async () => {
    const { clock, log, pass, write, cleanUp } = await openWithClock({ maxAge: 20_000 });
    await write(1, log);
    clock.time = 1e9;
    await cleanUp(log);
    expect(log.first).toBe(0);
    pass(21_000);
    await cleanUp(log);
    expect(log.first).toBe(1);
    await log.close();
  });
});

test('segments that are to be kept are not removed, however old they are, until they may be', async () => {
  const disk = new SimulatedDisk();
  let time = 0;
  let read = 0;
  const clock = () => time;
  const mayRemove = (end: number) => end <= read;
  const options = { ...OPTIONS, maxAge: 1000, now: clock, elapsed: clock, mayRemove };
  const log = await LogStore.open(disk, options);
  const write = async (count: number) => {
    for (const message of numbered(count)) {
      time += 100;
      log.append(logEntry([message]));
      await log.whenDurable();
    }
  };
  await write(100);
  expect(log.first).toBe(0);
  read = 60;
  log.removeExpired();
  await until(() => log.first > 0);
  expect(log.first).toBeLessThanOrEqual(60);
});

test.each([true, false])(
  'a log is full only once messages wait, whatever is cleaned up (drops the oldest: %s)',
  async (dropsOldest) => {
    let read = 0;
    const disk = new SimulatedDisk();
    const mayRemove = (end: number) => end <= read;
    const log = await LogStore.open(disk, { ...OPTIONS, maxBytes: 16 * 1024, dropsOldest, mayRemove });
    const store = async (message: string) => {
      log.append(logEntry([message]));
      await log.whenDurable();
    };
    // There is no room for another segment.
    while (log.bytes < 12 * 1024 + 1000) await store('x'.repeat(500));
    const { first } = log;
    log.removeExpired();
    // The simulated disk needs no more time.
    await new Promise(setImmediate);
    expect([log.isFull, log.first]).toEqual([false, first]);
    if (dropsOldest) return;
    for (const message of numbered(100)) log.append(logEntry([message]));
    const durable = log.whenDurable();
    await until(() => log.isFull);
    read = log.end;
    log.notifyRemovable();
    await durable;
    expect(log.isFull).toBe(false);
  },
);

test('messages that are too old are removed although no others come; offsets go on', async () => {
  const disk = new SimulatedDisk();
  let time = 0;
  const clock = () => time;
  const options = { ...OPTIONS, maxAge: 1000, now: clock, elapsed: clock };
  const log = await LogStore.open(disk, options);
  for (const message of numbered(10)) log.append(logEntry([message]));
  await log.whenDurable();
  time = 5000;
  log.removeExpired();
  await until(() => log.first === 10);
  const { epoch } = log;
  await log.close();
  const again = await LogStore.open(
    disk.afterPowerFailure(() => 0),
    options,
  );
  expect(again.end).toBe(10);
  expect(again.epoch).toBe(epoch);
});

test('offsets that are skipped are a gap, whatever waits for the disk meanwhile, also after a power failure', async () => {
  const disk = new SimulatedDisk();
  const log = await LogStore.open(disk, OPTIONS);
  const append = (message: string) => log.append(logEntry([message]));
  append('0');
  log.skipTo(10);
  append('10');
  await log.whenDurable();
  log.skipTo(5);
  log.skipTo(20);
  expect([log.end, log.durable]).toEqual([20, 20]);
  append('20');
  log.skipTo(30);
  await log.whenDurable();
  expect(log.durable).toBe(30);
  log.removeExpired();
  const reader = log.reader(0);
  const parts = [];
  while (reader.offset < log.end) {
    const part = await reader.next();
    if (part !== undefined) parts.push(isGap(part) ? [part.from, part.to] : part.header.first);
  }
  expect(parts).toEqual([0, [1, 10], 10, [11, 20], 20, [21, 30]]);
  expect(await reader.next()).toBeUndefined();
  await log.close();
  const again = await LogStore.open(disk.afterPowerFailure(() => 0));
  expect(again.end).toBe(30);
});

test('offsets that are skipped while the segment for others is created get one of their own', async () => {
  const disk = new SimulatedDisk();
  const log = await LogStore.open(disk, OPTIONS);
  disk.onCall = (kind) => {
    if (kind === 'syncFolder') log.skipTo(20);
  };
  log.skipTo(10);
  await expect.poll(async () => (await disk.list()).sort().at(-1)).toBe('00000000000000000020.seg');
  await log.close();
  expect((await LogStore.open(disk)).end).toBe(20);
});

test('a log that is begun anew has another epoch, so that positions of the old one are no longer valid', async () => {
  const epochs = await Promise.all([1, 2].map(async () => (await LogStore.open(new SimulatedDisk())).epoch));
  expect(epochs[0]).not.toBe(epochs[1]);
});

test('sessions are known after a power failure, however many segments were written since', async () => {
  let disk = new SimulatedDisk();
  for (let round = 0; round < 5; round++) {
    const log = await LogStore.open(disk, OPTIONS);
    expect(log.decidedOf('a')).toBe(round === 0 ? 0 : 7);
    expect(log.decidedOf('b')).toBe(round * 40);
    const entryOf = (session: string, sender: number, decidedBefore: number) => {
      const entry = logEntry(numbered(1), sender);
      return { ...entry, sender: { ...entry.sender, session }, fields: { ...entry.fields, decidedBefore } };
    };
    if (round === 0) log.append(entryOf('a', 1, 6));
    for (let line = 0; line < 40; line++) log.append(entryOf('b', 2, round * 40 + line));
    await log.whenDurable();
    // Not durable.
    log.append(entryOf('a', 3, 100));
    disk = disk.afterPowerFailure(() => 0);
  }
});

test('after power failures, all that was confirmed is there, once and in order', async () => {
  const failures = fc.array(fc.nat(150), { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(fc.nat(), failures, (seed, calls) => crash(seed, calls)),
    { numRuns: Math.ceil(CRASHES / 3), seed: SEED },
  );
});
