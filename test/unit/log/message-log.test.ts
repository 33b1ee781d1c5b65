import { once } from 'node:events';
import { existsSync, readdirSync, renameSync, rmSync, truncateSync } from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { type MessageLogOptions, NEVER } from '#src/log/message-log.js';
import { temporaryFolder, until } from '../../support/broker.js';
import { FaultyDisk } from '../../support/faulty-disk.js';
import { appendNumbered, openMessageLog } from '../../support/message-log.js';
import { line, VALID } from '../../support/messages.js';
import { runOf } from '../../support/runs.js';

test('a log that passes a message on has failed before, and works again after, however short that is', async () => {
  const disk = FaultyDisk.install();
  const log = await openMessageLog({ onFailure: 'pass' });
  onTestFinished(async () => {
    await log.close(1000);
  });
  const availability: boolean[] = [];
  log.listener = { onDurable: () => {}, onAvailability: (isAvailable) => availability.push(isAvailable) };
  const data = { ...VALID.job_progress.data, message: 'x'.repeat(900_000) };
  const append = () => {
    const end = log.append(runOf(line({ ...VALID.job_progress, data })));
    log.endChunk();
    return end;
  };
  disk.hang();
  while (!log.isBehind) append();
  await until(() => disk.waiting > 0);
  const real = performance.now.bind(performance);
  const now = vi.spyOn(performance, 'now').mockImplementation(() => real() + 11_000);
  onTestFinished(() => now.mockRestore());
  expect(append()).toBe(NEVER);
  expect(availability).toEqual([false]);
  now.mockRestore();
  disk.work();
  await until(() => availability.length === 2);
  expect(availability).toEqual([false, true]);
});

test('by default, starts neither empty a log nor raise its limit, however full other files have made the disk', async () => {
  const folder = join(temporaryFolder(), 'log');
  const open = () => openMessageLog({ folder, segmentBytes: 64 * 1024 });
  const log = await open();
  for (let from = 0; from < 4000; from += 100) appendNumbered(log, from, from + 100);
  await log.whenDurable();
  const [, , third = '', fourth = '', fifth] = readdirSync(folder)
    .filter((name) => name.endsWith('.seg'))
    .sort();
  expect(fifth).toBeDefined();
  await log.close(1000);
  // More than a tenth of any free space that counts: a sparse file.
  truncateSync(join(folder, fourth), 2 ** 35);
  const again = await open();
  const { maxBytes } = again;
  appendNumbered(again, 4000, 4100);
  await again.whenDurable();
  // A new segment needs the room of an old one, which may be a little smaller.
  expect(again.first).toBeLessThanOrEqual(Number.parseInt(third, 10));
  expect(again.statistics.bytes).toBeLessThanOrEqual(maxBytes);
  await again.close(1000);
  const last = await open();
  expect(last.maxBytes).toBeLessThanOrEqual(maxBytes);
  await last.close(1000);
});

test('the folder of the dead letters is made again if it is removed', async () => {
  const folder = join(temporaryFolder(), 'log');
  const log = await openMessageLog({ folder });
  onTestFinished(async () => void (await log.close(1000)));
  rmSync(join(folder, 'dead-letters'), { recursive: true });
  await until(() => existsSync(join(folder, 'dead-letters')));
});

test('no dead letters are written once another process has locked the log', async () => {
  const folder = join(temporaryFolder(), 'log');
  const log = await openMessageLog({ folder });
  const other = createServer((socket) => socket.destroy());
  onTestFinished(async () => {
    await log.close(100);
    other.close();
  });
  await once(other.listen(join(folder, 'other')), 'listening');
  renameSync(join(folder, 'other'), join(folder, 'lock'));
  void log.deadLetters.add({ at: 0, reason: 'MAX_DELIVERIES', connectionId: 'c-1', bytes: 1 });
  await until(() => !log.isAvailable);
  expect(readdirSync(join(folder, 'dead-letters'))).toEqual([]);
});

describe('by default, on a disk that other files have filled since', () => {
  const MiB = 1024 * 1024;

  /** A log with as much free space for the first time, and none later. */
  async function openOnDisk(free: number, options: Partial<MessageLogOptions> = {}) {
    const folder = join(temporaryFolder(), 'log');
    const real = await promises.statfs('/');
    const spy = vi.spyOn(promises, 'statfs');
    const setFree = (bavail: number) => spy.mockResolvedValue({ ...real, bsize: 1, bavail });
    onTestFinished(() => {
      spy.mockRestore();
      syncBuiltinESMExports();
    });
    setFree(free);
    syncBuiltinESMExports();
    const open = () => openMessageLog({ folder, segmentBytes: 64 * 1024, ...options });
    const log = await open();
    setFree(0);
    return { folder, open, log };
  }

  test('restarts of a full log keep its limit, and its messages', async () => {
    const { folder, open, log } = await openOnDisk(20 * MiB);
    const { maxBytes } = log;
    expect(maxBytes).toBe(2 * MiB);
    while (log.first === 0) {
      appendNumbered(log, log.end, log.end + 100);
      await log.whenDurable();
    }
    await log.close(1000);
    const names = readdirSync(folder).filter((name) => /^\d/.test(name));
    const [, , third = ''] = names.sort();
    for (let start = 0; start < 8; start++) {
      const again = await open();
      expect(again.maxBytes).toBe(maxBytes);
      appendNumbered(again, again.end, again.end + 1);
      await again.whenDurable();
      // One makes room for a segment that has hardly any messages at the end of each run.
      expect(again.first).toBeLessThanOrEqual(Number.parseInt(third, 10));
      await again.close(1000);
    }
  });

  test('restarts of one that is not full leave room, also if its limit is not known, but do not raise that', async () => {
    const { folder, open, log } = await openOnDisk(20 * MiB, { keepsUnread: true, onFull: 'reject' });
    log.moveCursor('a', 0);
    while (log.statistics.bytes < 1.5 * MiB) {
      appendNumbered(log, log.end, log.end + 100);
      await log.whenDurable();
    }
    const limits: number[] = [];
    await log.close(1000);
    for (const isKnown of [true, false, true]) {
      if (!isKnown) rmSync(join(folder, 'limit.json'));
      const again = await open();
      limits.push(again.maxBytes);
      appendNumbered(again, again.end, again.end + 1);
      again.sync(again.end);
      await until(() => again.durable === again.end || again.mustReject);
      expect([again.mustReject, again.first]).toEqual([false, 0]);
      await again.close(1000);
    }
    const [known = 0, unknown] = limits;
    expect(known).toBeLessThan(log.maxBytes);
    expect(limits).toEqual([known, unknown, unknown]);
  });
});
