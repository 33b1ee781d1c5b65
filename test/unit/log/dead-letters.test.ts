import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import {
  type DeadLetter,
  DeadLetters,
  deadLetterDisk,
  dropDeadLetters,
  readDeadLetters,
} from '#src/log/dead-letters.js';
import { temporaryFolder, until } from '../../support/broker.js';
import { FaultyDisk } from '../../support/faulty-disk.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const SECOND = 1000;

/** Dead letters with a clock of their own, in ms. */
async function open(keepsContent = false, verifyLock = async () => {}) {
  const clock = { now: 0 };
  const errors: unknown[] = [];
  const options = { maxBytes: 64 * MiB, keepsContent, onError: (error: unknown) => void errors.push(error) };
  const folder = temporaryFolder();
  const letters = await DeadLetters.open(folder, options, verifyLock, () => clock.now);
  onTestFinished(() => letters.close(5000));
  return { clock, letters, folder, errors };
}

/** IDs of those that are listed. */
async function listedIn(folder: string): Promise<number[]> {
  const ids: number[] = [];
  for await (const { id } of readDeadLetters(deadLetterDisk(folder))) ids.push(id);
  return ids;
}

function letterOf(bytes: number): DeadLetter {
  const content = 'x'.repeat(bytes);
  return { at: 0, reason: 'INVALID_JSON', connectionId: 'c-1', bytes, content };
}

test.each(['ENOSPC', 'EIO'])('a disk that fails (%s) keeps few rejected messages in memory', async (code) => {
  const disk = FaultyDisk.install();
  const { clock, letters } = await open();
  disk.fail(code);
  const letter = letterOf(1000);
  for (; clock.now < 1000 * SECOND; clock.now += SECOND)
    for (let count = 0; count < 100; count++) letters.addRejected(letter);
  const { rejected, omitted } = letters.statistics;
  expect(rejected + omitted).toBe(100_000);
  expect(rejected).toBeGreaterThan(1000);
  expect(rejected * 1000).toBeLessThan(8 * MiB);
  expect([letters.isBehind, letters.hasRoom]).toEqual([true, false]);
  disk.work();
  await until(() => letters.hasRoom);
});

test('rejected messages of at most 1 MiB are kept in a second', async () => {
  const { clock, letters } = await open(true);
  for (const bytes of [800 * KiB, 800 * KiB, 100 * KiB, 2 * MiB]) letters.addRejected(letterOf(bytes));
  expect(letters.statistics).toEqual({ failed: 0, rejected: 2, omitted: 2 });
  clock.now += SECOND;
  letters.addRejected(letterOf(800 * KiB));
  expect(letters.statistics.rejected).toBe(3);
  expect([letters.keepsContent(100 * KiB), letters.keepsContent(200 * KiB)]).toEqual([true, false]);
});

test('those that several processes drop at the same time are all dropped', async () => {
  const { letters, folder } = await open();
  const ids = Array.from({ length: 8 }, (_, id) => id);
  await Promise.all(ids.map(() => letters.add(letterOf(100))));
  await Promise.all(ids.slice(1).map((id) => dropDeadLetters(folder, [id])));
  expect(await listedIn(folder)).toEqual([0]);
});

test('if the file of those that were dropped is damaged, all are listed, and can be dropped again', async () => {
  const { letters, folder } = await open();
  await Promise.all([letters.add(letterOf(100)), letters.add(letterOf(100))]);
  await dropDeadLetters(folder, [0]);
  for (const damaged of ['{"epoch":', '[]']) {
    writeFileSync(join(folder, 'dead-letters/dropped.json'), damaged);
    expect(await listedIn(folder)).toEqual([0, 1]);
  }
  await dropDeadLetters(folder, [1]);
  expect(await listedIn(folder)).toEqual([0]);
});

test.each([
  ['its files', (path: string) => readdirSync(path).forEach((name) => void rmSync(join(path, name)))],
  ['it', (path: string) => rmSync(path, { recursive: true })],
])('after somebody has emptied the folder (removed %s), the next ones are listed', async (_, remove) => {
  const { letters, folder, errors } = await open();
  const path = join(folder, 'dead-letters');
  remove(path);
  await letters.add(letterOf(100));
  expect(await listedIn(folder)).toEqual([0]);
  remove(path);
  await letters.add(letterOf(100));
  expect(await listedIn(folder)).toEqual([1]);
  expect(errors).toMatchObject([{ code: 'LOG_UNAVAILABLE' }]);
});

test('none is confirmed without the lock of the durable log, which reports that itself', async () => {
  let isLost = false;
  let attempts = 0;
  const { letters, errors } = await open(false, async () => {
    if (!isLost) return;
    attempts++;
    throw new Error('simulated');
  });
  await letters.add(letterOf(100));
  isLost = true;
  let isStored = false;
  const added = letters.add(letterOf(100)).then(() => {
    isStored = true;
  });
  await until(() => attempts > 2);
  expect([isStored, errors]).toEqual([false, []]);
  isLost = false;
  await added;
});
