import { once } from 'node:events';
import { existsSync, readdirSync, renameSync, rmSync, truncateSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { NEVER } from '#src/log/message-log.js';
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
