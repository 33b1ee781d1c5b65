import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { createHead, encodeRecordHeader, RECORD_HEADER, SEGMENT_HEADER } from '#src/log/format.js';
import { isGap, type LogGap, readLog } from '#src/log/log-reader.js';
import { LogStore } from '#src/log/log-store.js';
import { READ_SIZE, SegmentScanner } from '#src/log/segment-scanner.js';
import { SharedFiles } from '#src/log/shared-files.js';
import { randomNumbers } from '#src/traffic/traffic.js';
import { logEntry } from '../../support/log-entry.js';
import { SimulatedDisk } from '../../support/simulated-disk.js';

const CASES = Number(process.env.FUZZ_CASES ?? 90);
const SEED = Number(process.env.FUZZ_SEED ?? 7);

/** Reads a log while it is written and its oldest messages are removed. Returns what a reader got by offset. */
async function readWhileWriting(seed: number, isSlow: boolean) {
  const random = randomNumbers(seed);
  const choose = (limit: number) => Math.floor(random() * limit);
  const log = await LogStore.open(new SimulatedDisk(), { segmentBytes: 2048, maxBytes: 8192 });
  const written: string[] = [];
  const readerStart = choose(50);
  let isWriting = true;
  const write = async () => {
    for (let round = 0; round < 60; round++) {
      const messages = Array.from(
        { length: 1 + choose(4) },
        (_, at) => `${written.length + at}-${'x'.repeat(choose(200))}`,
      );
      written.push(...messages);
      log.append(logEntry(messages));
      if (choose(3) === 0) await log.whenDurable();
      if (choose(4) === 0) await new Promise(setImmediate);
    }
    await log.whenDurable();
    isWriting = false;
  };
  const got = new Map<number, string>();
  const skipped: [number, number][] = [];
  const read = async () => {
    while (log.durable <= readerStart && isWriting) await new Promise(setImmediate);
    const reader = log.reader(readerStart);
    let expected = readerStart;
    for (;;) {
      const part = await reader.next();
      if (part === undefined) {
        if (!isWriting && reader.offset >= log.durable) break;
        reader.release();
        await new Promise(setImmediate);
        continue;
      }
      if ('to' in part) {
        expect(part.from).toBe(expected);
        expect(part.reason).toBe('removed');
        skipped.push([part.from, part.to]);
        expected = part.to;
        continue;
      }
      // Never what may still be lost.
      expect(part.header.first + part.header.count).toBeLessThanOrEqual(log.durable);
      const lines = part.body.toString().trimEnd().split('\n');
      for (const [at, message] of lines.entries()) {
        if (part.header.first + at < expected) continue;
        expect(part.header.first + at).toBe(expected);
        got.set(expected++, message);
      }
      if (isSlow && choose(2) === 0) for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
    }
    await reader.close();
  };
  await Promise.all([write(), read()]);
  return { got, skipped, written, readerStart };
}

describe('a reader', () => {
  test('gets every message once and in order, or is told which were removed', async () => {
    let hasSkipped = false;
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.boolean(), async (seed, isSlow) => {
        const { got, skipped, written, readerStart } = await readWhileWriting(seed, isSlow);
        hasSkipped ||= skipped.length > 0;
        for (const [offset, message] of got) expect(message).toBe(written[offset]);
        const missing = skipped.reduce((sum, [from, to]) => sum + to - from, 0);
        expect(got.size + missing).toBe(written.length - readerStart);
      }),
      { numRuns: Math.ceil(CASES / 3), seed: SEED },
    );
    expect(hasSkipped).toBe(true);
  });
});

describe('a scanner', () => {
  test('reads a file that was used before once, however many old records follow the last one', async () => {
    const disk = new SimulatedDisk();
    const header = { id: 7, delimiter: 10, epoch: 1n, first: 0, created: 0, jobSeed: [1, 2] as const };
    const fields = { first: 0, sender: 1, durable: 0, ...logEntry(['a']).fields };
    const record = (segmentId: number) => {
      const content = { head: createHead(0, () => {}), body: randomBytes(40) };
      encodeRecordHeader(content, fields, segmentId);
      return Buffer.concat([content.head, content.body]);
    };
    const current = record(7);
    expect(current.length).toBe(RECORD_HEADER + 40);
    const stale = Buffer.concat(Array.from({ length: 20_000 }, () => record(6)));
    const bytes = Buffer.concat([Buffer.alloc(SEGMENT_HEADER), current, stale]);
    disk.setContent('a', bytes);
    let read = 0;
    const file = await disk.open('a', 'read');
    const counted = {
      read: async (buffer: Buffer, position: number) => {
        const length = await file.read(buffer, position);
        read += length;
        return length;
      },
    };
    const scanner = new SegmentScanner(counted, header);
    expect((await scanner.next())?.header.first).toBe(0);
    expect(await scanner.next()).toBeUndefined();
    expect(read).toBeLessThan(2 * bytes.length);
  });
});

describe('a log that another process writes', () => {
  const messages = Array.from(
    { length: 1201 },
    (_, at) => `${String(at).padStart(4, '0')}-${'x'.repeat(1000)}`,
  );

  /** A log of these messages, each in a record of its own. */
  async function write() {
    const disk = new SimulatedDisk();
    const log = await LogStore.open(disk);
    for (const message of messages) log.append(logEntry([message]));
    await log.close();
    return disk;
  }

  /** Reads all of a log. @param onRead called with what is read of its file, and may change it */
  async function read(disk: SimulatedDisk, onRead: (bytes: Buffer, position: number) => void) {
    const open = disk.open.bind(disk);
    vi.spyOn(disk, 'open').mockImplementation(async (...parameters) => {
      const opened = await open(...parameters);
      const readFile = opened.read.bind(opened);
      opened.read = async (buffer, position) => {
        const length = await readFile(buffer, position);
        onRead(buffer.subarray(0, length), position);
        return length;
      };
      return opened;
    });
    const found: string[] = [];
    const gaps: LogGap[] = [];
    for await (const part of readLog(disk)) {
      if (isGap(part)) gaps.push(part);
      else found.push(part.body.toString().trimEnd());
    }
    return { found, gaps };
  }

  test.each([
    ['a read', READ_SIZE],
    ['a record', 2500],
  ])('has no gap where it was being written when it was read (up to the end of %s)', async (_, length) => {
    const disk = await write();
    let isFirst = true;
    const { found, gaps } = await read(disk, (bytes, position) => {
      if (position !== SEGMENT_HEADER || !isFirst) return;
      isFirst = false;
      bytes.subarray(100_000, 100_000 + length).fill(0xff);
    });
    expect(isFirst).toBe(false);
    expect([gaps, found.length]).toEqual([[], messages.length]);
    expect(found).toEqual(messages);
  });

  test('has a gap at each damaged record, and is read less than twice, however many those are', async () => {
    const disk = await write();
    const bytes = disk.contentOf('00000000000000000000.seg');
    const damaged = [...messages.keys()].filter((offset) => offset % 2 === 1);
    for (const offset of damaged) bytes[bytes.indexOf(messages[offset] ?? '') + 100] = 0;
    let size = 0;
    const { found, gaps } = await read(disk, ({ length }) => {
      size += length;
    });
    expect(gaps).toEqual(damaged.map((offset) => ({ from: offset, to: offset + 1, reason: 'damaged' })));
    expect(found).toEqual(messages.filter((_, offset) => offset % 2 === 0));
    expect(size).toBeLessThan(2 * bytes.length);
  });
});

test('a file with many readers is open once, and closed with the last of them', async () => {
  const disk = new SimulatedDisk();
  disk.setContent('a', Buffer.from('content'));
  let opened = 0;
  disk.onCall = (kind) => {
    if (kind === 'open') opened++;
  };
  const files = new SharedFiles(disk);
  const header = { id: 7, delimiter: 10, epoch: 1n, first: 0, created: 0, jobSeed: [1, 2] as const };
  const segment = { name: 'a', header, limit: 7 };
  const readers = await Promise.all([files.open(segment), files.open(segment), files.open(segment)]);
  expect(opened).toBe(1);
  for (const reader of readers) {
    const buffer = Buffer.alloc(7);
    await reader.read(buffer, 0);
    expect(buffer.toString()).toBe('content');
    expect(files.size).toBe(1);
    await reader.close();
  }
  expect(files.size).toBe(0);
  await expect(files.open({ ...segment, name: 'b' })).rejects.toThrow();
  expect(files.size).toBe(0);
});
