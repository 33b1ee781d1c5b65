import { expect, onTestFinished, test } from 'vitest';
import { type DeadLetter, DeadLetters } from '#src/log/dead-letters.js';
import { temporaryFolder, until } from '../../support/broker.js';
import { FaultyDisk } from '../../support/faulty-disk.js';

const KiB = 1024;
const MiB = 1024 * KiB;
const SECOND = 1000;

/** Dead letters with a clock of their own, in ms. */
async function open(keepsContent = false) {
  const clock = { now: 0 };
  const options = { maxBytes: 64 * MiB, keepsContent, onError: () => {} };
  const letters = await DeadLetters.open(temporaryFolder(), options, () => clock.now);
  onTestFinished(() => letters.close(5000));
  return { clock, letters };
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
