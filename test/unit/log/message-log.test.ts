import { expect, onTestFinished, test, vi } from 'vitest';
import { NEVER } from '#src/log/message-log.js';
import { until } from '../../support/broker.js';
import { FaultyDisk } from '../../support/faulty-disk.js';
import { openMessageLog } from '../../support/message-log.js';
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
